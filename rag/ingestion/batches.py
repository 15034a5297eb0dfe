"""Batches of documents that are embedded, written and counted together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rag.errors import EmbeddingError
from rag.index.commit_protocol import IndexWriter
from rag.index.index import Index
from rag.ingestion.changes import IngestItem
from rag.ingestion.report import Failure, IngestReport, Loss, Skip
from rag.stores.document_store import PendingDocument

_BATCH_CHUNKS = 1_024  # chunks that become live together
_BATCH_DOCUMENTS = 1_000  # a batch of documents with few chunks ends here


def group_into_batches(items: Iterable[IngestItem]) -> Iterator[list[IngestItem]]:
    """Group items into batches that are limited in chunks and in documents."""
    batch: list[IngestItem] = []
    chunk_count = 0
    for item in items:
        batch.append(item)
        chunk_count += len(item.chunks)
        if chunk_count >= _BATCH_CHUNKS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, chunk_count = [], 0
    if batch:
        yield batch


class EmbeddedBatch(NamedTuple):
    """A batch of items, and the number of texts that were embedded for it."""

    items: list[IngestItem]
    embedded_count: int

    @property
    def pending(self) -> list[PendingDocument]:
        """The documents that are ready to be written."""
        return [item.pending for item in self.items if item.pending is not None]


def embed_batches(
    batches: Iterable[list[IngestItem]], writer: IndexWriter
) -> Iterator[EmbeddedBatch]:
    """Embed each batch in turn, and yield it."""
    for batch in batches:
        yield embed_batch(batch, writer)


def embed_batch(batch: list[IngestItem], writer: IndexWriter) -> EmbeddedBatch:
    """Embed the changed documents of a batch in one call, and return the batch.

    A document that the embedder rejects becomes a failure. Raises `EmbeddingError` if the
    embedder rejects every document, or one that has to be re-embedded.
    """
    changed = [item for item in batch if item.document is not None]
    try:
        embedded = writer.embed([chunk for item in changed for chunk in item.chunks])
    except EmbeddingError:
        changed = _drop_rejected_items(changed, writer)
        embedded = writer.embed([chunk for item in changed for chunk in item.chunks])
    offset = 0
    for item in changed:
        chunk_range = slice(offset, offset + len(item.chunks))
        offset = chunk_range.stop
        if item.document is not None and item.entry is not None:
            item.pending = PendingDocument(
                item.document,
                item.entry,
                item.chunks,
                embedded.hashes[chunk_range],
                embedded.vectors[chunk_range],
            )
    return EmbeddedBatch(batch, len(embedded.new_hashes))


def _drop_rejected_items(items: Sequence[IngestItem], writer: IndexWriter) -> list[IngestItem]:
    """Turn the documents that the embedder rejects into failures, and return the others.

    Raises `EmbeddingError` if the embedder rejects everything: then the cause is the embedder,
    not a document.
    """
    embeddable_items: list[IngestItem] = []
    for item in items:
        try:
            writer.embed(item.chunks)
        except EmbeddingError as error:
            if item.outcome == "reembedded":  # the switch to another embedder needs every document
                raise EmbeddingError(f"{item.uri}: {error}") from error
            if not embeddable_items and not writer.is_embedder_working():
                raise
            source = item.entry.source if item.entry else item.uri
            failed_item = IngestItem.from_failure(item.uri, source, error)
            item.outcome, item.failure = failed_item.outcome, failed_item.failure
            item.document, item.entry, item.chunks = None, None, ()
        else:
            embeddable_items.append(item)
    return embeddable_items


def store_batch(
    batch: EmbeddedBatch, writer: IndexWriter, index: Index, report: IngestReport
) -> None:
    """Write the changed documents, the ledger and the failures of a batch, and count them."""
    if pending := batch.pending:
        writer.write(pending)
        report.embedded += batch.embedded_count
    items = batch.items
    unchanged = [item for item in items if item.document is None]
    if refreshed_entries := [(item.uri, item.entry) for item in unchanged if item.entry]:
        index.document_store.refresh_ledger(refreshed_entries)
    if failures := [item.failure for item in items if item.failure is not None]:
        index.document_store.record_failures(failures)
    count_outcomes(items, report)


def count_outcomes(batch: Sequence[IngestItem], report: IngestReport) -> None:
    """Add the outcomes of a batch to `report`."""
    failures = [item.failure for item in batch if item.failure is not None]
    report.failed += [Failure(failure.uri, failure.error) for failure in failures]
    report.skipped += [
        Skip(item.uri, item.skip_reason) for item in batch if item.outcome == "skipped"
    ]
    report.losses += [
        Loss(item.uri, coverage)
        for item in batch
        if item.document is not None
        and (coverage := item.document.coverage) is not None
        and (coverage.missing or coverage.omissions)
    ]
    report.added += sum(item.outcome == "added" for item in batch)
    report.updated += sum(item.outcome == "updated" for item in batch)
    report.unchanged += sum(item.outcome == "unchanged" for item in batch)
    report.chunks += sum(len(item.chunks) for item in batch)
