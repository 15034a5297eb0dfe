import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import LexicalVerifier
from rag.generation import Passage, pack
from rag.generation.citations import cite
from rag.generation.markers import marked_numbers
from rag.types import Chunk, Hit

VERIFIER = LexicalVerifier()
TEXTS = [
    "The battery lasts 34 minutes. Charging takes 90 minutes. Never charge in frost.",
    "The propellers are made of nylon. Replace them after 50 hours of flight.",
]
PASSAGES = [
    Passage(
        number=i,
        uri=f"doc{i}",
        start=100 * i,
        end=100 * i + len(text),
        text=text,
        title=f"T{i}",
        headings=(),
        place={"page": i},
        score=1.0,
    )
    for i, text in enumerate(TEXTS, start=1)
]


@pytest.mark.parametrize(
    ("marker", "numbers"),
    [
        ("1", [1]),
        ("1, 2", [1, 2]),
        ("1,2;3", [1, 2, 3]),
        ("1-3", [1, 2, 3]),
        ("2–4, 1", [2, 3, 4, 1]),
        ("3-1", [3, 1]),
        ("1, 1", [1]),
        ("1-9999", list(range(1, 52))),
    ],
)
def test_marked_numbers(marker: str, numbers: list[int]) -> None:
    assert marked_numbers(marker) == numbers


@pytest.mark.parametrize(
    "draft",
    [
        "The battery lasts 34 minutes [1].",
        "The battery lasts 34 minutes. [1]",
        "The battery lasts 34 minutes.[1]",
        "The battery [1] lasts 34 minutes.",
    ],
)
def test_a_marker_is_tied_to_the_sentence_that_supports_it(draft: str) -> None:
    cited = cite(draft, PASSAGES, VERIFIER)
    (citation,) = cited.citations
    assert cited.text == draft
    assert citation.quote == "The battery lasts 34 minutes."
    assert (citation.uri, citation.start, citation.page) == ("doc1", 100, 1)
    assert citation.method == "marker"
    assert cited.sentences[0].supported


def test_several_markers_give_several_citations() -> None:
    cited = cite(
        "The battery lasts 34 minutes; the propellers are nylon [1, 2].", PASSAGES, VERIFIER
    )
    assert [c.uri for c in cited.citations] == ["doc1", "doc2"]
    assert cited.sentences[0].citations == (0, 1)


@pytest.mark.parametrize(
    ("draft", "text", "dropped"),
    [
        ("The battery lasts 34 minutes [9].", "The battery lasts 34 minutes. [1]", 1),
        ("The battery lasts 34 minutes [1, 9].", "The battery lasts 34 minutes [1].", 1),
        ("The battery lasts 34 minutes [0].", "The battery lasts 34 minutes. [1]", 1),
        ("Charging takes 90 minutes [1-4].", "Charging takes 90 minutes [1].", 3),
    ],
)
def test_markers_of_passages_that_are_not_there_or_do_not_support_are_dropped(
    draft: str, text: str, dropped: int
) -> None:
    cited = cite(draft, PASSAGES, VERIFIER)
    assert (cited.text, cited.dropped_markers) == (text, dropped)


@pytest.mark.parametrize(
    "draft",
    [
        "```python\nx = items[9]\ny = items[0]\n```",
        "```\nnever closed [9]",
        "# The battery\n\n---",
        "| part | made of |\n|---|---|",
        "Use `argv[1]` or argv[0].",
        "Call `f(x). y[7] = 3` now.",
        "> ```\n> y = x[5]\n> ```",
        "```\r\nx[5]\r\n```\r",
        "In [2019] all was new.",
    ],
)
def test_code_headings_and_rules_stay_as_they_are(draft: str) -> None:
    cited = cite(draft, PASSAGES, VERIFIER)
    assert (cited.text, cited.citations) == (draft.strip(), ())


@pytest.mark.parametrize("marker", ["【1】", "【1†source】", "[^1]", "[1]"])
def test_other_forms_of_markers(marker: str) -> None:
    cited = cite(f"The battery lasts 34 minutes{marker}.", PASSAGES, VERIFIER)
    assert cited.citations[0].quote == "The battery lasts 34 minutes."
    assert cited.citations[0].method == "marker"


def test_a_row_of_a_table_gets_its_marker_in_its_last_cell() -> None:
    table = "| part | made of |\n|---|---|\n| propellers | made of nylon |"
    cited = cite(table, PASSAGES, VERIFIER)
    assert cited.text == table[:-1] + "[2] |"
    assert [s.status for s in cited.sentences] == ["needs_none", "supported"]


