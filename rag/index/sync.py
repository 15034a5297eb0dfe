"""Sync: make the index hold what the connectors list, doing only what has changed.

Listing, reading, parsing and chunking run in one thread, embedding in another, and the stores
are written in the caller's, so that they overlap; the queues between them are short.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from connectors.base import Connector, Parser, Source
from rag.chunking.base import Chunker
from rag.errors import EmbeddingError, RagError, SourceError, SourceUnreadable
from rag.index.index import Index
from rag.index.library import LedgerEntry
from rag.index.writer import Embedded, Prepared, Writer
from rag.types import Chunk, Document

_T = TypeVar("_T")

_BATCH_CHUNKS = 1_024  # chunks made live together
_BATCH_DOCUMENTS = 1_000  # documents that may wait for a batch to fill


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be ingested, and why."""

    uri: str
    error: str


@dataclass(slots=True)
class IngestReport:
    """What a run did: ``seen`` is the sum of added, updated, unchanged, deleted and failed.

    ``chunks`` were written, ``embedded`` texts were not in the cache; ``seconds`` is wall time.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: list[Failure] = field(default_factory=list)
    chunks: int = 0
    embedded: int = 0
    seconds: float = 0.0

    @property
    def seen(self) -> int:
        """Documents that the run decided about."""
        return self.added + self.updated + self.unchanged + self.deleted + len(self.failed)

    def as_json(self) -> dict[str, Any]:
        """Return what ``rag ingest --json`` prints."""
        return {
            "documents": {
                "added": self.added,
                "updated": self.updated,
                "unchanged": self.unchanged,
                "deleted": self.deleted,
                "failed": [{"uri": f.uri, "error": f.error} for f in self.failed],
            },
            "chunks": self.chunks,
            "embedded": self.embedded,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class _Item:
    """One source on its way: decided, then chunked, then embedded."""

    uri: str
    outcome: str
    entry: LedgerEntry | None = None
    document: Document | None = None
    chunks: Sequence[Chunk] = ()
    error: str = ""
    embedded: Embedded | None = None


def sync(
    index: Index,
    connectors: Sequence[Connector],
    parser: Parser,
    chunker: Chunker,
    *,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Bring `index` up to date with what `connectors` list.

    Documents that a connector owns and no longer lists are deleted. A source that fails is
    reported and recorded, its earlier version stays, and the run goes on. `progress` is called
    with the report so far, after every batch. Raises `IndexLocked` where another process is
    writing, `SourceNotFound` where a connector's source does not exist.
    """
    started = time.perf_counter()
    report = IngestReport()

    def told() -> None:
        report.seconds = time.perf_counter() - started
        if progress is not None:
            progress(report)

    with index.writing() as writer:
        run = _Run(index, parser, chunker)
        decided = _ahead(_batched(run.decide(connectors)))
        embedded = _ahead(_embedded(decided, writer))
        try:
            for batch in embedded:
                _store(batch, writer, index, report)
                told()
        finally:
            embedded.close()
            decided.close()
        gone = run.gone(connectors)
        report.deleted = writer.delete(gone)
        index.library.forget_failures(run.stale_failures(connectors))
    told()
    return report


