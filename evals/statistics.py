"""How sure a mean is, and a difference: by resampling the questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 10_000
_AT_ONCE = 2_000_000  # numbers drawn at a time, to bound memory
_Z = 1.959963984540054  # of 95%, both sides


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and the interval that holds it in 95 of 100 samples of as many questions."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """As ``{"value", "low", "high"}``."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one mean is above another, over the same questions.

    ``p`` is the chance of a difference as large as this, either way, if the two were alike.
    ``detectable`` is the smallest difference that so many questions, with these variances, would
    show four times in five at p < .05.
    """

    estimate: Estimate
    p: float
    wins: int = 0
    ties: int = 0
    losses: int = 0
    detectable: float = 0.0


def estimated(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean of `values` (0..1) with its 95% interval. 0 of nothing.

    The interval is the bootstrap's percentile interval (Efron, 1979), drawn from the values and one
    0 and one 1 beside them: few values, or many that are alike, leave too little to resample, and
    its interval would be too short. Where each is 0 or 1, or all are alike, it is Wilson's (1927),
    for shares.
    """
    import numpy as np

    found = np.asarray(values, dtype=np.float64)
    if not len(found):
        return Estimate(0.0, 0.0, 0.0)
    mean = float(found.mean())
    within = bool(((found >= 0) & (found <= 1)).all())
    if within and ((found == found[0]).all() or np.isin(found, (0.0, 1.0)).all()):
        return wilson(mean, len(found))
    n = len(found)
    if within:
        found = np.concatenate([found, [0.0, 1.0]])
        low, high = _interval(
            lambda drawn: found[drawn].mean(axis=1), n, seed, resamples, of=len(found)
        )
        return Estimate(mean, min(low, mean), max(high, mean))
    return Estimate(
        mean, *_interval(lambda drawn: found[drawn].mean(axis=1), len(found), seed, resamples)
    )


