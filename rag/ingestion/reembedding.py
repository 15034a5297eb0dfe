"""The change to another embedder: all documents are embedded again, then become live at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from rag.chunking.base import Chunker
from rag.embedding.base import Embedder
from rag.index.commit_protocol import Writer
from rag.index.index import Index
from rag.ingestion.batches import _batched, _embed_batch, _prepared
from rag.ingestion.changes import IngestItem
from rag.ingestion.report import IngestReport
from rag.stores.sqlite import SqliteDocumentStore
from rag.types import Chunk


def _to_adopt(
    library: SqliteDocumentStore, embedder: Embedder, chunker: Chunker, report: IngestReport
) -> Iterator[list[Chunk]]:
    """Chunks of all documents, where the library is of another embedder."""
    built = library.embedder_fingerprint()
    if not built or built == embedder.fingerprint:
        return
    after = 0
    while found := library.documents_to_stage(after, 100):
        after = found[-1][0]
        for _, uri in found:
            report.reembedded += 1
            yield chunker.split(library.document(uri), embedder)


def _adopt(
    index: Index,
    writer: Writer,
    chunker: Chunker,
    report: IngestReport,
    told: Callable[[], None],
) -> None:
    """Embed all documents with the index's embedder, then switch over. Goes on where it was."""
    library = index.document_store
    fingerprint = chunker.fingerprint
    after = 0
    while found := library.documents_to_stage(after, 100):
        after = found[-1][0]
        ledger = library.ledger([uri for _, uri in found])
        items: list[IngestItem] = []
        for _, uri in found:
            document = library.document(uri)
            entry = replace(ledger[uri], chunker=fingerprint)
            chunks = chunker.split(document, index.embedder)
            items.append(IngestItem(uri, "reembedded", entry, document, chunks))
        for batch in _batched(items):
            prepared = _prepared(_embed_batch(batch, writer))
            writer.stage(prepared)
            report.reembedded += len(prepared)
            report.embedded += len(prepared[0].embedded.new)
            told()
    writer.adopt_embedder()
