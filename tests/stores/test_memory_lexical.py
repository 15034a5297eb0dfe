"""The lexical index in memory, compared with a naive BM25 and with tantivy."""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evals.datasets import load_retrieval_set
from evals.ranking_metrics import ndcg
from rag.component import build
from rag.stores import memory_lexical, tantivy
from rag.stores.lexical_index import BM25Query, LexicalEntry, LexicalIndex
from rag.stores.location import StoreLocation
from rag.stores.memory_lexical import InMemoryLexical, InMemoryLexicalIndex
from rag.stores.tantivy import Tantivy
from rag.text.tokenization import index_stems

IndexType = TypeVar("IndexType", bound=LexicalIndex)

ENGLISH = "the engine of a kite is at the front of it and has a propeller"
COMMON = "the and of is"  # English to `detect_language`


def make_index(*texts: str) -> InMemoryLexicalIndex:
    """Return an index with one document for each text, from row 0."""
    return fill_index(InMemoryLexicalIndex(), [make_entry(i, text) for i, text in enumerate(texts)])


def make_entry(row: int, text: str, heading: str = "", document: int | None = None) -> LexicalEntry:
    return LexicalEntry(row, row if document is None else document, heading, text)


def fill_index(index: IndexType, entries: Sequence[LexicalEntry]) -> IndexType:
    index.add(entries)
    index.commit()
    return index


def search_rows(index: LexicalIndex, text: str, k: int = 10, **options: object) -> list[int]:
    return [row for row, _ in index.search(BM25Query(text), k, **options)]  # type: ignore[arg-type]


def make_word(number: int) -> str:
    """Return a word of letters only: one with digits would have parts of its own."""
    return "w" + str(number).translate(str.maketrans("0123456789", "bcdfghjkmp"))


def spell(text: str) -> str:
    """Return a query with words in place of ``w`` and a number."""
    return re.sub(r"w(\d+)", lambda match: make_word(int(match[1])), text)


