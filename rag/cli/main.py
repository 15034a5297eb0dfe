"""The ``rag`` command: its subcommands, error output and exit codes.

Exit codes: 0 success, 1 failure, 2 usage error, 3 success, but some documents failed, 130
interrupted. Results go to stdout, everything else to stderr; with ``--json``, stdout holds exactly
one JSON document. Each command imports the heavy packages it needs when it runs.
"""

from __future__ import annotations

import copy
import datetime
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

import rag
from rag import tracing
from rag.cli import eval_datasets, eval_runs, terminal  # noqa: F401 (add commands to eval_group)
from rag.cli.chat import conversations_group
from rag.cli.corpus_analysis import duplicates, map_command, outliers, similar
from rag.cli.eval_retrieval import eval_group, tune
from rag.cli.index import index_group
from rag.cli.inspect import inspect_command
from rag.cli.models import models_group
from rag.cli.options import (
    FAILED,
    INTERRUPTED,
    SOME_FAILED,
    WRONG_USE,
    SourceName,
    index_option,
    json_option,
    k_option,
    make_pipeline,
    namespace_option,
    parts_options,
    pipeline_option,
    resolve_document_store,
    resolve_index,
    since_option,
    where_option,
)
from rag.cli.serve import keys_group, mcp, serve
from rag.cli.train import train_group
from rag.errors import (
    ConfigError,
    IndexNotFound,
    QueryError,
    RagError,
    SourceNotFound,
)

COMPLETION_VARIABLE = "_RAG_COMPLETE"


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit. An error is one line on stderr, without a traceback.

    With ``RAG_DEBUG`` set, the traceback is shown.
    """
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        if instruction := os.environ.get(COMPLETION_VARIABLE):
            from click.shell_completion import shell_complete

            sys.exit(shell_complete(cli, {}, "rag", COMPLETION_VARIABLE, instruction))
        if any(name.startswith("OTEL_") for name in os.environ):
            tracing.configure()
        with (
            _plain_warnings(),
            _print_logs(),
            _print_filter_warnings(),
            cli.make_context("rag", list(arguments)) as context,
        ):
            cli.invoke(context)
        sys.stdout.flush()
        code = 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        terminal.echo("stopped", err=True)
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of the output closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if os.environ.get("RAG_DEBUG"):
            terminal.echo(traceback.format_exc(), nl=False, err=True)
        terminal.echo(f"rag: {_format_error(error)}", err=True)
        code = WRONG_USE if _is_wrong_use(error) else FAILED
    sys.exit(code)


@contextmanager
def _print_logs() -> Iterator[None]:
    """Print log messages without control characters, whichever library logs and prints them."""
    make_record = logging.getLogRecordFactory()

    def make_clean_record(*args: Any, **fields: Any) -> logging.LogRecord:
        record = make_record(*args, **fields)
        record.msg = terminal.clean(str(record.msg))
        if isinstance(record.args, tuple):
            record.args = tuple(
                terminal.clean(value) if isinstance(value, str) else value for value in record.args
            )
        return record

    handler = logging.lastResort
    formatter = handler.formatter if handler else None
    logging.setLogRecordFactory(make_clean_record)
    if handler:
        handler.setFormatter(terminal.CleanFormatter())
    try:
        yield
    finally:
        logging.setLogRecordFactory(make_record)
        if handler:
            handler.setFormatter(formatter)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print every `FutureWarning`, as for a renamed setting, as one line on stderr."""
    default_showwarning = warnings.showwarning

    def show_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, FutureWarning):
            terminal.echo(f"warning: {' '.join(str(message).split())}", err=True)
        else:
            default_showwarning(message, category, filename, lineno, file, line)

    warnings.showwarning = show_warning
    try:
        yield
    finally:
        warnings.showwarning = default_showwarning


