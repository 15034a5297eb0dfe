"""Files that were sent to the server: kept as they came, and a source like any other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple
from urllib.parse import quote

from connectors import Connector, Source
from rag.errors import DocumentNotFound, QueryError, SourceUnreadable

SCHEME = "upload:///"
_LONGEST_NAME = 200  # bytes
_BLOCK = 2**20


class Upload(NamedTuple):
    """A file that is kept: its name, its size in bytes, and the SHA-256 of what is in it."""

    name: str
    size: int
    digest: str


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
    """Uploads in a folder: names are in notes beside the bytes, so no name is ever a path.

    May be shared by threads; a file is whole or not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, content: BinaryIO) -> Upload:
        """Keep a file, in place of an earlier one of its name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        hashed, size = hashlib.sha256(), 0
        handle, partial = tempfile.mkstemp(dir=self.folder, suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                while block := content.read(_BLOCK):
                    hashed.update(block)
                    size += len(block)
                    file.write(block)
            upload = Upload(name, size, hashed.hexdigest())
            Path(partial).replace(self._path(name, "bin"))
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        note = self._path(name, "json")
        fresh = note.with_suffix(".json.partial")
        fresh.write_text(json.dumps(upload._asdict()), encoding="utf-8")
        fresh.replace(note)
        return upload

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises `DocumentNotFound`."""
        try:
            return self._path(name, "bin").read_bytes()
        except FileNotFoundError:
            raise DocumentNotFound(f"no file {name!r} was uploaded") from None

    def remove(self, name: str) -> bool:
        """Forget a file; whether it was there."""
        there = self._path(name, "json").exists()
        for kind in ("json", "bin"):
            self._path(name, kind).unlink(missing_ok=True)
        return there

    def uploads(self) -> list[Upload]:
        """All files, by name."""
        found = []
        for note in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else ():
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(Upload(**json.loads(note.read_text(encoding="utf-8"))))
        return sorted(found)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(upload.size for upload in self.uploads())

    def name_of(self, uri: str) -> str | None:
        """The file that a document's uri stands for; None where it is no upload."""
        if not uri.startswith(SCHEME):
            return None
        return next((u.name for u in self.uploads() if uri_of(u.name) == uri), None)

    def _path(self, name: str, kind: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}.{kind}"


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
        return any(
            uri == uri_of(name) or uri.startswith(uri_of(name) + "!/") for name in self.names
        )

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
            return store.read(upload.name)
        except DocumentNotFound as error:
            raise SourceUnreadable(str(error)) from None

    return Source(uri=uri_of(upload.name), version=upload.digest, read=read)


def distinct(names: Sequence[str]) -> list[str]:
    """Names of files that come together, each once. Raises `QueryError` where two are the same."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise QueryError(f"two files of one request are named {twice!r}")
    return list(names)