def test_a_forgotten_citation_is_attributed_and_says_so() -> None:
    cited = cite("The propellers are made of nylon.", PASSAGES, VERIFIER)
    assert cited.text == "The propellers are made of nylon. [2]"
    assert (cited.citations[0].method, cited.attributed) == ("attribution", 1)
    assert cited.sentences[0].end == len(cited.text)


def test_an_unsupported_sentence_is_marked() -> None:
    cited = cite(
        "The battery lasts 34 minutes [1]. It was invented in Peru [1].", PASSAGES, VERIFIER
    )
    assert [s.supported for s in cited.sentences] == [True, False]
    assert cited.sentences[1].support < VERIFIER.threshold


def test_an_unsupported_sentence_without_marker_gets_none() -> None:
    cited = cite("It was invented in Peru by llamas.", PASSAGES, VERIFIER)
    assert (cited.citations, cited.attributed) == ((), 0)


def test_a_wrong_number_is_not_supported() -> None:
    assert not cite("The battery lasts 43 minutes [1].", PASSAGES, VERIFIER).sentences[0].supported


@given(
    st.lists(
        st.sampled_from(
            [
                "The battery lasts 34 minutes",
                " [1]",
                " [2, 7]",
                "[1-3]",
                ". ",
                "\n\n",
                "- ",
                "Nylon!",
                " [",
                "]",
                "[x]",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_offsets_are_exact_whatever_the_draft(draft: str) -> None:
    cited = cite(draft, PASSAGES, VERIFIER)
    for citation in cited.citations:
        passage = next(p for p in PASSAGES if p.uri == citation.uri)
        inside = citation.start - passage.start, citation.end - passage.start
        assert passage.text[slice(*inside)] == citation.quote
        assert 1 <= citation.marker <= len(PASSAGES)
    for sentence in cited.sentences:
        text = cited.text[sentence.start : sentence.end]
        assert text == text.strip() != ""
        assert all(0 <= i < len(cited.citations) for i in sentence.citations)
        if sentence.status != "needs_none":
            assert sentence.status == VERIFIER.status(sentence.support)


@pytest.mark.parametrize("piece", ["- ", "-", "`", "~", ". ", "[1] ", "[", "` ", "| ", "a\n---x\n"])
def test_checking_takes_linear_time(piece: str) -> None:
    cite("a\n" + piece * (40_000 // len(piece)) + "x", PASSAGES, VERIFIER)


def test_a_longer_fence_closes_a_block() -> None:
    cited = cite("```\nx[5]\n````\n\nThe battery lasts 34 minutes [1].", PASSAGES, VERIFIER)
    assert len(cited.sentences) == 1


def hit(uri: str, start: int, text: str, score: float = 1.0) -> Hit:
    chunk = Chunk(id=f"{uri}{start}", uri=uri, start=start, end=start + len(text), text=text)
    return Hit(chunk=chunk, score=score)


def words(text: str) -> int:
    return len(text.split())


SOURCE = "alpha beta gamma delta epsilon zeta eta theta"


def test_overlapping_chunks_become_one_passage() -> None:
    hits = [hit("a", 11, SOURCE[11:30]), hit("b", 0, "other"), hit("a", 0, SOURCE[:16])]
    packed = pack(hits, 1_000, words)
    assert [(p.number, p.uri, p.start, p.end) for p in packed.passages] == [
        (1, "a", 0, 30),
        (2, "b", 0, 5),
    ]
    assert packed.passages[0].text == SOURCE[:30]


def test_what_does_not_fit_is_left_out_whole_and_counted() -> None:
    hits = [hit("a", 0, "one two"), hit("b", 0, "word " * 100), hit("c", 0, "three")]
    packed = pack(hits, 100, words)
    assert [p.uri for p in packed.passages] == ["a", "c"]
    assert (packed.left_out, packed.budget, packed.tokens) == (1, 100, 67)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=8))
def test_passages_are_exact_and_apart(spans: list[tuple[int, int]]) -> None:
    hits = [hit("a", a, SOURCE[a : a + n]) for a, n in spans if SOURCE[a : a + n]]
    passages = pack(hits, 10_000, words).passages
    for passage in passages:
        for start, end in (s for run in passage.runs() for s in [(run[0].start, run[-1].end)]):
            place = slice(passage.start + start, passage.start + end)
            assert SOURCE[place] == passage.text[start:end] != ""
    assert [p.number for p in passages] == list(range(1, len(passages) + 1))
    ordered = sorted(passages, key=lambda p: p.start)
    assert all(a.end < b.start for a, b in zip(ordered, ordered[1:], strict=False))


def test_no_hits_no_passages() -> None:
    assert pack([], 100, words).passages == ()
