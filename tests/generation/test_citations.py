"""Citations: drafts become sentences with exact citations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.generation.citations import cite
from rag.generation.markers import parse_marker_numbers
from rag.llm.completion import NativeCitation
from tests.generation.samples import PASSAGES, VERIFIER


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
def test_parse_marker_numbers(marker: str, numbers: list[int]) -> None:
    assert parse_marker_numbers(marker) == numbers


@pytest.mark.parametrize(
    "draft",
    [
        "The battery lasts 34 minutes [1].",
        "The battery lasts 34 minutes. [1]",
        "The battery lasts 34 minutes.[1]",
        "The battery [1] lasts 34 minutes.",
    ],
)
def test_marker_cites_the_supporting_sentence(draft: str) -> None:
    cited = cite(draft, PASSAGES, VERIFIER)
    (citation,) = cited.citations
    assert cited.text == draft
    assert citation.quote == "The battery lasts 34 minutes."
    assert (citation.uri, citation.start, citation.page) == ("doc1", 100, 1)
    assert citation.method == "marker"
    assert cited.sentences[0].is_supported


def test_several_markers_give_several_citations() -> None:
    cited = cite(
        "The battery lasts 34 minutes; the propellers are nylon [1, 2].", PASSAGES, VERIFIER
    )
    assert [c.uri for c in cited.citations] == ["doc1", "doc2"]
    assert cited.sentences[0].citations == (0, 1)


def test_native_citation_counts_for_the_sentence_that_it_is_in() -> None:
    first, second = "The battery lasts 34 minutes.", "The propellers are nylon."
    native = [
        NativeCitation(4, len(first), (0,)),
        NativeCitation(len(first) + 1, len(first) + 5, (1, 7)),  # no passage has the index 7
    ]
    cited = cite(f"{first} {second}", PASSAGES, VERIFIER, native=native)
    assert [(c.uri, c.method) for c in cited.citations] == [("doc1", "native"), ("doc2", "native")]
    assert [sentence.citations for sentence in cited.sentences] == [(0,), (1,)]


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
        "In [2019] all was new.",
    ],
)
def test_code_headings_and_rules_are_unchanged(draft: str) -> None:
    cited = cite(draft, PASSAGES, VERIFIER)
    assert (cited.text, cited.citations) == (draft.strip(), ())


@pytest.mark.parametrize("marker", ["【1】", "【1†source】", "[^1]", "[1]"])
def test_other_marker_forms_are_recognized(marker: str) -> None:
    cited = cite(f"The battery lasts 34 minutes{marker}.", PASSAGES, VERIFIER)
    assert cited.citations[0].quote == "The battery lasts 34 minutes."
    assert cited.citations[0].method == "marker"


def test_table_row_gets_its_marker_in_the_last_cell() -> None:
    table = "| part | made of |\n|---|---|\n| propellers | made of nylon |"
    cited = cite(table, PASSAGES, VERIFIER)
    assert cited.text == table[:-1] + "[2] |"
    assert [s.status for s in cited.sentences] == ["needs_none", "supported"]


def test_unsupported_sentence_is_flagged() -> None:
    cited = cite(
        "The battery lasts 34 minutes [1]. It was invented in Peru [1].", PASSAGES, VERIFIER
    )
    assert [s.is_supported for s in cited.sentences] == [True, False]
    assert cited.sentences[1].support < VERIFIER.threshold


def test_sentence_with_a_wrong_number_is_not_supported() -> None:
    assert (
        not cite("The battery lasts 43 minutes [1].", PASSAGES, VERIFIER).sentences[0].is_supported
    )


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
def test_offsets_are_exact_for_any_draft(draft: str) -> None:
    cited = cite(draft, PASSAGES, VERIFIER)
    for citation in cited.citations:
        passage = next(p for p in PASSAGES if p.uri == citation.uri)
        quote_span = citation.start - passage.start, citation.end - passage.start
        assert passage.text[slice(*quote_span)] == citation.quote
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


def test_longer_fence_closes_a_code_block() -> None:
    cited = cite("```\nx[5]\n````\n\nThe battery lasts 34 minutes [1].", PASSAGES, VERIFIER)
    assert len(cited.sentences) == 1
