"""Comparison of two evaluation runs, and gates that decide whether a run is good enough."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from evals.metrics import all_metrics
from evals.runs import RunResult
from evals.scores import Score
from evals.statistics import Difference, compare_means, compare_ratios, holm
from rag.errors import ConfigError

PASSED, REGRESSED, WRONG_USE, TOO_MANY_FAILURES, INCONCLUSIVE = range(5)
"""Exit codes of a gate."""

MAX_FAILURE_SHARE = 0.1
"""A gate is not decided if more than this share of the metric's scores failed."""
_SIGNIFICANCE_LEVEL = 0.05
_MIN_ANSWERS_FOR_GATE = 5  # needed to pass a gate because every single answer passes it


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """The difference of one metric between runs A and B, B minus A.

    ``n`` of the ``common_questions`` were scored in both runs; ``a`` and ``b`` are the means over
    these. ``p`` is corrected for the number of metrics (Holm).
    """

    metric: str
    n: int
    common_questions: int
    a: float
    b: float
    difference: Difference
    p: float
    better: Literal["higher", "lower"] = "higher"

    @property
    def is_regression(self) -> bool:
        """Whether B is significantly worse."""
        delta = self.difference.estimate.value
        return self.p < _SIGNIFICANCE_LEVEL and (
            delta < 0 if self.better == "higher" else delta > 0
        )

    @property
    def is_improvement(self) -> bool:
        """Whether B is significantly better."""
        return (
            self.p < _SIGNIFICANCE_LEVEL
            and not self.is_regression
            and self.difference.estimate.value != 0
        )

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        difference = self.difference
        return {
            "n": self.n,
            "of": self.common_questions,
            "a": self.a,
            "b": self.b,
            "difference": difference.estimate.as_json(),
            "p": difference.p,
            "p_holm": self.p,
            "wins": difference.wins,
            "ties": difference.ties,
            "losses": difference.losses,
            "smallest_detectable": difference.detectable,
        }


def compare_runs(a: RunResult, b: RunResult) -> list[MetricComparison]:
    """Compare two runs metric by metric, on the questions that were scored in both.

    The randomisation test is paired by question, and its p is corrected for the number of metrics
    (Holm). Questions are the same if their ids and texts are equal. Raises `ConfigError` if the
    runs have no question or no metric in common.
    """
    names = [metric.name for metric in a.metrics if metric.name in b.scores]
    if not names:
        raise ConfigError("the runs have no metric in common")
    positions_a = {question.id: i for i, question in enumerate(a.questions)}
    positions_b = {question.id: i for i, question in enumerate(b.questions)}
    positions = [
        (positions_a[question.id], positions_b[question.id])
        for question in a.questions
        if question.id in positions_b
        and b.questions[positions_b[question.id]].question == question.question
    ]
    if not positions:
        raise ConfigError("the runs have no question in common")
    comparisons = [
        _compare_metric(name, [(a.scores[name][i], b.scores[name][j]) for i, j in positions])
        for name in names
    ]
    p_values = {c.metric: c.p for c in comparisons if c.n}
    corrected_p = holm(p_values)
    return [replace(c, p=corrected_p.get(c.metric, 1.0)) for c in comparisons]


def _compare_metric(name: str, score_pairs: Sequence[tuple[Score, Score]]) -> MetricComparison:
    """Compare the scores of the common questions; p is not corrected yet."""
    metric = all_metrics()[name]
    compare = _compare_pooled if metric.pooled else _compare_paired
    n, mean_a, mean_b, difference = compare(score_pairs)
    return MetricComparison(
        metric=name,
        n=n,
        common_questions=len(score_pairs),
        a=mean_a,
        b=mean_b,
        difference=difference,
        p=difference.p,
        better=metric.better,
    )


_Comparison = tuple[int, float, float, Difference]  # question count, mean of A, mean of B, B - A


def _compare_paired(score_pairs: Sequence[tuple[Score, Score]]) -> _Comparison:
    """Compare the means over the questions that were scored in both runs."""
    pairs = [
        (a.value, b.value) for a, b in score_pairs if a.value is not None and b.value is not None
    ]
    values_a, values_b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    n = len(pairs)
    difference = compare_means(values_a, values_b)
    return n, sum(values_a) / max(1, n), sum(values_b) / max(1, n), difference


