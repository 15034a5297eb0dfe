"""Sync: make the index contain what the connectors list, processing only changes.

The stages overlap: threads list and read the sources, worker processes (or these threads) parse
them, one thread chunks, another one embeds, and the thread that ingests writes the stores. The
queues between the stages are short.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context

from connectors.base import Connector, Parser
from connectors.parser_pool import ParserLimits, ParserPool
from rag.call_context import Cancellation, check_limits, limit_call
from rag.chunking.base import Chunker
from rag.errors import CallCancelled, DeadlineExceeded, ModelRateLimited, ModelUnreachable
from rag.index.commit_protocol import IndexWriter
from rag.index.index import Index
from rag.ingestion.batches import embed_batches, group_into_batches, store_batch
from rag.ingestion.changes import ChangeDetector, IngestItem
from rag.ingestion.prefetch import Prefetcher
from rag.ingestion.reembedding import reembed_documents
from rag.ingestion.report import IngestReport
from rag.ingestion.source_count import count_sources_in_background

_INGEST_NICENESS = 10  # added to the nice value of the ingest (see nice(1)); searches keep 0


def sync(
    index: Index,
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
    """Update `index` with the changes of the sources that `connectors` list.

    Documents that a connector owns and no longer lists are deleted, unless `keep_missing`. If more
    than 10 documents, and more than half of a source, would be deleted, nothing is deleted and
    `TooManyDeletions` is raised, unless `allow_deletions`; other changes are kept. When a
    source fails, the failure is reported and recorded, the indexed version stays, and the run
    continues. If the index was built with another embedder, all documents are embedded again
    first, and the index switches to its new embedder in one step. `processes` is the number of
    parser processes and `limits` bounds the time and memory of each source (see `ParserPool`).
    A run ends within moments when its call is cancelled or its deadline passes (`limit_call`); what
    was written stays, and the next run goes on from there.
    `progress` is called with the report at the beginning and after every batch, from the thread
    that ingests; ``read`` in it grows between.
    Raises `IndexLocked` if another process is writing, and `SourceNotFound` if the source of a
    connector does not exist.
    """
    stop = Cancellation()
    parser_pool = ParserPool(parser, processes, limits)
    with ThreadPoolExecutor(1, "citewell-ingest", initializer=_lower_priority) as pool:
        sync_future = pool.submit(
            copy_context().run,
            _run_sync,
            index,
            connectors,
            parser_pool,
            chunker,
            keep_missing,
            allow_deletions,
            progress,
            stop,
        )
        try:
            return sync_future.result()
        except BaseException:  # Ctrl-C reaches the main thread only
            stop.cancel()
            raise
        finally:
            parser_pool.close()


def _lower_priority() -> None:
    """Lower the priority of this thread, so that searches run first.

    Threads and processes that it starts inherit the priority. Only Linux has a priority per
    thread; other systems keep the normal priority.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _INGEST_NICENESS)


def _count_reads(items: Iterator[IngestItem], report: IngestReport) -> Iterator[IngestItem]:
    """Pass the items on, and count them in ``report.read``."""
    for item in items:
        report.read += 1
        yield item


def _run_sync(
    index: Index,
    connectors: Sequence[Connector],
    parser_pool: ParserPool,
    chunker: Chunker,
    keep_missing: bool,
    allow_deletions: bool,
    progress: Callable[[IngestReport], None] | None,
    stop: Cancellation,
) -> IngestReport:
    start_time = time.perf_counter()
    report = IngestReport()

    def report_progress() -> None:
        check_limits()
        report.seconds = time.perf_counter() - start_time
        if progress is not None:
            progress(report)

    with ExitStack() as stack:
        stack.enter_context(limit_call(cancellation=stop))
        writer = stack.enter_context(index.open_writer(allow_other_embedder=True))
        if progress is not None:
            stack.enter_context(count_sources_in_background(connectors, report))
            report_progress()
        if index.has_other_embedder(index.document_store.state):
            reembed_documents(index, writer, chunker, report, report_progress)
        index.probe.check()
        detector = ChangeDetector(index.document_store, index.embedder, parser_pool, chunker)
        changes = _count_reads(detector.detect_changes(connectors), report)
        decided_batches = Prefetcher(group_into_batches(changes))
        embedded_batches = Prefetcher(embed_batches(decided_batches, writer))
        try:
            for batch in embedded_batches:
                store_batch(batch, writer, index, report)
                report_progress()
        except (CallCancelled, DeadlineExceeded):
            parser_pool.close()  # the threads may wait for a parser
            raise
        except (ModelRateLimited, ModelUnreachable) as error:
            raise type(error)(
                f"{error}. What was embedded before is kept: the same command goes on from there",
                status=error.status,
                retry_after=error.retry_after,
                model=error.model,
            ) from error
        finally:
            embedded_batches.close()
            decided_batches.close()
        if keep_missing:
            report.kept = len(detector.find_deleted(connectors))
        else:
            _delete_missing(writer, detector, connectors, report, allow_deletions=allow_deletions)
        index.document_store.delete_failures(detector.find_stale_failures(connectors))
    report_progress()
    return report


def _delete_missing(
    writer: IndexWriter,
    detector: ChangeDetector,
    connectors: Sequence[Connector],
    report: IngestReport,
    *,
    allow_deletions: bool,
) -> None:
    """Delete the documents that their connectors no longer list, and those that moved."""
    deleted_uris = detector.find_deleted(connectors)
    report.moved = detector.find_moves(deleted_uris)
    if not allow_deletions:
        detector.check_deletions(connectors, deleted_uris, report.moved)
    moved_here = detector.find_moves_from_elsewhere()
    report.moved += moved_here
    report.deleted = writer.delete([*deleted_uris, *(move.old for move in moved_here)])