def generate_entries(count: int, seed: int = 1, length: int = 60) -> list[LexicalEntry]:
    """Return English chunks, five per document, of words with Zipf's distribution."""
    randomness = random.Random(seed)
    weights = [1 / rank for rank in range(1, 2001)]
    entries = []
    for row in range(count):
        word_count = randomness.randint(length // 4, 2 * length)
        numbers = randomness.choices(range(2000), weights, k=word_count)
        heading = " ".join(map(make_word, randomness.choices(range(2000), weights, k=4)))
        text = COMMON + " " + " ".join(map(make_word, numbers))
        entries.append(LexicalEntry(row, row // 5, heading, text))
    return entries


def generate_queries(count: int, seed: int = 2) -> list[str]:
    randomness = random.Random(seed)
    return [
        " ".join(make_word(randomness.randint(0, 1999)) for _ in range(5)) for _ in range(count)
    ]


@pytest.fixture
def tantivy_index(tmp_path: Path) -> Iterator[LexicalIndex]:
    location = StoreLocation(tmp_path / "tantivy", "")
    Tantivy().create(location)
    index = Tantivy().open(location)
    yield index
    index.close()


class NaiveBM25:
    """BM25 of English chunks by its formula, over lists of words."""

    def __init__(self, entries: Sequence[LexicalEntry]) -> None:
        self.fields = {"title": {}, "body": {}}
        for entry in entries:
            self.fields["title"][entry.row] = index_stems(entry.heading_context, "en")
            self.fields["body"][entry.row] = index_stems(
                f"{entry.heading_context} {entry.text}", "en"
            )

    def idf(self, field: str, stem: str) -> float:
        texts = self.fields[field].values()
        matching = sum(stem in text for text in texts)
        return math.log(1 + (len(texts) - matching + 0.5) / (matching + 0.5))

    def bm25(self, field: str, row: int, frequency: int, idf: float) -> float:
        texts = self.fields[field]
        average = sum(map(len, texts.values())) / len(texts)
        norm = 1.2 * (0.25 + 0.75 * len(texts[row]) / average)
        return idf * 2.2 * frequency / (frequency + norm)

    def score_word(self, field: str, row: int, stem: str) -> float:
        count = self.fields[field][row].count(stem)
        return self.bm25(field, row, count, self.idf(field, stem)) if count else 0.0

    def score_phrase(self, row: int, phrase: Sequence[str]) -> float:
        text, size = self.fields["body"][row], len(phrase)
        count = sum(text[i : i + size] == list(phrase) for i in range(len(text)))
        return (
            self.bm25("body", row, count, sum(self.idf("body", s) for s in phrase))
            if count
            else 0.0
        )

    def score(self, row: int, query: BM25Query) -> float:
        score = total_weight = 0.0
        for stem, count in Counter(index_stems(query.text, "en")).items():
            weight = count * self.idf("body", stem) ** query.rarity
            total_weight += weight if any(stem in t for t in self.fields["body"].values()) else 0
            score += weight * self.score_word("body", row, stem)
            score += weight * query.title_weight * self.score_word("title", row, stem)
        score += sum(self.score_phrase(row, index_stems(phrase, "en")) for phrase in query.phrases)
        for stem, share in query.expansion:
            factor = total_weight * query.expansion_share / (1 - query.expansion_share)
            score += share * factor * self.score_word("body", row, stem)
        return score

    def rank(self, query: BM25Query) -> list[tuple[int, float]]:
        scores = {row: self.score(row, query) for row in self.fields["body"]}
        return sorted(((r, s) for r, s in scores.items() if s), key=lambda hit: (-hit[1], hit[0]))


PlainQuery = partial(
    BM25Query, spelling_weight=0, typo_weight=0, synonym_weight=0, stop_word_weight=1
)
EXPANSION = ((make_word(20), 0.7), (make_word(33), 0.3), ("absent", 0.1))
QUERIES = [
    PlainQuery(spell("w1")),
    PlainQuery(spell("w5 w40 w40 w300 w1999 absent")),
    PlainQuery(spell("w3 w17"), title_weight=2.0, rarity=0.0),
    PlainQuery(spell("w3 w17"), title_weight=0.0, rarity=1.5),
    PlainQuery(spell('w2 "w0 w1" "w1 w0 w0" "w30"')),
    PlainQuery(spell('w9 "w0 absent"')),
    PlainQuery(spell("w8"), expansion=EXPANSION, expansion_share=0.3),
]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_scores_are_those_of_the_formula(query: BM25Query) -> None:
    entries = generate_entries(80)
    index = InMemoryLexicalIndex()
    for part in (entries[:60], entries[60:72], entries[72:78], entries[78:]):
        fill_index(index, part)  # several segments
    expected = NaiveBM25(entries).rank(query)
    hits = index.search(query, 1000)
    assert len(expected) > 5
    assert [row for row, _ in hits] == [row for row, _ in expected]
    assert [score for _, score in hits] == pytest.approx([score for _, score in expected])
    assert index.search(query, 5) == hits[:5]
    rows = [row for row, _ in hits[2:5]]
    assert index.scores(query, [*rows, 999]) == dict(hits[2:5])


def test_deleted_chunks_do_not_count_in_the_statistics() -> None:
    entries = generate_entries(60)
    index = fill_index(InMemoryLexicalIndex(), entries)
    index.delete([entry.row for entry in entries[:20]])  # too few to rewrite the segment
    index.commit()
    expected = NaiveBM25(entries[20:]).rank(QUERIES[1])
    hits = index.search(QUERIES[1], 1000)
    assert [row for row, _ in hits] == [row for row, _ in expected]
    assert [score for _, score in hits] == pytest.approx([score for _, score in expected])
    naive_idf = NaiveBM25(entries[20:]).idf("body", make_word(40))
    assert index.inverse_document_frequency(make_word(40)) == pytest.approx(naive_idf)
    assert index.count() == 40


def test_scores_of_tantivy_agree_to_a_few_percent(tantivy_index: LexicalIndex) -> None:
    """tantivy stores field lengths in one byte, so that its scores differ a little."""
    entries = generate_entries(1500)
    index = fill_index(InMemoryLexicalIndex(), entries)
    fill_index(tantivy_index, entries)
    overlaps = []
    for text in [*generate_queries(40), spell('w2 "w0 w1" "w1 w0 w0"'), spell("w1 w1 w3")]:
        query = BM25Query(text, expansion=((make_word(25), 1.0),), expansion_share=0.2)
        hits, tantivy_hits = index.search(query, 2000), tantivy_index.search(query, 2000)
        scores, tantivy_scores = dict(hits), dict(tantivy_hits)
        assert scores.keys() == tantivy_scores.keys()
        matrix = np.array([[scores[row], tantivy_scores[row]] for row in scores])
        assert np.corrcoef(matrix.T)[0, 1] > 0.999
        assert np.abs(matrix[:, 0] / matrix[:, 1] - 1).max() < 0.06
        best, tantivy_best = hits[:10], tantivy_hits[:10]
        overlaps.append(len(dict(best).keys() & dict(tantivy_best).keys()) / len(best))
        idf = tantivy_index.inverse_document_frequency(index_stems(text, "en")[0])
        assert index.inverse_document_frequency(index_stems(text, "en")[0]) == pytest.approx(idf)
    assert np.mean(overlaps) > 0.9


def test_scores_of_tantivy_are_equal_where_lengths_are(tantivy_index: LexicalIndex) -> None:
    """It stores lengths up to 40 exactly."""
    entries = generate_entries(200, length=12)
    index = fill_index(InMemoryLexicalIndex(), entries)
    fill_index(tantivy_index, entries)
    for query in QUERIES:
        scores = dict(index.search(query, 500))
        assert scores == pytest.approx(dict(tantivy_index.search(query, 500)), rel=1e-5)


@pytest.mark.data
@pytest.mark.parametrize("name", ["cranfield", "cisi"])
def test_quality_is_that_of_tantivy(name: str, data: Path, tantivy_index: LexicalIndex) -> None:
    dataset = load_retrieval_set(data / "retrieval" / name)
    with dataset.corpus.path.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    entries = [
        LexicalEntry(row, row, record.get("title", ""), record["text"])
        for row, record in enumerate(records)
    ]

    def measure_mean_ndcg(index: LexicalIndex) -> float:
        values = [
            ndcg([records[row]["_id"] for row in search_rows(index, text)], judged, 10)
            for text, judged in (
                (text, dataset.judgements[query]) for query, text in dataset.queries.items()
            )
        ]
        return sum(values) / len(values)

    quality = measure_mean_ndcg(fill_index(InMemoryLexicalIndex(), entries))
    assert quality > 0.3
    assert quality == pytest.approx(measure_mean_ndcg(fill_index(tantivy_index, entries)), abs=0.01)


WORDS = ["alpha", "beta", "gamma", "delta"]
THAI_WORDS = ["บ้าน", "แม่น้ำ", "น้ำท่วม", "ทาสี"]
DOCUMENT_WORDS = [WORDS, WORDS, THAI_WORDS]  # a document keeps its language
PROPERTY_QUERIES = [
    BM25Query("alpha beta"),
    BM25Query('gamma delta "alpha beta"'),
    BM25Query("น้ำท่วม ทาสี"),
    BM25Query('"แม่น้ำ"'),
    BM25Query("delta", expansion=(("alpha", 1.0),), expansion_share=0.5),
]


@st.composite
def draw_entry(draw: st.DrawFn) -> LexicalEntry:
    document = draw(st.integers(0, 2))
    some_words = st.lists(st.sampled_from(DOCUMENT_WORDS[document]), max_size=6).map(" ".join)
    text = draw(some_words) + ("" if document == 2 else f" {COMMON}")
    heading = draw(st.one_of(st.just(""), some_words))
    row = draw(st.integers(0, 9))
    return LexicalEntry(row, document, heading, text + (" บ้านน้ำ" if document == 2 else ""))


OPERATIONS = st.lists(
    st.one_of(
        st.lists(draw_entry(), min_size=1, max_size=4),  # add
        st.sets(st.integers(0, 9), max_size=4),  # delete
        st.just("commit"),
        st.just("end writing"),
    ),
    max_size=16,
)


def assert_equal_contents(index: LexicalIndex, entries: Sequence[LexicalEntry]) -> None:
    """Check that the index cannot be distinguished from a new one with these chunks."""
    fresh = InMemoryLexicalIndex()
    fresh.add(entries)
    fresh.commit()
    assert sorted(index.rows()) == sorted(entry.row for entry in entries)
    assert index.count() == len(entries)
    assert index.languages() == fresh.languages()
    for query in PROPERTY_QUERIES:
        for documents in (None, [0, 2]):
            assert index.search(query, 100, documents) == fresh.search(query, 100, documents)
        assert index.search(query, 2) == fresh.search(query, 2)
        assert index.scores(query, range(5)) == fresh.scores(query, range(5))


@pytest.mark.parametrize("merge_factor", [0, memory_lexical._MERGE_FACTOR])
@settings(max_examples=25)
@given(operations=OPERATIONS)
@example(
    operations=[
        [make_entry(1, "alpha")],
        {1},
        [make_entry(1, "alpha beta")],
        "commit",
        {1},
        "commit",
    ]
)
def test_any_sequence_of_changes_gives_the_index_of_the_remaining_chunks(
    operations: list[list[LexicalEntry] | set[int] | str],
    merge_factor: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_lexical, "_MERGE_FACTOR", merge_factor)  # 0: no segment is merged
    index = InMemoryLexicalIndex()
    committed: list[LexicalEntry] = []
    current: list[LexicalEntry] = []
    for operation in [*operations, "commit"]:
        if isinstance(operation, list):
            index.add(operation)
            current = current + operation
        elif isinstance(operation, set):
            index.delete(list(operation))
            current = [entry for entry in current if entry.row not in operation]
        elif operation == "commit":
            index.commit()
            committed = current
        else:
            index.end_writing()
            current = committed
        assert sorted(index.rows()) == sorted(entry.row for entry in committed)
        if operation == "commit":
            assert_equal_contents(index, committed)


def test_changes_are_found_after_the_commit() -> None:
    index = InMemoryLexicalIndex()
    index.add([make_entry(4, ENGLISH)])
    assert (index.rows(), index.languages(), search_rows(index, "kite")) == ([], [], [])
    index.commit()
    assert (index.rows(), index.languages(), search_rows(index, "kites")) == ([4], ["en"], [4])
    index.delete([4, 77])
    assert search_rows(index, "kite") == [4]
    index.commit()
    assert (index.rows(), index.count(), search_rows(index, "kite")) == ([], 0, [])
    assert index.inverse_document_frequency("kite") == 0


def test_changes_are_lost_without_a_commit() -> None:
    index = make_index(ENGLISH)
    index.add([make_entry(9, ENGLISH)])
    index.delete([0])
    index.end_writing()
    index.commit()
    assert index.rows() == [0]


def test_a_row_that_was_added_twice_is_listed_twice() -> None:
    index = fill_index(InMemoryLexicalIndex(), [make_entry(3, "kite"), make_entry(3, "kite")])
    assert index.rows() == [3, 3]
    fill_index(index, [make_entry(3, "kite kite")])
    assert index.rows() == [3, 3, 3]
    assert search_rows(index, "kite") == [3, 3, 3]
    best_score = index.search(BM25Query("kite"), 1)[0][1]
    assert index.scores(BM25Query("kite"), [3]) == {3: best_score}
    index.delete([3])
    index.commit()
    assert index.rows() == []


def test_equal_scores_are_ordered_by_row() -> None:
    index = InMemoryLexicalIndex()
    for row in (8, 3, 5, 1, 9):
        fill_index(index, [make_entry(row, "kite")])
    assert search_rows(index, "kite") == [1, 3, 5, 8, 9]
    assert search_rows(index, "kite", 2) == [1, 3]
    assert search_rows(index, "kite", 0) == search_rows(index, "kite", -1) == []


def test_documents_restrict_the_search_and_keep_the_scores() -> None:
    entries = generate_entries(100)
    index = fill_index(InMemoryLexicalIndex(), entries)
    query = BM25Query(spell("w1 w2 w3"))
    hits = index.search(query, 100)
    expected = [(row, score) for row, score in hits if row // 5 in {3, 11}]
    assert expected
    assert index.search(query, 100, {3, 11, 999}) == expected
    assert index.search(query, 1, {3, 11}) == expected[:1]
    assert index.search(query, 100, []) == []


def test_phrases() -> None:
    index = make_index(
        "The kite is red and the sky is blue.",
        "The sky over the red kite is blue.",
        "red kite, red kite",
        "The kite is not red",
    )
    assert search_rows(index, '"red kites"') == [2, 1]
    assert search_rows(index, '"sky is blue"') == [0]
    assert search_rows(index, '"blue the sky"') == []  # adjacent chunks
    assert search_rows(index, '"kite red kite"') == [2]
    assert search_rows(index, '"sky"') == search_rows(index, "sky") == [1, 0]
    words, phrase = BM25Query("sky red kites"), BM25Query('"red kite"')
    scores = {row: index.scores(words, range(4))[row] for row in range(4)}
    for row, score in index.search(phrase, 4):
        scores[row] += score
    assert index.scores(BM25Query('sky "red kite"'), range(4)) == pytest.approx(scores)
    headed = fill_index(InMemoryLexicalIndex(), [make_entry(1, "kite and sky", "the red")])
    assert search_rows(headed, '"red kite"') == [1]


def test_an_expansion_without_weight_matches_with_score_zero() -> None:
    index = make_index("kite", "propeller")
    hits = index.search(BM25Query("kite", expansion=(("propel", 1.0),)), 5)
    assert [row for row, _ in hits] == [0, 1]
    assert hits[1][1] == 0


@pytest.mark.parametrize("query", ["", "?!", '""', "AND OR NOT", "a:b^2~", "*", "\0", "😀" * 50])
def test_a_query_without_known_words_has_no_hits(query: str) -> None:
    for index in (InMemoryLexicalIndex(), make_index("kite", "")):
        assert index.search(BM25Query(query), 5) == []
        assert index.scores(BM25Query(query), [0, 1]) == {}


LANGUAGE_TEXTS = {
    "de": "Die Häuser am Fluss wurden nach dem Hochwasser wieder aufgebaut und gestrichen.",
    "en": "The houses at the river were rebuilt and painted after the flood had gone.",
    "ru": "Дома у реки были восстановлены и покрашены после наводнения в этом городе.",
    "th": "บ้านริมแม่น้ำถูกสร้างขึ้นใหม่และทาสีหลังน้ำท่วม",
    "zh": "河边的房屋在洪水之后被重建并重新粉刷",
}


def test_languages(tantivy_index: LexicalIndex) -> None:
    entries = [make_entry(row, text) for row, text in enumerate(LANGUAGE_TEXTS.values())]
    index = fill_index(InMemoryLexicalIndex(), entries)
    fill_index(tantivy_index, entries)
    assert index.languages() == tantivy_index.languages() == ["", "de", "en", "ru"]
    for text, language in [
        ("Haus", "de"),
        ("house", "en"),
        ("дом", "ru"),
        ("น้ำท่วม", "th"),
        ("洪水", "zh"),
        ("「被重建」", "zh"),
    ]:
        assert search_rows(index, text) == [list(LANGUAGE_TEXTS).index(language)], text
    for text in [*LANGUAGE_TEXTS.values(), '"die Häuser" houses "houses at the river"']:
        scores = dict(tantivy_index.search(BM25Query(text), 9))
        assert dict(index.search(BM25Query(text), 9)) == pytest.approx(scores, rel=1e-5)


def test_the_best_stem_of_a_word_counts(tantivy_index: LexicalIndex) -> None:
    texts = [f"Measurements of the antenna are given for each of the {w}" for w in "abcdef"]
    spanish = "de la antena y de los otros que se dan por cada una de las frecuencias"
    texts.append(f"measurements measurementes {spanish}")
    texts.append(f"{'measur ' * 3} measurements {spanish}")  # the stems in both languages
    texts.append(f"measur {'measurements ' * 3} {spanish}")
    entries = [make_entry(row, text) for row, text in enumerate(texts)]
    index = fill_index(InMemoryLexicalIndex(), entries)
    fill_index(tantivy_index, entries)
    assert index.languages() == ["en", "es"]
    assert index_stems("measurements measur", "es") == ["measurements", "measur"]
    assert index_stems("measurements", "en") == ["measur"]
    for text in ("measurements of the antenna", '"measurements"', '"measurements of the antenna"'):
        scores = dict(tantivy_index.search(BM25Query(text), 20))
        assert dict(index.search(BM25Query(text), 20)) == pytest.approx(scores, rel=1e-5), text
    assert set(index.scores(BM25Query("measurements"), [6, 7, 8])) == {6, 7, 8}


def test_readers_see_either_state_of_a_commit() -> None:
    """Each commit replaces ten chunks by ten others, so that all states have the same scores."""
    index = InMemoryLexicalIndex()
    texts = [f"{COMMON} kite" + " wind" * i for i in range(10)]

    def replace_chunks(generation: int) -> None:
        index.delete(range(10 * (generation - 1), 10 * generation))
        index.add(make_entry(10 * generation + i, text) for i, text in enumerate(texts))
        index.commit()

    replace_chunks(0)
    expected_scores = [score for _, score in index.search(BM25Query("kite wind"), 99)]
    assert len(expected_scores) == 10
    errors: list[str] = []
    is_done = Event()

    def read() -> None:
        is_last = False
        while not is_last and not errors:
            is_last = is_done.is_set()
            hits = index.search(BM25Query("kite wind"), 99)
            if [score for _, score in hits] != expected_scores:
                errors.append(f"wrong scores: {hits}")
            if len({row // 10 for row, _ in hits}) != 1 or index.count() != 10:
                errors.append(f"a part of a commit: {hits}")

    readers = [Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for generation in range(1, 150):
        replace_chunks(generation)
    is_done.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert sorted(index.rows()) == list(range(1490, 1500))


def test_writers_share_an_index() -> None:
    index = InMemoryLexicalIndex()

    def add_rows(first: int) -> None:
        for row in range(first, first + 50):
            fill_index(index, [make_entry(row, "kite")])

    writers = [Thread(target=add_rows, args=(first,)) for first in (0, 100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(search_rows(index, "kite", 999)) == 150
    assert sorted(index.rows()) == [*range(50), *range(100, 150), *range(200, 250)]


def test_a_small_commit_keeps_the_arrays_of_a_large_one() -> None:
    index = fill_index(InMemoryLexicalIndex(), generate_entries(400))
    large_body = index._segments[0].body
    for row in range(1000, 1060):
        fill_index(index, [make_entry(row, "kite")])
        index.delete([row - 1000])
        index.commit()
        sizes = [segment.live_count for segment in index._segments]
        assert all(size > 4 * next_size for size, next_size in pairwise(sizes)), sizes
    assert index._segments[0].body is large_body
    assert index.count() == 400
    assert index.rows() == [*range(60, 400), *range(1000, 1060)]


def test_deleted_chunks_do_not_stay_in_memory() -> None:
    index = make_index(*["kite"] * 6, *["sky"] * 4)
    index.delete(range(5))
    index.commit()
    assert len(index._segments[0].rows) == 10
    index.delete([5])
    index.commit()
    assert len(index._segments[0].rows) == 4
    assert list(index._segments[0].body.stem_numbers) == ["sky"]
    index.delete(range(10))
    index.commit()
    assert index._segments == ()


def test_configuration(tmp_path: Path) -> None:
    config = build("lexical_index", {"type": "memory"})
    assert isinstance(config, InMemoryLexical) and not config.is_persistent
    location = StoreLocation(tmp_path / "lexical", "name")
    config.create(location)
    first, second = config.open(location), config.open(location)
    fill_index(first, [make_entry(1, "kite")])
    assert (first.rows(), second.rows()) == ([1], [])
    assert not location.folder.exists() and first.storage_exists()
    first.close()
    first.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller", "Mueller"),
        ("Müller", "Muller"),
        ("C++", "cpp"),
        ("wi-fi", "wifi"),
        ("C#", "csharp"),
    ],
)
def test_both_spellings_are_found_if_the_index_has_both(one: str, other: str) -> None:
    index = make_index(f"the lease with {one} ends", f"the cake of {other} is here", "the rent")
    for query in (one, other):
        assert set(search_rows(index, query)) == {0, 1}, query


def test_a_query_of_many_unknown_words_corrects_the_first_ones() -> None:
    index = make_index("the engine of a kite", "the propeller of a kite")
    garbage = " ".join(f"zzz{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10]}zzz" for i in range(25))
    assert search_rows(index, f"enginee {garbage}") == [0]
    assert search_rows(index, f"{garbage} enginee") == []


def test_a_plan_of_before_a_commit_is_not_kept(
    tantivy_index: LexicalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_query = tantivy.plan_query

    def commit_meanwhile(*arguments: Any) -> Any:
        plan = plan_query(*arguments)
        fill_index(tantivy_index, [make_entry(1, "the zeppelin is here")])
        return plan

    fill_index(tantivy_index, [make_entry(0, "the kite is here")])
    monkeypatch.setattr(tantivy, "plan_query", commit_meanwhile)
    assert search_rows(tantivy_index, "zeppelin") == []
    monkeypatch.undo()
    assert search_rows(tantivy_index, "zeppelin") == [1]


@pytest.mark.parametrize("query", ["tyre colours", "tire colors", "coloured tires"])
def test_british_and_american_spellings_find_each_other(query: str) -> None:
    index = InMemoryLexicalIndex()
    texts = ["The tyres have this colour.", "The tires have that color.", "The wheels have a size."]
    fill_index(index, [make_entry(row, text) for row, text in enumerate(texts)])
    scores = dict(index.search(BM25Query(query, typo_weight=0), 9))
    assert scores.keys() == {0, 1}
    assert scores[0] == pytest.approx(scores[1])


SYNONYM_TEXTS = ("the revenue of March", "the turnover of March", "the rent of March", "the staff")


@pytest.mark.parametrize("kind", ["memory", "tantivy"])
def test_synonyms_are_found_after_the_word_itself(kind: str, tantivy_index: LexicalIndex) -> None:
    index = InMemoryLexicalIndex() if kind == "memory" else tantivy_index
    fill_index(index, [make_entry(row, text) for row, text in enumerate(SYNONYM_TEXTS)])
    assert search_rows(index, "revenue") == [0, 1]
    assert search_rows(index, "turnover") == [1, 0]
    assert search_rows(index, "employees") == [3]
    for query, rows in (("revenue", [0]), ("employees", [])):
        hits = index.search(BM25Query(query, synonym_weight=0), 9)
        assert [row for row, _ in hits] == rows


PHRASE_TEXTS = (
    "capital expenditure of the year",
    "purchases of property, plant and equipment",
    "the capex of the year",
    "purchases of paper, and the plant on the property",
    "PP&E of the year",
)


@pytest.mark.parametrize("kind", ["memory", "tantivy"])
@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("capital expenditure", {0, 1, 2}),
        ("capex", {2, 0, 1}),
        ("property, plant and equipment", {1, 3, 4}),
    ],
)
def test_synonyms_of_several_words_are_found_as_a_phrase(
    kind: str, query: str, rows: set[int], tantivy_index: LexicalIndex
) -> None:
    index = InMemoryLexicalIndex() if kind == "memory" else tantivy_index
    fill_index(index, [make_entry(row, text) for row, text in enumerate(PHRASE_TEXTS)])
    found = search_rows(index, query)
    assert set(found[: len(rows)]) == rows
    for row in rows - {found[0], 3}:
        without = dict(index.search(BM25Query(query, synonym_weight=0), 9))
        assert dict(index.search(BM25Query(query), 9))[row] > without.get(row, 0.0)


def test_a_rare_synonym_tells_no_more_than_the_word() -> None:
    texts = ["revenue and costs"] * 20 + ["turnover in the year", "costs in the year"]
    scores = dict(make_index(*texts).search(BM25Query("revenue"), 30))
    assert scores[20] == pytest.approx(0.3 * scores[0], rel=0.3)


def test_a_word_with_a_synonym_in_the_index_is_no_typo() -> None:
    index = make_index("the wages of March", "the malary of March")
    assert search_rows(index, "salary") == [0]
    hits = index.search(BM25Query("salary", synonym_weight=0), 9)
    assert [row for row, _ in hits] == [1]
