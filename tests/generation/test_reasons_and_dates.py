"""Questions for a reason, and questions that name the day of a document."""

from __future__ import annotations

import pytest

from rag import Pipeline
from rag.generation.answer_types import find_answer_type, has_answer_of_type
from rag.text.date_ranges import find_date_words
from rag.text.function_words import points_back

STOCK = """# Quarter

The stock of boats at the end of the quarter was 412, compared to 380 in the year before. The
increase was mainly due to the new hall. The hall has three doors.

The ferry did not run on Monday because of the storm. The ferry runs on Monday from the old quay.
"""
LETTER = "# Letter\n\nThe harbour board received 13 million crowns from the sale of the old quay.\n"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("files")
    (folder / "stock.md").write_text(STOCK)
    (folder / "letter_2023-08-30.md").write_text(LETTER)
    pipeline = Pipeline(index=tmp_path_factory.mktemp("i") / "index")
    pipeline.ingest(folder)
    return pipeline


@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("What drove the increase in the stock of boats?", "mainly due to the new hall."),
        ("Why did the ferry not run on Monday?", "because of the storm."),
        (
            "What had the harbour received from the sale of the quay, as of 30 August 2023?",
            "13 million crowns",
        ),
    ],
)
def test_the_first_quote_answers(pipeline: Pipeline, question: str, quote: str) -> None:
    answer = pipeline.ask(question)
    assert answer.status == "answered"
    assert quote in answer.citations[0].quote
    if "increase" in question:  # with the sentence that says what increased
        assert answer.citations[0].quote.startswith("The stock of boats")


@pytest.mark.parametrize(
    ("question", "is_asked"),
    [
        ("Why is the hall closed?", True),
        ("What caused the delay?", True),
        ("What are the reasons for the delay?", True),
        ("Warum ist die Halle zu?", True),
        ("Pourquoi la halle est-elle fermée ?", True),
        ("Is this why it is closed?", False),
        ("Who caused the delay?", False),
    ],
)
def test_questions_for_a_reason(question: str, is_asked: bool) -> None:
    assert (find_answer_type(question) == "reason") == is_asked


def test_texts_with_a_reason() -> None:
    for text in ("It is closed due to rain.", "Sie ist zu, weil es regnet.", "It led to a delay."):
        assert has_answer_of_type(text, "reason") == ("led to" not in text)


@pytest.mark.parametrize(
    ("sentence", "is_back"),
    [
        ("The increase was due to rain.", True),
        ("The $104.2 million increase was due to rain.", True),
        ("Der Anstieg ist eine Folge des Regens.", True),
        ("The increase in rents was due to rain.", False),
        ("The change of the lock costs 20 euros.", False),
        ("The hall is closed.", False),
    ],
)
def test_changes_point_back(sentence: str, is_back: bool) -> None:
    assert points_back(sentence) == is_back


def test_words_of_days() -> None:
    assert find_date_words("As of August 30, 2023, or 01.07.2022?") == {
        "2023-08-30": {"august", "30", "2023"},
        "2022-07-01": {"01", "07", "2022"},
    }
    assert find_date_words("In August 2023, or in 2022") == {}
