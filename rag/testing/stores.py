"""The contracts of vector stores and lexical indexes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar
from unittest import SkipTest

import numpy as np
from numpy.typing import NDArray

from rag.component import Component
from rag.errors import IndexDamaged
from rag.stores import (
    BM25Query,
    LexicalEntry,
    LexicalIndex,
    LexicalIndexConfig,
    StoreLocation,
    VectorStore,
    VectorStoreConfig,
)
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads
from rag.testing.samples import HOSTILE_TEXTS
from rag.types import Chunk

C = TypeVar("C", VectorStoreConfig, LexicalIndexConfig)

DIMENSION = 8


@contextmanager
def make_location(name: str) -> Iterator[StoreLocation]:
    """Yield a location in a temporary folder; `name` is that of the store's own folder."""
    with tempfile.TemporaryDirectory(prefix="citewell-contract-") as folder:
        yield StoreLocation(Path(folder) / name, "contract-1")


def make_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return random unit vectors ``[count, 8]``."""
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    normalized: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normalized


def _make_chunks(count: int) -> list[Chunk]:
    hostile_texts = list(HOSTILE_TEXTS.values())
    texts = [hostile_texts[i % len(hostile_texts)] for i in range(count)]
    return [
        Chunk(id=f"c{i}", uri="contract:1", start=0, end=len(text), text=text)
        for i, text in enumerate(texts)
    ]


def has_files(location: StoreLocation) -> bool:
    """Return whether a store has written files to its folder."""
    return any(path.is_file() for path in location.folder.rglob("*"))


def check_garbage(config: VectorStoreConfig | LexicalIndexConfig, location: StoreLocation) -> None:
    """Overwrite the files of a store with garbage; check that it raises `IndexDamaged`."""
    files = [path for path in location.folder.rglob("*") if path.is_file()]
    if not files:
        raise SkipTest("the store has no files")
    for path in files:
        path.write_bytes(b"garbage " * 100)
    try:
        with closing(config.open(location)) as store:
            store.count()
    except IndexDamaged:
        return
    raise AssertionError("a store whose files hold garbage was opened and read")


class _DerivedStoreContract(PartContract[C]):
    """Checks that vector stores and lexical indexes have in common."""

    @contextmanager
    def open_location(self) -> Iterator[tuple[C, StoreLocation]]:
        """Yield the configuration and a location with new, empty storage."""
        config = self.make_part()
        with make_location(config.name) as location:
            config.create(location)
            try:
                yield config, location
            finally:
                config.remove(location)

    def test_missing_storage_is_damage(self) -> None:
        """A persistent store that was never created raises `IndexDamaged`, now or at first use."""
        config = self.make_part()
        if not config.is_persistent:
            raise SkipTest("the store is not persistent")
        with make_location("missing") as location:
            try:
                with closing(config.open(location)) as store:
                    store.count()
            except IndexDamaged:
                return
            raise AssertionError("a store that does not exist was opened")

    def test_deleted_files_are_noticed(self) -> None:
        """`storage_exists` is True, and False after the files of the store were deleted."""
        with self.open_location() as (config, location), closing(config.open(location)) as store:
            store.count()
            assert store.storage_exists(), "the storage of a new store does not exist"
            if not has_files(location):
                raise SkipTest("the store has no files")
            shutil.rmtree(location.folder)
            assert not store.storage_exists(), "storage that was deleted exists"

    def test_closing_twice_is_harmless(self) -> None:
        """`close` may be called more than once."""
        with self.open_location() as (config, location):
            store = config.open(location)
            store.close()
            store.close()


class VectorStoreContract(_DerivedStoreContract[VectorStoreConfig]):
    """Checks of `rag.stores.VectorStore` and its configuration.

    Override `make_location` for a store whose server needs another name. ``minimum_recall`` is
    the share of the true nearest rows that a query must find among 300.
    """

    part_class: ClassVar[type[Component]] = VectorStoreConfig
    minimum_recall: ClassVar[float] = 0.9

    @contextmanager
    def open_store(self) -> Iterator[VectorStore]:
        """Yield a new, empty store, ready for writes."""
        with self.open_location() as (config, location), closing(config.open(location)) as store:
            store.begin_writing()
            yield store
            store.end_writing(1)

    def fill(self, store: VectorStore, count: int, first_row: int = 1) -> NDArray[np.float32]:
        """Write `count` vectors to rows from `first_row`; ten rows belong to each document."""
        vectors = make_vectors(count)
        rows = list(range(first_row, first_row + count))
        store.upsert(rows, [row // 10 for row in rows], vectors, _make_chunks(count))
        return vectors

    def test_new_store_is_empty(self) -> None:
        """A new store has no rows, and a query in it has no results."""
        with self.open_store() as store:
            assert store.rows() == [] and store.count() == 0, "a new store is not empty"
            assert store.query(make_vectors(1)[0], 5) == [], "an empty store has results"
            assert store.vectors([1, 2]) == {}, "an empty store has vectors"

    def test_written_vectors_are_read_back(self) -> None:
        """`vectors`, `rows` and `count` agree with what was written; unknown rows are left out."""
        with self.open_store() as store:
            written = self.fill(store, 25)
            assert sorted(store.rows()) == list(range(1, 26)), "rows"
            assert store.count() == 25, "count"
            stored = store.vectors([3, 1, 25, 999])
            assert set(stored) == {1, 3, 25}, f"vectors of {sorted(stored)}"
            for row, vector in stored.items():
                assert np.allclose(vector, written[row - 1], atol=1e-6), f"row {row} differs"

    def test_upsert_overwrites(self) -> None:
        """A second write of a row replaces its vector, and adds no row."""
        with self.open_store() as store:
            self.fill(store, 12)
            replacement = make_vectors(2, seed=9)
            store.upsert([12, 4], [1, 0], replacement, _make_chunks(2))
            assert store.count() == 12, "an overwritten row was counted twice"
            stored = store.vectors([4, 12])
            assert np.allclose(stored[12], replacement[0], atol=1e-6), "row 12 was not replaced"
            assert np.allclose(stored[4], replacement[1], atol=1e-6), "row 4 was not replaced"
            best = store.query(replacement[1], 1)
            assert best[0][0] == 4, "a query finds the old vector"

    def test_delete_removes_rows(self) -> None:
        """Deleted rows are gone from all reads; unknown rows are ignored."""
        with self.open_store() as store:
            vectors = self.fill(store, 20)
            store.delete([5, 6, 12_345])
            store.delete([5])
            store.delete([])
            assert 5 not in store.rows() and store.count() == 18, "a deleted row is still counted"
            assert set(store.vectors([5, 6, 7])) == {7}, "a deleted row still has a vector"
            rows = [row for row, _ in store.query(vectors[4], 20)]
            assert 5 not in rows and 6 not in rows, "a query finds a deleted row"

    def test_query_returns_the_nearest_first(self) -> None:
        """Results are sorted, unique, at most `k`, and mostly the true nearest rows."""
        with self.open_store() as store:
            vectors = self.fill(store, 300)
            query = make_vectors(1, seed=5)[0]
            cosines = vectors @ query
            nearest = {int(i) + 1 for i in np.argsort(-cosines)[:10]}
            results = store.query(query, 10)
            rows = [row for row, _ in results]
            scores = [score for _, score in results]
            assert len(rows) == len(set(rows)) == 10, f"{len(set(rows))} rows for k=10"
            assert scores == sorted(scores, reverse=True), "the scores are not sorted"
            for row, score in results:
                assert abs(score - float(cosines[row - 1])) < 1e-4, f"the score of row {row}"
            recall = len(nearest & set(rows)) / 10
            assert recall >= self.minimum_recall, f"recall is {recall}"
            assert len(store.query(query, 1_000)) == 300, "fewer results than rows for a large k"
            assert store.query(query, 0) == [], "results for k=0"

    def test_query_filters_documents(self) -> None:
        """A store that `filters_documents` returns only chunks of the given documents."""
        with self.open_store() as store:
            if not store.filters_documents:
                raise SkipTest("the store leaves filters to the index")
            self.fill(store, 60)
            query = make_vectors(1, seed=5)[0]
            rows = {row for row, _ in store.query(query, 100, [2, 4])}
            assert rows == {row for row in range(1, 61) if row // 10 in (2, 4)}, f"rows {rows}"
            assert store.query(query, 100, []) == [], "results for no documents"

    def test_persistent_store_keeps_its_contents(self) -> None:
        """What was written is there when the store is opened again."""
        with self.open_location() as (config, location):
            if not config.is_persistent:
                raise SkipTest("the store is not persistent")
            with closing(config.open(location)) as store:
                store.begin_writing()
                vectors = self.fill(store, 30)
                store.delete([30])
                store.end_writing(1)
            config.create(location)  # existing storage stays as it is
            with closing(config.open(location)) as store:
                store.refresh(1)
                assert sorted(store.rows()) == list(range(1, 30)), "rows were lost"
                assert store.query(vectors[6], 1)[0][0] == 7, "a vector was lost"

    def test_files_with_garbage_are_damage(self) -> None:
        """If its files hold garbage, the store raises `IndexDamaged`, now or at first use."""
        with self.open_location() as (config, location):
            with closing(config.open(location)) as store:
                store.begin_writing()
                self.fill(store, 20)
                store.end_writing(1)
            check_garbage(config, location)

    def test_another_reader_sees_writes_after_a_refresh(self) -> None:
        """A store that was opened before a write sees it after `refresh`."""
        with self.open_location() as (config, location):
            if not config.is_persistent:
                raise SkipTest("the store is not persistent")
            with closing(config.open(location)) as reader:
                assert reader.count() == 0, "a new store is not empty"
                with closing(config.open(location)) as store:
                    store.begin_writing()
                    self.fill(store, 20)
                    store.delete([20])
                    store.end_writing(1)
                reader.refresh(1)
                assert sorted(reader.rows()) == list(range(1, 20)), "the writes are not seen"

    def test_threads_read_while_one_writes(self) -> None:
        """Queries from two threads return complete results while rows are added."""
        with self.open_store() as store:
            vectors = self.fill(store, 50)

            def read_and_write() -> list[int]:
                store.upsert([100], [1], make_vectors(1, seed=3), _make_chunks(1))
                return [row for row, _ in store.query(vectors[0], 60)]

            for rows in call_from_threads(read_and_write, 2):
                assert set(range(1, 51)) <= set(rows), "a query lost rows during a write"


class LexicalIndexContract(_DerivedStoreContract[LexicalIndexConfig]):
    """Checks of `rag.stores.LexicalIndex` and its configuration."""

    part_class: ClassVar[type[Component]] = LexicalIndexConfig

    entries: ClassVar[tuple[LexicalEntry, ...]] = (
        LexicalEntry(1, 1, "Handbook > Battery", "The battery of the drone lasts 31 minutes."),
        LexicalEntry(2, 1, "Handbook > Charging", "Charging takes two hours. Charge it indoors."),
        LexicalEntry(3, 2, "Wartung", "Die Propeller werden nach jedem Flug auf Risse geprüft."),
        LexicalEntry(4, 3, "", "ลมแรงกว่าสิบเมตรต่อวินาที ห้ามบิน"),
        LexicalEntry(5, 4, "Notes", "Two notes: minutes of the meeting, minutes of the flight."),
    )

    @contextmanager
    def open_index(self) -> Iterator[LexicalIndex]:
        """Yield an index with the sample `entries`."""
        with self.open_location() as (config, location), closing(config.open(location)) as index:
            index.add(self.entries)
            index.commit()
            yield index
            index.end_writing()

    def search(self, index: LexicalIndex, text: str, **options: object) -> list[int]:
        """Return the rows that a query finds, best first."""
        documents = options.get("documents")
        assert documents is None or isinstance(documents, list)
        return [row for row, _ in index.search(BM25Query(text), 10, documents)]

    def test_new_index_is_empty(self) -> None:
        """A new index has no rows, and a search in it has no results."""
        with self.open_location() as (config, location), closing(config.open(location)) as index:
            assert index.rows() == [] and index.count() == 0, "a new index is not empty"
            assert index.search(BM25Query("battery"), 5) == [], "an empty index has results"
            assert index.languages() == [], "an empty index has languages"
            assert index.inverse_document_frequency("batteri") == 0, "idf in an empty index"

    def test_entries_are_found_by_their_words(self) -> None:
        """Words are found in text and headings, in any form of the word, in several languages."""
        with self.open_index() as index:
            for text, row in (
                ("batteries", 1),
                ("charges", 2),
                ("Propellern geprüft", 3),
                ("ห้ามบิน", 4),
                ("wartung", 3),
            ):
                rows = self.search(index, text)
                assert rows[:1] == [row], f"{text!r} finds {rows}"
            assert self.search(index, "zeppelin") == [], "an unknown word has results"
            assert self.search(index, "") == [], "an empty query has results"
            assert index.search(BM25Query("battery"), 0) == [], "results for k=0"

    def test_entries_are_found_in_other_spellings(self) -> None:
        """Identifiers and compounds are found in other spellings, and words in spite of a typo."""
        with self.open_index() as index:
            index.add([LexicalEntry(6, 5, "", "The code ERR-4021 of parse_config stands here.")])
            index.commit()
            for text, row in (
                ("err 4021", 6),
                ("err4021", 6),
                ("parseConfig", 6),
                ("parse-config", 6),
                ("batery", 1),
                ("chargnig", 2),
            ):
                rows = self.search(index, text)
                assert rows[:1] == [row], f"{text!r} finds {rows}"

    def test_stems_are_listed_by_their_beginning(self) -> None:
        """`list_stems` gives the stems of the body with their numbers of chunks, or nothing."""
        with self.open_index() as index:
            stems = dict(index.list_stems("minut"))
            assert stems in ({}, {"minut": 2}), f"{stems}"
            assert not index.list_stems("zeppel"), "stems that no chunk has"

    def test_scores_are_sorted_and_agree(self) -> None:
        """Results are sorted; `scores` gives the same scores, without rows that do not match."""
        with self.open_index() as index:
            query = BM25Query("minutes of flight")
            results = index.search(query, 10)
            scores = [score for _, score in results]
            assert scores == sorted(scores, reverse=True) and min(scores) > 0, f"{scores}"
            by_row = index.scores(query, [1, 2, 3, 5, 77])
            assert set(by_row) == {row for row, _ in results} - {4}, f"rows {sorted(by_row)}"
            for row, score in results:
                assert abs(by_row[row] - score) <= 1e-4 * score, f"two scores of row {row}"
            assert index.scores(query, []) == {}, "scores of no rows"

    def test_rare_words_and_headings_weigh_more(self) -> None:
        """A rare word outweighs a frequent one, and a title match outweighs a text match."""
        with self.open_index() as index:
            assert self.search(index, "minutes battery")[0] == 1, "a rare word weighs too little"
            plain = index.scores(BM25Query("battery", title_weight=0), [1])[1]
            titled = index.scores(BM25Query("battery", title_weight=2), [1])[1]
            assert titled > plain, "the weight of the title has no effect"

    def test_phrases_add_to_the_score(self) -> None:
        """A phrase in quotes raises the score of the chunks that contain it."""
        with self.open_index() as index:
            rows = self.search(index, '"minutes of the meeting"')
            assert rows == [5], f"the phrase finds {rows}"
            assert self.search(index, '"flight minutes"') == [], "a phrase in another order"

    def test_expansion_stems_are_searched(self) -> None:
        """Expansion stems find chunks that have no word of the query."""
        with self.open_index() as index:
            query = BM25Query("battery", expansion=(("charg", 1.0),), expansion_share=0.2)
            assert [row for row, _ in index.search(query, 10)] == [1, 2], "expansion"

    def test_search_filters_documents(self) -> None:
        """A search within documents finds only their chunks, with the same scores."""
        with self.open_index() as index:
            assert self.search(index, "minutes", documents=[4]) == [5], "documents=[4]"
            assert self.search(index, "minutes", documents=[]) == [], "documents=[]"
            many = self.search(index, "minutes", documents=list(range(1, 2_000)))
            assert sorted(many) == [1, 5], f"many documents: {many}"

    def test_frequencies_and_languages(self) -> None:
        """Rarer stems have a higher inverse document frequency; all languages are listed."""
        with self.open_index() as index:
            rare = index.inverse_document_frequency("batteri")
            frequent = index.inverse_document_frequency("minut")
            assert rare > frequent > 0, f"{rare} and {frequent}"
            assert index.inverse_document_frequency("zeppelin") == 0, "idf of an unknown stem"
            assert set(index.languages()) == {"en", "de", ""}, f"languages {index.languages()}"

    def test_languages_are_sorted_by_frequency(self) -> None:
        """`languages` begins with the language of most chunks, whatever was added first."""
        german = "Die Propeller werden nach jedem Flug geprüft, und der Akku wird geladen."
        with self.open_index() as index:
            assert index.languages()[0] == "en", f"languages {index.languages()}"
            index.add(LexicalEntry(row, row, "Wartung", german) for row in range(10, 14))
            index.add([LexicalEntry(14, 14, "", self.entries[3].text)])
            index.commit()
            languages = index.languages()
            assert languages == ["de", "en", ""], f"5, 3 and 2 chunks: languages {languages}"

    def test_deleted_rows_are_gone_after_commit(self) -> None:
        """Deleted rows are not found after `commit`; unknown rows are ignored."""
        with self.open_index() as index:
            index.delete([1, 999])
            index.commit()
            assert sorted(index.rows()) == [2, 3, 4, 5] and index.count() == 4, "rows"
            assert self.search(index, "battery") == [], "a deleted row is found"

    def test_a_row_added_twice_is_listed_twice(self) -> None:
        """`rows` shows a row that was added twice, so that `rag index verify` can report it."""
        with self.open_index() as index:
            index.add([LexicalEntry(2, 1, "", "again")])
            index.commit()
            assert sorted(index.rows()) == [1, 2, 2, 3, 4, 5], "a double row is hidden"

    def test_uncommitted_changes_are_not_visible(self) -> None:
        """What was added is found after `commit` only."""
        with self.open_index() as index:
            index.add([LexicalEntry(9, 9, "", "A zeppelin is landing.")])
            assert self.search(index, "zeppelin") == [], "found before commit"
            index.commit()
            assert self.search(index, "zeppelin") == [9], "not found after commit"

    def test_persistent_index_keeps_its_contents(self) -> None:
        """What was committed is there when the index is opened again."""
        with self.open_location() as (config, location):
            if not config.is_persistent:
                raise SkipTest("the index is not persistent")
            with closing(config.open(location)) as index:
                index.add(self.entries)
                index.commit()
                index.end_writing()
            config.create(location)  # existing storage stays as it is
            with closing(config.open(location)) as index:
                index.refresh(1)
                assert sorted(index.rows()) == [1, 2, 3, 4, 5], "rows were lost"
                assert self.search(index, "battery") == [1], "words were lost"

    def test_uncommitted_changes_are_lost(self) -> None:
        """Changes that are not committed are lost at `end_writing`."""
        with self.open_index() as index:
            index.add([LexicalEntry(9, 9, "", "A zeppelin is landing.")])
            index.end_writing()
            index.add([LexicalEntry(10, 10, "", "A balloon is landing.")])
            index.commit()
            assert sorted(index.rows()) == [1, 2, 3, 4, 5, 10], f"rows {sorted(index.rows())}"

    def test_files_with_garbage_are_damage(self) -> None:
        """If its files hold garbage, the index raises `IndexDamaged`, now or at first use."""
        with self.open_location() as (config, location):
            with closing(config.open(location)) as index:
                index.add(self.entries)
                index.commit()
                index.end_writing()
            check_garbage(config, location)

    def test_another_reader_sees_commits_after_a_refresh(self) -> None:
        """An index that was opened before a commit sees it after `refresh`."""
        with self.open_location() as (config, location):
            if not config.is_persistent:
                raise SkipTest("the index is not persistent")
            with closing(config.open(location)) as reader:
                assert reader.count() == 0, "a new index is not empty"
                with closing(config.open(location)) as index:
                    index.add(self.entries)
                    index.commit()
                    index.end_writing()
                reader.refresh(1)
                assert self.search(reader, "battery") == [1], "the commit is not seen"

    def test_best_form_of_a_word_counts(self) -> None:
        """Longer chunks score lower, and repeated words score less than in proportion."""
        with self.open_location() as (config, location), closing(config.open(location)) as index:
            filler = "other words that are not in the query at all "
            index.add(
                [
                    LexicalEntry(1, 1, "", "A zeppelin lands."),
                    LexicalEntry(2, 2, "", "A zeppelin lands. " + filler * 20),
                    LexicalEntry(3, 3, "", "A zeppelin, a zeppelin, a zeppelin."),
                ]
            )
            index.commit()
            scores = index.scores(BM25Query("zeppelin"), [1, 2, 3])
            assert scores[1] > scores[2], "the length of a chunk has no effect"
            assert scores[1] < scores[3] < 3 * scores[1], "repeated words count in proportion"
            index.end_writing()

    def test_hostile_texts_are_indexed(self) -> None:
        """Any text can be added and searched."""
        with self.open_index() as index:
            texts = [text for text in HOSTILE_TEXTS.values() if text.strip()]
            index.add(LexicalEntry(100 + i, 100 + i, text, text) for i, text in enumerate(texts))
            index.commit()
            assert index.count() == 5 + len(texts), "a text was lost"
            for text in texts:
                index.search(BM25Query(text[:500]), 5)

    def test_threads_search_at_once(self) -> None:
        """Searches from two threads return the same results."""
        with self.open_index() as index:
            first, second = call_from_threads(lambda: index.search(BM25Query("minutes"), 5), 2)
            assert first == second, "two threads see different results"
