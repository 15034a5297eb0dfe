"""Local files and folders."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from pydantic import Field, field_validator

from connectors.base import Connector, SideFile, Source
from connectors.file_names import explain_skip
from connectors.side_files import (
    MAX_SIDE_FILE_BYTES,
    SUFFIX,
    make_missing_document_error,
    pair_side_files,
    read_side_file,
)
from rag.errors import ParseError, SourceError, SourceNotFound, SourceUnreadable

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

INDEX_MARK = ".citewell-index"
"""Name of the marker file in an index folder. Such a folder is never ingested."""

_GLOB_CHARACTERS = re.compile(r"[*?\[]")
_MAX_READ_ATTEMPTS = 3  # to read a file that changes while it is read
_MAX_IGNORE_FILE_BYTES = 1_000_000  # the rest of a longer ignore file is not read


class Files(Connector):
    """Reads one file, or all files of a folder and its subfolders.

    ``include`` and ``exclude`` are globs over the path relative to the folder, with ``/`` as the
    separator; ``*`` also matches ``/``. Skipped are hidden files and folders, folders named in
    ``skip``, and files that an ignore file in the folder or a subfolder excludes (by default
    ``.gitignore`` and ``.ragignore``, read as git does); the folder or file given as ``path`` is
    never skipped. A file that becomes ignored is deleted from the index. Symbolic links are
    followed only to files inside the folder; other links are listed and fail with the reason. A
    file larger than ``max_bytes`` fails without being read.

    Lock files, incomplete downloads and other leftovers of programs are skipped by their names, and
    backup and conflicted copies unless ``copies``: an ingest reports them with the reason. One that
    is given as ``path`` is read.

    A side file ``name.ext.meta.yaml`` sets the title and the metadata of ``name.ext``. It is no
    document itself. A side file without its document fails.
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
        "__MACOSX",
        "$RECYCLE.BIN",
        "System Volume Information",
        "@eaDir",
        "#recycle",
        "lost+found",
    )
    ignore_files: tuple[str, ...] = (".gitignore", ".ragignore")
    hidden: bool = False
    copies: bool = False
    max_bytes: int = Field(512 * 2**20, gt=0)

    @field_validator("path")
    @classmethod
    def _make_absolute(cls, path: Path) -> Path:
        return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 (keeps links)

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Return the connector for ``file:///path``."""
        path = path_of(uri)
        if path is None:
            raise SourceNotFound(f"not a path on this machine: {uri}", uri=uri)
        return cls.from_path(path)

    @classmethod
    def from_path(cls, path: Path) -> Self:
        """Return the connector for a file, a folder, or a glob such as ``docs/**/*.md``.

        Raises `SourceNotFound` if nothing exists there, or if the folder is an index.
        """
        files = cls(path=find_spelling(path))
        if os.path.exists(files.path / INDEX_MARK):  # noqa: PTH110 (False without permission)
            raise SourceNotFound(
                f"{files.path} is the folder of an index, not a source", uri=files.scope
            )
        if os.path.exists(files.path):  # noqa: PTH110 (False for impossible names)
            return files
        parts = files.path.parts
        glob_start = next(
            (i for i, part in enumerate(parts) if _GLOB_CHARACTERS.search(part)), len(parts)
        )
        folder = Path(*parts[:glob_start])
        if glob_start == len(parts) or not os.path.isdir(folder):  # noqa: PTH112
            raise SourceNotFound(f"no such file or folder: {files.path}", uri=files.scope)
        glob_parts = parts[glob_start:]
        glob = "/".join(glob_parts)
        copies = bool(explain_skip(re.sub(r"[*?]+", "x", glob_parts[-1])))  # such as *.bak
        if "**" in glob_parts:  # "**" is any number of folders; in `include`, "*" matches "/" too
            files = cls(path=folder, include=(glob.replace("**/", "*"),), copies=copies)
        else:
            exclude = ("*/" * len(glob_parts) + "*",)
            files = cls(path=folder, include=(glob,), exclude=exclude, copies=copies)
        if next(files.sources(), None) is None:
            raise SourceNotFound(
                f"no such file or folder: {path} (no file matches the pattern)", uri=files.scope
            )
        return files

    @property
    def scope(self) -> str:
        """Uri of the file or folder."""
        return self.path.as_uri()

    def sources(self) -> Iterator[Source]:
        """List the files folder by folder, sorted by name, files before subfolders."""
        try:
            root_stat = self.path.stat()
        except FileNotFoundError:
            raise SourceNotFound(f"no such file or folder: {self.path}", uri=self.scope) from None
        except OSError as error:
            raise SourceNotFound(
                f"cannot read {self.path}: {error.strerror}", uri=self.scope
            ) from None
        if stat.S_ISDIR(root_stat.st_mode):
            for listed in self._walk_files(str(self.path)):
                if isinstance(listed, Source):
                    yield listed
                    continue
                entry, side_path = listed
                if reason := explain_skip(entry.name, copies=self.copies):
                    uri = _make_uri(entry.path)
                    yield Source(uri=uri, version="", read=bytes, skip_reason=reason)
                elif not entry.is_symlink():
                    yield self._make_source(entry.path, entry, side_path)
                elif not os.path.isdir(entry.path):  # noqa: PTH112 (False for links in a circle)
                    yield self._resolve_link(Path(entry.path), side_path)
        else:
            path = str(self.path)
            if path.endswith(SUFFIX) and os.path.exists(path.removesuffix(SUFFIX)):  # noqa: PTH110
                reason = f"a side file: ingest {os.path.basename(path.removesuffix(SUFFIX))}"  # noqa: PTH119
                raise SourceNotFound(f"{path} is {reason}", uri=self.scope)
            side_path = path + SUFFIX
            yield self._make_source(path, None, side_path if os.path.lexists(side_path) else "")

    def owns(self, uri: str) -> bool:
        """Return whether `uri` is a selected file, or below a path that is now a file."""
        if uri == self.scope:
            return True
        if not uri.startswith(self.scope + "/"):
            return False
        relative_path = os.fsdecode(unquote_to_bytes(uri[len(self.scope) + 1 :]))
        return not self.path.is_dir() or self._is_selected(relative_path)

    def count(self) -> int | None:
        """Return the number of files, without reading their attributes."""
        if not self.path.is_dir():
            return 1
        return sum(1 for _ in self._walk_files(str(self.path)))

    def _walk_files(self, root: str) -> Iterator[_ListedFile | Source]:
        """Yield the selected files in order, with their side files.

        Yields a failing source for each folder that cannot be listed, and for each side file
        without its document. Paths are strings because `Path` is slow.
        """
        pending_folders: list[tuple[str, tuple[_IgnoreFile, ...]]] = [(root, ())]
        prefix_length = len(root.rstrip(os.sep)) + 1
        while pending_folders:
            folder, active_ignore_files = pending_folders.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                reason = f"the folder cannot be listed: {error.strerror}"
                yield _make_unreadable_source(Path(folder), reason)
                continue
            if any(entry.name == INDEX_MARK for entry in entries):
                continue
            ignore_files = [
                _IgnoreFile.read(entry) for entry in entries if entry.name in self.ignore_files
            ]
            active_ignore_files = (*ignore_files, *active_ignore_files)
            side_files = pair_side_files({entry.name: entry for entry in entries})
            subfolders = []
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if self._is_folder_selected(entry.name) and not _is_ignored(
                        entry.path + "/", active_ignore_files
                    ):
                        subfolders.append((entry.path, active_ignore_files))
                elif self._is_selected(
                    entry.path[prefix_length:].replace(os.sep, "/")
                ) and not _is_ignored(entry.path, active_ignore_files):
                    if entry.name in side_files.without_document:
                        yield _make_failing_source(
                            Path(entry.path), make_missing_document_error(entry.name)
                        )
                    elif not side_files.is_side_file(entry.name):
                        side_file = side_files.by_document.get(entry.name)
                        yield _ListedFile(entry, entry.path + SUFFIX if side_file else "")
            pending_folders += reversed(subfolders)

    def _is_folder_selected(self, folder_name: str) -> bool:
        return folder_name not in self.skip and (self.hidden or not folder_name.startswith("."))

    def _is_selected(self, relative_path: str) -> bool:
        *folders, name = relative_path.split("/")
        return (
            all(self._is_folder_selected(folder) for folder in folders)
            and (self.hidden or not name.startswith("."))
            and any(fnmatchcase(relative_path, glob) for glob in self.include)
            and not any(fnmatchcase(relative_path, glob) for glob in self.exclude)
        )

    def _resolve_link(self, path: Path, side_path: str) -> Source:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return _make_unreadable_source(path, "a symbolic link to a file that does not exist")
        if not target.is_relative_to(self.path.resolve()):
            return _make_unreadable_source(
                path, "a symbolic link to a file outside of the folder is not followed"
            )
        return self._make_source(str(path), None, side_path)

    def _make_source(self, path: str, entry: os.DirEntry[str] | None, side_path: str) -> Source:
        try:
            file_stat = entry.stat() if entry is not None else os.stat(path)  # noqa: PTH116 (strings)
        except OSError as error:
            return _make_unreadable_source(Path(path), str(error.strerror))
        if not stat.S_ISREG(file_stat.st_mode):
            return _make_unreadable_source(Path(path), "not a regular file")
        if file_stat.st_size > self.max_bytes:
            reason = (
                f"{file_stat.st_size:,} bytes, over the limit of {self.max_bytes:,} (max_bytes)"
            )
            return _make_unreadable_source(Path(path), reason)

        version, uri = _make_version(file_stat), _make_uri(path)

        def read() -> bytes:
            for _ in range(_MAX_READ_ATTEMPTS):
                try:
                    with open(path, "rb") as file:  # noqa: PTH123 (strings)
                        stat_before = os.fstat(file.fileno())
                        data = file.read(self.max_bytes + 1)
                        stat_after = os.fstat(file.fileno())
                except OSError as error:
                    raise SourceUnreadable(f"cannot be read: {error.strerror}") from None
                if len(data) > self.max_bytes:
                    raise SourceUnreadable(
                        f"grew larger than the limit of {self.max_bytes:,} bytes (max_bytes)"
                    )
                if (
                    _make_version(stat_before) == _make_version(stat_after)
                    and len(data) == stat_after.st_size
                ):
                    return data
            raise SourceUnreadable("it changes while it is read; ingest it again later")

        if not side_path:
            return Source(uri=uri, version=version, read=read)
        return Source(
            uri=uri,
            version=f"{version}+{_read_side_version(side_path)}",
            read=read,
            read_side_file=lambda: self._read_side_file(side_path),
        )

    def _read_side_file(self, path: str) -> SideFile:
        """Read a side file. One that is a link out of the folder is refused."""
        name = os.path.basename(path)  # noqa: PTH119
        root = self.path if self.path.is_dir() else self.path.parent

        def read() -> bytes:
            if not Path(path).resolve().is_relative_to(root.resolve()):
                raise ParseError("a symbolic link to a file outside of the folder is not followed")
            if not os.path.isfile(path):  # noqa: PTH113
                raise ParseError("not a regular file")
            try:
                with open(path, "rb") as file:  # noqa: PTH123
                    return file.read(MAX_SIDE_FILE_BYTES + 1)
            except OSError as error:
                raise SourceUnreadable(f"cannot be read: {error.strerror}") from None

        return read_side_file(read, name)


