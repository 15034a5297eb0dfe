"""The pipeline: ingest, search, ask, stream, made of the parts."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar, cast

from pydantic import BaseModel, Field, PrivateAttr, field_validator, model_validator

from rag import tracing
from rag.chunking import Chunker, HeadingChunker
from rag.component import Component, NotFingerprinted, build, warn_renamed
from rag.concurrency import close_at_end, iterate_in_own_context, iterate_in_threads
from rag.embedding import Embedder, StaticEmbedder
from rag.errors import ConfigError, DocumentNotFound, IndexNotFound, QueryError
from rag.filters import Filter, Where
from rag.import_guard import require_own_packages
from rag.llm.usage import track_usage
from rag.settings import load_settings
from rag.types import (
    Answer,
    Chunk,
    Citation,
    Document,
    Hit,
    Message,
    StageScore,
    Step,
    Usage,
    well_formed,
)

require_own_packages("connectors", "prompts")

from connectors import PART, Connector, Parser, connect  # noqa: E402
from connectors.parser_pool import ParserLimits  # noqa: E402
from connectors.parsers.auto import AutoParser  # noqa: E402
from rag.conversation import Conversation, ConversationStore  # noqa: E402
from rag.generation import (  # noqa: E402
    AnswerCompleted,
    CitationAdded,
    Event,
    Extraction,
    ExtractiveGenerator,
    Generator,
    GroundedGenerator,
)
from rag.generation.extraction import Model  # noqa: E402
from rag.index import Index, open_library  # noqa: E402
from rag.index.paths import CONVERSATIONS, checked_name, namespace_folder  # noqa: E402
from rag.ingestion import IngestReport, plan, sync  # noqa: E402
from rag.postprocessing import Postprocessor  # noqa: E402
from rag.retrieval import CarryOver, HybridRetriever, Query, QueryTransform, Retriever  # noqa: E402
from rag.retrieval.external_passages import external_passages  # noqa: E402
from rag.retrieval.fusion import by_best  # noqa: E402
from rag.stores import Chroma, Stats, VectorStore  # noqa: E402

_T = TypeVar("_T")

_LONGEST_QUESTION = 20_000  # characters
_MOST_HITS = 10_000
_FUSED = 100  # hits of each of several queries


def _default_index() -> Path:
    return load_settings().index


class Pipeline(Component):
    """From sources to cited answers; every part can be swapped, by name or by instance.

    ``index`` is a folder (default: ``RAG_INDEX`` or ``.rag``), ``k`` the number of hits an
    answer is made from. A question of a conversation is made to stand by itself by the
    ``condenser``; so it is retrieved by and answered. It passes the ``transforms`` in their order,
    each query they make is retrieved by, and the hits pass the ``postprocessors``. Nothing is read
    or made until it is needed. May be shared by threads; `close` it, or use it as a context manager.

    ``vectors`` says where Chroma is (default: in the index's folder). ``namespace`` is a part of
    the index that knows nothing of the others: see `within`. ``processes`` is how many other
    processes parse (default: one for each core but one), and ``limits`` bound what the parsing of
    one source may take (see `connectors.parser_pool.ParserLimits`).
    """

    kind: ClassVar[str] = "pipeline"
    name: ClassVar[str] = "pipeline"

    index: Annotated[Path, NotFingerprinted] = Field(default_factory=_default_index)
    parser: Parser = AutoParser()
    chunker: Chunker = HeadingChunker()
    embedder: Embedder = StaticEmbedder()
    condenser: QueryTransform | None = CarryOver()
    transforms: tuple[QueryTransform, ...] = ()
    retriever: Retriever = HybridRetriever()
    postprocessors: tuple[Postprocessor, ...] = ()
    generator: Generator = ExtractiveGenerator()
    k: int = Field(8, ge=1, le=1_000)
    vectors: VectorStore = Chroma()
    namespace: Annotated[str, NotFingerprinted] = ""
    processes: Annotated[int | None, NotFingerprinted] = Field(None, ge=0, le=256)
    limits: Annotated[ParserLimits, NotFingerprinted] = ParserLimits()

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "refiners" not in data:
            return data
        warn_renamed("pipeline setting", "refiners", "postprocessors")
        settings = dict(data)
        settings.setdefault("postprocessors", settings.pop("refiners"))
        return settings

    @field_validator("transforms", "postprocessors", mode="before")
    @classmethod
    def _one_or_more(cls, parts: Any) -> Any:
        return parts if isinstance(parts, list | tuple) else (parts,)

    @field_validator("postprocessors")
    @classmethod
    def _the_last_is_last(
        cls, postprocessors: tuple[Postprocessor, ...]
    ) -> tuple[Postprocessor, ...]:
        for postprocessor in postprocessors[:-1]:
            if postprocessor.must_be_last:
                raise ValueError(f"{postprocessor.name} is to be the last of the postprocessors")
        return postprocessors

    _opened: Index | None = PrivateAttr(None)
    _guard: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the configuration, with changes; the copy opens an index of its own."""
        copy = super().model_copy(update=update)  # all parts are frozen: nothing to copy deep
        copy._opened, copy._guard = None, threading.Lock()
        return copy

    def with_namespace(self, namespace: str) -> Self:
        """The same pipeline in another namespace of the index, opened by itself.

        For code that serves many users from one index: nothing a user may say, no filter and no
        question, leads from one namespace into another. `close` what it returns.
        """
        return self.model_copy(update={"namespace": checked_name(namespace, "namespace")})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), dict(self.__dict__))

    # -- configuration ---------------------------------------------------------------------

    def to_yaml(self, *, defaults: bool = True) -> str:
        """The pipeline as YAML; `from_yaml` builds it again. Holds no secrets.

        Without `defaults`, only the parts and settings that are not as usual, and no index. Raises
        `ConfigError` where a part is another framework's object, which no file can hold.
        """
        import yaml

        if not self.is_plain:
            raise ConfigError(
                "a part of this pipeline is an object of another framework, which YAML cannot "
                "hold: give the pipeline as module:attribute"
            )
        usual = {} if defaults else type(self)(index=self.index).config()
        plain = {
            name: value
            for name, value in self.config().items()
            if name != "type" and (defaults or value != usual.get(name))
        }
        return str(yaml.safe_dump(plain, sort_keys=False))

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Build a pipeline from YAML text, or from the file a `Path` names.

        Parts are built by their registered names only. Raises `ConfigError` that names the key
        at fault.
        """
        import yaml

        where = f"{source}: " if isinstance(source, Path) else ""
        try:
            text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
            plain = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or error
            raise ConfigError(f"{where}cannot be read: {said}") from None
        except Exception as error:  # PyYAML lets out whatever a value's constructor raises
            raise ConfigError(f"{where}not YAML: {' '.join(str(error).split())[:300]}") from None
        if not isinstance(plain, dict | None):
            raise ConfigError(f"{where}a pipeline is a mapping of its parts")
        try:
            return cls.from_config(plain or {})
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None

    # -- life ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Use as ``with Pipeline() as pipeline``."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the index's files."""
        with self._guard:
            opened, self._opened = self._opened, None
        if opened is not None:  # not behind the guard: an ingest in it may call back
            opened.close()

    def open(self, *, create: bool = False, check: bool = True) -> Index:
        """The index, opened when first needed.

        Raises `IndexNotFound`, `EmbedderMismatch` or `IndexDamaged`. Without `check`, damage and
        another embedder come up only when they are met: for `rag.index.maintenance`.
        """
        with self._guard:
            if self._opened is not None and not self._opened.document_store.file_exists():
                stale, self._opened = self._opened, None  # deleted or replaced since
                threading.Thread(target=stale.close, daemon=True).start()
            if self._opened is None:
                if not create and not check:
                    open_library(self.index, self.namespace).close()
                opened = Index(
                    self.index,
                    self.embedder,
                    create=create or not check,
                    vectors=self.vectors,
                    namespace=self.namespace,
                )
                if check and not create:
                    try:
                        opened.check_derived()
                    except BaseException:
                        opened.close()
                        raise
                self._opened = opened
            return self._opened

    # -- doing -----------------------------------------------------------------------------

    def ingest(
        self,
        *sources: str | Path | Connector,
        keep_missing: bool = False,
        dry_run: bool = False,
        allow_private: bool = False,
        progress: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """Bring the index up to date with the sources: paths, uris or connectors.

        Only what has changed is read, and only texts not embedded before are embedded. What is
        gone from a source is deleted, unless `keep_missing`; what cannot be read is in the
        report, with the reason. With another embedder than the index's, every document is
        embedded again beside the old vectors, which answer until all is done. A `dry_run`
        touches nothing and reports what would be done and cost. With `allow_private`, addresses in
        private networks may be named (see `connectors.web.Web`). Raises `SourceNotFound` before
        anything is done, `IndexLocked` where another process is writing.
        """
        connectors = [self.connector(source, allow_private=allow_private) for source in sources]
        parts = (connectors, self.parser, self.chunker)
        options: dict[str, Any] = {
            "keep_missing": keep_missing,
            "processes": self.processes,
            "limits": self.limits,
            "progress": progress,
        }
        if not dry_run:
            with tracing.span("ingest") as span:
                report = sync(self.open(create=True), *parts, **options)
                span.set("citewell.texts", report.embedded)
                span.set("citewell.chunks", report.chunks)
                return report
        try:
            library = open_library(self.index, self.namespace)
        except IndexNotFound:
            return plan(None, self.embedder, *parts, **options)
        with closing(library):
            return plan(library, self.embedder, *parts, **options)

    def connector(
        self, source: str | Path | Connector, *, allow_private: bool = False
    ) -> Connector:
        """The connector for what a person types. Raises `SourceNotFound` or `MissingExtra`."""
        if not isinstance(source, str | Path):
            return cast(Connector, build("connector", source))
        password = load_settings().imap_password
        return connect(source, allow_private=allow_private, imap_password=password)

    def search(
        self,
        query: str,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
    ) -> list[Hit]:
        """Up to `k` hits (default: the pipeline's), best first, refined.

        `history` is the conversation before, for transforms that look at it. Raises `QueryError`
        for an empty query.
        """
        with tracing.span("search") as span:
            hits = self._searched(query, k, where, history).hits
            span.set("citewell.hits", len(hits))
            return hits

    def _searched(
        self, query: str, k: int | None, where: Where | None, history: Sequence[Message]
    ) -> _Searched:
        steps = _Steps()
        query = asked = _checked_question(query)
        if history and self.condenser is not None:
            with tracing.span(f"condense {self.condenser.name}"):
                meant = well_formed(self.condenser.transform(query, history)[0].text).strip()
            query = meant or query
            if query != asked:
                steps.add("condense", question=query, condenser=self.condenser.name)
            if not (self.condenser.for_search_only and self.generator.reads_history):
                asked = query
        k = self.k if k is None else k
        if not 1 <= k <= _MOST_HITS:
            raise QueryError(f"k must be from 1 to {_MOST_HITS:,}, not {k}")
        queries = [Query(query)]
        for transform in self.transforms:
            with tracing.span(f"transform {transform.name}") as span:
                queries = [
                    Query(well_formed(found.text), found.weight * asked.weight)
                    for asked in queries
                    for found in transform.transform(asked.text, history)
                ]
                span.data["queries"] = [each.text for each in queries]
            steps.add(transform.name, queries=[each.text for each in queries])
        with tracing.span("open index") if self._opened is None else nullcontext():
            index = self.open(create=self.retriever.is_external)
        depth = max([k, *(postprocessor.input_depth for postprocessor in self.postprocessors)])
        depth = min(
            depth + sum(postprocessor.oversample for postprocessor in self.postprocessors),
            _MOST_HITS,
        )
        distinct: dict[str, Query] = {}
        for each in queries:
            distinct.setdefault(each.text, each)
        if len(distinct) > 1:  # the sum of two is not to depend on how many are asked for
            depth = max(depth, _FUSED)
        found = [
            (self._retrieved(each.text, depth, index, where), each.weight)
            for each in distinct.values()
        ]
        hits = found[0][0] if len(found) == 1 else _merged(found, depth)
        passages = external_passages(hits)
        steps.add("retrieve", retriever=self.retriever.config(), hits=len(hits))
        for i, postprocessor in enumerate(self.postprocessors):
            with _hits_told(f"rerank {postprocessor.name}", "rerank", queries[0].text) as told:
                hits = told(postprocessor.process(queries[0].text, hits, index=index))
            if not any(
                later.input_depth or later.oversample for later in self.postprocessors[i + 1 :]
            ):
                hits = hits[:k]
            steps.add(postprocessor.name, hits=len(hits))
        return _Searched(asked, hits[:k], steps.taken, passages)

    def _retrieved(self, query: str, k: int, index: Index, where: Where | None) -> list[Hit]:
        with _hits_told(f"retrieval {self.retriever.name}", "retrieval", query) as told:
            return told(self.retriever.retrieve(query, k=k, index=index, where=where))

    def more_like(self, uri: str, *, k: int | None = None, where: Where | None = None) -> list[Hit]:
        """The nearest chunk of each of up to `k` other documents that are like the document `uri`.

        Raises `DocumentNotFound`.
        """
        from rag.corpus_analysis import more_like

        return more_like(self.open(), uri, k=self.k if k is None else k, where=where)

    def ask(
        self,
        question: str,
        *,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Answer:
        """Answer from the index, with citations read back from the stored sources.

        `history` is the conversation before the question, oldest first. The chunks in which the
        citations of `evidence` stand are added to what is retrieved, where they are still in the
        index, unchanged, and within `where`. The answer's usage is that of every model that was
        asked on the way to it.
        """
        with track_usage() as meter, self._span("ask") as span:
            searched = self._evident(question, where, history, evidence)
            with tracing.span(f"generate {self.generator.name}"):
                answer = self.generator.answer(searched.asked, searched.hits, history)
            answer = self._verified(answer, searched, meter.usage)
            _tell(span, answer)
            return answer

    def stream(
        self,
        question: str,
        *,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Iterator[Event]:
        """`ask` piece by piece: text as it comes, citations, verdicts, then `AnswerCompleted`.

        The last event holds the checked answer. Where that is an abstention, it takes back what
        was streamed before.
        """
        return iterate_in_own_context(self._streamed(question, where, history, evidence))

    def _streamed(
        self,
        question: str,
        where: Where | None,
        history: Sequence[Message],
        evidence: Sequence[Citation],
    ) -> Iterator[Event]:
        with track_usage() as meter, self._span("ask") as span:
            searched = self._evident(question, where, history, evidence)
            passages = searched.passages
            answer: Answer | None = None
            with tracing.span(f"generate {self.generator.name}"):
                events = self.generator.stream(searched.asked, searched.hits, history)
                with close_at_end(events):
                    for event in events:
                        if isinstance(event, AnswerCompleted):
                            answer = event.answer
                            break
                        if isinstance(event, CitationAdded):
                            citation = self._read_back(event.citation, passages)
                            event = event.model_copy(update={"citation": citation})
                        yield event
            if answer is not None:
                answer = self._verified(answer, searched, meter.usage)
                _tell(span, answer)
                yield AnswerCompleted(answer=answer)

    def extract(
        self, question: str, model: type[Model], *, where: Where | None = None
    ) -> Extraction[Model]:
        """Fill in a pydantic `model` from the index, each of its values with its citations.

        `question` says what is to be looked for. Raises `ConfigError` where the generator asks no
        model, `ModelReplyError` where its reply does not fit `model`.
        """
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise QueryError(f"{model!r:.100} is not a pydantic model (a class, not an instance)")
        if not isinstance(self.generator, GroundedGenerator):
            raise ConfigError(
                f"the generator {self.generator.name!r} fills in no fields: use 'grounded', "
                "which asks a chat model"
            )
        with track_usage() as meter, self._span("extract"):
            searched = self._searched(question, None, where, ())
            with tracing.span(f"generate {self.generator.name}"):
                found = self.generator.extract(searched.asked, searched.hits, model)
        passages = searched.passages
        fields = {
            path: evidence.model_copy(
                update={
                    "citations": tuple(self._read_back(c, passages) for c in evidence.citations)
                }
            )
            for path, evidence in found.fields.items()
        }
        update = {"fields": fields, "usage": meter.usage, "trace": (*searched.steps, *found.trace)}
        return found.model_copy(update=update)

    def chat(self, name: str | None = None, **options: Any) -> Conversation:
        """The conversation `name`, kept in the index's folder; without a name, a new one.

        For `options` see `rag.Conversation`.
        """
        self.open()
        return Conversation(self, self.conversations, name, **options)

    @property
    def conversations(self) -> ConversationStore:
        """The conversations that are kept in the index's folder."""
        folder = namespace_folder(self.index, self.namespace)
        return ConversationStore(folder / CONVERSATIONS)

    def _evident(
        self,
        question: str,
        where: Where | None,
        history: Sequence[Message],
        evidence: Sequence[Citation],
    ) -> _Searched:
        """What is found for a question, and the chunks of the evidence behind it."""
        searched = self._searched(question, None, where, history)
        if not evidence:
            return searched
        known = {hit.chunk.id for hit in searched.hits}
        chunks = {c.id: c for c in self._standing(evidence, where) if c.id not in known}
        least = min((hit.score for hit in searched.hits), default=1.0)
        more = [
            Hit(
                chunk=chunk, score=least, stage_scores={"earlier": StageScore(rank=rank, score=1.0)}
            )
            for rank, chunk in enumerate(chunks.values(), start=1)
        ]
        return searched._replace(hits=[*searched.hits, *more])

    def _standing(self, evidence: Sequence[Citation], where: Where | None) -> Iterator[Chunk]:
        """Chunks of citations that stand in the index as they did."""
        library = self.open().document_store
        selected = None if where is None else Filter.of(where)
        for citation in evidence:
            try:
                if library.text(citation.uri, citation.start, citation.end) != citation.quote:
                    continue
                if selected is not None and not selected.matches(library.document(citation.uri)):
                    continue
                outline = library.outline(citation.uri)
            except DocumentNotFound:
                continue
            rows = [s.row for s in outline if s.start <= citation.start < s.end]
            yield from library.chunks(rows[:1]).values()

    def delete(self, *uris: str) -> int:
        """Delete documents, and all that lie below these uris; returns how many there were.

        For sources that are gone for good: what a source that still exists no longer lists is
        deleted by `ingest`. Raises `IndexLocked` where another process is writing.
        """
        index = self.open()
        with index.writing() as writer:
            doomed = {
                known
                for uri in uris
                for known in index.document_store.uris(uri.rstrip("/"))
                if known == uri or known.startswith((uri.rstrip("/") + "/", uri + PART))
            }
            index.document_store.forget_failures(uris)
            return writer.delete(sorted(doomed))

    def document(self, uri: str) -> Document:
        """The stored document. Raises `DocumentNotFound`."""
        return self.open().document_store.document(uri)

    def stats(self) -> Stats:
        """Numbers of what the index holds."""
        return self.open().document_store.stats()

    def _span(self, name: str) -> AbstractContextManager[tracing.Span]:
        attributes = {"gen_ai.data_source.id": self.namespace or None}
        return tracing.span(name, attributes=attributes)

    def _read_back(self, citation: Citation, passages: Mapping[str, str]) -> Citation:
        """The citation, verified if its quote stands in its source, and with its place.

        The source is in the library, or one of the `passages` that came from outside.
        """
        if (passage := passages.get(citation.uri)) is not None:
            verified = passage[citation.start : citation.end] == citation.quote
            return citation.model_copy(update={"verified": verified})
        library = self.open().document_store
        try:
            stored = library.text(citation.uri, citation.start, citation.end)
            place = library.location(citation.uri, citation.start)
        except DocumentNotFound:  # deleted since it was retrieved
            return citation
        verified = stored == citation.quote
        return citation.model_copy(update={"verified": verified, "location": place})

    def _verified(self, answer: Answer, searched: _Searched, usage: Usage) -> Answer:
        """Read every quote back from the library, and note what came before."""
        started = time.perf_counter()
        passages = searched.passages
        with tracing.span("verify quotes") as span:
            citations = tuple(self._read_back(each, passages) for each in answer.citations)
            span.set("citewell.citations", len(citations))
        step = Step(
            name="verify",
            seconds=time.perf_counter() - started,
            detail={"citations": len(citations), "verified": sum(c.verified for c in citations)},
        )
        return answer.model_copy(
            update={
                "citations": citations,
                "usage": usage if usage.calls else answer.usage,
                "trace": (*searched.steps, *answer.trace, step),
            }
        )

    # -- the same without blocking an event loop -------------------------------------------

    async def aingest(
        self,
        *sources: str | Path | Connector,
        keep_missing: bool = False,
        dry_run: bool = False,
        allow_private: bool = False,
        progress: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """`ingest` in a worker thread; `progress` is called from there."""
        return await _in_thread(
            lambda: self.ingest(
                *sources,
                keep_missing=keep_missing,
                dry_run=dry_run,
                allow_private=allow_private,
                progress=progress,
            )
        )

    async def asearch(
        self,
        query: str,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
    ) -> list[Hit]:
        """`search` in a worker thread."""
        return await _in_thread(lambda: self.search(query, k=k, where=where, history=history))

    async def aask(
        self,
        question: str,
        *,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Answer:
        """`ask` without blocking the event loop; cancelled, it stops at the model's next token."""
        answer: Answer | None = None
        async for event in self.astream(question, where=where, history=history, evidence=evidence):
            if isinstance(event, AnswerCompleted):
                answer = event.answer
        assert answer is not None
        return answer

    async def astream(
        self,
        question: str,
        *,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> AsyncIterator[Event]:
        """`stream`, each step of it in a worker thread; closed or cancelled, the model stops."""
        events = self.stream(question, where=where, history=history, evidence=evidence)
        async for event in iterate_in_threads(events, at_once=not self.generator.streams):
            yield event

    async def aextract(
        self, question: str, model: type[Model], *, where: Where | None = None
    ) -> Extraction[Model]:
        """`extract` in a worker thread."""
        return await _in_thread(lambda: self.extract(question, model, where=where))


@contextmanager
def _hits_told(
    name: str, operation: str, query: str
) -> Iterator[Callable[[Sequence[Hit]], list[Hit]]]:
    """A span that is told the hits of its stage."""
    with tracing.span(name, operation=operation, data={"query": query}) as span:

        def told(hits: Sequence[Hit]) -> list[Hit]:
            span.data["hits"] = tuple(hits)
            span.set("citewell.hits", len(hits))
            return list(hits)

        yield told


def _tell(span: tracing.Span, answer: Answer) -> None:
    """Note in the span of a question what came of it."""
    span.data["answer"] = answer
    span.set("citewell.status", answer.status)
    span.set("citewell.citations", len(answer.citations))
    if answer.usage.calls:
        span.used(answer.usage)


def _unpickled(cls: type[Pipeline], fields: dict[str, Any]) -> Pipeline:
    return cls(**fields)


async def _in_thread(call: Callable[[], _T]) -> _T:
    from anyio import to_thread

    return await to_thread.run_sync(call)


def _checked_question(question: str) -> str:
    if not isinstance(question, str):
        raise QueryError(f"a question is a text, not a {type(question).__name__}")
    question = well_formed(question)
    if not question.strip():
        raise QueryError("the question is empty")
    if len(question) > _LONGEST_QUESTION:
        raise QueryError(
            f"the question has {len(question):,} characters; at most {_LONGEST_QUESTION:,} can be "
            "asked at once"
        )
    return question.strip()


class _Searched(NamedTuple):
    asked: str  # the question as the generator is to be asked it
    hits: list[Hit]
    steps: tuple[Step, ...]
    passages: dict[str, str]  # texts of what came from outside, by uri


class _Steps:
    """Stages of a search, timed as they end."""

    def __init__(self) -> None:
        self.taken: tuple[Step, ...] = ()
        self._since = time.perf_counter()

    def add(self, name: str, **detail: Any) -> None:
        now = time.perf_counter()
        self.taken += (Step(name=name, seconds=now - self._since, detail=detail),)
        self._since = now


def _merged(found: Sequence[tuple[Sequence[Hit], float]], k: int) -> list[Hit]:
    """Hits of several queries to one list: the weighted sum of scores, each by its best."""
    chunks: dict[str, Hit] = {}
    total: dict[str, float] = {}
    for hits, weight in found:
        scores = by_best({i: hit.score for i, hit in enumerate(hits)})
        for i, hit in enumerate(hits):
            chunks.setdefault(hit.chunk.id, hit)
            total[hit.chunk.id] = total.get(hit.chunk.id, 0.0) + weight * scores[i]
    whole = sum(weight for _, weight in found) or 1.0
    best = sorted(total, key=lambda name: -total[name])[:k]
    return [chunks[name].model_copy(update={"score": total[name] / whole}) for name in best]
