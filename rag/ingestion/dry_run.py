"""The dry run: what an ingest would change, and what it would cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from connectors.base import Connector, Parser
from connectors.parser_pool import ParserLimits, ParserPool
from rag.chunking.base import Chunker
from rag.embedding.base import Embedder
from rag.ingestion.batches import count_outcomes, group_into_batches
from rag.ingestion.changes import ChangeDetector
from rag.ingestion.reembedding import chunk_stored_documents
from rag.ingestion.report import IngestReport
from rag.ingestion.source_count import count_sources_in_background
from rag.stores.document_store import DocumentStore, hash_text
from rag.stores.memory import InMemoryDocumentStore
from rag.types import Chunk


def plan(
    document_store: DocumentStore | None,
    embedder: Embedder,
    connectors: Sequence[Connector],
    parser: Parser,
    chunker: Chunker,
    *,
    keep_missing: bool = False,
    allow_deletions: bool = False,
    processes: int | None = None,
    limits: ParserLimits | None = None,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Report what `sync` would do and what it would cost, without embedding or writing.

    `document_store` is None if there is no index yet. Sources that may have changed are read,
    parsed and chunked, because the changes cannot be known otherwise.
    """
    start_time = time.perf_counter()
    report = IngestReport(dry_run=True, tokens=0)
    with ExitStack() as stack:
        if document_store is None:
            document_store = InMemoryDocumentStore()
        if progress is not None:
            stack.enter_context(count_sources_in_background(connectors, report))
        parser_pool = ParserPool(parser, processes, limits)
        stack.callback(parser_pool.close)
        detector = ChangeDetector(document_store, embedder, parser_pool, chunker)
        cost = _CostEstimate(document_store, embedder, report)
        for chunks in chunk_stored_documents(document_store, embedder, chunker, report):
            cost.add(chunks)
        for batch in group_into_batches(detector.detect_changes(connectors)):
            count_outcomes(batch, report)
            cost.add([chunk for item in batch for chunk in item.chunks])
            report.seconds = time.perf_counter() - start_time
            if progress is not None:
                progress(report)
        deleted_uris = detector.find_deleted(connectors)
        if keep_missing:
            report.kept = len(deleted_uris)
        else:
            report.moved = detector.find_moves(deleted_uris)
            moved_here = detector.find_moves_from_elsewhere()
            report.moved += moved_here
            report.deleted = len(deleted_uris) + len(moved_here)
    report.seconds = time.perf_counter() - start_time
    price = embedder.usd_per_million_tokens
    if price is not None and report.tokens is not None:
        report.cost_usd = price * report.tokens / 1e6
    return report


class _CostEstimate:
    """Counts the texts that are not in the embedding cache, each once, and their tokens."""

    def __init__(
        self, document_store: DocumentStore, embedder: Embedder, report: IngestReport
    ) -> None:
        self._document_store, self._embedder, self._report = document_store, embedder, report
        self._counted_hashes: set[bytes] = set()

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Add the texts of `chunks` to the report, unless they are cached or counted already."""
        texts = {hash_text(chunk.embedded_text): chunk.embedded_text for chunk in chunks}
        cached_hashes = self._document_store.cached_embeddings(
            self._embedder.fingerprint, list(texts)
        )
        uncached_texts = {
            text_key: text for text_key, text in texts.items() if text_key not in cached_hashes
        }
        uncached_texts = {
            text_key: text
            for text_key, text in uncached_texts.items()
            if text_key not in self._counted_hashes
        }
        self._counted_hashes.update(uncached_texts)
        self._report.embedded += len(uncached_texts)
        if self._report.tokens is not None:
            self._report.tokens += sum(self._embedder.count_tokens(list(uncached_texts.values())))
