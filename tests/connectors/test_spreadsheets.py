"""Tables of spreadsheets and CSV files: their extent, header rows, merged cells and formats."""

from __future__ import annotations

import csv
import datetime
import io
import zipfile
from collections.abc import Sequence

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.parsers.number_formats import format_moment, format_number
from connectors.parsers.records import TableParser
from connectors.parsers.table_layout import Span, find_tables, name_columns, repeat_group_labels
from rag import Document
from rag.types import Table
from tests.connectors import file_fixtures
from tests.connectors.parsing import list_marked_texts, parse, parse_parts


def make_grid(text: str) -> list[list[str]]:
    """Make a grid from lines with cells between vertical bars."""
    return [[cell.strip() for cell in line.split("|")] for line in text.strip("\n").split("\n")]


def make_csv(text: str) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(make_grid(text))
    return out.getvalue().encode()


def list_rows(document: Document) -> list[str]:
    return [text for _, text in list_marked_texts(document, "row")]


def list_tables(document: Document) -> list[Table]:
    return [mark.value for mark in document.marks if isinstance(mark.value, Table)]


def find_columns(text: str, spans: Sequence[Span] = ()) -> list[tuple[str, ...]]:
    return [r.columns for r in find_tables(make_grid(text), spans) if r.kind == "table"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Metric|2022|2023\nRevenue|10|11\nCost|7|8", ["Metric", "2022", "2023"]),
        ("Country|2021\nFrance|10", ["Country", "2021"]),
        ("Item|2024-01-01|2024-02-01\nRent|3|4", ["Item", "2024-01-01", "2024-02-01"]),
        ("Item|Q1|Q2|Q1|Q2\nRent|1|2|3|4", ["Item", "Q1", "Q2", "Q1 (2)", "Q2 (2)"]),
        ("Shop|1|2|3\nNorth|10|12|9", ["Shop", "1", "2", "3"]),
        ("Product|Colour|42|Stock\nBoot|red|yes|5\nShoe|blue|no|7", ["Product", "Colour", "42", "Stock"]),
        (
            "Region|2024||2025|\n|Units|Revenue|Units|Revenue\nNorth|10|100|12|130",
            ["Region", "2024 Units", "2024 Revenue", "2025 Units", "2025 Revenue"],
        ),
        (
            "Region|2024|2024|2025|2025\nRegion|Units|Revenue|Units|Revenue\nNorth|10|100|12|130",
            ["Region", "2024 Units", "2024 Revenue", "2025 Units", "2025 Revenue"],
        ),
        ("Item|Weight|Price\n|kg|EUR\nBolt|1|3\nNut|3|4", ["Item", "Weight kg", "Price EUR"]),
        ("Person|Address|\n|City|Street\nAnn|Bonn|Main\nBen|Trier|Low", ["Person", "Address City", "Address Street"]),
        (
            "|2024||||2025|||\n|H1||H2||H1||H2|\nShop|U|R|U|R|U|R|U|R\nN|1|2|3|4|5|6|7|8",
            ["Shop", *(f"{year} {half} {name}" for year in (2024, 2025) for half in ("H1", "H2") for name in "UR")],
        ),
        ("Name|Price|Qty\nApple|n/a|n/a\nPear|3|4", ["Name", "Price", "Qty"]),
        ("Name|Price\nApple|3\nPear|sold out\nFig|5\nKiwi|6", ["Name", "Price"]),
        ("1|2\n3|4", []),
        ("Ann|Bonn|42\nBen|Trier|43", []),
        ("Name|Sum\n\nAnn|1\n\nBen|2", ["Name", "Sum"]),
        ("Name|Sum\nAnn|1\nBen|2\n\nCy|3\n\nTotal|6", ["Name", "Sum"]),
    ],
)  # fmt: skip
def test_names_of_columns(text: str, columns: list[str]) -> None:
    assert find_columns(text) == [tuple(columns)]


def test_merged_cells_name_groups_of_columns_without_numbers_below() -> None:
    text = "Person|Address|\nName|City|Street\nAnn|Bonn|Main\nBen|Trier|Low"
    columns = ("Person Name", "Address City", "Address Street")
    assert find_columns(text, [Span(0, 1, 1, 3)]) == [columns]


