"""Sync: make the index hold what the connectors list, doing only what has changed.

Sources are listed and read in threads, parsed there or in processes of their own, chunked in one
thread, embedded in another, and the stores are written in the caller's, so that all of it
overlaps; the queues between the stages are short.
"""

from __future__ import annotations

import hashlib
import os
import queue
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from connectors.base import Connector, Parser, Source
from connectors.parsing import Parsing
from rag.chunking.base import Chunker
from rag.embedding.base import Embedder
from rag.errors import EmbeddingError, RagError, SourceError, SourceUnreadable
from rag.index.index import Index
from rag.index.library import LedgerEntry, Library
from rag.index.report import Failure, IngestReport, Move
from rag.index.writer import Embedded, Prepared, Writer, text_hash
from rag.types import Chunk, Document

_T = TypeVar("_T")

_BATCH_CHUNKS = 1_024  # chunks made live together
_BATCH_DOCUMENTS = 1_000  # documents that may wait for a batch to fill
_NICE = 10  # priority of an ingest below that of searches, in the units of nice(1)
_LISTED = 500  # sources looked up in the ledger together


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
    keep_missing: bool = False,
    processes: int | None = None,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Bring `index` up to date with what `connectors` list.

    Documents that a connector owns and no longer lists are deleted, unless `keep_missing`. A
    source that fails is reported and recorded, its earlier version stays, and the run goes on.
    Where the index is of another embedder, all of it is embedded again first, and passes to the
    index's embedder at once. `processes` is how many parse (see `Parsing`); `progress` is called
    with the report so far, after every batch, from the thread that ingests. Raises `IndexLocked`
    where another process is writing, `SourceNotFound` where a connector's source does not exist.
    """
    stop = threading.Event()
    parsing = Parsing(parser, processes)
    with ThreadPoolExecutor(1, "citewell-ingest", initializer=_step_back) as pool:
        running = pool.submit(
            _sync, index, connectors, parsing, chunker, keep_missing, progress, stop
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
    parsing: Parsing,
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
        if index.is_foreign(index.library.state):
            _adopt(index, writer, chunker, report, told)
        run = _Run(index.library, index.embedder, parsing, chunker, stop)
        decided = _ahead(_batched(run.decide(connectors)), stop)
        embedded = _ahead(_embedded(decided, writer), stop)
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
        index.library.forget_failures(run.stale_failures(connectors))
    told()
    return report


def plan(
    library: Library | None,
    embedder: Embedder,
    connectors: Sequence[Connector],
    parser: Parser,
    chunker: Chunker,
    *,
    keep_missing: bool = False,
    processes: int | None = None,
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
            library = Library(Path(folder) / "library.sqlite", create=True)
            stack.callback(library.close)
        if progress is not None:
            stack.enter_context(_counting(connectors, report))
        parsing = Parsing(parser, processes)
        stack.callback(parsing.close)
        run = _Run(library, embedder, parsing, chunker, threading.Event())
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

    def __init__(self, library: Library, embedder: Embedder, report: IngestReport) -> None:
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


def _to_adopt(
    library: Library, embedder: Embedder, chunker: Chunker, report: IngestReport
) -> Iterator[list[Chunk]]:
    """Chunks of all documents, where the library is of another embedder."""
    built = library.embedder_fingerprint()
    if not built or built == embedder.fingerprint:
        return
    after = 0
    while found := library.unstaged(after, 100):
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
    library = index.library
    fingerprint = chunker.fingerprint
    after = 0
    while found := library.unstaged(after, 100):
        after = found[-1][0]
        ledger = library.ledger([uri for _, uri in found])
        items: list[_Item] = []
        for _, uri in found:
            document = library.document(uri)
            entry = replace(ledger[uri], chunker=fingerprint)
            chunks = chunker.split(document, index.embedder)
            items.append(_Item(uri, "reembedded", entry, document, chunks))
        for batch in _batched(items):
            prepared = _prepared(_embed_batch(batch, writer))
            writer.stage(prepared)
            report.reembedded += len(prepared)
            report.embedded += len(prepared[0].embedded.new)
            told()
    writer.adopt_embedder()


@contextmanager
def _counting(connectors: Sequence[Connector], report: IngestReport) -> Iterator[None]:
    """Count the sources in a thread of its own, for the time left."""

    def count() -> None:
        try:
            counts = [connector.count() for connector in connectors]
        except Exception:  # it is only a guess at the time left
            return
        if all(found is not None for found in counts):
            report.total = sum(found for found in counts if found is not None)

    thread = threading.Thread(target=count, name="citewell-count", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


class _Run:
    """What one run has seen, and what follows for each source."""

    def __init__(
        self,
        library: Library,
        embedder: Embedder,
        parsing: Parsing,
        chunker: Chunker,
        stop: threading.Event,
    ) -> None:
        self._library = library
        self._stop = stop
        self._embedder = embedder
        self._parsing = parsing
        self._chunker = chunker
        self._parser_print = parsing.parser.fingerprint
        self._chunker_print = chunker.fingerprint
        self._seen: set[str] = set()
        self._failing = {uri for uri, _ in library.failures()}
        self._unreadable: list[str] = []
        self._added: dict[str, str] = {}  # content hash -> uri

    def decide(self, connectors: Sequence[Connector]) -> Iterator[_Item]:
        """Go through all sources in order, reading only what may have changed, some ahead."""
        readers = self._parsing.processes + 1
        ahead: deque[_Item | Future[_Item]] = deque()
        with ThreadPoolExecutor(readers, thread_name_prefix="citewell-read") as pool:
            try:
                for sources in self._listed(connectors):
                    ledger = self._library.ledger([source.uri for source in sources])
                    for source in sources:
                        known = ledger.get(source.uri)
                        ahead.append(
                            self._unchanged(source, known) or pool.submit(self._read, source, known)
                        )
                        while len(ahead) > 2 * readers or isinstance(ahead[0], _Item):
                            yield self._finished(ahead.popleft())
                            if not ahead:
                                break
                while ahead:
                    yield self._finished(ahead.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _listed(self, connectors: Sequence[Connector]) -> Iterator[list[Source]]:
        """Sources not listed before, some at a time."""
        sources: list[Source] = []
        for connector in connectors:
            for source in connector.sources():
                if source.uri not in self._seen:
                    self._seen.add(source.uri)
                    sources.append(source)
                    if len(sources) == _LISTED:
                        yield sources
                        sources = []
        yield sources

    def _unchanged(self, source: Source, known: LedgerEntry | None) -> _Item | None:
        """What needs no reading: the same version, and the same parts."""
        if (
            known is None
            or not source.version
            or known.source_version != source.version
            or known.parser != self._parser_print
            or known.chunker != self._chunker_print
        ):
            return None
        # Its entry is written again only to clear a failure that was on record.
        return _Item(source.uri, "unchanged", known if source.uri in self._failing else None)

    def _read(self, source: Source, known: LedgerEntry | None) -> _Item:
        """Read and parse, as far as that is needed. In a thread of its own."""
        if self._stop.is_set():
            raise KeyboardInterrupt
        try:
            return self._decided(source, known)
        except SourceUnreadable as error:
            self._unreadable.append(source.uri)
            return _Item(source.uri, "failed", error=str(error))
        except SourceError as error:
            return _Item(source.uri, "failed", error=str(error))
        except RagError:
            raise
        except Exception as error:
            return _failed_part(source.uri, error)

    def _decided(self, source: Source, known: LedgerEntry | None) -> _Item:
        if known is not None and known.parser == self._parser_print:
            same = bool(source.version) and known.source_version == source.version
            data = b"" if same else source.read()
            if same or hashlib.sha256(data).hexdigest() == known.content_hash:
                entry = self._entry(source, known.content_hash, known.digest)
                if known.chunker == self._chunker_print:
                    return _Item(source.uri, "unchanged", entry)
                # Only the chunker has changed: the text is in the library.
                return _Item(source.uri, "updated", entry, self._library.document(source.uri))
        else:
            data = source.read()
        content_hash = hashlib.sha256(data).hexdigest()
        document = self._parsing.parse(data, uri=source.uri, mime=source.mime)
        entry = self._entry(source, content_hash, document.digest)
        if known is None:
            self._added[content_hash] = source.uri
        elif known.digest == entry.digest and known.chunker == self._chunker_print:
            return _Item(source.uri, "unchanged", entry)
        return _Item(source.uri, "updated" if known else "added", entry, document)

    def _finished(self, item: _Item | Future[_Item]) -> _Item:
        """The item itself, chunked."""
        if isinstance(item, Future):
            item = item.result()
        if item.document is not None:
            try:
                item.chunks = self._chunker.split(item.document, self._embedder)
                _check_chunks(item.chunks, item.document, self._chunker)
            except SourceError as error:
                return _Item(item.uri, "failed", error=str(error))
            except RagError:
                raise
            except Exception as error:
                return _failed_part(item.uri, error)
        return item

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
        return self._missing(connectors, self._library.uris)

    def moved(self, gone: Sequence[str]) -> list[Move]:
        """Those of the documents `gone` whose bytes were found under a new uri."""
        if not self._added:
            return []
        found = ((uri, entry.content_hash) for uri, entry in self._library.ledger(gone).items())
        return sorted(
            (
                Move(uri, self._added.pop(content))
                for uri, content in sorted(found)
                if content in self._added
            ),
            key=lambda move: move.old,
        )

    def stale_failures(self, connectors: Sequence[Connector]) -> list[str]:
        """Recorded failures of sources that are no longer there."""
        return self._missing(
            connectors, lambda scope: [uri for uri, _ in self._library.failures(scope)]
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


def _failed_part(uri: str, error: Exception) -> _Item:
    """A part's bug costs its document, not the run."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return _Item(uri, "failed", error=f"a part failed ({reason})")


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
        yield _embed_batch(batch, writer)


