"""Tables in Markdown, HTML, Office documents, books and e-mails: columns, rows and captions."""

from __future__ import annotations

import html
import io
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.markdown import find_structure_marks
from connectors.parsers.markdown_tables import (
    Cell,
    detect_header_rows,
    find_table_marks,
    format_table,
    join_lines,
    repeat_spanned_cells,
)
from rag import Document
from rag.types import Mark, Table
from rag.types.tables import split_cells
from tests.connectors import file_fixtures
from tests.connectors.parsing import list_marked_texts, parse

PROSE = "The workshop on the north quay repairs bicycles of every kind, and has done so for long. "


def list_tables(document: Document) -> list[tuple[Table, list[str]]]:
    """Return each table, and its rows as pairs of column name and value."""
    tables = [mark for mark in document.marks if mark.kind == "table"]
    rows = [mark for mark in document.marks if mark.kind == "row"]
    described: list[tuple[Table, list[str]]] = []
    for mark in tables:
        assert isinstance(mark.value, Table)
        own_rows = [row for row in rows if mark.start <= row.start < mark.end]
        assert [row.value for row in own_rows] == list(range(1, len(own_rows) + 1))
        if own_rows:
            assert mark.start + mark.value.header == own_rows[0].start
        assert all(row.end <= mark.end for row in own_rows)
        texts = [document.text[row.start : row.end] for row in own_rows]
        described.append((mark.value, [mark.value.describe_row(text) for text in texts]))
    return described


def list_rows(document: Document) -> list[str]:
    (table,) = list_tables(document)
    return table[1]


def parse_page(body: str) -> Document:
    page = f"<html><body><main><h1>Page</h1><p>{PROSE * 4}</p>{body}<p>{PROSE * 4}</p></main>"
    return parse(page + "</body></html>", "page.html")


# -- Markdown ------------------------------------------------------------------------------


def test_markdown_tables_have_columns_caption_and_rows() -> None:
    text = "# Stock\n\nTable 3: Prices\n\nPart | **Shelf** | a\\|b\n--- | :-: | ---\nx | 1 | p\n\ntext\n"
    document = parse(text, "a.md")
    assert document.text == text
    assert list_tables(document) == [
        (
            Table(name="Table 3: Prices", columns=("Part", "Shelf", "a|b"), header=40),
            ["Part: x; Shelf: 1; a|b: p"],
        )
    ]
    assert list_marked_texts(document, "row") == [(1, "x | 1 | p")]


def test_tables_in_code_are_no_tables() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert find_table_marks(f"```\n{table}```\n") == ()
    assert find_table_marks("".join(f"    {line}\n" for line in table.splitlines())) == ()
    assert len(find_table_marks(table)) == 2


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_table_marks_fit_every_line_end(line_end: str) -> None:
    text = "a\n\n| k | v |\n|---|---|\n| x | 1 |\n| y | 2 |\nplain text\n".replace("\n", line_end)
    document = parse(text, "a.md")
    assert list_marked_texts(document, "row") == [(1, "| x | 1 |"), (2, "| y | 2 |")]
    assert list_rows(document) == ["k: x; v: 1", "k: y; v: 2"]


def test_tables_in_lists_and_quotations_keep_their_columns() -> None:
    table = "| k | v |\n|---|---|\n| x | 1 |\n"
    for prefix in ("  ", "> "):
        text = "- item\n\n" * (prefix == "  ")
        text += "".join(f"{prefix}{line}\n" for line in table.splitlines())
        (mark, row) = find_table_marks(text)
        assert isinstance(mark.value, Table)
        line = text[row.start : row.end]
        position = line.index("1")
        assert mark.value.find_column(line, position, position + 1) == "v"


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("Prices in 2025:\n\n", "Prices in 2025"),
        ("**Opening hours.**\n\n", "Opening hours."),
        ("Opening hours\n\n", "Opening hours"),
        ("Opening hours\n", "Opening hours"),
        ("The shop is open on most days.\n\n", ""),
        (PROSE * 4 + "The prices are these:\n\n", "The prices are these"),
        (PROSE * 4 + "\n\n", ""),
        ("x" * 300 + ":\n\n", ""),
        ("# Opening hours\n\n", ""),
        ("- Opening hours\n\n", ""),
    ],
)
def test_captions_are_short_lines_or_lead_ins(before: str, name: str) -> None:
    document = parse(before + "| k | v |\n|---|---|\n| x | 1 |\n", "a.md")
    assert list_tables(document)[0][0].name == name


