"""Headings, footnotes, running heads and page numbers of PDFs without an outline."""

from __future__ import annotations

import pytest

from connectors.parsers.pdf import PdfParser
from connectors.parsers.pdf_layout import Line
from connectors.parsers.pdf_torn_words import join_torn_words
from rag.types import Document
from tests.connectors.pdf_writer import Page, build_pdf

WORDS = ["harbour", "market", "railway", "library", "museum", "garden"]
TEXT = [
    "The council of the town has decided that the old quay is to be",
    "repaired in the coming year, before the storms of the winter come.",
    "The cost is shared between the town and the port authority.",
]


def parse(*pages: Page) -> Document:
    return PdfParser(ocr=False).parse(build_pdf(pages), uri="file:///a.pdf")


def list_headings(document: Document) -> list[tuple[str, ...]]:
    return [mark.value for mark in document.marks if mark.kind == "heading"]  # type: ignore[misc]


def write_section(page: Page, y: float, title: str, size: float, font: str = "F1") -> float:
    """Write a heading with three lines of text; return the height below them."""
    page.write(50, y, title, size, font)
    page.write_lines(50, y - 22, TEXT)
    return y - 90


def test_lines_in_larger_type_are_headings_with_levels_by_size() -> None:
    page = Page()
    y = write_section(page, 740, "Repairs of the harbour", 18)
    y = write_section(page, y, "The old quay", 14)
    write_section(page, y, "The new basin", 14)
    document = parse(page)
    assert list_headings(document) == [
        ("Repairs of the harbour",),
        ("Repairs of the harbour", "The old quay"),
        ("Repairs of the harbour", "The new basin"),
    ]
    assert document.title == "Repairs of the harbour"
    heading = next(m for m in document.marks if m.kind == "heading" and len(m.value) > 1)  # type: ignore[arg-type]
    assert document.text[heading.start :].startswith("The old quay")


def test_the_last_section_of_a_page_may_have_one_short_line() -> None:
    page = Page()
    y = write_section(page, 740, "Repairs of the harbour", 18)
    y = write_section(page, y, "The old quay", 10, "F2")
    page.write(50, y, "Guarantee", 10, "F2")
    page.write(50, y - 13, "It lasts three years.")
    assert list_headings(parse(page))[-1] == ("Repairs of the harbour", "Guarantee")
    page.write(50, 40, "Harbour board", 12)  # a line below the text
    assert list_headings(parse(page))[-1] == ("Repairs of the harbour", "Guarantee")


def test_a_title_that_only_the_first_page_has_is_not_above_all_headings() -> None:
    pages = [Page(), Page()]
    pages[0].write(50, 740, "A report about the harbour", 24)
    write_section(pages[0], 700, "The old quay", 14)
    write_section(pages[1], 700, "The new basin", 14)
    document = parse(*pages)
    assert document.title == "A report about the harbour"
    assert list_headings(document) == [("The old quay",), ("The new basin",)]


def test_bold_lines_with_numbers_are_headings_with_levels_by_number() -> None:
    page = Page()
    y = write_section(page, 740, "3 Repairs", 10, "F2")
    y = write_section(page, y, "3.1 The old quay", 10, "F2")
    write_section(page, y, "Item 7A. The new basin", 10, "F2")
    assert list_headings(parse(page)) == [
        ("3 Repairs",),
        ("3 Repairs", "3.1 The old quay"),
        ("Item 7A. The new basin",),
    ]


def test_text_that_is_no_heading() -> None:
    page = Page()
    page.write_lines(50, 740, TEXT)
    page.write(50, 690, "A bold sentence that ends with a full stop.", 10, "F2")
    page.write_lines(50, 660, TEXT)
    page.write(50, 610, "Bold", 10, "F2")
    page.write(75, 610, "words at the beginning of a line in the text", 10)
    page.write_lines(50, 597, TEXT)
    page.write(50, 540, "Name of the ship", 10, "F2")  # no text below it
    page.write(50, 520, "Anna", 10)
    assert list_headings(parse(page)) == []


def test_footnotes_do_not_interrupt_a_sentence() -> None:
    pages = [Page(), Page()]
    pages[0].write_lines(50, 700, [*TEXT, *TEXT[:2], "and the old crane, which was built by the"])
    pages[0].write_lines(50, 100, ["1 The port authority was founded in 1901 by the county."], 7)
    pages[1].write_lines(50, 700, ["council in the year of the flood. It is still in use.", *TEXT])
    text = parse(*pages).text
    assert "which was built by the\n\ncouncil in the year of the flood" in text
    assert "\n\n1 The port authority was founded in 1901" in f"\n\n{text}"


def test_footnotes_after_a_complete_sentence_are_a_paragraph() -> None:
    page = Page()
    page.write_lines(50, 700, TEXT)
    page.write_lines(50, 100, ["1 The authority was founded", "in 1901 by the county."], 7)
    assert parse(page).text == "\n".join(
        [*TEXT, "", "1 The authority was founded", "in 1901 by the county."]
    )


