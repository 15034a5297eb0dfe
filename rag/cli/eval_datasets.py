"""``rag eval generate``, ``label``, ``robustness`` and ``embeddings``: questions, and hard ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rag.cli.eval_options import chat_model, eval_pipeline, print_json, progress_shown
from rag.cli.eval_retrieval import eval_group
from rag.cli.options import index_option, json_option, pipeline_option, require_folder

_FILE = click.Path(path_type=Path)


@eval_group.command()
@click.argument("sources", nargs=-1)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="How many questions.",
)
@click.option("-o", "--out", type=_FILE, default="questions.jsonl", show_default=True)
@click.option(
    "--unanswerable",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share of questions that nothing in the index answers.",
)
@click.option(
    "--multi",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share of questions that need two documents.",
)
@click.option("--model", metavar="NAME:MODEL", help="A chat model that asks; without, cloze.")
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
    """Make a question set of your own documents, each question with the span that answers it.

    With SOURCES, these are ingested first. With a chat model the questions are its own, and its
    evidence must stand in the document word for word; without one they are cloze: a telling
    sentence with its number or name left out.
    """
    import json

    from evals.generate import generate_questions

    require_folder(out)
    asking = chat_model(model) if model else None
    with eval_pipeline(pipeline, index) as made:
        if sources:
            made.ingest(*sources)
        found = generate_questions(
            made,
            count,
            model=asking,
            unanswerable=unanswerable,
            multi=multi,
            seed=seed,
            progress=progress_shown(),
        )
    lines = [
        json.dumps(question.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        for question in found
    ]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    kinds = {
        kind: sum(q.kind == kind for q in found)
        for kind in dict.fromkeys(question.kind for question in found)
    }
    if as_json:
        print_json({"questions": len(found), "kinds": kinds, "written": str(out)})
        return
    said = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    click.echo(f"{len(found):,} questions ({said}) written to {out}")
    if len(found) < count:
        click.echo(f"the documents were not enough for {count:,}", err=True)


@eval_group.command()
@click.argument("run_folder", metavar="RUN", type=_FILE)
@click.option("-o", "--out", type=_FILE, help="File of labels.  [default: RUN/labels.jsonl]")
@click.option("--terminal", is_flag=True, help="Judge here, without a browser.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any that is free.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def label(run_folder: Path, out: Path | None, terminal: bool, port: int, no_browser: bool) -> None:
    """Judge the claims of RUN's answers, in the browser or the terminal: y, n or s (skip).

    Labels are appended to a file that `rag eval calibrate` reads. What was judged is not shown
    again. The page is served on this machine only.
    """
    from evals.labelling import Labels, LabelServer, tasks_of
    from evals.runs import read_run

    target = out or run_folder / "labels.jsonl"
    require_folder(target)
    tasks = tasks_of(read_run(run_folder))
    labels = Labels(target)
    if terminal:
        _judge_here(tasks, labels)
        return
    server = LabelServer(tasks, labels, port)
    click.echo(f"judge at {server.url}")
    click.echo(f"labels: {target}; Ctrl-C ends", err=True)
    if not no_browser:
        import webbrowser

        webbrowser.open(server.url)
    try:
        server.serve()
    except KeyboardInterrupt:
        click.echo(f"{len(labels.done):,} judged", err=True)


def _judge_here(tasks: list[Any], labels: Any) -> None:
    left = labels.left(tasks)
    for number, task in enumerate(left, start=1):
        click.echo(f"\n--- {number:,} of {len(left):,} ---")
        for place, context in enumerate(task.contexts, start=1):
            click.echo(f"[{place}] {context}\n")
        click.echo(f"Question: {task.question}")
        click.echo(f"Claim: {task.claim}")
        said = click.prompt(
            "Do the passages say all of it? y, n, s (skip), q (quit)",
            type=click.Choice(["y", "n", "s", "q"]),
            show_choices=False,
        )
        if said == "q":
            break
        labels.add(task, {"y": "yes", "n": "no", "s": "skip"}[said])
    click.echo(f"{len(labels.done):,} judged; labels: {labels.path}")


@eval_group.command()
@click.argument("questions", type=_FILE)
@click.option("--passages", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Try the first so many questions only.")
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
    """How the generator bears noise, silence and lies: RGB's protocol.

    Each question of QUESTIONS with "answers" and "gold" is put with more and more passages beside
    the point, with nothing else, and with passages that state another answer.
    """
    from evals.questions import load_questions
    from evals.robustness import robustness as measure
    from evals.robustness import robustness_items

    asked = load_questions(questions)[:limit]
    with eval_pipeline(pipeline, index) as made:
        items = robustness_items(made, asked)
        found = measure(
            made.generator, items, passages=passages, seed=seed, progress=progress_shown()
        )
    if as_json:
        print_json(found.as_json() | {"questions": len(items)})
        return
    click.echo(f"{len(items):,} questions, {passages} passages; 95% intervals")
    if left := len(asked) - len(items):
        click.echo(
            f"{left:,} left out: without answers and gold, or no gold passage that is found holds "
            "the answer",
            err=True,
        )
    for _, summary in found.noise:
        click.echo(f"  {summary.metric:<28}{summary}")
    for summary in (found.rejection, found.repeated, found.right):
        click.echo(f"  {summary.metric:<28}{summary}")


@eval_group.command()
@click.option("--embedder", metavar="NAME[:MODEL]", help="As `rag embedders` lists them.")
@click.option("--sts", "pairs", type=_FILE, help='JSON lines {"sentence1", "sentence2", "score"}.')
@click.option("--classes", type=_FILE, help='JSON lines {"text", "label"}.')
@click.option("--bias", is_flag=True, help="Probe for bias (WEAT).")
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
    """How good an embedder is by itself: similarity, classes, clusters, stability, bias."""
    from evals import embeddings as measures
    from rag.cli.eval_retrieval import pipeline_of

    made = pipeline_of(pipeline, None, embedder)
    found = measures.report(made.embedder, pairs=pairs, classes=classes, bias=bias)
    if as_json:
        print_json(found)
        return
    for name, value in measures.lines(found):
        click.echo(f"  {name:<36}{value}")


# -- making --------------------------------------------------------------------------------
