"""Re-embedding: embed all documents with another embedder, then switch to it in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from rag.chunking import Chunker, split_document
from rag.embedding.base import Embedder
from rag.index.commit_protocol import IndexWriter
from rag.index.index import Index
from rag.ingestion.batches import embed_batch, group_into_batches
from rag.ingestion.changes import IngestItem
from rag.ingestion.report import IngestReport
from rag.stores.document_store import DocumentStore
from rag.types import Chunk


def chunk_stored_documents(
    document_store: DocumentStore, embedder: Embedder, chunker: Chunker, report: IngestReport
) -> Iterator[list[Chunk]]:
    """Yield the chunks of each stored document if the store was built with another embedder.

    Counts the documents in ``report.reembedded``. Yields nothing if the embedder is the same.
    """
    stored_fingerprint = document_store.state.embedder_fingerprint
    if not stored_fingerprint or stored_fingerprint == embedder.fingerprint:
        return
    last_row_id = 0
    while rows := document_store.documents_to_stage(last_row_id, 100):
        last_row_id = rows[-1][0]
        for _, uri in rows:
            report.reembedded += 1
            yield split_document(chunker, document_store.document(uri), embedder)


def reembed_documents(
    index: Index,
    writer: IndexWriter,
    chunker: Chunker,
    report: IngestReport,
    report_progress: Callable[[], None],
) -> None:
    """Embed all documents with the embedder of the index, then switch to it.

    Resumes an interrupted re-embedding: documents that are staged already are skipped.
    """
    document_store = index.document_store
    fingerprint = chunker.fingerprint
    last_row_id = 0
    while rows := document_store.documents_to_stage(last_row_id, 100):
        last_row_id = rows[-1][0]
        ledger = document_store.ledger_by_uri([uri for _, uri in rows])
        items: list[IngestItem] = []
        for _, uri in rows:
            document = document_store.document(uri)
            entry = replace(ledger[uri], chunker=fingerprint)
            chunks = split_document(chunker, document, index.embedder)
            items.append(IngestItem(uri, "reembedded", entry, document, chunks))
        for batch in group_into_batches(items):
            embedded_batch = embed_batch(batch, writer)
            writer.stage(embedded_batch.pending)
            report.reembedded += len(embedded_batch.pending)
            report.embedded += embedded_batch.embedded_count
            report_progress()
    writer.adopt_embedder()
