"""Uploaded files: their store, and the connector that ingests them.

Contents are in files named by their hash. A record per file name, in JSON, holds the hash of its
current content. A record is replaced atomically, so that a name always has one complete content,
the old or the new, and an ingest reads exactly the content that it listed.
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
_MAX_NAME_BYTES = 200
_BLOCK_BYTES = 2**20


class Upload(NamedTuple):
    """A stored file: its name, its size in bytes, and the SHA-256 of its content."""

    name: str
    size: int
    digest: str

    @property
    def uri(self) -> str:
        """Uri of its document."""
        return upload_uri(self.name)


class StagedUpload(NamedTuple):
    """A completely received file that is not stored under its name yet."""

    upload: Upload
    path: Path


def upload_uri(name: str) -> str:
    """Return the uri of the upload `name`."""
    return SCHEME + quote(name, safe="")


def normalize_file_name(name: str | None) -> str:
    """Return the name to store a file under: the client's, without folders.

    Raises `QueryError` if that leaves no valid name.
    """
    base_name = unicodedata.normalize(
        "NFC", (name or "").replace("\\", "/").rpartition("/")[2]
    ).strip()
    if not base_name.strip(".") or not base_name.isprintable():
        raise QueryError("a file needs a name of printable characters")
    if len(base_name.encode(errors="replace")) > _MAX_NAME_BYTES:
        raise QueryError(f"a file name may have at most {_MAX_NAME_BYTES} bytes")
    return base_name


class UploadStore:
    """Uploads in a folder. Only one thread at a time may `keep`, `remove` or `sweep`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, name: str, content: BinaryIO) -> StagedUpload:
        """Write a file to the folder without storing it yet. A failure leaves nothing there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        descriptor, partial = tempfile.mkstemp(dir=self.folder, suffix=".partial")
        try:
            with os.fdopen(descriptor, "wb") as file:
                while block := content.read(_BLOCK_BYTES):
                    digest.update(block)
                    size += len(block)
                    file.write(block)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        return StagedUpload(Upload(name, size, digest.hexdigest()), Path(partial))

    def keep(self, staged_uploads: Sequence[StagedUpload]) -> None:
        """Store files under their names, replacing earlier ones."""
        for upload, partial in staged_uploads:
            partial.replace(self._content_path(upload.digest))
            descriptor, record = tempfile.mkstemp(dir=self.folder, suffix=".partial")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(upload._asdict(), file)
                Path(record).replace(self._record_path(upload.name))
            except BaseException:
                Path(record).unlink(missing_ok=True)
                raise

    def discard(self, staged_uploads: Sequence[StagedUpload]) -> None:
        """Delete staged files that were not stored."""
        for _, partial in staged_uploads:
            partial.unlink(missing_ok=True)

    def read(self, digest: str) -> bytes:
        """Return the content with this hash. Raises `DocumentNotFound`."""
        try:
            return self._content_path(digest).read_bytes()
        except FileNotFoundError:
            raise DocumentNotFound("this file was not uploaded, or it was deleted") from None

    def has_content(self, digest: str) -> bool:
        """Return whether there is a content with this hash."""
        return self._content_path(digest).is_file()

    def remove(self, names: Collection[str]) -> int:
        """Delete files, and return how many existed. The next `sweep` deletes their contents."""
        existing_names = [name for name in names if self._record_path(name).exists()]
        for name in existing_names:
            self._record_path(name).unlink(missing_ok=True)
        return len(existing_names)

    def sweep(self, *, partials: bool = False) -> None:
        """Delete contents without a name; with `partials`, also remains of interrupted uploads."""
        if not self.folder.is_dir():
            return
        used_digests = {upload.digest for upload in self.uploads()}
        for path in self.folder.iterdir():
            is_unused = path.suffix == ".bin" and path.stem not in used_digests
            if is_unused or (partials and path.suffix == ".partial"):
                path.unlink(missing_ok=True)

    def uploads(self) -> list[Upload]:
        """Return all files, sorted by name."""
        uploads = []
        for record in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else ():
            with contextlib.suppress(OSError, ValueError, TypeError):
                uploads.append(Upload(**json.loads(record.read_text(encoding="utf-8"))))
        return sorted(uploads)

    def _record_path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}.json"

    def _content_path(self, digest: str) -> Path:
        return self.folder / f"{quote(digest, safe='')}.bin"


class Uploads(Connector):
    """Uploaded files as a connector: those in `names`, and no others."""

    name: ClassVar[str] = "uploads"

    folder: Path
    names: tuple[str, ...]

    @property
    def scope(self) -> str:
        """Prefix of all uploads."""
        return SCHEME

    def owns(self, uri: str) -> bool:
        """Return whether the uri is that of one of the files, or of a part of it."""
        return unquote(uri.partition(PART)[0].removeprefix(SCHEME)) in self.names

    def count(self) -> int:
        """Return the number of files."""
        return len(self.names)

    def sources(self) -> Iterator[Source]:
        """Yield the files that still exist."""
        store = UploadStore(self.folder)
        uploads = {upload.name: upload for upload in store.uploads()}
        for name in self.names:
            if name in uploads:
                yield _to_source(store, uploads[name])


def _to_source(store: UploadStore, upload: Upload) -> Source:
    def read() -> bytes:
        try:
            return store.read(upload.digest)
        except DocumentNotFound as error:
            raise SourceUnreadable(str(error)) from None

    return Source(uri=upload.uri, version=upload.digest, read=read)


def check_distinct_names(names: Sequence[str]) -> None:
    """Raise `QueryError` if two files of a request have the same name."""
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise QueryError(f"two files in the request have the name {duplicate!r}")
