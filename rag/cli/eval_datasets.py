"""``rag eval generate``, ``label``, ``robustness`` and ``embeddings``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import terminal
from rag.cli.eval_options import load_chat_model, make_progress_printer
from rag.cli.eval_retrieval import eval_group, load_eval_pipeline
from rag.cli.options import (
    index_option,
    json_option,
    make_pipeline,
    pipeline_option,
    require_folder,
)
from rag.cli.output import print_json

if TYPE_CHECKING:
    from evals.labelling import Labels, Task

_FILE = click.Path(path_type=Path)


@eval_group.command()
@click.argument("sources", nargs=-1)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="Number of questions.",
)
@click.option("-o", "--out", type=_FILE, default="questions.jsonl", show_default=True)
@click.option(
    "--unanswerable",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share of questions that the documents do not answer.",
)
@click.option(
    "--multi",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share of questions that need two documents.",
)
@click.option(
    "--model",
    metavar="NAME:MODEL",
    help="Chat model that writes the questions. Without it, cloze questions are made.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@pipeline_option
@index_option
@json_option
def generate(
    sources: tuple[str, ...],
    count: int,
    out: Path,
    unanswerable: float,
    multi: float,
    model: str | None,
    seed: int,
    pipeline: str | None,
    index: Path | None,
    as_json: bool,
) -> None:
    """Generate a question set from your documents, with the answering span of each question.

    SOURCES are ingested first. A chat model writes questions and quotes evidence, which must match
    the document word for word. Without a model, the questions are cloze: an informative sentence
    with a number or name removed.
    """
    import json

    from evals.generate import generate_questions

    require_folder(out)
    chat_model = load_chat_model(model) if model else None
    with make_pipeline(pipeline, index) as opened:
        if sources:
            opened.ingest(*sources)
        questions = generate_questions(
            opened,
            count,
            model=chat_model,
            unanswerable=unanswerable,
            multi=multi,
            seed=seed,
            progress=make_progress_printer(),
        )
    lines = [
        json.dumps(question.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        for question in questions
    ]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    kinds = dict(Counter(question.kind for question in questions))
    if as_json:
        print_json({"questions": len(questions), "kinds": kinds, "written": str(out)})
        return
    kind_counts = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    terminal.echo(f"{len(questions):,} questions ({kind_counts}) written to {out}")
    if len(questions) < count:
        terminal.echo(f"the documents did not suffice for {count:,} questions", err=True)


@eval_group.command()
@click.argument("run_folder", metavar="RUN", type=_FILE)
@click.option("-o", "--out", type=_FILE, help="Labels file.  [default: RUN/labels.jsonl]")
@click.option(
    "--terminal", "in_terminal", is_flag=True, help="Label in the terminal instead of the browser."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the page.  [default: a free port]",
)
@click.option("--no-browser", is_flag=True, help="Print the address; do not open a browser.")
def label(
    run_folder: Path, out: Path | None, in_terminal: bool, port: int, no_browser: bool
) -> None:
    """Label the claims of RUN's answers in the browser or terminal: y, n or s (skip).

    Labels are appended to a file that `rag eval calibrate` reads. Labelled claims are not shown
    again. The page is served on this machine only.
    """
    from evals.labelling import Labels, collect_tasks
    from evals.labelling_server import LabelServer
    from evals.runs import read_run

    target = out or run_folder / "labels.jsonl"
    require_folder(target)
    tasks = collect_tasks(read_run(run_folder))
    labels = Labels(target)
    if in_terminal:
        _label_in_terminal(tasks, labels)
        return
    server = LabelServer(tasks, labels, port)
    terminal.echo(f"Label at {server.url}")
    terminal.echo(f"labels: {target}; Ctrl-C stops", err=True)
    if not no_browser:
        import webbrowser

        webbrowser.open(server.url)
    try:
        server.serve()
    except KeyboardInterrupt:
        terminal.echo(f"{len(labels.done):,} labelled", err=True)


def _label_in_terminal(tasks: Sequence[Task], labels: Labels) -> None:
    open_tasks = labels.open_tasks(tasks)
    for number, task in enumerate(open_tasks, start=1):
        terminal.echo(f"\n--- {number:,} of {len(open_tasks):,} ---")
        for marker, passage in enumerate(task.contexts, start=1):
            terminal.echo(f"[{marker}] {passage}\n")
        terminal.echo(f"Question: {task.question}")
        terminal.echo(f"Claim: {task.claim}")
        reply = click.prompt(
            "Do the passages support the whole claim? y, n, s (skip), q (quit)",
            type=click.Choice(["y", "n", "s", "q"]),
            show_choices=False,
        )
        if reply == "q":
            break
        labels.add(task, {"y": "yes", "n": "no", "s": "skip"}[reply])
    terminal.echo(f"{len(labels.done):,} labelled; labels: {labels.path}")


@eval_group.command()
@click.argument("questions", type=_FILE)
@click.option(
    "--passages",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Passages per question.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Use only the first questions, up to this number."
)
@click.option("--seed", type=int, default=0, show_default=True)
@pipeline_option
@index_option
@json_option
def robustness(
    questions: Path,
    passages: int,
    limit: int | None,
    seed: int,
    pipeline: str | None,
    index: Path | None,
    as_json: bool,
) -> None:
    """Measure how the generator handles noise, missing evidence and false evidence (RGB protocol).

    Each question of QUESTIONS with "answers" and "gold" is asked with a growing share of irrelevant
    passages, with irrelevant passages only, and with passages that state a wrong answer.
    """
    from evals.questions import load_questions
    from evals.robustness import collect_robustness_items
    from evals.robustness import robustness as measure

    loaded_questions = load_questions(questions)[:limit]
    with make_pipeline(pipeline, index) as opened:
        items = collect_robustness_items(opened, loaded_questions)
        result = measure(
            opened.generator, items, passages=passages, seed=seed, progress=make_progress_printer()
        )
    if as_json:
        print_json(result.as_json() | {"questions": len(items)})
        return
    terminal.echo(f"{len(items):,} questions, {passages} passages; 95% intervals")
    if skipped_count := len(loaded_questions) - len(items):
        terminal.echo(
            f"{skipped_count:,} questions skipped: they have no answers or gold, or no retrieved "
            "gold passage contains the answer",
            err=True,
        )
    for _, summary in result.noise:
        terminal.echo(f"  {summary.metric:<28}{summary}")
    for summary in (result.rejection, result.repeated, result.right):
        terminal.echo(f"  {summary.metric:<28}{summary}")


@eval_group.command()
@click.option("--embedder", metavar="NAME[:MODEL]", help="An embedder that `rag embedders` lists.")
@click.option("--sts", "pairs", type=_FILE, help='JSON lines {"sentence1", "sentence2", "score"}.')
@click.option("--classes", type=_FILE, help='JSON lines {"text", "label"}.')
@click.option("--bias", is_flag=True, help="Test for bias (WEAT).")
@pipeline_option
@json_option
def embeddings(
    embedder: str | None,
    pairs: Path | None,
    classes: Path | None,
    bias: bool,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Evaluate an embedder alone: similarity, classification, clustering, determinism, bias."""
    from evals import embeddings as measures

    evaluated = load_eval_pipeline(pipeline, embedder=embedder).embedder
    results = measures.report(evaluated, pairs=pairs, classes=classes, bias=bias)
    if as_json:
        print_json(results)
        return
    for name, value in measures.format_lines(results):
        terminal.echo(f"  {name:<36}{value}")
