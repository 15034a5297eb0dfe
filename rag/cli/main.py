"""The ``rag`` command: what it takes, and how it ends.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but some documents failed. Results go to
stdout, everything else to stderr; with ``--json`` stdout holds one JSON document and nothing
else. Heavy parts are imported by the commands that need them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

import rag
from rag import tracing
from rag.cli import eval_datasets, eval_runs  # noqa: F401 (they add their commands to eval_group)
from rag.cli.chat import conversations_group
from rag.cli.corpus_analysis import duplicates, map_command, outliers, similar
from rag.cli.eval_retrieval import eval_group, tune
from rag.cli.index import index_group
from rag.cli.inspect import inspect_command
from rag.cli.options import (
    FAILED,
    INTERRUPTED,
    SOME_FAILED,
    WRONG_USE,
    index_option,
    index_path,
    json_option,
    make_pipeline,
    namespace_option,
    pipeline_option,
    where_option,
)
from rag.cli.serve import keys_group, mcp, serve
from rag.errors import (
    ConfigError,
    DocumentNotFound,
    QueryError,
    RagError,
    SourceNotFound,
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit; what goes wrong is one line on stderr, never a traceback.

    With ``RAG_DEBUG`` set the traceback is shown all the same.
    """
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        if any(name.startswith("OTEL_") for name in os.environ):
            tracing.configure()
        with cli.make_context("rag", list(arguments)) as context:
            cli.invoke(context)
        sys.stdout.flush()
        code = 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, which is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if os.environ.get("RAG_DEBUG"):
            raise
        click.echo(f"rag: {_one_line(error)}", err=True)
        code = WRONG_USE if _is_wrong_use(error) else FAILED
    sys.exit(code)


def _one_line(error: Exception) -> str:
    if isinstance(error, RagError) or _is_prompt_error(error):
        return " ".join(str(error).split())
    kind = type(error).__name__
    return f"unexpected {kind}: {' '.join(str(error).split())} (RAG_DEBUG=1 shows where)"


def _is_wrong_use(error: Exception) -> bool:
    wrong = (ConfigError, QueryError, SourceNotFound)
    return isinstance(error, wrong) or _is_prompt_error(error)


def _is_prompt_error(error: Exception) -> bool:
    return type(error).__module__ == "prompts"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rag.__version__, prog_name="citewell")
def cli() -> None:
    """Chat with your documents, and check every answer."""


