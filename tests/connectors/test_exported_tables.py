"""Tables that programs export under the name of a workbook: HTML, CSV, and the XML of Excel 2003."""

from __future__ import annotations

import pytest

from connectors.parsers.auto import AutoParser
from rag.errors import ParseError
from rag.types import Document

NAMESPACE = "urn:schemas-microsoft-com:office:spreadsheet"
WORKBOOK = f"""<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>
<Workbook xmlns="{NAMESPACE}" xmlns:ss="{NAMESPACE}">
<Worksheet ss:Name="Orders"><Table>
<Row ss:Index="2"><Cell><Data ss:Type="String">Order</Data></Cell>
<Cell><Data ss:Type="String">Price</Data></Cell><Cell><Data ss:Type="String">Day</Data></Cell></Row>
<Row><Cell><Data ss:Type="String">A1</Data></Cell><Cell><Data ss:Type="Number">12.5</Data></Cell>
<Cell><Data ss:Type="DateTime">2024-03-05T00:00:00.000</Data></Cell></Row>
<Row><Cell><Data ss:Type="String">A2</Data></Cell><Cell ss:Index="3">
<Data ss:Type="DateTime">2024-03-06T00:00:00.000</Data></Cell></Row>
</Table></Worksheet>
<Worksheet ss:Name="Old"><Table><Row><Cell><Data ss:Type="String">secret</Data></Cell></Row></Table>
<WorksheetOptions xmlns="urn:schemas-microsoft-com:office:excel"><Visible>SheetHidden</Visible>
</WorksheetOptions></Worksheet></Workbook>"""


def parse(name: str, data: bytes) -> Document:
    (document,) = AutoParser().documents(data, uri=f"file:///{name}")
    assert isinstance(document, Document)
    return document


@pytest.mark.parametrize("name", ["export.xls", "export.xml", "export.xlsx"])
def test_a_workbook_in_xml_is_read_as_one(name: str) -> None:
    document = parse(name, WORKBOOK.encode())
    assert "Order: A1; Price: 12.5; Day: 2024-03-05" in document.text
    assert "Order: A2; Day: 2024-03-06" in document.text
    assert "secret" not in document.text
    assert document.metadata["hidden"] == ("sheet Old",)


def test_a_workbook_in_xml_with_too_many_cells_is_refused() -> None:
    row = '<Row><Cell ss:Index="16384"><Data ss:Type="Number">1</Data></Cell></Row>'
    data = WORKBOOK.replace("</Table></Worksheet>", f"{row * 1_300}</Table></Worksheet>", 1)
    with pytest.raises(ParseError, match="more than 20,000,000 cells"):
        parse("bomb.xls", data.encode())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<html><table><tr><th>Order<th>Price<tr><td>A1<td>12,5</table>", "| A1 | 12,5 |"),
        ("<table border=1><tr><th>Order<th>Price<tr><td>A1<td>12,5</table>", "| A1 | 12,5 |"),
        ("Order;Price\nA1;12,5\nA2;9\n", "Order: A1; Price: 12,5"),
        ("Order\tPrice\nA1\t12,5\nA2\t9\n", "Order: A1; Price: 12,5"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_text_with_the_name_of_a_workbook_is_read(data: str, text: str, encoding: str) -> None:
    assert text in parse("export.xls", data.encode(encoding)).text


def test_text_with_the_name_of_a_document_is_read() -> None:
    assert parse("letter.doc", b"Dear Ann,\nthe boat is ready.\n").text.startswith("Dear Ann,")


@pytest.mark.parametrize("name", ["a.xls", "a.xlsx", "a.docx"])
def test_a_damaged_file_is_no_text(name: str) -> None:
    with pytest.raises(ParseError):
        parse(name, b"\x01\x02\x03damaged" + bytes(range(256)))
