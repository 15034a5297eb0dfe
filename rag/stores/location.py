"""Where a store keeps its contents."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

from rag.component import Component


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


class DerivedStoreConfig(Component):
    """Base class of the configurations of stores that the index fills from the document store.

    ``is_persistent`` says whether the contents outlive the process. The index fills a store that
    is not persistent whenever it is opened.
    """

    is_persistent: ClassVar[bool] = True

    def create(self, location: StoreLocation) -> None:
        """Create the storage of a new, empty store. Existing storage stays as it is.

        Only under the lock of the index. Write an empty file here if you keep files, so that `open`
        can tell an empty store from a lost one.
        """
        location.folder.mkdir(parents=True, exist_ok=True)

    def remove(self, location: StoreLocation) -> None:
        """Delete the storage outside the folder. The index deletes the folder itself."""
