"""``rag eval run``, ``compare``, ``report``, ``calibrate`` and ``metrics``: scores of answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli import terminal
from rag.cli.eval_options import (
    load_chat_model,
    make_progress_printer,
    make_support_judge,
    support_judge_options,
)
from rag.cli.eval_output import (
    CHANCE_AUROC,
    print_calibration,
    print_run,
    print_run_comparison,
)
from rag.cli.eval_retrieval import eval_group
from rag.cli.options import (
    index_option,
    json_option,
    make_pipeline,
    parts_options,
    pipeline_option,
    require_folder,
)
from rag.cli.output import print_json
from rag.errors import ConfigError, RagIndexError

if TYPE_CHECKING:
    from evals.comparison import Gate, GateResult
    from evals.judges import SupportJudge
    from evals.metrics import Metric
    from evals.questions import Question
    from evals.runs import RunResult
    from rag.pipeline import Pipeline

_FILE = click.Path(path_type=Path)
_MAX_GOLD_COMPARISONS = 2_000_000  # uris x gold names; a larger check is skipped
_MAX_GOLD_LISTED = 5


@eval_group.command()
@click.argument("questions", type=_FILE)
@click.option(
    "--metrics",
    "names",
    metavar="NAMES",
    multiple=True,
    help="Metrics or groups, separated by commas; `rag eval metrics` lists them.",
)
@click.option(
    "--out",
    type=_FILE,
    help="Folder of the run. An existing run is resumed.  [default: runs/QUESTIONS-...]",
)
@support_judge_options
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Number of questions asked at the same time.",
)
@click.option(
    "--budget",
    type=float,
    metavar="USD",
    help="Maximum cost; no further question is asked above it.",
)
@click.option("--dry-run", is_flag=True, help="Print the estimated cost; ask nothing.")
@click.option(
    "--limit", type=click.IntRange(1), help="Ask only the first questions, up to this number."
)
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="GATE",
    help="Requirement: 'faithfulness>=0.9' or 'faithfulness>=baseline-0.02'. Repeatable.",
)
@click.option("--baseline", type=_FILE, metavar="RUN", help="Folder of a run to compare with.")
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Fail if more than this share of scores fail.",
)
@click.option(
    "--calibration",
    type=_FILE,
    multiple=True,
    help="Output of `rag eval calibrate --out`: apply its threshold and correct the rates.",
)
@pipeline_option
@parts_options
@index_option
@json_option
def run(
    questions: Path,
    names: tuple[str, ...],
    out: Path | None,
    backend: str | None,
    judge: str | None,
    nli_model: str | None,
    repeats: int,
    concurrency: int,
    budget: float | None,
    dry_run: bool,
    limit: int | None,
    gates: tuple[str, ...],
    baseline: Path | None,
    max_failures: float,
    calibration: tuple[Path, ...],
    pipeline: str | None,
    index: Path | None,
    as_json: bool,
) -> None:
    """Ask every question of QUESTIONS and score the answers.

    A line of QUESTIONS is {"id", "question", "answers"?, "answerable"?, "gold"?}. CSV, SQuAD,
    HotpotQA, Ragas and other formats are read too. If a question has "response" and "contexts",
    that answer is scored and the question is not asked. Run the same command again to resume a
    stopped run: nothing is asked or paid twice.

    Exit codes: 0 all gates passed, 1 regression, 2 usage error, 3 too many failures, 4
    inconclusive.
    """
    from evals import runs
    from evals.comparison import parse_gates
    from evals.metrics import choose_metrics
    from evals.questions import load_questions

    loaded_questions = load_questions(questions)[:limit]
    selected_metrics = choose_metrics(names)
    parsed_gates = parse_gates(gates)
    chat_model = load_chat_model(judge)
    if chat_model is None:
        _warn_missing_judge(selected_metrics)
    support = make_support_judge(backend, judge, nli_model, repeats)
    calibrations = [_apply_calibration(path, support) for path in calibration]
    baseline_result = runs.read_run(baseline) if baseline else None
    needs_answers = any(question.answer is None for question in loaded_questions)
    with _open_eval_pipeline(pipeline, index) if needs_answers else nullcontext() as evaluated:
        folder = out or _default_folder(questions, loaded_questions, evaluated)
        cost = runs.estimate(
            evaluated,
            loaded_questions,
            metrics=selected_metrics,
            support=support,
            judge=chat_model,
            folder=folder,
        )
        terminal.echo(str(cost), err=True)
        _warn_missing_gold(evaluated, loaded_questions)
        if dry_run:
            return
        result = runs.run(
            evaluated,
            loaded_questions,
            folder,
            metrics=selected_metrics,
            support=support,
            judge=chat_model,
            concurrency=concurrency,
            budget=budget,
            progress=make_progress_printer(),
        )
    if calibrations:
        result.corrected = {c["metric"]: _correct_scores(result, c) for c in calibrations}
        runs.write_results(result, folder)
    outcomes = _check_run_gates(result, folder, parsed_gates, baseline_result, max_failures)
    _end_run(result, folder, outcomes, max_failures, as_json=as_json)


def _check_run_gates(
    result: RunResult,
    folder: Path,
    gates: Sequence[Gate],
    baseline: RunResult | None,
    max_failure_share: float,
) -> list[GateResult]:
    """Check the gates, and save their outcomes with the results of the run."""
    from evals.comparison import check_gates
    from evals.runs import write_results

    outcomes = check_gates(result, gates, baseline=baseline, max_failure_share=max_failure_share)
    if outcomes:
        result.gates = [{"gate": o.gate, "outcome": o.outcome, "why": o.reason} for o in outcomes]
        write_results(result, folder)
    return outcomes


def _end_run(
    result: RunResult,
    folder: Path,
    outcomes: list[GateResult],
    max_failure_share: float,
    *,
    as_json: bool,
) -> None:
    """Print the result, and exit with the code of the gates."""
    from evals.comparison import TOO_MANY_FAILURES, exit_code

    if as_json:
        usage = result.usage
        print_json(
            result.as_json()
            | {
                "folder": str(folder),
                "usage": usage.model_dump(mode="json"),
                "gates": [
                    {"gate": o.gate, "outcome": o.outcome, "code": o.code, "why": o.reason}
                    for o in outcomes
                ],
            }
        )
    else:
        print_run(result)
        for outcome in outcomes:
            terminal.echo(f"gate {outcome.gate}: {outcome.outcome} ({outcome.reason})")
        terminal.echo(f"report: {folder / 'report.html'}")
    code = exit_code(outcomes)
    if not code and result.failures > max_failure_share * len(result.questions):
        code = TOO_MANY_FAILURES
        terminal.echo(
            f"{result.failures:,} of {len(result.questions):,} questions failed", err=True
        )
    if code:
        raise click.exceptions.Exit(code)


@eval_group.command()
@click.argument("run_a", type=_FILE)
@click.argument("run_b", type=_FILE)
@json_option
def compare(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Compare two runs question by question: is RUN_B better than RUN_A?

    Uses the questions that have a score in both runs. Shows the means, the difference with its
    interval (bootstrap), the p value of a paired randomisation test, corrected for the number of
    metrics (Holm), wins, ties and losses, and the smallest difference that this number of
    questions detects with a power of 80 %.
    """
    from evals.comparison import compare_runs, has_same_judge
    from evals.runs import read_run

    result_a, result_b = read_run(run_a), read_run(run_b)
    comparisons = compare_runs(result_a, result_b)
    if not has_same_judge(result_a, result_b):
        terminal.echo(
            f"support was judged by {result_a.settings.get('backend')} in A and by "
            f"{result_b.settings.get('backend')} in B: a difference could come from the judges",
            err=True,
        )
    if as_json:
        print_json(
            {
                "a": str(run_a),
                "b": str(run_b),
                "metrics": {c.metric: c.as_json() for c in comparisons},
            }
        )
        return
    terminal.echo(f"A: {run_a}, B: {run_b}")
    print_run_comparison(comparisons)


