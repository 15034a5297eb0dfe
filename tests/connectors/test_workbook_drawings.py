"""Charts, text boxes and comments of workbooks, which are not in the cells."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import xlsxwriter

from connectors.parsers.workbook_drawings import refers_only_to
from connectors.parsers.workbooks import SheetParser
from rag import Document, HeadingChunker, StaticEmbedder
from rag.chunking.structure import split_document
from rag.errors import NoText
from rag.types import Table
from tests.connectors import file_fixtures
from tests.connectors.parsing import list_marked_texts, parse

QUARTERS = [["Quarter", "Berths"], ["Q1", 12], ["Q2", 15]]
_NAMESPACES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:chart="urn:oasis:names:tc:opendocument:xmlns:chart:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
)


def make_book(fill: Callable[[Any], None]) -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    fill(book)
    book.close()
    return out.getvalue()


def make_chart(book: Any, kind: str, sheet: str, title: str = "Berths sold") -> Any:
    chart = book.add_chart({"type": kind})
    chart.add_series(
        {
            "name": "Berths",
            "categories": f"='{sheet}'!$A$2:$A$3",
            "values": f"='{sheet}'!$B$2:$B$3",
            "categories_data": ["Q1", "Q2"],
            "values_data": [12, 15],
        }
    )
    chart.set_title({"name": title})
    chart.set_y_axis({"name": "thousand"})
    return chart


def write_rows(sheet: Any, rows: list[list[Any]] = QUARTERS) -> None:
    for y, row in enumerate(rows):
        sheet.write_row(y, 0, row)


def list_tables(document: Document) -> list[Table]:
    return [mark.value for mark in document.marks if isinstance(mark.value, Table)]


@pytest.mark.parametrize("kind", ["column", "bar", "line", "area", "pie", "scatter", "radar"])
def test_chart_of_visible_cells_adds_its_title_and_no_second_copy_of_the_values(kind: str) -> None:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet("It's new")
        write_rows(sheet)
        sheet.insert_chart("D2", make_chart(book, kind, "It''s new"))

    document = parse(make_book(fill), "a.xlsx")
    assert document.text.count("Berths sold") == 1
    assert document.text.count("12") == 1
    assert [table.layout for table in list_tables(document)] == ["pairs"]
    assert document.coverage is not None
    assert document.coverage.missing == 0


@pytest.mark.parametrize("place", ["hidden", "other workbook"])
def test_chart_whose_values_are_in_no_cell_of_the_text_becomes_a_table(place: str) -> None:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet("Report")
        sheet.write("A1", "Harbour report")
        data = book.add_worksheet("Data")
        write_rows(data)
        data.hide()
        name = "Data" if place == "hidden" else "[plan.xlsx]Data"
        sheet.insert_chart("D2", make_chart(book, "column", name))

    document = parse(make_book(fill), "a.xlsx")
    assert "Berths sold (thousand)\n\n|" in document.text
    (table,) = list_tables(document)
    assert table.columns == ("", "Berths")
    rows = [text for _, text in list_marked_texts(document, "row")]
    assert rows == ["Harbour report", "| Q1 | 12 |", "| Q2 | 15 |"]
    headings = dict(list_marked_texts(document, "heading"))
    assert headings[("Report",)].endswith("Harbour report")
    assert headings[("Report", "Berths sold (thousand)")].endswith("| Q2 | 15 |")
    (sheet,) = list_marked_texts(document, "sheet")
    assert sheet[0] == "Report"
    assert "| Q2 | 15 |" in sheet[1]


def test_scatter_chart_of_another_workbook_has_a_point_in_each_row() -> None:
    def fill(book: Any) -> None:
        chart = book.add_chart({"type": "scatter"})
        chart.add_series(
            {
                "name": "Tide",
                "categories": "='[t.xlsx]S'!$A$1:$A$2",
                "values": "='[t.xlsx]S'!$B$1:$B$2",
                "categories_data": [1.5, 3],
                "values_data": [0.4, 2.1],
            }
        )
        chart.set_x_axis({"name": "Hours"})
        chart.set_y_axis({"name": "Metres"})
        book.add_worksheet("S").insert_chart("A1", chart)

    document = parse(make_book(fill), "a.xlsx")
    (table,) = list_tables(document)
    assert table.columns == ("Series", "Hours", "Metres")
    assert "| Tide | 1.5 | 0.4 |" in document.text


def test_chart_sheet_is_a_sheet() -> None:
    def fill(book: Any) -> None:
        write_rows(book.add_worksheet("Data"))
        book.add_chartsheet("Trend").set_chart(make_chart(book, "line", "Data"))

    document = parse(make_book(fill), "a.xlsx")
    assert [value for value, _ in list_marked_texts(document, "sheet")] == ["Data", "Trend"]
    assert document.text.endswith("# Trend\n\nBerths sold (thousand)\n")


def test_hidden_chart_sheet_is_left_out_and_named() -> None:
    def fill(book: Any) -> None:
        write_rows(book.add_worksheet("Data"))
        trend = book.add_chartsheet("Trend")
        trend.set_chart(make_chart(book, "line", "Data"))
        trend.hide()

    data = make_book(fill)
    document = parse(data, "a.xlsx")
    assert "Berths sold" not in document.text
    assert document.metadata["hidden"] == ("sheet Trend",)
    with_hidden = SheetParser(hidden=True).parse(data, uri="file:///a.xlsx")
    assert "Berths sold" in with_hidden.text


def test_a_workbook_with_only_a_text_box_or_a_chart_has_text() -> None:
    document = parse(make_book(lambda b: b.add_worksheet("S").insert_textbox("B2", "Dock closed")))
    assert "Dock closed" in document.text
    with pytest.raises(NoText):
        parse(make_book(lambda b: b.add_worksheet("S")), "a.xlsx")


def test_damaged_chart_does_not_make_the_cells_unreadable() -> None:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet("S")
        write_rows(sheet)
        sheet.insert_chart("D2", make_chart(book, "column", "S"))

    with zipfile.ZipFile(io.BytesIO(make_book(fill))) as archive:
        files: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    for name in ("xl/charts/chart1.xml", "xl/drawings/drawing1.xml"):
        document = parse(file_fixtures.make_zip(files | {name: b"<c:chartSpace"}), "a.xlsx")
        assert "Quarter: Q2; Berths: 15" in document.text


def test_comments_are_named_by_their_cell() -> None:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet("S")
        write_rows(sheet)
        sheet.write_comment("B3", "Ask Ann")

    document = parse(make_book(fill), "a.xlsx")
    assert document.coverage is not None
    assert [(o.reason, o.name) for o in document.coverage.omissions] == [
        ("comment", "comment on B3")
    ]
    assert "Ask Ann" not in document.text


def make_ods(cell: str, objects: dict[str, str] | None = None) -> bytes:
    data = file_fixtures.make_ods({"Berths": [["Quarter", "Berths"], ["Q1", "12"], ["END", ""]]})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    content = bytes(files["content.xml"]).decode()
    spaces = (
        'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    )
    content = content.replace("<office:document-content ", f"<office:document-content {spaces}", 1)
    content = content.replace("<text:p>END</text:p>", f"{cell}<text:p>END</text:p>")
    files["content.xml"] = content
    return file_fixtures.make_zip(files | dict(objects or {}))


def make_ods_chart(address: str) -> str:
    return (
        f"<office:document-content {_NAMESPACES}><office:body><office:chart>"
        "<chart:chart><chart:title><text:p>Berths sold</text:p></chart:title>"
        f'<chart:plot-area><chart:axis><chart:title><text:p>thousand</text:p></chart:title></chart:axis><chart:series chart:values-cell-range-address="{address}"/></chart:plot-area>'
        '<table:table table:name="local-table"><table:table-rows>'
        "<table:table-row><table:table-cell><text:p>Quarter</text:p></table:table-cell><table:table-cell><text:p>Sold</text:p></table:table-cell></table:table-row>"
        '<table:table-row><table:table-cell><text:p>Q1</text:p></table:table-cell><table:table-cell office:value-type="float" office:value="12"><text:p>12</text:p></table:table-cell></table:table-row>'
        "</table:table-rows></table:table></chart:chart></office:chart></office:body></office:document-content>"
    )


@pytest.mark.parametrize(
    ("address", "has_table"),
    [("Berths.$B$2:.$B$3", False), ("$Berths.B2:Berths.B3", False), ("local-table.B2:.B3", True)],
)
def test_chart_of_ods(address: str, has_table: bool) -> None:
    cell = '<draw:frame><draw:object xlink:href="./Object 1"/></draw:frame>'
    data = make_ods(cell, {"Object 1/content.xml": make_ods_chart(address)})
    document = parse(data, "a.ods")
    assert "Berths sold, thousand" in document.text
    assert ("| Q1 | 12 |" in document.text) is has_table


def test_text_boxes_and_comments_of_ods() -> None:
    cell = (
        "<draw:frame><draw:text-box><text:p>Dock <text:span>closed</text:span></text:p>"
        "<text:list><text:list-item><text:p>until May</text:p></text:list-item></text:list>"
        "</draw:text-box></draw:frame>"
        "<draw:g><draw:custom-shape><text:p>Ask Ann</text:p></draw:custom-shape></draw:g>"
        "<office:annotation><dc:creator>Ben</dc:creator><text:p>old price</text:p></office:annotation>"
    )
    document = parse(make_ods(cell), "a.ods")
    assert "Dock closed\nuntil May\n\nAsk Ann" in document.text
    assert "old price" not in document.text
    assert document.coverage is not None
    assert [o.reason for o in document.coverage.omissions] == ["comment"]
    assert document.coverage.missing == 0


@pytest.mark.parametrize(
    ("reference", "is_inside"),
    [
        ("Costs!$A$2:$A$9", True),
        ("'My costs'!$A$2", True),
        ("'Ann''s'!A1", True),
        ("(Costs!$A$2,Costs!$A$4)", True),
        ("(Costs!$A$2,Other!$A$4)", False),
        ("[1]Costs!$A$2", False),
        ("'[x.xlsx]Costs'!$A$2", False),
        ("_xlchart.v1.0", False),
        ("$Costs.$A$2:.$A$9", True),
        ("$'My costs'.A2:.A9 Costs.A2:.A9", True),
        ("", False),
    ],
)
def test_references_to_sheets(reference: str, is_inside: bool) -> None:
    assert refers_only_to([reference], ["Costs", "My costs", "Ann's"]) is is_inside


@pytest.mark.parametrize(
    "rows",
    [
        [["Item", "Price"], ["Rope", 12], ["Chain", 30]],
        [["VACCINATIONS"], [], ["V01", "Distemper", 40], ["V02", "Cough", 33]],
        [["Landlord", "Ann Lee"], ["Rent", 1950]],
        [["A note."]],
        [["A note."], [], ["Item", "Price"], ["Rope", 12], [], ["End of the list."]],
    ],
)
def test_the_heading_of_each_sheet_begins_at_its_line(rows: list[list[Any]]) -> None:
    def fill(book: Any) -> None:
        for name in ("First", "Second", "Third"):
            write_rows(book.add_worksheet(name), rows)

    document = parse(make_book(fill), "a.xlsx")
    headings = [mark for mark in document.marks if mark.kind == "heading"]
    assert [document.text[h.start :].partition("\n")[0] for h in headings] == [
        "# First",
        "# Second",
        "# Third",
    ]
    for chunk in split_document(HeadingChunker(), document, StaticEmbedder()):
        assert len(chunk.text.strip()) > 2
