"""Search: from a question to hits, through condenser, transforms, retriever and postprocessors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rag import tracing
from rag.errors import DocumentNotFound, QueryError
from rag.filters import Filter, Where, join_filters
from rag.query import Query
from rag.retrieval.external_passages import external_passages
from rag.retrieval.fusion import normalize_by_best
from rag.text.instructions import split_instructions
from rag.types import (
    Chunk,
    Citation,
    CondenseStep,
    Hit,
    Message,
    PostprocessStep,
    RetrieveStep,
    StageScore,
    TraceStep,
    TransformStep,
    to_well_formed,
)

if TYPE_CHECKING:
    from rag.generation import Generator
    from rag.index import Index
    from rag.postprocessing import Postprocessor
    from rag.retrieval import QueryTransform, Retriever

_T = TypeVar("_T")

MAX_QUESTION_CHARACTERS = 20_000
MAX_HITS = 10_000
HITS_PER_FUSED_QUERY = 100


class SearchResult(NamedTuple):
    """Result of a search.

    ``query`` is the question for a generator, ``hits`` are the best first, ``steps`` say what each
    stage did, and ``passages`` are the texts of hits from outside the index, by uri.
    """

    query: Query
    hits: list[Hit]
    steps: tuple[TraceStep, ...] = ()
    passages: dict[str, str] = {}


class Searcher:
    """Searches an index with the parts of a pipeline.

    `open_index` returns the index when it is needed; it gets True if the index may be new and
    empty. `generator` says whether follow-up questions need to be condensed for it.
    """

    def __init__(
        self,
        open_index: Callable[[bool], Index],
        retriever: Retriever,
        *,
        condenser: QueryTransform | None = None,
        transforms: Sequence[QueryTransform] = (),
        postprocessors: Sequence[Postprocessor] = (),
        generator: Generator | None = None,
        filter: Filter | None = None,
    ) -> None:
        self._open_index = open_index
        self._retriever = retriever
        self._condenser = condenser
        self._transforms = transforms
        self._postprocessors = postprocessors
        self._reads_history = generator is not None and generator.reads_history
        self._filter = filter

    def search(
        self,
        question: str | Query,
        k: int,
        *,
        where: Where | None = None,
        history: Sequence[Message] = (),
    ) -> SearchResult:
        """Return up to `k` hits after postprocessing. Raises `QueryError`."""
        timer = _StageTimer()
        query, query_for_generator = self._condense(check_question(question), history, timer)
        if not 1 <= k <= MAX_HITS:
            raise QueryError(f"k must be from 1 to {MAX_HITS:,}, not {k}")
        index = self._open_index(self._retriever.is_external)
        with index.in_use():
            return self._search(query, query_for_generator, k, where, history, index, timer)

    def _search(
        self,
        query: Query,
        query_for_generator: Query,
        k: int,
        where: Where | None,
        history: Sequence[Message],
        index: Index,
        timer: _StageTimer,
    ) -> SearchResult:
        document_filter = join_filters(query.filter, self._filter, where)
        queries = self._transform(replace(query, filter=None), history, index, timer)
        depth = max([k, *(part.input_depth for part in self._postprocessors)])
        depth = min(depth + sum(part.oversample for part in self._postprocessors), MAX_HITS)
        if len(queries) > 1:  # the sum of two rankings must not depend on k
            depth = max(depth, HITS_PER_FUSED_QUERY)
        notes: list[str] = []
        rankings = [
            (self._retrieve(query, depth, index, document_filter, notes), query.weight)
            for query in queries
        ]
        hits = rankings[0][0] if len(rankings) == 1 else _fuse(rankings, depth)
        favoured = self._retriever.find_favoured(str(queries[0]), index)
        passages = external_passages(hits)
        timer.steps.append(
            RetrieveStep(
                name="retrieve",
                seconds=timer.end_stage(),
                retriever=self._retriever.config(),
                hits=len(hits),
                favoured=favoured,
                notes=(*notes, *self._retriever.find_notes(str(queries[0]), index)),
            )
        )
        hits = self._postprocess(str(queries[0]), hits, k, index, timer)
        return SearchResult(query_for_generator, hits[:k], tuple(timer.steps), passages)

    def rank_documents(
        self, question: str | Query, depth: int, *, where: Where | None = None
    ) -> tuple[dict[str, float], int]:
        """Return uri and score of the documents of up to `depth` chunks, and the number of chunks.

        The score of a document is that of its best chunk; the best document is first. Chunks are
        read only where a postprocessor or the retriever needs them. Raises `QueryError`.
        """
        query = check_question(question)
        index = self._open_index(self._retriever.is_external)
        rows = None
        if not self._transforms and not self._postprocessors:
            document_filter = join_filters(query.filter, self._filter, where)
            searched = replace(query, text=split_instructions(query.text).searched_text)
            rows = self._retriever.rank(str(searched), k=depth, index=index, where=document_filter)
        if rows is None:
            hits = self.search(question, depth, where=where).hits
            return _keep_best_scores((hit.chunk.uri, hit.score) for hit in hits), len(hits)
        numbers = index.documents_by_row([row for row, _ in rows])
        scores = _keep_best_scores((numbers[row], score) for row, score in rows if row in numbers)
        uris = index.document_store.uris_of_documents(list(scores))
        return {uris[n]: score for n, score in scores.items() if n in uris}, len(numbers)

    def _condense(
        self, query: Query, history: Sequence[Message], timer: _StageTimer
    ) -> tuple[Query, Query]:
        """Complete a follow-up. Return the query to search with, and the one to answer."""
        if not history or self._condenser is None:
            return query, query
        with tracing.span(f"condense {self._condenser.name}"):
            condensed = self._condenser.transform(query.text, history)[0]
        if not to_well_formed(condensed.text).strip():
            return query, query
        condensed = replace(
            query,
            text=to_well_formed(condensed.text).strip(),
            carried_terms=(*query.carried_terms, *condensed.carried_terms),
        )
        if condensed != query:
            timer.steps.append(
                CondenseStep(
                    name="condense",
                    seconds=timer.end_stage(),
                    question=str(condensed),
                    condenser=self._condenser.name,
                )
            )
        if self._condenser.for_search_only and self._reads_history:
            return condensed, query
        return condensed, condensed

    def _transform(
        self, query: Query, history: Sequence[Message], index: Index, timer: _StageTimer
    ) -> list[Query]:
        """Pass the query through the transforms. Return distinct queries, the first one first.

        What the question says about the form of its answer is not searched for.
        """
        query = replace(query, text=split_instructions(query.text).searched_text)
        queries = [query]
        for transform in self._transforms:
            with tracing.span(f"transform {transform.name}") as span:
                queries = [
                    _inherit(query, output)
                    for query in queries
                    for output in transform.transform_for_index(str(query), history, index)
                ]
                span.data["queries"] = [str(query) for query in queries]
            timer.steps.append(
                TransformStep(
                    name="transform",
                    seconds=timer.end_stage(),
                    transform=transform.name,
                    queries=tuple(str(query) for query in queries),
                    filters=tuple(q.filter.to_json() for q in queries if q.filter is not None),
                    notes=tuple(dict.fromkeys(note for q in queries for note in q.notes)),
                )
            )
        distinct: dict[str, Query] = {}
        for transformed in queries:
            distinct.setdefault(str(transformed), transformed)
        return list(distinct.values())

    def _retrieve(
        self, query: Query, k: int, index: Index, where: Filter | None, notes: list[str]
    ) -> list[Hit]:
        """Search for one query; without its filter if that is optional and leaves no hit."""
        text = str(query)
        with _hits_span(f"retrieval {self._retriever.name}", "retrieval", text) as record:
            document_filter = join_filters(query.filter, where)
            hits = self._retriever.retrieve(text, k=k, index=index, where=document_filter)
            if not hits and query.filter is not None and query.is_filter_optional:
                hits = self._retriever.retrieve(text, k=k, index=index, where=where)
                notes.append("the filter from the question leaves no hit and was not used")
            return record(hits)

    def _postprocess(
        self, query: str, hits: list[Hit], k: int, index: Index, timer: _StageTimer
    ) -> list[Hit]:
        for i, part in enumerate(self._postprocessors):
            with _hits_span(f"rerank {part.name}", "rerank", query) as record:
                hits = record(part.process(query, hits, index=index))
            later_parts = self._postprocessors[i + 1 :]
            if not any(later.input_depth or later.oversample for later in later_parts):
                hits = hits[:k]
            timer.steps.append(
                PostprocessStep(
                    name="postprocess",
                    seconds=timer.end_stage(),
                    postprocessor=part.name,
                    hits=len(hits),
                )
            )
        return hits

    def add_evidence(
        self, result: SearchResult, evidence: Sequence[Citation], where: Where | None
    ) -> SearchResult:
        """Append the chunks of `evidence` that the search did not return.

        Only chunks of documents that `where` selects, and whose quote is still the stored text.
        """
        if not evidence:
            return result
        index = self._open_index(False)
        document_filter = join_filters(self._filter, where)
        hit_ids = {hit.chunk.id for hit in result.hits}
        chunks = {
            chunk.id: chunk
            for chunk in _iterate_unchanged_chunks(index, evidence, document_filter)
            if chunk.id not in hit_ids
        }
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


def _iterate_unchanged_chunks(
    index: Index, evidence: Sequence[Citation], document_filter: Filter | None
) -> Iterator[Chunk]:
    """Yield the chunk of each citation whose quote is still the stored text."""
    document_store = index.document_store
    for citation in evidence:
        try:
            if document_store.text(citation.uri, citation.start, citation.end) != citation.quote:
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


def _inherit(query: Query, output: Query) -> Query:
    """Return what a transform made of a query, with the weight and filters of both."""
    return replace(
        output,
        text=to_well_formed(output.text),
        weight=output.weight * query.weight,
        filter=join_filters(query.filter, output.filter),
        is_filter_optional=all(
            q.is_filter_optional for q in (query, output) if q.filter is not None
        ),
    )


def _keep_best_scores(scored: Iterable[tuple[_T, float]]) -> dict[_T, float]:
    """Return the score of each document, in the order of the chunks.

    A postprocessor may put a lower score first; a later document then has at most that score.
    """
    best: dict[_T, float] = {}
    last = float("inf")
    for document, score in scored:
        if document not in best:
            last = best[document] = min(score, last)
    return best


def check_question(question: str | Query) -> Query:
    """Return a question as a query. Raises `QueryError` if it is empty, too long or no text."""
    if not isinstance(question, str | Query):
        raise QueryError(f"a question must be a string, not {type(question).__name__}")
    query = Query.of(question)
    text = to_well_formed(query.text).strip()
    if not text:
        raise QueryError("the question is empty")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise QueryError(
            f"the question has {len(text):,} characters; the limit is {MAX_QUESTION_CHARACTERS:,}"
        )
    return replace(query, text=text)


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


class _StageTimer:
    """Times the stages of a search, and holds their steps."""

    def __init__(self) -> None:
        self.steps: list[TraceStep] = []
        self._stage_start = time.perf_counter()

    def end_stage(self) -> float:
        """Return the seconds since the last stage ended; the next stage starts now."""
        stage_start, self._stage_start = self._stage_start, time.perf_counter()
        return self._stage_start - stage_start


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