class _ListedFile(NamedTuple):
    """A file of a folder, and the path of its side file ("" if it has none)."""

    entry: os.DirEntry[str]
    side_path: str


def _read_side_version(path: str) -> str:
    try:
        return _make_version(os.stat(path))  # noqa: PTH116 (strings)
    except OSError:  # a link to nowhere
        return "missing"


def _make_version(file_stat: os.stat_result) -> str:
    """Return a version that changes whenever the file does.

    The change time (ctime) is part of it, because a program can set the other one (mtime) back.
    """
    return f"{file_stat.st_mtime_ns:x}-{file_stat.st_ctime_ns:x}-{file_stat.st_size:x}"


class _IgnoreFile(NamedTuple):
    """The patterns of an ignore file, which apply below its folder."""

    folder: str
    spec: GitIgnoreSpec

    @classmethod
    def read(cls, entry: os.DirEntry[str]) -> _IgnoreFile:
        """Read an ignore file. Invalid lines are skipped, as git does."""
        from pathspec import GitIgnoreSpec

        try:
            with open(entry.path, "rb") as file:  # noqa: PTH123 (strings)
                lines = (
                    file.read(_MAX_IGNORE_FILE_BYTES).decode(errors="surrogateescape").splitlines()
                )
        except OSError:
            lines = []
        valid_lines = []
        for line in lines:
            try:
                GitIgnoreSpec.from_lines([line])
            except ValueError:
                continue
            valid_lines.append(line)
        return cls(os.path.dirname(entry.path), GitIgnoreSpec.from_lines(valid_lines))  # noqa: PTH120


