"""Tuning: the best settings for a question set, with the gain and its confidence interval."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from evals.datasets import RetrievalSet
from evals.ranking_metrics import rank_documents, recall
from evals.retrieval import RetrievalResult, evaluate_retrieval
from evals.statistics import Difference, Estimate, compare_means, estimate_mean
from rag import HeadingChunker, HybridRetriever, Pipeline
from rag.errors import ConfigError, QueryError
from rag.postprocessing import Reranker

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SIZES = (128, 256, 512)
DEPTHS = (10, 20, 50, 100)
KS = (4, 6, 8, 12, 16, 24)
_FOLDS = 5
_ENOUGH = 0.98  # share of the largest k's recall that a smaller k must reach

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Tuned:
    """The result of tuning.

    ``before`` and ``after`` are means over all queries. ``gain`` is measured on queries that were
    not used to choose the settings (cross-validation), so it is the gain to expect on other
    questions. ``tried`` has every setting with its mean.
    """

    metric: str
    queries: int
    before: Estimate
    after: Estimate
    gain: Difference
    settings: dict[str, Any]
    pipeline: Pipeline
    tried: list[tuple[dict[str, Any], float]] = field(default_factory=list)

    @property
    def worth_it(self) -> bool:
        """Whether the gain's interval is above 0."""
        return self.gain.estimate.low > 0

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "metric": self.metric,
            "queries": self.queries,
            "before": self.before.as_json(),
            "after": self.after.as_json(),
            "gain": {**self.gain.estimate.as_json(), "p": self.gain.p},
            "worth_it": self.worth_it,
            "settings": self.settings,
            "tried": [{**settings, self.metric: value} for settings, value in self.tried],
        }


def tune(
    pipeline: Pipeline,
    dataset: RetrievalSet,
    *,
    index: Path,
    metric: str = "ndcg@10",
    sample: int = 300,
    sizes: Sequence[int] = SIZES,
    weights: Sequence[float] = WEIGHTS,
    depths: Sequence[int] = DEPTHS,
    progress: Progress | None = None,
) -> Tuned:
    """Choose the chunk size, fusion weight, reranker depth and k with the best mean of `metric`.

    Every size is tried with every weight, then every depth with the best of these. Sizes need a
    `HeadingChunker`, weights a hybrid retriever, depths a reranker; settings of a component that
    the pipeline does not have are skipped. ``k`` is the smallest that reaches 98% of the recall of
    the largest. Up to `sample` queries are used, drawn with a fixed seed. `progress` is called with
    (stage, settings done, settings). Raises `ConfigError` if there is nothing to tune, `QueryError`
    for fewer than ten queries.
    """
    query_ids = _sample_queries(list(dataset.queries), sample)
    candidates = list(_vary_sizes_and_weights(pipeline, sizes, weights))
    if not candidates and _find_reranker(pipeline) is None:
        raise ConfigError("there is nothing to tune: no hybrid retriever and no reranker")
    evaluator = _Evaluator(dataset, index, query_ids, metric, progress)
    base = evaluator.evaluate({}, pipeline)
    rows = [base, *evaluator.evaluate_stage("sizes and weights", candidates)]
    best = max(rows, key=_Row.total)
    rows += evaluator.evaluate_stage(
        "depths",
        [
            (best.settings | settings, candidate)
            for settings, candidate in _vary_depths(best.pipeline, depths)
        ],
    )
    best = max(rows, key=_Row.total)
    k = _smallest_k(best.result)
    return Tuned(
        metric=metric,
        queries=len(query_ids),
        before=estimate_mean(base.values),
        after=estimate_mean(best.values),
        gain=compare_means(base.values, _cross_validate([row.values for row in rows])),
        settings=best.settings | {"k": k},
        pipeline=best.pipeline.model_copy(update={"k": k}),
        tried=[(row.settings, row.total() / len(query_ids)) for row in rows],
    )


class _Row(NamedTuple):
    """Settings that were tried, with the value of the metric for each query."""

    settings: dict[str, Any]
    pipeline: Pipeline
    result: RetrievalResult
    values: list[float]

    def total(self) -> float:
        return sum(self.values)


