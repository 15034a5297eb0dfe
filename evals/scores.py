"""What a metric says of an answer, and what many answers say together.

A score is a number, or says why it is none; nothing is averaged away. What was not applicable is
left out of a mean and counted, what failed is counted and bounds it: the mean as it would be if
every failure were a 0, and if every one were a 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from evals.statistics import Estimate, estimated, estimated_ratio
from rag.types import FrozenModel, Text

Status = Literal["scored", "not_applicable", "failed"]
Verdict = Literal["supported", "partly", "unsupported", "failed"]


class Unit(FrozenModel):
    """A line of the claim ledger: one claim, what it was compared with, and what came of it.

    ``start`` and ``end`` are its place in the answer (code points); -1 where it stands in none.
    ``passage`` is the position of the passage that supports it best, from 0 (None: none does),
    ``evidence`` the stretch ``[start, end)`` of that passage. ``support`` (0..1) is None where the
    verifier failed; ``spread`` is the variance of a judge's repeats.
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


_ESTIMATE = ("value", "low", "high")


class Score(FrozenModel):
    """What a metric says of one answer.

    ``value`` is ``numerator / denominator`` where these are given, and None unless ``scored``.
    ``spread`` is the variance of the value between a judge's repeats, apart from that between
    answers.
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
        """A score without parts."""
        return cls(value=float(value), units=tuple(units))

    @classmethod
    def ratio(
        cls, numerator: float, denominator: float, *, none: str, units: Iterable[Unit] = ()
    ) -> Score:
        """``numerator / denominator``; not applicable, for the reason `none`, where that is 0.

        Failed where a unit has failed: what is left would flatter, or slander, the answer.
        """
        units = tuple(units)
        failed = [unit for unit in units if unit.verdict == "failed"]
        if failed:
            return cls.failed(
                f"{len(failed)} of {len(units)} claims could not be judged"
                + (f": {failed[0].note}" if failed[0].note else ""),
                units=units,
            )
        if not denominator:
            return cls.not_applicable(none, units=units)
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
        """The metric says nothing of this answer."""
        return cls(status="not_applicable", reason=reason, units=tuple(units))

    @classmethod
    def failed(cls, reason: str, *, units: Iterable[Unit] = ()) -> Score:
        """It could not be found out."""
        return cls(status="failed", reason=reason, units=tuple(units))


class Summary(FrozenModel):
    """What a metric says of many answers.

    ``estimate`` is None where none was scored. ``low_bound`` and ``high_bound`` are the mean with
    every failure at 0 and at 1; they are the mean where nothing failed. ``spread`` is the mean
    variance within an answer, between a judge's repeats. ``pooled``: the sum of the numerators over
    that of the denominators, instead of the mean of the values.
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
        """As ``.93 [.88, .97], 41 scored of 46 (3 not applicable, 2 failed: .89 to .94)``."""
        asked = self.n - self.not_applicable
        said = f"{self.scored:,} scored of {self.n:,}"
        apart = []
        if self.not_applicable:
            apart.append(f"{self.not_applicable:,} not applicable")
        if self.failed:
            bounds = f": {self.low_bound:.3f} to {self.high_bound:.3f}" if asked else ""
            apart.append(f"{self.failed:,} failed{bounds}")
        said += f" ({', '.join(apart)})" if apart else ""
        if self.estimate is None:
            return f"{'-':>5}  {said}"
        e = self.estimate
        return f"{e.value:.3f}  [{e.low:.3f}, {e.high:.3f}]  {said}"

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        found = self.model_dump(mode="json", exclude={"estimate"})
        estimate = self.estimate.as_json() if self.estimate else dict.fromkeys(_ESTIMATE)
        return {**estimate, **found}


def summarised(metric: str, scores: Sequence[Score], *, pooled: bool = False) -> Summary:
    """Put scores together. With `pooled`, they are added up before they are divided."""
    scored = [score for score in scores if score.status == "scored" and score.value is not None]
    failed = sum(score.status == "failed" for score in scores)
    values = [float(score.value) for score in scored if score.value is not None]
    parts: list[tuple[float, float]] = []
    if pooled:
        parts = [(score.numerator or 0.0, score.denominator or 0.0) for score in scored]
    estimate = None
    if values:
        alike = {under for _, under in parts} <= {1.0}  # then it is a mean after all
        estimate = estimated(values) if alike else estimated_ratio(parts)
    low = high = estimate.value if estimate else None
    if failed:
        if pooled and parts:
            top, under = (sum(part[i] for part in parts) for i in (0, 1))
            each = under / len(parts)
            low, high = (
                top / (under + failed * each),
                (top + failed * each) / (under + failed * each),
            )
        else:
            everyone = len(values) + failed
            low, high = sum(values) / everyone, (sum(values) + failed) / everyone
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
