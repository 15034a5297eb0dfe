"""``rag doctor``: installed packages, configured keys and the state of the index."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rag
from rag.cli import output, terminal
from rag.cli.arguments import find_default_pipeline
from rag.cli.init import find_models
from rag.cli.options import make_pipeline
from rag.errors import EmbedderMismatch, RagError

_CORE_PACKAGES = (
    "chromadb",
    "tantivy",
    "wordllama",
    "semchunk",
    "pypdfium2",
    "trafilatura",
    "pydantic",
)
_PACKAGE_OF_EXTRA = {
    "openai": "openai",
    "onnx": "fastembed",
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
    "litellm": "litellm",
    "serve": "fastapi",
    "mcp": "mcp",
    "inspect": "textual",
    "map": "scikit-learn",
    "legacy": "olefile",
    "formats": "docutils",
    "feed": "feedparser",
    "metrics": "sacrebleu",
    "otel": "opentelemetry-sdk",
    "objects": "fsspec",
}


def print_diagnosis(index: Path, *, as_json: bool) -> bool:
    """Print the state of the installation; return whether nothing required is missing."""
    from rag.settings import Settings, load_settings

    settings = load_settings()
    field_of_variable = {variable: field for field, variable in Settings.variables().items()}
    state, is_index_fine = _check_index(index)
    diagnosis: dict[str, Any] = {
        "citewell": rag.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "packages": {name: _find_version(name) for name in _CORE_PACKAGES},
        "extras": {extra: _find_version(package) for extra, package in _PACKAGE_OF_EXTRA.items()},
        "keys": {
            variable: getattr(settings, field_of_variable[variable]) is not None
            for variable in Settings.secret_variables()
        },
        "minilm": _describe_minilm(),
        "models": [model.name for model in find_models(Path.cwd())],
        "index": {"path": str(index), "state": state},
    }
    diagnosis["next"] = _advise(index, diagnosis, is_index_fine)
    is_fine = is_index_fine and all(diagnosis["packages"].values())
    if as_json:
        output.print_json(diagnosis)
        return is_fine
    terminal.echo(f"citewell {diagnosis['citewell']}, Python {diagnosis['python']}")
    for name, package_version in diagnosis["packages"].items():
        terminal.echo(f"  {name:<24}{package_version or 'MISSING'}")
    terminal.echo("extras")
    for extra, package_version in diagnosis["extras"].items():
        hint = f"not installed (pip install 'citewell[{extra}]')"
        terminal.echo(f"  {extra:<24}{package_version or hint}")
    terminal.echo("keys")
    for variable, is_set in diagnosis["keys"].items():
        terminal.echo(f"  {variable:<24}{'set' if is_set else 'not set'}")
    terminal.echo(f"embedder minilm: {diagnosis['minilm']}")
    models = diagnosis["models"] or [
        "none (answers are quotes); `rag models list` shows the choices"
    ]
    terminal.echo(f"chat models at hand: {', '.join(models)}")
    terminal.echo(f"index {index}: {state}")
    terminal.secho("next", bold=True)
    for advice in diagnosis["next"]:
        terminal.echo(f"  {advice}")
    return is_fine


def _advise(index: Path, diagnosis: dict[str, Any], is_index_fine: bool) -> list[str]:
    """Return what to do next, the most urgent first."""
    missing = [name for name, installed in diagnosis["packages"].items() if installed is None]
    if missing:
        return ["install the missing packages again: pip install --force-reinstall citewell"]
    if diagnosis["index"]["state"].startswith(EmbedderMismatch.__name__):
        return ["the pipeline that the index was built with, or rag ingest with this one"]
    if not is_index_fine:
        return ["rag index repair", "rag index rebuild, if that does not help"]
    if not index.exists():
        if find_default_pipeline() is None:
            return ["rag init (writes a configuration), or rag ingest FOLDER"]
        return ["rag ingest (indexes the sources of rag.yaml)"]
    advice = ["rag ask 'your question', or rag chat"]
    if diagnosis["models"] and find_default_pipeline() is None:
        advice.append(f"with a model: rag ask --model {diagnosis['models'][0]} 'your question'")
    elif not diagnosis["models"]:
        advice.append("for written answers: rag models list, rag models get NAME, or a key in .env")
    return advice


def _describe_minilm() -> str:
    from rag.embedding.minilm import is_at_hand

    gain = "ranks better than the default embedder and takes longer (docs/retrieval.md)"
    if is_at_hand():
        return f"at hand; {gain}: rag ingest --embedder minilm"
    return f"not downloaded (80 MB, on first use); {gain}"


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _check_index(index: Path) -> tuple[str, bool]:
    """Return the state of the index in words, and whether it is fine."""
    if not index.exists():
        return "not created yet", True
    try:
        with make_pipeline(None, index) as pipeline:
            stats = pipeline.stats()
    except RagError as error:
        return f"{type(error).__name__}: {error}", False
    return f"opens, {stats.documents:,} documents, {stats.chunks:,} chunks", True
