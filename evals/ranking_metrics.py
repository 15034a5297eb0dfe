"""Ranking metrics by relevance judgements, with the same values as trec_eval.

As in trec_eval, documents are ranked by score in single precision, and documents with equal scores
by id, in descending order of code points. The order in a file has no effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from evals.datasets import Judgements
from rag.errors import QueryError

Run = Mapping[str, Mapping[str, float]]
"""Scores, by query and then by document."""


def rank_documents(scores: Mapping[str, float]) -> list[str]:
    """Return the documents, best first; ties are ordered by descending id."""
    import numpy as np

    names = sorted(scores, reverse=True)
    values = np.array([scores[name] for name in names], dtype=np.float32)
    return [names[i] for i in np.argsort(-values, kind="stable")]


def ndcg(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Return the normalised discounted cumulative gain of the first `k` (0..1).

    The gain of a document is its judgement.
    """
    gains = [max(0, judged.get(name, 0)) for name in ranking[:k]]
    ideal = sorted((max(0, score) for score in judged.values()), reverse=True)[:k]
    best = _sum_discounted_gains(ideal)
    return _sum_discounted_gains(gains) / best if best else 0.0


def _sum_discounted_gains(gains: Iterable[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def average_precision(ranking: list[str], judged: Mapping[str, int]) -> float:
    """Return the mean precision at the ranks of the relevant documents (0..1).

    A relevant document that is not in the ranking contributes 0.
    """
    relevant = sum(score > 0 for score in judged.values())
    hit_count, total = 0, 0.0
    for rank, name in enumerate(ranking, start=1):
        if judged.get(name, 0) > 0:
            hit_count += 1
            total += hit_count / rank
    return total / relevant if relevant else 0.0


def reciprocal_rank(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Return 1 / rank of the first relevant document among the first `k`; 0 without one."""
    ranks = (rank for rank, name in enumerate(ranking[:k], start=1) if judged.get(name, 0) > 0)
    first_rank = next(ranks, 0)
    return 1 / first_rank if first_rank else 0.0


def recall(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Return the share of the relevant documents that are among the first `k`."""
    relevant = {name for name, score in judged.items() if score > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0


def precision(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Return the number of relevant documents among the first `k`, divided by `k`."""
    return sum(judged.get(name, 0) > 0 for name in ranking[:k]) / k


def judged_share(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Return the share of the first `k` that have a judgement.

    If it is low, the other metrics are unreliable.
    """
    return sum(name in judged for name in ranking[:k]) / k


METRICS: Mapping[str, Callable[[list[str], Mapping[str, int]], float]] = {
    "ndcg@10": lambda ranking, judged: ndcg(ranking, judged, 10),
    "map": average_precision,
    "mrr@10": lambda ranking, judged: reciprocal_rank(ranking, judged, 10),
    "recall@10": lambda ranking, judged: recall(ranking, judged, 10),
    "recall@100": lambda ranking, judged: recall(ranking, judged, 100),
    "precision@10": lambda ranking, judged: precision(ranking, judged, 10),
    "judged@10": lambda ranking, judged: judged_share(ranking, judged, 10),
}
"""The metrics computed for every ranking, by name; each value is from 0 to 1."""


def score_queries(run: Run, judgements: Judgements) -> dict[str, list[float]]:
    """Return each metric of each judged query, in the order of `judgements`.

    A query that is not in `run` has the value 0.
    """
    rankings = [
        (rank_documents(run.get(query, {})), judged) for query, judged in judgements.items()
    ]
    return {
        name: [metric(ranking, judged) for ranking, judged in rankings]
        for name, metric in METRICS.items()
    }


def write_run(run: Run, path: Path, tag: str = "citewell") -> None:
    """Write a run in TREC format, ``query Q0 document rank score tag``.

    Raises `QueryError` for an id or a tag that is empty or contains white space.
    """
    for word in (tag, *run, *(name for scores in run.values() for name in scores)):
        if not word or any(map(str.isspace, word)):
            raise QueryError(f"a TREC run cannot contain {word!r}: an id has no white space")
    with path.open("w", encoding="utf-8") as file:
        for query, scores in run.items():
            for rank, name in enumerate(rank_documents(scores), start=1):
                file.write(f"{query} Q0 {name} {rank} {scores[name]!r} {tag}\n")


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read a run in TREC format. Only scores are used, not ranks. Raises `QueryError`."""
    run: dict[str, dict[str, float]] = {}
    for number, (query, _, name, _, score, _) in _read_run_rows(path):
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise QueryError(f"{path}, line {number}: the score is not a number: {score}")
        if name in run.setdefault(query, {}):
            raise QueryError(f"{path}, line {number}: {name} is listed twice for {query}")
        run[query][name] = value
    return run


def _read_run_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"cannot read the run {path}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if columns := line.split():
            if len(columns) != 6:
                raise QueryError(f"{path}, line {number}: not `query Q0 document rank score tag`")
            yield number, columns
