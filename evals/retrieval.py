"""Evaluation of retrieval: a whole pipeline, from the corpus to the ranking."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evals.datasets import RetrievalSet
from evals.ranking_metrics import METRICS, Run, score_queries
from evals.statistics import Difference, Estimate, compare_means, estimate_mean
from rag import Pipeline

DEPTH = 100
"""Documents that are ranked for each query."""

_TIMED = 200  # queries that are timed


@dataclass(frozen=True)
class RetrievalResult:
    """A run over judged queries, and how long a search took, in seconds, by query."""

    dataset: RetrievalSet
    run: Run
    seconds: tuple[float, ...] = ()
    documents: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    """Uri and reason of each document of the corpus that could not be ingested."""

    @cached_property
    def per_query(self) -> dict[str, list[float]]:
        """Each metric by query, in the order of the judgements."""
        return score_queries(self.run, self.dataset.judgements)

    @cached_property
    def metrics(self) -> dict[str, Estimate]:
        """Each metric's mean over the queries, with its interval."""
        return {name: estimate_mean(values) for name, values in self.per_query.items()}

    def latency(self, share: float) -> float:
        """Seconds within which that share of the searches was done; 0 where none was timed."""
        sorted_seconds = sorted(self.seconds)
        return (
            sorted_seconds[min(len(sorted_seconds) - 1, int(share * len(sorted_seconds)))]
            if sorted_seconds
            else 0.0
        )

    def compared_with(self, other: RetrievalResult) -> dict[str, Difference]:
        """How much the other one is above this one, by metric."""
        return {
            name: compare_means(values, other.per_query[name])
            for name, values in self.per_query.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Metrics with their intervals, latencies and counts, as plain data."""
        plain: dict[str, Any] = {name: value.as_json() for name, value in self.metrics.items()}
        plain["queries"] = len(self.dataset.judgements)
        plain["documents"] = self.documents
        plain["failed"] = len(self.failures)
        if self.seconds:
            plain["latency_ms"] = {
                "p50": 1000 * self.latency(0.5),
                "p95": 1000 * self.latency(0.95),
            }
        return plain


def evaluate_retrieval(
    pipeline: Pipeline,
    dataset: RetrievalSet,
    *,
    index: Path,
    queries: Iterable[str] | None = None,
    timed: bool = True,
    ingest: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> RetrievalResult:
    """Ingest the corpus with `pipeline` into a folder of `index`, and search for every query.

    Each corpus with each parser, chunker and embedder has a folder of its own there, so that a
    second run finds what the first one built, and nothing else. A document's score is that of its
    best chunk. Searches of the pipeline's own ``k`` are timed, of up to 200 queries. `queries` are
    the ids of those to ask. Without `ingest` the folder is taken as it is, for many runs over one.
    """
    pipeline = pipeline.model_copy(
        update={"index": index / _index_folder_name(pipeline, dataset), "namespace": ""}
    )
    query_ids = list(dataset.queries if queries is None else queries)
    judgements = {query: dataset.judgements[query] for query in query_ids}
    part = RetrievalSet(dataset.corpus, {q: dataset.queries[q] for q in query_ids}, judgements)
    names = dataset.uris()
    with pipeline:
        failed = pipeline.ingest(dataset.corpus).failed if ingest else []
        run: dict[str, dict[str, float]] = {}
        for done, query in enumerate(query_ids, start=1):
            ranking = pipeline.rank_documents(_short(dataset.queries[query]), k=DEPTH)
            run[query] = {names.get(uri, uri): score for uri, score in ranking.items()}
            if progress:
                progress("searching", done, len(query_ids))
        seconds = []
        for query in query_ids[:_TIMED] if timed else ():
            started = time.perf_counter()
            pipeline.search(_short(dataset.queries[query]))
            seconds.append(time.perf_counter() - started)
        documents = pipeline.stats().documents
    failures = tuple((failure.uri, failure.error) for failure in failed)
    return RetrievalResult(part, run, tuple(seconds), documents, failures)


def _index_folder_name(pipeline: Pipeline, dataset: RetrievalSet) -> str:
    parts = (pipeline.parser, pipeline.chunker, pipeline.embedder)
    identity = json.dumps([dataset.corpus.path.as_uri(), *(part.fingerprint for part in parts)])
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def _short(query: str) -> str:
    return query[:20_000]


__all__ = ["DEPTH", "METRICS", "RetrievalResult", "evaluate_retrieval"]