def _compare_pooled(score_pairs: Sequence[tuple[Score, Score]]) -> _Comparison:
    """Compare the ratios of sums over the questions that failed in neither run.

    The answers decide which questions a pooled metric counts, so the two runs may count different
    ones.
    """

    def get_parts(score: Score) -> tuple[float, float]:
        return score.numerator or 0.0, score.denominator or 0.0

    pairs = [
        (get_parts(a), get_parts(b)) for a, b in score_pairs if "failed" not in (a.status, b.status)
    ]
    parts_a, parts_b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    denominators = [sum(part[1] for part in parts) for parts in (parts_a, parts_b)]
    if not all(denominators):
        return 0, 0.0, 0.0, compare_means([], [])
    mean_a = sum(part[0] for part in parts_a) / denominators[0]
    mean_b = sum(part[0] for part in parts_b) / denominators[1]
    n = sum(bool(a[1] or b[1]) for a, b in pairs)
    return n, mean_a, mean_b, compare_ratios(parts_a, parts_b)


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit for a metric's mean: ``faithfulness>=0.9``, or ``hallucination<=0.05``.

    If ``relative``, ``bar`` is a difference to a baseline: ``faithfulness>=baseline-0.02``.
    """

    metric: str
    sign: Literal[">=", "<="]
    bar: float
    relative: bool = False

    def __str__(self) -> str:
        """Return the gate as it is written on the command line."""
        if not self.relative:
            return f"{self.metric}{self.sign}{self.bar:g}"
        return f"{self.metric}{self.sign}baseline{self.bar:+g}"


_GATE = re.compile(
    r"\s*+([\w@.-]++)\s*+(>=|<=)\s*+(?:(baseline)\s*+([+-]\s*+(?:\d++(?:\.\d++)?|\.\d++))?|([+-]?(?:\d++(?:\.\d++)?|\.\d++)))\s*+"
)


def parse_gates(texts: Sequence[str]) -> list[Gate]:
    """Parse gates as written on the command line; one text can hold several, with commas.

    Raises `ConfigError` for a text that is not a gate, an unknown metric, or an impossible limit.
    """
    return [_parse_gate(part) for text in texts for part in text.split(",") if part.strip()]


def _parse_gate(text: str) -> Gate:
    match = _GATE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"not a gate: {text.strip()!r}; write 'faithfulness>=0.9', "
            "'hallucination<=0.05' or 'faithfulness>=baseline-0.02'"
        )
    name, sign, relative, offset, bar = match.groups()
    metric = all_metrics().get(name)
    if metric is None:
        raise ConfigError(f"unknown metric {name!r}; `rag eval metrics` lists them")
    if not metric.gate:
        raise ConfigError(f"{name} is a judge's opinion and cannot be used in a gate")
    expected_sign: Literal[">=", "<="] = ">=" if metric.better == "higher" else "<="
    if sign != expected_sign:
        raise ConfigError(f"for {name}, {metric.better} is better: write {name}{expected_sign}...")
    value = float((offset or "0").replace(" ", "")) if relative else float(bar)
    if not relative and not 0 <= value <= 1:
        raise ConfigError(f"the limit of {name} must be from 0 to 1, not {value:g}")
    return Gate(name, expected_sign, value, bool(relative))


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of a gate: its exit code, and the reason."""

    gate: str
    code: int
    reason: str

    @property
    def outcome(self) -> str:
        """The result as a word."""
        outcomes = ("passed", "regressed", "usage error", "too many failures", "inconclusive")
        return outcomes[self.code]


def check_gates(
    run: RunResult,
    gates: Sequence[Gate],
    *,
    baseline: RunResult | None = None,
    max_failure_share: float = MAX_FAILURE_SHARE,
) -> list[GateResult]:
    """Check every gate; with a `baseline`, also check that no common metric is worse than in it.

    A gate passes if the interval is on the right side of the bar, or if at least five answers were
    scored and each of them reaches the bar. It regresses if the interval is on the wrong side.
    Otherwise it is inconclusive: more questions are needed. It is also inconclusive if the failed
    scores could change the result, and it is not decided if more than `max_failure_share` of the
    scores failed. Raises `ConfigError` if the baseline has another support judge, or if a gate
    needs a metric or a baseline that is missing.
    """
    if baseline is not None and not has_same_judge(baseline, run):
        raise ConfigError(
            f"the baseline was judged by {baseline.settings.get('backend')!s:.60}, this run by "
            f"{run.settings.get('backend')!s:.60}: a difference could come from the judges"
        )
    comparisons = compare_runs(baseline, run) if baseline is not None else []
    by_metric = {comparison.metric: comparison for comparison in comparisons}
    results = [_check_gate(gate, run, by_metric, baseline, max_failure_share) for gate in gates]
    return results + [
        _make_regression_result(comparison)
        for comparison in comparisons
        if comparison.is_regression
    ]


