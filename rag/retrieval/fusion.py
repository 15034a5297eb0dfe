"""Several rankings to one.

Scores of different scales are brought to one before they are summed; reciprocal-rank fusion
leaves the scores aside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

Scores = Mapping[int, float]
"""Scores by chunk row, higher is better."""

Fusion = Literal["sum", "minmax", "distribution", "rrf"]
"""How rankings become one:

* ``sum``: each score divided by the best; what has nothing in common with the query, or less,
  is 0. Unlike with the others, a retriever that finds all alike changes nothing.
* ``minmax``: from 0 (the lowest) to 1 (the best)
* ``distribution``: from 0 (three standard deviations below the mean) to 1 (three above)
* ``rrf``: ``1 / (60 + rank)``: reciprocal-rank fusion (Cormack et al., 2009)
"""

_RRF_K = 60


def by_best(scores: Scores) -> dict[int, float]:
    """Scores from 0 (nothing in common, or less) to 1 (the best of these); all 0 without a best."""
    best = max(scores.values(), default=0.0)
    return {row: max(0.0, score) / best if best > 0 else 0.0 for row, score in scores.items()}


def by_range(scores: Scores) -> dict[int, float]:
    """Scores from 0, the lowest of these, to 1, the best; all 1 where they are equal."""
    lowest, best = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    return {
        row: (score - lowest) / (best - lowest) if best > lowest else 1.0
        for row, score in scores.items()
    }


def by_distribution(scores: Scores) -> dict[int, float]:
    """Scores from 0 to 1, for three standard deviations below and above the mean."""
    count = len(scores)
    mean = sum(scores.values()) / max(1, count)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores.values()) / max(1, count))
    return {
        row: min(1.0, max(0.0, 0.5 + (score - mean) / (6 * deviation))) if deviation else 0.5
        for row, score in scores.items()
    }


def by_rank(scores: Scores) -> dict[int, float]:
    """``1 / (60 + rank)``, ranks from 1; equal scores share the better rank."""
    places: dict[float, int] = {}
    for i, score in enumerate(sorted(scores.values(), reverse=True), start=1):
        places.setdefault(score, i)
    return {row: 1 / (_RRF_K + places[score]) for row, score in scores.items()}


NORMALISED: Mapping[Fusion, Callable[[Scores], dict[int, float]]] = {
    "sum": by_best,
    "minmax": by_range,
    "distribution": by_distribution,
    "rrf": by_rank,
}


def fuse(
    rankings: Sequence[Scores], weights: Sequence[float], fusion: Fusion = "sum"
) -> dict[int, float]:
    """The weighted sum of the normalised scores, best first, ties by row."""
    total: dict[int, float] = {}
    for scores, weight in zip(rankings, weights, strict=True):
        for row, score in NORMALISED[fusion](scores).items():
            total[row] = total.get(row, 0.0) + weight * score
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
