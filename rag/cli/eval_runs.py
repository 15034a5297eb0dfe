"""``rag eval run``, ``compare``, ``report``, ``calibrate`` and ``metrics``: answers, scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli.eval_options import (
    backend_options,
    chat_model,
    eval_pipeline,
    make_backend,
    print_json,
    progress_shown,
)
from rag.cli.eval_retrieval import eval_group
from rag.cli.options import index_option, json_option, pipeline_option, require_folder
from rag.errors import ConfigError

if TYPE_CHECKING:
    from evals.calibration import Calibration
    from evals.comparison import GateResult, MetricComparison
    from evals.judges import SupportJudge
    from evals.runs import RunResult

_FILE = click.Path(path_type=Path)
_SHOWN = 3  # reasons
_USELESS = 0.5  # AUROC of a coin
_BARS = 24  # characters


@eval_group.command()
@click.argument("questions", type=_FILE)
@click.option(
    "--metrics",
    "names",
    metavar="NAMES",
    multiple=True,
    help="Names or groups, between commas; `rag eval metrics` lists them.",
)
@click.option(
    "--out",
    type=_FILE,
    help="Folder of the run; one that is there is gone on with.  [default: runs/QUESTIONS-...]",
)
@backend_options
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Questions asked at a time.",
)
@click.option("--budget", type=float, metavar="USD", help="Begin no question when it is spent.")
@click.option("--dry-run", is_flag=True, help="Say what it may cost; ask nothing.")
@click.option("--limit", type=click.IntRange(1), help="Ask the first so many questions only.")
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="GATE",
    help="'faithfulness>=0.9', or 'faithfulness>=baseline-0.02'. May be repeated.",
)
@click.option("--baseline", type=_FILE, metavar="RUN", help="A run to compare with.")
@click.option(
    "--max-failures",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of failed scores beyond which the run is no good.",
)
@click.option(
    "--calibration",
    type=_FILE,
    multiple=True,
    help="What `rag eval calibrate --out` wrote: its threshold, and corrected rates.",
)
@pipeline_option
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
    """Ask every question of QUESTIONS, and score the answers.

    A line of QUESTIONS is {"id", "question", "answers"?, "answerable"?, "gold"?}; CSV, SQuAD,
    HotpotQA, Ragas and others are read too. With "response" and "contexts" in it, that answer is
    scored and nothing is asked. A run that was stopped goes on when it is called again; nothing is
    paid for twice.

    Exit codes: 0 all gates passed, 1 a regression, 2 wrong use, 3 too many failures, 4
    inconclusive.
    """
    from evals import runs
    from evals.comparison import check_gates, parse_gates
    from evals.metrics import chosen
    from evals.questions import load_questions

    asked = load_questions(questions)[:limit]
    wanted = chosen(names)
    bars = parse_gates(gates)
    model = chat_model(judge)
    if model is None and (graded := [m.name for m in wanted if "judge" in m.needs]):
        click.echo(f"{', '.join(graded)}: only a judge can say it (--judge)", err=True)
    support = make_backend(backend, judge, nli_model, repeats)
    calibrated = [_calibrated(path, support) for path in calibration]
    known = runs.read_run(baseline) if baseline else None
    scored = [question.answer is not None for question in asked]
    made = None if all(scored) else eval_pipeline(pipeline, index)
    if made is not None:
        _require_index(made)
    try:
        folder = out or _default_folder(questions, asked, made)
        cost = runs.estimate(
            made, asked, metrics=wanted, support=support, judge=model, folder=folder
        )
        click.echo(str(cost), err=True)
        if made is not None and (unknown := _not_there(made, asked)):
            click.echo(f"gold that is not in the index: {', '.join(unknown)}", err=True)
        if dry_run:
            return
        result = runs.run(
            made,
            asked,
            folder,
            metrics=wanted,
            support=support,
            judge=model,
            concurrency=concurrency,
            budget=budget,
            progress=progress_shown(),
        )
    finally:
        if made is not None:
            made.close()
    if calibrated:
        result.corrected = {each["metric"]: _corrected(result, each) for each in calibrated}
        runs.write_results(result, folder)
    outcomes = check_gates(result, bars, baseline=known, most_failures=max_failures)
    if outcomes:
        result.gates = [{"gate": o.gate, "outcome": o.outcome, "why": o.why} for o in outcomes]
        runs.write_results(result, folder)
    _end_run(result, folder, outcomes, max_failures, as_json=as_json)


def _end_run(
    result: RunResult, folder: Path, outcomes: list[GateResult], most: float, *, as_json: bool
) -> None:
    from evals.comparison import TOO_MANY_FAILURES, exit_code

    if as_json:
        usage = result.usage
        print_json(
            result.as_json()
            | {
                "folder": str(folder),
                "usage": usage.model_dump(mode="json"),
                "gates": [
                    {"gate": o.gate, "outcome": o.outcome, "code": o.code, "why": o.why}
                    for o in outcomes
                ],
            }
        )
    else:
        _show_run(result)
        for outcome in outcomes:
            click.echo(f"gate {outcome.gate}: {outcome.outcome} ({outcome.why})")
        click.echo(f"report: {folder / 'report.html'}")
    code = exit_code(outcomes)
    if not code and result.failures > most * len(result.questions):
        code = TOO_MANY_FAILURES
        click.echo(f"{result.failures:,} of {len(result.questions):,} questions failed", err=True)
    if code:
        raise click.exceptions.Exit(code)


@eval_group.command()
@click.argument("run_a", type=_FILE)
@click.argument("run_b", type=_FILE)
@json_option
def compare(run_a: Path, run_b: Path, as_json: bool) -> None:
    """Compare two runs, question by question: is RUN_B better than RUN_A?

    On the questions that both were scored on: means, difference with its interval (bootstrap), p
    of the paired randomisation test, corrected for the number of metrics (Holm), wins, ties and
    losses, and the smallest difference that so many questions would show four times in five.
    """
    from evals.comparison import compare_runs, same_judge
    from evals.runs import read_run

    one, other = read_run(run_a), read_run(run_b)
    found = compare_runs(one, other)
    if not same_judge(one, other):
        click.echo(
            f"support was judged by {one.settings.get('backend')} in A, by "
            f"{other.settings.get('backend')} in B: a difference may be the judges'",
            err=True,
        )
    if as_json:
        print_json(
            {
                "a": str(run_a),
                "b": str(run_b),
                "metrics": {each.metric: each.as_json() for each in found},
            }
        )
        return
    click.echo(f"A: {run_a}, B: {run_b}")
    _show_comparison(found)


@eval_group.command()
@click.argument("run_folder", metavar="RUN", type=_FILE)
@click.option("-o", "--output", type=_FILE, help="Write it here.  [default: RUN/report.html]")
def report(run_folder: Path, output: Path | None) -> None:
    """Write the HTML report of RUN again, and print its scores."""
    from evals.report import as_html
    from evals.runs import read_run

    require_folder(output)
    found = read_run(run_folder)
    _show_run(found)
    target = output or run_folder / "report.html"
    target.write_text(as_html(found), encoding="utf-8", errors="surrogatepass")
    click.echo(f"report: {target}")


@eval_group.command()
@json_option
def metrics(as_json: bool) -> None:
    """List the metrics: what they say, and what they need."""
    from evals.metrics import GROUPS, all_metrics

    known = all_metrics()
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
                for m in known.values()
            ]
        )
        return
    for group in GROUPS:
        click.echo(f"{group}:")
        for metric in known.values():
            if metric.group == group:
                usual = "*" if metric.usual else " "
                click.echo(f"  {usual} {metric.name:<30}{metric.summary}")
    click.echo("* computed without --metrics")


@eval_group.command()
@click.argument("labelled", type=_FILE)
@click.option(
    "--metric",
    default="faithfulness",
    show_default=True,
    help="faithfulness, answer_correctness, token_f1, holds_answer, answer_relevance.",
)
@backend_options
@click.option("-o", "--out", type=_FILE, help="Write it as JSON, for `rag eval run --calibration`.")
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
    """Say how well a metric agrees with people, and where its threshold belongs.

    A line of LABELLED is {"answer" or "claim", "contexts": [...], "label": 0 or 1}; "references"
    and "question" may stand beside. Every number comes with its 95% interval (bootstrap). Balanced
    accuracy, F1, kappa, TPR and TNR are at thresholds that were chosen on other rows.
    """
    import json

    from evals.calibration import calibrate as measure
    from evals.calibration import load_labelled

    require_folder(out)
    support = make_backend(backend, judge, nli_model, repeats)
    found = measure(load_labelled(labelled), metric, support, progress=progress_shown())
    if out is not None:
        out.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(found.as_json())
        return
    _show_calibration(found)


def _require_index(pipeline: Any) -> None:
    """Raise `ConfigError` where nothing was ingested: 1 would say that the answers got worse."""
    from rag.errors import RagIndexError

    try:
        pipeline.open()
    except RagIndexError as error:
        raise ConfigError(str(error)) from None


def _not_there(pipeline: Any, questions: list[Any]) -> list[str]:
    """Gold documents that no document of the index goes by; a few of them."""
    from evals.questions import is_gold

    uris = pipeline.open().library.uris()
    wanted = list(dict.fromkeys(gold for question in questions for gold in question.gold))
    if len(uris) * len(wanted) > _MOST_COMPARED:
        return []
    lost = [gold for gold in wanted if not any(is_gold(uri, gold) for uri in uris)]
    return [*lost[:5], f"and {len(lost) - 5:,} more"] if len(lost) > 5 else lost


_MOST_COMPARED = 2_000_000


def _default_folder(path: Path, questions: list[Any], pipeline: Any) -> Path:
    import hashlib

    from evals.questions import questions_hash

    of = f"{questions_hash(questions)}:{pipeline.fingerprint if pipeline else ''}"
    return Path("runs") / f"{path.stem}-{hashlib.sha256(of.encode()).hexdigest()[:8]}"


def _calibrated(path: Path, support: SupportJudge) -> dict[str, Any]:
    from evals.calibration import read_calibration

    found = read_calibration(path)
    if found["fingerprint"].rpartition(":")[0] != support.fingerprint.rpartition(":")[0]:
        raise ConfigError(f"{path} was made with another backend than {support.name}")
    if found["auroc_low"] <= _USELESS:
        raise ConfigError(
            f"{path}: the metric cannot tell what people call right from what they do not (its "
            f"AUROC may be {found['auroc_low']:.2f}), so there is nothing to correct by"
        )
    support.calibrated_on = f"{found['n']:,} labels of yours ({path.name})"
    if found["metric"] == "faithfulness":
        support.threshold = found["threshold"]
        support.partial = min(support.partial, support.threshold)
    return found


def _corrected(result: RunResult, calibration: dict[str, Any]) -> dict[str, Any]:
    from evals.calibration import corrected, verdicts_of

    name = calibration["metric"]
    if name not in result.scores:
        raise ConfigError(f"the calibration is of {name}, which was not computed: --metrics")
    verdicts = verdicts_of(result.scores[name], calibration)
    return corrected(verdicts, calibration["rectifier"], labels=calibration["n"])


# -- showing -------------------------------------------------------------------------------


def _show_run(result: RunResult) -> None:
    click.echo(
        f"{len(result.questions):,} questions; 95% intervals; support: "
        f"{result.settings.get('backend', '')}"
    )
    if result.stopped:
        click.echo(f"stopped: {result.stopped}")
    if missing := len(result.questions) - len(result.items):
        click.echo(f"{missing:,} questions are not asked yet: they count as failed")
    for name, summary in result.summaries.items():
        click.echo(f"  {name:<30}{summary}")
    for reason, times in result.reasons(_SHOWN):
        click.echo(f"  failed {times:,} times: {reason}", err=True)
    for name, found in result.corrected.items():
        click.echo(
            f"  {name + ', corrected':<30}{found['value']:.3f}  [{found['low']:.3f}, "
            f"{found['high']:.3f}]  by {found['labels']:,} labels"
        )


def _show_comparison(found: list[MetricComparison]) -> None:
    click.echo(f"  {'':<26}{'A':>7}{'B':>8}   {'B - A':<26}{'p (Holm)':>9}  wins/ties/losses of B")
    for each in found:
        if not each.n:
            click.echo(f"  {each.metric:<26}{'-':>7}{'-':>8}   no question was scored in both")
            continue
        e = each.difference.estimate
        interval = f"{e.value:+.3f} [{e.low:+.3f}, {e.high:+.3f}]"
        word = "worse" if each.regressed else "better" if each.improved else ""
        d = each.difference
        click.echo(
            f"  {each.metric:<26}{each.a:>7.3f}{each.b:>8.3f}   {interval:<26}{each.p:>9.4f}  "
            f"{d.wins}/{d.ties}/{d.losses} of {each.n}, shows {d.detectable:.3f}  {word}".rstrip()
        )


def _show_calibration(found: Calibration) -> None:
    click.echo(f"{found.metric} by {found.backend}")
    lost = f", {found.failed:,} could not be judged" if found.failed else ""
    click.echo(f"{found.n:,} labels, {found.positives:,} of them 1{lost}; 95% intervals")
    rows = {
        "AUROC": found.auroc,
        "balanced accuracy": found.balanced_accuracy,
        "F1": found.f1,
        "kappa": found.kappa,
        "TPR": found.tpr,
        "TNR": found.tnr,
        "threshold": found.threshold,
        f"balanced at {found.default_threshold:g}": found.at_default,
    }
    for name, e in rows.items():
        click.echo(f"  {name:<20}{e.value:.3f}  [{e.low:.3f}, {e.high:.3f}]")
    if found.auroc.low <= _USELESS:
        click.echo("  it may be no better than a coin: these labels are no ground for a threshold")
    click.echo("  score      labels   share of 1")
    for n, score, share in found.reliability:
        click.echo(f"  {score:.2f}    {n:>8,}   {share:.2f}  {'#' * round(_BARS * share)}")
