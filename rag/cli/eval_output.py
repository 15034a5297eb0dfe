"""Printing of evaluation results: runs, comparisons, calibrations and retrieval metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag.cli import output, terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.calibration import Calibration
    from evals.comparison import MetricComparison
    from evals.retrieval import RetrievalResult
    from evals.runs import RunResult
    from evals.statistics import Difference, Estimate

CHANCE_AUROC = 0.5  # of a metric that guesses
_MAX_REASONS_LISTED = 3
_BAR_CHARACTERS = 24


def print_run(result: RunResult) -> None:
    """Print the scores of an evaluation run with their intervals, and its failures."""
    terminal.echo(
        f"{len(result.questions):,} questions; 95% intervals; support: "
        f"{result.settings.get('backend', '')}"
    )
    if result.stopped:
        terminal.echo(f"stopped: {result.stopped}")
    if missing := len(result.questions) - len(result.items):
        terminal.echo(f"{missing:,} questions were not asked yet; they count as failed")
    for name, summary in result.summaries.items():
        terminal.echo(f"  {name:<30}{summary}")
    for reason, times in result.failure_reasons(_MAX_REASONS_LISTED):
        terminal.echo(f"  failed {times:,} times: {reason}", err=True)
    for name, rate in result.corrected.items():
        terminal.echo(
            f"  {name + ', corrected':<30}{rate['value']:.3f}  [{rate['low']:.3f}, "
            f"{rate['high']:.3f}]  using {rate['labels']:,} labels"
        )


def print_run_comparison(comparisons: Sequence[MetricComparison]) -> None:
    """Print one line for each metric: both means, their difference, and wins of run B."""
    terminal.echo(
        f"  {'':<26}{'A':>7}{'B':>8}   {'B - A':<26}{'p (Holm)':>9}  wins/ties/losses of B"
    )
    for comparison in comparisons:
        name = comparison.metric
        if not comparison.n:
            terminal.echo(f"  {name:<26}{'-':>7}{'-':>8}   no question has a score in both runs")
            continue
        difference = comparison.difference
        estimate = difference.estimate
        interval = f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
        counts = f"{difference.wins}/{difference.ties}/{difference.losses} of {comparison.n}"
        verdict = ""
        if comparison.is_regression or comparison.is_improvement:
            verdict = "worse" if comparison.is_regression else "better"
        terminal.echo(
            f"  {name:<26}{comparison.a:>7.3f}{comparison.b:>8.3f}   {interval:<26}"
            f"{comparison.p:>9.4f}  {counts}, {_describe_detectable(difference.detectable)}  "
            f"{verdict}".rstrip()
        )


def _describe_detectable(detectable: float | None) -> str:
    return "too few to detect any" if detectable is None else f"detects {detectable:.3f}"


def print_calibration(calibration: Calibration) -> None:
    """Print how well a metric agrees with human labels, its threshold and its reliability."""
    terminal.echo(f"{calibration.metric} by {calibration.judge}")
    unjudged = f", {calibration.failed:,} could not be judged" if calibration.failed else ""
    terminal.echo(
        f"{calibration.n:,} labels, {calibration.positives:,} of them 1{unjudged}; 95% intervals"
    )
    rows = {
        "AUROC": calibration.auroc,
        "balanced accuracy": calibration.balanced_accuracy,
        "F1": calibration.f1,
        "kappa": calibration.kappa,
        "TPR": calibration.tpr,
        "TNR": calibration.tnr,
        "threshold": calibration.threshold,
        f"balanced at {calibration.default_threshold:g}": calibration.at_default,
    }
    for name, estimate in rows.items():
        terminal.echo(f"  {name:<20}{format_interval(estimate)}")
    if calibration.auroc.low <= CHANCE_AUROC:
        terminal.echo("  the metric may be no better than chance: do not use its threshold")
    terminal.echo("  score      labels   share of 1")
    for label_count, score, share in calibration.reliability:
        bar = "#" * round(_BAR_CHARACTERS * share)
        terminal.echo(f"  {score:.2f}    {label_count:>8,}   {share:.2f}  {bar}")
    slope, intercept = calibration.curve
    terminal.echo(
        f"  as a probability: 1 / (1 + exp(-({slope:.2f} * log(s / (1 - s)) {intercept:+.2f})))"
    )
    terminal.echo(
        f"  calibration error {calibration.curve_error:.3f} (of the scores themselves: "
        f"{calibration.calibration_error:.3f})"
    )


def print_retrieval(result: RetrievalResult) -> None:
    """Print the retrieval metrics with their intervals, and the latency of a search."""
    counts = f"{len(result.dataset.judgements):,} queries"
    if result.documents:
        counts += f", {result.documents:,} documents"
    terminal.echo(f"{counts}; 95% intervals")
    for name, estimate in result.metrics.items():
        terminal.echo(f"  {name:<12}{format_interval(estimate)}")
    if result.seconds:
        p50, p95 = 1000 * result.latency(0.5), 1000 * result.latency(0.95)
        terminal.echo(f"  {'search':<12}{p50:.1f} ms (p50), {p95:.1f} ms (p95)")


def print_retrieval_comparison(
    files: tuple[Path, Path], result_a: RetrievalResult, result_b: RetrievalResult, *, as_json: bool
) -> None:
    """Print the metrics of two pipelines and their differences, as a table or as JSON."""
    differences = result_a.compared_with(result_b)
    if as_json:
        output.print_json(
            {
                "a": result_a.as_json() | {"pipeline": str(files[0])},
                "b": result_b.as_json() | {"pipeline": str(files[1])},
                "difference": {
                    name: {**difference.estimate.as_json(), "p": difference.p}
                    for name, difference in differences.items()
                },
            }
        )
        return
    terminal.echo(f"{len(result_a.dataset.judgements):,} queries; A: {files[0]}, B: {files[1]}")
    terminal.echo(f"  {'':<12}{'A':>7}{'B':>8}   B - A")
    for name, difference in differences.items():
        a, b = result_a.metrics[name].value, result_b.metrics[name].value
        terminal.echo(f"  {name:<12}{a:>7.3f}{b:>8.3f}   {format_difference(difference)}")
    a, b = 1000 * result_a.latency(0.5), 1000 * result_b.latency(0.5)
    terminal.echo(f"  {'ms (p50)':<12}{a:>7.1f}{b:>8.1f}")


def format_interval(estimate: Estimate) -> str:
    """Return a value with its 95% interval."""
    return f"{estimate.value:.3f}  [{estimate.low:.3f}, {estimate.high:.3f}]"


def format_difference(difference: Difference) -> str:
    """Return a signed difference with its 95% interval and its p value."""
    estimate = difference.estimate
    interval = f"[{estimate.low:+.3f}, {estimate.high:+.3f}]"
    return f"{estimate.value:+.3f}  {interval}  p = {difference.p:.3f}"
