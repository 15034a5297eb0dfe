"""Maintenance of the SQLite file: copies, restores, integrity checks and compaction."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from rag.stores.sqlite.connection import SqliteConnection


class FileMaintenance(SqliteConnection):
    """Copies, restores, checks and compacts the SQLite file."""

    def integrity_errors(self) -> list[str]:
        """Return what SQLite finds wrong with the file. Reads all of it."""
        reports = [str(report) for (report,) in self._fetch_rows("PRAGMA integrity_check(20)")]
        if orphans := self._fetch_rows("PRAGMA foreign_key_check"):
            reports.append(f"{len(orphans):,} rows belong to a document that does not exist")
        return [report for report in reports if report != "ok"]

    def copy_to_file(self, path: Path) -> None:
        """Copy the state of the document store at one moment into the new file `path`.

        Others may read and write meanwhile. After a crash the copy is complete or absent.
        """
        with closing(self._connect_for_reading()) as source, self._translate_errors():
            _copy_database(source, path)

    def advance_state(self, store_set_number: int) -> None:
        """Raise the generation, and use the store set of that number."""
        with self.transaction():
            self._increment_generation()
            self._write_meta("store_set", str(store_set_number))

    def compact(self) -> None:
        """See `DocumentStore.compact`."""
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