def test_a_caption_with_a_number_may_follow_the_table() -> None:
    table = "| k | v |\n|---|---|\n| x | 1 |\n\n"
    document = parse(f"{PROSE}\n\n{table}Table 1: First.\n\n{PROSE}\n\n{table}", "a.md")
    assert [table.name for table, _ in list_tables(document)] == ["Table 1: First.", ""]


def test_a_second_header_row_is_joined() -> None:
    text = (
        "| | 2024 | 2024 | 2025 | 2025 |\n|-|-|-|-|-|\n"
        "| Region | Units | Sales | Units | Sales |\n| North | 1 | 20 | 3 | 40 |\n"
    )
    document = parse(text, "a.md")
    assert list_rows(document) == [
        "Region: North; 2024 Units: 1; 2024 Sales: 20; 2025 Units: 3; 2025 Sales: 40"
    ]


def test_a_bold_row_below_an_empty_header_is_the_header() -> None:
    document = parse("| | |\n|-|-|\n| **k** | **v** |\n| x | 1 |\n", "a.md")
    assert list_rows(document) == ["k: x; v: 1"]


def test_rows_after_many_missing_cells_are_rows() -> None:
    text = "| a | b | c | d | e | f |\n|-|-|-|-|-|-|\n" + "| 1 | 2 |\n" * 17_000 + "\ntext\n"
    rows = [mark for mark in find_structure_marks(text) if mark.kind == "row"]
    assert len(rows) == 17_000


# -- HTML ----------------------------------------------------------------------------------


def test_html_cells_that_span_rows_and_columns_are_repeated() -> None:
    document = parse_page(
        "<table><tr><th>Country</th><th>City</th><th>Open</th><th>Closed</th></tr>"
        "<tr><td rowspan=2>France</td><td>Lyon</td><td colspan=2>always</td></tr>"
        "<tr><td>Lille</td><td></td><td>May</td></tr></table>"
    )
    assert list_rows(document) == [
        "Country: France; City: Lyon; Open: always; Closed: always",
        "Country: France; City: Lille; Closed: May",
    ]


@pytest.mark.parametrize("head", ["<thead>{}</thead>", "{}"])
def test_html_header_rows_are_joined(head: str) -> None:
    header = head.format(
        "<tr><th rowspan=2>Region<th colspan=2>2024<th colspan=2>2025</tr>"
        "<tr><th>Units<th>Sales<th>Units<th>Sales</tr>"
    )
    document = parse_page(
        f"<table><caption>Sales by <b>region</b>.</caption>{header}"
        "<tr><th>North<td>1<td>20<td>3<td>40</tr></table>"
    )
    assert "\nSales by region.\n| Region | 2024 Units |" in document.text
    ((table, rows),) = list_tables(document)
    assert table.name == "Sales by region."
    assert rows == ["Region: North; 2024 Units: 1; 2024 Sales: 20; 2025 Units: 3; 2025 Sales: 40"]


def test_html_lists_breaks_and_nested_tables_stay_on_one_line() -> None:
    document = parse_page(
        "<table><tr><th>Day</th><th>Open<br>(summer)</th></tr>"
        "<tr><td>Monday</td><td><ul><li>10:00 to 12:30</li><li>14:00 to 18:00</li></ul></td></tr>"
        "<tr><td>Tuesday</td><td>Main Street 5<br>1010 Wien<br>and later</td></tr>"
        "<tr><td>A|B</td><td><p>One.</p><p>Two</p></td></tr>"
        "<tr><td>x</td><td>7<table><tr><td>in</td><td>out, up</td></tr></table></td></tr></table>"
    )
    assert list_rows(document) == [
        "Day: Monday; Open (summer): 10:00 to 12:30, 14:00 to 18:00",
        "Day: Tuesday; Open (summer): Main Street 5, 1010 Wien and later",
        "Day: A|B; Open (summer): One. Two",
        "Day: x; Open (summer): 7; in; out, up",
    ]
    assert "A\\|B" in document.text


