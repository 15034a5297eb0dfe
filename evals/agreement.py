"""Measures of agreement between human labels and scores or verdicts, and the best threshold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
