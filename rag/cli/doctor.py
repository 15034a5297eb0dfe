"""``rag doctor``: what is installed, which keys are set, whether the index opens."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

import rag
from rag.cli import output
from rag.errors import RagError

_CORE = ("chromadb", "tantivy", "wordllama", "semchunk", "pypdfium2", "trafilatura", "pydantic")
_EXTRAS = {
    "openai": "openai",
    "cohere": "cohere",
    "llama-cpp": "xllamacpp",
    "local": "sentence-transformers",
    "code": "tree-sitter",
    "ocr": "rapidocr",
    "git": "dulwich",
    "sql": "sqlalchemy",
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "langchain": "langchain-core",
    "llama-index": "llama-index-core",
}


def examine(index: Path, *, as_json: bool) -> bool:
    """Print the state of things; returns whether all that is needed is there."""
    from rag.settings import Settings, load_settings

    settings = load_settings()
    by_variable = {variable: field for field, variable in Settings.variables().items()}
    state, index_fine = _index_state(index)
    found: dict[str, Any] = {
        "citewell": rag.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "packages": {name: _version(name) for name in _CORE},
        "extras": {extra: _version(package) for extra, package in _EXTRAS.items()},
        "keys": {
            variable: getattr(settings, by_variable[variable]) is not None
            for variable in Settings.secret_variables()
        },
        "index": {"path": str(index), "state": state},
    }
    fine = index_fine and all(found["packages"].values())
    if as_json:
        output.json_document(found)
        return fine
    click.echo(f"citewell {found['citewell']}, Python {found['python']}")
    for name, installed in found["packages"].items():
        click.echo(f"  {name:<24}{installed or 'MISSING'}")
    click.echo("extras")
    for extra, installed in found["extras"].items():
        hint = f"not installed (pip install 'citewell[{extra}]')"
        click.echo(f"  {extra:<24}{installed or hint}")
    click.echo("keys")
    for variable, is_set in found["keys"].items():
        click.echo(f"  {variable:<24}{'set' if is_set else 'not set'}")
    click.echo(f"index {index}: {state}")
    return fine


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _index_state(index: Path) -> tuple[str, bool]:
    from rag.index import open_library
    from rag.pipeline import Pipeline

    if not index.exists():
        return "none yet", True
    try:
        library = open_library(index)
        stats = library.stats()
        library.close()
        with Pipeline(index=index) as pipeline:
            pipeline.open()
    except RagError as error:
        return f"{type(error).__name__}: {error}", False
    return f"opens, {stats.documents:,} documents, {stats.chunks:,} chunks", True
