"""Answers to follow-ups: about what the follow-up asks, not about what was asked before."""

from pathlib import Path

import pytest

from rag import Answer, Pipeline
from rag.generation.answer_types import has_currency

PRODUCTS = """\
# Zephyr products

## Warranty
The Zephyr kettle has a warranty of 37 months. The Zephyr toaster has a warranty of 18 months.

## Prices
| Product | Price | Stock |
|---|---|---|
| Zephyr kettle | 49 euros | 312 |
| Zephyr toaster | 39 euros | 0 |

## Sites
The Oslo site has 12 employees. Its phone number is 22 555 100. It is led by Kari Moe.
The Bergen site has 7 employees. Its phone number is 55 444 200. It is led by Nils Dahl.
"""
WARRANTY, STAFF = "How long is the warranty of the Zephyr kettle?", "How many people are in Oslo?"


@pytest.fixture
def shop(tmp_path: Path, pipeline: Pipeline) -> Pipeline:
    (tmp_path / "products.md").write_text(PRODUCTS, encoding="utf-8")
    pipeline.ingest(tmp_path / "products.md")
    return pipeline


def ask(shop: Pipeline, *questions: str) -> Answer:
    conversation = shop.chat("test")
    return [conversation.ask(question) for question in questions][-1]


@pytest.mark.parametrize(
    "follow_up",
    [
        "And the dishwasher?",
        "What about the lamp?",
        "How tall is it?",
        "What colour is it?",
        "Who wrote it?",
        "Does it float?",
        "ok",
        "Why?",
    ],
)
def test_what_the_sources_do_not_say_has_no_answer(shop: Pipeline, follow_up: str) -> None:
    assert ask(shop, WARRANTY, follow_up).status == "abstained"


@pytest.mark.parametrize(
    ("questions", "expected"),
    [
        ((WARRANTY, "And the toaster?"), "18 months"),
        ((WARRANTY, "How much does it cost?"), "49 euros"),
        ((WARRANTY, "And the toaster?", "And the dishwasher?", "And the kettle?"), "37 months"),
        ((STAFF, "What is its phone number?"), "22 555 100"),
        (("How many employees does the Oslo site have?", "And Bergen?"), "7 employees"),
        (("How many employees does the Bergen site have?", "Who leads it?"), "Nils Dahl"),
    ],
)
def test_a_follow_up_is_answered_first_by_what_it_asks(
    shop: Pipeline, questions: tuple[str, ...], expected: str
) -> None:
    answer = ask(shop, *questions)
    assert expected in answer.text.split("\n")[0]


@pytest.mark.parametrize(
    ("question", "phone", "other"),
    [
        ("What is the phone number of the Bergen site?", "55 444 200", "22 555 100"),
        ("What is the phone number of the Oslo site?", "22 555 100", "55 444 200"),
    ],
)
def test_a_pronoun_stands_for_what_the_sentence_before_names(
    shop: Pipeline, question: str, phone: str, other: str
) -> None:
    text = shop.ask(question).text
    assert phone in text and other not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("49 euros", True), ("€ 5", True), ("5 USD", True), ("37 months", False), ("euros", False)],
)
def test_an_amount_with_its_currency(text: str, expected: bool) -> None:
    assert has_currency(text) == expected
