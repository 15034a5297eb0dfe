"""How well a pipeline finds what answers: the whole way, from the corpus on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evals.datasets import RetrievalSet
from evals.ranking_metrics import METRICS, Run, per_query
from evals.statistics import Difference, Estimate, compared, estimated
from rag import Hit, Pipeline

DEPTH = 100
"""Documents that are ranked for each query."""

_TIMED = 200  # queries that are timed
_MOST_CHUNKS = 2_000


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
        return per_query(self.run, self.dataset.judgements)

    @cached_property
    def metrics(self) -> dict[str, Estimate]:
        """Each metric's mean over the queries, with its interval."""
        return {name: estimated(values) for name, values in self.per_query.items()}

    def latency(self, share: float) -> float:
        """Seconds within which that share of the searches was done; 0 where none was timed."""
        found = sorted(self.seconds)
        return found[min(len(found) - 1, int(share * len(found)))] if found else 0.0

    def compared_with(self, other: RetrievalResult) -> dict[str, Difference]:
        """How much the other one is above this one, by metric."""
        return {
            name: compared(values, other.per_query[name]) for name, values in self.per_query.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Metrics with their intervals, latencies and counts, as plain data."""
        found: dict[str, Any] = {name: value.as_json() for name, value in self.metrics.items()}
        found["queries"] = len(self.dataset.judgements)
        found["documents"] = self.documents
        found["failed"] = len(self.failures)
        if self.seconds:
            found["latency_ms"] = {
                "p50": 1000 * self.latency(0.5),
                "p95": 1000 * self.latency(0.95),
            }
        return found


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
        update={"index": index / _folder(pipeline, dataset), "namespace": ""}
    )
    asked = list(dataset.queries if queries is None else queries)
    judged = {query: dataset.judgements[query] for query in asked}
    part = RetrievalSet(dataset.corpus, {q: dataset.queries[q] for q in asked}, judged)
    names = dataset.uris()
    with pipeline:
        failed = pipeline.ingest(dataset.corpus).failed if ingest else []
        run: dict[str, dict[str, float]] = {}
        for done, query in enumerate(asked, start=1):
            run[query] = _documents(pipeline, dataset.queries[query], names)
            if progress:
                progress("searching", done, len(asked))
        seconds = []
        for query in asked[:_TIMED] if timed else ():
            started = time.perf_counter()
            pipeline.search(_short(dataset.queries[query]))
            seconds.append(time.perf_counter() - started)
        documents = pipeline.stats().documents
    failures = tuple((failure.uri, failure.error) for failure in failed)
    return RetrievalResult(part, run, tuple(seconds), documents, failures)


def _folder(pipeline: Pipeline, dataset: RetrievalSet) -> str:
    parts = (pipeline.parser, pipeline.chunker, pipeline.embedder)
    said = json.dumps([dataset.corpus.path.as_uri(), *(part.fingerprint for part in parts)])
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def _documents(pipeline: Pipeline, query: str, names: Mapping[str, str]) -> dict[str, float]:
    """The best documents with the scores of their best chunks."""
    chunks = 2 * DEPTH
    while True:
        hits = pipeline.search(_short(query), k=chunks)
        best = _best_of_each(hits, names)
        if len(best) >= DEPTH or len(hits) < chunks or chunks >= _MOST_CHUNKS:
            return dict(list(best.items())[:DEPTH])
        chunks = min(4 * chunks, _MOST_CHUNKS)


def _best_of_each(hits: Iterable[Hit], names: Mapping[str, str]) -> dict[str, float]:
    """By document, in the order of the hits, which may differ from that of their scores.

    A postprocessor may put a lower score first; a later hit then counts a little less than it.
    """
    best: dict[str, float] = {}
    last = float("inf")
    for hit in hits:
        name = names.get(hit.chunk.uri, hit.chunk.uri)
        if name not in best:
            last = best[name] = min(hit.score, last)
    return best


def _short(query: str) -> str:
    return query[:20_000]


__all__ = ["DEPTH", "METRICS", "RetrievalResult", "evaluate_retrieval"]
