"""Archives: the files in a ZIP, TAR or compressed file, each parsed by its own parser."""

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
from pathlib import PurePosixPath
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import Field

from connectors.base import Container, FailedPart, Part, part_uri
from connectors.parsers.safe_zip import check_whole
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import well_formed

_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError, NotImplementedError),
    *(RuntimeError, zlib.error, lzma.LZMAError, KeyError),
)
_SKIPPED = re.compile(r"(^|/)(\.[^/.]|__MACOSX(/|$))")


class ArchiveParser(Container):
    """ZIP, TAR (also compressed), and single files compressed by gzip, bzip2 or xz.

    Hidden files, links and devices are left out. An archive of more than ``max_files`` files or
    ``max_bytes`` bytes unpacked is taken for an attack from there on.
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
    keeps: ClassVar[str] = "every file as a document of its own"
    drops: ClassVar[str] = "hidden files, links, devices"

    max_files: int = Field(10_000, ge=1)
    max_bytes: int = Field(2**30, ge=1)

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the files; they are unpacked one at a time."""
        if data.startswith(b"PK"):
            files = _zipped(data)
        else:
            data = self._decompressed(data, uri)
            if not is_tar(data):
                name = PurePosixPath(unquote(urlsplit(uri).path)).stem
                yield Part(name or "file", lambda: data)
                return
            files = _tarred(data)
        yield from self._bounded(files, uri)

    def _bounded(
        self, files: Iterator[tuple[int, Part | FailedPart]], uri: str
    ) -> Iterator[Part | FailedPart]:
        count = size = 0
        try:
            for bytes_, part in files:
                count, size = count + 1, size + bytes_
                if count > self.max_files or size > self.max_bytes:
                    raise ParseError(
                        f"more than {self.max_files:,} files or {self.max_bytes:,} bytes unpacked "
                        "(max_files, max_bytes): the rest is left out"
                    )
                yield part
        except _BROKEN as error:
            failure = ParseError(f"a damaged archive: {error}")
            if not count:
                raise failure from None
            yield FailedPart(part_uri(uri, "(the rest)"), failure)
        except ParseError as error:
            if not count:  # not even a list of what is in it
                raise
            yield FailedPart(part_uri(uri, "(the rest)"), error)
        if not count:
            raise NoText("an archive without any file")

    def _decompressed(self, data: bytes, uri: str) -> bytes:
        for signature, module in ((b"\x1f\x8b", gzip), (b"BZh", bz2), (b"\xfd7zXZ", lzma)):
            if not data.startswith(signature):
                continue
            try:
                with module.open(io.BytesIO(data)) as file:
                    data = file.read(self.max_bytes + 1)
            except _BROKEN as error:
                raise ParseError(f"damaged: {error}") from None
            if len(data) > self.max_bytes:
                raise ParseError(f"more than {self.max_bytes:,} bytes unpacked (max_bytes)")
        return data


def is_tar(data: bytes) -> bool:
    """Whether a TAR archive begins here."""
    return data[257:262] == b"ustar"


def _name(name: str) -> str:
    """Path within the archive; nothing leads out of it."""
    return posixpath.normpath("/" + well_formed(name)).lstrip("/")


def _zipped(data: bytes) -> Iterator[tuple[int, Part | FailedPart]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as error:
        raise ParseError(f"a damaged ZIP archive: {error}") from None
    check_whole(archive.infolist(), data, "ZIP archive")
    for info in archive.infolist():
        if info.is_dir() or _SKIPPED.search(info.filename):
            continue

        def read(info: zipfile.ZipInfo = info) -> bytes:
            if info.flag_bits & 1:
                raise EncryptedDocument("protected by a password")
            try:
                return archive.read(info)
            except _BROKEN as error:
                raise ParseError(f"damaged in the archive: {error}") from None

        yield info.file_size, Part(_name(info.filename), read)


def _tarred(data: bytes) -> Iterator[tuple[int, Part | FailedPart]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for info in archive:
            if not info.isfile() or _SKIPPED.search(info.name):
                continue

            def read(info: tarfile.TarInfo = info) -> bytes:
                try:
                    file = archive.extractfile(info)
                    return file.read() if file is not None else b""
                except _BROKEN as error:
                    raise ParseError(f"damaged in the archive: {error}") from None

            yield info.size, Part(_name(info.name), read)
