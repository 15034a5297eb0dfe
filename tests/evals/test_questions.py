"""Question sets in the formats that people have."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.questions import Question, is_gold, load_questions, questions_hash
from rag.errors import QueryError


def load(tmp_path: Path, content: str | Any, name: str = "q.jsonl") -> list[Question]:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_questions(path)


def test_our_own(tmp_path: Path) -> None:
    line = {
        "id": 7,
        "question": "Why?",
        "answers": ["a", "b", "a"],
        "answerable": True,
        "gold": ["d"],
    }
    (question,) = load(tmp_path, json.dumps(line) + "\n\n")
    assert (question.id, question.answers, question.answerable, question.gold) == (
        "7",
        ("a", "b"),
        True,
        ("d",),
    )
    (again,) = load(tmp_path, question.model_dump_json())
    assert again == question


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (
            {
                "user_input": "Q?",
                "reference": "r",
                "response": "a",
                "retrieved_contexts": ["c", "c"],
            },
            {"answers": ("r",), "answer": "a", "contexts": ("c", "c")},
        ),
        (
            {"input": "Q?", "expected_output": "r", "actual_output": "a"},
            {"answers": ("r",), "answer": "a"},
        ),
        ({"query": "Q?", "ground_truths": ["r", "s"]}, {"answers": ("r", "s")}),
        ({"question": "Q?", "answer": "r"}, {"answers": ("r",), "answer": None}),
        (
            {"question": "Q?", "answer": "a", "ground_truth": "r"},
            {"answers": ("r",), "answer": "a"},
        ),
        (
            {
                "_id": "5",
                "question": "Q?",
                "answer": "r",
                "supporting_facts": [["T", 0], ["T", 1], ["U", 0]],
            },
            {"answers": ("r",), "gold": ("T", "U"), "id": "5"},
        ),
        ({"question": "Q?", "answers": {"text": ["r"], "answer_start": [3]}}, {"answers": ("r",)}),
        ({"question": "Q?", "contexts": [{"page_content": "c"}]}, {"contexts": ("c",)}),
        (
            {"question": "Q?", "answer": "r", "answer_aliases": ["s"]},  # MuSiQue
            {"answers": ("r", "s"), "answer": None},
        ),
        (
            {"question": "Q?", "answer": "a", "contexts": ["c"]},  # Ragas, without a ground truth
            {"answers": (), "answer": "a"},
        ),
        ({"inputs": {"question": "Q?"}, "outputs": {"answer": "r"}}, {"answers": ("r",)}),
        ({"question": "Q?", "answers": {"text": [], "answer_start": []}}, {"answerable": False}),
        ({"question": "Q?", "is_impossible": True}, {"answerable": False}),
    ],
)
def test_other_peoples(tmp_path: Path, record: dict[str, Any], wanted: dict[str, Any]) -> None:
    for content, name in ((json.dumps(record), "q.jsonl"), ([record], "q.json")):
        (question,) = load(tmp_path, content, name)
        assert question.question == "Q?"
        assert {key: getattr(question, key) for key in wanted} == wanted


def test_squad(tmp_path: Path) -> None:
    qas = [
        {"id": "a", "question": "Q?", "answers": [{"text": "r", "answer_start": 1}] * 2},
        {"id": "b", "question": "R?", "answers": [], "is_impossible": True},
    ]
    questions = load(
        tmp_path, {"data": [{"title": "T", "paragraphs": [{"context": "c", "qas": qas}]}]}, "q.json"
    )
    assert [(q.id, q.answers, q.answerable) for q in questions] == [
        ("a", ("r",), True),
        ("b", (), False),
    ]


def test_tables(tmp_path: Path) -> None:
    questions = load(
        tmp_path, 'id,question,answers,answerable\n1,"Why, oh?",a|b,true\n2,How?,,no\n', "q.csv"
    )
    assert [(q.question, q.answers, q.answerable) for q in questions] == [
        ("Why, oh?", ("a", "b"), True),
        ("How?", (), False),
    ]
    (tsv_question,) = load(tmp_path, "question\tground_truth\nWhy?\tx\n", "q.tsv")
    assert tsv_question.answers == ("x",) and tsv_question.id == "1"


def test_what_pandas_writes(tmp_path: Path) -> None:
    cell = "\"['It is 34 min long.', 'Other, text']\""
    (question,) = load(tmp_path, f"user_input,response,retrieved_contexts\nQ?,a,{cell}\n", "q.csv")
    assert question.contexts == ("It is 34 min long.", "Other, text")


def test_queries_beside_their_judgements(tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text("q\td\t1\nq\te\t0\n", encoding="utf-8")
    questions = load(tmp_path, {"_id": "q", "text": "Why?"}, "queries.jsonl")
    assert [(q.id, q.gold, q.answerable) for q in questions] == [("q", ("d",), True)]


def test_beir(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "t"}\n', encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "Why?"}\n', encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("q\td\t1\n", encoding="utf-8")
    (question,) = load_questions(tmp_path)
    assert (question.id, question.gold) == ("q", ("d",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no question"),
        ("{}", "line 1: there is no question"),
        ('{"question": "  "}', "line 1"),
        ('{"question": "Q?"}\n{', "line 2: not JSON"),
        ('{"question": "Q?"}\n[1]', "line 2: not a question"),
        ('{"id": "1", "question": "Q?"}\n{"id": "1", "question": "R?"}', "'1' is there twice"),
        ('{"question": "Q?", "answers": [{"a": 1}]}', "answers has a"),
        ('{"question": "Q?", "answerable": "perhaps"}', "answerable is 'perhaps'"),
        ('{"question": "Q?", "answers": [true]}', "answers has a bool"),
    ],
)
def test_what_is_no_question_set(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        load(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="cannot read the questions"):
        load_questions(tmp_path / "none.jsonl")


@given(st.text(max_size=80))
def test_nothing_but_a_clear_error(text: str) -> None:
    import tempfile

    for suffix in (".jsonl", ".json", ".csv"):
        with tempfile.NamedTemporaryFile(
            "w", suffix=suffix, encoding="utf-8", errors="replace"
        ) as file:
            file.write(text)
            file.flush()
            with contextlib.suppress(QueryError):
                load_questions(Path(file.name))


def test_gold_names() -> None:
    assert is_gold("file:///d/a.md", "a.md") and is_gold("file:///d/a.md", "file:///d/a.md")
    assert is_gold("file:///c.jsonl!/d-1%204", "d-1 4")
    assert is_gold("file:///x/d/a.md", "d/a.md") and is_gold("file:///x/d/a.md", "./a.md")
    assert not is_gold("file:///d/ba.md", "a.md")
    assert not is_gold("file:///d/a.md", "") and not is_gold("file:///d/a.md", "d")


def test_the_hash_changes_with_any_question() -> None:
    question = Question(id="1", question="Q?")
    assert questions_hash([question]) == questions_hash([Question(id="1", question="Q?")])
    assert questions_hash([question]) != questions_hash(
        [question.model_copy(update={"gold": ("x",)})]
    )
