"""Columns, turned pages and divided words of PDFs are read as a person reads them."""

from __future__ import annotations

from itertools import zip_longest

import pytest

from connectors.parsers.pdf import PdfParser
from connectors.parsers.pdf_hyphens import choose_hyphen
from rag.types import Document
from tests.connectors.pdf_writer import Page, build_pdf

LEFT = ["The left column opens with the", "history of the harbour. Ships came"]
LEFT += [
    "from the north with salt and left",
    "with grain. By then the quay was",
    "too short for it.",
]
MIDDLE = ["The middle column describes the", "market. It moved twice before it"]
MIDDLE += ["settled beside the customs house", "where auctions begin at four."]
RIGHT = ["The third column is about the", "railway. Trains reached the town", "before the war."]


def parse(*pages: Page) -> Document:
    return PdfParser(ocr=False).parse(build_pdf(pages), uri="file:///a.pdf")


def write_rows(page: Page, *columns: list[str], top: float = 700) -> None:
    """Write columns line by line, as many programs do."""
    for i, row in enumerate(zip_longest(*columns)):
        for x, text in zip((50, 225, 400), row, strict=False):
            if text:
                page.write(x, top - 13 * i, text)


def test_three_short_columns_are_read_one_after_another() -> None:
    page = Page()
    page.write(50, 740, "A line that goes across all of the columns of this page of the paper", 12)
    write_rows(page, LEFT, MIDDLE, RIGHT)
    assert parse(page).text.split("\n")[1:] == LEFT + MIDDLE + RIGHT


def test_two_columns_of_three_lines_are_read_one_after_another() -> None:
    page = Page()
    write_rows(page, LEFT[:3], MIDDLE[:3])
    assert parse(page).text.split("\n") == LEFT[:3] + MIDDLE[:3]


def test_full_lines_cut_a_page_into_bands_of_columns() -> None:
    page = Page()
    write_rows(page, LEFT, MIDDLE)
    page.write(50, 600, "A line that goes across all of the columns of this page of the newspaper.")
    write_rows(page, MIDDLE[:3], LEFT[:3], RIGHT, top=570)
    lines = parse(page).text.split("\n")
    assert lines[:9] == LEFT + MIDDLE
    assert lines[9].startswith("A line that goes across")
    assert lines[10:] == MIDDLE[:3] + LEFT[:3] + RIGHT


def test_cells_with_words_stay_in_their_rows() -> None:
    page = Page()
    cells = [
        ("Green paint for the doors", "Sold by the hardware shop"),
        ("Timber for the new roof", "Sold by the saw mill"),
        ("Nails of four sizes", "Found in the old shed"),
    ]
    write_rows(page, *map(list, zip(*cells, strict=True)))
    text = parse(page).text
    assert all(f"{left} {right}" in text for left, right in cells)


@pytest.mark.parametrize(("turn", "rotate"), [(90, 90), (90, 0), (270, 270), (180, 180)])
def test_turned_columns_are_read_one_after_another(turn: int, rotate: int) -> None:
    page = Page(rotate=rotate)
    for i, row in enumerate(zip(LEFT[:4], MIDDLE, strict=True)):
        for x, text in zip((60, 300), row, strict=True):
            y = 500 - 13 * i
            places = {90: (600 - y, x), 270: (y, 700 - x), 180: (600 - x, 700 - y)}
            page.write(*places[turn], text, turn=turn)
    assert parse(page).text.split("\n") == LEFT[:4] + MIDDLE


@pytest.mark.parametrize(
    ("first", "second", "hyphen"),
    [
        ("infor", "mation", ""),
        ("Ver", "trag", ""),
        ("non-gov", "ernmental", ""),
        ("INFOR", "MATION", ""),
        ("self", "ish", ""),
        ("high", "lights", ""),
        ("self", "service", "-"),
        ("well", "known", "-"),
        ("state-of-the", "art", "-"),
        ("state", "of-the-art", "-"),
        ("very-long", "path", "-"),
        ("high", "dimensional", "-"),
        ("evidence", "based", "-"),
        ("2.1", "beta", "-"),
        ("555", "0199", "-"),
        ("COVID", "19", "-"),
        ("Smith", "Jones", "-"),
        ("https://example.org/har", "bour", "-"),
        ("anna", "maria@example.org", "-"),
        ("Ein", "und", "- "),
    ],
)
def test_hyphens_at_line_ends(first: str, second: str, hyphen: str) -> None:
    assert choose_hyphen(first, second, {}) == hyphen


