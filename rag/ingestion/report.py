"""The report of an ingest or of a dry run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rag.types import Coverage

MAX_MISSING_SHARE = 0.1
"""Share of the words of a file above which a person is warned."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be ingested, and the reason."""

    uri: str
    error: str


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that is no document, and why."""

    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A document whose text does not have all of its file, and what is left out."""

    uri: str
    coverage: Coverage

    @property
    def is_large(self) -> bool:
        """Whether more than a tenth of the words of the file are missing without a reason."""
        return self.coverage.missing_share > MAX_MISSING_SHARE


@dataclass(frozen=True, slots=True)
class Move:
    """A document whose bytes disappeared from one uri and appeared under another."""

    old: str
    new: str


@dataclass(slots=True)
class IngestReport:
    """The counts of an ingest.

    ``seen`` is the sum of added, updated, unchanged, deleted, failed and skipped. ``skipped`` are
    files that are no documents. ``losses`` are the added and updated documents whose text does not
    have all words of their file. A moved document counts as one added and one deleted, and is
    listed in ``moved``. ``kept`` counts the documents that
    are missing from their source and were kept because of ``keep_missing``; ``reembedded`` those
    that were embedded again for another embedder before the changes. ``chunks`` is the number of
    chunks of the added and updated documents; ``embedded`` the number of texts that were not in
    the embedding cache. ``read`` counts the documents that are read so far; it grows while a batch
    is prepared. ``seconds`` is wall time. ``total`` is the number of sources, None if unknown.

    In a dry run, the counts say what an ingest would do. ``tokens`` is the number of tokens in
    the texts to embed, counted by the embedder, and ``cost_usd`` is their price, None if the
    embedder has no known price.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: list[Failure] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    moved: list[Move] = field(default_factory=list)
    kept: int = 0
    reembedded: int = 0
    chunks: int = 0
    embedded: int = 0
    read: int = 0
    seconds: float = 0.0
    total: int | None = None
    dry_run: bool = False
    tokens: int | None = None
    cost_usd: float | None = None

    @property
    def seen(self) -> int:
        """Number of documents that the run processed, failures included."""
        outcomes = (self.added, self.updated, self.unchanged, self.deleted)
        return sum(outcomes) + len(self.failed) + len(self.skipped)

    def _repr_html_(self) -> str:
        from rag.types.html_view import render_table

        names = ("added", "updated", "unchanged", "deleted", "kept", "chunks")
        title = "What an ingest would do" if self.dry_run else f"Ingest ({self.seconds:.1f} s)"
        counts = [(name, f"{getattr(self, name):,}") for name in names]
        counts += [("failed", f"{len(self.failed):,}"), ("skipped", f"{len(self.skipped):,}")]
        tables = [render_table(title, ("documents", "number"), counts)]
        if problems := [(f.uri, f.error) for f in self.failed]:
            tables.append(render_table("Failed", ("document", "reason"), problems))
        if skips := [(s.uri, s.reason) for s in self.skipped]:
            tables.append(render_table("Skipped", ("file", "reason"), skips))
        return "".join(tables)

    def as_json(self) -> dict[str, Any]:
        """Return what ``rag ingest --json`` prints."""
        payload: dict[str, Any] = {
            "documents": {
                "added": self.added,
                "updated": self.updated,
                "unchanged": self.unchanged,
                "deleted": self.deleted,
                "failed": [{"uri": f.uri, "error": f.error} for f in self.failed],
                "skipped": [{"uri": s.uri, "reason": s.reason} for s in self.skipped],
                "moved": [{"old": move.old, "new": move.new} for move in self.moved],
                "kept": self.kept,
                "reembedded": self.reembedded,
            },
            "losses": [
                {"uri": loss.uri, **loss.coverage.model_dump(mode="json")} for loss in self.losses
            ],
            "chunks": self.chunks,
            "embedded": self.embedded,
            "seconds": round(self.seconds, 3),
            "dry_run": self.dry_run,
        }
        if self.dry_run:
            payload |= {"tokens": self.tokens, "cost_usd": self.cost_usd}
        return payload