def _embed_batch(batch: list[_Item], writer: Writer) -> list[_Item]:
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


def _embeddable(items: Sequence[_Item], writer: Writer) -> list[_Item]:
    """Find the documents that an embedder refuses, and fail them alone.

    Raises `EmbeddingError` where it refuses everything: then it is not the documents' fault.
    """
    fine: list[_Item] = []
    for item in items:
        try:
            writer.embed(item.chunks)
        except EmbeddingError as error:
            if item.outcome == "reembedded":  # nothing may be left behind
                raise EmbeddingError(f"{item.uri}: {error}") from error
            if not fine and not writer.works():
                raise
            item.outcome, item.error = "failed", str(error)
            item.document, item.entry, item.chunks = None, None, ()
        else:
            fine.append(item)
    return fine


def _prepared(batch: Sequence[_Item]) -> list[Prepared]:
    return [
        Prepared(item.document, item.entry, item.chunks, item.embedded)
        for item in batch
        if item.document is not None and item.entry is not None and item.embedded is not None
    ]


def _store(batch: list[_Item], writer: Writer, index: Index, report: IngestReport) -> None:
    if prepared := _prepared(batch):
        writer.write(prepared)
        report.embedded += len(prepared[0].embedded.new)  # of the whole batch
    if same := [(item.uri, item.entry) for item in batch if item.document is None and item.entry]:
        index.library.touch(same)
    if failed := [(item.uri, item.error) for item in batch if item.outcome == "failed"]:
        index.library.record_failures(failed)
    _count(batch, report)


def _count(batch: Sequence[_Item], report: IngestReport) -> None:
    report.failed += [Failure(item.uri, item.error) for item in batch if item.outcome == "failed"]
    report.added += sum(item.outcome == "added" for item in batch)
    report.updated += sum(item.outcome == "updated" for item in batch)
    report.unchanged += sum(item.outcome == "unchanged" for item in batch)
    report.chunks += sum(len(item.chunks) for item in batch)


class _ahead(Iterator[_T]):
    """Run an iterator in a thread of its own, `depth` items ahead of its consumer.

    An exception in it is raised where its items are consumed; `close` stops it. When `stop` is
    set, the consumer is told by a `KeyboardInterrupt`.
    """

    _END = object()

    def __init__(self, items: Iterator[_T], stop: threading.Event, depth: int = 2) -> None:
        self._stop = stop
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
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
        self._put(self._END)

    def _put(self, item: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _next(self) -> Any:
        while not self._stop.is_set():
            with suppress(queue.Empty):
                return self._queue.get(timeout=0.1)
        raise KeyboardInterrupt

    def __next__(self) -> _T:
        item = self._next()
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
