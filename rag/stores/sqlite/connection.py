"""Connections and transactions of the SQLite document store, and its notes about itself."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rag.errors import IndexDamaged, IndexNotFound, QueryError, RagIndexError
from rag.stores.sqlite.schema import _SCHEMA, SCHEMA_VERSION
from rag.types import LocationIndex

if TYPE_CHECKING:
    pass


_T = TypeVar("_T")


_MANY = 500  # values bound to one statement; SQLite's own limit is far above


class IndexState(NamedTuple):
    """Which state of the index searches find.

    ``generation`` grows with every change of it, ``derived`` is the number of the stores in use
    and ``embedder`` the note about the embedder that their vectors are from ("" before any).
    """

    generation: int
    derived: int
    embedder: str


class SqliteConnection:
    """One SQLite file: a connection for reads, one for writes, each behind a lock."""

    def __init__(self, path: Path, *, create: bool = False, read_only: bool = False) -> None:
        if not create and not path.is_file():
            raise IndexNotFound.at(path.parent)
        self.path = path
        self._read_only = read_only
        self._reading, self._writing = threading.RLock(), threading.RLock()
        self._own_writer: sqlite3.Connection | None = None
        self._places: dict[int, LocationIndex] = {}
        with self._translate_errors():
            if create:
                self._refuse_emptied()
                self._create()
            self._reader = self._connect_reading()
            self._file = _identity(self.path)
        try:
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
                raise IndexDamaged.library(self.path, "it is empty")
            found = self.meta("schema")
            if found != SCHEMA_VERSION:
                raise RagIndexError(
                    f"{self.path} has the format {found} of another version of citewell, this one "
                    f"reads {SCHEMA_VERSION}: ingest into a new index (--index DIR)"
                )
        except BaseException:
            self.close()
            raise

    @property
    def _writer(self) -> sqlite3.Connection:
        """The connection that writes, opened when first used. Only behind its lock."""
        if self._own_writer is None:
            if self._read_only:
                raise RagIndexError(f"{self.path} was opened for reading only")
            connection = sqlite3.connect(
                self.path, timeout=30, isolation_level=None, check_same_thread=False
            )
            for attempt in range(100):  # the switch does not wait for others that switch, too
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError:
                    if attempt == 99:
                        raise
                    time.sleep(0.05)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA cache_size = -32768")
            self._own_writer = connection
        return self._own_writer

    def _refuse_emptied(self) -> None:
        """An empty file is one that is just made; not beside stores that were made from it."""
        begun = self.path.exists() and self.path.stat().st_size
        if not begun and has_stores(self.path.parent):
            raise IndexDamaged.library(self.path, "it is empty, or gone")

    def _connect_reading(self) -> sqlite3.Connection:
        """Open for reading; also in a folder that cannot be written to, as it is then."""
        modes = ["mode=rw"]  # with "ro" SQLite leaves its files for the log behind
        if not os.access(self.path.parent, os.W_OK):
            modes = ["mode=ro", "immutable=1"]
        for mode in modes:
            try:
                connection = sqlite3.connect(
                    f"{self.path.absolute().as_uri()}?{mode}",
                    uri=True,
                    timeout=30,
                    isolation_level=None,
                    check_same_thread=False,
                )
                connection.execute("PRAGMA cache_size = -131072")
                connection.execute("PRAGMA query_only = ON")
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()
                return connection
            except sqlite3.OperationalError:
                if mode == modes[-1]:
                    raise
        raise AssertionError("there is at least one mode")

    def _create(self) -> None:
        with self.transaction() as connection:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            self._set_meta("schema", SCHEMA_VERSION)
            self._set_meta("generation", "0")
            self._set_meta("derived", "1")
            self._set_meta("id", uuid.uuid4().hex[:16])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all of what is inside, or nothing. Within another, it is part of that."""
        with self._writing, self._translate_errors():
            if self._writer.in_transaction:
                yield self._writer
                return
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk ends one by itself
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise RagIndexError(f"{self.path} was closed while in use") from error
        except sqlite3.OperationalError as error:
            if "is full" in str(error):
                raise RagIndexError.full(self.path) from error
            raise RagIndexError(f"cannot use {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise IndexDamaged.library(self.path, error) from error

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._reading, self._translate_errors():
                return self._reader.execute(sql, values).fetchall()
        except (OverflowError, UnicodeEncodeError) as error:
            raise QueryError(f"a value that cannot be looked up: {error}") from None

    def close(self) -> None:
        """Close the file, when what is being read and written is done."""
        with self._writing, self._reading:
            self._read_only = True  # nothing opens it again
            if self._own_writer is not None:
                self._own_writer.close()
            self._reader.close()

    def file_exists(self) -> bool:
        """Whether the file is still the one that was opened."""
        return self._file == _identity(self.path)

    @contextmanager
    def _read_snapshot(self) -> Iterator[None]:
        """Let several reads see the same state of the file."""
        with self._reading, self._translate_errors():
            if self._reader.in_transaction:
                yield
                return
            self._reader.execute("BEGIN")
            try:
                yield
            finally:
                self._reader.execute("COMMIT")

    def _broken(self, error: Exception) -> IndexDamaged:
        return IndexDamaged(
            f"{self.path} holds something that cannot be read back ({error}): `rag index repair`"
        )

    def meta(self, key: str) -> str | None:
        """Return a note the index keeps about itself."""
        found = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(found[0][0]) if found else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a note."""
        with self.transaction():
            self._set_meta(key, value)

    def _set_meta(self, key: str, value: str) -> None:
        self._writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def generation(self) -> int:
        """A number that grows whenever what searches find changes."""
        return int(self.meta("generation") or 0)

    @property
    def state(self) -> IndexState:
        """What searches find, read at one moment."""
        found = dict(
            self._rows(
                "SELECT key, value FROM meta WHERE key IN ('generation', 'derived', 'embedder')"
            )
        )
        return IndexState(
            int(found["generation"]), int(found["derived"]), found.get("embedder", "")
        )

    def _next_generation(self) -> None:
        self._writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    def embedder_fingerprint(self) -> str:
        """Fingerprint of the embedder that the live vectors are from; "" before any."""
        note = self.state.embedder
        return str(json.loads(note)["fingerprint"]) if note else ""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _slots(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for i in range(0, len(values), _MANY):
        yield values[i : i + _MANY]


def has_stores(folder: Path) -> bool:
    """Whether there is what only comes after a library: its stores, or snapshots of it."""
    return any(os.path.isdir(folder / name) for name in ("derived", "snapshots"))  # noqa: PTH112
