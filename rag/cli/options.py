"""Options and exit codes that the commands share, and the pipeline they select."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.errors import ConfigError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from rag.pipeline import Pipeline
    from rag.stores import DocumentStoreConfig

_F = TypeVar("_F", bound=Callable[..., Any])

_PARTS_KEY = "citewell.parts"
FAILED, WRONG_USE, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130


def index_option(command: _F) -> _F:
    """Add ``--index``, the folder of the index."""
    return click.option(
        "--index",
        type=click.Path(path_type=Path),
        help="Folder of the index.  [default: RAG_INDEX, or .rag]",
    )(command)


def pipeline_option(command: _F) -> _F:
    """Add ``-p``, the pipeline."""
    return click.option(
        "-p",
        "--pipeline",
        metavar="PIPELINE",
        help="Pipeline: module:attribute, file.py:attribute or a YAML file.",
    )(command)


def parts_options(command: _F) -> _F:
    """Add ``--model``, ``--embedder`` and ``--reranker``; `make_pipeline` reads them."""

    def remember_part(context: click.Context, option: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta.setdefault(_PARTS_KEY, {})[option.name] = value

    for name, help_text in (
        ("reranker", "Reranker, for example cross-encoder:MODEL or cohere:rerank-v3.5."),
        ("embedder", "Embedder, for example openai:text-embedding-3-small."),
        ("model", "Chat model, for example openai:gpt-4.1-mini, ollama:qwen2.5:3b."),
    ):
        command = click.option(
            f"--{name}",
            metavar="NAME[:MODEL]",
            help=help_text,
            expose_value=False,
            callback=remember_part,
        )(command)
    return command


def namespace_option(command: _F) -> _F:
    """Add ``--namespace``, an isolated index for one user or project."""
    return click.option(
        "--namespace",
        metavar="NAME",
        default="",
        help="Namespace: an isolated index for one user or project.",
    )(command)


def json_option(command: _F) -> _F:
    """Add ``--json``, which prints one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(
        command
    )


def where_option(command: _F) -> _F:
    """Add ``--where``, a metadata filter."""
    return click.option(
        "--where",
        metavar="CONDITION",
        multiple=True,
        help="Only documents whose metadata matches: FIELD=VALUE, FIELD!=VALUE, FIELD>=VALUE ..., "
        "or a filter as JSON. Repeatable; all conditions must match.",
    )(command)


def k_option(command: _F) -> _F:
    """Add ``-k``, the number of hits."""
    return click.option("-k", type=click.IntRange(1, 1000), help="Number of hits.  [default: 8]")(
        command
    )


class SourceName(click.ParamType):  # type: ignore[type-arg]
    """A file, a folder or a uri; a shell completes it as a file."""

    name = "source"

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell list its files."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


class _Time(click.ParamType):  # type: ignore[type-arg]
    """A date or time in ISO 8601 form, in the zone of the system without one, or ``last``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> datetime.datetime:
        if isinstance(value, datetime.datetime):
            return value
        if value == "last":
            return datetime.datetime.max.replace(tzinfo=datetime.UTC)
        try:
            time = datetime.datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date such as 2026-11-01, and not 'last'", param, context)
        if time > datetime.datetime.now(datetime.UTC):
            self.fail(f"{value} is in the future", param, context)
        return time


def since_option(command: _F) -> _F:
    """Add ``--since``, the time of the earlier answer to compare with."""
    return click.option(
        "--since",
        type=_Time(),
        metavar="WHEN",
        help="Compare with the last answer before WHEN: a date such as 2026-11-01, or 'last'.",
    )(command)


def require_folder(output: Path | None) -> None:
    """Raise `ConfigError` if the file `output` cannot be written, before any work is done."""
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise ConfigError(f"cannot write {output}: no such folder, or the path is a folder itself")


def make_pipeline(target: str | None, index: Path | None, namespace: str = "") -> Pipeline:
    """Load the pipeline that the options select."""
    from rag.cli.arguments import load_pipeline

    pipeline = load_pipeline(target, index)
    context = click.get_current_context(silent=True)
    if context is not None and (parts := context.meta.get(_PARTS_KEY)):
        pipeline = replace_parts(pipeline, **parts)
    return pipeline.with_namespace(namespace) if namespace else pipeline


def replace_parts(
    pipeline: Pipeline,
    model: str | None = None,
    embedder: str | None = None,
    reranker: str | None = None,
) -> Pipeline:
    """Return the pipeline with the parts of `parts_options`, and its other settings.

    The model ``none`` is the extractive generator.
    """
    from rag.generation import with_chat_model

    changes: dict[str, Any] = {}
    if embedder is not None:
        changes["embedder"] = embedder
    if reranker is not None:
        changes["postprocessors"] = (reranker, *pipeline.postprocessors)
    if model is not None:
        changes["generator"] = with_chat_model(pipeline.generator, model)
    return pipeline.replace(**changes)


def resolve_document_store(
    target: str | None, index: Path | None
) -> tuple[Path, DocumentStoreConfig | None]:
    """Return the index folder, and the document store of the pipeline; None for the default."""
    from rag.cli.arguments import find_default_pipeline

    target = target or find_default_pipeline()
    if target is None:
        return resolve_index(index), None
    pipeline = make_pipeline(target, index)
    return pipeline.index, pipeline.document_store


def resolve_index(index: Path | None) -> Path:
    """Return the index folder from ``--index``, the pipeline of this folder, or the settings."""
    from rag.cli.arguments import find_default_pipeline
    from rag.settings import load_settings

    if index is None and (target := find_default_pipeline()):
        return make_pipeline(target, None).index
    return index or load_settings().index
