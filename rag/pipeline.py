"""The pipeline: ingest, search, ask, stream and extract over one index."""

from __future__ import annotations

import datetime
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel

from connectors import Connector, Files, connect
from connectors.with_metadata import WithMetadata
from rag import tracing
from rag.answers import AnswerChange, AnswerHistory, CachedAnswers, CacheLookup
from rag.component import build
from rag.concurrency import (
    close_at_end,
    iterate_in_own_context,
    iterate_in_threads,
    map_concurrently,
)
from rag.conversation import Conversation, ConversationStore
from rag.errors import ConfigError, IndexNotFound, QueryError
from rag.filters import Filter, Where, join_filters
from rag.generation import (
    AnswerCompleted,
    CitationAdded,
    Event,
    Extraction,
    GroundedGenerator,
    replay_events,
)
from rag.generation.citation_verifier import CitationVerifier
from rag.generation.extraction import Model
from rag.index import Index, open_document_store
from rag.index.document_paths import select_below
from rag.index.paths import (
    ANSWER_CACHE_FILE,
    ANSWER_HISTORY_FILE,
    CONVERSATIONS_FILE,
    namespace_folder,
    validate_name,
)
from rag.ingestion import IngestReport, plan, sync
from rag.llm.prompting import hash_templates
from rag.llm.usage import track_usage
from rag.pipeline_config import PipelineConfig
from rag.providers.key_servers import explain_withheld_key, find_origin, find_server
from rag.query import Query
from rag.retrieval.external_passages import external_passages
from rag.searcher import MAX_HITS, Searcher, SearchResult, check_question
from rag.settings import load_settings
from rag.stores import DocumentStore, Stats
from rag.types import Answer, Citation, Document, Hit, Message, Usage, flatten_metadata

if TYPE_CHECKING:
    from connectors import Parser
    from connectors.parser_pool import ParserLimits
    from rag.answers import AnswerCache
    from rag.chunking import Chunker
    from rag.embedding import Embedder
    from rag.generation import Generator
    from rag.postprocessing import Postprocessor
    from rag.retrieval import QueryTransform, Retriever
    from rag.stores import DocumentStoreConfig, LexicalIndexConfig, VectorStoreConfig

_T = TypeVar("_T")

_MAX_CHUNKS_PER_RANKED_DOCUMENT = 8
_MAX_RANKED_CHUNKS = 2_000
_SETTINGS_OF_INDEX = frozenset(
    {"index", "namespace", "embedder", "document_store", "vector_store", "lexical_index"}
)