class _FilterWarnings(logging.Handler):
    """Prints the warnings about the fields of a filter on stderr, each of them once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._printed:
            self._printed.add(message)
            terminal.echo(f"warning: {' '.join(message.split())}", err=True)


@contextmanager
def _print_filter_warnings() -> Iterator[None]:
    """Print the warnings of `rag.stores.filter_fields` on stderr, as one line each."""
    logger, handler = logging.getLogger("rag.stores.filter_fields"), _FilterWarnings()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _format_error(error: Exception) -> str:
    if isinstance(error, RagError) or _is_prompt_error(error):
        message = " ".join(str(error).split())
        return message + _describe_pipeline_above() if isinstance(error, IndexNotFound) else message
    kind = type(error).__name__
    return f"unexpected {kind}: {' '.join(str(error).split())} (RAG_DEBUG=1 shows the traceback)"


def _describe_pipeline_above() -> str:
    """Say where the ``rag.yaml`` is that a command in a subfolder does not use; else ""."""
    from rag.cli.arguments import find_pipeline_above

    path = find_pipeline_above()
    return f" ({path} is only used by commands in its own folder)" if path else ""


def _is_wrong_use(error: Exception) -> bool:
    usage_errors = (ConfigError, QueryError, SourceNotFound)
    return isinstance(error, usage_errors) or _is_prompt_error(error)


def _is_prompt_error(error: Exception) -> bool:
    return type(error).__module__ == "prompts"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rag.__version__, prog_name="citewell")
def cli() -> None:
    """Chat with your documents, and verify every answer."""


@cli.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE...]", type=SourceName())
@click.option(
    "--dry-run", is_flag=True, help="Show what would change and its cost; change nothing."
)
@click.option("--keep-missing", is_flag=True, help="Keep documents that a source no longer has.")
@click.option(
    "--allow-deletions", is_flag=True, help="Delete even if a source lost most of its documents."
)
@click.option("--allow-private", is_flag=True, help="Allow web addresses in private networks.")
@click.option(
    "--metadata",
    metavar="KEY=VALUE",
    multiple=True,
    help="Metadata of all documents of SOURCEs; title=... for a single file. Repeatable. An ingest "
    "without it removes it again.",
)
@index_option
@namespace_option
@pipeline_option
@parts_options
@json_option
@click.pass_context
def ingest(
    context: click.Context,
    sources: tuple[str, ...],
    dry_run: bool,
    keep_missing: bool,
    allow_deletions: bool,
    allow_private: bool,
    metadata: tuple[str, ...],
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Index SOURCEs; only changes are read.

    A SOURCE is a file, a folder, or an address such as https://example.org/sitemap.xml,
    git+file:///repository or s3://bucket/prefix (`rag formats` lists them). Only new and
    changed documents are read and embedded; documents that a source no longer has are deleted from
    the index. Without a SOURCE, those of rag.yaml are indexed.
    """
    from rag.cli import output
    from rag.cli.arguments import parse_metadata

    fields = parse_metadata(metadata)
    opened = make_pipeline(pipeline, index, namespace)
    if not (sources or opened.sources):
        raise click.UsageError("name a SOURCE, or set `sources` in rag.yaml")
    with opened, output.IngestProgress() as progress:
        report = opened.ingest(
            *sources,
            dry_run=dry_run,
            keep_missing=keep_missing,
            allow_deletions=allow_deletions,
            allow_private=allow_private,
            metadata=fields,
            progress=progress,
        )
    if as_json:
        output.print_json(report.as_json())
    output.print_report(report, opened.index, summary=not as_json)
    if report.failed:
        context.exit(SOME_FAILED)


