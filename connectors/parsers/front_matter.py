"""Front matter: metadata in YAML, TOML or JSON at the start of a text."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from connectors.parsers.yaml_loader import make_yaml_loader
from rag.types import flatten_metadata

_YAML_BLOCK = re.compile(r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_TOML_BLOCK = re.compile(r"\A\+\+\+[ \t]*\r?\n(.*?)^\+\+\+[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_BLANK_LINE = re.compile(r"[ \t]*\r?\n[ \t]*(?:\r?\n|\Z)")
_PAIR = re.compile(r"(?P<name>[^\W\d][\w .-]{0,60}?)[ \t]*(?::(?=\s|$)|=)(?P<value>.*)")
_CONTINUATION_MARKUP = " \t-\"'"
_MAX_CHARACTERS = 20_000  # PyYAML needs quadratic time for some input


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return the front matter of `text` as flat metadata, and the text below it.

    YAML stands between lines of ``---``, TOML between lines of ``+++``; a JSON object is followed
    by a blank line. Lines of an invalid block ("title: Plan: the second") are read as pairs
    of a name and a text. A block that is neither is text: then the metadata is empty.
    """
    for pattern, load in ((_YAML_BLOCK, _load_yaml), (_TOML_BLOCK, _load_toml)):
        match = pattern.match(text)
        if match and len(match.group(1)) <= _MAX_CHARACTERS and (mapping := load(match.group(1))):
            return flatten_metadata(mapping), text[match.end() :]
    mapping, end = _load_json(text) if text.startswith("{") else ({}, 0)
    return (flatten_metadata(mapping), text[end:]) if mapping else ({}, text)


def _load_yaml(text: str) -> Mapping[Any, Any]:
    import yaml

    try:
        value = yaml.load(text, make_yaml_loader())
    except MemoryError:
        raise
    except Exception:  # PyYAML raises many types
        return _read_pairs(text)
    return value if isinstance(value, dict) else {}


def _load_toml(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return _read_pairs(text)


def _read_pairs(text: str) -> Mapping[str, str]:
    """Read each line as a name and a text. A line that continues a value stays with it.

    Empty if a line is neither, or no line has a name and a text.
    """
    pairs: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        match = _PAIR.match(line)
        if match:
            name = match["name"].rstrip()
            pairs[name] = match["value"].strip().strip("\"'")
        elif name and line[:1] in (" ", "\t", "-"):
            pairs[name] = f"{pairs[name]} {line.strip(_CONTINUATION_MARKUP)}".strip()
        elif line.strip() and not line.startswith("#"):
            return {}
    return {name: value for name, value in pairs.items() if value}


def _load_json(text: str) -> tuple[Mapping[str, Any], int]:
    """Return the JSON object at the start of `text`, and the offset of the text below it."""
    try:
        value, end = json.JSONDecoder().raw_decode(text[:_MAX_CHARACTERS])
    except (ValueError, RecursionError):
        return {}, 0
    blank_line = _BLANK_LINE.match(text, end)
    return (value, blank_line.end()) if isinstance(value, dict) and blank_line else ({}, 0)
