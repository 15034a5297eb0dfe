"""Maintenance of the SQLite file: copies, restores, integrity checks and compaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from rag.stores.sqlite.connection import IndexState, SqliteConnection


class FileMaintenance(SqliteConnection):
    """Copies, restores, checks and compacts the SQLite file."""

    def integrity_errors(self) -> list[str]:
        """Return what SQLite finds wrong with the file. Reads all of it."""
        reports = [str(report) for (report,) in self._fetch_rows("PRAGMA integrity_check(20)")]
        if orphans := self._fetch_rows("PRAGMA foreign_key_check"):
            reports.append(f"{len(orphans):,} rows belong to a document that does not exist")
        return [report for report in reports if report != "ok"]

    def snapshot(self, path: Path) -> None:
        """Copy the state of the document store at one moment into the new file `path`.

        Others may read and write meanwhile. After a crash the copy is complete or absent.
        """
        with closing(self._connect_for_reading()) as source, self._translate_errors():
            _copy_database(source, path)

    def replace_from(self, path: Path) -> None:
        """Replace all content with that of the document store in `path`, in one transaction."""
        with self._write_lock, self._translate_errors(), closing(sqlite3.connect(path)) as source:
            source.backup(self._write_connection)

    def advance_state(
        self, previous: IndexState, store_set_number: int, row_sequences: Mapping[str, int]
    ) -> None:
        """Make this file the state that follows `previous`, with the store set of that number.

        `row_sequences` are the highest row numbers used so far, by table: none is used again.
        """
        with self.transaction() as connection:
            self._write_meta("generation", str(max(previous.generation, self.generation) + 1))
            self._write_meta("derived", str(store_set_number))
            for table, number in row_sequences.items():
                connection.execute(
                    "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table)
                )

    def row_sequences(self) -> dict[str, int]:
        """Return the highest row number ever used, by table."""
        return dict(self._fetch_rows("SELECT name, seq FROM sqlite_sequence"))

    def vacuum(self) -> None:
        """Return the space of deleted rows to the file system."""
        with self._write_lock, self._translate_errors():
            self._write_connection.execute("VACUUM")
            self._write_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _copy_database(source: sqlite3.Connection, path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with suppress(FileNotFoundError):
        partial.unlink()
    try:
        with closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
