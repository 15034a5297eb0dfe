"""Connectors, which list the sources of documents, and parsers, which make documents of bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from connectors.base import (
    PART,
    Connector,
    Container,
    FailedPart,
    Parser,
    Part,
    Source,
    attach_uri,
)
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

_SCHEME_PATTERN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def connect(source: str | Path, **options: Any) -> Connector:
    """Return the connector for a source as a user types it: a path, or a uri with a scheme.

    `options` are settings for the connectors that have them (``allow_private``,
    ``imap_password``). Raises `SourceNotFound` if the source does not exist or no connector
    knows its scheme, and `MissingExtra` if an optional dependency is not installed.
    """
    text = str(source)
    if not text.strip():
        raise SourceNotFound("a source is empty: give a file, a folder or a uri")
    scheme_match = _SCHEME_PATTERN.match(text) if isinstance(source, str) else None
    if scheme_match is None:
        return Files.from_path(Path(source))
    with attach_uri(_remove_credentials(text)):
        return _connect_uri(text, scheme_match.group(1).lower(), options)


def _connect_uri(text: str, name: str, options: dict[str, Any]) -> Connector:
    """Return the connector for the uri `text`, whose scheme is `name`."""
    if name == "file":
        return Files.from_uri(text)
    connector_classes = connectors()
    for scheme_name in (name, name.partition("+")[0]):  # a uri of a database may include the driver
        for connector_class in connector_classes:
            if scheme_name in connector_class.schemes:
                try:
                    connector = connector_class.from_uri(text, **options)
                    connector.require()
                    return connector
                except ValueError as error:  # such as a ValidationError of pydantic
                    raise SourceNotFound(
                        f"{_remove_credentials(text)}: {_describe_error(error)}"
                    ) from None
    raise SourceNotFound(f"no connector reads {name}:// sources (`rag formats` lists them): {text}")


def connectors() -> list[type[Connector]]:
    """Return the classes of all installed connectors, those of other packages included.

    A connector of another package that cannot be imported is skipped.
    """
    connector_classes = []
    for name in registered_names("connector"):
        try:
            connector_classes.append(cast(type[Connector], component_class("connector", name)))
        except (ConfigError, ImportError):  # a broken connector of another package
            continue
    return connector_classes


def _remove_credentials(uri: str) -> str:
    return re.sub(r"//.*@", "//", uri)


def _describe_error(error: ValueError) -> str:
    from pydantic import ValidationError

    from rag.component import summarize_validation_error

    return summarize_validation_error(error) if isinstance(error, ValidationError) else str(error)
