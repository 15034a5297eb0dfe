"""Files and folders of an index and its namespaces: names, creation, size and clean-up."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from connectors.files import INDEX_MARK
from rag.errors import ConfigError, IndexDamaged, IndexNotFound, RagIndexError
from rag.stores.document_store import DocumentStoreConfig
from rag.stores.location import StoreLocation
from rag.stores.sqlite import DOCUMENT_STORE_FILE, Sqlite
from rag.stores.sqlite.connection import has_store_sets_or_snapshots
from rag.stores.sqlite.schema import SNAPSHOTS_FOLDER, STORE_SETS_FOLDER

NAMESPACES_FOLDER = "namespaces"
CONVERSATIONS_FILE = "conversations.sqlite"
ANSWER_CACHE_FILE = "answer_cache.sqlite"
ANSWER_HISTORY_FILE = "answer_history.sqlite"
UPLOADS_FOLDER = "uploads"
KEYS_FILE = "keys.sqlite"
_DATABASE_FILES = (
    DOCUMENT_STORE_FILE,
    CONVERSATIONS_FILE,
    ANSWER_CACHE_FILE,
    ANSWER_HISTORY_FILE,
    KEYS_FILE,
)
_INDEX_ENTRIES = {
    INDEX_MARK,
    ".gitignore",
    *_DATABASE_FILES,
    *(f"{file}-{suffix}" for file in _DATABASE_FILES for suffix in ("wal", "shm", "journal")),
    UPLOADS_FOLDER,
    STORE_SETS_FOLDER,
    NAMESPACES_FOLDER,
    SNAPSHOTS_FOLDER,
    "write.lock",
    "writer.json",
}
MAX_NAME_BYTES = 64  # an escaped name has up to 3 times as many: valid on all file systems


def validate_name(name: str, kind: str) -> str:
    """Return the name of a namespace, snapshot or key. Raises `ConfigError` if it is invalid."""
    if (
        not name.strip()
        or not name.isprintable()
        or len(name.encode(errors="replace")) > MAX_NAME_BYTES
    ):
        raise ConfigError(
            f"{name[:80]!r} is not a valid {kind} name: use 1 to {MAX_NAME_BYTES} bytes of "
            "printable characters"
        )
    return name


def escape_name(name: str) -> str:
    """Return a file name for `name`; different names differ on every file system.

    Lower-case ASCII letters, digits and ``-`` stay; any other byte becomes ``%xx``.
    """
    return "".join(
        chr(byte) if re.match(rb"[a-z0-9-]", bytes([byte])) else f"%{byte:02x}"
        for byte in name.encode()
    )


def namespace_folder(index: Path, namespace: str) -> Path:
    """Return the folder of a namespace of the index in the folder `index`; `index` for ""."""
    if not namespace:
        return index
    return index / NAMESPACES_FOLDER / escape_name(validate_name(namespace, "namespace"))


def locate_document_store(index: Path, namespace: str = "") -> StoreLocation:
    """Return where the document store of a namespace is."""
    return StoreLocation(namespace_folder(index, namespace), namespace)


def require_document_store(
    index: Path, namespace: str = "", config: DocumentStoreConfig | None = None
) -> Path:
    """Return the folder of a namespace that has a document store.

    Raises `IndexNotFound` if there is no index, `IndexDamaged` if only this store is missing.
    """
    document_config = config or Sqlite()
    location = locate_document_store(index, namespace)
    if not _is_possible_path(location.folder) or not document_config.exists(location):
        if has_store_sets_or_snapshots(location.folder):
            file = location.folder / DOCUMENT_STORE_FILE
            raise IndexDamaged.document_store(file, "it is missing")
        raise IndexNotFound.at_path(index, namespace)
    return location.folder


def _is_possible_path(path: Path) -> bool:
    return os.path.lexists(path)  # False for a name that the file system cannot have


def check_document_store_kind(index: Path, config: DocumentStoreConfig) -> None:
    """Raise `ConfigError` if the documents of the index are in another kind of store.

    The mark of an index names the kind; an empty mark (of version 0.1) means SQLite.
    """
    mark = index / INDEX_MARK
    if not _is_possible_path(mark):
        return
    built_with = mark.read_text(encoding="utf-8").strip() or Sqlite.name
    has_documents = built_with != Sqlite.name or (index / DOCUMENT_STORE_FILE).is_file()
    if has_documents and config.name != built_with:
        raise ConfigError(
            f"the index at {index} has its documents in the document store {built_with!r}, and "
            f"this pipeline has {config.name!r}: set document_store to {built_with!r}, or ingest "
            "into a new index"
        )


def list_namespaces(index: Path, config: DocumentStoreConfig | None = None) -> list[str]:
    """Return the names of the namespaces of an index that have a document store, sorted."""
    folder = index / NAMESPACES_FOLDER
    if not folder.is_dir():
        return []
    names = (unquote(entry.name) for entry in folder.iterdir() if "." not in entry.name)
    document_config = config or Sqlite()
    return sorted(
        name for name in names if document_config.exists(locate_document_store(index, name))
    )


def remove_leftovers(folder: Path) -> None:
    """Delete what an interrupted restore, snapshot or drop left. Only under the write lock."""
    for pattern in (
        f"{SNAPSHOTS_FOLDER}/restoring-*",
        f"{SNAPSHOTS_FOLDER}/*.partial",
        f"{NAMESPACES_FOLDER}/*.dropped",
    ):
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def make_folder(path: Path, namespace: str = "", config: DocumentStoreConfig | None = None) -> None:
    """Create the folder of an index and of the namespace.

    Raises `RagIndexError` if the folder contains other files or cannot be written.
    """
    folder = namespace_folder(path, namespace)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not (path / INDEX_MARK).exists():
            if other_entries := {entry.name for entry in path.iterdir()} - _INDEX_ENTRIES:
                raise RagIndexError(
                    f"{path} is not an index and contains other files ({min(other_entries)} ...): "
                    "choose a new folder for the index",
                    path=path,
                )
            document_config = config or Sqlite()
            kind = document_config.name if document_config.is_persistent else ""
            (path / INDEX_MARK).write_text(kind, encoding="utf-8")
            (path / ".gitignore").write_text("*\n", encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileExistsError:
        raise RagIndexError(f"{path} is a file: choose a folder for the index", path=path) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RagIndexError(
            f"cannot write the index in {str(path)[:200]!r}: {reason}", path=path
        ) from None


def measure_size(path: Path) -> int:
    """Return the size of all files of an index in bytes."""
    return sum(_file_sizes(path))


def _file_sizes(path: Path) -> Iterator[int]:
    for entry in path.rglob("*"):
        try:
            if entry.is_file():
                yield entry.stat().st_size
        except FileNotFoundError:  # a writer deleted it meanwhile
            continue