@pytest.mark.parametrize(
    "text",
    [
        "Product|Price\nApple|3\nPear|4\n\nShop|City|Phone\nMain|Bonn|0228\nWest|Trier|0651",
        "Product|Price\nApple|3\nPear|4\nShop|City|Phone\nMain|Bonn|0228\nWest|Trier|0651",
        "Product|Price|||Shop|City|Phone\nApple|3|||Main|Bonn|0228\nPear|4|||West|Trier|0651",
        "Product|Price||Shop|City|Phone\nApple|3||Main|Bonn|0228\nPear|4||||\nFig|9||||",
        "Product|Price\nApple|3\nPear|4\nShops||\nShop|City|Phone\nMain|Bonn|0228\nWest|Trier|0651",
    ],
)
def test_each_table_of_a_sheet_has_its_names(text: str) -> None:
    assert find_columns(text) == [("Product", "Price"), ("Shop", "City", "Phone")]
    document = parse(file_fixtures.make_xlsx({"S": make_grid(text)}), "a.xlsx")
    assert "Product: Apple; Price: 3" in list_rows(document)
    assert "Shop: Main; City: Bonn; Phone: 0228" in list_rows(document)


def test_titles_and_notes_are_text_and_the_title_is_the_caption() -> None:
    text = "Costs\nin EUR\nItem|Sum\nRent|12\nLight|3\nTotal|15\n* estimated\n\nSource: Ann"
    document = parse(make_csv(text), "a.csv")
    assert list_rows(document) == [
        "Costs", "in EUR", "Item | Sum", "Item: Rent; Sum: 12", "Item: Light; Sum: 3",
        "Item: Total; Sum: 15", "* estimated", "Source: Ann",
    ]  # fmt: skip
    (table,) = list_tables(document)
    assert (table.name, table.columns, table.layout) == ("Costs, in EUR", ("Item", "Sum"), "pairs")
    (mark,) = (mark for mark in document.marks if mark.kind == "table")
    assert document.text[mark.start : mark.end].startswith("Item | Sum\n\nItem: Rent")
    assert document.text[mark.start + table.header : mark.end].startswith("Item: Rent")
    assert document.text[mark.start : mark.end].endswith("Sum: 15")


@pytest.mark.parametrize(
    "text",
    ["Invoice|4711\nDate|2024-03-01\nTo|ACME", "Invoice:|x\nTo:|ACME", "Name|Ann\nBorn|1987\nTo|ACME\nOn|1.5.2024",
     "Maker|Halden\nTo|ACME\nLoad|1400 kg\nLift|7.2 m\nBattery|24 V, lithium\nTyres|rubber"],
)  # fmt: skip
def test_form_has_labels_and_values(text: str) -> None:
    document = parse(make_csv(text), "a.csv")
    assert "To: ACME" in list_rows(document)
    assert len(list_rows(document)) == text.count("\n") + 1


@pytest.mark.parametrize(
    "text",
    [
        "Chair|Price\nOak|120 EUR\nPine|90 USD\nBeech|on request\nAsh|on request\nElm|sold",
        "Parameter|Reading\nLoad|1400 kg\nLift|7.2 m\nBattery|24 V, lithium\nTyres|rubber",
        "Part|Limit\nLoad|1400 kg\nLift|7.2 m\nBattery|24 V, lithium\nTyres|rubber",
    ],
)
def test_names_above_values_with_units_are_a_header(text: str) -> None:
    assert find_columns(text) == [tuple(text.split("\n")[0].split("|"))]


def test_labels_of_groups_are_repeated() -> None:
    rows = [["Sales", "Ann", "1"], ["", "Ben", "2"], ["IT", "Cy", "3"], ["", "Di", "4"]]
    assert [row[0] for row in repeat_group_labels(rows)] == ["Sales", "Sales", "IT", "IT"]
    for other in ([["x", "Ann"], ["", ""]], [["", "Ann"], ["x", "Ben"], ["", "Cy"]]):
        assert repeat_group_labels(other) == other
    notes = [["x", "Ann"], ["", "Ben"], ["x", "Cy"], ["", "Di"]]
    assert repeat_group_labels(notes) == notes


