"""Change detection: which sources changed, and what has to be done for each document."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from connectors.base import Connector, FailedPart, Source, apply_source_metadata, is_skipped
from connectors.files import path_of
from connectors.parser_pool import ParserPool
from rag.call_context import check_limits
from rag.chunking import Chunker, split_document
from rag.embedding.base import Embedder
from rag.errors import (
    DocumentNotFound,
    NoText,
    ParseError,
    RagError,
    SourceError,
    SourceUnreadable,
    TooManyDeletions,
)
from rag.ingestion.identity import add_identity
from rag.ingestion.report import Move
from rag.stores.document_store import (
    DocumentStore,
    FailureEntry,
    LedgerEntry,
    PendingDocument,
)
from rag.types import Chunk, Document

UNASKED_DELETIONS = 10
"""How many documents a run may delete that are most of a source."""

_EDITED_SHARE = 0.8  # of the words that a moved and edited file keeps

_SOURCES_PER_LOOKUP = 500  # sources whose ledger entries are read in one query


@dataclass(slots=True)
class IngestItem:
    """One document in the ingest, from the connector to the commit.

    Change detection sets the outcome, and later stages add the chunks and, in ``pending``, the
    embeddings. ``document`` is None if nothing has to be written. ``skip_reason`` says why a file
    with the outcome ``skipped`` is no document.
    """

    uri: str
    outcome: str
    entry: LedgerEntry | None = None
    document: Document | None = None
    chunks: Sequence[Chunk] = ()
    failure: FailureEntry | None = None
    skip_reason: str = ""
    pending: PendingDocument | None = None

    @classmethod
    def from_skipped(cls, part: FailedPart) -> Self:
        """Make the item of a part that is no document."""
        return cls(part.uri, "skipped", skip_reason=str(part.error))

    @classmethod
    def from_failure(
        cls, uri: str, source: str, error: object, version: str = "", parser: str = ""
    ) -> Self:
        """Make the item of a source or part that cannot be ingested.

        With `version` and `parser` the failure is permanent: it is not tried again until one of
        them changes.
        """
        reason = " ".join(str(error).split())
        failure = FailureEntry(
            uri=uri, source=source, error=reason, source_version=version, parser=parser
        )
        return cls(uri, "failed", failure=failure)


class _SourceRecord(NamedTuple):
    """What the document store records about one source."""

    entries: Mapping[str, LedgerEntry]
    failures: Sequence[FailureEntry]


class ChangeDetector:
    """Decides for each source what to do, and remembers what one run has listed."""

    def __init__(
        self,
        document_store: DocumentStore,
        embedder: Embedder,
        parser_pool: ParserPool,
        chunker: Chunker,
    ) -> None:
        self._document_store = document_store
        self._embedder = embedder
        self._parser_pool = parser_pool
        self._chunker = chunker
        self._parser_fingerprint = parser_pool.parser.fingerprint
        self._chunker_fingerprint = chunker.fingerprint
        self._seen_uris: set[str] = set()  # uris of all listed sources
        self._dropped_uris: list[str] = []  # documents that their source no longer contains
        self._emptied: dict[str, tuple[list[str], int]] = {}  # by source: lost uris, all before
        self._fixed_failure_uris: list[str] = []  # failures that no longer occur
        self._owner_ids: dict[str, str] = {}  # by source uri; connectors with an owner id only
        self._protected_prefixes: list[str] = []  # nothing with these prefixes is deleted
        self._scopes: list[str] = []  # of the connectors, the shortest first
        self._new_uris: set[str] = set()
        # (content hash, name in the source) -> uri
        self._added_uris: dict[tuple[str, str], str] = {}

    def detect_changes(self, connectors: Sequence[Connector]) -> Iterator[IngestItem]:
        """Yield an item for each document of all sources, in order.

        Reads only the sources that may have changed, some of them ahead of the consumer.
        """
        readers = self._parser_pool.processes + 1
        self._scopes = sorted({connector.scope for connector in connectors} - {""}, key=len)
        pending_items: deque[list[IngestItem] | Future[list[IngestItem]]] = deque()
        with ThreadPoolExecutor(readers, thread_name_prefix="citewell-read") as pool:
            try:
                for sources in self._list_sources(connectors):
                    uris = [source.uri for source in sources]
                    entries = self._document_store.ledger_by_source(uris)
                    failures = self._document_store.failures_by_source(uris)
                    for source in sources:
                        record = _SourceRecord(
                            entries.get(source.uri, {}), failures.get(source.uri, ())
                        )
                        pending_items.append(
                            self._skip_unchanged(source, record)
                            or pool.submit(copy_context().run, self._read_source, source, record)
                        )
                        while len(pending_items) > 2 * readers or isinstance(
                            pending_items[0], list
                        ):
                            yield from self._chunk_items(pending_items.popleft())
                            if not pending_items:
                                break
                while pending_items:
                    yield from self._chunk_items(pending_items.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _list_sources(self, connectors: Sequence[Connector]) -> Iterator[list[Source]]:
        """Yield the sources that were not listed before, in groups of `_SOURCES_PER_LOOKUP`."""
        sources: list[Source] = []
        for connector in connectors:
            for source in connector.sources():
                if source.uri not in self._seen_uris:
                    self._seen_uris.add(source.uri)
                    if connector.owner_id:
                        self._owner_ids[source.uri] = connector.owner_id
                    sources.append(source)
                    if len(sources) == _SOURCES_PER_LOOKUP:
                        yield sources
                        sources = []
        yield sources

    def _skip_unchanged(self, source: Source, record: _SourceRecord) -> list[IngestItem] | None:
        """Return the items of a source that need not be read, or None if it must be read.

        A source is not read if its version and its parts are those of the ledger, or if it is no
        document.
        """
        if source.skip_reason:
            self._dropped_uris += record.entries
            self._fixed_failure_uris += [failure.uri for failure in record.failures]
            return [IngestItem(source.uri, "skipped", skip_reason=source.skip_reason)]
        if not source.version:
            return None
        repeated_failures = self._select_repeated_failures(source.version, record)
        current = self._select_entries(record, lambda entry: entry.source_version == source.version)
        if not current:
            # This version failed as a whole before, and would fail again. The indexed documents are
            # of an earlier version.
            if [failure.uri for failure in record.failures] != [
                source.uri
            ] or not repeated_failures:
                return None
            return [IngestItem(source.uri, "failed", failure=repeated_failures[0])]
        if not self._is_complete(current, repeated_failures, record) or any(
            entry.chunker != self._chunker_fingerprint for entry in current.values()
        ):
            return None
        self._drop_outdated(record, current)
        items = [IngestItem(uri, "unchanged") for uri in current]
        return items + [
            IngestItem(failure.uri, "failed", failure=failure) for failure in repeated_failures
        ]

    def _select_entries(
        self, record: _SourceRecord, matches_version: Callable[[LedgerEntry], bool]
    ) -> dict[str, LedgerEntry]:
        """Select the documents that the current parser made from one version of the source."""
        return {
            uri: entry
            for uri, entry in record.entries.items()
            if entry.parser == self._parser_fingerprint and matches_version(entry)
        }

    def _select_repeated_failures(self, version: str, record: _SourceRecord) -> list[FailureEntry]:
        """Select the failures that this version of the source repeats with the current parser."""
        return [
            failure
            for failure in record.failures
            if version
            and (failure.source_version, failure.parser) == (version, self._parser_fingerprint)
        ]

    def _is_complete(
        self,
        current: Mapping[str, LedgerEntry],
        repeated_failures: Sequence[FailureEntry],
        record: _SourceRecord,
    ) -> bool:
        """Whether these are all parts of the source, and no failure needs another attempt."""
        return len(repeated_failures) == len(record.failures) and all(
            entry.parts == len(current) + len(repeated_failures) for entry in current.values()
        )

    def _drop_outdated(self, record: _SourceRecord, current: Mapping[str, LedgerEntry]) -> None:
        """Drop the documents of an earlier version, unless their newer version failed."""
        failed_uris = {failure.uri for failure in record.failures}
        self._dropped_uris += [
            uri for uri in record.entries if uri not in current and uri not in failed_uris
        ]

    def _read_source(self, source: Source, record: _SourceRecord) -> list[IngestItem]:
        """Read and parse a source if needed, and turn its errors into failures.

        Runs in a reader thread.
        """
        check_limits()
        try:
            return self._decide_source(source, record)
        except SourceUnreadable as error:
            self._protected_prefixes.append(source.protected_prefix or f"{source.uri}/")
            return [IngestItem.from_failure(source.uri, source.uri, error)]
        except ParseError as error:
            return [
                IngestItem.from_failure(
                    source.uri, source.uri, error, source.version, self._parser_fingerprint
                )
            ]
        except SourceError as error:
            return [IngestItem.from_failure(source.uri, source.uri, error)]
        except RagError:
            raise
        except Exception as error:
            return [IngestItem.from_failure(source.uri, source.uri, _describe_bug(error))]

    def _decide_source(self, source: Source, record: _SourceRecord) -> list[IngestItem]:
        """Reuse the indexed documents if the version or the bytes are the same, else parse."""
        if source.version:
            current = self._select_entries(
                record, lambda entry: entry.source_version == source.version
            )
            if items := self._reuse_documents(source, record, current):
                return items
        source = source.apply_side_file()
        data = source.read()
        content_hash = _hash_content(data, source)
        current = self._select_entries(record, lambda entry: entry.content_hash == content_hash)
        return self._reuse_documents(source, record, current) or self._parse_source(
            source, data, record
        )

    def _reuse_documents(
        self, source: Source, record: _SourceRecord, current: Mapping[str, LedgerEntry]
    ) -> list[IngestItem]:
        """Return items for the indexed documents, with their text where the chunker changed.

        Returns an empty list if they are not all documents of the source.
        """
        earlier_version = next((entry.source_version for entry in current.values()), "")
        repeated_failures = self._select_repeated_failures(earlier_version, record)
        if not current or not self._is_complete(current, repeated_failures, record):
            return []
        self._drop_outdated(record, current)
        items: list[IngestItem] = []
        for uri, earlier_entry in current.items():
            entry = replace(
                earlier_entry, source_version=source.version, chunker=self._chunker_fingerprint
            )
            if earlier_entry.chunker == self._chunker_fingerprint:
                items.append(IngestItem(uri, "unchanged", entry))
            else:  # chunked again, from the text in the document store
                items.append(IngestItem(uri, "updated", entry, self._document_store.document(uri)))
        for failure in repeated_failures:
            renewed_failure = replace(failure, source_version=source.version)
            items.append(IngestItem(failure.uri, "failed", failure=renewed_failure))
        return items

    def _parse_source(self, source: Source, data: bytes, record: _SourceRecord) -> list[IngestItem]:
        """Parse the bytes of a source, and compare its documents with the indexed ones."""
        content_hash = _hash_content(data, source)
        all_parts = self._parse_data(source, data)
        parts = [part for part in all_parts if not is_skipped(part)]
        items = [IngestItem.from_skipped(part) for part in all_parts if is_skipped(part)]
        for part in parts:
            if isinstance(part, FailedPart):
                # A permanent failure under the uri of the source marks the whole source as failed,
                # so it is recorded as permanent only if it is the only part.
                is_permanent = isinstance(part.error, ParseError) and (
                    part.uri != source.uri or len(parts) == 1
                )
                version, parser = (
                    (source.version, self._parser_fingerprint) if is_permanent else ("", "")
                )
                items.append(
                    IngestItem.from_failure(part.uri, source.uri, part.error, version, parser)
                )
                continue
            document = apply_source_metadata(part, source)
            entry = LedgerEntry(
                source=source.uri,
                source_version=source.version,
                content_hash=content_hash,
                parser=self._parser_fingerprint,
                chunker=self._chunker_fingerprint,
                digest=document.digest,
                parts=len(parts),
                owner_id=self._owner_ids.get(source.uri, ""),
            )
            earlier_entry = record.entries.get(document.uri)
            if earlier_entry is not None:
                entry = replace(entry, owner_id=earlier_entry.owner_id)
            if earlier_entry is None:
                self._new_uris.add(document.uri)
                self._added_uris[content_hash, document.uri[len(source.uri) :]] = document.uri
            if earlier_entry and (earlier_entry.digest, earlier_entry.chunker) == (
                entry.digest,
                entry.chunker,
            ):
                items.append(IngestItem(document.uri, "unchanged", entry))
            else:
                outcome = "updated" if earlier_entry else "added"
                items.append(IngestItem(document.uri, outcome, entry, document))
        item_uris = {item.uri for item in items if item.outcome != "skipped"}
        self._drop_parts(source, record, item_uris)
        self._fixed_failure_uris += [
            failure.uri for failure in record.failures if failure.uri not in item_uris
        ]
        return items

    def _drop_parts(self, source: Source, record: _SourceRecord, item_uris: Set[str]) -> None:
        """Drop the documents that a source no longer contains, and note if these are most."""
        dropped_uris = [uri for uri in record.entries if uri not in item_uris]
        self._dropped_uris += dropped_uris
        if len(dropped_uris) > UNASKED_DELETIONS and 2 * len(item_uris) < len(record.entries):
            self._emptied[source.uri] = (dropped_uris, len(record.entries))

    def _parse_data(self, source: Source, data: bytes) -> Sequence[Document | FailedPart]:
        """Parse the bytes of a source. A source with a title and no text has the title as text."""
        try:
            return self._parser_pool.parse(data, uri=source.uri, mime=source.mime)
        except NoText:
            if not source.title or data.strip():
                raise
            mime = source.mime or "text/plain"
            return [Document(uri=source.uri, title=source.title, mime=mime, text=source.title)]

    def _chunk_items(
        self, items: list[IngestItem] | Future[list[IngestItem]]
    ) -> Iterator[IngestItem]:
        """Chunk the documents of the items, add their identity terms, and yield the items."""
        if isinstance(items, Future):
            items = items.result()
        for item in items:
            if item.document is None or item.entry is None:
                yield item
                continue
            try:
                scope = next(filter(item.entry.source.startswith, self._scopes), "")
                item.document = add_identity(item.document, scope)
                item.chunks = split_document(self._chunker, item.document, self._embedder)
                _check_chunks(item.chunks, item.document, self._chunker)
                yield item
            except SourceError as error:
                yield IngestItem.from_failure(item.uri, item.entry.source, error)
            except RagError:
                raise
            except Exception as error:
                yield IngestItem.from_failure(item.uri, item.entry.source, _describe_bug(error))

    def find_deleted(self, connectors: Sequence[Connector]) -> list[str]:
        """Return the uris of documents that a connector owns and did not list.

        Documents below a source that could not be read are not among them.
        """
        return sorted(
            {*self._dropped_uris, *self._find_missing(connectors, self._document_store.sources)}
        )

    def find_moves(self, deleted_uris: Sequence[str]) -> list[Move]:
        """Return the moves among the deleted documents: their bytes were added under a new uri."""
        if not self._added_uris:
            return []
        moves: list[Move] = []
        for uri, entry in sorted(self._document_store.ledger_by_uri(deleted_uris).items()):
            new_uri = self._added_uris.pop((entry.content_hash, uri[len(entry.source) :]), None)
            if new_uri is not None:
                moves.append(Move(uri, new_uri))
        return moves

    def check_deletions(
        self, connectors: Sequence[Connector], deleted_uris: Sequence[str], moves: Sequence[Move]
    ) -> None:
        """Raise `TooManyDeletions` if a source lost most of its documents at once.

        An empty mount point and a listing that comes back short look like that, and an archive or
        a mailbox that was overwritten. Documents that moved do not count.
        """
        moved_uris = {move.old for move in moves}
        for uri, (lost_uris, total) in self._emptied.items():
            count = len(set(lost_uris) - moved_uris)
            if count > UNASKED_DELETIONS and count > total / 2:
                raise TooManyDeletions.of(uri, count, total)
        missing = set(deleted_uris) - moved_uris - set(self._dropped_uris)
        if len(missing) <= UNASKED_DELETIONS:
            return
        for connector in connectors:
            indexed_uris = {uri for uri, _, _ in self._document_store.sources(connector.scope)}
            indexed_uris -= self._new_uris
            count = len(missing & indexed_uris)
            if count > UNASKED_DELETIONS and count > len(indexed_uris) / 2:
                raise TooManyDeletions.of(connector.scope, count, len(indexed_uris))

    def find_moves_from_elsewhere(self) -> list[Move]:
        """Return the moves of documents outside the sources of this run.

        A file whose old path is gone, or is the same file by another path (a symbolic link), moved
        if its bytes were added here, or a file of the same name with almost the same words. Its
        neighbours moved with it, however they were edited, where the old folder is gone and they
        have the same path below it.
        """
        if not self._added_uris:
            return []
        elsewhere = [
            (uri, source)
            for uri, source, _ in self._document_store.sources("file:")
            if source not in self._seen_uris
        ]
        entries = self._document_store.ledger_by_uri([uri for uri, _ in elsewhere])
        new_uris: dict[str, list[str]] = {}  # by file name
        for added_uri in self._new_uris:
            new_uris.setdefault(added_uri.rsplit("/", 1)[-1], []).append(added_uri)
        moves: dict[str, str] = {}
        roots: dict[str, str] = {}
        for uri, source in elsewhere:
            name = uri[len(source) :]
            same_uri = self._added_uris.get((entries[uri].content_hash, name))
            candidates = new_uris.get(uri.rsplit("/", 1)[-1], ())
            new_uri = same_uri or self._find_edited(uri, source, candidates)
            if new_uri is None or not _has_moved(source, new_uri[: len(new_uri) - len(name)]):
                continue
            moves[uri] = new_uri
            old_root, new_root = _find_moved_folder(uri, new_uri)
            if old_root:
                roots[old_root] = new_root
        for uri, source in elsewhere:
            for old_root, new_root in roots.items():
                moved_uri = new_root + uri[len(old_root) :]
                is_here = source.startswith(old_root) and moved_uri in self._new_uris
                if uri not in moves and is_here and not _exists(source):
                    moves[uri] = moved_uri
        return [Move(old, new) for old, new in sorted(moves.items())]

    def _find_edited(self, uri: str, source: str, candidates: Sequence[str]) -> str | None:
        """Return the candidate with almost the words of a document that is gone."""
        if not candidates or _exists(source):
            return None
        words = Counter(self._document_store.document(uri).text.split())
        for candidate in candidates:
            with suppress(DocumentNotFound):  # in a dry run, nothing is stored
                new_words = Counter(self._document_store.document(candidate).text.split())
                common = (words & new_words).total()
                if common >= _EDITED_SHARE * max(words.total(), new_words.total(), 1):
                    return candidate
        return None

    def find_stale_failures(self, connectors: Sequence[Connector]) -> list[str]:
        """Return the uris of recorded failures whose source or part no longer exists."""
        missing = self._find_missing(
            connectors,
            lambda scope: [(f.uri, f.source, None) for f in self._document_store.failures(scope)],
        )
        return sorted({*self._fixed_failure_uris, *missing})

    def _find_missing(
        self,
        connectors: Sequence[Connector],
        list_known: Callable[[str], Sequence[tuple[str, str, str | None]]],
    ) -> set[str]:
        """Return the known uris whose source was not listed and is not protected."""
        protected_prefixes = tuple(self._protected_prefixes)
        return {
            uri
            for connector in connectors
            for uri, source, owner_id in list_known(connector.scope)
            if source not in self._seen_uris
            and (owner_id is None or connector.owner_id in ("", owner_id))
            and connector.owns(source)
            and not source.startswith(protected_prefixes)
        }


def _has_moved(old_source: str, new_source: str) -> bool:
    """Whether a file is no longer at its old uri, or is the same file by another path."""
    old, new = path_of(old_source), path_of(new_source)
    if old is None:
        return False
    if not os.path.lexists(old):
        return True
    return new is not None and os.path.realpath(old) == os.path.realpath(new)


def _exists(uri: str) -> bool:
    path = path_of(uri)
    return path is None or os.path.lexists(path)


def _find_moved_folder(old_uri: str, new_uri: str) -> tuple[str, str]:
    """Return the highest folder of a moved file that is gone, and its new place.

    Both end with a slash; both are empty if the old folder is still there.
    """
    old, new = old_uri.split("/"), new_uri.split("/")
    same_count = 0
    while same_count < min(len(old), len(new)) - 1 and old[-1 - same_count] == new[-1 - same_count]:
        same_count += 1
    for count in range(same_count, 0, -1):
        folder = "/".join(old[:-count]) + "/"
        if not _exists(folder):
            return folder, "/".join(new[:-count]) + "/"
    return "", ""


def _hash_content(data: bytes, source: Source) -> str:
    """Hash everything that a document is made from: the bytes, the title and the metadata."""
    digest = hashlib.sha256(data)
    if source.title is not None or source.metadata:
        source_facts = [source.title, dict(source.metadata)]
        digest.update(json.dumps(source_facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _describe_bug(error: Exception) -> str:
    """Describe the bug of a component; it fails one document, not the run."""
    return f"a component failed ({type(error).__name__}: {error})"


def _check_chunks(chunks: Sequence[Chunk], document: Document, chunker: Chunker) -> None:
    """Check the contract of a chunker: a wrong offset would become a wrong citation."""
    name = f"the chunker {chunker.name!r}"
    if len({chunk.id for chunk in chunks}) != len(chunks):
        raise SourceError(f"{name} returned two chunks with the same id")
    for chunk in chunks:
        if document.text[chunk.start : chunk.end] != chunk.text or not chunk.text.strip():
            raise SourceError(f"{name} returned a chunk whose text is not the text at its offsets")
