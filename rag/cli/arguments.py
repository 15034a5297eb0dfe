"""Parsing of command-line values: pipelines, filters and uris."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError, QueryError, RagError
from rag.filters import All, F, Filter
from rag.types import Scalar, to_well_formed
from rag.types.comparison import read_number

if TYPE_CHECKING:
    from rag.pipeline import Pipeline

DEFAULT_PIPELINE = "rag.yaml"
"""The pipeline of a folder: every command uses it there, unless ``-p`` names another one."""


def load_pipeline(target: str | None, index: Path | None) -> Pipeline:
    """Load the pipeline that ``-p`` names; ``--index`` overrides its index.

    Without a name, that of ``rag.yaml`` in the working directory, else the default one.

    `target` is a YAML file, or ``module:attribute`` or ``file.py:attribute``, where the attribute
    is a pipeline or a function that returns one. Raises `ConfigError`.
    """
    from rag.pipeline import Pipeline

    target = target or find_default_pipeline()
    if target is None:
        pipeline = Pipeline()
    elif re.search(r"\.ya?ml$", target, re.IGNORECASE):
        pipeline = Pipeline.from_yaml(Path(target))
    else:
        value = _load_attribute(target)
        pipeline = _call_factory(target, value) if callable(value) else value
        if not isinstance(pipeline, Pipeline):
            raise ConfigError(f"{target} has type {type(pipeline).__name__}, not rag.Pipeline")
    return pipeline if index is None else pipeline.replace(index=index)


def find_default_pipeline() -> str | None:
    """Return the pipeline file of the working directory; None without one."""
    return DEFAULT_PIPELINE if Path(DEFAULT_PIPELINE).is_file() else None


def _load_attribute(target: str) -> Any:
    origin, _, attribute = target.rpartition(":")
    if not origin or not attribute:
        raise ConfigError(f"-p {target}: give module:attribute, file.py:attribute or a YAML file")
    try:
        module = _import_file(Path(origin)) if origin.endswith(".py") else _import_module(origin)
    except RagError:
        raise
    except Exception as error:
        raise ConfigError(f"-p {target}: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise ConfigError(f"-p {target}: {origin} has no attribute {attribute!r}")
    return getattr(module, attribute)


def _call_factory(target: str, factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except RagError:
        raise
    except Exception as error:
        raise ConfigError(f"-p {target}: {type(error).__name__}: {error}") from error


def _import_module(name: str) -> Any:
    _append_import_path(Path.cwd())
    return importlib.import_module(name)


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    _append_import_path(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"_rag_pipeline_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _append_import_path(folder: Path) -> None:
    """Append `folder` to the import path: as the last entry, it cannot hide installed packages."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


_COMPARISON = re.compile(r"\s*+([^=!<>]*[^=!<>\s])\s*+(==|!=|>=|<=|=|<|>)(.*)", re.S)


def parse_where(conditions: Sequence[str]) -> Filter | None:
    """Parse conditions into a filter that requires all of them.

    A condition is ``FIELD=VALUE`` (also ``!=``, ``<``, ``<=``, ``>``, ``>=``) or a filter as JSON.
    A value that looks like a number matches both the text and the number. A ``uri`` can be a path.
    Raises `QueryError`.
    """
    filters = [_parse_condition(condition) for condition in conditions]
    return All(tuple(filters)) if filters else None


def _parse_condition(condition: str) -> Filter:
    if condition.lstrip().startswith("{"):
        try:
            return Filter.of(json.loads(condition))
        except (ValueError, RecursionError) as error:
            raise QueryError(f"--where {condition[:200]}: not JSON ({error})") from None
    match = _COMPARISON.fullmatch(condition)
    if match is None:
        raise QueryError(f"--where {condition}: give FIELD=VALUE, or FIELD>=VALUE, or JSON")
    name, op, value = match.groups()
    if value.lstrip()[:1] in ("<", ">", "=", "!"):
        raise QueryError(
            f"--where {condition}: {op}{value.lstrip()[:1]} is no comparison; for a value that "
            "begins like this, give JSON"
        )
    if op in ("=", "==", "!="):
        equals = F(name).in_(_parse_values(value))
        return ~equals if op == "!=" else equals
    # A number is compared as a number: as text, "10" would be less than "9".
    number = _parse_number(value.strip())
    return Filter.of(
        {"field": name, "op": op, "value": value.strip() if number is None else number}
    )


def parse_metadata(settings: Sequence[str]) -> dict[str, Scalar | list[Scalar]]:
    """Parse ``KEY=VALUE`` settings; the values of a repeated key become a list.

    A number in its shortest form and ``true`` or ``false`` get their type. Dates stay ISO 8601
    texts, which filters compare as dates. Raises `QueryError`.
    """
    metadata: dict[str, Scalar | list[Scalar]] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        key = key.strip()
        if not separator or not key:
            raise QueryError(f"--metadata {setting}: give KEY=VALUE")
        value = text.strip() if key == "title" else _parse_value(text.strip())
        if key in metadata:
            if key == "title":
                raise QueryError("--metadata title: a document has one title")
            earlier = metadata[key]
            metadata[key] = [*(earlier if isinstance(earlier, list) else [earlier]), value]
        else:
            metadata[key] = value
    return metadata


def _parse_value(text: str) -> Scalar:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    number = _parse_number(text)
    return to_well_formed(text) if number is None or str(number) != text else number


_NUMBER = re.compile(r"[-+]?(?:\d++\.?\d*+|\.\d++)(?:[eE][-+]?\d++)?", re.ASCII)


def _parse_values(text: str) -> list[Scalar]:
    """Return all values that `text` can mean: itself, a boolean, a number.

    A number is added only in its shortest form: ``1.10`` also equals the number 1.1, but not the
    string ``"1.1"`` (of a version).
    """
    text = to_well_formed(text)
    values: list[Scalar] = [text]
    if text.lower() in ("true", "false"):
        values.append(text.lower() == "true")
    number = _parse_number(text)
    if number is not None and (read_number(text) is None or str(number) == text):
        values.append(number)
    return values


def _parse_number(text: str) -> int | float | None:
    if not _NUMBER.fullmatch(text) or len(text) > 400:
        return None
    if "." not in text and "e" not in text.lower():
        return int(text) if -(2**63) <= int(text) < 2**63 else None
    number = float(text)
    return number if math.isfinite(number) else None


def find_pipeline_above() -> Path | None:
    """Return the nearest ``rag.yaml`` in a folder above the current one, unless this has one."""
    if find_default_pipeline() is not None:
        return None
    paths = (folder / DEFAULT_PIPELINE for folder in Path.cwd().parents)
    return next((path for path in paths if path.is_file()), None)


def as_uri(uri_or_path: str) -> str:
    """Return a uri unchanged, and a path as a ``file:`` uri. Raises `QueryError` for ""."""
    from connectors.files import find_spelling

    if not uri_or_path.strip():
        raise QueryError("a path is empty: write . for the current folder")
    path = find_spelling(Path(uri_or_path).expanduser())
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri_or_path) and not path.exists():
        return uri_or_path
    return Path(os.path.abspath(path)).as_uri()  # noqa: PTH100 (keeps symbolic links)
