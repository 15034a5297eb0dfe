"""Scores of single answers, and summaries of many scores.

A score is a number or states why there is none. A mean leaves out scores that are not applicable
or failed, and the summary counts both. Failures also give bounds of the mean: its value if every
failed score were 0, and if every failed score were 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from evals.statistics import Estimate, estimate_mean, estimate_ratio
from rag.types import FrozenModel, Text

Status = Literal["scored", "not_applicable", "failed"]
Verdict = Literal["supported", "partly", "unsupported", "failed"]


class Unit(FrozenModel):
    """One judged claim: the claim, its verdict, and the evidence for it.

    ``start`` and ``end`` are its span in the answer in code points (-1: the claim is not from the
    answer). ``passage`` is the position, from 0, of the passage that supports it best (None: no
    passage does), and ``evidence`` the span ``[start, end)`` in that passage. ``support`` (0..1) is
    None if the claim could not be judged. ``verifier`` names the support judge. ``spread`` is the
    variance between a judge's repeats. ``note`` is a remark, such as the reason of a failure.
    """

    claim: Text
    start: int = -1
    end: int = -1
    passage: int | None = None
    support: float | None = None
    evidence: tuple[int, int] | None = None
    verdict: Verdict = "unsupported"
    verifier: str = ""
    spread: float = Field(default=0.0, ge=0)
    note: str = ""


_ESTIMATE_FIELDS = ("value", "low", "high")


class Score(FrozenModel):
    """The score of one answer by one metric.

    ``value`` is None unless ``status`` is ``scored``, and equals ``numerator / denominator`` if
    these are set. ``reason`` explains a missing value. ``spread`` is the variance of the value
    between a judge's repeats; it does not include the variance between answers.
    """

    value: float | None = None
    status: Status = "scored"
    numerator: float | None = None
    denominator: float | None = None
    reason: str = ""
    spread: float = 0.0
    units: tuple[Unit, ...] = ()

    @classmethod
    def of(cls, value: float, *, units: Iterable[Unit] = ()) -> Score:
        """Make a score from its value alone."""
        return cls(value=float(value), units=tuple(units))

    @classmethod
    def ratio(
        cls, numerator: float, denominator: float, *, if_undefined: str, units: Iterable[Unit] = ()
    ) -> Score:
        """Make a score of ``numerator / denominator``.

        With a denominator of 0 the score is not applicable, with `if_undefined` as its reason. It
        fails if any unit failed, because a ratio of the other units would be biased.
        """
        units = tuple(units)
        failed_units = [unit for unit in units if unit.verdict == "failed"]
        if failed_units:
            return cls.failure(
                f"{len(failed_units)} of {len(units)} claims could not be judged"
                + (f": {failed_units[0].note}" if failed_units[0].note else ""),
                units=units,
            )
        if not denominator:
            return cls.not_applicable(if_undefined, units=units)
        spread = sum(unit.spread for unit in units) / max(1, len(units)) ** 2
        return cls(
            value=numerator / denominator,
            numerator=numerator,
            denominator=denominator,
            spread=spread,
            units=units,
        )

    @classmethod
    def not_applicable(cls, reason: str, *, units: Iterable[Unit] = ()) -> Score:
        """Make the score of an answer to which the metric does not apply."""
        return cls(status="not_applicable", reason=reason, units=tuple(units))

    @classmethod
    def failure(cls, reason: str, *, units: Iterable[Unit] = ()) -> Score:
        """Make the score of an answer that could not be scored."""
        return cls(status="failed", reason=reason, units=tuple(units))


class Summary(FrozenModel):
    """The scores of many answers by one metric.

    ``n`` answers are the sum of ``scored``, ``not_applicable`` and ``failed``. ``estimate`` is the
    mean with its interval (None: no answer was scored). ``low_bound`` and ``high_bound`` are the
    mean if every failed score were 0, and 1; without failures both equal the mean. ``spread`` is
    the mean variance within an answer, between a judge's repeats. If ``pooled``, the mean is the
    sum of the numerators divided by the sum of the denominators, instead of the mean of the values.
    """

    metric: str
    n: int
    scored: int
    not_applicable: int
    failed: int
    estimate: Estimate | None = None
    low_bound: float | None = None
    high_bound: float | None = None
    spread: float = 0.0
    pooled: bool = False

    def __str__(self) -> str:
        """Return ``.93 [.88, .97], 41 scored of 46 (3 not applicable, 2 failed: .89 to .94)``."""
        applicable = self.n - self.not_applicable
        counts = f"{self.scored:,} scored of {self.n:,}"
        exceptions = []
        if self.not_applicable:
            exceptions.append(f"{self.not_applicable:,} not applicable")
        if self.failed:
            bounds = f": {self.low_bound:.3f} to {self.high_bound:.3f}" if applicable else ""
            exceptions.append(f"{self.failed:,} failed{bounds}")
        counts += f" ({', '.join(exceptions)})" if exceptions else ""
        if self.estimate is None:
            return f"{'-':>5}  {counts}"
        estimate = self.estimate
        return f"{estimate.value:.3f}  [{estimate.low:.3f}, {estimate.high:.3f}]  {counts}"

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain data."""
        fields = self.model_dump(mode="json", exclude={"estimate"})
        estimate = self.estimate.as_json() if self.estimate else dict.fromkeys(_ESTIMATE_FIELDS)
        return {**estimate, **fields}


def summarise_scores(metric: str, scores: Sequence[Score], *, pooled: bool = False) -> Summary:
    """Summarise the scores of many answers by one metric.

    With `pooled`, numerators and denominators are summed before the division.
    """
    scored = [score for score in scores if score.status == "scored" and score.value is not None]
    failed = sum(score.status == "failed" for score in scores)
    values = [float(score.value) for score in scored if score.value is not None]
    parts: list[tuple[float, float]] = []
    if pooled:
        parts = [(score.numerator or 0.0, score.denominator or 0.0) for score in scored]
    estimate = None
    if values:
        has_equal_weights = {denominator for _, denominator in parts} <= {1.0}
        estimate = estimate_mean(values) if has_equal_weights else estimate_ratio(parts)
    low = high = estimate.value if estimate else None
    if failed:
        if pooled and parts:
            low, high = _bound_ratio(parts, failed)
        else:
            count = len(values) + failed
            low, high = sum(values) / count, (sum(values) + failed) / count
    return Summary(
        metric=metric,
        n=len(scores),
        scored=len(values),
        not_applicable=sum(score.status == "not_applicable" for score in scores),
        failed=failed,
        estimate=estimate,
        low_bound=low,
        high_bound=high,
        spread=sum(score.spread for score in scored) / len(scored) if scored else 0.0,
        pooled=pooled,
    )


def _bound_ratio(parts: Sequence[tuple[float, float]], failed: int) -> tuple[float, float]:
    """Return the ratio of sums if every failure were 0, and if every failure were 1.

    Each failure is given the mean denominator of the scored answers.
    """
    numerator, denominator = (sum(part[i] for part in parts) for i in (0, 1))
    failed_denominator = failed * denominator / len(parts)
    total = denominator + failed_denominator
    return numerator / total, (numerator + failed_denominator) / total