class Pipeline:
    """A pipeline from sources to cited answers, with the parts of a `PipelineConfig`.

    Give the settings of `PipelineConfig` as keywords, or a configuration. They are attributes of
    the pipeline, and cannot be changed: `replace` returns a pipeline with other settings. Files are
    opened when they are first used. Threads may share a pipeline. `close` it, or use it as a
    context manager. Raises `ConfigError` for settings that cannot work.
    """

    if TYPE_CHECKING:
        index: Path
        parser: Parser
        chunker: Chunker
        embedder: Embedder
        condenser: QueryTransform | None
        transforms: tuple[QueryTransform, ...]
        retriever: Retriever
        postprocessors: tuple[Postprocessor, ...]
        generator: Generator
        k: int
        filter: Filter | None
        document_store: DocumentStoreConfig
        vector_store: VectorStoreConfig
        lexical_index: LexicalIndexConfig
        answer_cache: AnswerCache | None
        namespace: str
        processes: int | None
        limits: ParserLimits

    def __init__(self, config: PipelineConfig | None = None, **settings: Any) -> None:
        if config is None:
            self.configuration = PipelineConfig.from_config(settings)
        else:
            self.configuration = config.replace(**settings) if settings else config
        self._opened: Index | None = None
        self._lender: Pipeline | None = None
        self._guard = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name in PipelineConfig.model_fields and "configuration" in self.__dict__:
            return getattr(self.configuration, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in PipelineConfig.model_fields:
            raise AttributeError(f"{name} cannot be changed: use pipeline.replace({name}=...)")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Pipeline{str(self.configuration.__repr__()).removeprefix('PipelineConfig')}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.configuration == other.configuration

    def __hash__(self) -> int:
        return hash(self.configuration)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.configuration,)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return type(self)(self.configuration)

    # -- configuration ----------------------------------------------------------------------

    def replace(self, **settings: Any) -> Self:
        """Return a pipeline with other settings. It opens the index again: close it, too."""
        return type(self)(self.configuration.replace(**settings))

    def share(self, **settings: Any) -> Self:
        """Return a pipeline with other settings for questions, over the open index of this one.

        It cannot have another index, namespace, embedder or store. Closing it does nothing. Raises
        `ConfigError`.
        """
        if fixed := sorted(_SETTINGS_OF_INDEX & settings.keys()):
            raise ConfigError(f"{fixed[0]} cannot differ in a shared index", setting=fixed[0])
        shared = self.replace(**settings)
        shared._lender = self
        return shared

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return a pipeline with other settings; see `replace`."""
        return self.replace(**(update or {}))

    def with_namespace(self, namespace: str) -> Self:
        """Return a pipeline for another namespace of the index.

        Use it to serve many users from one index: no filter and no question of a user can reach
        another namespace. `close` the returned pipeline.
        """
        return self.replace(namespace=validate_name(namespace, "namespace"))

    def config(self) -> dict[str, Any]:
        """Return the configuration as plain data, without secrets."""
        return self.configuration.config()

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify what the pipeline computes."""
        return self.configuration.fingerprint

    @property
    def is_plain(self) -> bool:
        """Whether an equal pipeline can be built from the configuration alone."""
        return self.configuration.is_plain

    def to_yaml(self, *, defaults: bool = True) -> str:
        """Return the configuration as YAML; see `PipelineConfig.to_yaml`."""
        return self.configuration.to_yaml(defaults=defaults)

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Build a pipeline from YAML; see `PipelineConfig.from_yaml`. Raises `ConfigError`."""
        return cls(PipelineConfig.from_yaml(source))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a pipeline from plain data, as `config` returns it. Raises `ConfigError`."""
        return cls(PipelineConfig.from_config(config))

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
        if self._lender is not None:
            return self._lender.open(create=create, check=check)
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
        allow_deletions: bool = False,
        dry_run: bool = False,
        allow_private: bool = False,
        metadata: Mapping[str, Any] | None = None,
        progress: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """Index the sources: paths, uris or connectors. Only changes are read and embedded.

        Without any, those in the configuration (``sources``).

        A document that a source no longer lists is deleted, unless `keep_missing`; if these are
        most documents of a source, and more than 10, `TooManyDeletions` is raised in place of the
        deletion, unless `allow_deletions`. Files that moved here from elsewhere move in the index,
        too. The report
        lists every document that cannot be read, with the reason. If the pipeline has another
        embedder than the index, all documents are embedded again; searches use the old vectors
        until that is complete. A `dry_run` writes nothing and reports the changes and their cost.
        `allow_private` permits addresses in private networks (see `connectors.web.Web`).
        `metadata` is given to all documents of these sources; ``title`` in it is the title of a
        single file. An ingest without it removes it again. Raises `SourceNotFound` before any
        change, `ConfigError` for metadata that cannot be stored, and `IndexLocked` if another
        process is writing.
        """
        sources = sources or self.sources
        if not sources:
            raise ConfigError(
                "nothing to index: name a source, or set `sources`", setting="sources"
            )
        connectors = [self.connector(source, allow_private=allow_private) for source in sources]
        if metadata:
            connectors = _add_metadata(connectors, metadata)
        parts = (connectors, self.parser, self.chunker)
        options: dict[str, Any] = {
            "keep_missing": keep_missing,
            "allow_deletions": allow_deletions,
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
        if password and source in self.sources:
            self._check_mail_server(str(source))
        return connect(source, allow_private=allow_private, imap_password=password)

    def _check_mail_server(self, source: str) -> None:
        """Raise `ConfigError` if a source of the configuration would get a password of the user."""
        parts = urlsplit(source)
        if parts.scheme not in ("imap", "imaps") or parts.password:
            return
        origin = find_origin("IMAP_PASSWORD")
        if obstacle := explain_withheld_key(source, "configuration", origin):
            raise ConfigError(
                f"IMAP_PASSWORD was not sent to {find_server(source)}: {obstacle}",
                setting="sources",
            )

    def search(
        self,
        query: str | Query,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
    ) -> list[Hit]:
        """Return up to `k` hits (default: the pipeline's ``k``) after postprocessing, best first.

        `where` selects documents, in addition to the pipeline's ``filter``. `history` holds the
        earlier messages of the conversation, for the condenser and the transforms. Raises
        `QueryError` for an empty query.
        """
        return self.search_with_steps(query, k=k, where=where, history=history).hits

    def search_with_steps(
        self,
        query: str | Query,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
    ) -> SearchResult:
        """Like `search`, with a step for each stage: what it did, and what a reader should know."""
        with tracing.span("search") as span:
            result = self._search(query, k, where, history)
            span.set("citewell.hits", len(result.hits))
            return result

    def rank_documents(
        self, query: str | Query, *, k: int | None = None, where: Where | None = None
    ) -> dict[str, float]:
        """Return up to `k` documents (default: the pipeline's ``k``), best first: uri and score.

        The score of a document is that of its best chunk. Documents are ranked by the numbers of
        their chunks, so that nothing is read from them, unless a postprocessor needs it. Raises
        `QueryError` for an empty query.
        """
        k = self.k if k is None else k
        if not 1 <= k <= MAX_HITS:
            raise QueryError(f"k must be from 1 to {MAX_HITS:,}, not {k}")
        searcher, depth = self.make_searcher(), self._estimate_depth(k)
        while True:
            documents, chunk_count = searcher.rank_documents(query, depth, where=where)
            if len(documents) >= k or chunk_count < depth or depth >= _MAX_RANKED_CHUNKS:
                return dict(list(documents.items())[:k])
            depth = min(4 * depth, _MAX_RANKED_CHUNKS)

    def _estimate_depth(self, k: int) -> int:
        """Return how many chunks are probably those of `k` documents."""
        store = self._open_for_search(self.retriever.is_external).document_store
        chunks_per_document = store.chunk_count() / max(1, store.document_count())
        depth = k * min(_MAX_CHUNKS_PER_RANKED_DOCUMENT, max(2, round(chunks_per_document)))
        return min(depth, max(2 * k, _MAX_RANKED_CHUNKS), MAX_HITS)

    def search_many(
        self, queries: Sequence[str | Query], *, k: int | None = None, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return the hits of each query; see `search`. The queries are embedded in one batch."""
        checked_queries = [check_question(query) for query in queries]
        self._embed_queries(checked_queries)
        return [self.search(query, k=k, where=where) for query in checked_queries]

    def _embed_queries(self, queries: Sequence[Query]) -> None:
        if queries and not self.retriever.is_external:
            self.open().embed_queries([str(query) for query in queries])

    def make_searcher(self) -> Searcher:
        """Return the searcher of this pipeline, for search without answers."""
        return Searcher(
            self._open_for_search,
            self.retriever,
            condenser=self.condenser,
            transforms=self.transforms,
            postprocessors=self.postprocessors,
            generator=self.generator,
            filter=self.filter,
        )

    def _open_for_search(self, create: bool) -> Index:
        with tracing.span("open index") if self._opened is None else nullcontext():
            return self.open(create=create)

    def _search(
        self,
        question: str | Query,
        k: int | None,
        where: Where | None,
        history: Sequence[Message],
        evidence: Sequence[Citation] = (),
    ) -> SearchResult:
        searcher = self.make_searcher()
        k = self.k if k is None else k
        result = searcher.search(question, k, where=where, history=history)
        return searcher.add_evidence(result, evidence, where)

    def _search_and_look_up(
        self,
        question: str | Query,
        k: int | None,
        where: Where | None,
        history: Sequence[Message],
        evidence: Sequence[Citation],
    ) -> tuple[SearchResult, CacheLookup | None]:
        """Search, and return how to find the answer in the cache; None if it has none of these.

        Only answers from the documents of the index are cached, and none of a conversation.
        """
        if self.answer_cache is None or history or evidence or self.retriever.is_external:
            return self._search(question, k, where, history, evidence), None
        index = self._open_for_search(False)
        cached_answers = CachedAnswers(
            self._namespace_folder / ANSWER_CACHE_FILE,
            self.answer_cache,
            f"{self.fingerprint} {hash_templates()}",
            index.document_store,
        )
        index_state = cached_answers.read_index_state()
        result = self._search(question, k, where, history)
        query = result.query
        lookup = CacheLookup(
            cached_answers,
            str(query),
            result.hits,
            where=join_filters(query.filter, where),
            k=self.k if k is None else k,
            index_state=index_state,
        )
        return result, lookup

    def _find_cached(
        self, lookup: CacheLookup | None, result: SearchResult, usage: Usage
    ) -> Answer | None:
        """Return an earlier answer, complete; none of which a quote is not in its source."""
        if lookup is None:
            return None
        with tracing.span("look up answer"):
            if (cached := lookup.find()) is None:
                return None
            answer = self._complete_answer(cached, result, usage)
            return answer if all(c.verified for c in answer.citations) else None

    def more_like(self, uri: str, *, k: int | None = None, where: Where | None = None) -> list[Hit]:
        """Return up to `k` documents that are similar to the document `uri`, by their best chunk.

        Raises `DocumentNotFound`.
        """
        from rag.corpus_analysis import more_like

        k = self.k if k is None else k
        return more_like(self.open(), uri, k=k, where=join_filters(self.filter, where))

    def ask(
        self,
        question: str | Query,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Answer:
        """Answer a question from the index. Every citation is compared with the stored source.

        `k` is the number of hits for the generator (default: the pipeline's ``k``), and `where`
        selects documents, in addition to the pipeline's ``filter``. `history` holds the earlier
        messages of the conversation, oldest first. `evidence` holds citations of earlier answers:
        their chunks are added to the hits if they match `where` and the stored text is unchanged.
        The usage of the answer includes every model call.
        """
        with track_usage() as tracker, self._span("ask") as span:
            result, lookup = self._search_and_look_up(question, k, where, history, evidence)
            answer = self._find_cached(lookup, result, tracker.usage)
            if answer is None:
                with tracing.span(f"generate {self.generator.name}"):
                    answer = self.generator.answer(result.query, result.hits, history)
                answer = self._complete_answer(answer, result, tracker.usage)
                if lookup is not None:
                    lookup.store(answer)
            _record_answer(span, answer)
            return answer

    def ask_many(
        self,
        questions: Sequence[str | Query],
        *,
        k: int | None = None,
        where: Where | None = None,
        concurrency: int = 4,
    ) -> list[Answer]:
        """Return the answer to each question; see `ask`. The questions are embedded in one batch.

        Up to `concurrency` questions are answered at once, in threads.
        """
        checked_questions = [check_question(question) for question in questions]
        self._embed_queries(checked_questions)
        return map_concurrently(
            lambda question: self.ask(question, k=k, where=where), checked_questions, concurrency
        )

    def ask_again(
        self,
        question: str,
        *,
        since: datetime.datetime | None = None,
        where: Where | None = None,
        series: str = "",
    ) -> AnswerChange:
        """Answer a question, and compare the answer with the last one of `ask_again`.

        With `since`, with the last one before that time. The answer is stored in the index folder
        if it is the first one or has changed; where that is not possible, a warning is logged.
        Each `series` has its own earlier answers: that of `rag monitor` is called so.
        """
        answer = self.ask(question, where=where)
        store = None if self.retriever.is_external else self.open().document_store
        history = AnswerHistory(self._namespace_folder / ANSWER_HISTORY_FILE)
        document_filter = join_filters(where)
        return history.compare(
            question, answer, store, where=document_filter, since=since, series=series
        )

    def answer(
        self,
        question: str | Query,
        hits: Sequence[Hit],
        *,
        history: Sequence[Message] = (),
    ) -> Answer:
        """Answer from `hits`, for example of several searches, with checked citations.

        No search is made. The hits may come from `search`, in any order and number.
        """
        with track_usage() as tracker, self._span("answer") as span:
            result = SearchResult(check_question(question), list(hits), (), external_passages(hits))
            with tracing.span(f"generate {self.generator.name}"):
                answer = self.generator.answer(result.query, result.hits, history)
            answer = self._complete_answer(answer, result, tracker.usage)
            _record_answer(span, answer)
            return answer

    def verify(self, answer: Answer) -> Answer:
        """Return an answer with every citation compared with the stored source again.

        Use it for answers that were stored, edited or made by another generator.
        """
        passages = external_passages(answer.hits)
        return self._citation_verifier().verify_answer(answer, passages)

    def _citation_verifier(self) -> CitationVerifier:
        return CitationVerifier(self.open(create=self.retriever.is_external).document_store)

    def _complete_answer(self, answer: Answer, result: SearchResult, usage: Usage) -> Answer:
        """Verify the citations, and add the steps of the search and the usage."""
        with self.open(create=self.retriever.is_external).in_use():
            answer = self._citation_verifier().verify_answer(answer, result.passages)
        return answer.model_copy(
            update={
                "usage": usage if usage.calls else answer.usage,
                "trace": (*result.steps, *answer.trace),
            }
        )

    def stream(
        self,
        question: str | Query,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Iterator[Event]:
        """Like `ask`, as a stream of events: text, citations, verified sentences, and the answer.

        The last event is `AnswerCompleted` with the checked answer. If that answer has a
        ``reason`` (an abstention, or quotes in place of a draft), it withdraws the text that was
        streamed before.
        """
        return iterate_in_own_context(self._stream(question, k, where, history, evidence))

    def _stream(
        self,
        question: str | Query,
        k: int | None,
        where: Where | None,
        history: Sequence[Message],
        evidence: Sequence[Citation],
    ) -> Iterator[Event]:
        with track_usage() as tracker, self._span("ask") as span:
            result, lookup = self._search_and_look_up(question, k, where, history, evidence)
            verifier = self._citation_verifier()
            answer = self._find_cached(lookup, result, tracker.usage)
            if answer is not None:
                yield from replay_events(answer)
                _record_answer(span, answer)
                yield AnswerCompleted(answer=answer)
                return
            with tracing.span(f"generate {self.generator.name}"):
                events = self.generator.stream(result.query, result.hits, history)
                with close_at_end(events):
                    for event in events:
                        if isinstance(event, AnswerCompleted):
                            answer = event.answer
                            break
                        if isinstance(event, CitationAdded):
                            citation = verifier.verify_citation(event.citation, result.passages)
                            event = event.model_copy(update={"citation": citation})
                        yield event
            if answer is not None:
                answer = self._complete_answer(answer, result, tracker.usage)
                if lookup is not None:
                    lookup.store(answer)
                _record_answer(span, answer)
                yield AnswerCompleted(answer=answer)

    def extract(
        self,
        question: str,
        model: type[Model],
        *,
        k: int | None = None,
        where: Where | None = None,
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
            result = self._search(question, k, where, ())
            with tracing.span(f"generate {self.generator.name}"):
                extraction = self.generator.extract(result.query, result.hits, model)
        verifier = self._citation_verifier()
        fields = {
            path: evidence.model_copy(
                update={
                    "citations": tuple(
                        verifier.verify_citation(citation, result.passages)
                        for citation in evidence.citations
                    )
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
        return ConversationStore(self._namespace_folder / CONVERSATIONS_FILE)

    @property
    def _namespace_folder(self) -> Path:
        return namespace_folder(self.index, self.namespace)

    def delete(self, *uris: str) -> int:
        """Delete the documents at and below these uris. Return the number of deleted documents.

        Use it for sources that no longer exist: `ingest` itself deletes what an existing source no
        longer lists. Raises `IndexLocked` if another process is writing, and `QueryError` for an
        empty uri.
        """
        if not all(uri.strip() for uri in uris):
            raise QueryError("a uri is empty: nothing was deleted")
        index = self.open()
        with index.open_writer() as writer:
            stored_uris = {found for uri in uris for found in self.find_documents(uri)}
            index.document_store.delete_failures(uris)
            return writer.delete(sorted(stored_uris))

    def find_documents(self, uri: str) -> list[str]:
        """Return the uris of the documents at and below a uri, sorted.

        If there are none, other Unicode spellings of the path count: file systems keep a name as
        it was typed, composed or not.
        """
        document_store = self.open().document_store
        uris = select_below(document_store.uris(uri.rstrip("/")), uri)
        if uris or unquote(uri).isascii():
            return uris
        return select_below(document_store.uris(), uri)

    def document(self, uri_or_path: str | Path) -> Document:
        """Return the stored document with this uri, or of this file. Raises `DocumentNotFound`."""
        return self.open().document_store.document(_to_uri(uri_or_path))

    def stats(self) -> Stats:
        """Return the numbers of documents, chunks, characters, embeddings and failures."""
        return self.open().document_store.stats()

    def _span(self, name: str) -> AbstractContextManager[tracing.Span]:
        attributes = {"gen_ai.data_source.id": self.namespace or None}
        return tracing.span(name, attributes=attributes)

    # -- the same for event loops --------------------------------------------

    async def aingest(
        self,
        *sources: str | Path | Connector,
        keep_missing: bool = False,
        allow_deletions: bool = False,
        dry_run: bool = False,
        allow_private: bool = False,
        progress: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """Run `ingest` in a worker thread, which also calls `progress`."""
        return await _in_thread(
            lambda: self.ingest(
                *sources,
                keep_missing=keep_missing,
                allow_deletions=allow_deletions,
                dry_run=dry_run,
                allow_private=allow_private,
                progress=progress,
            )
        )

    async def asearch(
        self,
        query: str | Query,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
    ) -> list[Hit]:
        """Run `search` in a worker thread."""
        return await _in_thread(lambda: self.search(query, k=k, where=where, history=history))

    async def aask(
        self,
        question: str | Query,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Answer:
        """Like `ask`, for an event loop. Cancellation stops the model at its next token."""
        answer: Answer | None = None
        async for event in self.astream(
            question, k=k, where=where, history=history, evidence=evidence
        ):
            if isinstance(event, AnswerCompleted):
                answer = event.answer
        assert answer is not None
        return answer

    async def astream(
        self,
        question: str | Query,
        *,
        k: int | None = None,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> AsyncIterator[Event]:
        """Like `stream`, with each step in a worker thread. Closing it stops the model."""
        events = self.stream(question, k=k, where=where, history=history, evidence=evidence)
        async for event in iterate_in_threads(events, at_once=not self.generator.streams):
            yield event

    async def aextract(
        self,
        question: str,
        model: type[Model],
        *,
        k: int | None = None,
        where: Where | None = None,
    ) -> Extraction[Model]:
        """Run `extract` in a worker thread."""
        return await _in_thread(lambda: self.extract(question, model, k=k, where=where))


def _to_uri(uri_or_path: str | Path) -> str:
    """Return a uri unchanged, and a path as a ``file:`` uri. Raises `QueryError` for ""."""
    if not str(uri_or_path).strip():
        raise QueryError("a uri or path is empty")
    path = Path(uri_or_path).expanduser()
    if (
        isinstance(uri_or_path, str)
        and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri_or_path)
        and not path.exists()
    ):
        return uri_or_path
    return Path(os.path.abspath(path)).as_uri()  # noqa: PTH100 (keeps symbolic links)


def _record_answer(span: tracing.Span, answer: Answer) -> None:
    """Record the outcome of a question in its span."""
    span.data["answer"] = answer
    span.set("citewell.status", answer.status)
    span.set("citewell.citations", len(answer.citations))
    if answer.usage.calls:
        span.set_usage(answer.usage)


async def _in_thread(call: Callable[[], _T]) -> _T:
    from anyio import to_thread

    return await to_thread.run_sync(call)


def _add_metadata(connectors: Sequence[Connector], metadata: Mapping[str, Any]) -> list[Connector]:
    """Return connectors that give their documents `metadata`. Raises `ConfigError`."""
    fields = flatten_metadata(metadata)
    title = fields.pop("title", None)
    if title is not None:
        paths = [connector.path for connector in connectors if isinstance(connector, Files)]
        if len(connectors) > 1 or not paths or paths[0].is_dir():
            raise ConfigError("metadata title: only a single file can be given a title")
    if reserved := sorted({"uri", "mime"} & fields.keys()):
        raise ConfigError(f"metadata {reserved[0]}: the name is that of a field of all documents")
    return [
        WithMetadata.from_config(
            {
                "connector": connector,
                "metadata": fields,
                "title": None if title is None else str(title),
            }
        )
        for connector in connectors
    ]
