"""What the commands have in common: options, exit codes, and how a pipeline is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.errors import ConfigError

if TYPE_CHECKING:
    from rag.pipeline import Pipeline

_F = TypeVar("_F", bound=Callable[..., Any])

FAILED, WRONG_USE, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130


def index_option(command: _F) -> _F:
    """``--index``: the folder of the index."""
    return click.option(
        "--index",
        type=click.Path(path_type=Path),
        help="Folder of the index.  [default: RAG_INDEX, or .rag]",
    )(command)


def pipeline_option(command: _F) -> _F:
    """``-p``: the pipeline."""
    return click.option(
        "-p",
        "--pipeline",
        metavar="PIPELINE",
        help="module:attribute, file.py:attribute or a YAML file.",
    )(command)


def namespace_option(command: _F) -> _F:
    """``--namespace``: a part of the index."""
    return click.option(
        "--namespace", metavar="NAME", default="", help="A namespace of the index."
    )(command)


def json_option(command: _F) -> _F:
    """``--json``: one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def where_option(command: _F) -> _F:
    """``--where``: a filter."""
    return click.option(
        "--where",
        metavar="CONDITION",
        multiple=True,
        help="Only documents whose metadata has this: FIELD=VALUE, FIELD!=VALUE, FIELD>=VALUE ..., "
        "or a filter as JSON. May be repeated; all must hold.",
    )(command)


def require_folder(output: Path | None) -> None:
    """Raise `ConfigError` before the work where its result could not be written."""
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise ConfigError(f"cannot write {output}: there is no such folder, or it is one itself")


def make_pipeline(target: str | None, index: Path | None, namespace: str = "") -> Pipeline:
    """The pipeline that the options name."""
    from rag.cli.arguments import load_pipeline

    pipeline = load_pipeline(target, index)
    return pipeline.with_namespace(namespace) if namespace else pipeline


def index_path(index: Path | None) -> Path:
    """The folder that ``--index``, or the settings, name."""
    from rag.settings import load_settings

    return index or load_settings().index