@eval_group.command()
@click.argument("run_folder", metavar="RUN", type=_FILE)
@click.option("-o", "--output", type=_FILE, help="File to write.  [default: RUN/report.html]")
def report(run_folder: Path, output: Path | None) -> None:
    """Write the HTML report of RUN and print its scores."""
    from evals.report import render_html
    from evals.runs import read_run

    require_folder(output)
    result = read_run(run_folder)
    print_run(result)
    target = output or run_folder / "report.html"
    target.write_text(render_html(result), encoding="utf-8", errors="surrogatepass")
    terminal.echo(f"report: {target}")


@eval_group.command()
@json_option
def metrics(as_json: bool) -> None:
    """List the metrics with a summary and their requirements."""
    from evals.metrics import GROUPS, all_metrics

    metric_of_name = all_metrics()
    if as_json:
        print_json(
            [
                {
                    "name": m.name,
                    "group": m.group,
                    "summary": m.summary,
                    "needs": list(m.needs),
                    "better": m.better,
                    "usual": m.usual,
                    "gate": m.gate,
                }
                for m in metric_of_name.values()
            ]
        )
        return
    for group in GROUPS:
        terminal.echo(f"{group}:")
        for metric in metric_of_name.values():
            if metric.group == group:
                usual = "*" if metric.usual else " "
                terminal.echo(f"  {usual} {metric.name:<30}{metric.summary}")
    terminal.echo("* computed by default (without --metrics)")