def test_html_tables_without_header_name_no_columns() -> None:
    document = parse_page(
        "<table><tr><th>Name</th><td>Bob</td></tr><tr><th>Phone</th><td>12</td></tr></table>"
    )
    ((table, rows),) = list_tables(document)
    assert table.columns == ("", "")
    assert rows == ["Name: Bob", "Phone: 12"]


@pytest.mark.parametrize(
    "table",
    [
        "<table role=presentation><tr><td>left side</td><td>right</td></tr><tr><td>a<td>b</table>",
        "<table><tr><td><p>left side</p></td></tr></table>",
        "<table><tr><td><h2>left side</h2></td></tr><tr><td><h2>Two</h2><p>text</table>",
    ],
)
def test_html_layout_tables_are_text(table: str) -> None:
    for document in (parse_page(table), parse(file_fixtures.make_eml("", html=table), "a.eml")):
        assert "left side" in document.text
        assert "|" not in document.text
        assert not list_tables(document)


def test_html_tables_in_layout_tables_are_tables() -> None:
    inner = "<table><tr><th>k</th><th>v</th></tr><tr><td>x</td><td>1</td></tr></table>"
    document = parse_page(f"<table><tr><td>{PROSE}</td><td><p>left</p>{inner}</td></tr></table>")
    assert list_rows(document) == ["k: x; v: 1"]


def test_html_tables_in_figures_have_their_caption() -> None:
    table = "<table><tr><th>k</th><th>v</th></tr><tr><td>x</td><td>1</td></tr></table>"
    document = parse_page(f"<figure><div>{table}</div><figcaption>Prices.</figcaption></figure>")
    assert list_tables(document)[0][0].name == "Prices."
    assert document.text.count("Prices.") == 1


def test_no_html_table_is_lost() -> None:
    table = "<table><tr><th>k</th><th>v</th></tr><tr><td>x{0}</td><td>{0}</td></tr></table>"
    body = "".join(f"<h2>Part {i}</h2>{table.format(i)}" for i in range(20))
    rows = [row for _, rows in list_tables(parse_page(body)) for row in rows]
    assert rows == [f"k: x{i}; v: {i}" for i in range(20)]


def test_html_tables_in_list_items_and_quotations_begin_a_line() -> None:
    inner = "<table><tr><th>k</th><th>v</th></tr><tr><td>x</td><td>1</td></tr></table>"
    text = to_markdown(f"<ul><li>{inner}</li><li>b</li></ul><blockquote>{inner}</blockquote>")
    assert len([mark for mark in find_table_marks(text) if mark.kind == "table"]) == 2
    assert all(line.startswith("|") for line in text.splitlines() if "|" in line)


# -- other formats -------------------------------------------------------------------------


def make_docx_cell(text: str, properties: str = "") -> str:
    return (
        f"<w:tc><w:tcPr>{properties}</w:tcPr><w:p><w:r><w:t>{html.escape(text)}</w:t></w:r></w:p>"
        "</w:tc>"
    )