def test_merged_cells_of_xlsx_are_repeated() -> None:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet("S")
    sheet.merge_range(0, 0, 0, 3, "Staff of 2024")
    sheet.write_row(1, 0, ["Department", "Name", "Mon", "Tue"])
    sheet.merge_range(2, 0, 3, 0, "Sales")
    sheet.write_row(2, 1, ["Ann", 3, 4])
    sheet.write(3, 1, "Ben")
    sheet.merge_range(3, 2, 3, 3, 8)
    sheet.merge_range(4, 0, 4, 3, "Guests")
    sheet.write_row(5, 0, ["None", "Cy", 1, 2])
    book.close()
    document = parse(out.getvalue(), "a.xlsx")
    assert list_marked_texts(document, "row") == [
        (1, "Staff of 2024"),
        (2, "Department | Name | Mon | Tue"),
        (3, "Department: Sales; Name: Ann; Mon: 3; Tue: 4"),
        (4, "Department: Sales; Name: Ben; Mon: 8; Tue: 8"),
        (5, "Guests"),
        (6, "Department: None; Name: Cy; Mon: 1; Tue: 2"),
    ]
    assert list_tables(document)[0].name == "Staff of 2024"


ODS_CELL = '<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>'  # fmt: skip


def make_ods_row(*cells: tuple[str, str] | str) -> str:
    pairs = [("", cell) if isinstance(cell, str) else cell for cell in cells]
    body = "".join(ODS_CELL.format(attributes=a, text=t) for a, t in pairs)
    return f"<table:table-row>{body}</table:table-row>"


def make_ods(rows: str, styles: str = "", attributes: str = "") -> bytes:
    data = file_fixtures.make_ods({"S": []})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    xml = (
        bytes(files["content.xml"])
        .decode()
        .replace(  # type: ignore[arg-type]
            '<table:table table:name="S">', f'<table:table table:name="S" {attributes}>{rows}'
        )
    )
    xml = xml.replace("<office:body>", f"{styles}<office:body>")
    return file_fixtures.make_zip(files | {"content.xml": xml})


def test_ods_has_displayed_texts_merged_cells_and_repeated_rows() -> None:
    rows = (
        make_ods_row("Region", ('table:number-columns-spanned="2"', "2024"))
        + make_ods_row("", "Units", "Share")
        + '<table:table-row table:number-rows-repeated="3"><table:table-cell table:number-columns-repeated="9"/></table:table-row>'
        + make_ods_row(
            "North",
            ('office:value-type="float" office:value="10"', "10"),
            ('office:value-type="percentage" office:value=".075"', "7.5 %"),
        )
        + '<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    )
    document = parse(make_ods(rows), "a.ods")
    assert list_marked_texts(document, "row")[-1] == (
        6, "Region: North; 2024 Units: 10; 2024 Share: 7.5 %",
    )  # fmt: skip
    assert list_marked_texts(document, "value") == [(0.075, "7.5 %")]


def test_ods_with_too_many_repeated_cells_fails() -> None:
    row = '<table:table-row table:number-rows-repeated="1048576"><table:table-cell table:number-columns-repeated="16384"><text:p>x</text:p></table:table-cell></table:table-row>'
    with pytest.raises(Exception, match="may be an attack"):
        parse(make_ods(row), "a.ods")


def test_hidden_ods_sheets_are_skipped() -> None:
    styles = '<office:automatic-styles><s:style xmlns:s="urn:oasis:names:tc:opendocument:xmlns:style:1.0" s:name="h" s:family="table"><s:table-properties table:display="false"/></s:style></office:automatic-styles>'
    data = make_ods(make_ods_row("secret", "x"), styles, 'table:style-name="h"')
    with pytest.raises(Exception, match="no rows"):
        parse(data, "a.ods")


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (0.075, "0.0%", "7.5%"), (0.075, "0.0 %", "7.5 %"), (1234.5, '"$"#,##0.00', "$1,234.50"),
        (1234, "00000", "01234"), (-5.5, "#,##0.00;(#,##0.00)", "(5.50)"),
        (-5.5, "#,##0.00_);[Red](#,##0.00)", "(5.50)"),
        (1234.5, "#,##0.00\\ [$€-407]", "1,234.50 €"), (1234.5, "[$€-407] #,##0.00", "€ 1,234.50"),
        (12345.678, "0.00E+00", "1.23E+04"), (12345, "##0.0E+0", "12.3E+3"),
        (2.25, "# ?/?", "2 1/4"), (1.5, "# ?/2", "1 1/2"), (2.0, "# ??/??", "2"),
        (1234567, "#,##0,", "1,235"), (1234567, '0.0,,"M"', "1.2M"), (5, "@", "5"),
        (5551234, "000-0000", "555-1234"), (0, '#,##0;-#,##0;"-"', "-"), (1.5, "0.##", "1.5"),
        (-0.001, "0.0", "0.0"), (0.1 + 0.2, "General", "0.3"), (12, 'General" kg"', "12 kg"),
        (5, '[<10]"few";"many"', "few"), (50, '[<10]"few";"many"', "many"),
        (-1234.5, '_-* #,##0.00\\ "€"_-;\\-* #,##0.00\\ "€"_-', "-1,234.50 €"),
        (1.005, "0.00", "1.01"), (2.5, "0", "3"), (-3, "0", "-3"),
    ],
)  # fmt: skip
def test_number_is_formatted_as_shown(value: float, code: str, text: str) -> None:
    assert format_number(value, code) == text


