"""Where an index keeps what: its folder, and those of its namespaces."""

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
from rag.stores.sqlite.connection import has_stores

LIBRARY = "library.sqlite"
NAMESPACES = "namespaces"
CONVERSATIONS = "conversations.sqlite"
UPLOADS = "uploads"
KEYS = "keys.sqlite"
_OWN_FILES = {
    INDEX_MARK, ".gitignore", LIBRARY, CONVERSATIONS, KEYS, UPLOADS, "derived", NAMESPACES,
    "snapshots", "write.lock", "writer.json",
}  # fmt: skip
_OWN_FILES |= {
    f"{file}-{part}"
    for file in (LIBRARY, CONVERSATIONS, KEYS)
    for part in ("wal", "shm", "journal")
}
_LONGEST = 64  # bytes of a namespace's name: escaped, it still is a file name everywhere


def checked_name(name: str, what: str) -> str:
    """The name of a namespace or snapshot, or `ConfigError` where it cannot be one."""
    if not name.strip() or not name.isprintable() or len(name.encode(errors="replace")) > _LONGEST:
        raise ConfigError(
            f"{name[:80]!r} is no name for a {what}: 1 to {_LONGEST} bytes of printable characters"
        )
    return name


def escaped(name: str) -> str:
    """A file name for `name`, different for different names on every file system.

    Lower-case ASCII letters, digits and ``-`` stay; any other byte is written ``%XX``.
    """
    return "".join(
        chr(byte) if re.match(rb"[a-z0-9-]", bytes([byte])) else f"%{byte:02x}"
        for byte in name.encode()
    )


def namespace_folder(index: Path, namespace: str) -> Path:
    """Folder of a namespace of the index in the folder `index`; the folder itself for ""."""
    if not namespace:
        return index
    return index / NAMESPACES / escaped(checked_name(namespace, "namespace"))


def require_library(index: Path, namespace: str = "") -> Path:
    """File of the library. Raises `IndexNotFound`, or `IndexDamaged` where only it is gone."""
    folder = namespace_folder(index, namespace)
    if not os.path.isfile(folder / LIBRARY):  # noqa: PTH113 (False for impossible names)
        if has_stores(folder):
            raise IndexDamaged.library(folder / LIBRARY, "it is gone")
        raise IndexNotFound.at(index, namespace)
    return folder / LIBRARY


def namespaces(index: Path) -> list[str]:
    """Names of the namespaces of an index that hold a library, sorted."""
    folder = index / NAMESPACES
    if not folder.is_dir():
        return []
    return sorted(
        unquote(entry.name)
        for entry in folder.iterdir()
        if "." not in entry.name and (entry / LIBRARY).is_file()
    )


def remove_leftovers(folder: Path) -> None:
    """Throw away what an interrupted restore, snapshot or drop left behind. Only for the writer."""
    for pattern in ("snapshots/restoring-*", "snapshots/*.partial", f"{NAMESPACES}/*.dropped"):
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def make_folder(path: Path, namespace: str = "") -> None:
    """Make the folder of an index; refuses one that holds other things. Raises `RagIndexError`."""
    own = namespace_folder(path, namespace)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not (path / INDEX_MARK).exists():
            if strangers := {entry.name for entry in path.iterdir()} - _OWN_FILES:
                raise RagIndexError(
                    f"{path} holds no index but other things ({min(strangers)} ...): name a new "
                    "folder for the index"
                )
            (path / INDEX_MARK).touch()
            (path / ".gitignore").write_text("*\n", encoding="utf-8")
        own.mkdir(parents=True, exist_ok=True)
        if not os.access(own, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileExistsError:
        raise RagIndexError(f"{path} is a file: name a folder for the index") from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise RagIndexError(f"cannot write the index in {str(path)[:200]!r}: {said}") from None


def size(path: Path) -> int:
    """Bytes of all files of an index."""
    return sum(_sizes(path))


def _sizes(path: Path) -> Iterator[int]:
    for entry in path.rglob("*"):
        try:
            if entry.is_file():
                yield entry.stat().st_size
        except FileNotFoundError:  # a writer is at work
            continue
