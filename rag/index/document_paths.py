"""Which documents are at and below a path."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

from connectors.base import PART


def select_below(uris: Iterable[str], uri: str) -> list[str]:
    """Return those of `uris` that are at `uri`, below it, or parts of it, in their order.

    If there are none, other Unicode spellings of the path count: file systems keep a name as it was
    typed, composed or not.
    """
    uris = list(uris)
    selected = [stored for stored in uris if _is_below(stored, uri)]
    if selected or unquote(uri).isascii():
        return selected
    composed = _compose(uri)
    return [stored for stored in uris if _is_below(_compose(stored), composed)]


def _is_below(stored: str, uri: str) -> bool:
    bare = uri.rstrip("/")
    return stored == uri or stored.startswith((f"{bare}/", f"{bare}{PART}"))


def _compose(uri: str) -> str:
    """Return a uri in the composed spelling of Unicode (NFC), without escapes."""
    return unicodedata.normalize("NFC", unquote(uri))
