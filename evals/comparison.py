"""Is one run better than another, and is either good enough?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evals.metrics import all_metrics
from evals.runs import RunResult
from evals.scores import Score
from evals.statistics import Difference, compared, compared_ratios, holm
from rag.errors import ConfigError

PASSED, REGRESSED, WRONG_USE, TOO_MANY_FAILURES, INCONCLUSIVE = range(5)
"""Exit codes of a gate."""

MOST_FAILURES = 0.1
"""Share of failed scores of a metric beyond which a gate says nothing of it."""
_AGREES = 0.05
_FEWEST = 5  # answers that must each have passed where the interval is not above the bar


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """How much B is above A in a metric, over the questions that both were scored on.

    ``p`` is corrected for the number of metrics (Holm). ``n`` questions were scored in both of
    ``of`` that both have; ``a`` and ``b`` are the means over these.
    """

    metric: str
    n: int
    of: int
    a: float
    b: float
    difference: Difference
    p: float
    better: Literal["higher", "lower"] = "higher"

    @property
    def regressed(self) -> bool:
        """Whether B is worse, beyond chance."""
        delta = self.difference.estimate.value
        return self.p < _AGREES and (delta < 0 if self.better == "higher" else delta > 0)

    @property
    def improved(self) -> bool:
        """Whether B is better, beyond chance."""
        return self.p < _AGREES and not self.regressed and self.difference.estimate.value != 0

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        found = self.difference
        return {
            "n": self.n,
            "of": self.of,
            "a": self.a,
            "b": self.b,
            "difference": found.estimate.as_json(),
            "p": found.p,
            "p_holm": self.p,
            "wins": found.wins,
            "ties": found.ties,
            "losses": found.losses,
            "smallest_detectable": found.detectable,
        }


def compare_runs(a: RunResult, b: RunResult) -> list[MetricComparison]:
    """Compare two runs metric by metric, on the questions that were scored in both.

    The randomisation test is paired, its p corrected for the metrics that are compared (Holm).
    Raises `ConfigError` where they have no question or no metric in common.
    """
    names = [metric.name for metric in a.metrics if metric.name in b.scores]
    if not names:
        raise ConfigError("the runs have no metric in common")
    place_a = {q.id: i for i, q in enumerate(a.questions)}
    place_b = {q.id: i for i, q in enumerate(b.questions)}
    common = [
        q.id
        for q in a.questions
        if q.id in place_b and b.questions[place_b[q.id]].question == q.question
    ]
    if not common:
        raise ConfigError("the runs have no question in common")
    found: list[MetricComparison] = []
    for name in names:
        both = [(a.scores[name][place_a[id]], b.scores[name][place_b[id]]) for id in common]
        known = all_metrics()[name]
        n, mean_a, mean_b, difference = _pooled(both) if known.pooled else _paired(both)
        found.append(
            MetricComparison(
                metric=name,
                n=n,
                of=len(common),
                a=mean_a,
                b=mean_b,
                difference=difference,
                p=difference.p,
                better=known.better,
            )
        )
    corrected = holm({each.metric: each.p for each in found if each.n})
    return [
        MetricComparison(
            metric=each.metric,
            n=each.n,
            of=each.of,
            a=each.a,
            b=each.b,
            difference=each.difference,
            p=corrected.get(each.metric, 1.0),
            better=each.better,
        )
        for each in found
    ]


_Compared = tuple[int, float, float, Difference]  # questions, both means, and how they differ


def _paired(both: Sequence[tuple[Score, Score]]) -> _Compared:
    """Over the questions that both were scored on."""
    pairs = [
        (one.value, other.value)
        for one, other in both
        if one.value is not None and other.value is not None
    ]
    ones, others = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    n = len(pairs)
    return n, sum(ones) / max(1, n), sum(others) / max(1, n), compared(ones, others)


def _pooled(both: Sequence[tuple[Score, Score]]) -> _Compared:
    """Over the questions that failed in neither: which one counts depends on the answers."""

    def part(score: Score) -> tuple[float, float]:
        return score.numerator or 0.0, score.denominator or 0.0

    pairs = [(part(a), part(b)) for a, b in both if "failed" not in (a.status, b.status)]
    ones, others = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    sums = [sum(p[1] for p in parts) for parts in (ones, others)]
    if not all(sums):
        return 0, 0.0, 0.0, compared([], [])
    means = [sum(p[0] for p in ones) / sums[0], sum(p[0] for p in others) / sums[1]]
    n = sum(bool(a[1] or b[1]) for a, b in pairs)
    return n, means[0], means[1], compared_ratios(ones, others)


@dataclass(frozen=True, slots=True)
class Gate:
    """A bar that a metric's mean must reach: ``faithfulness>=0.9``, or ``hallucination<=0.05``.

    ``relative``: the bar is a difference to a baseline, ``faithfulness>=baseline-0.02``.
    """

    metric: str
    sign: Literal[">=", "<="]
    bar: float
    relative: bool = False

    def __str__(self) -> str:
        """As it is written."""
        if not self.relative:
            return f"{self.metric}{self.sign}{self.bar:g}"
        return f"{self.metric}{self.sign}baseline{self.bar:+g}"


_GATE = re.compile(
    r"\s*([\w@.-]+?)\s*(>=|<=)\s*(?:(baseline)\s*([+-]\s*\d*\.?\d+)?|([+-]?\d*\.?\d+))\s*"
)


def parse_gates(texts: Sequence[str]) -> list[Gate]:
    """Gates as people write them, several between commas. Raises `ConfigError`."""
    found: list[Gate] = []
    for text in (part for whole in texts for part in whole.split(",") if part.strip()):
        match = _GATE.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"not a gate: {text.strip()!r}; write 'faithfulness>=0.9', "
                "'hallucination<=0.05' or 'faithfulness>=baseline-0.02'"
            )
        name, sign, relative, more, bar = match.groups()
        known = all_metrics().get(name)
        if known is None:
            raise ConfigError(f"no such metric: {name}; `rag eval metrics` lists them")
        if not known.gate:
            raise ConfigError(f"{name} is a judge's taste: no gate may stand on it")
        wanted = ">=" if known.better == "higher" else "<="
        if sign != wanted:
            raise ConfigError(f"of {name}, {known.better} is better: write {name}{wanted}...")
        value = float((more or "0").replace(" ", "")) if relative else float(bar)
        if not relative and not 0 <= value <= 1:
            raise ConfigError(f"{name} is from 0 to 1, and can never be {sign} {value:g}")
        found.append(Gate(name, sign, value, bool(relative)))  # type: ignore[arg-type]
    return found


@dataclass(frozen=True, slots=True)
class GateResult:
    """What became of a gate: its exit code, and why."""

    gate: str
    code: int
    why: str

    @property
    def outcome(self) -> str:
        """In a word."""
        return ("passed", "regressed", "wrong use", "too many failures", "inconclusive")[self.code]


def check_gates(
    run: RunResult,
    gates: Sequence[Gate],
    *,
    baseline: RunResult | None = None,
    most_failures: float = MOST_FAILURES,
) -> list[GateResult]:
    """Check every gate; with a `baseline`, also that no metric both have is worse, beyond chance.

    A gate is passed where the interval lies above the bar, or where every single answer (five and
    more) reaches it; regressed where the interval lies below; else inconclusive: more questions are
    needed. More than `most_failures` of the scores failed: the mean would say little.
    """
    if baseline is not None and not same_judge(baseline, run):
        raise ConfigError(
            f"the baseline was judged by {baseline.settings.get('backend')!s:.60}, this run by "
            f"{run.settings.get('backend')!s:.60}: their difference is the judges'"
        )
    comparisons = compare_runs(baseline, run) if baseline is not None else []
    by_name = {each.metric: each for each in comparisons}
    found: list[GateResult] = []
    for gate in gates:
        if gate.metric not in run.scores:
            raise ConfigError(
                f"the gate {gate} needs the metric, which was not computed: --metrics"
            )
        summary = run.summaries[gate.metric]
        asked = summary.n - summary.not_applicable
        if asked and summary.failed > most_failures * asked:
            why = f"{summary.failed:,} of {asked:,} scores failed"
            found.append(GateResult(str(gate), TOO_MANY_FAILURES, why))
        elif gate.relative:
            if baseline is None:
                raise ConfigError(f"the gate {gate} needs a --baseline")
            if gate.metric not in by_name:
                raise ConfigError(f"the gate {gate}: the baseline has no {gate.metric}")
            found.append(_relative(gate, by_name[gate.metric]))
        else:
            found.append(_absolute(gate, run))
    for each in comparisons:
        if each.regressed:
            estimate = each.difference.estimate
            why = (
                f"{each.metric} is worse than the baseline: {estimate.value:+.3f} "
                f"[{estimate.low:+.3f}, {estimate.high:+.3f}], p = {each.p:.4f}"
            )
            found.append(GateResult(f"{each.metric} against the baseline", REGRESSED, why))
    return found


def same_judge(one: RunResult, other: RunResult) -> bool:
    """Whether support was judged in the same way in both runs."""
    return one.settings.get("scoring") == other.settings.get("scoring")


def exit_code(results: Sequence[GateResult]) -> int:
    """The exit code of all gates: a regression before failures, these before what is not known."""
    codes = {result.code for result in results}
    order = (REGRESSED, TOO_MANY_FAILURES, INCONCLUSIVE)
    return next((code for code in order if code in codes), PASSED)


def _absolute(gate: Gate, run: RunResult) -> GateResult:
    summary = run.summaries[gate.metric]
    found = summary.estimate
    if found is None:
        return GateResult(str(gate), INCONCLUSIVE, "no answer was scored")
    said = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}], {summary.scored:,} scored"
    above = gate.sign == ">="
    scores: Sequence[Score] = run.scores[gate.metric]
    values = [score.value for score in scores if score.value is not None]
    each = all(value >= gate.bar if above else value <= gate.bar for value in values)
    worst = summary.low_bound if above else summary.high_bound
    if summary.failed and worst is not None and ((worst < gate.bar) if above else worst > gate.bar):
        code, said = INCONCLUSIVE, f"{said}; {worst:.3f} with its failures"
    elif (found.low >= gate.bar) if above else (found.high <= gate.bar):
        code = PASSED
    elif (found.high < gate.bar) if above else (found.low > gate.bar):
        code = REGRESSED
    elif each and len(values) >= _FEWEST:
        code, said = PASSED, f"{said}, each of which reaches it"
    else:
        code = INCONCLUSIVE
    return GateResult(str(gate), code, said)


def _relative(gate: Gate, found: MetricComparison) -> GateResult:
    estimate = found.difference.estimate
    said = f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}] over {found.n:,}"
    if found.n < _FEWEST:
        why = f"{found.n:,} questions were scored in both runs: too few to say"
        return GateResult(str(gate), INCONCLUSIVE, why)
    above = gate.sign == ">="
    if (estimate.low >= gate.bar) if above else (estimate.high <= gate.bar):
        return GateResult(str(gate), PASSED, said)
    if (estimate.high < gate.bar) if above else (estimate.low > gate.bar):
        return GateResult(str(gate), REGRESSED, said)
    need = f"; so many questions show a difference of {found.difference.detectable:.3f}"
    return GateResult(str(gate), INCONCLUSIVE, said + need)
