"""The ingestion ledger: where each document came from, and what could not be read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.stores.sqlite.connection import SqliteConnection, _batches, _slots

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """How a document came into the index: what must be unchanged for it to stay as it is.

    ``source`` is the uri of the source it is from, of which there may be several documents;
    ``digest`` is `Document.digest`, ``content_hash`` that of the source's bytes; ``parser`` and
    ``chunker`` are fingerprints; ``parts`` is how many documents and failures the source gave,
    and ``origin`` is the `Connector.owner_id` of what listed it first.
    """

    source: str
    source_version: str
    content_hash: str
    parser: str
    chunker: str
    digest: str
    parts: int = 1
    owner_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureEntry:
    """Why a source, or a part of one, could not be ingested when last tried.

    With a ``source_version``, that version of it fails with this ``parser`` whenever it is tried.
    """

    uri: str
    source: str
    error: str
    source_version: str = ""
    parser: str = ""


class Ledger(SqliteConnection):
    """Entries of documents and of failures."""

    def refresh_ledger(self, entries: Sequence[tuple[str, LedgerEntry]]) -> None:
        """Renew the ledger of live documents that turned out to be the same."""
        with self.transaction():
            for uri, entry in entries:
                self._writer.execute(
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
                self._writer.execute("DELETE FROM failures WHERE uri = ?", (uri,))

    def record_failures(self, failures: Sequence[FailureEntry]) -> None:
        """Remember what could not be ingested."""
        now = time.time()
        with self.transaction():
            self._writer.executemany(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)",
                ((f.uri, f.source, f.error, f.source_version, f.parser, now) for f in failures),
            )

    def ledger(self, uris: Sequence[str]) -> dict[str, LedgerEntry]:
        """How the live versions of these uris were made; those that there are, by uri."""
        return self._ledger("uri", uris)

    def ledger_of(self, sources: Sequence[str]) -> dict[str, dict[str, LedgerEntry]]:
        """How the live documents of each of these sources were made: by source, then by uri."""
        found: dict[str, dict[str, LedgerEntry]] = {}
        for uri, entry in self._ledger("source", sources).items():
            found.setdefault(entry.source, {})[uri] = entry
        return found

    def _ledger(self, column: str, values: Sequence[str]) -> dict[str, LedgerEntry]:
        return {
            uri: LedgerEntry(
                source=source,
                source_version=version,
                content_hash=content,
                parser=parser,
                chunker=chunker,
                digest=digest,
                parts=parts,
                owner_id=origin,
            )
            for batch in _batches(values)
            for uri, source, version, content, parser, chunker, digest, parts, origin in self._rows(
                "SELECT uri, source, source_version, content_hash, parser, chunker, digest, parts,"
                f" origin FROM documents WHERE state = 'live' AND {column} IN ({_slots(batch)})"
                " ORDER BY id",
                batch,
            )
        }

    def uris(self, prefix: str = "") -> list[str]:
        """Uris of the live documents, or of those that begin with `prefix`, sorted."""
        return [uri for uri, _, _ in self.sources(prefix)]

    def sources(self, prefix: str = "") -> list[tuple[str, str, str]]:
        """(uri, source, origin) of the live documents whose uri begins with `prefix`, sorted."""
        return [
            (str(uri), str(source), str(origin))
            for uri, source, origin in self._rows(
                "SELECT uri, source, origin FROM documents WHERE state = 'live' AND uri >= ? AND"
                " substr(uri, 1, ?) = ? ORDER BY uri",
                (prefix, len(prefix), prefix),
            )
        ]

    def failures(self, prefix: str = "") -> list[FailureEntry]:
        """What could not be ingested when last tried, sorted by uri."""
        return self._failures("substr(uri, 1, ?) = ?", (len(prefix), prefix))

    def failures_of(self, sources: Sequence[str]) -> dict[str, list[FailureEntry]]:
        """What of each of these sources could not be ingested when last tried."""
        found: dict[str, list[FailureEntry]] = {}
        for batch in _batches(sources):
            for failure in self._failures(f"source IN ({_slots(batch)})", batch):
                found.setdefault(failure.source, []).append(failure)
        return found

    def _failures(self, condition: str, values: Sequence[Any]) -> list[FailureEntry]:
        return [
            FailureEntry(uri=uri, source=source, error=error, source_version=version, parser=parser)
            for uri, source, error, version, parser in self._rows(
                "SELECT uri, source, error, source_version, parser FROM failures"
                f" WHERE {condition} ORDER BY uri",
                values,
            )
        ]

    def forget_failures(self, uris: Sequence[str]) -> None:
        """Drop the failures of sources that are gone."""
        with self.transaction():
            self._writer.executemany("DELETE FROM failures WHERE uri = ?", ((uri,) for uri in uris))
