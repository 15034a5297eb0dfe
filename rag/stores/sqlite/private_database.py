"""A small SQLite file of an index, for its owner only: conversations, keys, earlier answers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rag.errors import IndexDamaged, RagIndexError

_BUSY_TIMEOUT_SECONDS = 30


class PrivateDatabase:
    """The SQLite file `path`, which the first write creates with the rights 0600.

    `schema` is one or more ``CREATE TABLE IF NOT EXISTS``, and `format_number` its version.
    `contents` says what the file holds, for messages: "conversations". Threads and processes may
    share a file.
    """

    def __init__(self, path: Path, schema: str, format_number: int, contents: str) -> None:
        self.path = path
        self._schema = schema
        self._format_number = format_number
        self._contents = contents

    @property
    def exists(self) -> bool:
        """Whether something was written. A crash may leave an empty file."""
        return self.path.is_file() and self.path.stat().st_size > 0

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Open a connection for one transaction, which is rolled back on errors.

        Without `write`, a missing file is not created: an empty database in memory is read instead.
        Raises `IndexDamaged` if the file is not a database, and `RagIndexError` if it has another
        format or cannot be used. `sqlite3.IntegrityError` is passed on.
        """
        try:
            with closing(self._connect(write)) as connection:
                self._check_format(connection)
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                if write or not self.exists:
                    for statement in self._schema.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {self._format_number}")
                yield connection
                connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.OperationalError, OSError) as error:
            if "is full" in str(error):
                raise RagIndexError.disk_full(self.path) from error
            reason = getattr(error, "strerror", None) or error
            raise RagIndexError(f"cannot use {self.path}: {reason}", path=self.path) from error
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(
                f"{self.path} is damaged ({error}); it contains {self._contents} only: move it "
                "away",
                path=self.path,
            ) from error

    def _connect(self, write: bool) -> sqlite3.Connection:
        if write and not self.path.exists():
            with suppress(FileExistsError):  # readable for its owner only, from the start
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return sqlite3.connect(
            self.path if write or self.exists else ":memory:",
            timeout=_BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
        )

    def _check_format(self, connection: sqlite3.Connection) -> None:
        format_number = connection.execute("PRAGMA user_version").fetchone()[0]
        if format_number not in (0, self._format_number):
            raise RagIndexError(
                f"{self.path} has format {format_number} of another version of citewell; "
                f"this version reads format {self._format_number}",
                path=self.path,
            )
