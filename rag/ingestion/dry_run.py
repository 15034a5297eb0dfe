"""The dry run: what an ingest would do, and what it would cost."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from connectors.base import Connector, Parser
from connectors.parser_pool import ParserLimits, ParserPool
from rag.chunking.base import Chunker
from rag.embedding.base import Embedder
from rag.index.commit_protocol import text_hash
from rag.ingestion.batches import _batched, _count
from rag.ingestion.changes import ChangeDetector
from rag.ingestion.reembedding import _to_adopt
from rag.ingestion.report import IngestReport
from rag.ingestion.source_count import _counting
from rag.stores.sqlite import SqliteDocumentStore
from rag.types import Chunk


def plan(
    library: SqliteDocumentStore | None,
    embedder: Embedder,
    connectors: Sequence[Connector],
    parser: Parser,
    chunker: Chunker,
    *,
    keep_missing: bool = False,
    processes: int | None = None,
    limits: ParserLimits | None = None,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Say what `sync` would do, and what it would cost; nothing is embedded or written.

    Without a `library` there is no index yet. Sources that may have changed are read, parsed and
    chunked, as that is the only way to know.
    """
    started = time.perf_counter()
    report = IngestReport(dry_run=True, tokens=0)
    with ExitStack() as stack:
        if library is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            library = SqliteDocumentStore(Path(folder) / "library.sqlite", create=True)
            stack.callback(library.close)
        if progress is not None:
            stack.enter_context(_counting(connectors, report))
        parsing = ParserPool(parser, processes, limits)
        stack.callback(parsing.close)
        run = ChangeDetector(library, embedder, parsing, chunker, threading.Event())
        cost = _Cost(library, embedder, report)
        for chunks in _to_adopt(library, embedder, chunker, report):
            cost.add(chunks)
        for batch in _batched(run.decide(connectors)):
            _count(batch, report)
            cost.add([chunk for item in batch for chunk in item.chunks])
            report.seconds = time.perf_counter() - started
            if progress is not None:
                progress(report)
        gone = run.gone(connectors)
        if keep_missing:
            report.kept = len(gone)
        else:
            report.moved = run.moved(gone)
            report.deleted = len(gone)
    report.seconds = time.perf_counter() - started
    price = embedder.usd_per_million_tokens
    if price is not None and report.tokens is not None:
        report.cost_usd = price * report.tokens / 1e6
    return report


class _Cost:
    """Counts the texts that are not in the cache, each once, and their tokens."""

    def __init__(
        self, library: SqliteDocumentStore, embedder: Embedder, report: IngestReport
    ) -> None:
        self._library, self._embedder, self._report = library, embedder, report
        self._counted: set[bytes] = set()

    def add(self, chunks: Sequence[Chunk]) -> None:
        texts = {text_hash(chunk.embedded_text): chunk.embedded_text for chunk in chunks}
        cached = self._library.cached_embeddings(self._embedder.fingerprint, list(texts))
        new = {name: text for name, text in texts.items() if name not in cached}
        new = {name: text for name, text in new.items() if name not in self._counted}
        self._counted.update(new)
        self._report.embedded += len(new)
        if self._report.tokens is not None:
            self._report.tokens += sum(self._embedder.count_tokens(list(new.values())))
