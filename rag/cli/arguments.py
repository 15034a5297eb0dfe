"""What people type, to what the framework takes."""

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
from rag.types import Scalar, well_formed

if TYPE_CHECKING:
    from rag.pipeline import Pipeline


def load_pipeline(target: str | None, index: Path | None) -> Pipeline:
    """Make the pipeline that ``-p`` names (the default one without it); ``--index`` wins.

    `target` is ``module:attribute`` or ``file.py:attribute``, a pipeline or a function that
    returns one, or a YAML file. Raises `ConfigError`.
    """
    from rag.pipeline import Pipeline

    if target is None:
        pipeline = Pipeline()
    elif re.search(r"\.ya?ml$", target, re.IGNORECASE):
        pipeline = Pipeline.from_yaml(Path(target))
    else:
        found = _attribute(target)
        pipeline = _called(target, found) if callable(found) else found
        if not isinstance(pipeline, Pipeline):
            raise ConfigError(f"{target} is a {type(pipeline).__name__}, not a rag.Pipeline")
    return pipeline if index is None else pipeline.model_copy(update={"index": index})


def _attribute(target: str) -> Any:
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        raise ConfigError(f"-p {target}: give module:attribute, file.py:attribute or a YAML file")
    try:
        module = _file_module(Path(place)) if place.endswith(".py") else _module(place)
    except RagError:
        raise
    except Exception as error:
        raise ConfigError(f"-p {target}: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise ConfigError(f"-p {target}: {place} has no attribute {attribute!r}")
    return getattr(module, attribute)


def _called(target: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except RagError:
        raise
    except Exception as error:
        raise ConfigError(f"-p {target}: {type(error).__name__}: {error}") from error


def _module(name: str) -> Any:
    _also_import_from(Path.cwd())
    return importlib.import_module(name)


def _file_module(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    _also_import_from(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"_rag_pipeline_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _also_import_from(folder: Path) -> None:
    """Behind everything else, so that nothing in the folder can hide a package of ours."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


_COMPARISON = re.compile(r"\s*([^=!<>]+?)\s*(==|!=|>=|<=|=|<|>)(.*)", re.S)


def parse_where(conditions: Sequence[str]) -> Filter | None:
    """Make a filter of ``FIELD=VALUE`` s (also ``!=``, ``<``, ``<=``, ``>``, ``>=``) and JSON.

    All must hold. A value that reads as a number also means the number.
    """
    found = [_condition(condition) for condition in conditions]
    return All(tuple(found)) if found else None


def _condition(condition: str) -> Filter:
    if condition.lstrip().startswith("{"):
        try:
            return Filter.of(json.loads(condition))
        except (ValueError, RecursionError) as error:
            raise QueryError(f"--where {condition[:200]}: not JSON ({error})") from None
    match = _COMPARISON.fullmatch(condition)
    if match is None:
        raise QueryError(f"--where {condition}: give FIELD=VALUE, or FIELD>=VALUE, or JSON")
    name, op, value = match.groups()
    if op in ("=", "==", "!="):
        same = F(name).in_(_readings(value))
        return ~same if op == "!=" else same
    ordered = [reading for reading in _readings(value.strip()) if not isinstance(reading, bool)]
    # as numbers where it is one: "10" is not to be less than "9"
    best = next((reading for reading in ordered if not isinstance(reading, str)), ordered[0])
    return Filter.of({"field": name, "op": op, "value": best})


def _readings(value: str) -> list[Scalar]:
    value = well_formed(value)
    readings: list[Scalar] = [value]
    if value.lower() in ("true", "false"):
        readings.append(value.lower() == "true")
    try:
        if -(2**63) <= (whole := int(value)) < 2**63:
            readings.append(whole)
    except ValueError:
        try:
            if math.isfinite(number := float(value)):
                readings.append(number)
        except ValueError:
            pass
    return readings


def as_uri(uri_or_path: str) -> str:
    """A uri as it is, a path as its uri."""
    path = Path(uri_or_path).expanduser()
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri_or_path) and not path.exists():
        return uri_or_path
    return Path(os.path.abspath(path)).as_uri()  # noqa: PTH100 (keeps links)
