"""The ingestion ledger: how each document was ingested, and which sources failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rag.stores.document_store import FailureEntry, LedgerEntry
from rag.stores.sqlite.connection import SqliteConnection, split_for_sql, sql_placeholders


class Ledger(SqliteConnection):
    """Reads and writes ledger entries of documents, and failures."""

    def refresh_ledger(self, entries: Sequence[tuple[str, LedgerEntry]]) -> None:
        """Update the ledger entries of live documents whose content is unchanged, by uri."""
        with self.transaction():
            for uri, entry in entries:
                self._write_connection.execute(
                    "UPDATE documents SET source = ?, source_version = ?, content_hash = ?,"
                    " parser = ?, chunker = ?, parts = ? WHERE uri = ? AND state = 'live'",
                    (
                        entry.source,
                        entry.source_version,
                        entry.content_hash,
                        entry.parser,
                        entry.chunker,
                        entry.parts,
                        uri,
                    ),
                )
                self._write_connection.execute("DELETE FROM failures WHERE uri = ?", (uri,))

    def record_failures(self, failures: Sequence[FailureEntry]) -> None:
        """Record failures, each in place of an earlier one of the same uri."""
        recorded_at = time.time()
        with self.transaction():
            self._write_connection.executemany(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (f.uri, f.source, f.error, f.source_version, f.parser, recorded_at)
                    for f in failures
                ),
            )

    def ledger_by_uri(self, uris: Sequence[str]) -> dict[str, LedgerEntry]:
        """Return the ledger entries of the live documents with these uris, by uri."""
        return self._read_ledger("uri", uris)

    def ledger_by_source(self, sources: Sequence[str]) -> dict[str, dict[str, LedgerEntry]]:
        """Return the ledger entries of the live documents of these sources, by source and uri."""
        entries: dict[str, dict[str, LedgerEntry]] = {}
        for uri, entry in self._read_ledger("source", sources).items():
            entries.setdefault(entry.source, {})[uri] = entry
        return entries

    def _read_ledger(self, column: str, values: Sequence[str]) -> dict[str, LedgerEntry]:
        return {
            uri: LedgerEntry(
                source=source,
                source_version=version,
                content_hash=content,
                parser=parser,
                chunker=chunker,
                digest=digest,
                parts=parts,
                owner_id=owner,
            )
            for batch in split_for_sql(values)
            for (
                uri,
                source,
                version,
                content,
                parser,
                chunker,
                digest,
                parts,
                owner,
            ) in self._fetch_rows(
                "SELECT uri, source, source_version, content_hash, parser, chunker, digest, parts,"
                " owner_id FROM documents WHERE state = 'live'"
                f" AND {column} IN ({sql_placeholders(batch)}) ORDER BY id",
                batch,
            )
        }

    def uris(self, prefix: str = "") -> list[str]:
        """Return the uris of the live documents that begin with `prefix`, sorted."""
        return [uri for uri, _, _ in self.sources(prefix)]

    def sources(self, prefix: str = "") -> list[tuple[str, str, str]]:
        """Return (uri, source, owner id) of the live documents with this uri prefix, sorted."""
        return [
            (str(uri), str(source), str(owner))
            for uri, source, owner in self._fetch_rows(
                "SELECT uri, source, owner_id FROM documents WHERE state = 'live' AND uri >= ? AND"
                " substr(uri, 1, ?) = ? ORDER BY uri",
                (prefix, len(prefix), prefix),
            )
        ]

    def failures(self, prefix: str = "") -> list[FailureEntry]:
        """Return the failures of the uris that begin with `prefix`, sorted by uri."""
        return self._read_failures("substr(uri, 1, ?) = ?", (len(prefix), prefix))

    def failures_by_source(self, sources: Sequence[str]) -> dict[str, list[FailureEntry]]:
        """Return the failures of these sources, by source."""
        failures: dict[str, list[FailureEntry]] = {}
        for batch in split_for_sql(sources):
            for failure in self._read_failures(f"source IN ({sql_placeholders(batch)})", batch):
                failures.setdefault(failure.source, []).append(failure)
        return failures

    def _read_failures(self, condition: str, values: Sequence[Any]) -> list[FailureEntry]:
        return [
            FailureEntry(uri=uri, source=source, error=error, source_version=version, parser=parser)
            for uri, source, error, version, parser in self._fetch_rows(
                "SELECT uri, source, error, source_version, parser FROM failures"
                f" WHERE {condition} ORDER BY uri",
                values,
            )
        ]

    def delete_failures(self, uris: Sequence[str]) -> None:
        """Delete the failures with these uris."""
        with self.transaction():
            self._write_connection.executemany(
                "DELETE FROM failures WHERE uri = ?", ((uri,) for uri in uris)
            )
