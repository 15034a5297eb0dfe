"""Connections, transactions and the meta table of the SQLite document store."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rag.errors import IndexDamaged, IndexNotFound, QueryError, RagIndexError
from rag.stores.document_store import DocumentStore, IndexState
from rag.stores.sqlite.filter_sql import register_filter_functions
from rag.stores.sqlite.migrations import migrate_schema
from rag.stores.sqlite.schema import (
    SCHEMA,
    SCHEMA_VERSION,
    SNAPSHOTS_FOLDER,
    STORE_SETS_FOLDER,
)
from rag.types import LocationIndex

_T = TypeVar("_T")

SQL_PARAMETERS_PER_STATEMENT = 500  # far below SQLite's default limit of 32,766
_WAL_ATTEMPTS, _WAL_PAUSE_SECONDS = 100, 0.05
_MIN_FREE_BYTES = 65_536  # less does not hold the log files
_EXCLUSIVE_MODE = "mode=rw&exclusive"  # SQLite ignores the second part
_BUSY_TIMEOUT_SECONDS = 30  # how long SQLite waits for a lock of another connection


class SqliteConnection(DocumentStore):
    """One SQLite file: a connection for reads and one for writes, each with its own lock."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        read_only: bool = False,
        migrate: bool = True,
    ) -> None:
        if not create and not path.is_file():
            raise IndexNotFound.at_path(path.parent)
        self.path = path
        self._read_only = read_only
        self._read_lock, self._write_lock = threading.RLock(), threading.RLock()
        self._lazy_write_connection: sqlite3.Connection | None = None
        self._location_indexes: dict[int, LocationIndex] = {}
        self._immutable_signature: tuple[int, ...] | None = None
        self._is_exclusive = False
        with self._translate_errors():
            if create:
                self._refuse_empty_file()
                self._create_schema()
            self._read_connection = self._connect_for_reading()
            self._file_identity = _read_file_identity(self.path)
        try:
            if not self._fetch_rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
                raise IndexDamaged.document_store(self.path, "it is empty")
            if migrate:
                self._migrate()
        except BaseException:
            self.close()
            raise

    def _migrate(self) -> None:
        """Bring a file of an earlier version to this format; nothing is embedded again."""
        version = self.meta("schema")
        if version == SCHEMA_VERSION:
            return
        if not os.access(self.path.parent, os.W_OK):
            raise RagIndexError(
                f"{self.path} has format {version}, and {SCHEMA_VERSION} is needed: open it once "
                "where its folder can be written, which converts it",
                path=self.path,
            )
        with self._translate_errors(), closing(self._connect_for_writing()) as connection:
            migrate_schema(connection, self.path)

    @property
    def _write_connection(self) -> sqlite3.Connection:
        """Connection for writes, opened at first use. Use it only under `_write_lock`."""
        if self._lazy_write_connection is None:
            if self._read_only:
                raise RagIndexError(f"{self.path} was opened for reading only", path=self.path)
            if self._is_exclusive:
                self._follow_changes()
                if self._is_exclusive:
                    raise RagIndexError.disk_full(self.path)
            self._lazy_write_connection = self._connect_for_writing()
            self._lazy_write_connection.execute("PRAGMA foreign_keys = ON")
        return self._lazy_write_connection

    def _connect_for_writing(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=_BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -32768")
        return connection

    def _refuse_empty_file(self) -> None:
        """Raise `IndexDamaged` if the file is empty or missing but store sets or snapshots exist.

        Without those the file is new, and creating it loses nothing.
        """
        has_content = self.path.exists() and self.path.stat().st_size
        if not has_content and has_store_sets_or_snapshots(self.path.parent):
            raise IndexDamaged.document_store(self.path, "it is empty or missing")

    def _connect_for_reading(self) -> sqlite3.Connection:
        """Open for reading.

        Where SQLite cannot make its log files, in a folder without write permission or on a full
        disk, the file counts as immutable until it changes. If a crash left transactions in the
        log of a full disk, this process has the file for itself: then SQLite needs no new file.
        """
        modes = ["mode=rw"]  # with "ro" SQLite does not remove its log files on close
        if not os.access(self.path.parent, os.W_OK):
            modes = ["mode=ro", "immutable=1"]
        else:
            modes.append(_EXCLUSIVE_MODE if self._has_log() else "immutable=1")
        for mode in modes:
            signature = self._read_signature()
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?{mode}",
                uri=True,
                timeout=_BUSY_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                if mode == _EXCLUSIVE_MODE:
                    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA cache_size = -131072")
                connection.execute("PRAGMA query_only = ON")
                register_filter_functions(connection)
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            except sqlite3.Error as error:
                connection.close()
                is_expected = mode != "mode=rw" or _is_out_of_space(error)
                if mode == modes[-1] or not is_expected:
                    raise
            else:
                self._immutable_signature = signature if mode == "immutable=1" else None
                self._is_exclusive = mode == _EXCLUSIVE_MODE
                return connection
        raise AssertionError("there is at least one mode")

    def _is_disk_full(self) -> bool:
        return shutil.disk_usage(self.path.parent).free < _MIN_FREE_BYTES

    def _has_log(self) -> bool:
        """Whether the write-ahead log holds transactions that are not in the file yet."""
        log = self.path.with_name(f"{self.path.name}-wal")
        return log.exists() and log.stat().st_size > 0

    def _read_signature(self) -> tuple[int, ...]:
        """Return what changes when a writer opens, changes or closes the file."""
        stat = self.path.stat()
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size, self._has_log())

    def _follow_changes(self) -> None:
        """Open the file again if it counted as immutable and has changed, or the disk has space."""
        with self._read_lock:
            if self._read_connection.in_transaction:
                return
            if self._is_exclusive:
                if not self._is_disk_full():
                    self._read_connection.close()
                    self._read_connection = self._connect_for_reading()
            elif self._immutable_signature is not None and self._has_changed():
                old_connection, self._read_connection = (
                    self._read_connection,
                    self._connect_for_reading(),
                )
                old_connection.close()

    def _has_changed(self) -> bool:
        return self.path.exists() and self._read_signature() != self._immutable_signature

    def _create_schema(self) -> None:
        with self.transaction() as connection:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            self._write_meta("schema", SCHEMA_VERSION)
            self._write_meta("generation", "0")
            self._write_meta("store_set", "1")
            self._write_meta("id", uuid.uuid4().hex[:16])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all writes of the block, or none. A nested transaction joins the outer one."""
        with self._write_lock, self._translate_errors():
            if self._write_connection.in_transaction:
                yield self._write_connection
                return
            self._write_connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._write_connection
                self._write_connection.execute("COMMIT")
            except BaseException:
                if self._write_connection.in_transaction:  # SQLite itself rolls back on a full disk
                    self._write_connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise RagIndexError(f"{self.path} was closed while in use", path=self.path) from error
        except sqlite3.OperationalError as error:
            if "is full" in str(error) or ("disk I/O" in str(error) and self._is_disk_full()):
                raise RagIndexError.disk_full(self.path) from error
            raise RagIndexError(f"cannot use {self.path}: {error}", path=self.path) from error
        except sqlite3.DatabaseError as error:
            raise IndexDamaged.document_store(self.path, error) from error

    def _fetch_rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._read_lock, self._translate_errors():
                self._follow_changes()
                return self._read_connection.execute(sql, values).fetchall()
        except (OverflowError, UnicodeEncodeError) as error:
            raise QueryError(f"a value cannot be looked up: {error}") from None

    def close(self) -> None:
        """Close the file after the running reads and writes end."""
        with self._write_lock, self._read_lock:
            self._read_only = True  # no write can open it again
            if self._lazy_write_connection is not None:
                self._lazy_write_connection.close()
            self._read_connection.close()

    def storage_exists(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        return self._file_identity == _read_file_identity(self.path)

    @contextmanager
    def _read_snapshot(self) -> Iterator[None]:
        """Make all reads of the block see the same state of the file."""
        with self._read_lock, self._translate_errors():
            if self._read_connection.in_transaction:
                yield
                return
            self._follow_changes()
            self._read_connection.execute("BEGIN")
            try:
                yield
            finally:
                self._read_connection.execute("COMMIT")

    def _make_damage_error(self, error: Exception) -> IndexDamaged:
        return IndexDamaged(
            f"{self.path} holds data that cannot be read ({error}): run `rag index repair`",
            path=self.path,
        )

    def meta(self, key: str) -> str | None:
        """Return a value of the meta table, or None if the key is not set."""
        rows = self._fetch_rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    @property
    def id(self) -> str:
        """See `DocumentStore.id`."""
        return self.meta("id") or ""

    def set_embedder(self, note: str) -> None:
        """See `DocumentStore.set_embedder`."""
        with self.transaction():
            self._write_meta("embedder", note)

    def _write_meta(self, key: str, value: str) -> None:
        self._write_connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def generation(self) -> int:
        """See `DocumentStore.generation`."""
        return int(self.meta("generation") or 0)

    @property
    def state(self) -> IndexState:
        """See `DocumentStore.state`."""
        values = dict(
            self._fetch_rows(
                "SELECT key, value FROM meta WHERE key IN ('generation', 'store_set', 'embedder')"
            )
        )
        return IndexState(
            int(values["generation"]), int(values["store_set"]), values.get("embedder", "")
        )

    def _increment_generation(self) -> None:
        self._write_connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")


def _is_out_of_space(error: sqlite3.Error) -> bool:
    """Whether SQLite failed to make its log files; it does not say why."""
    return any(text in str(error) for text in ("disk I/O error", "unable to open", "is full"))


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, with retries: SQLite does not wait for concurrent switches."""
    for attempt in range(_WAL_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            if attempt == _WAL_ATTEMPTS - 1:
                raise
            time.sleep(_WAL_PAUSE_SECONDS)


def _read_file_identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def sql_placeholders(values: Sequence[object]) -> str:
    """Return one ``?`` for each value, joined by commas."""
    return ",".join("?" * len(values))


def split_for_sql(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Split `values` so that each batch can be bound to one statement."""
    for i in range(0, len(values), SQL_PARAMETERS_PER_STATEMENT):
        yield values[i : i + SQL_PARAMETERS_PER_STATEMENT]


def has_store_sets_or_snapshots(folder: Path) -> bool:
    """Whether the folder holds what is created only after a document store."""
    names = (STORE_SETS_FOLDER, SNAPSHOTS_FOLDER)
    return any(os.path.isdir(folder / name) for name in names)  # noqa: PTH112