def test_words_of_the_document_decide_about_a_hyphen() -> None:
    assert choose_hyphen("re", "entry", {}) == ""
    assert choose_hyphen("re", "entry", {"re-entry": 1}) == "-"
    assert choose_hyphen("self", "service", {"selfservice": 2, "self-service": 1}) == ""
    assert choose_hyphen("worst", "case", {"worst": 1, "case": 2}) == "-"


def test_divided_words_are_joined_in_their_column() -> None:
    page = Page()
    left = ["The left column has the infor-", "mation that version 2.1-", "beta was late, so that"]
    right = ["the right one has the tele-", "phone number 555-", "0199 of the state-of-the-"]
    write_rows(page, [*left, "we ask for the con-"], [*right, "art laboratory of the"])
    text = " ".join(parse(page).text.split())
    assert "has the information that version 2.1-beta was late" in text
    assert "has the telephone number 555-0199 of the state-of-the-art laboratory" in text


def test_bullets_that_are_drawn_alone_stand_before_their_text() -> None:
    page = Page()
    page.write(50, 700, "The harbour has the following parts, which are open to the public:")
    for i, item in enumerate(("the old quay, with cranes", "the new basin, with boats")):
        page.write(50, 680 - 14 * i, "\u2022")
        page.write(80, 680 - 14 * i + 3, item)  # PDFium does not join them
    assert parse(page).text.split("\n")[1:] == [
        "• the old quay, with cranes",
        "• the new basin, with boats",
    ]


def test_an_o_far_from_its_text_is_a_bullet() -> None:
    page = Page()
    page.write(72, 720, "Each visitor gets these things at the door:")
    for i, text in enumerate(("a helmet", "a vest with a number")):
        page.write(108, 704 - 13 * i, "o")
        page.write(126, 704 - 13 * i, text)
    page.write(72, 650, "o contrato vale um ano")
    lines = parse(page).text.split("\n")
    assert lines[1:3] == ["◦ a helmet", "◦ a vest with a number"]
    assert lines[3] == "o contrato vale um ano"


# -- Characters that are drawn one by one ---------------------------------------------------


@pytest.mark.parametrize("step", [6.4, 7.0])
@pytest.mark.parametrize("line_count", [2, 3, 12])
def test_characters_drawn_one_by_one_are_words(step: float, line_count: int) -> None:
    """PDFium takes such a page for vertical text: each character is a line."""
    lines = [f"These are the words of line {i}" for i in range(line_count)]
    page = Page()
    for i, line in enumerate(lines):
        for k, character in enumerate(line):
            if character != " ":
                page.write(40 + step * k, 740 - 11 * i, character)
    assert parse(page).text.split("\n") == lines


def test_short_lines_stay_lines() -> None:
    numbers = [str(i) for i in range(10, 50)]
    page = Page()
    page.write_lines(72, 740, numbers)
    assert parse(page).text.split() == numbers


# -- Documents that do not divide words -----------------------------------------------------


def test_a_hyphen_stays_in_a_document_that_divides_no_words() -> None:
    filler = [f"Sentence {i} has the words that a line of text has in it." for i in range(120)]
    last = ["Please write a follow-", "up to all of the members."]
    pages = [Page() for _ in range(3)]
    for page, lines in zip(pages, (filler[:40], filler[40:80], [*filler[80:], *last]), strict=True):
        page.write_lines(72, 740, lines)
    assert "a follow-up to all" in " ".join(parse(*pages).text.split())
    divided = Page()
    divided.write_lines(72, 740, ["The infor-", "mation says so. All the information."])
    assert "a followup to all" in " ".join(parse(*pages, divided).text.split())
