"""The pipeline: its configuration, and ingest, search, ask, stream and extract."""

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
    to_well_formed,
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
from rag.index import Index, check_stores, open_document_store  # noqa: E402
from rag.index.paths import CONVERSATIONS_FILE, namespace_folder, validate_name  # noqa: E402
from rag.ingestion import IngestReport, plan, sync  # noqa: E402
from rag.postprocessing import Postprocessor  # noqa: E402
from rag.retrieval import CarryOver, HybridRetriever, Query, QueryTransform, Retriever  # noqa: E402
from rag.retrieval.external_passages import external_passages  # noqa: E402
from rag.retrieval.fusion import normalize_by_best  # noqa: E402
from rag.stores import (  # noqa: E402
    Chroma,
    DocumentStore,
    DocumentStoreConfig,
    LexicalIndexConfig,
    Sqlite,
    Stats,
    Tantivy,
    VectorStoreConfig,
)

_T = TypeVar("_T")

MAX_QUESTION_CHARACTERS = 20_000
MAX_HITS = 10_000
HITS_PER_FUSED_QUERY = 100
_RENAMED_SETTINGS = {"refiners": "postprocessors", "vectors": "vector_store"}


def _default_index() -> Path:
    return load_settings().index


class Pipeline(Component):
    """A pipeline from sources to cited answers. Give each part by name or as an instance.

    ``index`` is a folder (default: ``RAG_INDEX`` or ``.rag``). ``k`` is the number of hits that
    the generator receives. The ``condenser`` rewrites a follow-up question as a standalone
    question. The ``transforms`` turn the question into one or more queries, in their order. The
    ``retriever`` answers each query with hits, and the ``postprocessors`` change the hits, in
    their order. Files are opened when they are first used. Threads may share a pipeline. `close`
    it, or use it as a context manager.

    ``document_store`` holds the documents (default: SQLite), ``vector_store`` the vectors
    (default: embedded Chroma) and ``lexical_index`` the words (default: tantivy), all in the index
    folder. ``namespace`` is an isolated index for one user or project: see `with_namespace`.
    ``processes`` is the number of parser processes (default: the number of cores minus one), and
    ``limits`` bounds the parsing of one source (see `connectors.parser_pool.ParserLimits`).
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
    document_store: DocumentStoreConfig = Sqlite()
    vector_store: VectorStoreConfig = Chroma()
    lexical_index: LexicalIndexConfig = Tantivy()
    namespace: Annotated[str, NotFingerprinted] = ""
    processes: Annotated[int | None, NotFingerprinted] = Field(None, ge=0, le=256)
    limits: Annotated[ParserLimits, NotFingerprinted] = ParserLimits()

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        settings = dict(data)
        for old_name, name in _RENAMED_SETTINGS.items():
            if old_name in settings:
                warn_renamed("pipeline setting", old_name, name)
                settings.setdefault(name, settings.pop(old_name))
        return settings

    @model_validator(mode="after")
    def _check_stores(self) -> Self:
        try:
            check_stores(self.document_store, self.vector_store, self.lexical_index)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @field_validator("transforms", "postprocessors", mode="before")
    @classmethod
    def _wrap_single_part(cls, parts: Any) -> Any:
        return parts if isinstance(parts, list | tuple) else (parts,)

    @field_validator("postprocessors")
    @classmethod
    def _the_last_is_last(
        cls, postprocessors: tuple[Postprocessor, ...]
    ) -> tuple[Postprocessor, ...]:
        for postprocessor in postprocessors[:-1]:
            if postprocessor.must_be_last:
                raise ValueError(f"{postprocessor.name} must be the last postprocessor")
        return postprocessors

    _opened: Index | None = PrivateAttr(None)
    _guard: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the configuration, with changes. The copy opens the index again."""
        copy = super().model_copy(update=update)  # parts are frozen, so no deep copy is needed
        copy._opened, copy._guard = None, threading.Lock()
        return copy

    def with_namespace(self, namespace: str) -> Self:
        """Return a copy of this pipeline for another namespace of the index.

        Use it to serve many users from one index: no filter and no question of a user can reach
        another namespace. `close` the returned pipeline.
        """
        return self.model_copy(update={"namespace": validate_name(namespace, "namespace")})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (type(self), dict(self.__dict__))

    # -- configuration ----------------------------------------------------------------------

    def to_yaml(self, *, defaults: bool = True) -> str:
        """Return the configuration as YAML, without secrets. `from_yaml` reads it.

        Without `defaults`, the YAML holds only the settings that differ from the defaults, and no
        index. Raises `ConfigError` if a part is an object of another framework.
        """
        import yaml

        if not self.is_plain:
            raise ConfigError(
                "a part of this pipeline is an object of another framework, which YAML cannot "
                "describe: name the pipeline as module:attribute instead"
            )
        default_config = {} if defaults else type(self)(index=self.index).config()
        plain = {
            name: value
            for name, value in self.config().items()
            if name != "type" and (defaults or value != default_config.get(name))
        }
        return str(yaml.safe_dump(plain, sort_keys=False))

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Build a pipeline from YAML text, or from the file at a `Path`.

        Parts are found by their registered names only. Raises `ConfigError`, which names the
        wrong key.
        """
        import yaml

        where = f"{source}: " if isinstance(source, Path) else ""
        try:
            text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
            plain = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{where}cannot be read: {reason}") from None
        except Exception as error:  # PyYAML does not wrap the errors of its constructors
            raise ConfigError(f"{where}not YAML: {' '.join(str(error).split())[:300]}") from None
        if not isinstance(plain, dict | None):
            raise ConfigError(f"{where}a pipeline must be a mapping of settings")
        try:
            return cls.from_config(plain or {})
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None

    # -- opening and closing ----------------------------------------------------------------

    def __enter__(self) -> Self:
        """Use as ``with Pipeline() as pipeline``."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files of the index."""
        with self._guard:
            opened, self._opened = self._opened, None
        if opened is not None:  # outside the lock: an ingest that is running may call back
            opened.close()

    def open(self, *, create: bool = False, check: bool = True) -> Index:
        """Return the index, and open it if it is not open.

        Raises `IndexNotFound`, `EmbedderMismatch` or `IndexDamaged`. Without `check`, damage and
        another embedder are reported only when an operation meets them, which
        `rag.index.maintenance` needs.
        """
        with self._guard:
            if self._opened is not None and not self._opened.document_store.storage_exists():
                stale, self._opened = self._opened, None  # its files were deleted or replaced
                threading.Thread(target=stale.close, daemon=True).start()
            if self._opened is None:
                if not create and not check:
                    self._open_document_store().close()
                opened = Index(
                    self.index,
                    self.embedder,
                    create=create or not check,
                    document_store=self.document_store,
                    vector_store=self.vector_store,
                    lexical_index=self.lexical_index,
                    namespace=self.namespace,
                )
                if check and not create:
                    try:
                        opened.check_store_set()
                    except BaseException:
                        opened.close()
                        raise
                self._opened = opened
            return self._opened

    # -- ingestion, search, answers ---------------------------------------------------------

    def ingest(
        self,
        *sources: str | Path | Connector,
        keep_missing: bool = False,
        dry_run: bool = False,
        allow_private: bool = False,
        progress: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """Index the sources: paths, uris or connectors. Only changes are read and embedded.

        A document that a source no longer lists is deleted, unless `keep_missing`. The report
        lists every document that cannot be read, with the reason. If the pipeline has another
        embedder than the index, all documents are embedded again; searches use the old vectors
        until that is complete. A `dry_run` writes nothing and reports the changes and their cost.
        `allow_private` permits addresses in private networks (see `connectors.web.Web`). Raises
        `SourceNotFound` before any change, and `IndexLocked` if another process is writing.
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
        if self._opened is not None:
            return plan(self._opened.document_store, self.embedder, *parts, **options)
        try:
            document_store = self._open_document_store()
        except IndexNotFound:
            return plan(None, self.embedder, *parts, **options)
        with closing(document_store):
            return plan(document_store, self.embedder, *parts, **options)

    def _open_document_store(self) -> DocumentStore:
        return open_document_store(self.index, self.namespace, self.document_store)

    def connector(
        self, source: str | Path | Connector, *, allow_private: bool = False
    ) -> Connector:
        """Return the connector for a path or uri. Raises `SourceNotFound` or `MissingExtra`."""
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
        """Return up to `k` hits (default: the pipeline's ``k``) after postprocessing, best first.

        `history` holds the earlier messages of the conversation, for the condenser and the
        transforms. Raises `QueryError` for an empty query.
        """
        with tracing.span("search") as span:
            hits = self._search(query, k, where, history).hits
            span.set("citewell.hits", len(hits))
            return hits

    def _search(
        self, query: str, k: int | None, where: Where | None, history: Sequence[Message]
    ) -> _SearchResult:
        timer = _StageTimer()
        query, question = self._condense(_check_question(query), history, timer)
        k = self.k if k is None else k
        if not 1 <= k <= MAX_HITS:
            raise QueryError(f"k must be from 1 to {MAX_HITS:,}, not {k}")
        queries = self._transform(query, history, timer)
        with tracing.span("open index") if self._opened is None else nullcontext():
            index = self.open(create=self.retriever.is_external)
        depth = max([k, *(part.input_depth for part in self.postprocessors)])
        depth = min(depth + sum(part.oversample for part in self.postprocessors), MAX_HITS)
        if len(queries) > 1:  # the sum of two rankings must not depend on k
            depth = max(depth, HITS_PER_FUSED_QUERY)
        rankings = [
            (self._retrieve(query.text, depth, index, where), query.weight) for query in queries
        ]
        hits = rankings[0][0] if len(rankings) == 1 else _fuse(rankings, depth)
        passages = external_passages(hits)
        timer.add("retrieve", retriever=self.retriever.config(), hits=len(hits))
        hits = self._postprocess(queries[0].text, hits, k, index, timer)
        return _SearchResult(question, hits[:k], timer.steps, passages)

    def _condense(
        self, question: str, history: Sequence[Message], timer: _StageTimer
    ) -> tuple[str, str]:
        """Rewrite a follow-up. Return the query to search with, and the question to answer."""
        if not history or self.condenser is None:
            return question, question
        with tracing.span(f"condense {self.condenser.name}"):
            condensed = to_well_formed(self.condenser.transform(question, history)[0].text).strip()
        query = condensed or question
        if query != question:
            timer.add("condense", question=query, condenser=self.condenser.name)
        if self.condenser.for_search_only and self.generator.reads_history:
            return query, question
        return query, query

    def _transform(self, query: str, history: Sequence[Message], timer: _StageTimer) -> list[Query]:
        """Pass the query through the transforms. Return distinct queries, the first one first."""
        queries = [Query(query)]
        for transform in self.transforms:
            with tracing.span(f"transform {transform.name}") as span:
                queries = [
                    Query(to_well_formed(output.text), output.weight * query.weight)
                    for query in queries
                    for output in transform.transform(query.text, history)
                ]
                span.data["queries"] = [query.text for query in queries]
            timer.add(transform.name, queries=[query.text for query in queries])
        distinct: dict[str, Query] = {}
        for transformed in queries:
            distinct.setdefault(transformed.text, transformed)
        return list(distinct.values())

    def _retrieve(self, query: str, k: int, index: Index, where: Where | None) -> list[Hit]:
        with _hits_span(f"retrieval {self.retriever.name}", "retrieval", query) as record:
            return record(self.retriever.retrieve(query, k=k, index=index, where=where))

    def _postprocess(
        self, query: str, hits: list[Hit], k: int, index: Index, timer: _StageTimer
    ) -> list[Hit]:
        for i, part in enumerate(self.postprocessors):
            with _hits_span(f"rerank {part.name}", "rerank", query) as record:
                hits = record(part.process(query, hits, index=index))
            later_parts = self.postprocessors[i + 1 :]
            if not any(later.input_depth or later.oversample for later in later_parts):
                hits = hits[:k]
            timer.add(part.name, hits=len(hits))
        return hits

    def more_like(self, uri: str, *, k: int | None = None, where: Where | None = None) -> list[Hit]:
        """Return up to `k` documents that are similar to the document `uri`, by their best chunk.

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
        """Answer a question from the index. Every citation is compared with the stored source.

        `history` holds the earlier messages of the conversation, oldest first. `evidence` holds
        citations of earlier answers: their chunks are added to the hits if they match `where` and
        the stored text is unchanged. The usage of the answer includes every model call.
        """
        with track_usage() as tracker, self._span("ask") as span:
            result = self._search_with_evidence(question, where, history, evidence)
            with tracing.span(f"generate {self.generator.name}"):
                answer = self.generator.answer(result.question, result.hits, history)
            answer = self._verify_quotes(answer, result, tracker.usage)
            _record_answer(span, answer)
            return answer

    def stream(
        self,
        question: str,
        *,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Iterator[Event]:
        """Like `ask`, as a stream of events: text, citations, verified sentences, and the answer.

        The last event is `AnswerCompleted` with the checked answer. If that answer is an
        abstention, it withdraws the text that was streamed before.
        """
        return iterate_in_own_context(self._stream(question, where, history, evidence))

    def _stream(
        self,
        question: str,
        where: Where | None,
        history: Sequence[Message],
        evidence: Sequence[Citation],
    ) -> Iterator[Event]:
        with track_usage() as tracker, self._span("ask") as span:
            result = self._search_with_evidence(question, where, history, evidence)
            passages = result.passages
            answer: Answer | None = None
            with tracing.span(f"generate {self.generator.name}"):
                events = self.generator.stream(result.question, result.hits, history)
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
                answer = self._verify_quotes(answer, result, tracker.usage)
                _record_answer(span, answer)
                yield AnswerCompleted(answer=answer)

    def extract(
        self, question: str, model: type[Model], *, where: Where | None = None
    ) -> Extraction[Model]:
        """Fill in a pydantic `model` from the index, with citations for each value.

        `question` describes the values to find. Raises `ConfigError` if the generator has no chat
        model, and `ModelReplyError` if the reply of the chat model does not fit `model`.
        """
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise QueryError(f"{model!r:.100} is not a pydantic model (a class, not an instance)")
        if not isinstance(self.generator, GroundedGenerator):
            raise ConfigError(
                f"the generator {self.generator.name!r} cannot fill in a model: use 'grounded', "
                "which has a chat model"
            )
        with track_usage() as tracker, self._span("extract"):
            result = self._search(question, None, where, ())
            with tracing.span(f"generate {self.generator.name}"):
                extraction = self.generator.extract(result.question, result.hits, model)
        passages = result.passages
        fields = {
            path: evidence.model_copy(
                update={
                    "citations": tuple(self._read_back(c, passages) for c in evidence.citations)
                }
            )
            for path, evidence in extraction.fields.items()
        }
        update = {
            "fields": fields,
            "usage": tracker.usage,
            "trace": (*result.steps, *extraction.trace),
        }
        return extraction.model_copy(update=update)

    def chat(self, name: str | None = None, **options: Any) -> Conversation:
        """Return the conversation `name`, stored in the index folder; a new one without a name.

        For `options` see `rag.Conversation`.
        """
        self.open()
        return Conversation(self, self.conversations, name, **options)

    @property
    def conversations(self) -> ConversationStore:
        """The conversations stored in the index folder."""
        folder = namespace_folder(self.index, self.namespace)
        return ConversationStore(folder / CONVERSATIONS_FILE)

    def _search_with_evidence(
        self,
        question: str,
        where: Where | None,
        history: Sequence[Message],
        evidence: Sequence[Citation],
    ) -> _SearchResult:
        """Search, and append the chunks of `evidence` that the search did not return."""
        result = self._search(question, None, where, history)
        if not evidence:
            return result
        hit_ids = {hit.chunk.id for hit in result.hits}
        chunks = {c.id: c for c in self._unchanged_chunks(evidence, where) if c.id not in hit_ids}
        lowest_score = min((hit.score for hit in result.hits), default=1.0)
        evidence_hits = [
            Hit(
                chunk=chunk,
                score=lowest_score,
                stage_scores={"earlier": StageScore(rank=rank, score=1.0)},
            )
            for rank, chunk in enumerate(chunks.values(), start=1)
        ]
        return result._replace(hits=[*result.hits, *evidence_hits])

    def _unchanged_chunks(
        self, evidence: Sequence[Citation], where: Where | None
    ) -> Iterator[Chunk]:
        """Yield the chunk of each citation whose quote is still the stored text."""
        document_store = self.open().document_store
        document_filter = None if where is None else Filter.of(where)
        for citation in evidence:
            try:
                if (
                    document_store.text(citation.uri, citation.start, citation.end)
                    != citation.quote
                ):
                    continue
                if document_filter is not None and not document_filter.matches(
                    document_store.document(citation.uri)
                ):
                    continue
                outline = document_store.outline(citation.uri)
            except DocumentNotFound:
                continue
            rows = [s.row for s in outline if s.start <= citation.start < s.end]
            yield from document_store.chunks(rows[:1]).values()

    def delete(self, *uris: str) -> int:
        """Delete the documents at and below these uris. Return the number of deleted documents.

        Use it for sources that no longer exist: `ingest` itself deletes what an existing source no
        longer lists. Raises `IndexLocked` if another process is writing.
        """
        index = self.open()
        with index.open_writer() as writer:
            stored_uris = {
                stored_uri
                for uri in uris
                for stored_uri in index.document_store.uris(uri.rstrip("/"))
                if stored_uri == uri or stored_uri.startswith((uri.rstrip("/") + "/", uri + PART))
            }
            index.document_store.delete_failures(uris)
            return writer.delete(sorted(stored_uris))

    def document(self, uri: str) -> Document:
        """Return the stored document `uri`. Raises `DocumentNotFound`."""
        return self.open().document_store.document(uri)

    def stats(self) -> Stats:
        """Return the numbers of documents, chunks, characters, embeddings and failures."""
        return self.open().document_store.stats()

    def _span(self, name: str) -> AbstractContextManager[tracing.Span]:
        attributes = {"gen_ai.data_source.id": self.namespace or None}
        return tracing.span(name, attributes=attributes)

    def _read_back(self, citation: Citation, passages: Mapping[str, str]) -> Citation:
        """Compare the quote with its source. Return the citation with the result and location.

        The source is a stored document, or one of the external `passages`.
        """
        if (passage := passages.get(citation.uri)) is not None:
            verified = passage[citation.start : citation.end] == citation.quote
            return citation.model_copy(update={"verified": verified})
        document_store = self.open().document_store
        try:
            stored_text = document_store.text(citation.uri, citation.start, citation.end)
            location = document_store.location(citation.uri, citation.start)
        except DocumentNotFound:  # deleted since it was retrieved
            return citation
        verified = stored_text == citation.quote
        return citation.model_copy(update={"verified": verified, "location": location})

    def _verify_quotes(self, answer: Answer, result: _SearchResult, usage: Usage) -> Answer:
        """Compare every quote with its source, and add the steps of the search to the trace."""
        started = time.perf_counter()
        passages = result.passages
        with tracing.span("verify quotes") as span:
            citations = tuple(self._read_back(citation, passages) for citation in answer.citations)
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
                "trace": (*result.steps, *answer.trace, step),
            }
        )

    # -- the same for event loops --------------------------------------------

    async def aingest(
        self,
        *sources: str | Path | Connector,
        keep_missing: bool = False,
        dry_run: bool = False,
        allow_private: bool = False,
        progress: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """Run `ingest` in a worker thread, which also calls `progress`."""
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
        """Run `search` in a worker thread."""
        return await _in_thread(lambda: self.search(query, k=k, where=where, history=history))

    async def aask(
        self,
        question: str,
        *,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Answer:
        """Like `ask`, for an event loop. Cancellation stops the model at its next token."""
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
        """Like `stream`, with each step in a worker thread. Closing it stops the model."""
        events = self.stream(question, where=where, history=history, evidence=evidence)
        async for event in iterate_in_threads(events, at_once=not self.generator.streams):
            yield event

    async def aextract(
        self, question: str, model: type[Model], *, where: Where | None = None
    ) -> Extraction[Model]:
        """Run `extract` in a worker thread."""
        return await _in_thread(lambda: self.extract(question, model, where=where))


@contextmanager
def _hits_span(
    name: str, operation: str, query: str
) -> Iterator[Callable[[Sequence[Hit]], list[Hit]]]:
    """Open a span for a stage. The yielded function records the hits of the stage."""
    with tracing.span(name, operation=operation, data={"query": query}) as span:

        def record(hits: Sequence[Hit]) -> list[Hit]:
            span.data["hits"] = tuple(hits)
            span.set("citewell.hits", len(hits))
            return list(hits)

        yield record


def _record_answer(span: tracing.Span, answer: Answer) -> None:
    """Record the outcome of a question in its span."""
    span.data["answer"] = answer
    span.set("citewell.status", answer.status)
    span.set("citewell.citations", len(answer.citations))
    if answer.usage.calls:
        span.set_usage(answer.usage)


def _unpickle(cls: type[Pipeline], fields: dict[str, Any]) -> Pipeline:
    return cls(**fields)


async def _in_thread(call: Callable[[], _T]) -> _T:
    from anyio import to_thread

    return await to_thread.run_sync(call)


def _check_question(question: str) -> str:
    if not isinstance(question, str):
        raise QueryError(f"a question must be a string, not {type(question).__name__}")
    question = to_well_formed(question)
    if not question.strip():
        raise QueryError("the question is empty")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise QueryError(
            f"the question has {len(question):,} characters; the limit is "
            f"{MAX_QUESTION_CHARACTERS:,}"
        )
    return question.strip()


class _SearchResult(NamedTuple):
    question: str  # as the generator receives it
    hits: list[Hit]
    steps: tuple[Step, ...]
    passages: dict[str, str]  # texts of external passages, by uri


class _StageTimer:
    """Times the stages of a search."""

    def __init__(self) -> None:
        self.steps: tuple[Step, ...] = ()
        self._stage_start = time.perf_counter()

    def add(self, name: str, **detail: Any) -> None:
        """Record that the stage `name` ended now."""
        stage_end = time.perf_counter()
        step = Step(name=name, seconds=stage_end - self._stage_start, detail=detail)
        self.steps += (step,)
        self._stage_start = stage_end


def _fuse(rankings: Sequence[tuple[Sequence[Hit], float]], k: int) -> list[Hit]:
    """Fuse the hits of several queries: the weighted sum of scores, each divided by its best."""
    hits_by_chunk: dict[str, Hit] = {}
    totals: dict[str, float] = {}
    for hits, weight in rankings:
        scores = normalize_by_best({i: hit.score for i, hit in enumerate(hits)})
        for i, hit in enumerate(hits):
            hits_by_chunk.setdefault(hit.chunk.id, hit)
            totals[hit.chunk.id] = totals.get(hit.chunk.id, 0.0) + weight * scores[i]
    weight_sum = sum(weight for _, weight in rankings) or 1.0
    best_ids = sorted(totals, key=lambda chunk_id: -totals[chunk_id])[:k]
    return [
        hits_by_chunk[chunk_id].model_copy(update={"score": totals[chunk_id] / weight_sum})
        for chunk_id in best_ids
    ]
