"""How good a ranking is, by judgements: the numbers of trec_eval.

A document's place is told by its score, in single precision, and where two have the same, by its
id, the later one in the order of code points first: as trec_eval has it, so that no order of files
decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from evals.datasets import Judgements
from rag.errors import QueryError

Run = Mapping[str, Mapping[str, float]]
"""Scores by query and document."""


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Documents, best first, ties by id from the last."""
    import numpy as np

    by_name = sorted(scores, reverse=True)
    single = np.array([scores[name] for name in by_name], dtype=np.float32)
    return [by_name[i] for i in np.argsort(-single, kind="stable")]


def ndcg(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Normalised discounted cumulative gain of the first `k`: the gain is the judgement."""
    gains = [max(0, judged.get(name, 0)) for name in ranking[:k]]
    ideal = sorted((max(0, score) for score in judged.values()), reverse=True)[:k]
    best = _discounted(ideal)
    return _discounted(gains) / best if best else 0.0


def _discounted(gains: Iterable[int]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, start=1))


def average_precision(ranking: list[str], judged: Mapping[str, int]) -> float:
    """Mean over the relevant documents of the precision where each stands; 0 for the unfound."""
    relevant = sum(score > 0 for score in judged.values())
    found, total = 0, 0.0
    for place, name in enumerate(ranking, start=1):
        if judged.get(name, 0) > 0:
            found += 1
            total += found / place
    return total / relevant if relevant else 0.0


def reciprocal_rank(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """1 / place of the first relevant document among the first `k`; 0 without one."""
    places = (p for p, name in enumerate(ranking[:k], start=1) if judged.get(name, 0) > 0)
    return 1 / place if (place := next(places, 0)) else 0.0


def recall(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Share of the relevant documents that are among the first `k`."""
    relevant = {name for name, score in judged.items() if score > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0


def precision(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Share of the first `k` places that hold a relevant document; an empty place holds none."""
    return sum(judged.get(name, 0) > 0 for name in ranking[:k]) / k


def judged_share(ranking: list[str], judged: Mapping[str, int], k: int) -> float:
    """Share of the first `k` that were judged at all: where it is low, the others mean little."""
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
"""What is measured of every ranking, each from 0 to 1."""


def per_query(run: Run, judgements: Judgements) -> dict[str, list[float]]:
    """Each metric for each judged query, in the order of the judgements; 0 for one not in `run`."""
    rankings = [(ranked(run.get(query, {})), judged) for query, judged in judgements.items()]
    return {
        name: [metric(ranking, judged) for ranking, judged in rankings]
        for name, metric in METRICS.items()
    }


def write_run(run: Run, path: Path, tag: str = "citewell") -> None:
    """Write a run as TREC has it: ``query Q0 document rank score tag``."""
    for word in (tag, *run, *(name for scores in run.values() for name in scores)):
        if not word or any(map(str.isspace, word)):
            raise QueryError(f"a run of TREC's cannot name {word!r}: it has a blank")
    with path.open("w", encoding="utf-8") as file:
        for query, scores in run.items():
            for place, name in enumerate(ranked(scores), start=1):
                file.write(f"{query} Q0 {name} {place} {scores[name]!r} {tag}\n")


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read a run of TREC's; the scores count, not the ranks. Raises `QueryError`."""
    run: dict[str, dict[str, float]] = {}
    for number, (query, _, name, _, score, _) in _six_columns(path):
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise QueryError(f"{path}, line {number}: the score is no number: {score}")
        if name in run.setdefault(query, {}):
            raise QueryError(f"{path}, line {number}: {name} is there twice for {query}")
        run[query][name] = value
    return run


def _six_columns(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"cannot read the run {path}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if parts := line.split():
            if len(parts) != 6:
                raise QueryError(f"{path}, line {number}: not `query Q0 document rank score tag`")
            yield number, parts
