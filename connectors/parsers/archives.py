"""Archives: lists the files in a ZIP, TAR or compressed file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import Field

from connectors.base import Container, FailedPart, Part, part_uri
from connectors.parsers.safe_zip import check_archive_end
from connectors.side_files import (
    MAX_SIDE_FILE_BYTES,
    make_missing_document_error,
    pair_side_files,
    read_side_file,
)
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import to_well_formed

_ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError, NotImplementedError),
    *(RuntimeError, zlib.error, lzma.LZMAError, KeyError),
)
_MIN_UNPACKED_LIMIT = 2_000_000  # bytes of an archive, whatever its size
_SKIPPED_FILES = re.compile(r"(^|/)(\.[^/.]|__MACOSX(/|$))")


class ArchiveParser(Container):
    """ZIP, TAR (also compressed), and single files compressed by gzip, bzip2 or xz.

    In a ZIP, side files (``name.ext.meta.yaml``) set the title and the metadata of their documents.

    Hidden files, links and devices are skipped. Unpacking stops at ``max_files`` files or
    ``max_bytes`` unpacked bytes, and above two million bytes at ``max_ratio`` unpacked bytes for
    each packed one, because a larger archive may be an attack.
    """

    name: ClassVar[str] = "archive"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/zip": (".zip",),
        "application/x-tar": (".tar",),
        "application/gzip": (".gz", ".tgz"),
        "application/x-bzip2": (".bz2", ".tbz2"),
        "application/x-xz": (".xz", ".txz"),
    }
    library: ClassVar[str] = "zipfile, tarfile (Python)"
    keeps: ClassVar[str] = "each file as a separate document"
    drops: ClassVar[str] = "hidden files, links, devices"

    max_files: int = Field(10_000, ge=1)
    max_bytes: int = Field(2**30, ge=1)
    max_ratio: float = Field(100.0, ge=1)

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the files; each is unpacked when it is read."""
        limit = min(self.max_bytes, max(_MIN_UNPACKED_LIMIT, int(self.max_ratio * len(data))))
        if data.startswith(b"PK"):
            files = _list_zip_files(data, uri)
        else:
            data = self._decompress(data, limit)
            if not is_tar(data):
                name = PurePosixPath(unquote(urlsplit(uri).path)).stem
                yield Part(name or "file", lambda: data)
                return
            files = _list_tar_files(data)
        yield from self._enforce_limits(files, uri, limit)

    def _enforce_limits(
        self, files: Iterator[tuple[int, Part | FailedPart]], uri: str, limit: int
    ) -> Iterator[Part | FailedPart]:
        file_count = unpacked_bytes = 0
        try:
            for file_bytes, part in files:
                file_count, unpacked_bytes = file_count + 1, unpacked_bytes + file_bytes
                if file_count > self.max_files or unpacked_bytes > limit:
                    raise ParseError(
                        f"more than {self.max_files:,} files or {limit:,} bytes unpacked "
                        f"({self._name_limits(limit)}): the remaining files are skipped"
                    )
                yield part
        except _ARCHIVE_ERRORS as error:
            failure = ParseError(f"a damaged archive: {error}")
            if not file_count:
                raise failure from None
            yield FailedPart(part_uri(uri, "(the rest)"), failure)
        except ParseError as error:
            if not file_count:  # the archive cannot even be listed
                raise
            yield FailedPart(part_uri(uri, "(the rest)"), error)
        if not file_count:
            raise NoText("the archive contains no files")

    def _name_limits(self, limit: int) -> str:
        return f"max_files, {'max_bytes' if limit == self.max_bytes else 'max_ratio'}"

    def _decompress(self, data: bytes, limit: int) -> bytes:
        for signature, module in ((b"\x1f\x8b", gzip), (b"BZh", bz2), (b"\xfd7zXZ", lzma)):
            if not data.startswith(signature):
                continue
            try:
                with module.open(io.BytesIO(data)) as file:
                    data = file.read(limit + 1)
            except _ARCHIVE_ERRORS as error:
                raise ParseError(f"damaged: {error}") from None
            if len(data) > limit:
                raise ParseError(f"more than {limit:,} bytes unpacked ({self._name_limits(limit)})")
        return data


def is_tar(data: bytes) -> bool:
    """Return whether `data` starts like a TAR archive."""
    return data[257:262] == b"ustar"


def _normalize_name(name: str) -> str:
    """Return a path inside the archive; ``..`` cannot lead out of it."""
    return posixpath.normpath("/" + to_well_formed(name)).lstrip("/")


def _list_zip_files(data: bytes, uri: str) -> Iterator[tuple[int, Part | FailedPart]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ARCHIVE_ERRORS as error:
        raise ParseError(f"a damaged ZIP archive: {error}") from None
    check_archive_end(archive.infolist(), data, "ZIP archive")
    infos = {
        info.filename: info
        for info in archive.infolist()
        if not info.is_dir() and not _SKIPPED_FILES.search(info.filename)
    }
    side_files = pair_side_files(infos)
    for info in archive.infolist():
        if info.filename not in infos:
            continue
        name = _normalize_name(info.filename)
        if info.filename in side_files.without_document:
            yield 0, FailedPart(part_uri(uri, name), make_missing_document_error(name))
        elif not side_files.is_side_file(info.filename):
            read = partial(_read_zip_member, archive, info)
            side_file = side_files.by_document.get(info.filename)
            if side_file is None:
                yield info.file_size, Part(name, read)
                continue
            read_side = partial(_read_zip_member, archive, infos[side_file], MAX_SIDE_FILE_BYTES)
            read_title = partial(read_side_file, read_side, posixpath.basename(side_file))
            yield info.file_size, Part(name, read, read_side_file=read_title)


def _read_zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int | None = None
) -> bytes:
    if info.flag_bits & 1:
        raise EncryptedDocument("protected by a password")
    if max_bytes is not None and info.file_size > max_bytes:
        raise ParseError(f"more than {max_bytes:,} bytes")
    try:
        return archive.read(info)
    except _ARCHIVE_ERRORS as error:
        raise ParseError(f"damaged in the archive: {error}") from None


def _list_tar_files(data: bytes) -> Iterator[tuple[int, Part | FailedPart]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for info in archive:
            if not info.isfile() or _SKIPPED_FILES.search(info.name):
                continue

            def read(info: tarfile.TarInfo = info) -> bytes:
                try:
                    file = archive.extractfile(info)
                    return file.read() if file is not None else b""
                except _ARCHIVE_ERRORS as error:
                    raise ParseError(f"damaged in the archive: {error}") from None

            yield info.size, Part(_normalize_name(info.name), read)
