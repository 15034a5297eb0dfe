"""Answers from lists: the item that is asked for, or the whole list that a sentence introduces."""

from __future__ import annotations

import pytest

from rag import ExtractiveGenerator
from rag.generation.list_items import find_list
from rag.generation.passages import Passage
from rag.text.sentences import Span
from rag.types import SourceLocation
from tests.generation.samples import make_hit

MARKDOWN = """\
Before you leave the workshop:

- Switch off the compressor and open the drain valve for ten
  seconds until no water comes out.
- Close the gas bottles.
- Lock the tool cabinet and hang the key in office 12.

The last person signs the book.

Each visitor gets:

- a helmet
- a vest with a number
- earplugs
"""
PLAIN = """\
Before you leave the workshop:
{0} Switch off the compressor and open the drain valve for ten
seconds until no water comes out.
{0} Close the gas bottles.
{0} Lock the tool cabinet and hang the key in office 12.
The last person signs the book.
Each visitor gets:
{0} a helmet
{0} a vest with a number
{0} earplugs
"""
TEXTS = [MARKDOWN, *(PLAIN.format(marker) for marker in ("•", "–", "*", "▪", "➢"))]
VISITOR_ITEMS = ["a helmet", "a vest with a number", "earplugs"]


def ask(text: str, question: str) -> list[str]:
    answer = ExtractiveGenerator().answer(question, [make_hit("a", 0, text)])
    return [citation.quote for citation in answer.citations]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("Where does the key of the tool cabinet hang?", "Lock the tool cabinet and hang the key"),
        ("How long do I open the drain valve?", "Switch off the compressor and open the drain"),
    ],
)
def test_one_item_is_quoted_alone(text: str, question: str, quote: str) -> None:
    (quoted,) = ask(text, question)
    assert quoted.startswith(quote)


@pytest.mark.parametrize("text", TEXTS)
def test_a_lead_in_is_quoted_with_its_own_list(text: str) -> None:
    lead_in, *items = ask(text, "What must I do before I leave the workshop?")
    assert lead_in == "Before you leave the workshop:"
    assert [item.split()[0] for item in items] == ["Switch", "Close", "Lock"]
    assert ask(text, "What does each visitor get?") == ["Each visitor gets:", *VISITOR_ITEMS]


def find_texts(text: str, word: str) -> list[str]:
    passage = Passage(1, "a", 0, len(text), text, "", (), SourceLocation(), 1.0)
    start = text.index(word)
    return [text[s.start : s.end] for s in find_list(passage, Span(start, start + len(word)))]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("word", ["Each visitor", "helmet", "vest", "earplugs"])
def test_a_list_is_found_from_each_of_its_items(text: str, word: str) -> None:
    assert find_texts(text, word) == VISITOR_ITEMS


def test_paragraphs_within_an_item_do_not_end_a_list() -> None:
    text = "1. Stop the pump.\n\n   Wait ten seconds. Then look.\n\n2. Open the lid.\n\nClose it. - no\n"
    assert find_texts(text, "Open") == ["Stop the pump.", "Open the lid."]
    assert find_texts(text, "Close") == []


def test_letters_and_numbers_mark_items() -> None:
    text = "You can pay:\n(1) in cash\n(2) by card\n\nYou can come:\n\na) on foot\nb) by bus\n"
    assert find_texts(text, "You can pay") == ["in cash", "by card"]
    assert find_texts(text, "by bus") == ["on foot", "by bus"]


@pytest.mark.parametrize(
    "text", ["", "No list here.", "A:\n\nB.", "A. Smith came.\nB. Jones went."]
)
def test_other_texts_have_no_list(text: str) -> None:
    passage = Passage(1, "a", 0, len(text), text, "", (), SourceLocation(), 1.0)
    assert find_list(passage, Span(0, len(text))) == []