DAY = datetime.datetime(2026, 3, 5, 14, 5, 9)


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (DAY, "dd/mm/yyyy", "05/03/2026"), (DAY, "mmm-yy", "Mar-26"), (DAY, "h:mm AM/PM", "2:05 PM"),
        (DAY, "yyyy\\-mm\\-dd\\Thh:mm", "2026-03-05T14:05"),
        (DAY, "[$-407]dddd, d. mmmm yyyy", "Thursday, 5. March 2026"),
        (datetime.timedelta(days=1, hours=6, minutes=15), "[h]:mm", "30:15"),
        (datetime.timedelta(seconds=90.5), "mm:ss.0", "01:30.5"),
        (datetime.time(0, 30), "h:mm AM/PM", "12:30 AM"),
    ],
)  # fmt: skip
def test_date_is_formatted_as_shown(value: datetime.datetime, code: str, text: str) -> None:
    assert format_moment(value, code) == text


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.text('0#?.,%E+-/@;[]"$€hmsyd <>=1', max_size=20),
)
def test_any_format_gives_a_text(value: float, code: str) -> None:
    assert isinstance(format_number(value, code), str)


@given(st.decimals(-(10**9), 10**9, places=6), st.integers(0, 4))
def test_decimals_agree_with_python(value: float, places: int) -> None:
    text = format_number(float(value), "#,##0" + ("." + "0" * places if places else ""))
    assert abs(float(text.replace(",", "")) - float(value)) <= 0.5 * 10**-places + 1e-6


def make_formatted_xlsx() -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet("S")
    sheet.write_row(2, 1, ["Rate", "Price", "Day", "Time", "Code", "Plain"])
    cells = [
        (0.075, "0.0%"), (1234.5, "$#,##0.00"), (46096, "dd/mm/yyyy"), (1.2604166666666667, "[h]:mm"),
        (1234, "00000"), (0.3, ""),
    ]  # fmt: skip
    for y in (3, 4):
        for x, (value, code) in enumerate(cells, start=1):
            sheet.write(y, x, value, book.add_format({"num_format": code} if code else {}))
    book.close()
    return out.getvalue()


def test_cells_have_the_texts_that_are_shown_and_their_stored_values() -> None:
    document = parse(make_formatted_xlsx(), "a.xlsx")
    row = "Rate: 7.5%; Price: $1,234.50; Day: 15/03/2026; Time: 30:15; Code: 01234; Plain: 0.3"
    assert list_marked_texts(document, "row")[1:] == [(4, row), (5, row)]
    assert list_marked_texts(document, "value")[:5] == [
        (0.075, "7.5%"), (1234.5, "$1,234.50"), ("2026-03-15", "15/03/2026"),
        ("30:15:00", "30:15"), (1234, "01234"),
    ]  # fmt: skip


