"""Text that keeps all its words, and still says something else: formulas, fields, lines, boxes."""

from __future__ import annotations

import pytest

from connectors.parsers.text import decode
from tests.connectors import file_fixtures
from tests.connectors.parsing import parse

MATH = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def make_math(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (f"<m:f><m:num>{make_math('1')}</m:num><m:den>{make_math('12')}</m:den></m:f>", "1/12"),
        (f"<m:sSup><m:e>{make_math('10')}</m:e><m:sup>{make_math('6')}</m:sup></m:sSup>", "10⁶"),
        (
            f"<m:sSup><m:e>{make_math('e')}</m:e><m:sup>{make_math('x+1')}</m:sup></m:sSup>",
            "e^(x+1)",
        ),
        (f"<m:sSub><m:e>{make_math('x')}</m:e><m:sub>{make_math('1')}</m:sub></m:sSub>", "x_1"),
        (f"<m:rad><m:e>{make_math('2')}</m:e></m:rad>", "√(2)"),
        (f"<m:f><m:num>{make_math('a+b')}</m:num><m:den>{make_math('2')}</m:den></m:f>", "(a+b)/2"),
    ],
)
def test_formulas_of_word_keep_their_meaning(formula: str, text: str) -> None:
    body = f"<w:p {MATH}><w:r><w:t>Rate </w:t></w:r><m:oMath>{formula}</m:oMath></w:p>"
    assert text in parse(file_fixtures.make_docx([("A", "b")], extra=body), "a.docx").text


def test_dates_of_opendocument_are_text() -> None:
    extra = "<text:p>The drill is on <text:date>2031-07-09</text:date> at noon.</text:p>"
    document = parse(file_fixtures.make_odt([("A", "b")], extra=extra), "a.odt")
    assert "The drill is on 2031-07-09 at noon." in document.text


@pytest.mark.parametrize("wrap", ["cell", "box"])
def test_a_heading_in_a_cell_or_box_is_above_nothing_else(wrap: str) -> None:
    heading = '<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Inner</w:t></w:r></w:p>'
    inner = f"<w:tbl><w:tr><w:tc>{heading}</w:tc></w:tr></w:tbl>"
    if wrap == "box":
        inner = (
            '<w:p><w:r><w:pict><v:shape xmlns:v="urn:schemas-microsoft-com:vml"><v:textbox>'
            f"<w:txbxContent>{heading}</w:txbxContent></v:textbox></v:shape></w:pict></w:r></w:p>"
        )
    after = "<w:p><w:r><w:t>After it.</w:t></w:r></w:p>"
    document = parse(file_fixtures.make_docx([("Top", "b")], extra=inner + after), "a.docx")
    start = document.text.index("After it.")
    (path,) = [m.value for m in document.marks if m.kind == "heading" and m.start <= start < m.end]
    assert path == ("Top",)
    assert "Inner" in document.text


def test_a_table_that_only_the_html_version_has_is_kept() -> None:
    plain = "Dear all, the prices of the year are in the list below. Best wishes from the office."
    rows = "<tr><td>Rope</td><td>5</td></tr><tr><td>Anchor</td><td>900</td></tr>"
    data = file_fixtures.make_eml(plain, html=f"<p>{plain}</p><table>{rows}</table>")
    assert "| Anchor | 900 |" in parse(data, "a.eml").text
    same = file_fixtures.make_eml(
        f"{plain} Rope 5, anchor 900.", html=f"<p>{plain}</p><table>{rows}</table>"
    )
    assert "|" not in parse(same, "a.eml").text


@pytest.mark.parametrize(
    ("delsp", "text"), [("no", "a long li ne of text"), ("yes", "a long line of text")]
)
def test_flowed_lines_are_joined(delsp: str, text: str) -> None:
    data = (
        f"From: a@b.example\nSubject: s\nContent-Type: text/plain; format=flowed; delsp={delsp}\n\n"
        "It is a long li \nne of text.\nNext.\n"
    )
    assert f"{text}.\nNext." in parse(data, "a.eml").text


def test_short_utf8_with_a_broken_byte_stays_utf8() -> None:
    assert decode("Größe: zwölf Meter ".encode() + b"\xff") == "Größe: zwölf Meter \ufffd"
    assert decode("Preis für Öl: 5 €".encode()[:-1]).startswith("Preis für Öl: 5 ")
    assert decode("Größe: zwölf Meter für Öl".encode("latin-1")) == "Größe: zwölf Meter für Öl"


def test_lines_of_a_log_in_two_encodings() -> None:
    lines = ["Größe geändert"] * 3
    data = b"\n".join(
        [*(line.encode() for line in lines), *(line.encode("cp1252") for line in lines)]
    )
    assert decode(data) == "\n".join(lines * 2)


def test_a_log_with_a_block_of_zeros_is_text() -> None:
    assert decode(b"2024-01-01 ok\n" + bytes(50) + b"2024-01-02 restarted\n") == (
        "2024-01-01 ok\n2024-01-02 restarted\n"
    )