def test_docx_merged_cells_are_repeated() -> None:
    cell = make_docx_cell
    three, two = '<w:gridSpan w:val="3"/>', '<w:gridSpan w:val="2"/>'
    start = '<w:vMerge w:val="restart"/>'
    table = (
        f"<w:tbl><w:tr>{cell('Rates', three)}</w:tr>"
        f"<w:tr>{cell('Country')}{cell('City')}{cell('Rate')}</w:tr>"
        f"<w:tr>{cell('France', start)}{cell('Lyon')}{cell('1')}</w:tr>"
        f"<w:tr>{cell('', '<w:vMerge/>')}{cell('Lille')}{cell('')}</w:tr>"
        f"<w:tr>{cell('')}{cell('Vigo', two)}</w:tr></w:tbl>"
    )
    document = parse(file_fixtures.make_docx([("One", "Text.")], extra=table), "a.docx")
    ((found, rows),) = list_tables(document)
    assert found.name == "Rates"
    assert rows == [
        "Country: France; City: Lyon; Rate: 1",
        "Country: France; City: Lille",
        "City: Vigo; Rate: Vigo",
    ]


def test_odt_spans_repeats_and_nested_tables_are_read() -> None:
    def cell(text: str, attributes: str = "") -> str:
        return f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"

    two_rows = 'table:number-rows-spanned="2"'
    inner = f"<table:table><table:table-row>{cell('in')}</table:table-row></table:table>"
    table = (
        "<table:table><table:table-header-rows><table:table-row>"
        f"{cell('Country')}{cell('City')}{cell('Rate')}</table:table-row></table:table-header-rows>"
        f"<table:table-row>{cell('France', two_rows)}{cell('Lyon')}"
        f"<table:table-cell><text:p>a</text:p>{inner}</table:table-cell></table:table-row>"
        f"<table:table-row><table:covered-table-cell/>{cell('Lille')}{cell('2')}</table:table-row>"
        '<table:table-row><table:table-cell table:number-columns-repeated="2"/>'
        f"{cell('9')}</table:table-row></table:table>"
    )
    document = parse(file_fixtures.make_odt([("One", "Text.")], extra=table), "a.odt")
    assert list_rows(document) == [
        "Country: France; City: Lyon; Rate: a, in",
        "Country: France; City: Lille; Rate: 2",
        "Rate: 9",
    ]


def make_pptx_table(rows: Sequence[Sequence[str]], merged: tuple[int, int, int, int]) -> bytes:
    from pptx import Presentation
    from pptx.util import Inches

    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    shape = slide.shapes.add_table(
        len(rows), len(rows[0]), Inches(1), Inches(1), Inches(5), Inches(2)
    )
    for y, row in enumerate(rows):
        for x, text in enumerate(row):
            shape.table.cell(y, x).text = text
    top, left, bottom, right = merged
    shape.table.cell(top, left).merge(shape.table.cell(bottom, right))
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def test_pptx_merged_cells_are_repeated() -> None:
    rows = [["Country", "City"], ["France", "Lyon\nand Metz"], ["", "Lille"]]
    document = parse(make_pptx_table(rows, (1, 0, 2, 0)), "a.pptx")
    assert list_rows(document) == [
        "Country: France; City: Lyon, and Metz",
        "Country: France; City: Lille",
    ]
    assert document.marks[0].kind == "slide"


def test_rtf_tables_have_rows_and_merged_cells() -> None:
    pytest.importorskip("striprtf")

    def row(*cells: str, flags: Sequence[str] = ("", "", "")) -> str:
        definition = "".join(f"{flag}\\cellx{i}00" for i, flag in enumerate(flags, start=1))
        return (
            f"\\trowd {definition}\\pard\\intbl "
            + "".join(f"{cell}\\cell " for cell in cells)
            + f"\\pard{{\\trowd{definition}\\row}}\n"
        )

    body = (
        "Before the table.\\par\n"
        + row("Country", "City", "a|b")
        + row("France", "Lyon\\par Metz", "1", flags=("\\clvmgf", "", ""))
        + row("", "Lille", "", flags=("\\clvmrg", "\\clmgf", "\\clmrg"))
        + "\\pard After \\\\cell.\\par"
    )
    document = parse(b"{\\rtf1\\ansi " + body.encode() + b"}", "a.rtf")
    assert list_rows(document) == [
        "Country: France; City: Lyon, Metz; a|b: 1",
        "Country: France; City: Lille; a|b: Lille",
    ]
    assert document.text.startswith("Before the table.\n\n|")
    assert document.text.endswith("After \\cell.")


