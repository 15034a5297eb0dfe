"""Batches of documents: embedded together, written together, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rag.errors import EmbeddingError
from rag.index.commit_protocol import Embedded, Prepared, Writer
from rag.index.index import Index
from rag.ingestion.changes import IngestItem
from rag.ingestion.report import Failure, IngestReport

_BATCH_CHUNKS = 1_024  # chunks made live together
_BATCH_DOCUMENTS = 1_000  # documents that may wait for a batch to fill


def _batched(items: Iterable[IngestItem]) -> Iterator[list[IngestItem]]:
    batch: list[IngestItem] = []
    chunks = 0
    for item in items:
        batch.append(item)
        chunks += len(item.chunks)
        if chunks >= _BATCH_CHUNKS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, chunks = [], 0
    if batch:
        yield batch


def _embedded(batches: Iterable[list[IngestItem]], writer: Writer) -> Iterator[list[IngestItem]]:
    for batch in batches:
        yield _embed_batch(batch, writer)


def _embed_batch(batch: list[IngestItem], writer: Writer) -> list[IngestItem]:
    """Embed the changed documents of a batch together."""
    changed = [item for item in batch if item.document is not None]
    try:
        embedded = writer.embed([chunk for item in changed for chunk in item.chunks])
    except EmbeddingError:
        changed = _embeddable(changed, writer)
        embedded = writer.embed([chunk for item in changed for chunk in item.chunks])
    at = 0
    for item in changed:
        part = slice(at, at + len(item.chunks))
        item.embedded = Embedded(embedded.hashes[part], embedded.vectors[part], embedded.new)
        at = part.stop
    return batch


def _embeddable(items: Sequence[IngestItem], writer: Writer) -> list[IngestItem]:
    """Find the documents that an embedder refuses, and fail them alone.

    Raises `EmbeddingError` where it refuses everything: then it is not the documents' fault.
    """
    fine: list[IngestItem] = []
    for item in items:
        try:
            writer.embed(item.chunks)
        except EmbeddingError as error:
            if item.outcome == "reembedded":  # nothing may be left behind
                raise EmbeddingError(f"{item.uri}: {error}") from error
            if not fine and not writer.works():
                raise
            source = item.entry.source if item.entry else item.uri
            failed = IngestItem.failed(item.uri, source, error)
            item.outcome, item.failure = failed.outcome, failed.failure
            item.document, item.entry, item.chunks = None, None, ()
        else:
            fine.append(item)
    return fine


def _prepared(batch: Sequence[IngestItem]) -> list[Prepared]:
    return [
        Prepared(item.document, item.entry, item.chunks, item.embedded)
        for item in batch
        if item.document is not None and item.entry is not None and item.embedded is not None
    ]


def _store(batch: list[IngestItem], writer: Writer, index: Index, report: IngestReport) -> None:
    if prepared := _prepared(batch):
        writer.write(prepared)
        report.embedded += len(prepared[0].embedded.new)  # of the whole batch
    if same := [(item.uri, item.entry) for item in batch if item.document is None and item.entry]:
        index.document_store.refresh_ledger(same)
    if failed := [item.failure for item in batch if item.failure is not None]:
        index.document_store.record_failures(failed)
    _count(batch, report)


def _count(batch: Sequence[IngestItem], report: IngestReport) -> None:
    failures = [item.failure for item in batch if item.failure is not None]
    report.failed += [Failure(failure.uri, failure.error) for failure in failures]
    report.added += sum(item.outcome == "added" for item in batch)
    report.updated += sum(item.outcome == "updated" for item in batch)
    report.unchanged += sum(item.outcome == "unchanged" for item in batch)
    report.chunks += sum(len(item.chunks) for item in batch)
