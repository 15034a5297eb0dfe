"""Where a store keeps its contents."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class StoreLocation(NamedTuple):
    """Where a store keeps its contents.

    ``folder`` is where an embedded store writes its files. For a document store, it is the folder
    of the index or namespace. A vector store or lexical index has a folder of its own, which the
    index deletes as a whole when it fills a new store: these stores need no compaction.

    ``name`` is for a server: it distinguishes the contents from those of other indexes,
    namespaces and store sets.
    """

    folder: Path
    name: str
