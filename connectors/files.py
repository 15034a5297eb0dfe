"""Files and folders of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from pydantic import Field, field_validator

from connectors.base import Connector, Source
from rag.errors import SourceNotFound, SourceUnreadable

INDEX_MARK = ".citewell-index"
"""Name of a file in the folder of an index: such a folder is no source."""


class Files(Connector):
    """One file, or every file of a folder and the folders below it.

    ``include`` and ``exclude`` are globs over the path below the folder, with ``/`` between its
    parts; ``*`` crosses them. Hidden files and folders, and those in ``skip``, are left out
    unless named. Symbolic links are followed only to files inside the folder: the others are
    listed and fail with the reason. A file over ``max_bytes`` fails, unread.
    """

    name: ClassVar[str] = "files"

    path: Path
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    skip: tuple[str, ...] = (
        "node_modules",
        "__pycache__",
        "venv",
    )
    hidden: bool = False
    max_bytes: int = Field(512 * 2**20, gt=0)

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 (keeps links)

    @property
    def scope(self) -> str:
        """Uri of the file or folder."""
        return self.path.as_uri()

    def sources(self) -> Iterator[Source]:
        """List the files, folder by folder, in order of their names, files before folders."""
        try:
            root = self.path.stat()
        except FileNotFoundError:
            raise SourceNotFound(f"no such file or folder: {self.path}") from None
        except OSError as error:
            raise SourceNotFound(f"cannot read {self.path}: {error.strerror}") from None
        if stat.S_ISDIR(root.st_mode):
            for found in self._walk(str(self.path)):
                if isinstance(found, Source):
                    yield found
                elif not found.is_symlink():
                    yield self._source(found.path, found)
                elif not found.is_dir():
                    yield self._linked(Path(found.path))
        else:
            yield self._source(str(self.path))

    def owns(self, uri: str) -> bool:
        """Whether `uri` is in the folder and selected, or below what is now a file."""
        if uri == self.scope:
            return True
        if not uri.startswith(self.scope + "/"):
            return False
        below = os.fsdecode(unquote_to_bytes(uri[len(self.scope) + 1 :]))
        return not self.path.is_dir() or self._selected(below)

    def count(self) -> int | None:
        """Files of the folder, counted without a look at any."""
        if not self.path.is_dir():
            return 1
        return sum(1 for _ in self._walk(str(self.path)))

    def _walk(self, root: str) -> Iterator[os.DirEntry[str] | Source]:
        """Selected files in order, and what cannot be listed. Strings, as `Path` is slow."""
        ahead = [root]
        start = len(root.rstrip(os.sep)) + 1
        while ahead:
            folder = ahead.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                reason = f"the folder cannot be listed: {error.strerror}"
                yield _unreadable(Path(folder), reason)
                continue
            if any(entry.name == INDEX_MARK for entry in entries):
                continue
            below = []
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if self._entered(entry.name):
                        below.append(entry.path)
                elif self._selected(entry.path[start:].replace(os.sep, "/")):
                    yield entry
            ahead += reversed(below)

    def _entered(self, folder_name: str) -> bool:
        return folder_name not in self.skip and (self.hidden or not folder_name.startswith("."))

    def _selected(self, below: str) -> bool:
        *folders, name = below.split("/")
        return (
            all(self._entered(folder) for folder in folders)
            and (self.hidden or not name.startswith("."))
            and any(fnmatchcase(below, glob) for glob in self.include)
            and not any(fnmatchcase(below, glob) for glob in self.exclude)
        )

    def _linked(self, path: Path) -> Source:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return _unreadable(path, "a symbolic link that leads nowhere")
        if not target.is_relative_to(self.path.resolve()):
            return _unreadable(path, "a symbolic link out of the folder, which is not followed")
        return self._source(str(path))

    def _source(self, path: str, entry: os.DirEntry[str] | None = None) -> Source:
        try:
            found = entry.stat() if entry is not None else os.stat(path)  # noqa: PTH116 (strings)
        except OSError as error:
            return _unreadable(Path(path), str(error.strerror))
        if not stat.S_ISREG(found.st_mode):
            return _unreadable(Path(path), "not a regular file")
        if found.st_size > self.max_bytes:
            reason = f"{found.st_size:,} bytes, over the limit of {self.max_bytes:,} (max_bytes)"
            return _unreadable(Path(path), reason)
        # The change time too: an edit that keeps size and mtime still moves it.
        version = f"{found.st_mtime_ns:x}-{found.st_ctime_ns:x}-{found.st_size:x}"

        def read() -> bytes:
            try:
                with open(path, "rb") as file:  # noqa: PTH123 (strings)
                    data = file.read(self.max_bytes + 1)
            except OSError as error:
                raise SourceUnreadable(f"cannot be read: {error.strerror}") from None
            if len(data) > self.max_bytes:
                raise SourceUnreadable(f"grew over the limit of {self.max_bytes:,} bytes")
            return data

        return Source(uri=_uri(path), version=version, read=read)


def _uri(path: str) -> str:
    """What ``Path(path).as_uri()`` is, in a fifth of the time."""
    if os.sep != "/":
        return Path(path).as_uri()
    return "file://" + quote_from_bytes(os.fsencode(path))


def _unreadable(path: Path, reason: str) -> Source:
    def read() -> bytes:
        raise SourceUnreadable(reason)

    return Source(uri=path.as_uri(), version="", read=read)


def path_of(uri: str) -> Path | None:
    """Path of a ``file:`` uri; None for any other."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc:
        return None
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))
