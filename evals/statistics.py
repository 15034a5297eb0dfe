"""Confidence intervals of means and ratios, and tests of differences, by resampling questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 10_000
_MAX_DRAWS_PER_BATCH = 2_000_000  # numbers drawn at a time, to bound memory
NORMAL_QUANTILE_95 = 1.959963984540054  # two-sided 95%: the normal quantile of .975
_POWER_QUANTILE_80 = 0.8416212335729143  # the normal quantile of .8
_TIE_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% confidence interval ``[low, high]``."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Return ``{"value", "low", "high"}``."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two means over the same questions, second minus first.

    ``p`` is the two-sided probability of a difference at least this large if the two did not
    differ. ``wins``, ``ties`` and ``losses`` count questions. ``detectable`` is the smallest
    difference that a sample of this size and variance detects with a power of 80% at p < .05; None
    if it would be more than 1, the largest difference of two scores.
    """

    estimate: Estimate
    p: float
    wins: int = 0
    ties: int = 0
    losses: int = 0
    detectable: float | None = None


def estimate_mean(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Return the mean of `values` (0..1) with its 95% interval; 0 without values.

    The interval is the bootstrap percentile interval (Efron, 1979). One 0 and one 1 are added to
    the values that are resampled: otherwise the interval of few, or of mostly equal, values would
    be too short. If every value is 0 or 1, or all are equal, it is the interval for shares of
    Wilson (1927).
    """
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    n = len(array)
    if not n:
        return Estimate(0.0, 0.0, 0.0)
    mean = float(array.mean())
    is_bounded = bool(((array >= 0) & (array <= 1)).all())
    if is_bounded and ((array == array[0]).all() or np.isin(array, (0.0, 1.0)).all()):
        return wilson(mean, n)
    if is_bounded:
        array = np.concatenate([array, [0.0, 1.0]])
    low, high = _bootstrap_interval(
        lambda rows: array[rows].mean(axis=1), n, seed, resamples, population=len(array)
    )
    if is_bounded:
        return Estimate(mean, min(low, mean), max(high, mean))
    return Estimate(mean, low, high)


def wilson(share: float, n: int) -> Estimate:
    """Return a share (0..1) of `n` with its score interval (Wilson, 1927)."""
    if not n:
        return Estimate(0.0, 0.0, 1.0)
    centre = (share + NORMAL_QUANTILE_95 * NORMAL_QUANTILE_95 / (2 * n)) / (
        1 + NORMAL_QUANTILE_95 * NORMAL_QUANTILE_95 / n
    )
    half = NORMAL_QUANTILE_95 * math.sqrt(
        max(0.0, share * (1 - share)) / n + NORMAL_QUANTILE_95 * NORMAL_QUANTILE_95 / (4 * n * n)
    )
    half /= 1 + NORMAL_QUANTILE_95 * NORMAL_QUANTILE_95 / n
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def estimate_ratio(
    parts: Sequence[tuple[float, float]], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Return the sum of the numerators / the sum of the denominators, with its bootstrap interval.

    `parts` are pairs (numerator, denominator), one per answer. Whole pairs are resampled, because
    the claims of one answer are not independent.
    """
    import numpy as np

    numerators, denominators = (
        np.asarray([part[i] for part in parts], dtype=np.float64) for i in (0, 1)
    )
    if not len(numerators) or not denominators.sum():
        return Estimate(0.0, 0.0, 0.0)
    value = float(numerators.sum() / denominators.sum())
    if value in (0.0, 1.0):
        return wilson(value, int((denominators > 0).sum()))

    def compute_ratios(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        sums = denominators[rows].sum(axis=1)
        ratios: NDArray[np.float64] = numerators[rows].sum(axis=1) / np.where(
            sums > 0, sums, np.nan
        )
        return ratios

    low, high = _bootstrap_interval(compute_ratios, len(numerators), seed, resamples)
    return Estimate(value, low, high)


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    seed: int = 0,
    resamples: int = 1_000,
) -> Estimate:
    """Return a statistic of `n` items with its bootstrap percentile interval.

    `statistic` receives the positions of the drawn items. Samples for which it is NaN are ignored.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    value = statistic(np.arange(n))
    samples = [statistic(random.integers(0, n, size=n)) for _ in range(resamples)]
    low, high = _percentile_interval(np.asarray(samples, dtype=np.float64), value)
    return Estimate(float(value), low, high)


def compare_means(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Return the mean of `second` minus the mean of `first`, paired by question.

    The interval is the bootstrap percentile interval. ``p`` is that of the paired randomisation
    test (Smucker et al., 2007): the signs of the differences are drawn at random, and ``p`` is the
    share of draws whose mean is at least as far from 0 as the observed one, with the sample itself
    counted: (b + 1) / (m + 1). Raises `ValueError` if the lengths differ.
    """
    import numpy as np

    _require_same_length(first, second)
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    n = len(differences)
    if not n:
        return Difference(Estimate(0.0, 0.0, 0.0), 1.0)
    low, high = _bootstrap_interval(lambda rows: differences[rows].mean(axis=1), n, seed, resamples)
    random = np.random.default_rng(seed)
    extreme_count, draw_count = 1, 0
    observed = abs(differences.sum()) - 1e-12
    while draw_count < resamples:
        batch = min(resamples - draw_count, max(1, _MAX_DRAWS_PER_BATCH // n))
        signs = random.integers(0, 2, size=(batch, n)) * 2 - 1
        extreme_count += int((np.abs(signs @ differences) >= observed).sum())
        draw_count += batch
    # with one difference of each sign added: few equal differences do not prove a small error
    error = float(np.concatenate([differences, [-1.0, 1.0]]).std()) / math.sqrt(n)
    return _make_difference(
        Estimate(float(differences.mean()), low, high),
        p=extreme_count / (draw_count + 1),
        differences=differences.tolist(),
        error=error,
    )


def compare_ratios(
    first: Sequence[tuple[float, float]],
    second: Sequence[tuple[float, float]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """Return the ratio of sums of `second` minus that of `first`, paired by question.

    `first` and `second` are pairs (numerator, denominator) of the same questions; a question to
    which one does not apply is (0, 0) there. The randomisation test exchanges the pairs of a
    question. Samples in which a ratio has no denominator are ignored. Raises `ValueError` if the
    lengths differ.
    """
    import numpy as np

    _require_same_length(first, second)
    pairs = np.asarray([first, second], dtype=np.float64)  # [2, n, 2]
    if not len(first) or not (pairs[:, :, 1].sum(axis=1) > 0).all():
        return Difference(Estimate(0.0, 0.0, 0.0), 1.0)
    observed = float(_subtract_ratios(pairs.sum(axis=1)))
    samples, p = _resample_ratios(pairs, observed, seed, resamples)
    low, high = _percentile_interval(samples, observed)
    differences = [
        (b[0] / b[1] if b[1] else 0.0) - (a[0] / a[1] if a[1] else 0.0)
        for a, b in zip(first, second, strict=True)
        if a[1] and b[1]
    ]
    return _make_difference(
        Estimate(observed, min(low, observed), max(high, observed)),
        p=p,
        differences=differences,
        error=float(np.std([*samples[np.isfinite(samples)], observed])),
    )


def _resample_ratios(
    pairs: NDArray[np.float64], observed: float, seed: int, resamples: int
) -> tuple[NDArray[np.float64], float]:
    """Return bootstrap samples of the difference of ratios, and p of the randomisation test.

    `pairs` has the shape [2, n, 2]: the two runs, questions, and (numerator, denominator).
    """
    import numpy as np

    n = pairs.shape[1]
    random = np.random.default_rng(seed)
    samples: list[float] = []
    extreme_count, draw_count = 1, 0
    while len(samples) < resamples:
        batch = min(resamples - len(samples), max(1, _MAX_DRAWS_PER_BATCH // (4 * n)))
        rows = random.integers(0, n, size=(batch, n))
        samples += _subtract_ratios(pairs[:, rows].sum(axis=2)).tolist()
        is_swapped = random.integers(0, 2, size=(batch, n))
        first = np.where(is_swapped[..., None] == 1, pairs[1], pairs[0]).sum(axis=1)
        exchanged = _subtract_ratios(np.stack([first, pairs.sum(axis=(0, 1)) - first]))
        exchanged = exchanged[np.isfinite(exchanged)]
        extreme_count += int((np.abs(exchanged) >= abs(observed) - 1e-12).sum())
        draw_count += len(exchanged)
    return np.asarray(samples), extreme_count / (draw_count + 1)


def _subtract_ratios(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the second ratio minus the first, of sums [2, ..., (numerator, denominator)]."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sums[..., 0] / sums[..., 1]
    differences: NDArray[np.float64] = ratios[1] - ratios[0]
    return differences


def _require_same_length(first: Sequence[object], second: Sequence[object]) -> None:
    if len(first) != len(second):
        raise ValueError(f"both need the same questions, but have {len(first)} and {len(second)}")


def _make_difference(
    estimate: Estimate, *, p: float, differences: Sequence[float], error: float
) -> Difference:
    """Count wins, ties and losses of `differences`; `error` is the standard error."""
    return Difference(
        estimate,
        p,
        wins=sum(value > _TIE_TOLERANCE for value in differences),
        ties=sum(abs(value) <= _TIE_TOLERANCE for value in differences),
        losses=sum(value < -_TIE_TOLERANCE for value in differences),
        detectable=_find_detectable(differences, error),
    )


def _find_detectable(differences: Sequence[float], error: float) -> float | None:
    if not (math.isfinite(error) and error > 0):
        # equal differences say nothing about the variance: one of each kind is added
        n = len(differences) + 2
        mean = sum(differences) / n
        error = math.sqrt(sum((d - mean) ** 2 for d in (*differences, 1.0, -1.0))) / n
    detectable = (NORMAL_QUANTILE_95 + _POWER_QUANTILE_80) * error
    return detectable if detectable <= 1 else None


def harmonic_mean(precision: float, recall: float) -> float:
    """Return F1, the harmonic mean of a precision and a recall; 0 if both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values for multiple comparisons (Holm, 1979); the order of names is kept."""
    corrected: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: (p_values[key], key))):
        highest = max(highest, min(1.0, p_values[name] * (len(p_values) - rank)))
        corrected[name] = highest
    return {name: corrected[name] for name in p_values}


def _bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    n: int,
    seed: int,
    resamples: int,
    *,
    population: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic of `n` drawn positions.

    `statistic` receives positions [rows, n] and returns one value per row. Positions are drawn from
    `population` (default: `n`) items.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    batches: list[NDArray[np.float64]] = []
    draw_count = 0
    while draw_count < resamples:
        batch = min(resamples - draw_count, max(1, _MAX_DRAWS_PER_BATCH // n))
        batches.append(statistic(random.integers(0, population or n, size=(batch, n))))
        draw_count += batch
    return _percentile_interval(np.concatenate(batches), math.nan)


def _percentile_interval(samples: Any, value: float) -> tuple[float, float]:
    """Return the 2.5% and 97.5% percentiles of the finite samples; `value` twice without any."""
    import numpy as np

    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return value, value
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)
