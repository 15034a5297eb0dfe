"""The ``rag`` command: what it takes, and how it ends.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but some documents failed. Results go to
stdout, everything else to stderr; with ``--json`` stdout holds one JSON document and nothing
else. Heavy parts are imported by the commands that need them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import rag
from rag.errors import ConfigError, DocumentNotFound, QueryError, RagError, SourceNotFound

if TYPE_CHECKING:
    from rag.pipeline import Pipeline

_F = TypeVar("_F", bound=Callable[..., Any])

FAILED, WRONG_USE, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit; what goes wrong is one line on stderr, never a traceback.

    With ``RAG_DEBUG`` set the traceback is shown all the same.
    """
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
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


def _index_option(command: _F) -> _F:
    return click.option(
        "--index",
        type=click.Path(path_type=Path),
        help="Folder of the index.  [default: RAG_INDEX, or .rag]",
    )(command)


def _pipeline_option(command: _F) -> _F:
    return click.option(
        "-p",
        "--pipeline",
        metavar="PIPELINE",
        help="module:attribute, file.py:attribute or a YAML file.",
    )(command)


def _json_option(command: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def _where_option(command: _F) -> _F:
    return click.option(
        "--where",
        metavar="FIELD=VALUE",
        multiple=True,
        help="Only documents whose metadata has this. May be repeated; all must hold.",
    )(command)


def _pipeline(target: str | None, index: Path | None) -> Pipeline:
    from rag.cli.load import load_pipeline

    return load_pipeline(target, index)


def _library_path(index: Path | None) -> Path:
    from rag.settings import load_settings

    return index or load_settings().index


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rag.__version__, prog_name="citewell")
def cli() -> None:
    """Chat with your documents, and check every answer."""


@cli.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@_index_option
@_pipeline_option
@_json_option
@click.pass_context
def ingest(
    context: click.Context,
    sources: tuple[str, ...],
    index: Path | None,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Bring the index up to date with files and folders.

    Only what has changed since the last time is read and embedded; what is gone from a folder is
    deleted from the index.
    """
    from rag.cli import show

    with _pipeline(pipeline, index) as opened, show.Progress() as progress:
        report = opened.ingest(*sources, progress=progress)
    if as_json:
        show.json_document(report.as_json())
    show.report(report, opened.index, summary=not as_json)
    if report.failed:
        context.exit(SOME_FAILED)


@cli.command()
@click.argument("query")
@click.option("-k", type=click.IntRange(1, 1000), help="How many hits.  [default: 8]")
@_where_option
@_index_option
@_pipeline_option
@_json_option
def search(
    query: str,
    k: int | None,
    where: tuple[str, ...],
    index: Path | None,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Find the passages nearest to QUERY."""
    from rag.cli import show
    from rag.cli.load import parse_where

    with _pipeline(pipeline, index) as opened:
        hits = opened.search(query, k=k, where=parse_where(where))
    if as_json:
        show.json_document({"hits": [hit.model_dump(mode="json") for hit in hits]})
    else:
        show.hits(hits)


@cli.command()
@click.argument("question")
@_where_option
@click.option("--stream", is_flag=True, help="Print the answer as it comes.")
@_index_option
@_pipeline_option
@_json_option
def ask(
    question: str,
    where: tuple[str, ...],
    stream: bool,
    index: Path | None,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Answer QUESTION from the index, with citations.

    With both --stream and --json the text streams to stderr, and stdout gets the answer.
    """
    from rag.cli import show
    from rag.cli.load import parse_where

    with _pipeline(pipeline, index) as opened:
        if stream:
            answer = show.stream(
                opened.stream(question, where=parse_where(where)), to_stderr=as_json
            )
        else:
            answer = opened.ask(question, where=parse_where(where))
    if as_json:
        show.json_document(answer.model_dump(mode="json"))
    else:
        show.answer(answer, text=not stream)


@cli.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE...]")
@_index_option
@_pipeline_option
def chat(sources: tuple[str, ...], index: Path | None, pipeline: str | None) -> None:
    """Talk with your documents; SOURCEs are ingested first, as far as they have changed."""
    from rag.cli import show
    from rag.cli.chat import converse

    with _pipeline(pipeline, index) as opened:
        if sources:
            with show.Progress() as progress:
                report = opened.ingest(*sources, progress=progress)
            show.report(report, opened.index)
        converse(opened)


@cli.command()
@click.argument("uri")
@click.option("--start", type=click.IntRange(0), default=0, help="First character.")
@click.option("--end", type=click.IntRange(0), help="Character after the last.")
@_index_option
@_json_option
def source(uri: str, start: int, end: int | None, index: Path | None, as_json: bool) -> None:
    """Print the stored text of the document URI (or path), exactly."""
    from rag.cli import show
    from rag.cli.load import as_uri
    from rag.index import open_library

    library = open_library(_library_path(index))
    try:
        document = library.document(as_uri(uri))
    finally:
        library.close()
    end = len(document.text) if end is None else end
    if start > end:
        raise QueryError(f"--start {start} is behind the end, {end}")
    text = document.text[start:end]
    if not as_json:
        show.exactly(text)
        return
    marks = [
        mark.model_dump(mode="json")
        for mark in document.marks
        if mark.start < end and mark.end > start
    ]
    show.json_document({"uri": document.uri, "title": document.title, "text": text, "marks": marks})


@cli.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@_index_option
@_pipeline_option
def delete(uris: tuple[str, ...], index: Path | None, pipeline: str | None) -> None:
    """Delete documents whose source is gone for good, by uri or path.

    A folder stands for all that was in it. (What is gone from a folder that still exists is
    deleted by ingesting the folder again.)
    """
    from rag.cli.load import as_uri

    with _pipeline(pipeline, index) as opened:
        count = opened.delete(*(as_uri(uri) for uri in uris))
    if not count:
        raise DocumentNotFound(f"the index holds nothing at {', '.join(uris)}")
    click.echo(f"{count:,} deleted")


@cli.command()
@_index_option
@_json_option
def stats(index: Path | None, as_json: bool) -> None:
    """Say what the index holds, and what failed to get into it."""
    from rag.cli import show
    from rag.index import open_library

    path = _library_path(index)
    library = open_library(path)
    try:
        show.stats(path, library, as_json=as_json)
    finally:
        library.close()


@cli.command()
@_index_option
@_json_option
@click.pass_context
def doctor(context: click.Context, index: Path | None, as_json: bool) -> None:
    """Say what is installed, which keys are set (never their values), and if the index opens."""
    from rag.cli.doctor import examine

    if not examine(_library_path(index), as_json=as_json):
        context.exit(FAILED)


@cli.group(name="prompts")
def prompts_group() -> None:
    """Look at the prompt templates."""


@prompts_group.command(name="list")
@_json_option
def prompts_list(as_json: bool) -> None:
    """List the templates, ours and those of RAG_PROMPTS."""
    from rag.cli import show

    show.prompts(as_json=as_json)


@prompts_group.command(name="show")
@click.argument("name")
def prompts_show(name: str) -> None:
    """Print the template NAME as it is in use."""
    from rag.cli import show

    show.prompt(name)
