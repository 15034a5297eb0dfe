"""``rag eval`` and ``rag tune``: how well a pipeline does on questions with known answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli.options import json_option, pipeline_option, require_folder
from rag.errors import ConfigError, QueryError

if TYPE_CHECKING:
    from evals.datasets import RetrievalSet
    from evals.retrieval import RetrievalResult
    from evals.statistics import Difference
    from rag.pipeline import Pipeline

_FILE = click.Path(path_type=Path)
_SHOWN = 5  # documents that failed


@click.group(name="eval")
def eval_group() -> None:
    """Measure how well a pipeline does."""


def _dataset_options(command: Any) -> Any:
    for option in (
        click.option("--qrels", type=_FILE, help="Judgements, where not qrels.tsv."),
        click.option("--queries", type=_FILE, help="Queries, where not queries.jsonl."),
        click.option(
            "--index", type=_FILE, help="Keep what is built in this folder for the next run."
        ),
        click.argument("dataset", type=_FILE),
    ):
        command = option(command)
    return command


@eval_group.command()
@_dataset_options
@click.option("--retriever", metavar="NAME", help="dense, lexical, hybrid ...")
@click.option("--embedder", metavar="NAME[:MODEL]", help="As `rag embedders` lists them.")
@click.option(
    "--compare", type=_FILE, nargs=2, metavar="A.yaml B.yaml", help="Compare two pipelines."
)
@click.option("--run-out", type=_FILE, help="Write the ranking as a run of TREC's.")
@click.option("--run-in", type=_FILE, help="Judge this run of TREC's; nothing is searched.")
@click.option("--sample", type=click.IntRange(1), help="Ask so many of the queries only.")
@pipeline_option
@json_option
def retrieval(
    dataset: Path,
    index: Path | None,
    queries: Path | None,
    qrels: Path | None,
    retriever: str | None,
    embedder: str | None,
    compare: tuple[Path, Path] | None,
    run_out: Path | None,
    run_in: Path | None,
    sample: int | None,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Measure retrieval on DATASET: a folder with corpus.jsonl, queries.jsonl and qrels.tsv.

    DATASET may also be the corpus itself, where it has another name; the others are beside it.

    The corpus goes the whole way through the pipeline, and a document's score is that of its best
    chunk. Each number comes with the interval that holds it in 95 of 100 samples of as many
    queries (bootstrap). With --compare, the difference comes with its interval and the p of a
    paired randomisation test.
    """
    from evals.datasets import load_retrieval_set

    require_folder(run_out)
    found = load_retrieval_set(dataset, queries=queries, qrels=qrels)
    asked = _sampled(found, sample)
    if run_in is not None:
        if compare or retriever or embedder or pipeline or run_out:
            raise ConfigError("--run-in judges a run: nothing is searched, or compared")
        _judge(found, run_in, asked, as_json=as_json)
        return
    if compare:
        if retriever or embedder or pipeline or run_out:
            raise ConfigError("--compare names the pipelines: no -p, --retriever, --embedder ...")
        with _folder(index) as place:
            results = [
                _measured(_from_yaml(file), found, place, asked, file.stem) for file in compare
            ]
        _show_comparison(compare, results, as_json=as_json)
        return
    made = pipeline_of(pipeline, retriever, embedder)
    with _folder(index) as place:
        result = _measured(made, found, place, asked, found.corpus.path.parent.name)
    if as_json:
        _print_json(result.as_json() | {"pipeline": made.config()})
    else:
        _show_result(result)
    if run_out is not None:
        from evals.ranking_metrics import write_run

        write_run(result.run, run_out)


