"""``rag eval retrieval`` and ``rag tune``: retrieval quality on judged queries."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli import terminal
from rag.cli.eval_output import (
    format_difference,
    format_interval,
    print_retrieval,
    print_retrieval_comparison,
)
from rag.cli.options import json_option, pipeline_option, require_folder
from rag.cli.output import print_json
from rag.errors import ConfigError, QueryError

if TYPE_CHECKING:
    from evals.datasets import RetrievalSet
    from evals.retrieval import RetrievalResult
    from rag.pipeline import Pipeline

_FILE = click.Path(path_type=Path)
_MAX_FAILURES_LISTED = 5


@click.group(name="eval")
def eval_group() -> None:
    """Evaluate a pipeline."""


def _dataset_options(command: Any) -> Any:
    for option in (
        click.option(
            "--qrels", type=_FILE, help="Judgements file.  [default: qrels.tsv next to the corpus]"
        ),
        click.option(
            "--queries",
            type=_FILE,
            help="Queries file.  [default: queries.jsonl next to the corpus]",
        ),
        click.option(
            "--index", type=_FILE, help="Folder that keeps the built index for the next run."
        ),
        click.argument("dataset", type=_FILE),
    ):
        command = option(command)
    return command


@eval_group.command()
@_dataset_options
@click.option("--retriever", metavar="NAME", help="Retriever: dense, lexical, hybrid ...")
@click.option("--embedder", metavar="NAME[:MODEL]", help="An embedder that `rag embedders` lists.")
@click.option(
    "--compare", type=_FILE, nargs=2, metavar="A.yaml B.yaml", help="Compare two pipelines."
)
@click.option("--run-out", type=_FILE, help="Write the rankings as a TREC run file.")
@click.option("--run-in", type=_FILE, help="Score this TREC run file instead of searching.")
@click.option(
    "--sample", type=click.IntRange(1), help="Evaluate only this many randomly chosen queries."
)
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

    DATASET may also be the corpus file, with the other two files in the same folder.

    The corpus is ingested by the pipeline, and a document's score is that of its best chunk. Each
    metric has a 95% confidence interval (bootstrap over the queries). --compare shows the
    difference with its interval and the p value of a paired randomisation test.
    """
    from evals.datasets import load_retrieval_set

    require_folder(run_out)
    retrieval_set = load_retrieval_set(dataset, queries=queries, qrels=qrels)
    query_ids = _sample_queries(retrieval_set, sample)
    has_pipeline_options = bool(retriever or embedder or pipeline or run_out)
    if run_in is not None:
        if compare or has_pipeline_options:
            raise ConfigError(
                "--run-in scores a run file: leave out -p, --compare, --retriever, --embedder and "
                "--run-out"
            )
        _score_run_file(retrieval_set, run_in, query_ids, as_json=as_json)
    elif compare:
        if has_pipeline_options:
            raise ConfigError(
                "--compare names both pipelines: leave out -p, --retriever, --embedder and "
                "--run-out"
            )
        _compare_pipelines(compare, retrieval_set, index, query_ids, as_json=as_json)
    else:
        evaluated = load_eval_pipeline(pipeline, retriever, embedder)
        _evaluate_pipeline(evaluated, retrieval_set, index, query_ids, run_out, as_json=as_json)


@click.command()
@_dataset_options
@click.option("-o", "--output", type=_FILE, default="tuned.yaml", show_default=True)
@click.option("--metric", default="ndcg@10", show_default=True)
@click.option("--sample", type=click.IntRange(10), default=300, show_default=True)
@click.option("--embedder", metavar="NAME[:MODEL]", help="An embedder that `rag embedders` lists.")
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
    """Find the best settings for DATASET and report the gain.

    Tuned settings: chunk size, fusion weight, reranker depth and k. The gain is measured on
    queries that were not used to choose the settings (cross-validation). The best pipeline is
    written as YAML, for `-p`.
    """
    from evals.datasets import load_retrieval_set
    from evals.ranking_metrics import METRICS
    from evals.tuning import tune as tune_pipeline

    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
    require_folder(output)
    retrieval_set = load_retrieval_set(dataset, queries=queries, qrels=qrels)
    baseline = load_eval_pipeline(pipeline, embedder=embedder)
    with _index_folder(index) as folder:
        tuned = tune_pipeline(
            baseline,
            retrieval_set,
            index=folder,
            metric=metric,
            sample=sample,
            progress=_make_stage_progress("tuning"),
        )
    output.write_text(tuned.pipeline.to_yaml(defaults=False), encoding="utf-8")
    if as_json:
        print_json(tuned.as_json() | {"written": str(output)})
        return
    terminal.echo(f"{metric} of {tuned.queries:,} queries")
    terminal.echo(f"  before      {format_interval(tuned.before)}")
    terminal.echo(f"  tuned       {format_interval(tuned.after)}  on the queries used for tuning")
    terminal.echo(f"  gain        {format_difference(tuned.gain)}  on queries not used for tuning")
    settings = ", ".join(f"{name} {value}" for name, value in tuned.settings.items())
    terminal.echo(f"  settings    {settings}")
    if not tuned.worth_it:
        terminal.echo("The interval contains 0: keep your settings, or judge more queries.")
    terminal.echo(f"Written to {output}")


