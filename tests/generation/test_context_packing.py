"""Context packing: which hits become passages, how chunks are joined, and in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.generation import pack
from rag.generation.context_packing import Order
from rag.types import Chunk, Hit
from tests.generation.samples import make_hit

SOURCE = "alpha beta gamma delta epsilon zeta eta theta"

# Best first: three chunks of document a that do not touch, two of b, two of c.
SCATTERED_HITS = [
    make_hit("a", 200, "a200", 0.9),
    make_hit("b", 100, "b100", 0.8),
    make_hit("a", 0, "a000", 0.7),
    make_hit("c", 300, "c300", 0.6),
    make_hit("b", 0, "b000", 0.5),
    make_hit("c", 100, "c100", 0.4),
    make_hit("a", 100, "a100", 0.3),
]
EXPECTED_ORDERS: dict[Order, list[str]] = {
    "relevance": ["a200", "b100", "a000", "c300", "b000", "c100", "a100"],
    "document": ["a000", "a100", "a200", "b000", "b100", "c100", "c300"],
    "edges": ["a200", "a000", "b000", "a100", "c100", "c300", "b100"],
}


def count_words(text: str) -> int:
    return len(text.split())


def make_section_hit(start: int, text: str, heading: str) -> Hit:
    chunk = Chunk(
        id=f"{heading}{start}",
        uri="a",
        start=start,
        end=start + len(text),
        text=text,
        headings=(heading,),
    )
    return Hit(chunk=chunk, score=1.0)


@pytest.mark.parametrize("order", EXPECTED_ORDERS)
def test_passages_are_in_the_requested_order(order: Order) -> None:
    passages = pack(SCATTERED_HITS, 10_000, count_words, order).passages
    assert [passage.text for passage in passages] == EXPECTED_ORDERS[order]
    assert [passage.number for passage in passages] == list(range(1, 8))


@pytest.mark.parametrize("order", EXPECTED_ORDERS)
@pytest.mark.parametrize("hit_count", range(len(SCATTERED_HITS) + 1))
def test_every_order_keeps_every_passage(order: Order, hit_count: int) -> None:
    hits = SCATTERED_HITS[:hit_count]
    packed = pack(hits, 10_000, count_words, order)
    passages = packed.passages
    assert sorted(p.text for p in passages) == sorted(hit.chunk.text for hit in hits)
    assert [passage.number for passage in passages] == list(range(1, hit_count + 1))
    assert packed.omitted_hits == 0
    assert all(
        passage.score == pytest.approx(hit.score / 0.9)
        for passage in passages
        for hit in hits
        if hit.chunk.text == passage.text
    )


@pytest.mark.parametrize(
    ("hit_count", "texts"),
    [
        (1, ["a200"]),
        (2, ["a200", "b100"]),
        (3, ["a200", "a000", "b100"]),
        (4, ["a200", "a000", "c300", "b100"]),
    ],
)
def test_order_edges_puts_the_best_passages_at_both_ends(hit_count: int, texts: list[str]) -> None:
    passages = pack(SCATTERED_HITS[:hit_count], 10_000, count_words, "edges").passages
    assert [passage.text for passage in passages] == texts


def test_order_document_sorts_documents_by_their_best_passage() -> None:
    passages = pack(SCATTERED_HITS[1:], 10_000, count_words, "document").passages
    assert [passage.uri for passage in passages] == ["b", "b", "a", "a", "c", "c"]


def test_overlapping_chunks_become_one_passage() -> None:
    hits = [
        make_hit("a", 11, SOURCE[11:30]),
        make_hit("b", 0, "other"),
        make_hit("a", 0, SOURCE[:16]),
    ]
    packed = pack(hits, 1_000, count_words)
    assert [(p.number, p.uri, p.start, p.end) for p in packed.passages] == [
        (1, "a", 0, 30),
        (2, "b", 0, 5),
    ]
    assert packed.passages[0].text == SOURCE[:30]


@pytest.mark.parametrize("is_first_better", [True, False])
@pytest.mark.parametrize(
    ("second_start", "second_end", "expected_end"),
    [
        (10, 30, 30),
        (15, 30, 30),
        (15, 17, 17),
        (16, 30, 30),
        (5, 12, 16),
        (0, 20, 20),
        (0, 16, 16),
    ],
    ids=[
        *("overlap of 6", "overlap of 1", "one new character", "touching"),
        *("contained", "same start", "same text"),
    ],
)
def test_two_chunks_are_joined_without_repeating_their_overlap(
    second_start: int, second_end: int, expected_end: int, is_first_better: bool
) -> None:
    first = Hit(
        chunk=Chunk(id="first", uri="a", start=0, end=16, text=SOURCE[:16]),
        score=1.0 if is_first_better else 0.5,
    )
    second = Hit(
        chunk=Chunk(
            id="second",
            uri="a",
            start=second_start,
            end=second_end,
            text=SOURCE[second_start:second_end],
        ),
        score=0.5 if is_first_better else 1.0,
    )
    hits = [first, second] if is_first_better else [second, first]
    (passage,) = pack(hits, 1_000, count_words).passages
    assert passage.text == SOURCE[:expected_end]
    assert (passage.number, passage.start, passage.end) == (1, 0, expected_end)
    assert (passage.score, passage.joints) == (1.0, ())


def test_two_chunks_with_a_gap_are_joined_with_white_space() -> None:
    hits = [make_section_hit(0, "One.", "H"), make_section_hit(8, "Two.", "H")]
    (passage,) = pack(hits, 1_000, count_words).passages
    assert (passage.text, passage.start, passage.end) == ("One.\n\n\n\nTwo.", 0, 12)
    assert passage.joints == (4, 8)
    assert [passage.text[start:end] for start, end in passage.sentence_spans()] == ["One.", "Two."]
    assert all(len(run) == 1 for run in passage.runs())


def test_touching_chunks_of_different_sections_are_not_joined() -> None:
    hits = [make_section_hit(0, "One.", "H"), make_section_hit(4, "Two.", "I")]
    passages = pack(hits, 1_000, count_words).passages
    assert [(p.text, p.headings) for p in passages] == [("One.", ("H",)), ("Two.", ("I",))]


def test_chunk_inside_the_first_of_three_does_not_end_the_passage() -> None:
    hits = [make_section_hit(0, SOURCE[:30], "H"), make_section_hit(5, SOURCE[5:10], "H")]
    hits.append(make_section_hit(28, SOURCE[28:40], "H"))
    (passage,) = pack(hits, 1_000, count_words).passages
    assert passage.text == SOURCE[:40]


@pytest.mark.parametrize(("start", "heading"), [(9, "H"), (8, "I")])
def test_chunks_far_apart_or_in_other_sections_are_not_joined(start: int, heading: str) -> None:
    hits = [make_section_hit(0, "One.", "H"), make_section_hit(start, "Two.", heading)]
    passages = pack(hits, 1_000, count_words).passages
    assert [(passage.start, passage.text) for passage in passages] == [(0, "One."), (start, "Two.")]


def test_chunks_of_different_documents_are_not_joined() -> None:
    hits = [make_hit("a", 0, "One."), make_hit("b", 2, "Two.")]
    assert [passage.uri for passage in pack(hits, 1_000, count_words).passages] == ["a", "b"]


def test_hits_that_do_not_fit_are_omitted_whole_and_counted() -> None:
    hits = [make_hit("a", 0, "one two"), make_hit("b", 0, "word " * 100), make_hit("c", 0, "three")]
    packed = pack(hits, 100, count_words)
    assert [passage.uri for passage in packed.passages] == ["a", "c"]
    assert (packed.omitted_hits, packed.budget, packed.tokens) == (1, 100, 67)
    assert packed.shortest_hit_tokens == 33


@pytest.mark.parametrize(("budget", "omitted_hits"), [(34, 0), (33, 1)])
def test_hit_that_exactly_fills_the_budget_fits(budget: int, omitted_hits: int) -> None:
    packed = pack([make_hit("a", 0, "one two")], budget, count_words)
    assert packed.omitted_hits == omitted_hits


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=8))
def test_passages_are_exact_and_do_not_touch(spans: list[tuple[int, int]]) -> None:
    hits = [
        make_hit("a", start, SOURCE[start : start + length])
        for start, length in spans
        if SOURCE[start : start + length]
    ]
    passages = pack(hits, 10_000, count_words).passages
    for passage in passages:
        for run in passage.runs():
            start, end = run[0].start, run[-1].end
            source_text = SOURCE[passage.start + start : passage.start + end]
            assert source_text == passage.text[start:end] != ""
    assert [passage.number for passage in passages] == list(range(1, len(passages) + 1))
    ordered = sorted(passages, key=lambda passage: passage.start)
    assert all(a.end < b.start for a, b in zip(ordered, ordered[1:], strict=False))


def test_no_hits_give_no_passages() -> None:
    assert pack([], 100, count_words).passages == ()