class _Evaluator:
    """Evaluates candidate pipelines on the sampled queries; ingests once per chunker."""

    def __init__(
        self,
        dataset: RetrievalSet,
        index: Path,
        query_ids: list[str],
        metric: str,
        progress: Progress | None,
    ) -> None:
        self._dataset, self._index, self._query_ids = dataset, index, query_ids
        self._metric, self._progress = metric, progress
        self._ingested_chunkers: set[str] = set()

    def evaluate(self, settings: dict[str, Any], candidate: Pipeline) -> _Row:
        chunker = candidate.chunker.fingerprint
        result = evaluate_retrieval(
            candidate,
            self._dataset,
            index=self._index,
            queries=self._query_ids,
            timed=False,
            ingest=chunker not in self._ingested_chunkers,
        )
        self._ingested_chunkers.add(chunker)
        return _Row(settings, candidate, result, result.per_query[self._metric])

    def evaluate_stage(
        self, stage: str, candidates: Sequence[tuple[dict[str, Any], Pipeline]]
    ) -> list[_Row]:
        rows = []
        for done, (settings, candidate) in enumerate(candidates, start=1):
            rows.append(self.evaluate(settings, candidate))
            if self._progress:
                self._progress(stage, done, len(candidates))
        return rows


def _sample_queries(queries: list[str], count: int) -> list[str]:
    if len(queries) < 2 * _FOLDS:
        raise QueryError(f"{len(queries)} judged queries are too few to tune by: {2 * _FOLDS}")
    return random.Random(0).sample(queries, min(count, len(queries)))


def _vary_sizes_and_weights(
    pipeline: Pipeline, sizes: Sequence[int], weights: Sequence[float]
) -> Iterator[tuple[dict[str, Any], Pipeline]]:
    chunker, retriever = pipeline.chunker, pipeline.retriever
    chunkers: list[tuple[dict[str, Any], Any]] = [({}, chunker)]
    if isinstance(chunker, HeadingChunker):
        chunkers = [({"size": size}, _with_size(chunker, size)) for size in sizes]
    retrievers: list[tuple[dict[str, Any], Any]] = [({}, retriever)]
    if isinstance(retriever, HybridRetriever):
        retrievers = [
            ({"weight": weight}, retriever.model_copy(update={"weight": weight}))
            for weight in weights
        ]
    for size, sized_chunker in chunkers:
        for weight, weighted_retriever in retrievers:
            changed = {"chunker": sized_chunker, "retriever": weighted_retriever}
            if sized_chunker != chunker or weighted_retriever != retriever:
                yield size | weight, pipeline.model_copy(update=changed)


def _with_size(chunker: HeadingChunker, size: int) -> HeadingChunker:
    return HeadingChunker.model_validate(
        chunker.model_dump() | {"size": size, "overlap": min(chunker.overlap, size // 4)}
    )


def _find_reranker(pipeline: Pipeline) -> int | None:
    """Return the position of the reranker among the postprocessors; None without one."""
    positions = (i for i, part in enumerate(pipeline.postprocessors) if isinstance(part, Reranker))
    return next(positions, None)


def _vary_depths(
    pipeline: Pipeline, depths: Sequence[int]
) -> Iterator[tuple[dict[str, Any], Pipeline]]:
    position = _find_reranker(pipeline)
    if position is None:
        return
    for depth in depths:
        postprocessors = list(pipeline.postprocessors)
        postprocessors[position] = postprocessors[position].model_copy(update={"depth": depth})
        yield (
            {"depth": depth},
            pipeline.model_copy(update={"postprocessors": tuple(postprocessors)}),
        )
    rest = tuple(part for i, part in enumerate(pipeline.postprocessors) if i != position)
    yield {"depth": 0}, pipeline.model_copy(update={"postprocessors": rest})


def _cross_validate(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the value of each query with the settings that are best on the other folds."""
    count = len(rows[0])
    scores = [0.0] * count
    for fold in range(_FOLDS):
        fold_queries = range(fold, count, _FOLDS)
        train = [i for i in range(count) if i % _FOLDS != fold]
        best = max(rows, key=lambda row: sum(row[i] for i in train))
        for i in fold_queries:
            scores[i] = best[i]
    return scores


def _smallest_k(result: RetrievalResult) -> int:
    judged = result.dataset.judgements
    rankings = {query: rank_documents(scores) for query, scores in result.run.items()}
    means = {
        k: sum(recall(rankings[query], judged[query], k) for query in judged) / len(judged)
        for k in KS
    }
    return next(k for k in KS if means[k] >= _ENOUGH * means[KS[-1]])