def load_eval_pipeline(
    target: str | None, retriever: str | None = None, embedder: str | None = None
) -> Pipeline:
    """Load the pipeline of `-p`, and replace its retriever and embedder if they are given."""
    from rag.cli.arguments import load_pipeline
    from rag.component import build

    pipeline = load_pipeline(target, None)
    changes: dict[str, Any] = {}
    if retriever:
        changes["retriever"] = build("retriever", retriever)
    if embedder:
        changes["embedder"] = build("embedder", embedder)
    return pipeline.replace(**changes)


def _sample_queries(retrieval_set: RetrievalSet, count: int | None) -> list[str] | None:
    """Return `count` query ids, drawn with a fixed seed; None for all of them."""
    if count is None or count >= len(retrieval_set.queries):
        return None
    return random.Random(0).sample(list(retrieval_set.queries), count)


@contextmanager
def _index_folder(index: Path | None) -> Iterator[Path]:
    if index is not None:
        yield index
        return
    with tempfile.TemporaryDirectory(prefix="citewell-eval-") as folder:
        yield Path(folder)


def _make_stage_progress(title: str) -> Callable[[str, int, int], None] | None:
    """Return a function that prints progress to stderr; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        return None

    def print_progress(stage: str, done: int, total: int) -> None:
        line = f"{title}: {stage} {done:,} of {total:,} "
        terminal.echo(terminal.LINE_START, line, err=True, nl=done == total)

    return print_progress


def _evaluate_pipeline(
    pipeline: Pipeline,
    retrieval_set: RetrievalSet,
    index: Path | None,
    query_ids: list[str] | None,
    run_out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure one pipeline, print the result, and write the rankings if `run_out` is given."""
    name = retrieval_set.corpus.path.parent.name
    with _index_folder(index) as folder:
        result = _measure_retrieval(pipeline, retrieval_set, folder, query_ids, name)
    if as_json:
        print_json(result.as_json() | {"pipeline": pipeline.config()})
    else:
        print_retrieval(result)
    if run_out is not None:
        from evals.ranking_metrics import write_run

        write_run(result.run, run_out)


def _compare_pipelines(
    files: tuple[Path, Path],
    retrieval_set: RetrievalSet,
    index: Path | None,
    query_ids: list[str] | None,
    *,
    as_json: bool,
) -> None:
    """Measure the pipelines of two YAML files and print the comparison."""
    with _index_folder(index) as folder:
        result_a, result_b = (
            _measure_retrieval(
                load_eval_pipeline(str(file)), retrieval_set, folder, query_ids, file.stem
            )
            for file in files
        )
    print_retrieval_comparison(files, result_a, result_b, as_json=as_json)


def _measure_retrieval(
    pipeline: Pipeline,
    retrieval_set: RetrievalSet,
    folder: Path,
    query_ids: list[str] | None,
    name: str,
) -> RetrievalResult:
    from evals.retrieval import evaluate_retrieval

    result = evaluate_retrieval(
        pipeline,
        retrieval_set,
        index=folder,
        queries=query_ids,
        progress=_make_stage_progress(name),
    )
    for uri, reason in result.failures[:_MAX_FAILURES_LISTED]:
        terminal.echo(f"not ingested: {uri}: {reason}", err=True)
    if (unlisted_count := len(result.failures) - _MAX_FAILURES_LISTED) > 0:
        terminal.echo(f"and {unlisted_count:,} more", err=True)
    return result


def _score_run_file(
    retrieval_set: RetrievalSet, path: Path, query_ids: list[str] | None, *, as_json: bool
) -> None:
    from evals.datasets import RetrievalSet
    from evals.ranking_metrics import read_run
    from evals.retrieval import RetrievalResult

    run = read_run(path)
    query_ids = query_ids or list(retrieval_set.queries)
    if not set(run) & set(query_ids):
        raise QueryError(f"{path} has none of the judged queries")
    scored_set = RetrievalSet(
        retrieval_set.corpus,
        {query: retrieval_set.queries[query] for query in query_ids},
        {query: retrieval_set.judgements[query] for query in query_ids},
    )
    result = RetrievalResult(scored_set, run)
    if as_json:
        print_json(result.as_json())
    else:
        print_retrieval(result)