@click.command()
@_dataset_options
@click.option("-o", "--output", type=_FILE, default="tuned.yaml", show_default=True)
@click.option("--metric", default="ndcg@10", show_default=True)
@click.option("--sample", type=click.IntRange(10), default=300, show_default=True)
@click.option("--embedder", metavar="NAME[:MODEL]", help="As `rag embedders` lists them.")
@pipeline_option
@json_option
def tune(
    dataset: Path,
    index: Path | None,
    queries: Path | None,
    qrels: Path | None,
    output: Path,
    metric: str,
    sample: int,
    embedder: str | None,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Find settings for the questions of DATASET, and say what they buy.

    Chunk size, fusion weight, the depth of a reranker and k. What they buy is measured on
    questions they were not chosen by (cross-validation). The best pipeline is written as YAML,
    for `-p`.
    """
    from evals.datasets import load_retrieval_set
    from evals.ranking_metrics import METRICS
    from evals.tuning import tune as search

    if metric not in METRICS:
        raise ConfigError(f"no such metric: {metric}; there are {', '.join(METRICS)}")
    require_folder(output)
    found = load_retrieval_set(dataset, queries=queries, qrels=qrels)
    made = pipeline_of(pipeline, None, embedder)
    with _folder(index) as place:
        tuned = search(
            made, found, index=place, metric=metric, sample=sample, progress=_progress("tuning")
        )
    output.write_text(tuned.pipeline.to_yaml(defaults=False), encoding="utf-8")
    if as_json:
        _print_json(tuned.as_json() | {"written": str(output)})
        return
    gain = tuned.gain
    click.echo(f"{metric} of {tuned.queries:,} queries")
    click.echo(f"  as it is    {_interval(tuned.before)}")
    click.echo(f"  tuned       {_interval(tuned.after)}  on the queries it was tuned by")
    click.echo(f"  gain        {_signed(gain)}  on queries it was not tuned by")
    settings = ", ".join(f"{name} {value}" for name, value in tuned.settings.items())
    click.echo(f"  settings    {settings}")
    if not tuned.worth_it:
        click.echo("The interval has 0 in it: keep what you have, or judge more queries.")
    click.echo(f"written to {output}")


def pipeline_of(target: str | None, retriever: str | None, embedder: str | None) -> Pipeline:
    """The pipeline of `-p`, with another retriever or embedder."""
    from rag.cli.arguments import load_pipeline
    from rag.component import build

    made = load_pipeline(target, None)
    changes: dict[str, Any] = {}
    if retriever:
        changes["retriever"] = build("retriever", retriever)
    if embedder:
        name, _, model = embedder.partition(":")
        key = "path" if name == "word-vectors" else "model"
        changes["embedder"] = build("embedder", {"type": name, **({key: model} if model else {})})
    return made.model_copy(update=changes)


def _from_yaml(path: Path) -> Pipeline:
    from rag.cli.arguments import load_pipeline

    return load_pipeline(str(path), None)


def _sampled(dataset: RetrievalSet, count: int | None) -> list[str] | None:
    if count is None or count >= len(dataset.queries):
        return None
    import random

    return random.Random(0).sample(list(dataset.queries), count)


@contextmanager
def _folder(index: Path | None) -> Iterator[Path]:
    if index is not None:
        yield index
        return
    with tempfile.TemporaryDirectory(prefix="citewell-eval-") as place:
        yield Path(place)


def _progress(what: str) -> Any:
    import sys

    if not sys.stderr.isatty():
        return None

    def show(stage: str, done: int, of: int) -> None:
        end = "\n" if done == of else ""
        click.echo(f"\r{what}: {stage} {done:,} of {of:,} ", err=True, nl=False)
        click.echo(end, err=True, nl=False)

    return show


def _measured(
    pipeline: Pipeline, dataset: RetrievalSet, place: Path, asked: list[str] | None, name: str
) -> RetrievalResult:
    from evals.retrieval import evaluate_retrieval

    result = evaluate_retrieval(
        pipeline, dataset, index=place, queries=asked, progress=_progress(name)
    )
    for uri, reason in result.failures[:_SHOWN]:
        click.echo(f"not ingested: {uri}: {reason}", err=True)
    if (more := len(result.failures) - _SHOWN) > 0:
        click.echo(f"and {more:,} more", err=True)
    return result


def _judge(dataset: RetrievalSet, run: Path, asked: list[str] | None, *, as_json: bool) -> None:
    from evals.datasets import RetrievalSet
    from evals.ranking_metrics import read_run
    from evals.retrieval import RetrievalResult

    found = read_run(run)
    wanted = asked or list(dataset.queries)
    if not set(found) & set(wanted):
        raise QueryError(f"{run} has none of the judged queries")
    part = RetrievalSet(
        dataset.corpus,
        {query: dataset.queries[query] for query in wanted},
        {query: dataset.judgements[query] for query in wanted},
    )
    result = RetrievalResult(part, found)
    _print_json(result.as_json()) if as_json else _show_result(result)


def _show_result(result: RetrievalResult) -> None:
    counted = f"{len(result.dataset.judgements):,} queries"
    if result.documents:
        counted += f", {result.documents:,} documents"
    click.echo(f"{counted}; 95% intervals")
    for name, value in result.metrics.items():
        click.echo(f"  {name:<12}{_interval(value)}")
    if result.seconds:
        p50, p95 = 1000 * result.latency(0.5), 1000 * result.latency(0.95)
        click.echo(f"  {'search':<12}{p50:.1f} ms (p50), {p95:.1f} ms (p95)")


def _show_comparison(
    files: tuple[Path, Path], results: list[RetrievalResult], *, as_json: bool
) -> None:
    one, other = results
    differences = one.compared_with(other)
    if as_json:
        _print_json(
            {
                "a": one.as_json() | {"pipeline": str(files[0])},
                "b": other.as_json() | {"pipeline": str(files[1])},
                "difference": {
                    name: {**found.estimate.as_json(), "p": found.p}
                    for name, found in differences.items()
                },
            }
        )
        return
    click.echo(f"{len(one.dataset.judgements):,} queries; A: {files[0]}, B: {files[1]}")
    click.echo(f"  {'':<12}{'A':>7}{'B':>8}   B - A")
    for name, found in differences.items():
        a, b = one.metrics[name].value, other.metrics[name].value
        click.echo(f"  {name:<12}{a:>7.3f}{b:>8.3f}   {_signed(found)}")
    a, b = 1000 * one.latency(0.5), 1000 * other.latency(0.5)
    click.echo(f"  {'ms (p50)':<12}{a:>7.1f}{b:>8.1f}")


def _interval(estimate: Any) -> str:
    return f"{estimate.value:.3f}  [{estimate.low:.3f}, {estimate.high:.3f}]"


def _signed(difference: Difference) -> str:
    found = difference.estimate
    return f"{found.value:+.3f}  [{found.low:+.3f}, {found.high:+.3f}]  p = {difference.p:.3f}"


def _print_json(found: dict[str, Any]) -> None:
    from rag.cli import output

    output.json_document(found)
