"""Conditions from public bug reports of other parsers, on files made from scratch.

The table of kinds in ``docs/sources.md`` lists them with the reports.
"""

from __future__ import annotations

import base64
import datetime
import io
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import pytest
import xlsxwriter

from tests.connectors import file_fixtures
from tests.connectors.parsing import parse

PROSE = "<p>" + "The ferry office sells tickets for both islands since the bridge was closed. " * 5


class Condition(NamedTuple):
    """A file, the texts that its document has, and those that it does not have."""

    report: str
    name: str
    make: Callable[[], bytes]
    texts: tuple[str, ...]
    absent: tuple[str, ...] = ()


def make_page(content: str, encoding: str = "utf-8") -> Callable[[], bytes]:
    return lambda: f"<html><body><main>{PROSE}{content}</main></body></html>".encode(encoding)


def make_word(body: str) -> Callable[[], bytes]:
    return lambda: file_fixtures.make_docx([("Fares", "All fares.")], extra=body)


def replace_members(data: bytes, members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    return file_fixtures.make_zip(files | members)


def make_book(chapter: bytes) -> Callable[[], bytes]:
    book = file_fixtures.make_epub([("One", "Text."), ("Two", "Last words.")])
    return lambda: replace_members(book, {"OPS/c0.xhtml": chapter})


def make_sheet() -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet("Fares")
    percent = book.add_format({"num_format": "0%"})
    sheet.write_row(0, 0, ["Boat", "Share", "Since"])
    sheet.write_rich_string(1, 0, "East ", book.add_format({"bold": True}), "pier", " line")
    sheet.write(1, 1, 1, percent)
    sheet.write_datetime(
        1, 2, datetime.datetime(2025, 3, 4), book.add_format({"num_format": "d mmm yyyy"})
    )
    sheet.write(2, 0, "West\nline")
    sheet.write(2, 1, "n/a", percent)
    sheet.insert_textbox(6, 1, "Fares rise in May.\nAsk Ann.")
    book.close()
    return out.getvalue()


def make_phonetic_sheet() -> bytes:
    data = file_fixtures.make_xlsx({"S": [["名前", "Ort"], ["a", "b"]]})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        strings = archive.read("xl/sharedStrings.xml").decode()
    reading = "<si><t>名前</t><rPh sb='0' eb='2'><t>ナマエ</t></rPh></si>"
    strings = strings.replace("<si><t>名前</t></si>", reading)
    return replace_members(data, {"xl/sharedStrings.xml": strings.encode()})


def make_cell(text: str) -> str:
    return f"<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>"


def wrap_control(content: str) -> str:
    return f"<w:sdt><w:sdtPr/><w:sdtContent>{content}</w:sdtContent></w:sdt>"


WORD_TABLE = (
    f"<w:tbl><w:tr>{make_cell('Date')}{make_cell('Author')}{make_cell('Note')}</w:tr>"
    f"<w:tr>{wrap_control(make_cell('4 March'))}{make_cell('Ann')}{make_cell('Made')}</w:tr>"
    + wrap_control(f"<w:tr>{make_cell('5 May')}{make_cell('Ben')}{make_cell('Seen')}</w:tr>")
    + "</w:tbl>"
)
SMART_TAG = (
    '<w:p><w:r><w:t xml:space="preserve">The boat to </w:t></w:r><w:smartTag w:element="City"><w:r>'
    '<w:t>Calais</w:t></w:r></w:smartTag><w:r><w:t xml:space="preserve"> &amp; back</w:t></w:r></w:p>'
)
LIST_WITHOUT_LEVEL = '<w:p><w:pPr><w:numPr><w:numId w:val="3"/></w:numPr></w:pPr><w:r><w:t>First stop</w:t></w:r></w:p>'
BASE64_MAIL = (
    b"From: a@b.example\nTo: c@d.example\nSubject: Boats\nMIME-Version: 1.0\n"
    b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
    + base64.b64encode("Die Fähre fährt um neun.".encode())
)

CONDITIONS = [
    Condition(
        "adbar/trafilatura#553", "code.html",
        make_page("<pre><code>def f():\n    return 1</code></pre>"), ("def f():\n    return 1",),
    ),
    Condition(
        "adbar/trafilatura#431", "spans.html",
        make_page("<ul><li><span tabindex=0>You have the right to know.</span></ul>"),
        ("- You have the right to know.",),
    ),
    Condition(
        "adbar/trafilatura#769", "links.html",
        make_page("<ul><li><p>Index at scale.</p><li><a href=//x/py>Python</a><li><a href=//x/j>Java</a></ul>"),
        ("- Index at scale.", "- Python", "- Java"),
    ),
    Condition(
        "adbar/trafilatura#233", "bare.html",
        lambda: f"<title>x</title>{PROSE}<ul><li>Point six was struck out.</ul>{PROSE}".encode(),
        ("- Point six was struck out.",),
    ),
    Condition(
        "adbar/trafilatura#43", "hyphens.html",
        make_page("<p>Wir fördern Unter\xadnehmen seit 5&nbsp;Jahren.</p>"),
        ("Wir fördern Unternehmen seit 5 Jahren.",),
    ),
    Condition(
        "adbar/trafilatura#10", "ordered.html",
        make_page("<h3>Advantages</h3><ol start=3><li>The employer pays.<li>It is safe.</ol>"),
        ("### Advantages", "3. The employer pays.", "4. It is safe."),
    ),
    Condition(
        "adbar/trafilatura#627", "entities.html",
        make_page("<p>It&rsquo;s 2 o&apos;clock &amp; x &lt; 3.</p>"), ("It’s 2 o'clock & x < 3.",),
    ),
    Condition(
        "Unstructured-IO/unstructured#250", "cyrillic.html",
        make_page("<p>Поезд прибывает на вокзал в девять часов утра.</p>", "cp1251"),
        ("Поезд прибывает на вокзал",),
    ),
    Condition(
        "Unstructured-IO/unstructured#465", "undeclared.html",
        lambda: "<h3 class=l>Jahresabschluss zum Geschäftsjahr 2020</h3>".encode(),
        ("Jahresabschluss zum Geschäftsjahr 2020",),
    ),
    Condition(
        "Unstructured-IO/unstructured#816", "mail.eml", lambda: BASE64_MAIL,
        ("Die Fähre fährt um neun.",), ("RGll",),
    ),
    Condition(
        "docling-project/docling#3946", "controls.docx", make_word(WORD_TABLE),
        ("| Date | Author | Note |", "| 4 March | Ann | Made |"),
    ),
    Condition(
        "thomas-villani/all2md#487", "control-rows.docx",
        make_word(WORD_TABLE + wrap_control("<w:p><w:r><w:t>A paragraph.</w:t></w:r></w:p>")),
        ("| 5 May | Ben | Seen |", "A paragraph."),
    ),
    Condition(
        "microsoft/markitdown#1282", "no-level.docx", make_word(LIST_WITHOUT_LEVEL), ("First stop",)
    ),
    Condition(
        "mwilliamson/mammoth.js#10", "tags.docx", make_word(SMART_TAG),
        ("The boat to Calais & back",),
    ),
    Condition("turicas/rows#290", "percent.xlsx", make_sheet, ("Share: 100%", "Share: n/a")),
    Condition(
        "office-kit/xlsx#167", "shown.xlsx", make_sheet,
        ("Boat: East pier line; Share: 100%; Since: 4 Mar 2025", "Boat: West line"),
    ),
    Condition(
        "microsoft/markitdown#1247", "boxes.xlsx", make_sheet, ("Fares rise in May.\nAsk Ann.",)
    ),
    Condition(
        "yfedoseev/office_oxide#141", "phonetic.xlsx", make_phonetic_sheet, ("名前: a",), ("ナマエ",)
    ),
    Condition("deanmalmgren/textract#323", "empty.epub", make_book(b""), ("Last words.",)),
    Condition(
        "trypsynth/paperback#1", "html5.epub",
        make_book(b"<html><body><h1>One<br>boat</h1><p>First <b>words</b><p>unclosed &eacute;tat</body>"),
        ("# One boat", "First **words**", "unclosed état", "Last words."),
    ),
    Condition(
        "adbar/trafilatura#351", "highlight.html",
        make_page("<div class=highlight><pre>a = 1\n  b</pre></div>"), ("```\na = 1\n  b\n```",),
    ),
    Condition(
        "microsoft/markitdown#236", "spans.docx",
        make_word(
            "<w:tbl><w:tr>"
            + make_cell("Both").replace("<w:tc>", '<w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr>')
            + f"{make_cell('Note')}</w:tr><w:tr>{make_cell('1')}{make_cell('2')}{make_cell('3')}</w:tr></w:tbl>"
        ),
        ("| Both | Both | Note |", "| 1 | 2 | 3 |"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: f"{c.report} {c.name}")
def test_reported_condition(condition: Condition) -> None:
    document = parse(condition.make(), condition.name)
    for text in condition.texts:
        assert text in document.text
    for text in condition.absent:
        assert text not in document.text
