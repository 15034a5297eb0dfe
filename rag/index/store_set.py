"""The store set: vector store and lexical index in one numbered folder, built from documents.

A long repair is never made in place. A new store set is filled in another folder, one transaction
of the document store switches to its number, and the old set is removed. Searches continue
meanwhile, and an interrupted build leaves only an unused folder.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path

from rag.errors import IndexDamaged
from rag.stores.chroma import Chroma, ChromaCollection
from rag.stores.sqlite.schema import STORE_SETS_FOLDER
from rag.stores.tantivy import TantivyIndex

_CHROMA_FOLDER, _TANTIVY_FOLDER = "chroma", "tantivy"


class StoreSet:
    """Store set `number` of the index in the folder `index`; each store is opened at first use.

    `index_id` distinguishes the index from others on the same Chroma server. Threads may share a
    store set.
    """

    def __init__(self, index: Path, number: int, vector_config: Chroma, index_id: str) -> None:
        self.number = number
        self.path = index / STORE_SETS_FOLDER / str(number)
        self._vector_config = vector_config
        self._collection = f"citewell-{index_id}-{number}" if vector_config.url else "chunks"
        self._lock = threading.RLock()
        self._vectors: ChromaCollection | None = None
        self._lexical: TantivyIndex | None = None
        self._closed = False

    @property
    def vectors(self) -> ChromaCollection:
        """Vector store. Raises `IndexDamaged` if it cannot be opened or the set is closed."""
        with self._lock:
            self._require_open()
            if self._vectors is None:
                path = self.path / _CHROMA_FOLDER
                if not self._vector_config.url and not path.is_dir():
                    raise IndexDamaged(f"there is no folder {path}: {IndexDamaged.REFILL_HINT}")
                self._vectors = ChromaCollection(self._vector_config, path, self._collection)
            return self._vectors

    @property
    def lexical(self) -> TantivyIndex:
        """Lexical index. Raises `IndexDamaged` if it cannot be opened or the set is closed."""
        with self._lock:
            self._require_open()
            if self._lexical is None:
                self._lexical = TantivyIndex(self.path / _TANTIVY_FOLDER)
            return self._lexical

    def _require_open(self) -> None:
        if self._closed:
            raise IndexDamaged(f"{self.path} was closed while in use, or replaced by a newer one")

    def create(self) -> None:
        """Create the folders of a new set."""
        (self.path / _TANTIVY_FOLDER).mkdir(parents=True, exist_ok=True)
        if not self._vector_config.url:
            (self.path / _CHROMA_FOLDER).mkdir(exist_ok=True)

    def has_files(self) -> bool:
        """Whether the files of the stores that are open still exist."""
        with self._lock:
            paths = []
            if self._lexical is not None:
                paths.append(self.path / _TANTIVY_FOLDER / "meta.json")
            if self._vectors is not None and not self._vector_config.url:
                paths.append(self.path / _CHROMA_FOLDER)
            return all(path.exists() for path in paths)

    def refresh(self, generation: int) -> None:
        """Make searches see what other processes wrote up to `generation`."""
        with self._lock:
            if self._lexical is not None:
                self._lexical.reload()
            if self._vectors is not None:
                self._vectors.refresh(generation)

    def counts(self) -> dict[str, int]:
        """Return the number of chunks by store. Raises `IndexDamaged` if one cannot be opened."""
        return {"tantivy": self.lexical.count(), "Chroma": self.vectors.count()}

    def close(self) -> None:
        """Close all files after the running calls end."""
        with self._lock:
            self._closed = True
            if self._lexical is not None:
                self._lexical.close()
            if self._vectors is not None:
                self._vectors.close()
            self._vectors, self._lexical = None, None

    def remove(self) -> None:
        """Close and delete the set. Files that others have open are freed when they close them."""
        with self._lock:
            self.close()
            if self._vector_config.url:
                with closing(
                    ChromaCollection(self._vector_config, self.path, self._collection)
                ) as collection:
                    collection.drop()
        shutil.rmtree(self.path, ignore_errors=True)


def list_store_set_numbers(index: Path) -> list[int]:
    """Return the numbers of the store sets that have a folder, sorted."""
    folder = index / STORE_SETS_FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())