def test_tables_of_mails_books_and_notebooks_have_marks() -> None:
    table = "<table><tr><th>k</th><th>v</th></tr><tr><td>x</td><td>1</td></tr></table>"
    mail = parse(file_fixtures.make_eml("", html=table), "a.eml")
    assert list_rows(mail) == ["k: x; v: 1"]
    pipes = "| k | v |\n|---|---|\n| x | 1 |"
    notebook = parse(file_fixtures.make_ipynb([("markdown", pipes)]), "a.ipynb")
    assert [mark.kind for mark in notebook.marks] == ["row", "table"]
    book = file_fixtures.make_epub([("One", "BODY")])
    files = _read_zip(book)
    files["OPS/c0.xhtml"] = files["OPS/c0.xhtml"].replace(b"BODY", table.encode())
    assert list_rows(parse(file_fixtures.make_zip(files), "a.epub")) == ["k: x; v: 1"]


def _read_zip(data: bytes) -> dict[str, bytes]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# -- grids ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([["City", "Count"], ["Lyon", "1"]], 1),
        ([["Country", "City"], ["France", "Lyon"]], 1),
        ([["", "2023", "2024"], ["Lyon", "1", "2"]], 1),
        ([["Lyon", "1"], ["Lille", "2"]], 0),
        ([["Lyon", "France"], ["Lille", "France"]], 0),
        ([["Name:", "Bob"], ["Age:", "x"]], 0),
        ([["Name", "Bob"], ["Born", "2001-01-02"], ["Sum", "12"]], 0),
        ([["", "2024", "2024"], ["City", "Units", "Sales"], ["Lyon", "1", "2"]], 2),
        ([["Shop", "Open", "Open"], ["Shop", "Summer", "Winter"], ["Lyon", "yes", "no"]], 2),
        ([["Zone", "Peak"], ["North", "12"], ["South", "7, 8"]], 1),
        ([["Name"], ["Rent"]], 1),
        ([["one", "row"]], 0),
    ],
)
def test_header_rows_are_detected(rows: list[list[str]], count: int) -> None:
    assert detect_header_rows(rows) == count


def test_lines_are_joined_readably() -> None:
    assert join_lines("red\ngreen") == "red, green"
    assert join_lines("a, b\nc") == "a, b; c"
    assert join_lines("A sentence.\nAnother") == "A sentence. Another"
    assert join_lines("a line\vbroken") == "a line broken"


CELL_TEXT = st.text(st.sampled_from("ab|\\ \n`*_<&>#-:1"), max_size=8)


@st.composite
def draw_spanned_rows(draw: Callable[..., object]) -> tuple[int, list[list[tuple[int, int, str]]]]:
    """Draw a table of at least two columns: rows of (rows spanned, columns spanned, text)."""
    width, height = draw(st.integers(2, 5)), draw(st.integers(1, 5))
    assert isinstance(width, int) and isinstance(height, int)
    is_free = [[True] * width for _ in range(height)]
    rows: list[list[tuple[int, int, str]]] = []
    for y in range(height):
        rows.append([])
        for x in range(width):
            if not is_free[y][x]:
                continue
            widest = 1
            while x + widest < width and is_free[y][x + widest]:
                widest += 1
            spanned = draw(st.sampled_from([1, 1, 1, min(2, widest), widest]))
            tall = draw(st.sampled_from([1, 1, 1, height - y]))
            assert isinstance(spanned, int) and isinstance(tall, int)
            for row in is_free[y : y + tall]:
                row[x : x + spanned] = [False] * spanned
            rows[-1].append((tall, spanned, str(draw(CELL_TEXT))))
    return width, rows


