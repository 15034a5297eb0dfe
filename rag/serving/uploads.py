"""Files that were sent to the server: kept as they came, and a source like any other.

Bytes are in files named by their hash, and a note for each name says which of them it has now. A
note is replaced in one step, so that a name always has one whole content, the old or the new, and
an ingest reads exactly what it listed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple
from urllib.parse import quote, unquote

from connectors import PART, Connector, Source
from rag.errors import DocumentNotFound, QueryError, SourceUnreadable

SCHEME = "upload:///"
_LONGEST_NAME = 200  # bytes
_BLOCK = 2**20


class Upload(NamedTuple):
    """A file that is kept: its name, its size in bytes, and the SHA-256 of what is in it."""

    name: str
    size: int
    digest: str

    @property
    def uri(self) -> str:
        """The uri of its document."""
        return uri_of(self.name)


class Staged(NamedTuple):
    """A file that has come whole, and is not kept under its name yet."""

    upload: Upload
    path: Path


def uri_of(name: str) -> str:
    """The uri of the upload `name`."""
    return SCHEME + quote(name, safe="")


def checked_file_name(name: str | None) -> str:
    """The name a file is kept under: without folders, whatever the client wrote.

    Raises `QueryError` where nothing is left, or what is left is no name.
    """
    plain = unicodedata.normalize("NFC", (name or "").replace("\\", "/").rpartition("/")[2]).strip()
    if not plain.strip(".") or not plain.isprintable():
        raise QueryError("a file needs a name of printable characters")
    if len(plain.encode(errors="replace")) > _LONGEST_NAME:
        raise QueryError(f"the name of a file has at most {_LONGEST_NAME} bytes")
    return plain


class UploadStore:
    """Uploads in a folder. One thread at a time may `keep`, `remove` or `sweep`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, name: str, content: BinaryIO) -> Staged:
        """Write the bytes of a file beside those that are kept. What fails leaves nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        hashed, size = hashlib.sha256(), 0
        handle, partial = tempfile.mkstemp(dir=self.folder, suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                while block := content.read(_BLOCK):
                    hashed.update(block)
                    size += len(block)
                    file.write(block)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        return Staged(Upload(name, size, hashed.hexdigest()), Path(partial))

    def keep(self, staged: Sequence[Staged]) -> None:
        """Keep files under their names, in place of earlier ones."""
        for upload, partial in staged:
            partial.replace(self._bytes(upload.digest))
            handle, fresh = tempfile.mkstemp(dir=self.folder, suffix=".partial")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(upload._asdict(), file)
                Path(fresh).replace(self._note(upload.name))
            except BaseException:
                Path(fresh).unlink(missing_ok=True)
                raise

    def discard(self, staged: Sequence[Staged]) -> None:
        """Forget files that are not to be kept after all."""
        for _, partial in staged:
            partial.unlink(missing_ok=True)

    def read(self, digest: str) -> bytes:
        """The bytes that have this hash. Raises `DocumentNotFound`."""
        try:
            return self._bytes(digest).read_bytes()
        except FileNotFoundError:
            raise DocumentNotFound("this file was not uploaded, or is gone") from None

    def has(self, digest: str) -> bool:
        """Whether there are bytes of this hash."""
        return self._bytes(digest).is_file()

    def remove(self, names: Collection[str]) -> int:
        """Forget files; how many were there. Their bytes go with the next `sweep`."""
        there = [name for name in names if self._note(name).exists()]
        for name in there:
            self._note(name).unlink(missing_ok=True)
        return len(there)

    def sweep(self, *, partials: bool = False) -> None:
        """Delete bytes that no name has; with `partials`, what interrupted uploads left, too."""
        if not self.folder.is_dir():
            return
        kept = {upload.digest for upload in self.uploads()}
        for path in self.folder.iterdir():
            orphan = path.suffix == ".bin" and path.stem not in kept
            if orphan or (partials and path.suffix == ".partial"):
                path.unlink(missing_ok=True)

    def uploads(self) -> list[Upload]:
        """All files, by name."""
        found = []
        for note in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else ():
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(Upload(**json.loads(note.read_text(encoding="utf-8"))))
        return sorted(found)

    def _note(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}.json"

    def _bytes(self, digest: str) -> Path:
        return self.folder / f"{quote(digest, safe='')}.bin"


class Uploads(Connector):
    """Files that were uploaded, those named only: of others it knows nothing."""

    name: ClassVar[str] = "uploads"

    folder: Path
    names: tuple[str, ...]

    @property
    def scope(self) -> str:
        """Prefix of all uploads."""
        return SCHEME

    def owns(self, uri: str) -> bool:
        """Whether it is one of those named."""
        return unquote(uri.partition(PART)[0].removeprefix(SCHEME)) in self.names

    def count(self) -> int:
        """How many."""
        return len(self.names)

    def sources(self) -> Iterator[Source]:
        """Those that are there still."""
        store = UploadStore(self.folder)
        there = {upload.name: upload for upload in store.uploads()}
        for name in self.names:
            if name in there:
                yield _source(store, there[name])


def _source(store: UploadStore, upload: Upload) -> Source:
    def read() -> bytes:
        try:
            return store.read(upload.digest)
        except DocumentNotFound as error:
            raise SourceUnreadable(str(error)) from None

    return Source(uri=upload.uri, version=upload.digest, read=read)


def distinct(names: Sequence[str]) -> list[str]:
    """Names of files that come together, each once. Raises `QueryError` where two are the same."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise QueryError(f"two files of one request are named {twice!r}")
    return list(names)