def wilson(share: float, n: int) -> Estimate:
    """A share of `n`, with Wilson's score interval (1927)."""
    if not n:
        return Estimate(0.0, 0.0, 1.0)
    centre = (share + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z * math.sqrt(max(0.0, share * (1 - share)) / n + _Z * _Z / (4 * n * n))
    half /= 1 + _Z * _Z / n
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def estimated_ratio(
    parts: Sequence[tuple[float, float]], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Sum of the numerators over that of the denominators, with its bootstrap interval.

    Whole pairs are resampled, as claims of one answer are not independent of each other.
    """
    import numpy as np

    top, under = (np.asarray([part[i] for part in parts], dtype=np.float64) for i in (0, 1))
    if not len(top) or not under.sum():
        return Estimate(0.0, 0.0, 0.0)
    value = float(top.sum() / under.sum())
    if value in (0.0, 1.0):
        return wilson(value, int((under > 0).sum()))

    def ratio(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        sums = under[drawn].sum(axis=1)
        found: NDArray[np.float64] = top[drawn].sum(axis=1) / np.where(sums > 0, sums, np.nan)
        return found

    return Estimate(value, *_interval(ratio, len(top), seed, resamples))


def bootstrapped(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    seed: int = 0,
    resamples: int = 1_000,
) -> Estimate:
    """Any statistic of `n` items, by their positions, with its bootstrap percentile interval.

    A sample of which it cannot be said (NaN) does not count.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    value = statistic(np.arange(n))
    drawn = [statistic(random.integers(0, n, size=n)) for _ in range(resamples)]
    low, high = _percentiles(np.asarray(drawn, dtype=np.float64), value)
    return Estimate(float(value), low, high)


def compared(
    one: Sequence[float], other: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """How much `other` is above `one`, question by question.

    The interval is the bootstrap's; ``p`` is that of the paired randomisation test (Smucker et
    al., 2007): the signs of the differences are drawn anew, and the share of draws that are at
    least as far from 0 is counted, the sample itself among them: (b + 1) / (m + 1).
    """
    import numpy as np

    if len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} questions: they must be the same")
    found = np.asarray(other, dtype=np.float64) - np.asarray(one, dtype=np.float64)
    if not len(found):
        return Difference(Estimate(0.0, 0.0, 0.0), 1.0)
    low, high = _interval(lambda drawn: found[drawn].mean(axis=1), len(found), seed, resamples)
    random = np.random.default_rng(seed)
    reached, done = 1, 0
    observed = abs(found.sum()) - 1e-12
    while done < resamples:
        rows = min(resamples - done, max(1, _AT_ONCE // len(found)))
        signs = random.integers(0, 2, size=(rows, len(found))) * 2 - 1
        reached += int((np.abs(signs @ found) >= observed).sum())
        done += rows
    # beside one difference each way: so few that are all alike show nothing small
    error = float(np.concatenate([found, [-1.0, 1.0]]).std()) / math.sqrt(len(found))
    return Difference(
        Estimate(float(found.mean()), low, high),
        reached / (done + 1),
        wins=int((found > _ALIKE).sum()),
        ties=int((np.abs(found) <= _ALIKE).sum()),
        losses=int((found < -_ALIKE).sum()),
        detectable=(_Z + _POWER) * error,
    )


def compared_ratios(
    one: Sequence[tuple[float, float]],
    other: Sequence[tuple[float, float]],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """`compared` for ratios of sums: pairs (numerator, denominator) of the same questions.

    A question that one of them says nothing of is (0, 0) there. The test exchanges the pairs of a
    question. Where a ratio has no denominator in a sample, that sample does not count.
    """
    import numpy as np

    if len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} questions: they must be the same")
    both = np.asarray([one, other], dtype=np.float64)  # [2, n, 2]
    n = len(one)
    if not n or not (both[:, :, 1].sum(axis=1) > 0).all():
        return Difference(Estimate(0.0, 0.0, 0.0), 1.0)

    def gap(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = sums[..., 0] / sums[..., 1]
        found: NDArray[np.float64] = ratios[1] - ratios[0]
        return found

    observed = float(gap(both.sum(axis=1)))
    random = np.random.default_rng(seed)
    drawn: list[float] = []
    reached, counted = 1, 0
    while len(drawn) < resamples:
        rows = min(resamples - len(drawn), max(1, _AT_ONCE // (4 * n)))
        places = random.integers(0, n, size=(rows, n))
        drawn += gap(both[:, places].sum(axis=2)).tolist()
        swapped = random.integers(0, 2, size=(rows, n))
        first = np.where(swapped[..., None] == 1, both[1], both[0]).sum(axis=1)
        exchanged = gap(np.stack([first, both.sum(axis=(0, 1)) - first]))
        exchanged = exchanged[np.isfinite(exchanged)]
        reached += int((np.abs(exchanged) >= abs(observed) - 1e-12).sum())
        counted += len(exchanged)
    low, high = _percentiles(np.asarray(drawn), observed)
    finite = [value for value in drawn if math.isfinite(value)]
    values = [
        (b[0] / b[1] if b[1] else 0.0) - (a[0] / a[1] if a[1] else 0.0)
        for a, b in zip(one, other, strict=True)
        if a[1] and b[1]
    ]
    return Difference(
        Estimate(observed, min(low, observed), max(high, observed)),
        reached / (counted + 1),
        wins=sum(value > _ALIKE for value in values),
        ties=sum(abs(value) <= _ALIKE for value in values),
        losses=sum(value < -_ALIKE for value in values),
        detectable=(_Z + _POWER) * float(np.std([*finite, observed])),
    )


_ALIKE = 1e-9
_POWER = 0.8416212335729143  # the normal quantile of .8


def harmonic_mean(one: float, other: float) -> float:
    """F1 of a precision and a recall; 0 where both are."""
    return 2 * one * other / (one + other) if one + other else 0.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Each p, corrected for how many there are (Holm, 1979); by name, in the order given."""
    corrected: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: (p_values[key], key))):
        highest = max(highest, min(1.0, p_values[name] * (len(p_values) - rank)))
        corrected[name] = highest
    return {name: corrected[name] for name in p_values}


def _interval(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    n: int,
    seed: int,
    resamples: int,
    *,
    of: int = 0,
) -> tuple[float, float]:
    """Percentiles of the statistic of `n` positions drawn `of` so many (default: as many)."""
    import numpy as np

    random = np.random.default_rng(seed)
    found: list[NDArray[np.float64]] = []
    done = 0
    while done < resamples:
        rows = min(resamples - done, max(1, _AT_ONCE // n))
        found.append(statistic(random.integers(0, of or n, size=(rows, n))))
        done += rows
    return _percentiles(np.concatenate(found), math.nan)


def _percentiles(drawn: Any, value: float) -> tuple[float, float]:
    import numpy as np

    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return value, value
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
