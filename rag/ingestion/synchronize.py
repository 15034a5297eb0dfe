"""Sync: make the index hold what the connectors list, doing only what has changed.

Sources are listed and read in threads, parsed there or in processes of their own, chunked in one
thread, embedded in another, and the stores are written in the caller's, so that all of it
overlaps; the queues between the stages are short.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context

from connectors.base import Connector, Parser
from connectors.parser_pool import ParserLimits, ParserPool
from rag.chunking.base import Chunker
from rag.index.index import Index
from rag.ingestion.batches import _batched, _embedded, _store
from rag.ingestion.changes import ChangeDetector
from rag.ingestion.prefetch import Prefetcher
from rag.ingestion.reembedding import _adopt
from rag.ingestion.report import IngestReport
from rag.ingestion.source_count import _counting

_NICE = 10  # priority of an ingest below that of searches, in the units of nice(1)


def sync(
    index: Index,
    connectors: Sequence[Connector],
    parser: Parser,
    chunker: Chunker,
    *,
    keep_missing: bool = False,
    processes: int | None = None,
    limits: ParserLimits | None = None,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Bring `index` up to date with what `connectors` list.

    Documents that a connector owns and no longer lists are deleted, unless `keep_missing`. A
    source that fails is reported and recorded, its earlier version stays, and the run goes on.
    Where the index is of another embedder, all of it is embedded again first, and passes to the
    index's embedder at once. `processes` is how many parse, and `limits` what they may take (see
    `ParserPool`); `progress` is called with the report so far, after every batch, from the thread
    that ingests. Raises `IndexLocked` where another process is writing, `SourceNotFound` where a
    connector's source does not exist.
    """
    stop = threading.Event()
    parsing = ParserPool(parser, processes, limits)
    with ThreadPoolExecutor(1, "citewell-ingest", initializer=_step_back) as pool:
        running = pool.submit(
            copy_context().run,
            _sync,
            index,
            connectors,
            parsing,
            chunker,
            keep_missing,
            progress,
            stop,
        )
        try:
            return running.result()
        except BaseException:  # Ctrl-C reaches the main thread only
            stop.set()
            raise
        finally:
            parsing.close()


def _step_back() -> None:
    """Let searches go first: the threads and processes that this thread starts inherit it.

    Linux gives every thread a priority of its own; elsewhere it stays as it is.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _sync(
    index: Index,
    connectors: Sequence[Connector],
    parsing: ParserPool,
    chunker: Chunker,
    keep_missing: bool,
    progress: Callable[[IngestReport], None] | None,
    stop: threading.Event,
) -> IngestReport:
    started = time.perf_counter()
    report = IngestReport()

    def told() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        report.seconds = time.perf_counter() - started
        if progress is not None:
            progress(report)

    with ExitStack() as stack:
        writer = stack.enter_context(index.writing(adopting=True))
        if progress is not None:
            stack.enter_context(_counting(connectors, report))
        if index.has_other_embedder(index.document_store.state):
            _adopt(index, writer, chunker, report, told)
        run = ChangeDetector(index.document_store, index.embedder, parsing, chunker, stop)
        decided = Prefetcher(_batched(run.decide(connectors)), stop)
        embedded = Prefetcher(_embedded(decided, writer), stop)
        try:
            for batch in embedded:
                _store(batch, writer, index, report)
                told()
        finally:
            embedded.close()
            decided.close()
        gone = run.gone(connectors)
        if keep_missing:
            report.kept = len(gone)
        else:
            report.moved = run.moved(gone)
            report.deleted = writer.delete(gone)
        index.document_store.forget_failures(run.stale_failures(connectors))
    told()
    return report
