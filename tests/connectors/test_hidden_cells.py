"""Hidden sheets, rows and columns, and formulas that were never computed."""

from __future__ import annotations

import io

import pytest
import xlsxwriter

from connectors.parsers.hidden_cells import find_unresolved_formulas
from connectors.parsers.workbooks import SheetParser
from rag import Document
from tests.connectors.parsing import list_marked_texts, parse
from tests.connectors.test_spreadsheets import make_ods, make_ods_row


def make_wages() -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet("Wages")
    sheet.merge_range("A1:D1", "Staff of the ferry")
    bold = book.add_format({"num_format": "0.0%"})
    sheet.write_row(1, 0, ["Name", "Role", "Salary", "Share"])
    for y, row in enumerate(
        [("Ana", "Clerk", 41_000), ("Ben", "Chief", 99_000), ("Cid", "Cook", 40_000)]
    ):
        sheet.write_row(y + 2, 0, row)
        sheet.write_number(y + 2, 3, (y + 1) / 8, bold)
    sheet.set_row(3, None, None, {"hidden": True})
    sheet.set_column(2, 2, None, None, {"hidden": True})
    other = book.add_worksheet("Plans")
    other.write_row(0, 0, ["Merger", "secret"])
    other.hide()
    book.close()
    return out.getvalue()


def list_omissions(document: Document) -> list[tuple[str, str, int]]:
    assert document.coverage is not None
    return [(o.reason, o.name, o.words) for o in document.coverage.omissions]


def test_hidden_parts_of_a_workbook_are_left_out_and_named() -> None:
    document = parse(make_wages(), "wages.xlsx")
    for text in ("Salary", "41000", "Ben", "Merger"):
        assert text not in document.text
    assert document.metadata["hidden"] == (
        "row 4 of sheet Wages",
        "column C of sheet Wages",
        "sheet Plans",
    )
    assert list_omissions(document) == [
        ("hidden", "row 4 of sheet Wages", 5),
        ("hidden", "column C of sheet Wages", 3),
        ("hidden", "sheet Plans", 2),
    ]
    assert document.coverage is not None and document.coverage.missing == 0


def test_visible_rows_keep_their_numbers_names_and_stored_values() -> None:
    document = parse(make_wages(), "wages.xlsx")
    assert list_marked_texts(document, "row")[1:] == [
        (2, "Name | Role | Share"),
        (3, "Name: Ana; Role: Clerk; Share: 12.5%"),
        (5, "Name: Cid; Role: Cook; Share: 37.5%"),
    ]
    assert (0.375, "37.5%") in list_marked_texts(document, "value")
    assert "Staff of the ferry" in document.text


def test_hidden_parts_are_read_on_request() -> None:
    document = SheetParser(hidden=True).parse(make_wages(), uri="file:///wages.xlsx")
    assert "Name: Ben; Role: Chief; Salary: 99000; Share: 25.0%" in document.text
    assert "Merger" in document.text
    assert "hidden" not in document.metadata


def test_the_label_of_a_merged_cell_moves_to_its_visible_part() -> None:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet("S")
    sheet.merge_range("A1:B1", "North")
    sheet.write_row(1, 0, ["a", "b", "c"])
    sheet.set_column(0, 0, None, None, {"hidden": True})
    book.close()
    assert "North" in parse(out.getvalue(), "a.xlsx").text


@pytest.mark.parametrize("state", ["collapse", "filter"])
def test_hidden_rows_and_columns_of_ods(state: str) -> None:
    head = f'<table:table-column/><table:table-column table:visibility="{state}"/><table:table-column/>'
    row = make_ods_row("Ben", "99000", "Chief").replace(
        "<table:table-row", f'<table:table-row table:visibility="{state}"', 1
    )
    data = make_ods(
        head + make_ods_row("Name", "Salary", "Role") + make_ods_row("Ana", "41000", "Clerk") + row
    )
    document = parse(data, "a.ods")
    assert "Name: Ana; Role: Clerk" in document.text
    assert "Salary" not in document.text and "Ben" not in document.text


def test_formulas_without_a_result_are_written_and_named() -> None:
    xml = (
        b'<row r="2"><c r="B2" s="1"><f>A2*1.2</f></c><c r="C2"><f>A2</f><v>4</v></c>'
        b'<c r="D2" t="str"><f>A2&amp;"x"</f><v></v></c><c r="AA2"><f t="shared" si="0"/><v/></c></row>'
    )
    assert list(find_unresolved_formulas(xml)) == [
        (1, 1, "=A2*1.2"),
        (1, 3, '=A2&"x"'),
        (1, 26, "="),
    ]


def test_a_workbook_that_was_never_computed_shows_its_formulas() -> None:
    openpyxl_like = io.BytesIO()
    book = xlsxwriter.Workbook(openpyxl_like, {"in_memory": True})
    sheet = book.add_worksheet("Costs")
    sheet.write_row(0, 0, ["Item", "Net", "Gross"])
    sheet.write_row(1, 0, ["Chair", 100])
    sheet.write_formula(1, 2, "=B2*1.2", None, "")
    book.close()
    document = parse(openpyxl_like.getvalue(), "a.xlsx")
    assert "Item: Chair; Net: 100; Gross: =B2*1.2" in document.text
    assert document.metadata["formulas_without_result"] == ("Costs!C2",)
