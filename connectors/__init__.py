"""Where documents come from, and parsers from bytes to `rag.Document`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from connectors.base import PART, Connector, Parser, Source
from connectors.files import INDEX_MARK, Files, path_of
from rag.errors import SourceNotFound

__all__ = ["PART", "Connector", "Files", "Parser", "Source", "connect", "path_of"]


def connect(source: str | Path) -> Connector:
    """Make the connector for what a person types: a path, or a uri with a scheme.

    Raises `SourceNotFound` where it does not exist, or no connector knows the scheme.
    """
    text = str(source)
    if isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        path = path_of(text)
        if path is None:
            scheme = text.partition("://")[0]
            raise SourceNotFound(f"no connector reads {scheme}:// sources: {text}")
    else:
        path = Path(source)
    if not text.strip():
        raise SourceNotFound("a source is empty: name a file or folder")
    files = Files(path=path)
    if not os.path.exists(files.path):  # noqa: PTH110 (False for impossible names)
        raise SourceNotFound(f"no such file or folder: {files.path}")
    if os.path.exists(files.path / INDEX_MARK):  # noqa: PTH110 (False without permission)
        raise SourceNotFound(f"{files.path} is the folder of an index, not a source")
    return files
