"""What a question says about the form of its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.instructions import remove_instructions


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
            "what is the fee?",
        ),
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
    assert remove_instructions(question) == (question if without is None else without)


@given(st.text(max_size=300))
def test_something_is_always_left(text: str) -> None:
    remaining = remove_instructions(text)
    assert remaining == text or remaining.strip()
