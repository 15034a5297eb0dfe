"""Which sources have changed, and what follows for each document."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from connectors.base import Connector, FailedPart, Source, apply_source_metadata
from connectors.parser_pool import ParserPool
from rag.chunking.base import Chunker
from rag.embedding.base import Embedder
from rag.errors import ParseError, RagError, SourceError, SourceUnreadable
from rag.index.commit_protocol import Embedded
from rag.ingestion.report import Move
from rag.stores.sqlite import FailureEntry, LedgerEntry, SqliteDocumentStore
from rag.types import Chunk, Document

_LISTED = 500  # sources looked up in the ledger together


@dataclass(slots=True)
class IngestItem:
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


class _LedgerRecord(NamedTuple):
    """What the library holds of one source."""

    entries: Mapping[str, LedgerEntry]
    failures: Sequence[FailureEntry]


class ChangeDetector:
    """What one run has seen, and what follows for each source."""

    def __init__(
        self,
        library: SqliteDocumentStore,
        embedder: Embedder,
        parsing: ParserPool,
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

    def decide(self, connectors: Sequence[Connector]) -> Iterator[IngestItem]:
        """Go through all sources in order, reading only what may have changed, some ahead."""
        readers = self._parsing.processes + 1
        ahead: deque[list[IngestItem] | Future[list[IngestItem]]] = deque()
        with ThreadPoolExecutor(readers, thread_name_prefix="citewell-read") as pool:
            try:
                for sources in self._listed(connectors):
                    uris = [source.uri for source in sources]
                    entries = self._library.ledger_of(uris)
                    failures = self._library.failures_of(uris)
                    for source in sources:
                        known = _LedgerRecord(
                            entries.get(source.uri, {}), failures.get(source.uri, ())
                        )
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
                    if connector.owner_id:
                        self._origins[source.uri] = connector.owner_id
                    sources.append(source)
                    if len(sources) == _LISTED:
                        yield sources
                        sources = []
        yield sources

    def _unchanged(self, source: Source, known: _LedgerRecord) -> list[IngestItem] | None:
        """What needs no reading: the same version, and the same parts."""
        if not source.version:
            return None
        lasting = self._lasting(source.version, known)
        current = self._made(known, lambda entry: entry.source_version == source.version)
        if not current:
            # The version that failed as a whole does so again; what is indexed is of another.
            if [failure.uri for failure in known.failures] != [source.uri] or not lasting:
                return None
            return [IngestItem(source.uri, "failed", failure=lasting[0])]
        if not self._is_whole(current, lasting, known) or any(
            entry.chunker != self._chunker_print for entry in current.values()
        ):
            return None
        self._leave(known, current)
        items = [IngestItem(uri, "unchanged") for uri in current]
        return items + [IngestItem(failure.uri, "failed", failure=failure) for failure in lasting]

    def _made(
        self, known: _LedgerRecord, is_of_it: Callable[[LedgerEntry], bool]
    ) -> dict[str, LedgerEntry]:
        """Documents that this parser made of one version of the source."""
        return {
            uri: entry
            for uri, entry in known.entries.items()
            if entry.parser == self._parser_print and is_of_it(entry)
        }

    def _lasting(self, version: str, known: _LedgerRecord) -> list[FailureEntry]:
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
        known: _LedgerRecord,
    ) -> bool:
        """Whether these are all that came of the source, and nothing is to be tried again."""
        return len(lasting) == len(known.failures) and all(
            entry.parts == len(current) + len(lasting) for entry in current.values()
        )

    def _leave(self, known: _LedgerRecord, current: Mapping[str, LedgerEntry]) -> None:
        """Let go of what is of an earlier version, unless its newer one has failed."""
        failed = {failure.uri for failure in known.failures}
        self._dropped += [uri for uri in known.entries if uri not in current and uri not in failed]

    def _read(self, source: Source, known: _LedgerRecord) -> list[IngestItem]:
        """Read and parse, as far as that is needed. In a thread of its own."""
        if self._stop.is_set():
            raise KeyboardInterrupt
        try:
            return self._decided(source, known)
        except SourceUnreadable as error:
            self._shelters.append(source.protected_prefix or f"{source.uri}/")
            return [IngestItem.failed(source.uri, source.uri, error)]
        except ParseError as error:
            return [
                IngestItem.failed(source.uri, source.uri, error, source.version, self._parser_print)
            ]
        except SourceError as error:
            return [IngestItem.failed(source.uri, source.uri, error)]
        except RagError:
            raise
        except Exception as error:
            return [IngestItem.failed(source.uri, source.uri, _part_failed(error))]

    def _decided(self, source: Source, known: _LedgerRecord) -> list[IngestItem]:
        if source.version:
            current = self._made(known, lambda entry: entry.source_version == source.version)
            if kept := self._kept(source, known, current):
                return kept
        data = source.read()
        content_hash = _content_hash(data, source)
        current = self._made(known, lambda entry: entry.content_hash == content_hash)
        return self._kept(source, known, current) or self._parsed(source, data, known)

    def _kept(
        self, source: Source, known: _LedgerRecord, current: Mapping[str, LedgerEntry]
    ) -> list[IngestItem]:
        """The documents there are, chunked anew where the chunker has changed; none if not all."""
        before = next((entry.source_version for entry in current.values()), "")
        lasting = self._lasting(before, known)
        if not current or not self._is_whole(current, lasting, known):
            return []
        self._leave(known, current)
        items: list[IngestItem] = []
        for uri, made in current.items():
            entry = replace(made, source_version=source.version, chunker=self._chunker_print)
            if made.chunker == self._chunker_print:
                items.append(IngestItem(uri, "unchanged", entry))
            else:  # the text is in the library
                items.append(IngestItem(uri, "updated", entry, self._library.document(uri)))
        for failure in lasting:
            again = replace(failure, source_version=source.version)
            items.append(IngestItem(failure.uri, "failed", failure=again))
        return items

    def _parsed(self, source: Source, data: bytes, known: _LedgerRecord) -> list[IngestItem]:
        content_hash = _content_hash(data, source)
        found = self._parsing.parse(data, uri=source.uri, mime=source.mime)
        items: list[IngestItem] = []
        for part in found:
            if isinstance(part, FailedPart):
                # One in the source's own name stands for all of it: only where it is all of it.
                lasting = isinstance(part.error, ParseError) and (
                    part.uri != source.uri or len(found) == 1
                )
                version, parser = (source.version, self._parser_print) if lasting else ("", "")
                items.append(IngestItem.failed(part.uri, source.uri, part.error, version, parser))
                continue
            document = apply_source_metadata(part, source)
            entry = LedgerEntry(
                source=source.uri,
                source_version=source.version,
                content_hash=content_hash,
                parser=self._parser_print,
                chunker=self._chunker_print,
                digest=document.digest,
                parts=len(found),
                owner_id=self._origins.get(source.uri, ""),
            )
            before = known.entries.get(document.uri)
            if before is not None:
                entry = replace(entry, owner_id=before.owner_id)
            if before is None:
                self._added[content_hash, document.uri[len(source.uri) :]] = document.uri
            if before and (before.digest, before.chunker) == (entry.digest, entry.chunker):
                items.append(IngestItem(document.uri, "unchanged", entry))
            else:
                outcome = "updated" if before else "added"
                items.append(IngestItem(document.uri, outcome, entry, document))
        there = {item.uri for item in items}
        self._dropped += [uri for uri in known.entries if uri not in there]
        self._fixed += [failure.uri for failure in known.failures if failure.uri not in there]
        return items

    def _finished(self, items: list[IngestItem] | Future[list[IngestItem]]) -> Iterator[IngestItem]:
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
                yield IngestItem.failed(item.uri, item.entry.source, error)
            except RagError:
                raise
            except Exception as error:
                yield IngestItem.failed(item.uri, item.entry.source, _part_failed(error))

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
            and (origin is None or connector.owner_id in ("", origin))
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
