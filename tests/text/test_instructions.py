"""What a question says about the form of its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.instructions import split_instructions


@pytest.mark.parametrize(
    ("question", "without"),
    [
        ("What is the fee? Answer in euros.", "What is the fee?"),
        ("What is the fee? Please be brief.", "What is the fee?"),
        ("Round your answer to one decimal place. What is the fee?", "What is the fee?"),
        ("How much (in USD millions) was earned?", "How much was earned?"),
        ("What was the margin (as a % of sales)?", "What was the margin?"),
        (
            "Assume that you are an analyst. Answer the following question by using the report: "
            "what is the fee?",
            "what is the fee? (report)",
        ),
        ("What is the fee? Base your answer on the price list.", "What is the fee? (price list)"),
        (
            "Answer with the figures shown in the statement of cash flows and the balance sheet. "
            "What was spent?",
            "What was spent? (statement of cash flows, balance sheet)",
        ),
        (
            "Using only the data within the income statement, what was earned?",
            "what was earned? (income statement)",
        ),
        ("Using the lift, where do I get out?", None),
        ("With the details of my order, can I cancel?", None),
        ("From the figures of the 2023 report, what was earned?", None),
        ("According to the price list, what is the fee?", None),
        (
            "Is the ratio high? If the ratio means nothing here, then state that and explain why.",
            "Is the ratio high?",
        ),
        ("Wie hoch ist die Gebühr? Antworte auf Englisch.", "Wie hoch ist die Gebühr?"),
        # These are questions.
        ("How do I state a claim?", "How do I state a claim?"),
        ("If a parcel is lost, who pays?", "If a parcel is lost, who pays?"),
        ("If my card is lost, tell me whom to call. It is red.", None),
        ("Explain the refund policy.", None),
        ("Summarize the minutes (in March).", None),
        ("What is the response time (in the contract)?", None),
        ("Answer in German.", None),  # nothing else
        ("", None),
    ],
)
def test_instructions_are_removed(question: str, without: str | None) -> None:
    searched = split_instructions(question).searched_text
    assert searched == (question if without is None else without)


@given(st.text(max_size=300))
def test_something_is_always_left(text: str) -> None:
    parts = split_instructions(text)
    assert parts.text == text or parts.text.strip()
    assert parts.answered_text == text or parts.answered_text.strip()


@pytest.mark.parametrize(
    ("question", "answered"),
    [
        ("What did Block (formerly known as Square) earn?", "What did Block earn?"),
        ("What did Twitter (now X) earn? Be brief.", "What did Twitter earn?"),
        ("What is the total amount of the fees?", "How much is the fees?"),
        ("What is the fee (formerly) now?", "What is the fee (formerly) now?"),
        ("What did Block pay (also in 2023)?", "What did Block pay (also in 2023)?"),
        ("What is the fee? Use the data in the price list.", None),
    ],
)
def test_the_text_to_answer(question: str, answered: str | None) -> None:
    assert split_instructions(question).answered_text == (answered or question)
