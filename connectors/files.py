"""Files and folders of this machine."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from pydantic import Field, field_validator

from connectors.base import Connector, Source
from rag.errors import SourceNotFound, SourceUnreadable

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

INDEX_MARK = ".citewell-index"
"""Name of a file in the folder of an index: such a folder is no source."""

_GLOB = re.compile(r"[*?\[]")
_TRIES = 3  # to read a file that changes meanwhile
_LONGEST_IGNORE = 1_000_000  # bytes of an ignore file


class Files(Connector):
    """One file, or every file of a folder and the folders below it.

    ``include`` and ``exclude`` are globs over the path below the folder, with ``/`` between its
    parts; ``*`` crosses them. Hidden files and folders, and those in ``skip``, are left out
    unless named, and so is what an ignore file (by default ``.gitignore`` and ``.ragignore``, as
    git reads them) in the folder or below excludes; what is newly ignored leaves the index.
    Symbolic links are followed only to files inside the folder: the others are listed and fail
    with the reason. A file over ``max_bytes`` fails, unread.
    """

    name: ClassVar[str] = "files"
    examples: ClassVar[tuple[str, ...]] = (
        "docs/",
        "report.pdf",
        "'docs/**/*.md'",
    )
    schemes: ClassVar[tuple[str, ...]] = ("file",)

    path: Path
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    skip: tuple[str, ...] = (
        "node_modules",
        "__pycache__",
        "venv",
    )
    ignore_files: tuple[str, ...] = (".gitignore", ".ragignore")
    hidden: bool = False
    max_bytes: int = Field(512 * 2**20, gt=0)

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 (keeps links)

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """``file:///path``."""
        path = path_of(uri)
        if path is None:
            raise SourceNotFound(f"not a file of this machine: {uri}")
        return cls.from_path(path)

    @classmethod
    def from_path(cls, path: Path) -> Self:
        """A file, a folder, or what a glob such as ``docs/**/*.md`` selects.

        Raises `SourceNotFound` where there is nothing, or only an index.
        """
        files = cls(path=path)
        if os.path.exists(files.path / INDEX_MARK):  # noqa: PTH110 (False without permission)
            raise SourceNotFound(f"{files.path} is the folder of an index, not a source")
        if os.path.exists(files.path):  # noqa: PTH110 (False for impossible names)
            return files
        parts = files.path.parts
        at = next((i for i, part in enumerate(parts) if _GLOB.search(part)), len(parts))
        folder = Path(*parts[:at])
        if at == len(parts) or not os.path.isdir(folder):  # noqa: PTH112
            raise SourceNotFound(f"no such file or folder: {files.path}")
        below = parts[at:]
        glob = "/".join(below)
        if "**" in below:  # any number of folders: here "*" crosses them
            files = cls(path=folder, include=(glob.replace("**/", "*"),))
        else:
            files = cls(path=folder, include=(glob,), exclude=("*/" * len(below) + "*",))
        if next(files.sources(), None) is None:
            raise SourceNotFound(f"no such file or folder: {path}, and nothing matches it")
        return files

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
                elif not os.path.isdir(found.path):  # noqa: PTH112 (False for links in a circle)
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
        ahead: list[tuple[str, tuple[_Ignored, ...]]] = [(root, ())]
        start = len(root.rstrip(os.sep)) + 1
        while ahead:
            folder, ignored = ahead.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                reason = f"the folder cannot be listed: {error.strerror}"
                yield _unreadable(Path(folder), reason)
                continue
            if any(entry.name == INDEX_MARK for entry in entries):
                continue
            found = [_Ignored.of(entry) for entry in entries if entry.name in self.ignore_files]
            ignored = (*found, *ignored)
            below = []
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if self._entered(entry.name) and not _is_ignored(entry.path + "/", ignored):
                        below.append((entry.path, ignored))
                elif self._selected(entry.path[start:].replace(os.sep, "/")) and not _is_ignored(
                    entry.path, ignored
                ):
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
        version = _state(found)

        def read() -> bytes:
            for _ in range(_TRIES):
                try:
                    with open(path, "rb") as file:  # noqa: PTH123 (strings)
                        before = os.fstat(file.fileno())
                        data = file.read(self.max_bytes + 1)
                        after = os.fstat(file.fileno())
                except OSError as error:
                    raise SourceUnreadable(f"cannot be read: {error.strerror}") from None
                if len(data) > self.max_bytes:
                    raise SourceUnreadable(f"grew over the limit of {self.max_bytes:,} bytes")
                if _state(before) == _state(after) and len(data) == after.st_size:
                    return data
            raise SourceUnreadable("it changes while it is read")

        return Source(uri=_uri(path), version=version, read=read)


def _state(found: os.stat_result) -> str:
    """What changes whenever a file does; the change time too, which an edit cannot set back."""
    return f"{found.st_mtime_ns:x}-{found.st_ctime_ns:x}-{found.st_size:x}"


class _Ignored(NamedTuple):
    """What an ignore file excludes, below its folder."""

    folder: str
    spec: GitIgnoreSpec

    @classmethod
    def of(cls, entry: os.DirEntry[str]) -> _Ignored:
        """Read an ignore file; a line that makes no sense is left out, as git does."""
        from pathspec import GitIgnoreSpec

        try:
            with open(entry.path, "rb") as file:  # noqa: PTH123 (strings)
                lines = file.read(_LONGEST_IGNORE).decode(errors="surrogateescape").splitlines()
        except OSError:
            lines = []
        sound = []
        for line in lines:
            try:
                GitIgnoreSpec.from_lines([line])
            except ValueError:
                continue
            sound.append(line)
        return cls(os.path.dirname(entry.path), GitIgnoreSpec.from_lines(sound))  # noqa: PTH120


def _is_ignored(path: str, ignored: tuple[_Ignored, ...]) -> bool:
    """The last word is that of the nearest ignore file that says anything."""
    for folder, spec in ignored:
        said = spec.check_file(path[len(folder.rstrip(os.sep)) + 1 :]).include
        if said is not None:
            return said
    return False


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
