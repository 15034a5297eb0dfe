"""The passages that are shown when there is no answer, and the reasons why they are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import Answer, ExtractiveGenerator, GroundedGenerator, Pipeline, ScriptedChat
from rag.generation.closest_passages import find_closest_passages
from rag.generation.passages import Passage
from rag.generation.relevance import Candidate, find_unmentioned_words
from rag.query import Query

FILES = {
    "pumps.md": "# P-9\n\nThe P-9 is a pump for cellars. It weighs twelve kilos.\n",
    "sites.md": "# Sites\n\n## Turin\n\nThe Turin site has 120 workers.\n\n"
    "## Bergen\n\nThe harbour of Bergen freezes in hard winters.\n",
    "prices.csv": "item,price\nhumidity sensor,84\npressure sensor,120\n",
}


def ask(tmp_path: Path, question: str, **settings: object) -> tuple[Answer, dict[str, str]]:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with Pipeline(index=tmp_path / "i", **settings) as pipeline:  # type: ignore[arg-type]
        pipeline.ingest(folder)
        answer = pipeline.ask(question)
        texts = {p.uri: pipeline.document(p.uri).text for p in answer.closest}
    return answer, texts


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What does the P-7 weigh?", 'is about "P-9", not "P-7"'),
        ("What is the phone number of the Bergen site?", "has no phone number"),
        ("What does the oxygen sensor cost?", 'does not mention "oxygen"'),
        ("What do I need to get for the oxygen sensor?", 'does not mention "oxygen"'),
        ("How many workers does the Lisbon site have?", 'does not mention "Lisbon"'),
    ],
)
def test_a_reason_says_what_a_passage_lacks(tmp_path: Path, question: str, reason: str) -> None:
    answer, _ = ask(tmp_path, question, generator=ExtractiveGenerator(answerability=1.0))
    assert reason in " | ".join(passage.reason for passage in answer.closest)


def test_closest_passages_are_exact_and_of_different_sections(tmp_path: Path) -> None:
    answer, texts = ask(tmp_path, "How many workers does the Lisbon site have?")
    assert 1 <= len(answer.closest) <= 3
    for passage in answer.closest:
        assert texts[passage.uri][passage.start : passage.end] == passage.quote
    sections = [(passage.uri, passage.heading_context) for passage in answer.closest]
    assert len(set(sections)) == len(sections)
    assert "120 workers" in answer.closest[0].quote


def test_a_passage_is_shown_with_the_sentences_on_both_sides() -> None:
    text = "Gulls nest on the roof. The harbour freezes in winter. Ferries stop then."
    passage = Passage(1, "file:///a.md", 0, len(text), text, "", (), {}, 1.0)
    for word in ("Gulls", "harbour", "Ferries"):
        span = next(s for s in passage.sentence_spans() if word in text[s.start : s.end])
        (closest,) = find_closest_passages(Query("ice"), [Candidate(passage, span, 1.0, 1.0)])
        assert closest.quote == text


def test_an_answer_has_no_closest_passages(tmp_path: Path) -> None:
    answer, _ = ask(tmp_path, "How many workers does the Turin site have?")
    assert answer.status == "answered"
    assert answer.closest == ()


def test_a_rejected_draft_of_a_model_shows_the_closest_passages(tmp_path: Path) -> None:
    generator = GroundedGenerator(
        model=ScriptedChat(replies=("The harbour was sold to Norway in 1931. [1]",)),
        fallback=None,
    )
    answer, _ = ask(tmp_path, "Who bought the harbour of Bergen?", generator=generator)
    assert answer.status == "abstained"
    assert "harbour of Bergen" in " ".join(passage.quote for passage in answer.closest)


@pytest.mark.parametrize(
    ("question", "texts", "expected"),
    [
        ("How much RAM does osprey have?", ["name: osprey; ram_gb: 128"], []),
        ("How long is the warranty of the lamp?", ["The lamp is red."], ["warranty"]),
        ("Wie hoch ist die Miete?", ["Die Kaution ist niedrig."], ["Miete"]),
        ("Who leads the Oslo site?", ["The Oslo site is led by Kari."], ["leads"]),
        ("Where is the T-800?", ["The T-800 is in Oslo."], []),
    ],
)
def test_words_that_no_text_has(question: str, texts: list[str], expected: list[str]) -> None:
    assert find_unmentioned_words(question, texts) == expected