def make_pages(heads: list[str], feet: list[str]) -> list[Page]:
    pages = []
    for i, (head, foot) in enumerate(zip(heads, feet, strict=True)):
        page = Page()
        page.write(50, 760, head, 8)
        page.write_lines(50, 700, [f"Here begins the text about the {WORDS[i]}.", *TEXT])
        page.write_lines(50, 600, [f"The {WORDS[i]} has {7 * i} rooms, as the {i} plan shows."])
        page.write(300, 40, foot, 8)
        pages.append(page)
    return pages


@pytest.mark.parametrize(
    "feet",
    [
        ["- 1 -", "- 2 -", "- 3 -", "- 4 -", "- 5 -", "- 6 -"],
        [f"Page {i} of 6" for i in range(1, 7)],
        ["i", "ii", "iii", "iv", "v", "vi"],
        [
            "The harbour 1",
            "2 The town",
            "The harbour 3",
            "4 The town",
            "The harbour 5",
            "6 The town",
        ],
    ],
)
def test_heads_that_alternate_and_page_numbers_are_dropped(feet: list[str]) -> None:
    pages = make_pages(["Report of the year", "The council of the town"] * 3, feet)
    document = parse(*pages)
    lines = document.text.split("\n")
    assert lines.count("Report of the year") == lines.count("The council of the town") == 1
    assert sum(foot in lines for foot in feet) <= 2
    assert all(f"Here begins the text about the {word}." in lines for word in WORDS)
    assert document.coverage is not None
    assert document.coverage.missing == 0
    assert {o.reason for o in document.coverage.omissions} == {"repeated"}


def test_heads_of_chapters_are_dropped() -> None:
    heads = ["The harbour"] * 3 + ["The railway of the county"] * 3
    pages = make_pages(heads, [""] * 6) + [Page() for _ in range(8)]
    for i, page in enumerate(pages[6:]):
        page.write_lines(50, 700, [f"{'abcdefgh'[i]} is the first line of this page", *TEXT])
    text = parse(*pages).text
    assert text.count("The harbour\n") == 1
    assert text.count("The railway of the county") == 1


def test_heads_of_a_document_of_two_pages_are_dropped() -> None:
    pages = make_pages(["A letter of the council"] * 2, ["Page 1 of 2", "Page 2 of 2"])
    pages[1].write_lines(50, 500, [f"The {word} is closed." for word in WORDS])
    text = parse(*pages).text
    assert text.count("A letter of the council") == 1
    assert "Page 2 of 2" not in text
    assert text.count("Here begins") == 2


ACCOUNT = [
    ("Cash", "120", "98"),
    ("Boats and engines", "3,410", "3,560"),
    ("Quays", "12,645", "12,672"),
    ("Total assets", "16,175", "16,330"),
]


def write_table(page: Page, y: float, years: tuple[str, str] = ("2018", "2017")) -> None:
    """Write a table of two years, with bold names of the columns."""
    for i, row in enumerate([("", *years), *ACCOUNT]):
        for x, cell in zip((50, 400, 480), row, strict=True):
            page.write(x, y - 14 * i, cell, 10, "F1" if i else "F2")


@pytest.mark.parametrize(
    ("title", "unit", "headings"),
    [
        ([(240, "Balance sheet", "F2")], "", [("Balance sheet",)]),  # in the middle of the page
        ([(50, "Balance sheet", "F2")], "", [("Balance sheet",)]),
        ([(50, "Balance sheet", "F2")], "(in millions)", [("Balance sheet",)]),
        ([(50, "Balance sheet", "F1")], "(in millions)", []),
        ([(50, "Harbour board", "F1"), (50, "Balance sheet", "F2")], "", [("Balance sheet",)]),
        (
            [(50, "Balance sheet of the", "F2"), (50, "Harbour Board", "F2")],
            "",
            [("Balance sheet of the Harbour Board",)],
        ),
        ([(420, "Values", "F2")], "", []),  # the name of the columns below it
    ],
)
def test_bold_lines_above_a_table_are_its_heading(
    title: list[tuple[float, str, str]], unit: str, headings: list[tuple[str, ...]]
) -> None:
    page = Page()
    for i, (x, line, font) in enumerate(title):
        page.write(x, 740 - 12 * i, line, 10, font)
    y = 740 - 12 * len(title)
    page.write(50, y, unit)
    write_table(page, y - 14)
    page.write_lines(50, y - 120, TEXT)
    assert list_headings(parse(page)) == headings


def test_a_word_that_its_spacing_tears_apart_is_joined() -> None:
    page = Page()
    page.write(50, 740, "Balance Shee t of the HARB OUR", 10, "F2")
    lines = ["The balance sheet shows what the harbour has.", "The sheet of the harbour is long."]
    page.write_lines(
        50, 715, [*lines, "You can log in to the log-in page, or login: plan B it is."]
    )
    document = parse(page)
    assert list_headings(document) == [("Balance Sheet of the HARBOUR",)]
    for text in ("Balance Sheet of the HARBOUR", "log in to", "plan B it"):
        assert text in document.text


def test_a_torn_word_is_joined_as_a_whole_word_only() -> None:
    lines = [
        Line("ope n in Europe now"),
        Line("open, open and opened"),
        Line("it is open"),
        Line("open"),
    ]
    join_torn_words([lines])
    assert lines[0].text == "open in Europe now"
