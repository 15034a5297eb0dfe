"""What is made from the library: the vectors and the lexical index, as one numbered set.

A set is never mended in place where that would take long: a new one is filled beside it, the
library names it in the transaction that switches over, and the old one is removed. So searches
go on meanwhile, and an interrupted build leaves nothing but a folder to be thrown away.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path

from rag.errors import IndexDamaged
from rag.stores.chroma import Chroma, ChromaCollection
from rag.stores.tantivy import TantivyIndex

FOLDER = "derived"
_CHROMA, _TANTIVY = "chroma", "tantivy"


class StoreSet:
    """Set `number` of the stores of the index in the folder `index`; opened when first used.

    `name` tells the index apart from others on the same Chroma server. May be shared by threads.
    """

    def __init__(self, index: Path, number: int, setting: Chroma, name: str) -> None:
        self.number = number
        self.path = index / FOLDER / str(number)
        self._setting = setting
        self._collection = f"citewell-{name}-{number}" if setting.url else "chunks"
        self._opening = threading.RLock()
        self._vectors: ChromaCollection | None = None
        self._lexical: TantivyIndex | None = None
        self._closed = False

    @property
    def vectors(self) -> ChromaCollection:
        """The vector store."""
        with self._opening:
            self._require_open()
            if self._vectors is None:
                path = self.path / _CHROMA
                if not self._setting.url and not path.is_dir():
                    raise IndexDamaged(f"there is no folder {path}: {IndexDamaged.REBUILD}")
                self._vectors = ChromaCollection(self._setting, path, self._collection)
            return self._vectors

    @property
    def lexical(self) -> TantivyIndex:
        """The lexical index."""
        with self._opening:
            self._require_open()
            if self._lexical is None:
                self._lexical = TantivyIndex(self.path / _TANTIVY)
            return self._lexical

    def _require_open(self) -> None:
        if self._closed:
            raise IndexDamaged(f"{self.path} was closed while in use, or replaced by a newer one")

    def create(self) -> None:
        """Make the folders, for a set that is to be filled."""
        (self.path / _TANTIVY).mkdir(parents=True, exist_ok=True)
        if not self._setting.url:
            (self.path / _CHROMA).mkdir(exist_ok=True)

    def is_there(self) -> bool:
        """Whether the files of the stores that are open still exist."""
        with self._opening:
            wanted = []
            if self._lexical is not None:
                wanted.append(self.path / _TANTIVY / "meta.json")
            if self._vectors is not None and not self._setting.url:
                wanted.append(self.path / _CHROMA)
            return all(path.exists() for path in wanted)

    def refresh(self, generation: int) -> None:
        """Show what another process has written up to `generation`."""
        with self._opening:
            if self._lexical is not None:
                self._lexical.reload()
            if self._vectors is not None:
                self._vectors.refresh(generation)

    def counts(self) -> dict[str, int]:
        """Chunks in each store. Raises `IndexDamaged` where one cannot be opened."""
        return {"tantivy": self.lexical.count(), "Chroma": self.vectors.count()}

    def close(self) -> None:
        """Let go of the files, when the calls in them are done."""
        with self._opening:
            self._closed = True
            if self._lexical is not None:
                self._lexical.close()
            if self._vectors is not None:
                self._vectors.close()
            self._vectors, self._lexical = None, None

    def remove(self) -> None:
        """Close the set and delete it. What others still hold open goes when they let go."""
        with self._opening:
            self.close()
            if self._setting.url:
                with closing(ChromaCollection(self._setting, self.path, self._collection)) as gone:
                    gone.drop()
        shutil.rmtree(self.path, ignore_errors=True)


def numbers(index: Path) -> list[int]:
    """Numbers of the sets that have a folder."""
    folder = index / FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())
