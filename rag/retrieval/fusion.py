"""Fusion of several rankings into one.

Scores of different scales are normalized before they are added. Reciprocal rank fusion uses the
ranks only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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


def normalize_by_best(scores: Scores) -> dict[int, float]:
    """Scale scores to 0..1 by the best one.

    Negative scores become 0; all are 0 without a positive one.
    """
    best = max(scores.values(), default=0.0)
    return {row: max(0.0, score) / best if best > 0 else 0.0 for row, score in scores.items()}


def normalize_by_range(scores: Scores) -> dict[int, float]:
    """Scale scores from 0 (the lowest) to 1 (the best); all are 1 if they are equal."""
    lowest, best = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    return {
        row: (score - lowest) / (best - lowest) if best > lowest else 1.0
        for row, score in scores.items()
    }


def normalize_by_distribution(scores: Scores) -> dict[int, float]:
    """Scale scores from 0 (three standard deviations below the mean) to 1 (three above)."""
    count = len(scores)
    mean = sum(scores.values()) / max(1, count)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores.values()) / max(1, count))
    return {
        row: min(1.0, max(0.0, 0.5 + (score - mean) / (6 * deviation))) if deviation else 0.5
        for row, score in scores.items()
    }


def normalize_by_rank(scores: Scores) -> dict[int, float]:
    """Return ``1 / (60 + rank)``, with ranks from 1; equal scores share the better rank."""
    ranks: dict[float, int] = {}
    for i, score in enumerate(sorted(scores.values(), reverse=True), start=1):
        ranks.setdefault(score, i)
    return {row: 1 / (_RRF_K + ranks[score]) for row, score in scores.items()}


NORMALIZATIONS: Mapping[Fusion, Callable[[Scores], dict[int, float]]] = {
    "sum": normalize_by_best,
    "minmax": normalize_by_range,
    "distribution": normalize_by_distribution,
    "rrf": normalize_by_rank,
}


def fuse(
    rankings: Sequence[Scores], weights: Sequence[float], fusion: Fusion = "sum"
) -> dict[int, float]:
    """Return the weighted sum of the normalized scores, best first, ties ordered by row."""
    total: dict[int, float] = {}
    for scores, weight in zip(rankings, weights, strict=True):
        for row, score in NORMALIZATIONS[fusion](scores).items():
            total[row] = total.get(row, 0.0) + weight * score
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def add_aligned_scores(
    rankings: Sequence[NDArray[np.float64]], weights: Sequence[float]
) -> NDArray[np.float64]:
    """Return what `fuse` does with ``sum``, for scores of the same rows in the same order."""
    import numpy as np

    total = np.zeros(len(rankings[0]))
    for scores, weight in zip(rankings, weights, strict=True):
        best = scores.max(initial=0.0)
        if best > 0:
            total += weight * (np.maximum(scores, 0.0) / best)
    return total


def sort_by_score(rows: Sequence[int], scores: NDArray[np.float64]) -> dict[int, float]:
    """Return the scores by row, best first, ties ordered by row."""
    import numpy as np

    row_numbers = np.asarray(rows, dtype=np.int64)
    order = np.lexsort((row_numbers, -scores))
    return dict(zip(row_numbers[order].tolist(), scores[order].tolist(), strict=True))