def test_styles_are_found_whatever_the_xml_looks_like() -> None:
    with zipfile.ZipFile(io.BytesIO(make_formatted_xlsx())) as archive:
        files: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    xml = bytes(files[name]).decode()  # type: ignore[arg-type]
    for left, right in ((' r="', ' t="n" r="'), ("<c r=", "<c  r=")):
        other = file_fixtures.make_zip(
            files
            | {
                name: xml.replace("<c" + left, "<c" + right)
                if left != "<c r="
                else xml.replace(left, right)
            }
        )
        assert "Rate: 7.5%; Price: $1,234.50; Day: 15/03/2026" in parse(other, "a.xlsx").text


def test_rows_of_csv_as_documents_have_the_names_of_their_columns() -> None:
    parser = TableParser(per="row")
    data = make_csv("Costs\nItem|2023|2024\nRent|10|11\nLight|7|8")
    documents = list(parser.documents(data, uri="file:///a.csv"))
    assert [part.text for part in documents if isinstance(part, Document)] == [
        "Item: Rent\n2023: 10\n2024: 11", "Item: Light\n2023: 7\n2024: 8",
    ]  # fmt: skip
    assert parse_parts(data, "a.csv")[""].location_at(40)["row"] == 3


_NAMES = st.lists(
    st.text("abcdefgh", min_size=2, max_size=6).map(str.title), min_size=2, max_size=6, unique=True
)


@settings(max_examples=60)
@given(_NAMES, st.integers(1, 8), st.data(), st.sampled_from(["csv", "xlsx", "ods"]))
def test_each_value_has_the_name_of_its_column(
    names: list[str], height: int, data: st.DataObject, suffix: str
) -> None:
    values = [
        [f"word{y}", *(str(data.draw(st.integers(-99, 9999))) for _ in names[1:])]
        for y in range(height)
    ]
    grid = [names, *values]
    if suffix == "csv":
        out = io.StringIO()
        csv.writer(out).writerows(grid)
        document = parse(out.getvalue(), "a.csv")
    elif suffix == "xlsx":
        document = parse(file_fixtures.make_xlsx({"S": grid}), "a.xlsx")
    else:
        document = parse(file_fixtures.make_ods({"S": grid}), "a.ods")
    (table,) = list_tables(document)
    assert table.columns == tuple(names) == name_columns([names])
    rows = [document.text[m.start : m.end] for m in document.marks if m.kind == "row"][1:]
    assert rows == ["; ".join(map(": ".join, zip(names, row, strict=True))) for row in values]
    for row, cells in zip(rows, values, strict=True):
        position = 0
        for name, value in zip(names, cells, strict=True):
            start = row.index(f"{name}: {value}", position) + len(f"{name}: ")
            position = start + len(value)
            assert table.find_column(row, start, position) == name


@settings(max_examples=200)
@given(
    st.lists(
        st.lists(st.sampled_from(["", "", "x", "Ann", "3", "2024", "1.5 %", "-"]), max_size=7),
        max_size=12,
    ),
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(0, 5), st.integers(1, 4)),
        max_size=3,
    ),
)
def test_every_cell_is_in_one_region(
    grid: list[list[str]], sizes: list[tuple[int, int, int, int]]
) -> None:
    spans = [Span(y, y + h, x, x + w) for y, h, x, w in sizes]
    regions = find_tables(grid, spans)
    for y, row in enumerate(grid):
        for x, text in enumerate(row):
            inside = [r for r in regions if r.top <= y < r.bottom and r.left <= x < r.right]
            assert len(inside) == 1 if text else len(inside) < 2
    assert all(len(r.columns) in (0, r.right - r.left) for r in regions)


def test_many_tables_and_columns_are_found_in_time() -> None:
    text = "Shop{0}|X{0}\na|1\nb|2\nCar{0}|Col{0}|Own{0}\nc|d|1\ne|f|2\n"
    grid = make_grid("".join(text.format(i) for i in range(600)))
    assert len(find_tables(grid)) >= 600
    gaps = [["x" if x % 2 and y % 3 else "" for x in range(2_000)] for y in range(30)]
    assert len(find_tables(gaps)) <= 30