@given(draw_spanned_rows())
@settings(max_examples=100, deadline=None)
def test_every_value_is_under_the_name_of_its_column(
    drawn: tuple[int, list[list[tuple[int, int, str]]]],
) -> None:
    width, rows = drawn
    names = [f"column {i}" for i in range(width)]
    header = [Cell(name) for name in names]
    grid = repeat_spanned_cells([header, *[[Cell(t, r, c) for r, c, t in row] for row in rows]])
    assert all(len(row) == width for row in grid)
    markup = "".join(
        "<tr>"
        + "".join(f"<td rowspan={r} colspan={c}>{html.escape(t)}</td>" for r, c, t in row)
        + "</tr>"
        for row in rows
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    page = f"<table><tr>{head}</tr>{markup}</table>"
    expected = [[" ".join(cell.split()) for cell in row] for row in grid[1:]]
    expected = [row for row in expected if any(row)]
    check_cells(to_markdown(page), names, expected)
    check_cells(
        format_table(grid, header_rows=1),
        names,
        [[join_lines(cell) for cell in row] for row in grid[1:] if any(c.strip() for c in row)],
    )


def check_cells(text: str, names: list[str], expected: list[list[str]]) -> None:
    marks = find_structure_marks(text)
    tables = [mark.value for mark in marks if mark.kind == "table"]
    (table,) = tables
    assert isinstance(table, Table)
    assert list(table.columns) == names
    rows = [text[mark.start : mark.end] for mark in marks if mark.kind == "row"]
    assert len(rows) == len(expected)
    for row, values in zip(rows, expected, strict=True):
        pairs = [f"{name}: {value}" for name, value in zip(names, values, strict=True) if value]
        assert table.describe_row(row) == "; ".join(pairs)
        for name, (start, end) in zip(names, split_cells(row), strict=True):
            assert table.find_column(row, start, end) == name


def test_wide_spans_cost_little() -> None:
    rows = "<tr><td rowspan=65534 colspan=1000>a</td><td colspan=1000>b</td></tr>" * 2_000
    start = time.monotonic()
    to_markdown(f"<table><tr><th>k</th></tr>{rows}</table>")
    assert time.monotonic() - start < 60


def test_a_long_table_takes_linear_time() -> None:
    rows = "".join(f"<tr><td>part-{i}</td><td>{i}</td></tr>" for i in range(10_000))
    document = parse_page(f"<table><tr><th>Part</th><th>Count</th></tr>{rows}</table>")
    assert list_rows(document)[-1] == "Part: part-9999; Count: 9999"
    marks: list[Mark] = [mark for mark in document.marks if mark.kind == "row"]
    assert len(marks) == 10_000


@pytest.mark.parametrize(
    ("rows", "header_rows"),
    [
        ([["Name", "Pump P-20"], ["Weight", "12 kg"], ["Voltage", "230 V"]], 0),
        (
            [
                ["Landlord", "Mr Edwin Tanner"],
                ["Start", "1 May 2017"],
                ["Rent", "1,950 a month"],
                ["Rent review", "none"],
                ["Break", "none"],
            ],
            0,
        ),
        ([["Tenant", "Rent"], ["Ann Lee", "900"], ["Bo Ray", "750"]], 1),
        ([["Mon", "8-12"], ["Tue", "8-16"]], 0),
        ([["Model", "P-20"], ["Power", "900 W"], ["Colour", "red"]], 0),
        ([["Titel", "Umbau"], ["Projekt", "P7"], ["Leitung", "Ann"]], 0),
        ([["Day", "Hours"], ["Monday", "8-12"], ["Tuesday", "8-16"]], 1),
        ([["Name", "Weight"], ["Ann", "12 kg"], ["Bob", "13 kg"]], 1),
        ([["Name", "Department"], ["Ann", "Sales"], ["Bob", "IT"]], 1),
        ([["Project", "Status"], ["Roof", "open"], ["Customer portal", "done"]], 1),
        ([["Type", "Price"], ["Type A", "5"], ["Type B", "6"]], 1),
    ],
)
def test_labels_and_values_without_a_header(rows: list[list[str]], header_rows: int) -> None:
    assert detect_header_rows(rows) == header_rows
