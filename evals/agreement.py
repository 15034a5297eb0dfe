"""Measures of agreement between human labels and scores or verdicts, and the best threshold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEWTON_STEPS = 50
_NEWTON_TOLERANCE = 1e-9
_RIDGE = 1e-6


def best_threshold(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the threshold with the best balanced accuracy; NaN if all labels are equal.

    Between two scores, it is their mean.
    """
    import numpy as np

    order = np.argsort(scores, kind="stable")
    sorted_scores, sorted_labels = scores[order], labels[order]
    positives, negatives = int(sorted_labels.sum()), int((~sorted_labels).sum())
    if not positives or not negatives:
        return math.nan
    positives_below = np.concatenate([[0], np.cumsum(sorted_labels)])
    negatives_below = np.concatenate([[0], np.cumsum(~sorted_labels)])
    gain = (positives - positives_below) / positives + negatives_below / negatives
    # a threshold cannot separate equal scores
    is_boundary = np.concatenate([[True], sorted_scores[1:] > sorted_scores[:-1], [True]])
    cut = int(np.argmax(np.where(is_boundary, gain, -1.0)))
    if cut == 0:
        return float(sorted_scores[0])
    if cut == len(sorted_scores):
        return float(np.nextafter(sorted_scores[-1], np.inf))
    return float((sorted_scores[cut - 1] + sorted_scores[cut]) / 2)


def auroc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the probability that a positive scores above a negative; NaN without either.

    It is the Mann-Whitney statistic; ties count half.
    """
    import numpy as np

    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def tpr(labels: NDArray[np.bool_], verdicts: NDArray[np.bool_]) -> float:
    """Return the true positive rate: the share of positives with a positive verdict."""
    return float(verdicts[labels].mean()) if labels.any() else math.nan


def tnr(labels: NDArray[np.bool_], verdicts: NDArray[np.bool_]) -> float:
    """Return the true negative rate: the share of negatives with a negative verdict."""
    return float((~verdicts[~labels]).mean()) if not labels.all() else math.nan


def balanced_accuracy(labels: NDArray[np.bool_], verdicts: NDArray[np.bool_]) -> float:
    """Return the mean of `tpr` and `tnr`."""
    return (tpr(labels, verdicts) + tnr(labels, verdicts)) / 2


def f1(labels: NDArray[np.bool_], verdicts: NDArray[np.bool_]) -> float:
    """Return the harmonic mean of precision and recall of the positives; NaN without any."""
    total = int(labels.sum()) + int(verdicts.sum())
    return 2 * int((labels & verdicts).sum()) / total if total else math.nan


def kappa(labels: NDArray[np.bool_], verdicts: NDArray[np.bool_]) -> float:
    """Return the agreement corrected for chance (Cohen, 1960); NaN if chance explains it all."""
    agreement = float((labels == verdicts).mean())
    label_share, verdict_share = float(labels.mean()), float(verdicts.mean())
    chance = label_share * verdict_share + (1 - label_share) * (1 - verdict_share)
    return (agreement - chance) / (1 - chance) if chance < 1 else math.nan


def fit_platt(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and intercept of the curve from scores (0..1) to probabilities.

    The probability is the logistic function of ``slope * log(score / (1 - score)) + intercept``,
    with scores within .01 and .99 (Platt 1999, on log odds). The slope is not negative. Both kinds
    of labels must occur.
    """
    import numpy as np

    log_odds = _log_odds(scores)
    columns = np.column_stack([log_odds, np.ones(len(scores))])
    # Platt's targets: as if one more label of each kind had been seen
    positives, negatives = int(labels.sum()), int((~labels).sum())
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    parameters = np.array([1.0, 0.0])
    for _ in range(_NEWTON_STEPS):
        probabilities = 1 / (1 + np.exp(-np.clip(columns @ parameters, -30, 30)))
        gradient = columns.T @ (probabilities - targets)
        weights = probabilities * (1 - probabilities)
        hessian = columns.T @ (columns * weights[:, None]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        parameters -= np.clip(step, -2, 2)
        if np.abs(step).max() < _NEWTON_TOLERANCE:
            break
    slope, intercept = map(float, parameters)
    if slope >= 0:
        return slope, intercept
    rate = float(targets.mean())
    return 0.0, math.log(rate / (1 - rate))


def apply_platt(scores: NDArray[np.float64], curve: tuple[float, float]) -> NDArray[np.float64]:
    """Return the probabilities (0..1) that `fit_platt`'s curve gives for scores (0..1)."""
    import numpy as np

    probabilities: NDArray[np.float64] = 1 / (
        1 + np.exp(-np.clip(curve[0] * _log_odds(scores) + curve[1], -30, 30))
    )
    return probabilities


def calibration_error(
    labels: NDArray[np.bool_], probabilities: NDArray[np.float64], bins: int = 10
) -> float:
    """Return the expected calibration error: the mean gap of probability and share of positives.

    The mean is over `bins` of probabilities of equal width, weighted by their sizes.
    """
    import numpy as np

    numbers = np.clip((probabilities * bins).astype(int), 0, bins - 1)
    gaps = np.bincount(numbers, labels - probabilities, minlength=bins)
    return float(np.abs(gaps).sum() / max(1, len(labels)))


def _log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    clipped = np.clip(scores, 0.01, 0.99)
    log_odds: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return log_odds
