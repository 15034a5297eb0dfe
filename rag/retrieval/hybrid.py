"""Hybrid retrieval, the default: dense scores and BM25 together, and learned sparse ones."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.filters import Where
from rag.retrieval.base import (
    Ranking,
    Retriever,
    describe_language_gap,
    embed_query,
    to_hits,
)
from rag.retrieval.fusion import Fusion, add_aligned_scores, fuse, sort_by_score
from rag.retrieval.lexical import LexicalRetriever
from rag.retrieval.named_documents import NamedDocuments, find_named_documents
from rag.retrieval.named_sections import score_sections
from rag.stores.lexical_index import LexicalQuery
from rag.text.tokenization import words
from rag.types import FavouredDocument, Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index import Index

_SECTION_CANDIDATES = 100  # the best ones, whose headings are compared with the question


class HybridRetriever(Retriever):
    """A weighted sum of dense and BM25 scores, each divided by the best score.

    ``weight`` is the weight of the dense score; BM25 has the rest. None takes the weight from the
    embedder (`Embedder.dense_weight`: .4 for static vectors, .6 for transformers).

    The candidates are the best ``candidates`` chunks of each retriever. Both scores are computed
    for all candidates. The sum is ``weight * dense + (1 - weight) * lexical``. A score of zero
    stays zero: unlike min-max scaling, it does not depend on the number of candidates. An embedder
    that does not know the language of the query gives all chunks similar scores and so changes
    almost nothing. ``fusion`` selects another method (`rag.retrieval.fusion`).

    With ``sparse_weight``, the scores of `SparseRetriever` are a third part with that weight; the
    other two share the rest. The lexical index then needs a ``sparse_encoder``.

    Then the query vector is moved by ``feedback`` towards the mean of the best two candidates, and
    the cosines of the candidates are computed again: Rocchio's pseudo-relevance feedback, for dense
    vectors by Li et al. (2021). 0 turns it off.

    Last, the documents that the question names (`rag.retrieval.named_documents`) are favoured: the
    score of a document, 0 to 1, is added to that of its chunks with ``document_weight``, and the
    sum is divided by ``1 + document_weight``. Their best chunks are candidates, too. A question
    that names no document changes nothing; 0 turns it off. "Last year" is that before ``today``, a
    date (default: that of the system).

    In the same way, the score of a section that the question names (`rag.retrieval.named_sections`)
    is added to that of its chunks with ``section_weight``.

    On all sets of ``docs/retrieval.md`` it is at most .002 worse than the better of its two parts,
    while reciprocal rank fusion falls below BM25 alone on most of them.
    """

    name: ClassVar[str] = "hybrid"

    weight: float | None = Field(None, ge=0, le=1)
    fusion: Fusion = "sum"
    candidates: int = Field(100, ge=1, le=5_000)
    feedback: float = Field(0.6, ge=0, le=5)
    document_weight: float = Field(1.0, ge=0, le=10)
    section_weight: float = Field(0.1, ge=0, le=10)
    sparse_weight: float = Field(0.0, ge=0, lt=1)
    today: datetime.date | None = None
    lexical: LexicalRetriever = LexicalRetriever()

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""
        search = self._prepare_search(query, k, index, where)

        def retrieve_hits() -> list[Hit]:
            ranking, stage_rankings = search()
            return to_hits(index, ranking, stage_rankings)

        return index.read_consistent(retrieve_hits)

    def rank(self, query: str, *, k: int, index: Index, where: Where | None = None) -> Ranking:
        """See `Retriever.rank`."""
        search = self._prepare_search(query, k, index, where)
        return index.read_consistent(lambda: search()[0])

    def _prepare_search(
        self, query: str, k: int, index: Index, where: Where | None
    ) -> Callable[[], tuple[Ranking, dict[str, Ranking]]]:
        """Embed the query; return a function that ranks, and returns the rankings of the parts."""
        if not words(query):
            return lambda: ([], {})
        vector = embed_query(index, query)
        depth = max(k, self.candidates)

        def search() -> tuple[Ranking, dict[str, Ranking]]:
            lexical_query = self.lexical.build_query(query, index, where)
            queries: list[LexicalQuery] = [lexical_query]
            if self.sparse_weight:
                queries.append(index.build_sparse_query(query))

            def search_words(numbers: Collection[int] | None = None) -> list[Ranking]:
                return [index.search_lexical(q, depth, where, numbers) for q in queries]

            dense: Ranking
            dense, word_rankings = index.run_parallel(
                lambda: index.search_dense(vector, depth, where), search_words
            )
            named_documents = (
                find_named_documents(query, index, self.today) if self.document_weight else None
            )
            if named_documents and (numbers := named_documents.candidates):
                dense = _add_candidates(dense, index.search_dense(vector, depth, where, numbers))
                word_rankings = list(map(_add_candidates, word_rankings, search_words(numbers)))
            stage_rankings: dict[str, Ranking] = dict(
                zip(("dense", "lexical", "sparse"), [dense, *word_rankings], strict=False)
            )
            if lexical_query.has_only_phrases:  # then what has none is not meant
                allowed = dict(word_rankings[0])
                for name, ranking in stage_rankings.items():
                    stage_rankings[name] = [item for item in ranking if item[0] in allowed]
            rows = sorted({row for ranking in stage_rankings.values() for row, _ in ranking})
            (vector_rows, vectors), word_scores = index.run_parallel(
                lambda: index.vectors_of_rows(rows),
                lambda: _complete_scores(index, queries, list(stage_rankings.values())[1:], rows),
            )
            scores = self._rank_candidates(
                vector, vector_rows, vectors, word_scores, self._weigh_parts(query, index)
            )
            if self.section_weight and (sections := _score_sections(query, scores, index)):
                scores, stage_rankings["section"] = _favour(scores, sections, self.section_weight)
            if named_documents and named_documents.scores:
                documents = _score_documents(scores, named_documents, index)
                scores, stage_rankings["document"] = _favour(
                    scores, documents, self.document_weight
                )
            return list(scores.items())[:k], stage_rankings

        return search

    def _weigh_parts(self, query: str, index: Index) -> list[float]:
        """Return the weights of the dense, the BM25 and, if it is used, the sparse scores."""
        dense = index.embedder.dense_weight(query) if self.weight is None else self.weight
        rest = 1 - self.sparse_weight
        parts = [rest * dense, rest * (1 - dense)]
        return [*parts, self.sparse_weight] if self.sparse_weight else parts

    def find_favoured(self, query: str, index: Index) -> tuple[FavouredDocument, ...]:
        """See `Retriever.find_favoured`."""
        if not self.document_weight:
            return ()
        named_documents = find_named_documents(query, index, self.today)
        return named_documents.describe(
            index.document_store.uris_of_documents(list(named_documents.scores))
        )

    def find_notes(self, query: str, index: Index) -> tuple[str, ...]:
        """See `Retriever.find_notes`."""
        return describe_language_gap(query, index)

    def _rank_candidates(
        self,
        vector: NDArray[np.float32],
        rows: list[int],
        vectors: NDArray[np.float32],
        word_scores: Sequence[dict[int, float]],
        weights: Sequence[float],
    ) -> dict[int, float]:
        """Return the candidates with their fused scores, best first."""
        if not rows:
            return fuse(({}, *word_scores), weights, self.fusion)
        fuse_scores = self._make_fusion(rows, vectors, word_scores, weights)
        scores = fuse_scores(vector)
        if not self.feedback or not weights[0]:
            return scores
        positions = {row: i for i, row in enumerate(rows)}
        best_rows = list(islice(scores, FEEDBACK_CANDIDATES))
        best = [positions[row] for row in best_rows if row in positions]
        if not best:
            return scores
        return fuse_scores(vector + self.feedback * vectors[best].mean(axis=0))

    def _make_fusion(
        self,
        rows: list[int],
        vectors: NDArray[np.float32],
        word_scores: Sequence[dict[int, float]],
        weights: Sequence[float],
    ) -> Callable[[NDArray[np.float32]], dict[int, float]]:
        """Return a function from a query vector to the fused scores of the candidates."""
        import numpy as np

        known_rows = set(rows)
        if self.fusion == "sum" and all(scores.keys() <= known_rows for scores in word_scores):
            aligned = [
                np.array([scores.get(row, 0.0) for row in rows], dtype=np.float64)
                for scores in word_scores
            ]

            def add_scores(vector: NDArray[np.float32]) -> dict[int, float]:
                cosines = (vectors @ vector).astype(np.float64)
                return sort_by_score(rows, add_aligned_scores((cosines, *aligned), weights))

            return add_scores

        def fuse_scores(vector: NDArray[np.float32]) -> dict[int, float]:
            cosines = dict(zip(rows, (vectors @ vector).tolist(), strict=True))
            return fuse((cosines, *word_scores), weights, self.fusion)

        return fuse_scores


def _complete_scores(
    index: Index, queries: Sequence[LexicalQuery], rankings: Sequence[Ranking], rows: Sequence[int]
) -> list[dict[int, float]]:
    """Return for each query the scores of its ranking, and of the other `rows` that match."""
    completed = []
    for query, ranking in zip(queries, rankings, strict=True):
        scores = dict(ranking)
        missing = [row for row in rows if row not in scores]
        completed.append(scores | index.lexical_scores(query, missing))
    return completed


def _add_candidates(ranking: Ranking, more: Ranking) -> Ranking:
    """Return both rankings as one, each row once, best first."""
    return sorted({**dict(more), **dict(ranking)}.items(), key=lambda item: (-item[1], item[0]))


FEEDBACK_CANDIDATES = 2  # candidates


def _score_documents(
    scores: dict[int, float], named: NamedDocuments, index: Index
) -> dict[int, float]:
    """Return the scores of the documents that the question names, by row of their chunks."""
    numbers = index.documents_by_row(list(scores))
    return {row: named.scores[number] for row, number in numbers.items() if number in named.scores}


def _score_sections(query: str, scores: dict[int, float], index: Index) -> dict[int, float]:
    """Return the scores of the sections that the question names, by row, 0 to the best score.

    Only those of the best candidates are compared with the question.
    """
    rows = list(islice(scores, _SECTION_CANDIDATES))
    sections = score_sections(query, index.headings_by_row(rows), index)
    best = max(scores.values(), default=0.0)
    return {row: best * score for row, score in sections.items()}


def _favour(
    scores: dict[int, float], favoured: dict[int, float], weight: float
) -> tuple[dict[int, float], Ranking]:
    """Add the scores of favoured chunks with a weight; return all and the favoured, best first."""
    total = {
        row: (score + weight * favoured.get(row, 0.0)) / (1 + weight)
        for row, score in scores.items()
    }
    ranking = sorted(favoured.items(), key=lambda item: (-item[1], item[0]))
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0]))), ranking
