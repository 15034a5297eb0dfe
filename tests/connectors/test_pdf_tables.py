"""Tables in PDFs become Markdown rows with the names of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.parsers.pdf import PdfParser
from connectors.parsers.pdf_pages import find_quote
from rag.types import Document, Table
from tests.connectors.file_fixtures import Lines, make_pdf

WIDTH = 5.0  # mean width of a digit in points, at size 9


def parse(*pages: Lines | str) -> Document:
    return PdfParser(ocr=False).parse(make_pdf(pages), uri="file:///report.pdf")


def list_tables(document: Document) -> list[tuple[Table, list[str]]]:
    """Return each table with the texts of its rows; check the marks on the way."""
    tables: list[tuple[Table, list[str]]] = []
    rows = [mark for mark in document.marks if mark.kind == "row"]
    for mark in document.marks:
        if not isinstance(mark.value, Table):
            continue
        own_rows = [row for row in rows if mark.start <= row.start < mark.end]
        texts = [document.text[row.start : row.end] for row in own_rows]
        assert [row.value for row in own_rows] == list(range(1, len(own_rows) + 1))
        assert own_rows[0].start == mark.start + mark.value.header
        assert own_rows[-1].end == mark.end
        assert all(text.startswith("|") and "\n" not in text for text in texts)
        assert all(lower.start == upper.end + 1 for upper, lower in pairwise(own_rows))
        tables.append((mark.value, texts))
    return tables


def draw_row(y: float, label: str, values: Sequence[str], x: float = 50) -> Lines:
    """Draw a label, and values whose right edges are at 340, 430, 520 ..."""
    cells = [(x, y, 9.0, label)] if label else []
    for i, value in enumerate(values):
        width = sum(2.5 if c in ",.() " else WIDTH for c in value)
        if value:
            cells.append((340 + 90 * i - width, y, 9.0, value))
    return cells


def draw_statement(y: float = 700) -> list[tuple[float, float, float, str]]:
    return [
        (50, y, 9, "Statements of Income"),
        (50, y - 12, 9, "(in millions)"),
        (345, y - 26, 9, "Year Ended December 31,"),
        *draw_row(y - 40, "", ["2023", "2022", "2021"]),
        *draw_row(y - 54, "Net sales", ["$ 2,345", "$ 2,210", "$ 1,998"]),
        *draw_row(y - 68, "Cost of sales", ["(1,200)", "(1,100)", "(950)"]),
        *draw_row(y - 82, "Margin", ["48.8 %", "50.2 %", "52.5 %"]),
        *draw_row(y - 96, "Net income", ["$ 145", "$ 98", "$ (12)"]),
    ]


def test_numbers_at_common_right_edges_are_a_table_with_joined_header_rows() -> None:
    document = parse([*draw_statement(), (50, 560, 9, "The notes are part of this statement.")])
    ((table, rows),) = list_tables(document)
    assert table.name == "Statements of Income (in millions)"
    assert table.columns == ("", *(f"Year Ended December 31, {y}" for y in (2023, 2022, 2021)))
    assert rows == [
        "| Net sales | $ 2,345 | $ 2,210 | $ 1,998 |",
        "| Cost of sales | (1,200) | (1,100) | (950) |",
        "| Margin | 48.8 % | 50.2 % | 52.5 % |",
        "| Net income | $ 145 | $ 98 | $ (12) |",
    ]
    assert table.describe_row(rows[0]).startswith(
        "Net sales; Year Ended December 31, 2023: $ 2,345;"
    )
    lines = document.text.split("\n")
    assert lines[:2] == ["Statements of Income", "(in millions)"]
    assert lines[-1] == "The notes are part of this statement."


def test_wrapped_labels_are_joined_and_sections_precede_the_labels_of_their_rows() -> None:
    document = parse(
        [
            *draw_row(700, "", ["2023", "2022"]),
            *draw_row(686, "Current assets:", []),
            *draw_row(672, "Cash", ["1,500", "1,400"], x=60),
            *draw_row(658, "Restricted cash and cash equivalents of", [], x=60),
            *draw_row(647, "the parent company", ["20", "10"], x=60),
            *draw_row(633, "Total assets", ["1,520", "1,410"]),
        ]
    )
    ((table, rows),) = list_tables(document)
    assert table.columns == ("", "2023", "2022")
    assert rows == [
        "| Current assets: Cash | 1,500 | 1,400 |",
        "| Current assets: Restricted cash and cash equivalents of the parent company | 20 | 10 |",
        "| Total assets | 1,520 | 1,410 |",
    ]


def test_spanning_names_are_repeated_for_each_column_below_them() -> None:
    document = parse(
        [
            (334, 700, 9, "First quarter ended"),
            (508, 700, 9, "Second quarter ended"),
            *draw_row(686, "", ["2023", "2022", "2023", "2022"]),
            *draw_row(672, "Units", ["1,100", "1,000", "1,300", "1,200"]),
            *draw_row(658, "Orders", ["110", "100", "130", "120"]),
        ]
    )
    ((table, _),) = list_tables(document)
    assert table.columns[1:] == (
        "First quarter ended 2023",
        "First quarter ended 2022",
        "Second quarter ended 2023",
        "Second quarter ended 2022",
    )


def test_two_tables_on_a_page_and_the_text_between_them() -> None:
    prose = (
        "Sales rose in both years, and costs fell because of lower prices of energy and freight."
    )
    document = parse(
        [*draw_statement(), (50, 570, 9, prose), *draw_statement(540)],
        [(50, 700, 9, "Second page.")],
    )
    tables = list_tables(document)
    assert [len(rows) for _, rows in tables] == [4, 4]
    assert tables[0][0] == tables[1][0]
    assert document.text.count(prose) == 1
    assert document.text.index(prose) > document.text.index("| Net income")
    pages = [mark for mark in document.marks if mark.kind == "page"]
    assert document.text[pages[1].start : pages[1].end] == "Second page."


def test_ruled_table_without_numbers() -> None:
    rows = [("Country", "Visa", "Office"), ("Japan", "not needed", "Tokyo")]
    rows += [("Norway", "on arrival", "Oslo"), ("Chile", "in advance", "Santiago")]
    cells = [
        (60 + 170 * i, 700 - 20 * n, 10.0, text)
        for n, row in enumerate(rows)
        for i, text in enumerate(row)
    ]
    ((table, texts),) = list_tables(parse([*cells, (50, 600, 10, "Ask the office for details.")]))
    assert table.columns == ("Country", "Visa", "Office")
    assert texts[1] == "| Norway | on arrival | Oslo |"


def test_vertical_bars_in_cells_are_escaped() -> None:
    lines = draw_statement()
    document = parse([(x, y, s, t.replace("Net sales", "a | b \\| c")) for x, y, s, t in lines])
    ((table, rows),) = list_tables(document)
    assert table.describe_row(rows[0]).startswith("a | b \\| c; ")


def test_prose_in_two_columns_is_no_table() -> None:
    words = "the quick brown fox jumps over the lazy dog in 2019 and again in 2020 at noon"
    lines = [words[i : i + 42] for i in range(30)]
    page = [(x, 740 - 14 * i, 10.0, line) for i, line in enumerate(lines) for x in (50, 320)]
    assert list_tables(parse(page)) == []


def test_contents_lists_and_addresses_are_no_tables() -> None:
    titles = ["Business", "Risk Factors", "Properties", "Legal Proceedings", "Selected Data"]
    contents = [(50, 700 - 14 * i, 10.0, title) for i, title in enumerate(titles)]
    numbers = [(500, 700 - 14 * i, 10.0, str(3 + 9 * i)) for i in range(5)]
    assert list_tables(parse([*contents, *numbers])) == []
    leaders = [(50, 700 - 14 * i, 10.0, f"{t} {'. ' * 30} {3 + i}") for i, t in enumerate(titles)]
    assert list_tables(parse(leaders)) == []
    assert list_tables(parse("Ada Example\n12 Long Street\n90210 Town\nPhone 555 1234")) == []
    assert list_tables(parse("1. First of 20\n2. Second of 30\n3. Third of 40")) == []
    assert list_tables(parse("x = [1, 2, 3]\ny = [4, 5, 6]\nprint(x[0], y[1], 3)")) == []


def test_tables_are_not_looked_for_without_clean() -> None:
    data = make_pdf([draw_statement()])
    document = PdfParser(ocr=False, clean=False).parse(data, uri="file:///a.pdf")
    assert list_tables(document) == []
    assert "|" not in document.text


def test_quote_of_a_row_is_found_on_its_page() -> None:
    page = "Current assets:\r\nCash $ 2,345 $ 2,210\r\nDebt 10 20"
    spans = find_quote(page, "| Current assets: Cash | $ 2,345 | $ 2,210 |")
    assert [page[a:b] for a, b in spans] == ["Current assets:", "Cash", "$ 2,345", "$ 2,210"]


VALUES = st.sampled_from(["1,234", "(12)", "—", "$ 5.10", "7.5 %", "99", ""])
LABELS = st.sampled_from(["Net sales", "Cost of sales", "Total:", "", "other | costs", "2020"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LABELS, st.lists(VALUES, max_size=4)), min_size=1, max_size=12))
def test_marks_fit_any_table_and_no_word_is_lost(
    rows: list[tuple[str, list[str]]],
) -> None:
    cells = [cell for i, row in enumerate(rows) for cell in draw_row(700 - 14 * i, *row)]
    page = [(50.0, 730.0, 9.0, "A title."), *cells]
    document = parse(page)
    for table, texts in list_tables(document):
        assert all(table.describe_row(text) or not text.strip("| ") for text in texts)
    plain = document.text.replace("\\|", "|")
    for _, _, _, text in page:
        assert all(word in plain for word in text.split()), text


def test_header_and_rows_with_long_cells_belong_to_a_table_of_texts() -> None:
    """Cells that fill their columns leave narrow gaps: only the rows beside them show it."""
    rows = [
        ("Department", "Responsible", "Replacement", "Reference"),
        ("Stock", "Ann", "Ben", "REF-4"),
        ("Maintenance", "Catherine", "Dominique A.", "REF-T6"),
        ("Sales", "Eve", "Finn", "REF-P5"),
    ]
    lines = [
        (50 + 62 * x, 700 - 14 * y, 9.0, t) for y, row in enumerate(rows) for x, t in enumerate(row)
    ]
    document = parse([(50, 760, 9, "The contacts follow."), *lines, (50, 600, 9, "That is all.")])
    ((table, texts),) = list_tables(document)
    assert table.columns == rows[0]
    assert texts == [f"| {' | '.join(row)} |" for row in rows[1:]]


CONTACTS = [
    (["Department"], ["Contact"], ["Tasks"], ["Hours"]),
    (["Payroll"], ["Ruben"], ["Salaries and", "tax forms"], ["Tuesday and", "Thursday"]),
    (["Facilities"], ["Magda"], ["Heating, light", "and cleaning"], ["Daily"]),
    (["Reception"], ["Ida"], ["Visitors"], ["Daily"]),
    (["Works council"], ["Jonas"], ["Advice on", "changes of", "contracts"], ["Wednesday"]),
]


def draw_contacts(alignment: str, line_gap: float = 11, row_gap: float = 18) -> Lines:
    """Draw a table whose cells have several lines, without rules."""
    lines: list[tuple[float, float, float, str]] = []
    y = 700.0
    for cells in CONTACTS:
        height = max(map(len, cells))
        for column, parts in enumerate(cells):
            first = height - len(parts) if alignment == "bottom" else 0
            lines += [
                (50 + 100 * column, y - line_gap * (first + i), 9.0, part)
                for i, part in enumerate(parts)
            ]
        y -= line_gap * (height - 1) + row_gap
    return lines


@pytest.mark.parametrize("alignment", ["top", "bottom"])
@pytest.mark.parametrize("left", [50, 60])
def test_lines_of_cells_of_texts_are_joined(alignment: str, left: float) -> None:
    after = (left, 560, 9.0, "Ask the desk")
    document = parse([(50, 760, 9, "The contacts follow."), *draw_contacts(alignment), after])
    ((table, rows),) = list_tables(document)
    expected = [" | ".join(" ".join(parts) for parts in cells) for cells in CONTACTS]
    assert " | ".join(table.columns) == expected[0]
    assert rows == [f"| {row} |" for row in expected[1:]]
    assert document.text.endswith("Ask the desk\n") or document.text.endswith("Ask the desk")


def test_the_order_of_drawing_shows_the_lines_of_a_cell() -> None:
    lines = draw_contacts("top", line_gap=14, row_gap=14)
    ((_, rows),) = list_tables(parse(lines))
    assert rows[0] == "| Payroll | Ruben | Salaries and tax forms | Tuesday and Thursday |"
    assert rows[3] == "| Works council | Jonas | Advice on changes of contracts | Wednesday |"


def test_lines_that_may_belong_to_two_rows_are_not_joined() -> None:
    lines = draw_contacts("top", line_gap=14, row_gap=14)
    document = parse(sorted(lines, key=lambda line: (-line[1], line[0])))
    assert all(
        "Salaries and tax forms" not in text for _, texts in list_tables(document) for text in texts
    )
    for word in ("Salaries", "tax forms", "Thursday", "contracts"):
        assert word in document.text


@pytest.mark.parametrize("leading", [12, 18, 30])
def test_the_header_is_as_far_from_the_rows_as_they_are_from_each_other(leading: int) -> None:
    page = [(50.0, 750.0, 9.0, "Stock of the workshop")]
    page += draw_row(700, "Item", ["Quantity", "Price"])
    for i in range(1, 6):
        page += draw_row(700 - leading * i, f"Pump {'ABCDE'[i - 1]}", [f"{i}000", f"{i}0.50"])
    ((table, rows),) = list_tables(parse(page))
    assert table.columns[1:] == ("Quantity", "Price")
    assert rows[0] == "| Pump A | 1000 | 10.50 |"


@pytest.mark.parametrize("place", ["left", "middle", "right"])
def test_names_of_groups_stand_at_the_same_place_above_them(place: str) -> None:
    shift = {"left": -120, "middle": -55, "right": 0}[place]
    page = [(50.0, 750.0, 9.0, "Result of the workshop")]
    for right_edge, year in ((430, "2024"), (610, "2023")):
        page.append((right_edge - 4 * WIDTH + shift, 700.0, 9.0, year))
    for i, name in enumerate(["Plan", "Actual", "Plan", "Actual"]):
        page.append((340 + 90 * i - len(name) * 4.5, 682.0, 9.0, name))
    page += draw_row(664, "Revenue", ["1,200", "1,234", "1,100", "1,080"])
    page += draw_row(650, "Cost of sales", ["(800)", "(812)", "(750)", "(760)"])
    page += draw_row(636, "Profit", ["400", "422", "350", "320"])
    ((table, _),) = list_tables(parse(page))
    assert table.columns[1:] == ("2024 Plan", "2024 Actual", "2023 Plan", "2023 Actual")


def test_a_paragraph_above_a_table_is_no_name_of_its_columns() -> None:
    lead = [
        (50.0, 752.0, 9.0, "The board met in May. The sales of our three plants in the last two"),
        (
            50.0,
            741.0,
            9.0,
            "years, as they were reported to the board of directors, were as follows:",
        ),
    ]
    rows = [*draw_row(727, "", ["2023", "2022"])]
    for i, plant in enumerate(("Aarhus", "Lyon", "Porto")):
        rows += draw_row(714 - 12 * i, plant, [f"{i + 1},200", f"{i + 2},300"])
    document = parse([*lead, *rows])
    ((table, texts),) = list_tables(document)
    assert table.columns == ("", "2023", "2022")
    assert texts[0] == "| Aarhus | 1,200 | 2,300 |"
    assert table.name == (
        "The sales of our three plants in the last two years, as they were reported to the board of"
        " directors, were as follows"
    )
    assert document.text.startswith("The board met in May. The sales of our three plants")


def test_a_currency_sign_that_is_drawn_after_its_number_belongs_to_it() -> None:
    page = draw_row(740, "", ["2023", "2022"])
    for i, label in enumerate(("Sales", "Net earnings", "Dividends")):
        y = 726 - 14 * i
        page += [(50, y, 9.0, label), (320, y, 9.0, f"{i + 5},144"), (300, y, 9.0, "$")]
        page += [(410, y, 9.0, f"{i + 4},814"), (390, y, 9.0, "$")]
    ((table, texts),) = list_tables(parse(page))
    assert table.columns == ("", "2023", "2022")
    assert texts[1] == "| Net earnings | $ 6,144 | $ 5,814 |"
