"""Tables with drawn lines: wrapped text stays in its cell, spans and continuations have names."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.parsers.pdf import PdfParser
from rag.types import Document, Table
from tests.connectors.pdf_writer import Page, build_pdf

XS = [50.0, 170.0, 330.0, 450.0]


def parse(*pages: Page) -> Document:
    return PdfParser(ocr=False).parse(build_pdf(pages), uri="file:///a.pdf")


def list_tables(document: Document) -> list[tuple[Table, list[str]]]:
    rows = [mark for mark in document.marks if mark.kind == "row"]
    return [
        (
            mark.value,
            [document.text[r.start : r.end] for r in rows if mark.start <= r.start < mark.end],
        )
        for mark in document.marks
        if isinstance(mark.value, Table)
    ]


def draw_table(
    page: Page, rows: Sequence[Sequence[str]], top: float = 700, rectangles: bool = False
) -> None:
    """Draw rows of cells with borders; the lines of a cell are separated by a slash."""
    y = top
    heights = [4 + 13 * max(cell.count("/") + 1 for cell in row) for row in rows]
    for row, height in zip(rows, heights, strict=True):
        for i in range(2):  # a program writes the lines of all cells, one by one
            for x, cell in zip(XS, row, strict=False):
                parts = cell.split("/")
                if i < len(parts) and parts[i]:
                    page.write(x + 4, y - 12 - 13 * i, parts[i])
        for x0, x1 in zip(XS, XS[1:], strict=False):
            if rectangles:
                page.content += b"0.5 w %g %g %g %g re S\n" % (x0, y - height, x1 - x0, height)
        y -= height
    if not rectangles:
        for level in range(len(rows) + 1):
            page.draw_line(XS[0], top - sum(heights[:level]), XS[-1], top - sum(heights[:level]))
        for x in XS:
            page.draw_line(x, top, x, y)


ROWS = [
    ["Part", "What it is for", "Keeper"],
    ["Old quay", "Ships with salt and/grain from the north", "Anna Berg"],
    ["New basin/(since 1904)", "Boats of the fishers", "Lena Holm"],
]
TEXT = [
    "| Old quay | Ships with salt and grain from the north | Anna Berg |",
    "| New basin (since 1904) | Boats of the fishers | Lena Holm |",
]


def test_wrapped_text_stays_in_its_cell() -> None:
    page = Page()
    page.write(50, 740, "The parts of the harbour are in the table.")
    draw_table(page, ROWS)
    page.write(50, 500, "The table ends here.")
    document = parse(page)
    ((table, rows),) = list_tables(document)
    assert table.columns == ("Part", "What it is for", "Keeper")
    assert rows == TEXT
    lines = document.text.split("\n")
    assert (lines[0], lines[-1]) == (
        "The parts of the harbour are in the table.",
        "The table ends here.",
    )


def test_cells_that_are_drawn_as_rectangles_are_a_table() -> None:
    page = Page()
    draw_table(page, ROWS, rectangles=True)
    ((_, rows),) = list_tables(parse(page))
    assert rows == TEXT


def test_spanned_names_belong_to_all_their_columns() -> None:
    page = Page()
    for x, y, text in [
        (54, 688, "Part"),
        (174, 688, "Ships in the year"),
        (174, 668, "1904"),
        (334, 668, "1905"),
        (54, 648, "Old quay"),
        (174, 648, "410"),
        (334, 648, "387"),
    ]:
        page.write(x, y, text)
    for y in (700, 660, 640):
        page.draw_line(50, y, 450, y)
    page.draw_line(170, 680, 450, 680)  # below the spanned name only
    for x, top in ((50, 700), (170, 700), (330, 680), (450, 700)):
        page.draw_line(x, top, x, 640)
    ((table, rows),) = list_tables(parse(page))
    assert table.columns == ("Part", "Ships in the year 1904", "Ships in the year 1905")
    assert rows == ["| Old quay | 410 | 387 |"]


def test_a_continued_table_inherits_the_names_of_its_columns() -> None:
    pages = [Page(), Page()]
    draw_table(
        pages[0], [["Part", "Ships", "Boats"], ["Old quay", "410", "12"], ["Basin", "31", "9"]]
    )
    draw_table(pages[1], [["Pier", "5", "7"], ["Yard", "3", "2"]], top=760)
    (_, (table, rows)) = list_tables(parse(*pages))
    assert table.columns == ("Part", "Ships", "Boats")
    assert rows == ["| Pier | 5 | 7 |", "| Yard | 3 | 2 |"]
    assert table.describe_row(rows[0]) == "Part: Pier; Ships: 5; Boats: 7"


def test_a_frame_around_text_is_no_table() -> None:
    page = Page()
    page.write_lines(60, 680, ["The council has decided that the old quay", "is to be repaired."])
    page.content += b"0.5 w 50 600 400 100 re S\n"
    page.draw_line(250, 500, 250, 560)
    assert list_tables(parse(page)) == []


def test_backgrounds_of_cells_are_no_lines() -> None:
    page = Page()
    page.write(50, 740, "The ships and the boats of the harbour are in the table below.")
    for i, row in enumerate((("Old quay", "410.5", "12.1"), ("New basin", "387.0", "9.0"))):
        for x, cell in zip(XS, row, strict=False):
            page.content += b"0.9 g %g %g 60 40 re f 0 g\n" % (x, 670)
            page.write(x + 4, 696 - 14 * i, cell)
    ((_, rows),) = list_tables(parse(page))
    assert rows == ["| Old quay | 410.5 | 12.1 |", "| New basin | 387.0 | 9.0 |"]


def test_rows_without_lines_between_them_stay_rows() -> None:
    page = Page()
    for y in (700, 680, 640):
        page.draw_line(50, y, 450, y)
    for x in XS:
        page.draw_line(x, 700, x, 640)
    cells = [("Part", "Ships", "Boats"), ("Old quay", "410.5", "12.1"), ("Basin", "387.0", "9.0")]
    for y, row in zip((686, 666, 650), cells, strict=True):
        for x, cell in zip(XS, row, strict=False):
            page.write(x + 4, y, cell)
    ((_, rows),) = list_tables(parse(page))
    assert rows == ["| Old quay | 410.5 | 12.1 |", "| Basin | 387.0 | 9.0 |"]


def test_drawings_with_words_across_their_lines_are_no_tables() -> None:
    page = Page()
    for x in (50, 150, 250):
        page.draw_line(x, 700, x, 600)
    for y in (700, 650, 600):
        page.draw_line(50, y, 250, y)
    for y in (680, 660, 630, 610):
        page.write(130, y, "Lighthouse")
        page.write(60, y, "North")
    assert list_tables(parse(page)) == []


def test_years_above_values_are_the_names_of_their_columns() -> None:
    page = Page()
    draw_table(page, [["EUR", "2024", "2023"], ["Sales", "1,200", "1,100"], ["Rent", "40", "38"]])
    ((table, rows),) = list_tables(parse(page))
    assert table.columns == ("EUR", "2024", "2023")
    assert rows == ["| Sales | 1,200 | 1,100 |", "| Rent | 40 | 38 |"]


def test_lines_that_do_not_divide_all_columns_are_no_cells() -> None:
    """A frame with one line between labels and values: the values have columns of their own."""
    page = Page()
    for i, (label, first, second) in enumerate(
        [("Plant", "2023", "2022"), ("Lyon", "1,200", "900"), ("Porto", "350", "410")]
    ):
        y = 688 - 17 * i
        for x, text in ((54, label), (240, first), (360, second)):
            page.write(x, y, text)
    for level in range(4):
        page.draw_line(50, 700 - 17 * level, 450, 700 - 17 * level)
    for x in (50, 200, 450):
        page.draw_line(x, 700, x, 649)
    ((table, texts),) = list_tables(parse(page))
    assert table.columns == ("Plant", "2023", "2022")
    assert texts == ["| Lyon | 1,200 | 900 |", "| Porto | 350 | 410 |"]
