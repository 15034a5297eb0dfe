"""How sure a mean is, and a difference: by resampling the questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 10_000
_AT_ONCE = 2_000_000  # numbers drawn at a time, to bound memory


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
    """

    estimate: Estimate
    p: float


def estimated(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean of `values` with its bootstrap percentile interval (Efron, 1979). 0 of nothing."""
    import numpy as np

    found = np.asarray(values, dtype=np.float64)
    if not len(found):
        return Estimate(0.0, 0.0, 0.0)
    random = np.random.default_rng(seed)
    means: list[float] = []
    while len(means) < resamples:
        rows = min(resamples - len(means), max(1, _AT_ONCE // len(found)))
        drawn = random.integers(0, len(found), size=(rows, len(found)))
        means += found[drawn].mean(axis=1).tolist()
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(found.mean()), float(low), float(high))


def compared(
    one: Sequence[float], other: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """How much `other` is above `one`, question by question.

    The interval is the bootstrap's; ``p`` is that of the paired randomisation test (Smucker et
    al., 2007): the signs of the differences are drawn anew, and the share of draws that are at
    least as far from 0 is counted, the sample itself among them.
    """
    import numpy as np

    if len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} questions: they must be the same")
    found = np.asarray(other, dtype=np.float64) - np.asarray(one, dtype=np.float64)
    estimate = estimated(found.tolist(), seed=seed, resamples=resamples)
    random = np.random.default_rng(seed)
    reached, done = 1, 0
    observed = abs(found.sum()) - 1e-12
    while done < resamples and len(found):
        rows = min(resamples - done, max(1, _AT_ONCE // len(found)))
        signs = random.integers(0, 2, size=(rows, len(found))) * 2 - 1
        reached += int((np.abs(signs @ found) >= observed).sum())
        done += rows
    return Difference(estimate, reached / (done + 1))
