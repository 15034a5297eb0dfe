"""Copies of the SQLite document store, integrity checks and free space."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rag.stores.sqlite.connection import IndexState, SqliteConnection

if TYPE_CHECKING:
    pass


class Snapshots(SqliteConnection):
    """Copies, restores, checks and compacts the file."""

    def integrity_errors(self) -> list[str]:
        """What SQLite finds wrong with the file itself; it reads all of it."""
        found = [str(said) for (said,) in self._rows("PRAGMA integrity_check(20)")]
        if broken := self._rows("PRAGMA foreign_key_check"):
            found.append(f"{len(broken):,} rows belong to a document that is not there")
        return [said for said in found if said != "ok"]

    def snapshot(self, path: Path) -> None:
        """Copy the library, as it is at one moment, into the new file `path`.

        Others may read and write meanwhile. The copy is complete, or not there at all.
        """
        with closing(self._connect_reading()) as source, self._translate_errors():
            _copied(source, path)

    def replace_from(self, path: Path) -> None:
        """Take over the whole content of the library in the file `path`, in one transaction."""
        with self._writing, self._translate_errors(), closing(sqlite3.connect(path)) as source:
            source.backup(self._writer)

    def advance_state(self, other: IndexState, derived: int, sequence: Mapping[str, int]) -> None:
        """Become the state after `other`, with the stores `derived`; `sequence` is kept up."""
        with self.transaction() as connection:
            self._set_meta("generation", str(max(other.generation, self.generation) + 1))
            self._set_meta("derived", str(derived))
            for table, number in sequence.items():
                connection.execute(
                    "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table)
                )

    def row_sequences(self) -> dict[str, int]:
        """The highest number ever given to a row, by table."""
        return dict(self._rows("SELECT name, seq FROM sqlite_sequence"))

    def vacuum(self) -> None:
        """Give the space of what is gone back to the file system."""
        with self._writing, self._translate_errors():
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _copied(source: sqlite3.Connection, path: Path) -> None:
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
