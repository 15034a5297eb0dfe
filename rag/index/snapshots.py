"""Snapshots of an index: copies of the document store, and the restore of one.

A snapshot has no vector store and no lexical index: a restore fills a new store set from the
vectors and texts of the document store.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rag.errors import ConfigError, IndexDamaged, IndexNotFound, RagIndexError
from rag.index.index import Index
from rag.index.paths import DOCUMENT_STORE_FILE, escape_name, namespace_folder, validate_name
from rag.index.write_lock import hold_write_lock
from rag.stores.sqlite import SqliteDocumentStore
from rag.stores.sqlite.schema import SNAPSHOTS_FOLDER


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the document store.

    ``taken_at`` is in seconds since 1970, ``bytes`` is the size of its file. For a ``damaged``
    snapshot, the numbers of documents and chunks are unknown: 0.
    """

    name: str
    taken_at: float
    documents: int
    chunks: int
    bytes: int
    damaged: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the values for JSON output, with ``taken`` for ``taken_at``."""
        return {"taken" if key == "taken_at" else key: value for key, value in asdict(self).items()}


def snapshot(index: Index, name: str) -> Snapshot:
    """Take a snapshot of the current document store.

    Others may read and write meanwhile. Raises `ConfigError` if a snapshot of that name exists.
    """
    path = _snapshot_path(index.path, name)
    if path.exists():
        raise ConfigError(f"a snapshot {name!r} already exists")
    path.parent.mkdir(exist_ok=True)
    index.document_store.snapshot(path)
    return _describe_snapshot(path)


def snapshots(index: Path, namespace: str = "") -> list[Snapshot]:
    """Return the snapshots of the index in the folder `index`, oldest first.

    Raises `IndexNotFound`.
    """
    if not namespace_folder(index, namespace).is_dir():
        raise IndexNotFound.at_path(index, namespace)
    folder = namespace_folder(index, namespace) / SNAPSHOTS_FOLDER
    paths = folder.glob("*.sqlite") if folder.is_dir() else ()
    return sorted(
        (_describe_snapshot(path) for path in paths),
        key=lambda snapshot: (snapshot.taken_at, snapshot.name),
    )


def restore(index: Index, name: str) -> None:
    """Restore a snapshot: all documents change at once. Searches continue meanwhile.

    Embeds nothing. A new store set is filled from the snapshot while the old one is in use.
    """
    path = _require_snapshot(index.path, name)
    with (
        index.open_writer(allow_other_embedder=True) as writer,
        _open_snapshot_copy(path, index.path) as document_store,
    ):
        writer.rebuild(document_store)


def restore_damaged(index: Path, name: str, namespace: str = "") -> Path:
    """Replace a document store that cannot be read with a snapshot.

    The damaged file is kept; returns its new path. The next writer fills the stores.
    """
    folder = namespace_folder(index, namespace)
    path = _require_snapshot(folder, name)
    current = folder / DOCUMENT_STORE_FILE
    restored = folder / f"{DOCUMENT_STORE_FILE}.restored"
    damaged = folder / f"{DOCUMENT_STORE_FILE}.damaged-{time.time_ns():x}"
    with hold_write_lock(folder), _open_snapshot_copy(path, folder) as document_store:
        new_store_set = int(time.time())  # a number without a folder: the next writer fills it
        document_store.advance_state(document_store.state, new_store_set, {})
        document_store.snapshot(restored)
        if current.exists():
            shutil.copyfile(current, damaged)
        for suffix in ("-wal", "-shm"):
            if (log := folder / f"{DOCUMENT_STORE_FILE}{suffix}").exists():
                log.replace(damaged.with_name(f"{damaged.name}{suffix}"))
        restored.replace(current)
    return damaged


def _snapshot_path(folder: Path, name: str) -> Path:
    return folder / SNAPSHOTS_FOLDER / f"{escape_name(validate_name(name, 'snapshot'))}.sqlite"


def _require_snapshot(folder: Path, name: str) -> Path:
    path = _snapshot_path(folder, name)
    if not path.is_file():
        raise ConfigError(f"there is no snapshot {name!r}: `rag index list` shows all")
    return path


@contextmanager
def _open_snapshot_copy(path: Path, folder: Path) -> Iterator[SqliteDocumentStore]:
    """Open a copy of a snapshot, on the disk of the index in `folder`, with live documents only.

    Raises `IndexDamaged` if the snapshot is damaged.
    """
    with tempfile.TemporaryDirectory(
        dir=folder / SNAPSHOTS_FOLDER, prefix="restoring-"
    ) as copy_folder:
        copy = Path(copy_folder) / DOCUMENT_STORE_FILE
        shutil.copyfile(path, copy)
        try:
            opened_copy = SqliteDocumentStore(copy)
        except RagIndexError as error:
            raise IndexDamaged(f"the snapshot {path} is damaged") from error
        with closing(opened_copy) as document_store:
            if integrity_errors := document_store.integrity_errors():
                raise IndexDamaged(f"the snapshot {path} is damaged ({integrity_errors[0]})")
            document_store.discard_pending()
            document_store.discard_staged()
            document_store.remove_deleted_with_chunks()
            yield document_store


def _describe_snapshot(path: Path) -> Snapshot:
    status = path.stat()
    documents, chunks, is_damaged = 0, 0, False
    try:
        with closing(SqliteDocumentStore(path, read_only=True)) as document_store:
            stats = document_store.stats()
            documents, chunks = stats.documents, stats.chunks
    except RagIndexError:
        is_damaged = True
    return Snapshot(
        name=unquote(path.stem),
        taken_at=status.st_mtime,
        documents=documents,
        chunks=chunks,
        bytes=status.st_size,
        damaged=is_damaged,
    )