class _Run:
    """What one run has seen, and what follows for each source."""

    def __init__(self, index: Index, parser: Parser, chunker: Chunker) -> None:
        self._index = index
        self._parser = parser
        self._chunker = chunker
        self._parser_print = parser.fingerprint
        self._chunker_print = chunker.fingerprint
        self._seen: set[str] = set()
        self._failing = {uri for uri, _ in index.library.failures()}
        self._unreadable: list[str] = []

    def decide(self, connectors: Sequence[Connector]) -> Iterator[_Item]:
        """Go through all sources, reading only what may have changed."""
        for connector in connectors:
            for source in connector.sources():
                if source.uri in self._seen:
                    continue
                self._seen.add(source.uri)
                try:
                    yield self._decide(source)
                except SourceUnreadable as error:
                    self._unreadable.append(source.uri)
                    yield _Item(source.uri, "failed", error=str(error))
                except SourceError as error:
                    yield _Item(source.uri, "failed", error=str(error))
                except RagError:
                    raise
                except Exception as error:  # a part's bug costs its document, not the run
                    reason = " ".join(f"{type(error).__name__}: {error}".split())
                    yield _Item(source.uri, "failed", error=f"a part failed ({reason})")

    def _decide(self, source: Source) -> _Item:
        known = self._index.library.ledger(source.uri)
        same_parts = (
            known is not None
            and known.parser == self._parser_print
            and known.chunker == self._chunker_print
        )
        if known and same_parts and source.version and known.source_version == source.version:
            # Its entry is written again only to clear a failure that was on record.
            recorded = source.uri in self._failing
            return _Item(source.uri, "unchanged", entry=known if recorded else None)
        data = source.read()
        content_hash = hashlib.sha256(data).hexdigest()
        if known and same_parts and known.content_hash == content_hash:
            return _Item(
                source.uri, "unchanged", entry=self._entry(source, content_hash, known.digest)
            )
        document = self._parser.parse(data, uri=source.uri, mime=source.mime)
        entry = self._entry(source, content_hash, document.digest)
        if known and known.digest == entry.digest and known.chunker == self._chunker_print:
            return _Item(source.uri, "unchanged", entry=entry)
        chunks = self._chunker.split(document, self._index.embedder)
        _check_chunks(chunks, document, self._chunker)
        outcome = "updated" if known else "added"
        return _Item(source.uri, outcome, entry=entry, document=document, chunks=chunks)

    def _entry(self, source: Source, content_hash: str, digest: str) -> LedgerEntry:
        return LedgerEntry(
            source_version=source.version,
            content_hash=content_hash,
            parser=self._parser_print,
            chunker=self._chunker_print,
            digest=digest,
        )

    def gone(self, connectors: Sequence[Connector]) -> list[str]:
        """Documents that a connector owns and did not list; not below what was unreadable."""
        return self._missing(connectors, self._index.library.uris)

    def stale_failures(self, connectors: Sequence[Connector]) -> list[str]:
        """Recorded failures of sources that are no longer there."""
        return self._missing(
            connectors, lambda scope: [uri for uri, _ in self._index.library.failures(scope)]
        )

    def _missing(
        self, connectors: Sequence[Connector], known: Callable[[str], list[str]]
    ) -> list[str]:
        return sorted(
            {
                uri
                for connector in connectors
                for uri in known(connector.scope)
                if uri not in self._seen
                and connector.owns(uri)
                and not any(uri.startswith(f"{place}/") for place in self._unreadable)
            }
        )


def _check_chunks(chunks: Sequence[Chunk], document: Document, chunker: Chunker) -> None:
    """Hold a chunker to its contract: a wrong offset would become a wrong citation."""
    name = f"the chunker {chunker.name!r}"
    if len({chunk.id for chunk in chunks}) != len(chunks):
        raise SourceError(f"{name} gave two chunks the same id")
    for chunk in chunks:
        if document.text[chunk.start : chunk.end] != chunk.text or not chunk.text.strip():
            raise SourceError(f"{name} gave a chunk that is not the text at its offsets")


def _batched(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    chunks = 0
    for item in items:
        batch.append(item)
        chunks += len(item.chunks)
        if chunks >= _BATCH_CHUNKS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, chunks = [], 0
    if batch:
        yield batch


def _embedded(batches: Iterable[list[_Item]], writer: Writer) -> Iterator[list[_Item]]:
    for batch in batches:
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
        yield batch


def _embeddable(items: Sequence[_Item], writer: Writer) -> list[_Item]:
    """Find the documents that an embedder refuses, and fail them alone.

    Raises `EmbeddingError` where it refuses them all: then it is not the documents' fault.
    """
    fine = []
    for item in items:
        try:
            writer.embed(item.chunks)
        except EmbeddingError as error:
            item.outcome, item.error = "failed", str(error)
            item.document, item.entry, item.chunks = None, None, ()
            refusal = error
        else:
            fine.append(item)
    if not fine:
        raise refusal
    return fine


def _store(batch: list[_Item], writer: Writer, index: Index, report: IngestReport) -> None:
    prepared = [
        Prepared(item.document, item.entry, item.chunks, item.embedded)
        for item in batch
        if item.document is not None and item.entry is not None and item.embedded is not None
    ]
    if prepared:
        writer.write(prepared)
        report.embedded += len(prepared[0].embedded.new)  # of the whole batch
    if same := [(item.uri, item.entry) for item in batch if item.document is None and item.entry]:
        index.library.touch(same)
    if failed := [(item.uri, item.error) for item in batch if item.outcome == "failed"]:
        index.library.record_failures(failed)
    report.failed += [Failure(uri, error) for uri, error in failed]
    report.added += sum(item.outcome == "added" for item in batch)
    report.updated += sum(item.outcome == "updated" for item in batch)
    report.unchanged += sum(item.outcome == "unchanged" for item in batch)
    report.chunks += sum(len(item.chunks) for item in batch)


class _ahead(Iterator[_T]):
    """Run an iterator in a thread of its own, `depth` items ahead of its consumer.

    An exception in it is raised where its items are consumed; `close` stops it.
    """

    _END = object()

    def __init__(self, items: Iterator[_T], depth: int = 2) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._items = items
        self._thread = threading.Thread(target=self._work, name="citewell-ahead", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:
            self._error = error
        self._put(self._END)

    def _put(self, item: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __next__(self) -> _T:
        item = self._queue.get()
        if item is self._END:
            self._queue.put(self._END)
            if self._error is not None:
                raise self._error
            raise StopIteration
        result: _T = item
        return result

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stopped.set()
        self._thread.join()
