"""Headings of plain text files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.parsers.plain_headings import find_plain_headings
from connectors.parsers.text import TextParser
from rag import Pipeline
from rag.types import Document

MINUTES = """\
Minutes of the board meeting, 18 February 2025

Present: Lena Brandt, Tom Adler
Absent: Sofia Lindgren (ill)

1. Website relaunch
The relaunch is postponed from 1 April to 15 May, because the texts
are not translated yet.

2. Trade fair in Leipzig
Booth 4-C12 is booked. Jonas and Sofia will staff it.

3. Any other business

Tom leaves the company at the end of April.
"""


def parse(text: str, name: str = "a.txt") -> Document:
    return TextParser().parse(text.encode(), uri=f"file:///{name}")


def list_headings(text: str) -> list[tuple[int, str]]:
    return [(heading.level, heading.text) for heading in find_plain_headings(text)]


def test_title_and_numbered_headings_of_minutes() -> None:
    title = "Minutes of the board meeting, 18 February 2025"
    assert list_headings(MINUTES) == [
        (1, title),
        (2, "1. Website relaunch"),
        (2, "2. Trade fair in Leipzig"),
        (2, "3. Any other business"),
    ]
    document = parse(MINUTES)
    assert document.title == title
    paths = {mark.value: MINUTES[mark.start : mark.end] for mark in document.marks}
    assert "Booth 4-C12" in paths[(title, "2. Trade fair in Leipzig")]
    assert paths[(title,)].startswith(title) and "Sofia Lindgren" in paths[(title,)]


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("Manual\n======\n\nText.\n\nSafety\n------\nMore.\n", [(1, "Manual"), (2, "Safety")]),
        (
            "OPENING HOURS\n\nMonday 8-12\n\nCONTACT:\nCall 100.\n",
            [(2, "OPENING HOURS"), (2, "CONTACT:")],
        ),
        (
            "1 Scope\nIt is.\n1.1 Terms\nA.\n1.2 Use\nB.\n2 End\nC.",
            [(2, "1 Scope"), (3, "1.1 Terms"), (3, "1.2 Use"), (2, "2 End")],
        ),
        (
            "Manual\n\n1 Safety ..... 3\n2 Cleaning ..... 5\n\n1 Safety\n\nUnplug it.\n\n2 Cleaning\n\nRinse it.",
            [(1, "Manual"), (2, "1 Safety"), (2, "2 Cleaning")],
        ),
        (
            "1 Safety 3\n1.1 Plug 3\n1.2 Cord 4\n2 End 5\n\n1 Safety\nA.\n1.1 Plug\nB.\n1.2 Cord\nC.\n2 End\nD.",
            [(2, "1 Safety"), (3, "1.1 Plug"), (3, "1.2 Cord"), (2, "2 End")],
        ),
        (
            "1 Cleaning\nDo this:\n1. Rinse it\n2. Dry it\n3. Store it\n2 Disposal\nBring it back.",
            [(2, "1 Cleaning"), (2, "2 Disposal")],
        ),
        (
            "1 Scope\nIt is.\n2 Steps\n1. Rinse it\n2. Dry it\n\n3 End\nThat is all.",
            [(2, "1 Scope"), (2, "2 Steps"), (2, "3 End")],
        ),
        (
            "HOUSE RULES\nOf May 2026\n\n1. Quiet hours\n1.1 Quiet is from ten to six.\n1.2 From noon to two no machines\nmay run.\n\n"
            "2. Cleaning\n2.1 The stairs are cleaned on Saturday by those who live on the\nFirst Floor.\n\n3. Pets\nCats are allowed.",
            [(2, "HOUSE RULES"), (2, "1. Quiet hours"), (2, "2. Cleaning"), (2, "3. Pets")],
        ),
        ("  House rules  \r\n\r\nNo smoking.\r\n", [(1, "House rules")]),
    ],
)
def test_headings(text: str, headings: list[tuple[int, str]]) -> None:
    assert list_headings(text) == headings


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Only one line",
        "Title\n",
        "1. Fill in the form\n2. Send it\n3. Wait\n",
        "1. Fill in the form and\n   send it to us\n2. Wait for\n   the reply\n",
        "Do this:\n1. Fill in the form\nand send it\n2. Wait\nfor it\n",
        "Hi all\n\nthe machine is broken.\n",
        "Dear Ms Brandt\n\nWe have a question.\n",
        "From: Lena\n\nHello.\n",
        "One sentence ends here. Another\n\ngoes on.\n",
        "The first sentence ends here.\n\nThe second one, too.\n",
        "- milk\n\n- bread\n",
        "2025-01-01 12:00 start\n\n2025-01-01 12:01 stop\n",
        "a | b\n-----\n1 | 2\n-----\n"[8:],
        "in the middle of a\n\nsentence.\n",
        "A-4711\n-------\n",
    ],
)
def test_other_lines_are_no_headings(text: str) -> None:
    assert list_headings(text) == []


def test_logs_have_no_headings() -> None:
    assert parse("START OF RUN\n\nOK.\n", "a.log").marks == ()
    assert parse("START OF RUN\n\nOK.\n").marks != ()


@given(st.text(alphabet="Aa1. =-\n:\t", max_size=200))
def test_every_heading_is_a_line_of_the_text(text: str) -> None:
    for heading in find_plain_headings(text):
        line = text[heading.start :].split("\n")[0]
        assert " ".join(line.split()) == heading.text


def test_a_heading_is_no_answer(
    pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    docs = tmp_path_factory.mktemp("minutes")
    (docs / "minutes.txt").write_text(MINUTES, encoding="utf-8")
    pipeline.ingest(docs)
    answer = pipeline.ask("Who is at the trade fair in Leipzig?")
    assert "Jonas and Sofia will staff it." in [c.quote for c in answer.citations]
    assert not any("Trade fair" in c.quote for c in answer.citations)
    assert pipeline.ask("Who was absent at the meeting in February?").text.startswith(
        "Absent: Sofia"
    )
