"""Options and exit codes that the commands share, and the pipeline they select."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.errors import ConfigError

if TYPE_CHECKING:
    from rag.pipeline import Pipeline
    from rag.stores import DocumentStoreConfig

_F = TypeVar("_F", bound=Callable[..., Any])

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


def require_folder(output: Path | None) -> None:
    """Raise `ConfigError` if the file `output` cannot be written, before any work is done."""
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise ConfigError(f"cannot write {output}: no such folder, or the path is a folder itself")


def make_pipeline(target: str | None, index: Path | None, namespace: str = "") -> Pipeline:
    """Load the pipeline that the options select."""
    from rag.cli.arguments import load_pipeline

    pipeline = load_pipeline(target, index)
    return pipeline.with_namespace(namespace) if namespace else pipeline


def resolve_document_store(
    target: str | None, index: Path | None
) -> tuple[Path, DocumentStoreConfig | None]:
    """Return the index folder, and the document store of the pipeline; None for the default."""
    if target is None:
        return resolve_index(index), None
    pipeline = make_pipeline(target, index)
    return pipeline.index, pipeline.document_store


def resolve_index(index: Path | None) -> Path:
    """Return the index folder from ``--index`` or the settings."""
    from rag.settings import load_settings

    return index or load_settings().index