@cli.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--dry-run", is_flag=True, help="Say what would be done and cost; touch nothing.")
@click.option("--keep-missing", is_flag=True, help="Keep documents that are gone from a source.")
@click.option(
    "--allow-private", is_flag=True, help="Let addresses of the web be in a private network."
)
@index_option
@namespace_option
@pipeline_option
@json_option
@click.pass_context
def ingest(
    context: click.Context,
    sources: tuple[str, ...],
    dry_run: bool,
    keep_missing: bool,
    allow_private: bool,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Bring the index up to date with SOURCEs.

    A SOURCE is a file, a folder, or an address such as https://example.org/sitemap.xml,
    git+file:///repository or s3://bucket/prefix (`rag sources` lists them). Only what has changed
    since the last time is read and embedded; what is gone from a source is deleted from the index.
    """
    from rag.cli import output

    with make_pipeline(pipeline, index, namespace) as opened, output.Progress() as progress:
        report = opened.ingest(
            *sources,
            dry_run=dry_run,
            keep_missing=keep_missing,
            allow_private=allow_private,
            progress=progress,
        )
    if as_json:
        output.json_document(report.as_json())
    output.report(report, opened.index, summary=not as_json)
    if report.failed:
        context.exit(SOME_FAILED)


@cli.command()
@click.argument("query")
@click.option("-k", type=click.IntRange(1, 1000), help="How many hits.  [default: 8]")
@where_option
@index_option
@namespace_option
@pipeline_option
@json_option
def search(
    query: str,
    k: int | None,
    where: tuple[str, ...],
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Find the passages nearest to QUERY."""
    from rag.cli import output
    from rag.cli.arguments import parse_where

    with make_pipeline(pipeline, index, namespace) as opened:
        hits = opened.search(query, k=k, where=parse_where(where))
    if as_json:
        output.json_document({"hits": [hit.model_dump(mode="json") for hit in hits]})
    else:
        output.hits(hits)


@cli.command()
@click.argument("question")
@where_option
@click.option("--stream", is_flag=True, help="Print the answer as it comes.")
@click.option("--trace", is_flag=True, help="Print every stage with its time and tokens to stderr.")
@index_option
@namespace_option
@pipeline_option
@json_option
def ask(
    question: str,
    where: tuple[str, ...],
    stream: bool,
    trace: bool,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Answer QUESTION from the index, with citations.

    With both --stream and --json the text streams to stderr, and stdout gets the answer.
    """
    from rag.cli import output
    from rag.cli.arguments import parse_where

    with make_pipeline(pipeline, index, namespace) as opened, tracing.recorded() as spans:
        try:
            if stream:
                answer = output.stream(
                    opened.stream(question, where=parse_where(where)), to_stderr=as_json
                )
            else:
                answer = opened.ask(question, where=parse_where(where))
        finally:
            if trace:
                click.echo(tracing.as_text(spans), err=True)
    if as_json:
        output.json_document(answer.model_dump(mode="json"))
    else:
        output.answer(answer, text=not stream)


@cli.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@click.option("--name", help="Go on with the conversation of that name, or begin it.")
@click.option("--continue", "latest", is_flag=True, help="Go on with the latest conversation.")
@index_option
@namespace_option
@pipeline_option
def chat(
    sources: tuple[str, ...],
    name: str | None,
    latest: bool,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
) -> None:
    """Talk with your documents; SOURCEs are ingested first, as far as they have changed.

    Every conversation is kept in the index's folder (`rag conversations`). Within one, /help lists
    what else can be done: /sources, /why, /history, /save, /reset.
    """
    from rag.cli import output
    from rag.cli.chat import converse

    if latest and name is not None:
        raise click.UsageError("--name says which conversation, --continue the latest: give one")
    with make_pipeline(pipeline, index, namespace) as opened:
        if sources:
            with output.Progress() as progress:
                report = opened.ingest(*sources, progress=progress)
            output.report(report, opened.index)
        converse(opened, name, latest=latest)


@cli.command(name="sources")
@json_option
def sources_command(as_json: bool) -> None:
    """List where documents can come from, and which files are read."""
    from rag.cli import parse

    parse.list_known(as_json=as_json)


@cli.command()
@json_option
def embedders(as_json: bool) -> None:
    """List the embedders: length of their vectors, longest text, price, and what each needs."""
    from rag.cli import parse

    parse.list_embedders(as_json=as_json)


@cli.command()
@json_option
def models(as_json: bool) -> None:
    """List the chat models: what they read, their prices, and what each needs."""
    from rag.cli import parse

    parse.list_chat_models(as_json=as_json)


@cli.command()
@click.argument("source", metavar="FILE")
@click.option(
    "--allow-private", is_flag=True, help="Let addresses of the web be in a private network."
)
@pipeline_option
@json_option
@click.pass_context
def parse(
    context: click.Context, source: str, allow_private: bool, pipeline: str | None, as_json: bool
) -> None:
    """Print the text of FILE as the index would hold it, with its marks.

    In the margin: page, slide, sheet, row, function or time. FILE may be any source.
    """
    from rag.cli import parse

    with make_pipeline(pipeline, None) as opened:
        if not parse.parse(opened, source, allow_private=allow_private, as_json=as_json):
            context.exit(SOME_FAILED)


@cli.command()
@click.argument("uri")
@click.option("--start", type=click.IntRange(0), default=0, help="First character.")
@click.option("--end", type=click.IntRange(0), help="Character after the last.")
@index_option
@namespace_option
@json_option
def source(
    uri: str, start: int, end: int | None, index: Path | None, namespace: str, as_json: bool
) -> None:
    """Print the stored text of the document URI (or path), exactly."""
    from rag.cli import output
    from rag.cli.arguments import as_uri
    from rag.index import open_library

    library = open_library(index_path(index), namespace)
    try:
        document = library.document(as_uri(uri))
    finally:
        library.close()
    end = len(document.text) if end is None else end
    if start > end:
        raise QueryError(f"--start {start} is behind the end, {end}")
    text = document.text[start:end]
    if not as_json:
        output.exactly(text)
        return
    marks = [
        mark.model_dump(mode="json")
        for mark in document.marks
        if mark.start < end and mark.end > start
    ]
    output.json_document(
        {"uri": document.uri, "title": document.title, "text": text, "marks": marks}
    )


@cli.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@index_option
@namespace_option
@pipeline_option
def delete(uris: tuple[str, ...], index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Delete documents whose source is gone for good, by uri or path.

    A folder stands for all that was in it. (What is gone from a folder that still exists is
    deleted by ingesting the folder again.)
    """
    from rag.cli.arguments import as_uri

    with make_pipeline(pipeline, index, namespace) as opened:
        count = opened.delete(*(as_uri(uri) for uri in uris))
    if not count:
        raise DocumentNotFound(f"the index holds nothing at {', '.join(uris)}")
    click.echo(f"{count:,} deleted")


@cli.command()
@index_option
@namespace_option
@json_option
def stats(index: Path | None, namespace: str, as_json: bool) -> None:
    """Say what the index holds, and what failed to get into it."""
    from rag.cli import output
    from rag.index import open_library

    path = index_path(index)
    library = open_library(path, namespace)
    try:
        output.stats(path, library, as_json=as_json)
    finally:
        library.close()


@cli.command()
@index_option
@json_option
@click.pass_context
def doctor(context: click.Context, index: Path | None, as_json: bool) -> None:
    """Say what is installed, which keys are set (never their values), and if the index opens."""
    from rag.cli.doctor import examine

    if not examine(index_path(index), as_json=as_json):
        context.exit(FAILED)


cli.add_command(index_group, name="index")
cli.add_command(conversations_group, name="conversations")
cli.add_command(eval_group, name="eval")
cli.add_command(inspect_command)
cli.add_command(keys_group, name="keys")
cli.add_command(serve)
cli.add_command(mcp)
cli.add_command(tune)
cli.add_command(map_command)
cli.add_command(similar)
cli.add_command(duplicates)
cli.add_command(outliers)


@cli.group(name="prompts")
def prompts_group() -> None:
    """Look at the prompt templates."""


@prompts_group.command(name="list")
@json_option
def prompts_list(as_json: bool) -> None:
    """List the templates, ours and those of RAG_PROMPTS."""
    from rag.cli import output

    output.prompts(as_json=as_json)


@prompts_group.command(name="show")
@click.argument("name")
def prompts_show(name: str) -> None:
    """Print the template NAME as it is in use."""
    from rag.cli import output

    output.prompt(name)
