"""Sync: make the index hold what the connectors list, doing only what has changed.

Sources are listed and read in threads, parsed there or in processes of their own, chunked in one
thread, embedded in another, and the stores are written in the caller's, so that all of it
overlaps; the queues between the stages are short.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from connectors.base import Connector, FailedPart, Parser, Source, described
from connectors.parsing import Limits, Parsing
from rag.chunking.base import Chunker
from rag.embedding.base import Embedder
from rag.errors import EmbeddingError, ParseError, RagError, SourceError, SourceUnreadable
from rag.index.index import Index
from rag.index.library import FailureEntry, LedgerEntry, Library
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
    """One document on its way: decided, then chunked, then embedded."""

    uri: str
    outcome: str
    entry: LedgerEntry | None = None
    document: Document | None = None
    chunks: Sequence[Chunk] = ()
    failure: FailureEntry | None = None
    embedded: Embedded | None = None

    @classmethod
    def failed(
        cls, uri: str, source: str, error: object, version: str = "", parser: str = ""
    ) -> Self:
        """What cannot be ingested; with a version and parser, what never can as it is."""
        reason = " ".join(str(error).split())
        failure = FailureEntry(
            uri=uri, source=source, error=reason, source_version=version, parser=parser
        )
        return cls(uri, "failed", failure=failure)


class _Known(NamedTuple):
    """What the library holds of one source."""

    entries: Mapping[str, LedgerEntry]
    failures: Sequence[FailureEntry]


def sync(
    index: Index,
    connectors: Sequence[Connector],
    parser: Parser,
    chunker: Chunker,
    *,
    keep_missing: bool = False,
    processes: int | None = None,
    limits: Limits | None = None,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Bring `index` up to date with what `connectors` list.

    Documents that a connector owns and no longer lists are deleted, unless `keep_missing`. A
    source that fails is reported and recorded, its earlier version stays, and the run goes on.
    Where the index is of another embedder, all of it is embedded again first, and passes to the
    index's embedder at once. `processes` is how many parse, and `limits` what they may take (see
    `Parsing`); `progress` is called with the report so far, after every batch, from the thread
    that ingests. Raises `IndexLocked` where another process is writing, `SourceNotFound` where a
    connector's source does not exist.
    """
    stop = threading.Event()
    parsing = Parsing(parser, processes, limits)
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
    limits: Limits | None = None,
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
        parsing = Parsing(parser, processes, limits)
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
        self._seen: set[str] = set()  # sources
        self._dropped: list[str] = []  # documents that are no longer in their source
        self._fixed: list[str] = []  # failures of what is no longer in its source
        self._origins: dict[str, str] = {}  # of sources, where a connector has one
        self._shelters: list[str] = []  # below these, nothing is known to be gone
        self._added: dict[tuple[str, str], str] = {}  # (content hash, name in the source) -> uri

    def decide(self, connectors: Sequence[Connector]) -> Iterator[_Item]:
        """Go through all sources in order, reading only what may have changed, some ahead."""
        readers = self._parsing.processes + 1
        ahead: deque[list[_Item] | Future[list[_Item]]] = deque()
        with ThreadPoolExecutor(readers, thread_name_prefix="citewell-read") as pool:
            try:
                for sources in self._listed(connectors):
                    uris = [source.uri for source in sources]
                    entries = self._library.ledger_of(uris)
                    failures = self._library.failures_of(uris)
                    for source in sources:
                        known = _Known(entries.get(source.uri, {}), failures.get(source.uri, ()))
                        ahead.append(
                            self._unchanged(source, known) or pool.submit(self._read, source, known)
                        )
                        while len(ahead) > 2 * readers or isinstance(ahead[0], list):
                            yield from self._finished(ahead.popleft())
                            if not ahead:
                                break
                while ahead:
                    yield from self._finished(ahead.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _listed(self, connectors: Sequence[Connector]) -> Iterator[list[Source]]:
        """Sources not listed before, some at a time."""
        sources: list[Source] = []
        for connector in connectors:
            for source in connector.sources():
                if source.uri not in self._seen:
                    self._seen.add(source.uri)
                    if connector.origin:
                        self._origins[source.uri] = connector.origin
                    sources.append(source)
                    if len(sources) == _LISTED:
                        yield sources
                        sources = []
        yield sources

    def _unchanged(self, source: Source, known: _Known) -> list[_Item] | None:
        """What needs no reading: the same version, and the same parts."""
        if not source.version:
            return None
        lasting = self._lasting(source.version, known)
        current = self._made(known, lambda entry: entry.source_version == source.version)
        if not current:
            # The version that failed as a whole does so again; what is indexed is of another.
            if [failure.uri for failure in known.failures] != [source.uri] or not lasting:
                return None
            return [_Item(source.uri, "failed", failure=lasting[0])]
        if not self._is_whole(current, lasting, known) or any(
            entry.chunker != self._chunker_print for entry in current.values()
        ):
            return None
        self._leave(known, current)
        items = [_Item(uri, "unchanged") for uri in current]
        return items + [_Item(failure.uri, "failed", failure=failure) for failure in lasting]

    def _made(
        self, known: _Known, is_of_it: Callable[[LedgerEntry], bool]
    ) -> dict[str, LedgerEntry]:
        """Documents that this parser made of one version of the source."""
        return {
            uri: entry
            for uri, entry in known.entries.items()
            if entry.parser == self._parser_print and is_of_it(entry)
        }

    def _lasting(self, version: str, known: _Known) -> list[FailureEntry]:
        """Failures that this version of the source repeats with this parser."""
        return [
            failure
            for failure in known.failures
            if version and (failure.source_version, failure.parser) == (version, self._parser_print)
        ]

    def _is_whole(
        self,
        current: Mapping[str, LedgerEntry],
        lasting: Sequence[FailureEntry],
        known: _Known,
    ) -> bool:
        """Whether these are all that came of the source, and nothing is to be tried again."""
        return len(lasting) == len(known.failures) and all(
            entry.parts == len(current) + len(lasting) for entry in current.values()
        )

    def _leave(self, known: _Known, current: Mapping[str, LedgerEntry]) -> None:
        """Let go of what is of an earlier version, unless its newer one has failed."""
        failed = {failure.uri for failure in known.failures}
        self._dropped += [uri for uri in known.entries if uri not in current and uri not in failed]

    def _read(self, source: Source, known: _Known) -> list[_Item]:
        """Read and parse, as far as that is needed. In a thread of its own."""
        if self._stop.is_set():
            raise KeyboardInterrupt
        try:
            return self._decided(source, known)
        except SourceUnreadable as error:
            self._shelters.append(source.shelter or f"{source.uri}/")
            return [_Item.failed(source.uri, source.uri, error)]
        except ParseError as error:
            return [_Item.failed(source.uri, source.uri, error, source.version, self._parser_print)]
        except SourceError as error:
            return [_Item.failed(source.uri, source.uri, error)]
        except RagError:
            raise
        except Exception as error:
            return [_Item.failed(source.uri, source.uri, _part_failed(error))]

    def _decided(self, source: Source, known: _Known) -> list[_Item]:
        if source.version:
            current = self._made(known, lambda entry: entry.source_version == source.version)
            if kept := self._kept(source, known, current):
                return kept
        data = source.read()
        content_hash = _content_hash(data, source)
        current = self._made(known, lambda entry: entry.content_hash == content_hash)
        return self._kept(source, known, current) or self._parsed(source, data, known)

    def _kept(
        self, source: Source, known: _Known, current: Mapping[str, LedgerEntry]
    ) -> list[_Item]:
        """The documents there are, chunked anew where the chunker has changed; none if not all."""
        before = next((entry.source_version for entry in current.values()), "")
        lasting = self._lasting(before, known)
        if not current or not self._is_whole(current, lasting, known):
            return []
        self._leave(known, current)
        items: list[_Item] = []
        for uri, made in current.items():
            entry = replace(made, source_version=source.version, chunker=self._chunker_print)
            if made.chunker == self._chunker_print:
                items.append(_Item(uri, "unchanged", entry))
            else:  # the text is in the library
                items.append(_Item(uri, "updated", entry, self._library.document(uri)))
        for failure in lasting:
            again = replace(failure, source_version=source.version)
            items.append(_Item(failure.uri, "failed", failure=again))
        return items

    def _parsed(self, source: Source, data: bytes, known: _Known) -> list[_Item]:
        content_hash = _content_hash(data, source)
        found = self._parsing.parse(data, uri=source.uri, mime=source.mime)
        items: list[_Item] = []
        for part in found:
            if isinstance(part, FailedPart):
                # One in the source's own name stands for all of it: only where it is all of it.
                lasting = isinstance(part.error, ParseError) and (
                    part.uri != source.uri or len(found) == 1
                )
                version, parser = (source.version, self._parser_print) if lasting else ("", "")
                items.append(_Item.failed(part.uri, source.uri, part.error, version, parser))
                continue
            document = described(part, source)
            entry = LedgerEntry(
                source=source.uri,
                source_version=source.version,
                content_hash=content_hash,
                parser=self._parser_print,
                chunker=self._chunker_print,
                digest=document.digest,
                parts=len(found),
                origin=self._origins.get(source.uri, ""),
            )
            before = known.entries.get(document.uri)
            if before is not None:
                entry = replace(entry, origin=before.origin)
            if before is None:
                self._added[content_hash, document.uri[len(source.uri) :]] = document.uri
            if before and (before.digest, before.chunker) == (entry.digest, entry.chunker):
                items.append(_Item(document.uri, "unchanged", entry))
            else:
                outcome = "updated" if before else "added"
                items.append(_Item(document.uri, outcome, entry, document))
        there = {item.uri for item in items}
        self._dropped += [uri for uri in known.entries if uri not in there]
        self._fixed += [failure.uri for failure in known.failures if failure.uri not in there]
        return items

    def _finished(self, items: list[_Item] | Future[list[_Item]]) -> Iterator[_Item]:
        """The items themselves, chunked."""
        if isinstance(items, Future):
            items = items.result()
        for item in items:
            if item.document is None or item.entry is None:
                yield item
                continue
            try:
                item.chunks = self._chunker.split(item.document, self._embedder)
                _check_chunks(item.chunks, item.document, self._chunker)
                yield item
            except SourceError as error:
                yield _Item.failed(item.uri, item.entry.source, error)
            except RagError:
                raise
            except Exception as error:
                yield _Item.failed(item.uri, item.entry.source, _part_failed(error))

    def gone(self, connectors: Sequence[Connector]) -> list[str]:
        """Documents that a connector owns and did not list; not below what was unreadable."""
        return sorted({*self._dropped, *self._missing(connectors, self._library.sources)})

    def moved(self, gone: Sequence[str]) -> list[Move]:
        """Those of the documents `gone` whose bytes were found under a new uri."""
        if not self._added:
            return []
        moves: list[Move] = []
        for uri, entry in sorted(self._library.ledger(gone).items()):
            new = self._added.pop((entry.content_hash, uri[len(entry.source) :]), None)
            if new is not None:
                moves.append(Move(uri, new))
        return moves

    def stale_failures(self, connectors: Sequence[Connector]) -> list[str]:
        """Recorded failures of what is no longer there."""
        missing = self._missing(
            connectors,
            lambda scope: [(f.uri, f.source, None) for f in self._library.failures(scope)],
        )
        return sorted({*self._fixed, *missing})

    def _missing(
        self,
        connectors: Sequence[Connector],
        known: Callable[[str], Sequence[tuple[str, str, str | None]]],
    ) -> set[str]:
        shelters = tuple(self._shelters)
        return {
            uri
            for connector in connectors
            for uri, source, origin in known(connector.scope)
            if source not in self._seen
            and (origin is None or connector.origin in ("", origin))
            and connector.owns(source)
            and not source.startswith(shelters)
        }


def _content_hash(data: bytes, source: Source) -> str:
    """Hash of all that a document is made from."""
    hashed = hashlib.sha256(data)
    if source.title is not None or source.metadata:
        said = [source.title, dict(source.metadata)]
        hashed.update(json.dumps(said, sort_keys=True, default=str).encode())
    return hashed.hexdigest()


def _part_failed(error: Exception) -> str:
    """A part's bug costs its document, not the run."""
    return f"a part failed ({type(error).__name__}: {error})"


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
            source = item.entry.source if item.entry else item.uri
            failed = _Item.failed(item.uri, source, error)
            item.outcome, item.failure = failed.outcome, failed.failure
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
    if failed := [item.failure for item in batch if item.failure is not None]:
        index.library.record_failures(failed)
    _count(batch, report)


def _count(batch: Sequence[_Item], report: IngestReport) -> None:
    failures = [item.failure for item in batch if item.failure is not None]
    report.failed += [Failure(failure.uri, failure.error) for failure in failures]
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
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._work,), name="citewell-ahead", daemon=True
        )
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
