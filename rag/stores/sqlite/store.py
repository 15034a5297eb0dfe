"""The document store in one SQLite file."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from rag.stores.document_store import DocumentStoreConfig
from rag.stores.location import StoreLocation
from rag.stores.sqlite.document_reader import DocumentReader
from rag.stores.sqlite.document_writer import DocumentWriter
from rag.stores.sqlite.file_maintenance import FileMaintenance
from rag.stores.sqlite.ledger import Ledger

DOCUMENT_STORE_FILE = "library.sqlite"
"""The file of the document store in the folder of an index."""


class SqliteDocumentStore(DocumentWriter, DocumentReader, Ledger, FileMaintenance):
    """Documents, chunks, ledger, embedding cache and failures in one SQLite file.

    Threads may share it: reads use one connection and writes another, each with its own lock, so
    a batch that is being written does not delay searches. A file of an earlier version is
    converted, unless `migrate` is False. With `read_only`, no method writes. Raises
    `IndexNotFound` if the file does not exist and `create` is not set, `IndexDamaged` if it is not
    a document store.
    """


class Sqlite(DocumentStoreConfig):
    """Store documents in one SQLite file in the index folder (the default).

    Source: https://sqlite.org
    """

    name: ClassVar[str] = "sqlite"

    def exists(self, location: StoreLocation) -> bool:
        """See `DocumentStoreConfig.exists`."""
        return (location.folder / DOCUMENT_STORE_FILE).is_file()

    def open(
        self, location: StoreLocation, *, create: bool = False, read_only: bool = False
    ) -> SqliteDocumentStore:
        """See `DocumentStoreConfig.open`."""
        path = location.folder / DOCUMENT_STORE_FILE
        return SqliteDocumentStore(path, create=create, read_only=read_only)

    def replace_damaged(self, location: StoreLocation, snapshot: Path) -> Path:
        """See `DocumentStoreConfig.replace_damaged`. The next writer fills the stores."""
        current = location.folder / DOCUMENT_STORE_FILE
        restored = location.folder / f"{DOCUMENT_STORE_FILE}.restored"
        damaged = location.folder / f"{DOCUMENT_STORE_FILE}.damaged-{time.time_ns():x}"
        with closing(SqliteDocumentStore(snapshot)) as document_store:
            document_store.advance_state(int(time.time()))  # a store set that does not exist
            document_store.copy_to_file(restored)
        if current.exists():
            shutil.copyfile(current, damaged)
        for suffix in ("-wal", "-shm"):
            if (log := location.folder / f"{DOCUMENT_STORE_FILE}{suffix}").exists():
                log.replace(damaged.with_name(f"{damaged.name}{suffix}"))
        restored.replace(current)
        return damaged