def _check_gate(
    gate: Gate,
    run: RunResult,
    comparisons: Mapping[str, MetricComparison],
    baseline: RunResult | None,
    max_failure_share: float,
) -> GateResult:
    if gate.metric not in run.scores:
        raise ConfigError(
            f"the gate {gate} needs a metric that was not computed: add it to --metrics"
        )
    summary = run.summaries[gate.metric]
    applicable = summary.n - summary.not_applicable
    if applicable and summary.failed > max_failure_share * applicable:
        reason = f"{summary.failed:,} of {applicable:,} scores failed"
        return GateResult(str(gate), TOO_MANY_FAILURES, reason)
    if not gate.relative:
        return _check_absolute_gate(gate, run)
    if baseline is None:
        raise ConfigError(f"the gate {gate} needs a --baseline")
    if gate.metric not in comparisons:
        raise ConfigError(f"the gate {gate} needs {gate.metric} in the baseline, which lacks it")
    return _check_relative_gate(gate, comparisons[gate.metric])


def _make_regression_result(comparison: MetricComparison) -> GateResult:
    estimate = comparison.difference.estimate
    reason = (
        f"{comparison.metric} is worse than the baseline: {estimate.value:+.3f} "
        f"[{estimate.low:+.3f}, {estimate.high:+.3f}], p = {comparison.p:.4f}"
    )
    return GateResult(f"{comparison.metric} against the baseline", REGRESSED, reason)


def has_same_judge(first: RunResult, second: RunResult) -> bool:
    """Return whether both runs used the same support judge with the same settings."""
    return first.settings.get("scoring") == second.settings.get("scoring")


def exit_code(results: Sequence[GateResult]) -> int:
    """Return the exit code of all gates: a regression precedes failures and inconclusive gates."""
    codes = {result.code for result in results}
    order = (REGRESSED, TOO_MANY_FAILURES, INCONCLUSIVE)
    return next((code for code in order if code in codes), PASSED)


def _check_absolute_gate(gate: Gate, run: RunResult) -> GateResult:
    summary = run.summaries[gate.metric]
    estimate = summary.estimate
    if estimate is None:
        return GateResult(str(gate), INCONCLUSIVE, "no answer was scored")
    reason = (
        f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}], {summary.scored:,} scored"
    )
    is_minimum = gate.sign == ">="

    def reaches_bar(value: float) -> bool:
        return value >= gate.bar if is_minimum else value <= gate.bar

    values = [score.value for score in run.scores[gate.metric] if score.value is not None]
    worst_mean = summary.low_bound if is_minimum else summary.high_bound
    worst_end, best_end = estimate.low, estimate.high
    if not is_minimum:
        worst_end, best_end = best_end, worst_end
    if summary.failed and worst_mean is not None and not reaches_bar(worst_mean):
        code = INCONCLUSIVE
        reason = f"{reason}; {worst_mean:.3f} if the failed scores count as wrong"
    elif reaches_bar(worst_end):
        code = PASSED
    elif not reaches_bar(best_end):
        code = REGRESSED
    elif len(values) >= _MIN_ANSWERS_FOR_GATE and all(map(reaches_bar, values)):
        code, reason = PASSED, f"{reason}, and every answer reaches the bar"
    else:
        code = INCONCLUSIVE
    return GateResult(str(gate), code, reason)


def _check_relative_gate(gate: Gate, comparison: MetricComparison) -> GateResult:
    estimate = comparison.difference.estimate
    if comparison.n < _MIN_ANSWERS_FOR_GATE:
        reason = f"only {comparison.n:,} questions were scored in both runs"
        return GateResult(str(gate), INCONCLUSIVE, reason)
    reason = (
        f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}] over "
        f"{comparison.n:,} questions"
    )
    is_minimum = gate.sign == ">="
    if (estimate.low >= gate.bar) if is_minimum else (estimate.high <= gate.bar):
        return GateResult(str(gate), PASSED, reason)
    if (estimate.high < gate.bar) if is_minimum else (estimate.low > gate.bar):
        return GateResult(str(gate), REGRESSED, reason)
    detectable = comparison.difference.detectable
    if detectable is None:
        reason += "; so few questions can detect no difference"
    else:
        reason += f"; this many questions can detect a difference of {detectable:.3f}"
    return GateResult(str(gate), INCONCLUSIVE, reason)
