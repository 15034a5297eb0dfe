"""Questions of one's own documents: each with a span that is where it says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from evals.generate import BLANK, generate_questions
from evals.questions import Question
from rag import Pipeline, ScriptedChat
from rag.errors import ModelError, QueryError

TEXTS = {
    "kite.md": "# Kite\n\nThe battery of the Kite lasts 34 minutes in calm air over Hamburg. "
    "Engineers in Lisbon tested the Kite for 12 weeks without a break.\n",
    "rover.md": "# Rover\n\nThe Rover climbs slopes of 30 degrees on its rubber tracks in Norway. "
    "Customers in Bergen ordered 400 rovers during the winter of that year.\n",
    "buoy.md": "# Buoy\n\nThe rescue Buoy floats for 96 hours in the waters of the Baltic Sea. "
    "The harbour of Gdansk keeps 55 rescue buoys in a hall near the pier.\n",
}


@pytest.fixture
def ingested_pipeline(pipeline: Pipeline, tmp_path: Path) -> Pipeline:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    pipeline.ingest(folder)
    return pipeline


def check(pipeline: Pipeline, question: Question) -> None:
    for span in question.spans:
        text = pipeline.document(span.uri).text
        assert text[span.start : span.end] == span.quote
    assert [span.uri for span in question.spans] == list(question.gold)


def test_questions_have_their_spans(ingested_pipeline: Pipeline) -> None:
    questions = generate_questions(ingested_pipeline, 9, unanswerable=0.3, multi=0.2)
    kinds = Counter(question.kind for question in questions)
    assert kinds["answerable"] >= 3 and kinds["unanswerable"] >= 1 and kinds["multi-document"] == 2
    for question in questions:
        check(ingested_pipeline, question)
        assert BLANK in question.question
        if question.kind == "answerable":
            (answer,) = question.answers
            assert answer in question.spans[0].quote and answer not in question.question
        elif question.kind == "multi-document":
            assert len(set(question.gold)) == 2
        else:
            assert question.answerable is False and not question.gold and not question.answers
    assert len({question.question for question in questions}) == len(questions)
    assert [question.id for question in questions] == [
        f"q{n}" for n in range(1, len(questions) + 1)
    ]


def test_the_same_seed_gives_the_same_questions(ingested_pipeline: Pipeline) -> None:
    assert generate_questions(ingested_pipeline, 6) == generate_questions(ingested_pipeline, 6)
    orders = {
        tuple(q.question for q in generate_questions(ingested_pipeline, 4, seed=s))
        for s in range(6)
    }
    assert len(orders) > 1


def test_one_document_gives_no_questions_of_two(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "kite.md").write_text(TEXTS["kite.md"], encoding="utf-8")
    pipeline.ingest(tmp_path / "kite.md")
    questions = generate_questions(pipeline, 10)
    assert questions and {question.kind for question in questions} == {"answerable"}


def test_a_model_must_quote_word_for_word(ingested_pipeline: Pipeline) -> None:
    def reply(question: str, *evidence: str) -> str:
        return json.dumps({"question": question, "answer": "34", "evidence": list(evidence)})

    quotes = [line for text in TEXTS.values() for line in text.split("\n") if "." in line]
    question_texts = ("How long does it fly?", "What did Bergen order in winter?")
    true = [reply(question, *quotes) for question in question_texts]
    chat = ScriptedChat(replies=(reply("Is it made up?", "This stands nowhere at all."), *true))
    questions = generate_questions(ingested_pipeline, 2, model=chat, unanswerable=0, multi=0)
    assert [question.question for question in questions] == list(question_texts)
    for question in questions:
        check(ingested_pipeline, question)


def test_what_a_model_says_cannot_be_answered_is_checked(ingested_pipeline: Pipeline) -> None:
    replies_with_questions = [
        json.dumps({"question": f"Who painted the {t} red?"}) for t in ("Kite", "Rover")
    ]
    chat = ScriptedChat(
        replies=(
            replies_with_questions[0],
            '{"answered": true}',
            replies_with_questions[1],
            '{"answered": false}',
        )
    )
    (generated,) = generate_questions(ingested_pipeline, 1, model=chat, unanswerable=1, multi=0)
    assert generated.question == "Who painted the Rover red?" and generated.answerable is False


def test_a_model_that_only_fails_is_not_asked_for_ever(ingested_pipeline: Pipeline) -> None:
    chat = ScriptedChat(replies=("turtles",) * 40)
    with pytest.raises(ModelError):
        generate_questions(ingested_pipeline, 5, model=chat)
    assert len(chat.requests) <= 12


def test_what_another_document_answers_is_not_called_unanswerable(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    folder = tmp_path / "cities"
    folder.mkdir()
    for i, city in enumerate("Warsaw Lisbon Oslo Turin Ghent Lyon Prague Malmo".split()):
        (folder / f"{city}.md").write_text(
            f"# {city}\n\nThe population of {city} was {310 + 37 * i} thousand people at the last "
            f"census. The first tram line in {city} was opened in {1890 + i} by the council.\n",
            encoding="utf-8",
        )
    pipeline.ingest(folder)
    questions = generate_questions(pipeline, 12, unanswerable=0.5)
    assert not [question for question in questions if question.answerable is False]


def test_times_and_model_numbers_are_not_cut(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "The office in Oslo is open from 8:00 to 17:30 on all days of the week. "
        "The station called the Gale 3 costs 1,290 euros in the shop of the factory.",
        encoding="utf-8",
    )
    pipeline.ingest(tmp_path / "a.md")
    answers = {question.answers[0] for question in generate_questions(pipeline, 5)}
    assert answers == {"Oslo", "1,290"}


def test_nothing_to_ask_about(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ok then", encoding="utf-8")
    pipeline.ingest(tmp_path / "a.txt")
    with pytest.raises(QueryError, match="no sentence"):
        generate_questions(pipeline, 3)
    with pytest.raises(QueryError, match="from 0 to 1"):
        generate_questions(pipeline, 3, unanswerable=1.7)
    with pytest.raises(QueryError, match="1 to 100,000"):
        generate_questions(pipeline, 0)
