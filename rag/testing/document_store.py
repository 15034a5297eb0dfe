"""The contract of document stores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import ClassVar
from unittest import SkipTest

import numpy as np

from rag.component import Component
from rag.errors import DocumentNotFound, IndexNotFound, RagError, RagIndexError
from rag.filters import F
from rag.stores import (
    DocumentStore,
    DocumentStoreConfig,
    FailureEntry,
    LedgerEntry,
    PendingDocument,
    StoreLocation,
)
from rag.stores.document_store import NamedDocument, hash_text, iterate_pending_documents
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads
from rag.testing.stores import has_files, make_location, make_vectors
from rag.types import Chunk, Document, Mark

EMBEDDER = "0123456789abcdef"
MAX_CLOCK_DIFFERENCE_SECONDS = 60  # between this machine and the server of a store
EMBEDDER_NOTE = json.dumps({"fingerprint": EMBEDDER, "name": "contract", "config": {}})


def make_pending(
    document: Document, source: str = "", version: str = "1", size: int = 20, seed: int = 0
) -> PendingDocument:
    """Return a document with its ledger entry, chunks of `size` characters, and vectors."""
    spans = [(a, min(a + size, len(document.text))) for a in range(0, len(document.text), size)]
    chunks = [
        Chunk(
            id=f"{document.digest}-{start}",
            uri=document.uri,
            start=start,
            end=end,
            text=document.text[start:end],
            title=document.title,
            headings=("A", "B"),
            heading_context=document.title,
            location=document.location_at(start),
            metadata=document.metadata,
        )
        for start, end in spans
    ]
    entry = LedgerEntry(
        source=source or document.uri,
        source_version=version,
        content_hash="hash",
        parser="parser",
        chunker="chunker",
        digest=document.digest,
        owner_id="owner",
    )
    hashes = [hash_text(chunk.embedded_text) for chunk in chunks]
    return PendingDocument(document, entry, chunks, hashes, make_vectors(len(chunks), seed))


class DocumentStoreContract(PartContract[DocumentStoreConfig]):
    """Checks of `rag.stores.DocumentStore` and its configuration."""

    part_class: ClassVar[type[Component]] = DocumentStoreConfig

    @contextmanager
    def open_location(self) -> Iterator[tuple[DocumentStoreConfig, StoreLocation]]:
        """Yield the configuration and a location without a store."""
        config = self.make_part()
        with make_location(config.name) as location:
            location.folder.mkdir()
            try:
                yield config, location
            finally:
                config.remove(location)

    @contextmanager
    def open_store(self) -> Iterator[DocumentStore]:
        """Yield a new, empty store."""
        with (
            self.open_location() as (config, location),
            closing(config.open(location, create=True)) as store,
        ):
            store.set_embedder(EMBEDDER_NOTE)
            yield store

    def add_live(self, store: DocumentStore, *documents: Document) -> list[int]:
        """Write documents and make them live; return the rows of their chunks."""
        numbers, rows = store.add_pending([make_pending(d) for d in documents], EMBEDDER)
        store.make_live(numbers)
        return rows

    def make_document(self, uri: str = "contract:a", text: str = "", **fields: object) -> Document:
        """Return a document with marks and metadata of all types."""
        return Document.model_validate(
            {
                "uri": uri,
                "text": text or "é\0\r\n😀 " * 30,
                "title": "Title",
                "metadata": {"year": 2024, "tags": ("x", 1), "draft": False, "share": 0.1},
                "marks": (Mark(start=0, end=10, kind="page", value=1),),
                **fields,
            }
        )

    # -- opening -----------------------------------------------------------------------------

    def test_missing_store_is_not_found(self) -> None:
        """`exists` is False and `open` raises `IndexNotFound` before a store was created."""
        with self.open_location() as (config, location):
            assert not config.exists(location), "a store that was never created exists"
            try:
                config.open(location).close()
            except IndexNotFound:
                return
            raise AssertionError("a store that does not exist was opened")

    def test_persistent_store_keeps_its_contents(self) -> None:
        """Documents, state and failures are there when the store is opened again."""
        with self.open_location() as (config, location):
            if not config.is_persistent:
                raise SkipTest("the store is not persistent")
            with closing(config.open(location, create=True)) as store:
                store.set_embedder(EMBEDDER_NOTE)
                rows = self.add_live(store, self.make_document())
                store.record_failures([FailureEntry(uri="f", source="f", error="broken")])
                state, store_id = store.state, store.id
            assert config.exists(location), "a store that was created does not exist"
            for options in ({}, {"create": True}, {"read_only": True}):
                with closing(config.open(location, **options)) as store:
                    assert (store.state, store.id) == (state, store_id), "state or id changed"
                    assert store.document("contract:a") == self.make_document(), "a document"
                    assert list(store.live_rows()) == rows, "rows"
                    assert [failure.uri for failure in store.failures()] == ["f"], "failures"

    def test_new_store_is_empty(self) -> None:
        """A new store has generation 0, store set 1 and no contents."""
        with (
            self.open_location() as (config, location),
            closing(config.open(location, create=True)) as store,
        ):
            assert tuple(store.state) == (0, 1, ""), f"the state is {store.state}"
            assert len(store.id) == 16, f"the id is {store.id!r}"
            assert store.documents() == [] and store.live_rows() == {}, "contents"
            stats = store.stats()
            assert (stats.documents, stats.chunks, stats.unfinished) == (0, 0, 0), f"{stats}"
            assert store.chunk_count() == 0 and store.uris() == [], "counts"
            assert store.integrity_errors() == [], "integrity"

    def test_read_only_store_refuses_writes(self) -> None:
        """With `read_only`, every write raises `RagIndexError`, and changes nothing."""
        with self.open_location() as (config, location):
            if not config.is_persistent:
                raise SkipTest("the store is not persistent")
            with closing(config.open(location, create=True)) as store:
                store.set_embedder(EMBEDDER_NOTE)
                rows = self.add_live(store, self.make_document())
                store.record_failures([FailureEntry(uri="f", source="f", error="broken")])
                contents = self._read_contents(store)
            with closing(config.open(location, read_only=True)) as store:
                for name, write in self._list_writes(store, rows):
                    try:
                        write()
                    except RagIndexError:
                        continue
                    raise AssertionError(f"{name} wrote to a store that is read-only")
            with closing(config.open(location)) as store:
                assert self._read_contents(store) == contents, "the contents changed"

    def _read_contents(self, store: DocumentStore) -> tuple[object, ...]:
        return store.state, store.documents(), store.live_rows(), store.failures(), store.stats()

    def _list_writes(
        self, store: DocumentStore, rows: Sequence[int]
    ) -> list[tuple[str, Callable[[], object]]]:
        """Return the methods that write, with arguments for `make_document` with these `rows`."""
        pending = make_pending(self.make_document())
        number = store.live_documents_by_row(rows)[rows[0]]
        failure = FailureEntry(uri="g", source="g", error="broken")
        embedding = (pending.text_hashes[0], pending.vectors[0].tobytes())
        return [
            ("set_embedder", lambda: store.set_embedder("{}")),
            ("activate_store_set", lambda: store.activate_store_set(2)),
            ("add_pending", lambda: store.add_pending([pending], EMBEDDER)),
            ("make_live", lambda: store.make_live([number])),
            ("stage", lambda: store.stage([number])),
            ("mark_deleted", lambda: store.mark_deleted(["contract:a"])),
            ("discard", lambda: store.discard("pending")),
            ("remove_chunks", lambda: store.remove_chunks(rows)),
            ("remove_deleted_documents", store.remove_deleted_documents),
            ("refresh_ledger", lambda: store.refresh_ledger([("contract:a", pending.entry)])),
            ("record_failures", lambda: store.record_failures([failure])),
            ("delete_failures", lambda: store.delete_failures(["f"])),
            (
                "replace_embeddings",
                lambda: store.replace_embeddings(EMBEDDER, rows[:1], [embedding]),
            ),
        ]

    def test_deleted_or_replaced_files_are_noticed(self) -> None:
        """`storage_exists` is False after the files were deleted, or replaced by a new store."""
        with (
            self.open_location() as (config, location),
            closing(config.open(location, create=True)) as store,
        ):
            self.add_live(store, self.make_document())
            assert store.storage_exists(), "the storage of a new store does not exist"
            if not has_files(location):
                raise SkipTest("the store has no files")
            location.folder.rename(location.folder.with_name("moved"))
            assert not store.storage_exists(), "storage that was deleted exists"
            location.folder.mkdir()
            config.open(location, create=True).close()
            assert not store.storage_exists(), "a new store is taken for the one opened"

    def test_closed_store_raises(self) -> None:
        """A read after `close` raises `RagError`; `close` may be called twice."""
        with self.open_store() as store:
            self.add_live(store, self.make_document())
            store.close()
            store.close()
            try:
                store.documents()
            except RagError:
                return
            raise AssertionError("a closed store was read")

    # -- documents and their states ----------------------------------------------------------

    def test_documents_and_chunks_are_read_back_exactly(self) -> None:
        """Text, marks, metadata, chunks, spans and locations are what was written."""
        document = self.make_document()
        expected = {chunk.start: chunk for chunk in make_pending(document).chunks}
        with self.open_store() as store:
            rows = self.add_live(store, document)
            assert store.document(document.uri) == document, "the document"
            chunks = store.chunks(rows)
            assert list(chunks) == rows or set(chunks) == set(rows), "rows of chunks"
            for chunk in chunks.values():
                assert chunk == expected[chunk.start], f"the chunk at {chunk.start}"
            outline = store.outline(document.uri)
            assert [span.row for span in outline] == rows, "the outline"
            assert [(s.start, s.end) for s in outline] == [
                (c.start, c.end) for c in expected.values()
            ], "spans"
            assert outline[0].headings == ("A", "B"), "headings"
            assert store.text(document.uri, 3, 50) == document.text[3:50], "text"
            assert store.text(document.uri, 100, 10**9) == document.text[100:], "text to the end"
            assert store.location(document.uri, 4) == {"page": 1}, "location"

    def test_identity_terms_are_read_back(self) -> None:
        """`identity` is stored with the document, and `identities` returns that of all, by uri."""
        identity = {"title": ("Kite 4", "é😀"), "file": ("kite",), "other": ()}
        named = self.make_document("contract:b", identity=identity)
        with self.open_store() as store:
            assert store.identities() == {}, "a store without documents"
            self.add_live(store, named, self.make_document())
            assert store.document(named.uri).identity == identity, "the identity of a document"
            assert store.document("contract:a").identity == {}, "a document without identity"
            identities = store.identities()
            assert identities == {"contract:a": {}, "contract:b": identity}, f"{identities}"
            assert list(identities) == ["contract:a", "contract:b"], "not sorted by uri"
            store.add_pending([make_pending(named)], EMBEDDER)
            store.mark_deleted([named.uri])
            assert store.identities() == {"contract:a": {}}, "pending or deleted documents"

    def test_unknown_documents(self) -> None:
        """Unknown uris and rows: `DocumentNotFound`, or nothing."""
        with self.open_store() as store:
            for read in (store.document, lambda uri: store.text(uri, 0, 1)):
                try:
                    read("nowhere")
                except DocumentNotFound:
                    continue
                raise AssertionError("an unknown document was read")
            assert store.outline("nowhere") == [] and store.chunks([1, 2]) == {}, "chunks"
            assert store.ledger_by_uri(["nowhere"]) == {}, "ledger"
            assert store.mark_deleted(["nowhere"]) == 0, "mark_deleted"

    def test_named_documents_are_found(self) -> None:
        """Live documents are found by the keys of their identity terms."""
        identity = {"file": ("BESTBUY", "2023"), "first_page": ("Lena Voss",)}
        old = self.make_document().model_copy(update={"identity": identity})
        with self.open_store() as store:
            assert store.document_count() == 0, "document_count of an empty store"
            self.add_live(store, old)
            (info,) = store.documents()
            keys = ["bestbuy", "lenavoss", "nobody"]
            found = store.find_named_documents(keys, limit=1)
            expected = {
                "bestbuy": {info.number: NamedDocument(1.0, info.chunks)},
                "lenavoss": {info.number: NamedDocument(0.4, info.chunks)},
            }
            assert found == expected, "find_named_documents"
            assert store.find_named_documents(keys, limit=0) == {}, "the limit"
            outside = store.find_named_documents(keys, limit=1, documents=[info.number + 1])
            assert outside == {}, "documents"
            assert store.uris_of_documents([info.number, 9_999]) == {info.number: old.uri}
            assert store.document_count() == 1, "document_count"
            store.mark_deleted([old.uri])
            assert store.find_named_documents(keys, limit=1) == {}, "a deleted document is named"
            assert store.document_count() == 0, "document_count after a deletion"

    def test_pending_documents_are_invisible(self) -> None:
        """A pending document is not seen; `make_live` replaces the old version at once."""
        old = self.make_document(text="The old text of the document.")
        new = self.make_document(text="The new text.")
        with self.open_store() as store:
            old_rows = self.add_live(store, old)
            numbers, new_rows = store.add_pending([make_pending(new)], EMBEDDER)
            assert store.document(old.uri) == old, "a pending document is seen"
            assert set(store.live_documents_by_row([*old_rows, *new_rows])) == set(old_rows)
            assert store.chunk_count("pending") == len(new_rows), "pending chunks"
            assert set(store.chunks(new_rows, "pending")) == set(new_rows), "pending chunks"
            generation = store.generation
            store.make_live(numbers)
            assert store.generation > generation, "the generation did not grow"
            assert store.document(old.uri) == new, "the old version is still live"
            assert set(store.live_documents_by_row([*old_rows, *new_rows])) == set(new_rows)
            assert sorted(store.deleted_chunk_rows(100)) == sorted(old_rows), "deleted chunks"
            assert len(store.deleted_chunk_rows(1)) == 1, "the limit"

    def test_deleted_documents_are_removed_in_steps(self) -> None:
        """Rows of deleted chunks stay listed until they are removed, and are never used again."""
        with self.open_store() as store:
            store.record_failures([FailureEntry(uri="contract:a", source="s", error="e")])
            rows = self.add_live(store, self.make_document())
            assert store.failures() == [], "make_live keeps the failure"
            assert store.mark_deleted(["contract:a", "unknown"]) == 1, "mark_deleted"
            assert store.documents() == [] and store.stats().unfinished == 1, "still live"
            store.remove_deleted_documents()
            assert sorted(store.deleted_chunk_rows(100)) == rows, "removed with chunks"
            store.remove_chunks(rows)
            store.remove_deleted_documents()
            assert store.stats().unfinished == 0, "not removed"
            new_rows = self.add_live(store, self.make_document())
            assert min(new_rows) > max(rows), "a row was used again"

    def test_numbers_are_never_used_again(self) -> None:
        """Documents and chunks get new numbers after a deletion, also when opened again."""
        with self.open_location() as (config, location):
            store = config.open(location, create=True)
            last_number = last_row = 0
            try:
                for attempt in range(3):
                    rows = self.add_live(store, self.make_document())
                    (info,) = store.documents()
                    assert info.number > last_number, "the number of a document was used again"
                    assert min(rows) > last_row, "the row of a chunk was used again"
                    last_number, last_row = info.number, max(rows)
                    store.mark_deleted(["contract:a"])
                    store.remove_deleted_with_chunks()
                    if attempt and config.is_persistent:
                        store.close()
                        store = config.open(location)
            finally:
                store.close()

    def test_mark_deleted_deletes_the_failures_of_its_uris(self) -> None:
        """`mark_deleted` deletes the failures of its uris, also without a document; no others."""
        uris = ("contract:a", "contract:failed", "contract:other")
        with self.open_store() as store:
            self.add_live(store, self.make_document())
            store.record_failures([FailureEntry(uri=uri, source="s", error="e") for uri in uris])
            generation = store.generation
            assert store.mark_deleted(["contract:failed"]) == 0, "there is no such document"
            assert store.generation == generation, "the generation grew, and nothing was deleted"
            failed = [failure.uri for failure in store.failures()]
            assert failed == ["contract:a", "contract:other"], f"without a document: {failed}"
            assert store.mark_deleted(["contract:a"]) == 1, "mark_deleted"
            failed = [failure.uri for failure in store.failures()]
            assert failed == ["contract:other"], f"with a document: {failed}"

    def test_discard_marks_documents_as_deleted(self) -> None:
        """`discard` drops pending or staged documents, except those of one embedder."""
        with self.open_store() as store:
            store.add_pending([make_pending(self.make_document("contract:p"))], EMBEDDER)
            assert store.discard("pending") == 1, "pending"
            numbers, _ = store.add_pending([make_pending(self.make_document())], "other")
            store.stage(numbers)
            assert store.discard("staged", except_embedder="other") == 0, "except_embedder"
            assert store.chunk_count("staged") > 0, "staged chunks"
            assert store.discard("staged", except_embedder=EMBEDDER) == 1, "staged"
            store.remove_deleted_with_chunks()
            assert store.stats().unfinished == 0, "not removed"

    def test_staged_documents_replace_the_live_ones(self) -> None:
        """`activate_store_set` switches number, embedder and documents at once."""
        live, other = self.make_document("contract:a"), self.make_document("contract:b")
        with self.open_store() as store:
            self.add_live(store, live, other)
            remaining = store.documents_to_stage(0, 10)
            assert [uri for _, uri in remaining] == ["contract:a", "contract:b"], f"{remaining}"
            numbers, rows = store.add_pending([make_pending(live, seed=4)], "new")
            store.stage(numbers)
            assert [uri for _, uri in store.documents_to_stage(0, 10)] == ["contract:b"]
            assert store.documents_to_stage(remaining[-1][0], 10) == [], "after"
            generation = store.generation
            store.activate_store_set(7, '{"fingerprint": "new"}', "staged")
            assert store.state.store_set_number == 7, "the number"
            assert store.state.embedder_fingerprint == "new", "the embedder"
            assert store.generation > generation, "the generation"
            assert store.uris() == ["contract:a"] and list(store.live_rows()) == rows, "documents"

    def test_store_set_number_alone(self) -> None:
        """Without a replacement, `activate_store_set` keeps the documents and the embedder."""
        with self.open_store() as store:
            rows = self.add_live(store, self.make_document())
            store.activate_store_set(2)
            assert store.state.store_set_number == 2, "the number"
            assert store.state.embedder_fingerprint == EMBEDDER, "the embedder changed"
            assert list(store.live_rows()) == rows, "the documents changed"

    # -- lists and filters -------------------------------------------------------------------

    def test_chunk_rows_are_listed_in_order(self) -> None:
        """`chunk_rows_after` and `live_rows` list rows in order, with their documents."""
        with self.open_store() as store:
            rows = self.add_live(store, *(self.make_document(f"contract:{i}") for i in range(3)))
            first = store.chunk_rows_after("live", 0, 4)
            assert [chunk_row.row for chunk_row in first] == rows[:4], f"{first}"
            after = store.chunk_rows_after("live", rows[3], 10_000)
            assert [chunk_row.row for chunk_row in after] == rows[4:], "after"
            owners = store.live_rows()
            assert list(owners) == rows, "live_rows"
            for number in set(owners.values()):
                expected = sorted(row for row in rows if owners[row] == number)
                assert sorted(store.rows_of_documents([number])) == expected, "rows_of_documents"
            assert list(store.live_rows(rows[5])) == rows[6:], "live_rows after a row"

    def test_listing_and_counts(self) -> None:
        """`documents` and `stats` count what is live."""
        document = self.make_document()
        with self.open_store() as store:
            rows = self.add_live(store, document, self.make_document("contract:0"))
            first, second = store.documents()
            assert (first.uri, second.uri) == ("contract:0", "contract:a"), "not sorted by uri"
            assert (second.title, second.mime) == ("Title", "text/plain"), "title and mime"
            assert second.characters == len(document.text), "characters"
            assert first.chunks + second.chunks == len(rows), "chunks"
            assert first.number == store.live_documents_by_row(rows)[rows[-1]], "number"
            stats = store.stats()
            assert (stats.documents, stats.chunks) == (2, len(rows)), f"{stats}"
            assert stats.characters == 2 * len(document.text), f"{stats}"

    def test_time_of_writing_is_kept(self) -> None:
        """`written_at` is the time of `add_pending`; it is the same whenever it is read."""
        with self.open_location() as (config, location):
            with closing(config.open(location, create=True)) as store:
                earliest = time.time() - MAX_CLOCK_DIFFERENCE_SECONDS
                self.add_live(store, self.make_document())
                latest = time.time() + MAX_CLOCK_DIFFERENCE_SECONDS
                written_at = store.documents()[0].written_at
                assert earliest <= written_at <= latest, f"written_at is {written_at}"
                assert store.documents()[0].written_at == written_at, "a read changed it"
                self.add_live(store, self.make_document("contract:b"))
                first, second = (info.written_at for info in store.documents())
                assert first == written_at <= second, f"{first} and {second}"
            if config.is_persistent:
                with closing(config.open(location)) as store:
                    assert store.documents()[0].written_at == written_at, "opening changed it"

    def test_filters_select_documents(self) -> None:
        """`matching_documents` agrees with `Filter.matches`."""
        documents = [
            self.make_document("contract:a"),
            self.make_document("contract:b", metadata={"year": 2020}),
            self.make_document("contract:c", metadata={}, title="Other"),
        ]
        with self.open_store() as store:
            self.add_live(store, *documents)
            uris = {info.number: info.uri for info in store.documents()}
            for where in (
                F("year") >= 2021,
                F("year") == 2020,
                F("tags").in_(["x"]),
                F("draft") == False,  # noqa: E712
                ~(F("year") == 2020),
                (F("title") == "Other") | (F("uri") == "contract:b"),
                F("share").exists(),
            ):
                expected = {document.uri for document in documents if where.matches(document)}
                matching = store.matching_documents(where)
                assert {uris[number] for number in matching} == expected, f"{where}"
                for number, chunk_count in matching.items():
                    assert chunk_count == len(store.rows_of_documents([number])), "chunk count"

    def test_filters_compare_meanings(self) -> None:
        """Moments, numbers in texts, names of fields and forms of letters, as `Filter.matches`."""
        documents = [
            self.make_document("contract:a", metadata={"Date": "2025-03-04T23:30:00-08:00"}),
            self.make_document("contract:b", metadata={"date": "2025-03-05", "n": "12.50"}),
            self.make_document("contract:c", metadata={"date": ("2024", "soon"), "n": 12.5}),
            self.make_document("contract:d", metadata={"name": "A\u0308", "n": "012", "b": "TRUE"}),
        ]
        expected = {
            F("date") >= "2025-03-05T06:00:00+00:00": "ab",
            F("date") == "2025-03-05": "ab",
            F("date") < "2025-03-05T00:00:00": "c",
            F("DATE") == 2025: "ab",
            F("date") <= 2024: "c",
            F("date") == "soon": "c",
            F("n") == 12.5: "bc",
            F("n") >= 12: "bc",
            F("n") == "12.50": "bc",
            F("n") == "012": "d",
            F("name").startswith("\u00c4"): "d",
            F("Name") == "\u00c4": "d",
            F("b") == True: "d",  # noqa: E712
        }
        with self.open_store() as store:
            self.add_live(store, *documents)
            uris = {info.number: info.uri for info in store.documents()}
            for where, letters in expected.items():
                matching = {uris[number][-1] for number in store.matching_documents(where)}
                assert matching == set(letters), f"{where} selects {sorted(matching)}"

    def test_unknown_fields_are_named(self) -> None:
        """`unknown_fields` names fields that no document has; the filter still gives a result."""
        where = (F("yaer") == 2024) | (F("title") == "Title") | ~F("other").exists()
        with self.open_store() as store:
            assert store.unknown_fields(where) == {}, "a store without documents"
            self.add_live(store, self.make_document())
            assert store.metadata_fields() == ["draft", "share", "tags", "year"], "fields"
            assert store.unknown_fields(where) == {"yaer": ["year"]}, "the nearest field"
            assert store.unknown_fields(F("YEAR") == 1) == {}, "case"
            assert len(store.matching_documents(where)) == 1, "the result"

    def test_metadata_values(self) -> None:
        """The values of a field are counted by document, live ones only, with their types."""
        metadata: tuple[dict[str, object], ...] = (
            {"by": "Ruth", "tags": ("x", 1, "x")},
            {"by": "Ruth", "tags": ("x", True), "share": 0.5},
            {"by": 'Ö\'Neill "R"', "tags": ()},
        )
        documents = [
            self.make_document(f"contract:{i}", metadata=fields)
            for i, fields in enumerate(metadata)
        ]
        with self.open_store() as store:
            self.add_live(store, *documents)
            store.add_pending([make_pending(self.make_document(metadata={"by": "A"}))], EMBEDDER)
            fields = ["by", "tags", "share", "missing"]
            values = store.metadata_values(fields, 10)
            assert values["by"] == [("Ruth", 2), ('Ö\'Neill "R"', 1)], f"{values['by']}"
            tags = {(type(value), value, count) for value, count in values["tags"]}
            assert tags == {(str, "x", 2), (int, 1, 1), (bool, True, 1)}, f"{tags}"
            assert values["share"] == [(0.5, 1)], "one document"
            assert not values.get("missing"), "a field that no document has"
            assert store.metadata_values(["by"], 1)["by"] == [("Ruth", 2)], "the limit"

    # -- ledger and failures -----------------------------------------------------------------

    def test_ledger_entries(self) -> None:
        """Entries are found by uri and by source, and refreshed without digest and owner."""
        with self.open_store() as store:
            pending = [
                make_pending(self.make_document(f"contract:{part}"), source="contract:s")
                for part in ("1", "2")
            ]
            numbers, _ = store.add_pending(pending, EMBEDDER)
            store.make_live(numbers)
            entry = pending[0].entry
            assert store.ledger_by_uri(["contract:1"]) == {"contract:1": entry}, "by uri"
            by_source = store.ledger_by_source(["contract:s", "unknown"])
            assert set(by_source) == {"contract:s"}, f"{set(by_source)}"
            assert set(by_source["contract:s"]) == {"contract:1", "contract:2"}, "by source"
            assert store.sources("contract:1") == [("contract:1", "contract:s", "owner")]
            assert store.uris() == ["contract:1", "contract:2"], "uris"
            changed = LedgerEntry(
                source="contract:s",
                source_version="2",
                content_hash="new",
                parser="p2",
                chunker="c2",
                digest="ignored",
                parts=9,
                owner_id="ignored",
            )
            store.record_failures([FailureEntry(uri="contract:1", source="s", error="e")])
            store.refresh_ledger([("contract:1", changed), ("unknown", changed)])
            refreshed = store.ledger_by_uri(["contract:1"])["contract:1"]
            assert (refreshed.source_version, refreshed.parts) == ("2", 9), f"{refreshed}"
            assert (refreshed.digest, refreshed.owner_id) == (entry.digest, "owner"), f"{refreshed}"
            assert store.failures() == [], "refresh_ledger keeps the failure"

    def test_failures(self) -> None:
        """Failures replace earlier ones of their uri, and are found by prefix and source."""
        first = FailureEntry(uri="a/1", source="a", error="old")
        second = FailureEntry(uri="a/1", source="a", error="new", source_version="v", parser="p")
        third = FailureEntry(uri="b", source="b", error="e")
        with self.open_store() as store:
            store.record_failures([third, first])
            store.record_failures([second])
            assert store.failures() == [second, third], f"{store.failures()}"
            assert store.failures("a/") == [second], "prefix"
            assert store.failures_by_source(["a", "x"]) == {"a": [second]}, "by source"
            store.delete_failures(["a/1", "unknown"])
            assert store.failures() == [third], "delete_failures"

    # -- embeddings --------------------------------------------------------------------------

    def test_embeddings_are_cached(self) -> None:
        """Vectors are read by row and by text hash, and outlive the chunks."""
        pending = make_pending(self.make_document())
        with self.open_store() as store:
            numbers, rows = store.add_pending([pending], EMBEDDER)
            vector_rows, matrix = store.vectors(rows[::-1], EMBEDDER)
            assert vector_rows == sorted(rows), "rows"
            assert matrix.dtype == np.float32, "dtype"
            by_hash = dict(zip(pending.text_hashes, pending.vectors, strict=True))
            cached = store.cached_embeddings(EMBEDDER, [*pending.text_hashes, b"?" * 16])
            assert set(cached) == set(by_hash), "cached hashes"
            assert store.cached_embeddings("another", pending.text_hashes) == {}, "embedder"
            assert store.vectors(rows, "another")[0] == [], "vectors of another embedder"
            store.make_live(numbers)
            store.mark_deleted(["contract:a"])
            store.remove_deleted_with_chunks()
            assert set(store.cached_embeddings(EMBEDDER, pending.text_hashes)) == set(by_hash)

    def test_embeddings_can_be_added_before_their_chunks(self) -> None:
        """`add_embeddings` keeps vectors that no chunk has yet, and replaces none."""
        first, second = (vector.tobytes() for vector in make_vectors(2, seed=9))
        with self.open_store() as store:
            store.add_embeddings(EMBEDDER, [(b"a" * 16, first)])
            store.add_embeddings(EMBEDDER, [(b"a" * 16, second), (b"b" * 16, second)])
            cached = store.cached_embeddings(EMBEDDER, [b"a" * 16, b"b" * 16])
            assert cached == {b"a" * 16: first, b"b" * 16: second}, "add_embeddings"

    def test_embeddings_can_be_replaced(self) -> None:
        """`replace_embeddings` gives chunks new vectors."""
        pending = make_pending(self.make_document())
        with self.open_store() as store:
            _, rows = store.add_pending([pending], EMBEDDER)
            new = make_vectors(1, seed=8)[0]
            store.replace_embeddings(EMBEDDER, rows[:1], [(pending.text_hashes[0], new.tobytes())])
            vector_rows, matrix = store.vectors(rows[:1], EMBEDDER)
            assert vector_rows == rows[:1] and np.allclose(matrix[0], new), "not replaced"

    def test_contents_can_be_copied(self) -> None:
        """All documents can be copied to another store with their vectors."""
        documents: Sequence[Document] = [self.make_document(f"contract:{i}") for i in range(5)]
        with self.open_store() as store:
            self.add_live(store, *documents)
            batches = list(iterate_pending_documents(store, EMBEDDER, batch_size=2))
            copied = [pending for batch in batches for pending in batch]
            assert [pending.document for pending in copied] == list(documents), "documents"
            assert len(batches) == 3, "batches"
            assert all(len(pending.vectors) == len(pending.chunks) for pending in copied)

    def test_threads_read_while_one_writes(self) -> None:
        """Reads from threads see whole documents while others are written."""
        with self.open_store() as store:
            self.add_live(store, self.make_document())

            def write_and_read() -> Document:
                store.add_pending([make_pending(self.make_document("b"))], EMBEDDER)
                store.discard("pending")
                return store.document("contract:a")

            for document in call_from_threads(write_and_read, 2):
                assert document == self.make_document(), "a read saw another document"