@cli.command()
@click.argument("query")
@k_option
@where_option
@click.option(
    "--explain",
    is_flag=True,
    help="Print the score of each hit by part, and the favoured documents.",
)
@index_option
@namespace_option
@pipeline_option
@parts_options
@json_option
def search(
    query: str,
    k: int | None,
    where: tuple[str, ...],
    explain: bool,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Find the passages most relevant to QUERY."""
    from rag.cli import output
    from rag.cli.arguments import parse_where

    with make_pipeline(pipeline, index, namespace) as opened:
        condition = parse_where(where)
        output.warn_if_empty(opened, condition)
        result = opened.search_with_steps(query, k=k, where=condition)
    notes = output.search_notes(result.steps)
    favoured = output.find_favoured_documents(result.steps) if explain else ()
    if as_json:
        found: dict[str, object] = {"hits": [hit.model_dump(mode="json") for hit in result.hits]}
        if explain:
            found["favoured"] = [document.model_dump(mode="json") for document in favoured]
        if notes:
            found["notes"] = notes
        output.print_json(found)
    else:
        output.print_favoured(favoured)
        output.print_hits(result.hits, explain=explain)
        for note in notes:
            output.print_note(note)


@cli.command()
@click.argument("question")
@k_option
@where_option
@click.option("--stream", is_flag=True, help="Print the answer while it is written.")
@since_option
@click.option("--trace", is_flag=True, help="Print each stage with its time and tokens to stderr.")
@index_option
@namespace_option
@pipeline_option
@parts_options
@json_option
def ask(
    question: str,
    k: int | None,
    where: tuple[str, ...],
    stream: bool,
    since: datetime.datetime | None,
    trace: bool,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Answer QUESTION from the index, with citations.

    With --stream and --json, the text streams to stderr, and the JSON answer goes to stdout. The
    exit code is 1 if the index is empty.
    """
    from rag.cli import monitor, output
    from rag.cli.arguments import parse_where

    if since is not None:
        if stream or trace:
            raise click.UsageError("--since cannot be used with --stream or --trace")
        with make_pipeline(pipeline, index, namespace) as opened:
            condition = parse_where(where)
            output.warn_if_empty(opened, condition)
            chosen = opened if k is None else opened.replace(k=k)
            monitor.ask_since(chosen, question, since, condition, as_json=as_json)
        return
    with make_pipeline(pipeline, index, namespace) as opened, tracing.record_spans() as spans:
        condition = parse_where(where)
        is_empty = output.warn_if_empty(opened, condition)
        try:
            if stream:
                answer = output.print_stream(
                    opened.stream(question, k=k, where=condition),
                    to_stderr=as_json,
                    is_markdown=opened.generator.streams,
                )
            else:
                answer = opened.ask(question, k=k, where=condition)
        finally:
            if trace:
                terminal.echo(tracing.format_tree(spans), err=True)
    if trace:
        output.print_draft(answer, err=True)
    if as_json:
        output.print_json(answer.model_dump(mode="json"))
    else:
        output.print_answer(answer, text=not stream)
    if is_empty:
        sys.exit(1)


@cli.command(name="monitor")
@click.argument("questions", type=click.Path(path_type=Path), metavar="QUESTIONS")
@click.argument("sources", nargs=-1, metavar="[SOURCE...]", type=SourceName())
@click.option("--sync", is_flag=True, help="First index the sources of rag.yaml.")
@since_option
@click.option("--exit-code", is_flag=True, help="Exit with 1 if an answer has changed.")
@index_option
@namespace_option
@pipeline_option
@parts_options
@json_option
@click.pass_context
def monitor_command(
    context: click.Context,
    questions: Path,
    sources: tuple[str, ...],
    sync: bool,
    since: datetime.datetime | None,
    exit_code: bool,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Ask a question set again, and print the answers that have changed since the last time.

    QUESTIONS is a file as for `rag eval run`: JSON lines with a "question", for example. SOURCEs
    are indexed first. Of each changed answer, the new and the old sentences and citations are
    printed, with the reason why a citation is gone.
    """
    from rag.cli import monitor, output

    with make_pipeline(pipeline, index, namespace) as opened:
        if sync and not (sources or opened.sources):
            raise click.UsageError("--sync needs `sources` in rag.yaml, or name a SOURCE")
        texts = monitor.load_question_texts(questions)
        failed = False
        if sources or sync:
            with output.IngestProgress() as progress:
                report = opened.ingest(*sources, progress=progress)
            output.print_report(report, opened.index, summary=not as_json)
            failed = bool(report.failed)
        result = monitor.ask_set(opened, texts, since, as_json=as_json)
    if result.failed or (exit_code and result.changed):
        context.exit(FAILED)
    if failed:
        context.exit(SOME_FAILED)


@cli.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE...]", type=SourceName())
@click.option("--name", help="Continue or start the conversation NAME.")
@click.option("--continue", "latest", is_flag=True, help="Continue the latest conversation.")
@k_option
@where_option
@index_option
@namespace_option
@pipeline_option
@parts_options
def chat(
    sources: tuple[str, ...],
    name: str | None,
    latest: bool,
    k: int | None,
    where: tuple[str, ...],
    index: Path | None,
    namespace: str,
    pipeline: str | None,
) -> None:
    """Chat with your documents. New and changed SOURCEs are indexed first.

    Conversations are saved in the index folder (`rag conversations` lists them). Type /help during
    a chat for its commands: /sources, /why, /where, /model, /history, /export, /reset.
    """
    from rag.cli import output
    from rag.cli.chat import converse

    if latest and name is not None:
        raise click.UsageError("--name and --continue cannot be used together")
    with make_pipeline(pipeline, index, namespace) as opened:
        if sources:
            with output.IngestProgress() as progress:
                report = opened.ingest(*sources, progress=progress)
            output.print_report(report, opened.index)
        output.warn_if_empty(opened)
        chosen = opened if k is None else opened.replace(k=k)
        converse(chosen, name, latest=latest, where=where)


@cli.command(name="formats")
@json_option
def formats_command(as_json: bool) -> None:
    """List the supported sources and file formats."""
    from rag.cli import parse

    parse.list_sources(as_json=as_json)


@cli.command()
@json_option
def embedders(as_json: bool) -> None:
    """List the embedders with vector length, text limit and price."""
    from rag.cli import parse

    parse.list_embedders(as_json=as_json)


@cli.command()
@click.argument("source", metavar="FILE", type=SourceName())
@click.option(
    "--check", is_flag=True, help="Print what is left out of the text, and why, not the text."
)
@click.option("--allow-private", is_flag=True, help="Allow web addresses in private networks.")
@pipeline_option
@json_option
@click.pass_context
def parse(
    context: click.Context,
    source: str,
    check: bool,
    allow_private: bool,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Print the text of FILE as the index would store it.

    The margin shows the page, slide, sheet, row, function or time. FILE may be any source.
    """
    from rag.cli import parse

    with make_pipeline(pipeline, None) as opened:
        parsed = parse.parse_source(opened, source, allow_private=allow_private)
        if not parse.print_parsed(parsed, check=check, as_json=as_json):
            context.exit(SOME_FAILED)


@cli.command()
@click.argument("uri", metavar="URI", type=SourceName())
@click.option("--start", type=click.IntRange(0), default=0, help="Offset of the first character.")
@click.option("--end", type=click.IntRange(0), help="Offset after the last character.")
@index_option
@namespace_option
@pipeline_option
@json_option
def show(
    uri: str,
    start: int,
    end: int | None,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Print the exact stored text of the document URI (or path)."""
    from rag.cli import output
    from rag.cli.arguments import as_uri
    from rag.index import open_document_store

    path, config = resolve_document_store(pipeline, index)
    document_store = open_document_store(path, namespace, config)
    try:
        document = document_store.document(as_uri(uri))
    finally:
        document_store.close()
    end = len(document.text) if end is None else end
    if start > end:
        raise QueryError(f"--start {start} is greater than the end, {end}")
    text = document.text[start:end]
    if not as_json:
        terminal.write_exact(text)
        return
    marks = [
        mark.model_dump(mode="json")
        for mark in document.marks
        if mark.start < end and mark.end > start
    ]
    output.print_json({"uri": document.uri, "title": document.title, "text": text, "marks": marks})


def _add_old_name(name: str, command: click.Command) -> None:
    """Keep a command under its name of version 0.1, with a warning, out of the help."""
    old_command = copy.copy(command)
    old_command.hidden = True
    old_command.deprecated = f"use `rag {command.name}`"
    cli.add_command(old_command, name)


_add_old_name("source", show)
_add_old_name("sources", formats_command)


@cli.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...", type=SourceName())
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@index_option
@namespace_option
@pipeline_option
def delete(
    uris: tuple[str, ...], yes: bool, index: Path | None, namespace: str, pipeline: str | None
) -> None:
    """Delete documents from the index, by uri or path.

    A folder deletes all its documents; they are listed first, and on a terminal you are asked.
    Use this when a whole source no longer exists: ingesting a folder again already deletes the
    documents that it no longer has.
    """
    from rag.cli.documents import delete_documents

    with make_pipeline(pipeline, index, namespace) as opened:
        delete_documents(opened, uris, yes=yes)


@cli.command()
@click.argument("path", required=False, metavar="[PATH]", type=SourceName())
@where_option
@click.option("--failed", is_flag=True, help="Only what could not be indexed, with the reason.")
@index_option
@namespace_option
@pipeline_option
@json_option
def documents(
    path: str | None,
    where: tuple[str, ...],
    failed: bool,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """List the documents of the index, at and below PATH, and what failed."""
    from rag.cli.documents import list_documents
    from rag.index import open_document_store

    folder, config = resolve_document_store(pipeline, index)
    with closing(open_document_store(folder, namespace, config)) as store:
        list_documents(store, path, where, failed=failed, as_json=as_json)


@cli.command()
@click.option("--documents", metavar="PATH", type=SourceName(), help="Folder of the documents.")
@click.option(
    "--model",
    metavar="NAME[:MODEL]",
    help="Chat model: none, ollama:MODEL, openai:MODEL, a GGUF file ...",
)
@click.option("--force", is_flag=True, help="Replace rag.yaml.")
def init(documents: str | None, model: str | None, force: bool) -> None:
    """Write rag.yaml, .env and a question file for this folder.

    Every command uses rag.yaml in the folder in which it runs. What is not given is asked.
    """
    from rag.cli.init import initialize

    initialize(documents, model, force=force)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes `rag` in SHELL.

    For example: rag completion bash > ~/.local/share/bash-completion/completions/rag
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    terminal.write_exact(kind(cli, {}, "rag", COMPLETION_VARIABLE).source() + "\n")


@cli.command()
@index_option
@namespace_option
@pipeline_option
@json_option
def stats(index: Path | None, namespace: str, pipeline: str | None, as_json: bool) -> None:
    """Show the content of the index, its documents and their names, and what failed."""
    from rag.cli import output
    from rag.index import open_document_store

    path, config = resolve_document_store(pipeline, index)
    document_store = open_document_store(path, namespace, config)
    try:
        output.print_stats(path, namespace, document_store, config, as_json=as_json)
    finally:
        document_store.close()


@cli.command()
@index_option
@json_option
@click.pass_context
def doctor(context: click.Context, index: Path | None, as_json: bool) -> None:
    """Check the installation, the API keys and the index.

    Key values are never printed.
    """
    from rag.cli.doctor import print_diagnosis

    if not print_diagnosis(resolve_index(index), as_json=as_json):
        context.exit(FAILED)


@cli.command()
@click.argument("url", required=False)
@click.option("--remove", is_flag=True, help="Trust it no longer.")
def trust(url: str | None, remove: bool) -> None:
    """Allow API keys to be sent to the server of URL; without URL, list the trusted servers.

    A key from the environment goes only to its provider, and to addresses that stand in the
    environment, too. A server that a pipeline file or a .env file names gets it once you trust it.
    """
    from rag.providers.key_servers import distrust_server, list_trusted_servers, trust_server

    if url is None:
        for server in list_trusted_servers():
            terminal.echo(server)
    elif not remove:
        terminal.echo(f"keys may be sent to {trust_server(url)}")
    elif distrust_server(url):
        terminal.echo("removed")
    else:
        raise ConfigError(f"{url} is not trusted")


cli.add_command(index_group, name="index")
cli.add_command(conversations_group, name="conversations")
cli.add_command(eval_group, name="eval")
cli.add_command(inspect_command)
cli.add_command(keys_group, name="keys")
cli.add_command(models_group, name="models")
cli.add_command(train_group, name="train")
cli.add_command(serve)
cli.add_command(mcp)
cli.add_command(tune)
cli.add_command(map_command)
cli.add_command(similar)
cli.add_command(duplicates)
cli.add_command(outliers)


@cli.group(name="prompts")
def prompts_group() -> None:
    """List and print the prompt templates."""


@prompts_group.command(name="list")
@json_option
def prompts_list(as_json: bool) -> None:
    """List the built-in templates and those in the folder RAG_PROMPTS."""
    from rag.cli import output

    output.print_prompts(as_json=as_json)


@prompts_group.command(name="show")
@click.argument("name")
def prompts_show(name: str) -> None:
    """Print the template NAME that is in use."""
    from rag.cli import output

    output.print_prompt(name)
