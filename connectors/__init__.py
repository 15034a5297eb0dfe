"""Where documents come from, and parsers from bytes to `rag.Document`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from connectors.base import PART, Connector, Container, FailedPart, Parser, Part, Source
from connectors.files import INDEX_MARK, Files, path_of
from rag.component import component_class, registered_names
from rag.errors import ConfigError, SourceNotFound

__all__ = [
    "INDEX_MARK",
    "PART",
    "Connector",
    "Container",
    "FailedPart",
    "Files",
    "Parser",
    "Part",
    "Source",
    "connect",
    "connectors",
    "path_of",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def connect(source: str | Path, **options: Any) -> Connector:
    """Make the connector for what a person types: a path, or a uri with a scheme.

    `options` are settings for those connectors that have them (``allow_private``,
    ``imap_password``). Raises `SourceNotFound` where it does not exist, or no connector knows the
    scheme; `MissingExtra` where what it takes is not installed.
    """
    text = str(source)
    if not text.strip():
        raise SourceNotFound("a source is empty: name a file or folder")
    scheme = _SCHEME.match(text) if isinstance(source, str) else None
    if scheme is None:
        return Files.from_path(Path(source))
    name = scheme.group(1).lower()
    if name == "file":
        return Files.from_uri(text)
    found = connectors()
    for wanted in (name, name.partition("+")[0]):  # a database may name its driver
        for kind in found:
            if wanted in kind.schemes:
                try:
                    made = kind.from_uri(text, **options)
                    made.require()
                    return made
                except ValueError as error:  # pydantic's
                    raise SourceNotFound(f"{_without_secret(text)}: {_said(error)}") from None
    raise SourceNotFound(f"no connector reads {name}:// sources (`rag sources` lists them): {text}")


def connectors() -> list[type[Connector]]:
    """The connectors that are installed, our own and others."""
    found = []
    for name in registered_names("connector"):
        try:
            found.append(cast(type[Connector], component_class("connector", name)))
        except (ConfigError, ImportError):  # somebody else's, and broken
            continue
    return found


def _without_secret(uri: str) -> str:
    return re.sub(r"//.*@", "//", uri)


def _said(error: ValueError) -> str:
    from pydantic import ValidationError

    from rag.component import summarize_validation_error

    return summarize_validation_error(error) if isinstance(error, ValidationError) else str(error)
