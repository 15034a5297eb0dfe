"""Where a store keeps its contents."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class StoreLocation(NamedTuple):
    """Where a store keeps its contents.

    ``folder`` is a folder of the index: an embedded store writes its files there. ``name`` is for
    a server: it distinguishes the contents from those of other indexes, namespaces and store sets.
    """

    folder: Path
    name: str
