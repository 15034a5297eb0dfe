"""Files and folders of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote_to_bytes, urlsplit

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
            found = self.path.stat()
        except FileNotFoundError:
            raise SourceNotFound(f"no such file or folder: {self.path}") from None
        except OSError as error:
            raise SourceNotFound(f"cannot read {self.path}: {error.strerror}") from None
        if stat.S_ISDIR(found.st_mode):
            yield from self._walk(self.path)
        else:
            yield self._source(self.path)

    def owns(self, uri: str) -> bool:
        """Whether `uri` is in the folder and selected, or below what is now a file."""
        if uri == self.scope:
            return True
        if not uri.startswith(self.scope + "/"):
            return False
        below = os.fsdecode(unquote_to_bytes(uri[len(self.scope) + 1 :]))
        return not self.path.is_dir() or self._selected(below)

    def _walk(self, root: Path) -> Iterator[Source]:
        ahead = [root]
        while ahead:
            folder = ahead.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                yield _unreadable(folder, f"the folder cannot be listed: {error.strerror}")
                continue
            if any(entry.name == INDEX_MARK for entry in entries):
                continue
            below = []
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if self._entered(entry.name):
                        below.append(path)
                elif self._selected(path.relative_to(self.path).as_posix()):
                    if not entry.is_symlink():
                        yield self._source(path)
                    elif not path.is_dir():
                        yield self._linked(path)
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
        return self._source(path)

    def _source(self, path: Path) -> Source:
        try:
            found = path.stat()
        except OSError as error:
            return _unreadable(path, str(error.strerror))
        if not stat.S_ISREG(found.st_mode):
            return _unreadable(path, "not a regular file")
        if found.st_size > self.max_bytes:
            return _unreadable(
                path, f"{found.st_size:,} bytes, over the limit of {self.max_bytes:,} (max_bytes)"
            )
        # The change time too: an edit that keeps size and mtime still moves it.
        version = f"{found.st_mtime_ns:x}-{found.st_ctime_ns:x}-{found.st_size:x}"

        def read() -> bytes:
            try:
                with path.open("rb") as file:
                    data = file.read(self.max_bytes + 1)
            except OSError as error:
                raise SourceUnreadable(f"cannot be read: {error.strerror}") from None
            if len(data) > self.max_bytes:
                raise SourceUnreadable(f"grew over the limit of {self.max_bytes:,} bytes")
            return data

        return Source(uri=path.as_uri(), version=version, read=read)


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
