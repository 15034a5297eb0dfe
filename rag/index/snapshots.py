"""Snapshots of an index: copies of the document store, and the restore of one.

A snapshot has no vector store and no lexical index: a restore fills a new store set from the
vectors and texts of the document store.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rag.errors import ConfigError, IndexDamaged, IndexNotFound, RagIndexError
from rag.index.index import Index
from rag.index.paths import (
    escape_name,
    locate_document_store,
    namespace_folder,
    validate_name,
)
from rag.index.write_lock import hold_write_lock
from rag.stores.document_store import (
    DocumentStore,
    DocumentStoreConfig,
    iterate_pending_documents,
)
from rag.stores.sqlite import DOCUMENT_STORE_FILE, Sqlite, SqliteDocumentStore
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
    if isinstance(index.document_store, SqliteDocumentStore):
        index.document_store.copy_to_file(path)
    else:
        with hold_write_lock(index.path):
            _copy_documents(index.document_store, path)
    return _describe_snapshot(path)


def _copy_documents(source: DocumentStore, path: Path) -> None:
    """Write the live documents of `source` to a new SQLite document store, all or nothing."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    state = source.state
    try:
        with closing(SqliteDocumentStore(partial, create=True)) as target:
            target.set_embedder(state.embedder)
            for batch in iterate_pending_documents(source, state.embedder_fingerprint):
                numbers, _ = target.add_pending(batch, state.embedder_fingerprint)
                target.make_live(numbers)
            target.record_failures(source.failures())
            target.copy_to_file(path)
    finally:
        for suffix in ("", "-wal", "-shm"):
            partial.with_name(f"{partial.name}{suffix}").unlink(missing_ok=True)


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
        _copy_snapshot(path, index.path) as copy,
        _open_snapshot_copy(path, copy) as document_store,
    ):
        writer.restore(document_store)


def restore_damaged(
    index: Path, name: str, namespace: str = "", config: DocumentStoreConfig | None = None
) -> Path:
    """Replace a document store that cannot be opened with a snapshot.

    The damaged file is kept; returns its new path. The next writer fills the stores.
    """
    location = locate_document_store(index, namespace)
    path = _require_snapshot(location.folder, name)
    with (
        hold_write_lock(location.folder),
        _copy_snapshot(path, location.folder) as copy,
        _open_snapshot_copy(path, copy),
    ):
        return (config or Sqlite()).replace_damaged(location, copy)


def _snapshot_path(folder: Path, name: str) -> Path:
    return folder / SNAPSHOTS_FOLDER / f"{escape_name(validate_name(name, 'snapshot'))}.sqlite"


def _require_snapshot(folder: Path, name: str) -> Path:
    path = _snapshot_path(folder, name)
    if not path.is_file():
        raise ConfigError(f"there is no snapshot {name!r}: `rag index list` shows all")
    return path


@contextmanager
def _copy_snapshot(path: Path, folder: Path) -> Iterator[Path]:
    """Copy a snapshot to a temporary file on the disk of the index in `folder`."""
    with tempfile.TemporaryDirectory(
        dir=folder / SNAPSHOTS_FOLDER, prefix="restoring-"
    ) as copy_folder:
        copy = Path(copy_folder) / DOCUMENT_STORE_FILE
        shutil.copyfile(path, copy)
        yield copy


@contextmanager
def _open_snapshot_copy(path: Path, copy: Path) -> Iterator[SqliteDocumentStore]:
    """Open the copy of the snapshot `path`, with live documents only.

    Raises `IndexDamaged` if the snapshot is damaged.
    """
    try:
        opened_copy = SqliteDocumentStore(copy)
    except RagIndexError as error:
        raise IndexDamaged(f"the snapshot {path} is damaged ({error})", path=path) from error
    with closing(opened_copy) as document_store:
        if integrity_errors := document_store.integrity_errors():
            raise IndexDamaged(f"the snapshot {path} is damaged ({integrity_errors[0]})", path=path)
        document_store.discard("pending")
        document_store.discard("staged")
        document_store.remove_deleted_with_chunks()
        yield document_store


def _describe_snapshot(path: Path) -> Snapshot:
    status = path.stat()
    documents, chunks, is_damaged = 0, 0, False
    try:
        with closing(SqliteDocumentStore(path, read_only=True, migrate=False)) as document_store:
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