def _is_ignored(path: str, ignore_files: tuple[_IgnoreFile, ...]) -> bool:
    """Return whether a file is ignored; the nearest ignore file that matches it decides."""
    for folder, spec in ignore_files:
        is_excluded = spec.check_file(path[len(folder.rstrip(os.sep)) + 1 :]).include
        if is_excluded is not None:
            return is_excluded
    return False


def _make_uri(path: str) -> str:
    """Return ``Path(path).as_uri()``, in a fifth of the time."""
    if os.sep != "/":
        return Path(path).as_uri()
    return "file://" + quote_from_bytes(os.fsencode(path))


def _make_unreadable_source(path: Path, reason: str) -> Source:
    return _make_failing_source(path, SourceUnreadable(reason))


def _make_failing_source(path: Path, error: SourceError) -> Source:
    def read() -> bytes:
        raise error

    return Source(uri=path.as_uri(), version="", read=read)


def find_spelling(path: Path) -> Path:
    """Return a path as its file system spells it: with composed or decomposed characters.

    A path that exists, or none of whose spellings does, is returned as it is.
    """
    text = str(path)
    if text.isascii() or os.path.lexists(path):
        return path
    for form in ("NFC", "NFD"):
        spelling = Path(unicodedata.normalize(form, text))
        with suppress(ValueError):
            if os.path.lexists(spelling):
                return spelling
    return path


def path_of(uri: str) -> Path | None:
    """Return the path of a ``file:`` uri, or None for any other uri."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc:
        return None
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))
