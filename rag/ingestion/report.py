"""What an ingest did, or would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be ingested, and why."""

    uri: str
    error: str


@dataclass(frozen=True, slots=True)
class Move:
    """A document whose bytes are gone from one uri and were found under another."""

    old: str
    new: str


@dataclass(slots=True)
class IngestReport:
    """What a run did: ``seen`` is the sum of added, updated, unchanged, deleted and failed.

    A moved document counts as one added and one deleted, and is listed in ``moved``. ``kept``
    are documents that are missing from their source and were kept on demand; ``reembedded``
    those embedded again for another embedder before anything else. ``chunks`` were written,
    ``embedded`` texts were not in the cache; ``seconds`` is wall time, ``total`` the number of
    sources where it is known.

    Of a dry run, everything is what would be done; ``tokens`` are in the texts to embed, by the
    embedder's own count, and ``cost_usd`` is their price where it is known.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: list[Failure] = field(default_factory=list)
    moved: list[Move] = field(default_factory=list)
    kept: int = 0
    reembedded: int = 0
    chunks: int = 0
    embedded: int = 0
    seconds: float = 0.0
    total: int | None = None
    dry_run: bool = False
    tokens: int | None = None
    cost_usd: float | None = None

    @property
    def seen(self) -> int:
        """Documents that the run decided about."""
        return self.added + self.updated + self.unchanged + self.deleted + len(self.failed)

    def as_json(self) -> dict[str, Any]:
        """Return what ``rag ingest --json`` prints."""
        found: dict[str, Any] = {
            "documents": {
                "added": self.added,
                "updated": self.updated,
                "unchanged": self.unchanged,
                "deleted": self.deleted,
                "failed": [{"uri": f.uri, "error": f.error} for f in self.failed],
                "moved": [{"old": move.old, "new": move.new} for move in self.moved],
                "kept": self.kept,
                "reembedded": self.reembedded,
            },
            "chunks": self.chunks,
            "embedded": self.embedded,
            "seconds": round(self.seconds, 3),
            "dry_run": self.dry_run,
        }
        if self.dry_run:
            found |= {"tokens": self.tokens, "cost_usd": self.cost_usd}
        return found
