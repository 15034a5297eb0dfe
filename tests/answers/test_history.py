"""Questions that are asked again: what has changed, and why."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from rag import F, Pipeline
from rag.answers import AnswerHistory, compare_answers
from rag.errors import IndexDamaged
from rag.index.paths import ANSWER_HISTORY_FILE
from rag.types import Answer, Citation, Sentence

QUESTION = "How much is the heater?"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "heater.md").write_text("# Heater\n\nThe heater costs 450 euros.\n")
    return folder


def test_an_answer_that_changed_says_what_and_why(pipeline: Pipeline, docs: Path) -> None:
    pipeline.ingest(docs)
    first = pipeline.ask_again(QUESTION)
    assert first.is_first and not first.has_changed
    assert not pipeline.ask_again(QUESTION).has_changed

    (docs / "heater.md").write_text("# Heater\n\nStatus of May:\n\nThe heater costs 450 euros.\n")
    pipeline.ingest(docs)
    assert not pipeline.ask_again(QUESTION).has_changed, "the quote has only moved"

    (docs / "heater.md").write_text("# Heater\n\nThe heater costs 480 euros.\n")
    pipeline.ingest(docs)
    change = pipeline.ask_again(QUESTION)
    assert change.has_changed
    assert change.removed == ("The heater costs 450 euros.",)
    assert change.added == ("The heater costs 480 euros.",)
    assert [(c.reason, c.citation.quote) for c in change.citations] == [
        ("text_changed", "The heater costs 450 euros."),
        ("new", "The heater costs 480 euros."),
    ]
    assert not pipeline.ask_again(QUESTION).has_changed

    (docs / "heater.md").unlink()
    (docs / "other.md").write_text("# Other\n\nThe office opens at 8.\n")
    pipeline.ingest(docs)
    change = pipeline.ask_again(QUESTION)
    assert change.answer.status == "abstained" and change.has_changed
    assert [c.reason for c in change.citations] == ["document_deleted"]


def test_since_compares_with_the_answer_of_that_time(
    pipeline: Pipeline, docs: Path, tmp_path: Path
) -> None:
    pipeline.ingest(docs)
    pipeline.ask_again(QUESTION)
    moment = datetime.datetime.now(datetime.UTC)
    for price in (460, 470):
        (docs / "heater.md").write_text(f"# Heater\n\nThe heater costs {price} euros.\n")
        pipeline.ingest(docs)
        pipeline.ask_again(QUESTION)
    change = pipeline.ask_again(QUESTION, since=moment)
    assert change.removed == ("The heater costs 450 euros.",)
    assert change.added == ("The heater costs 470 euros.",)
    long_ago = pipeline.ask_again(QUESTION, since=datetime.datetime(2000, 1, 1))
    assert long_ago.is_first
    assert pipeline.ask_again(QUESTION, where=F("title") == "Heater").is_first


def test_a_damaged_history_is_an_error(pipeline: Pipeline, docs: Path, tmp_path: Path) -> None:
    pipeline.ingest(docs)
    (tmp_path / "index" / ANSWER_HISTORY_FILE).write_bytes(b"no database" * 100)
    with pytest.raises(IndexDamaged, match="earlier answers"):
        pipeline.ask_again(QUESTION)


def test_a_question_is_known_in_any_spacing(tmp_path: Path) -> None:
    history = AnswerHistory(tmp_path / "history.sqlite")
    assert history.find(QUESTION) is None
    history.add(f"  {QUESTION}\n", Answer(text="x", status="answered"))
    assert history.find(QUESTION) is not None


def make_answer(text: str, quote: str = "quote", uri: str = "memory:a") -> Answer:
    citation = Citation(marker=1, uri=uri, start=0, end=len(quote), quote=quote)
    sentence = Sentence(start=0, end=len(text), citations=(0,), support=1.0, status="supported")
    return Answer(text=text, status="answered", sentences=(sentence,), citations=(citation,))


def test_other_words_of_the_same_meaning_are_no_change() -> None:
    earlier = make_answer("The price of the heater is 450 euros [1].")
    answer = make_answer("The cost of the heater is 450 euros [1].")
    assert not compare_answers(QUESTION, answer, earlier).has_changed
    dearer = make_answer("The cost of the heater is 480 euros [1].")
    assert compare_answers(QUESTION, dearer, earlier).has_changed
    minus = make_answer("The minimum is -5 degrees [1].")
    plus = make_answer("The minimum is 5 degrees [1].")
    assert compare_answers(QUESTION, minus, plus).has_changed


def test_another_source_of_the_same_sentence_is_a_change() -> None:
    earlier, answer = make_answer("It is 450 [1]."), make_answer("It is 450 [1].", uri="memory:b")
    change = compare_answers(QUESTION, answer, earlier, stored_texts={"memory:a": "a quote"})
    assert [item.reason for item in change.citations] == ["no_longer_cited", "new"]
    assert change.has_changed and not change.added