@eval_group.command()
@click.argument("labelled", type=_FILE)
@click.option(
    "--metric",
    default="faithfulness",
    show_default=True,
    help="Metric: faithfulness, answer_correctness, token_f1, holds_answer, answer_relevance.",
)
@support_judge_options
@click.option(
    "-o",
    "--out",
    type=_FILE,
    help="Write the calibration as JSON, for `rag eval run --calibration`.",
)
@json_option
def calibrate(
    labelled: Path,
    metric: str,
    backend: str | None,
    judge: str | None,
    nli_model: str | None,
    repeats: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure how well a metric agrees with human labels, and choose its threshold.

    A line of LABELLED is {"answer" or "claim", "contexts": [...], "label": 0 or 1}, with optional
    "references" and "question". Every number has a 95% interval (bootstrap). Balanced accuracy, F1,
    kappa, TPR and TNR use thresholds that were chosen on other rows (cross-validation).
    """
    import json

    from evals.calibration import calibrate as calibrate_metric
    from evals.calibration import load_labelled

    require_folder(out)
    support = make_support_judge(backend, judge, nli_model, repeats)
    calibration = calibrate_metric(
        load_labelled(labelled), metric, support, progress=make_progress_printer()
    )
    if out is not None:
        out.write_text(json.dumps(calibration.as_json(), indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(calibration.as_json())
        return
    print_calibration(calibration)


@contextmanager
def _open_eval_pipeline(target: str | None, index: Path | None) -> Iterator[Pipeline]:
    """Open the pipeline to evaluate.

    Raises `ConfigError` (exit code 2) for a missing index: code 1 would mean a regression.
    """
    with make_pipeline(target, index) as pipeline:
        try:
            pipeline.open()
        except RagIndexError as error:
            raise ConfigError(str(error)) from None
        yield pipeline


def _warn_missing_judge(metrics: Sequence[Metric]) -> None:
    """Print the metrics that cannot be computed without a judge."""
    if names := [metric.name for metric in metrics if "judge" in metric.needs]:
        terminal.echo(f"not computed without a judge (--judge): {', '.join(names)}", err=True)


def _warn_missing_gold(pipeline: Pipeline | None, questions: Sequence[Question]) -> None:
    """Print the gold documents that the index does not have, up to a few of them."""
    from evals.questions import is_gold

    if pipeline is None:
        return
    uris = pipeline.open().document_store.uris()
    gold_names = list(dict.fromkeys(gold for question in questions for gold in question.gold))
    if len(uris) * len(gold_names) > _MAX_GOLD_COMPARISONS:
        return
    missing = [gold for gold in gold_names if not any(is_gold(uri, gold) for uri in uris)]
    if (unlisted_count := len(missing) - _MAX_GOLD_LISTED) > 0:
        missing = [*missing[:_MAX_GOLD_LISTED], f"and {unlisted_count:,} more"]
    if missing:
        terminal.echo(f"gold documents missing from the index: {', '.join(missing)}", err=True)


def _default_folder(path: Path, questions: Sequence[Question], pipeline: Pipeline | None) -> Path:
    import hashlib

    from evals.questions import questions_hash

    identity = f"{questions_hash(questions)}:{pipeline.fingerprint if pipeline else ''}"
    return Path("runs") / f"{path.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def _apply_calibration(path: Path, support: SupportJudge) -> dict[str, Any]:
    """Read a calibration, and set the threshold of `support` if it is about faithfulness."""
    from evals.calibration import read_calibration

    calibration = read_calibration(path)
    if calibration["fingerprint"].rpartition(":")[0] != support.fingerprint.rpartition(":")[0]:
        raise ConfigError(f"{path} was calibrated with another judge than {support.name}")
    if calibration["auroc_low"] <= CHANCE_AUROC:
        raise ConfigError(
            f"{path}: the metric may be no better than chance at separating right from wrong "
            f"answers (lower bound of its AUROC: {calibration['auroc_low']:.2f}), so it cannot be "
            "used for correction"
        )
    support.calibrated_on = f"{calibration['n']:,} labels of yours ({path.name})"
    if calibration["metric"] == "faithfulness":
        support.threshold = calibration["threshold"]
        support.partial = min(support.partial, support.threshold)
    return calibration


def _correct_scores(result: RunResult, calibration: dict[str, Any]) -> dict[str, Any]:
    from evals.calibration import correct_rate, extract_verdicts

    name = calibration["metric"]
    if name not in result.scores:
        raise ConfigError(
            f"the calibration is for {name}, which was not computed: add it to --metrics"
        )
    verdicts = extract_verdicts(result.scores[name], calibration)
    return correct_rate(verdicts, calibration["rectifier"], labels=calibration["n"])
