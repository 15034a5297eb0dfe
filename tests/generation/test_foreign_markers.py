"""Markers in the spellings of models, and numbers that are no markers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import GroundedGenerator, Pipeline, ScriptedChat
from rag.generation.citations import cite
from rag.generation.foreign_markers import may_be_lead_in, move_lead_in, normalize_markers
from rag.generation.markers import show_as_notes
from rag.verification import LexicalVerifier
from tests.generation.samples import PASSAGES
from tests.generation.test_streaming import write_draft

CLAIMS = {
    1: "The battery lasts 34 minutes in calm air",
    2: "The propellers are made of nylon",
}
SPELLINGS = (
    " [{n}].", " ({n}).", " [Doc {n}].", " [Source {n}].", " (Source {n}).", " [Passage {n}].",
    " (see passage {n}).", " [cite: {n}].", " [ID:{n}].", " [Ref. {n}].", " [^{n}].", " [#{n}].",
    " 【{n}†L3-L9】.", " [{n}†source].", " \\[{n}\\].", " [[{n}]].", "<sup>{n}</sup>.", "^{n}^.",
    " {{cite: {n}}}.", ". [{n}]", ". ({n})", " [Quelle {n}].", " (according to source {n}).",
    " (Document {n}).", " [Reference: {n}].", " (citation {n}).",
)  # fmt: skip


def find_cited_numbers(draft: str) -> list[list[int]]:
    result = cite(draft, PASSAGES, LexicalVerifier())
    return [
        [PASSAGES.index(p) + 1 for i in s.citations for p in PASSAGES if is_of(result, i, p)]
        for s in result.sentences
    ]


def is_of(result: object, index: int, passage: object) -> bool:
    citation = result.citations[index]  # type: ignore[attr-defined]
    return (citation.uri, citation.marker) == (passage.uri, passage.number)  # type: ignore[attr-defined]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2]), st.sampled_from(SPELLINGS)), min_size=1, max_size=4
    ),
    st.lists(st.integers(0, 400), max_size=30),
)
def test_every_spelling_is_cited_as_meant(marked: list[tuple[int, str]], cuts: list[int]) -> None:
    draft = " ".join(CLAIMS[n] + spelling.format(n=n) for n, spelling in marked)
    expected = " ".join(
        CLAIMS[n] + (f". [{n}]" if spelling.startswith(".") else f" [{n}].")
        for n, spelling in marked
    )
    for live in (False, True):
        result, text = write_draft(draft, cuts, live=live)
        assert text == result.text == expected
        assert [result.citations[s.citations[0]].marker for s in result.sentences] == [
            n for n, _ in marked
        ]
        assert result.attributed == 0
        assert result.dropped_markers == 0


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("It rains [1 and 2].", "It rains [1, 2]."),
        ("It rains (Sources 1, 3).", "It rains [1, 3]."),
        ("It rains [Passage 1, Passage 3].", "It rains [1, 3]."),
        ("It rains [Passages 1-3].", "It rains [1, 2, 3]."),
        ("It rains (1)(2).", "It rains [1] [2]."),
        ("It rains¹.", "It rains [1]."),
        ("It rains.¹ Then it snows.", "It rains. [1] Then it snows."),
        ("It rains¹,².", "It rains [1, 2]."),
        ("It rains¹².", "It rains [1, 2]."),
        ("It rains (1). It snows (7).", "It rains [1]. It snows (7)."),
        ("It rains [1](https://a.example).", "It rains [1](https://a.example)."),
    ],
)
def test_spellings(text: str, normalized: str) -> None:
    assert normalize_markers(text, 3) == normalized


@pytest.mark.parametrize(
    "text",
    [
        "(1) Open the valve. (2) Close it.",
        "First (1) open the valve, then (2) close it.",
        "It is on page (1).",
        "See step (2).",
        "The area is 10 m².",
        "There are 10³ units.",
        "The formula is E = mc².",
        "The energy is given by $E = mc^2$.",
        "It holds that $a^2 + b^2 = c^2$.",
        "The sum is $x^{2}$, or x^2^.",
        "The area is 10 m$^2$.",
        "Call f(1) twice.",
        "Call `f (1)` twice.",
        "Read sys.argv[2] first.",
        "It began in the year (2019).",
        "It made a loss of (3).",
        "The value is (1, 2).",
        "1. Replace the filter.",
        "- (1) first item",
        "It is 4 °C (4).",
        "Source 1 feeds the lamp.",
        "Document 1 must be signed.",
        "According to rule (1), it rains.",
        "The ratio is 3 to (1).",
        "Bus stop (No. 3) is closed.",
        "It is explained below (note 2).",
    ],
)
def test_numbers_that_are_no_markers_are_untouched(text: str) -> None:
    assert normalize_markers(text, 3) == text
    assert move_lead_in(text, 3) == text


@pytest.mark.parametrize(
    ("sentence", "moved"),
    [
        ("Passage 1 says that the battery lasts.", "The battery lasts. [1]"),
        ("According to source 2, it rains.", "It rains. [2]"),
        ("In passage 3, it is stated that it rains.", "It rains. [3]"),
        ("Sources 1 and 2 confirm that it rains.", "It rains. [1, 2]"),
        ("Quelle 1 besagt, dass es regnet.", "Es regnet. [1]"),
        ("Document 9 says that it rains.", "Document 9 says that it rains."),
        ("According to the document, it rains.", "According to the document, it rains."),
    ],
)
def test_a_lead_in_becomes_a_marker(sentence: str, moved: str) -> None:
    assert move_lead_in(sentence, 3) == moved


def test_a_lead_in_is_never_streamed() -> None:
    sentence = "According to source 2, the propellers are made of nylon."
    for end in range(1, sentence.index("the p")):
        assert may_be_lead_in(sentence[:end]), sentence[:end]
    for sentence in ("The battery lasts.", "In winter", "According to Ann", "Document the"):
        assert not may_be_lead_in(sentence)


@given(st.text(alphabet="(1)[2]¹² {}<sup>/source,.\n`$^\\†【】", max_size=60))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize_markers(text, 3)
    assert normalize_markers(once, 3) == once


WIKI = "The lighthouse was built in 1874[3] and rebuilt in 1921.[12] See [1](a.html) and x[0]: y.\n"


def test_markers_of_a_source_are_shown_as_notes(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "wiki.md").write_text(WIKI)
    model = ScriptedChat(replies=("The lighthouse was built in 1874⁽³⁾ and rebuilt in 1921. [1]",))
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(tmp_path / "docs")
        answer = pipeline.ask("When was the lighthouse built?")
        asked = pipeline.replace(generator=GroundedGenerator(model=model))
        from_model = asked.ask("When was the lighthouse built?")
    note = "The lighthouse was built in 1874⁽³⁾ and rebuilt in 1921."
    assert answer.text.startswith(note)
    assert answer.citations[0].quote in WIKI
    assert "1874[3]" in answer.citations[0].quote
    assert "1874⁽³⁾" in model.requests[0][-1].content
    assert from_model.sentences[0].status == "supported"


def test_links_and_code_of_a_source_are_no_notes() -> None:
    assert show_as_notes("1874[1][2], gates[1],[2] and [3], [4]; a\\[5\\]") == (
        "1874⁽¹⁾⁽²⁾, gates⁽¹⁾,⁽²⁾ and ⁽³⁾, ⁽⁴⁾; a⁽⁵⁾"
    )
    assert show_as_notes("See [1](a.html), [2]: b, [a][3] and [4, 5].") == (
        "See [1](a.html), [2]: b, [a]⁽³⁾ and ⁽⁴, ⁵⁾."
    )
    code = 'ports: [80, 443]\nx = names[1]\n`f[2]`\nsys.argv[1] is read\nprint(rows[0])\n{"a": [1]}'
    assert show_as_notes(code) == code
