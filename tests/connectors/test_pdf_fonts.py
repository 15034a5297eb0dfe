"""Fonts without a Unicode map are recognised: their characters are not in the text."""

from __future__ import annotations

import pytest

from connectors.parsers import ocr
from connectors.parsers.pdf import PdfParser
from connectors.parsers.pdf_fonts import clean_characters
from rag.errors import NoText
from tests.connectors.pdf_writer import Page, build_pdf

CID_FONT = (
    b"<</Type/Font/Subtype/Type0/BaseFont/ABCDEF+Garbled/Encoding/Identity-H/DescendantFonts"
    b"[<</Type/Font/Subtype/CIDFontType2/BaseFont/ABCDEF+Garbled/CIDToGIDMap/Identity/CIDSystemInfo"
    b"<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/FontDescriptor<</Type/FontDescriptor"
    b"/FontName/ABCDEF+Garbled/Flags 4/FontBBox[0 -200 1000 900]/ItalicAngle 0/Ascent 900"
    b"/Descent -200/CapHeight 700/StemV 80>>>>]>>"
)


def write_garbled(page: Page, y: float, text: str) -> None:
    """Write glyph numbers that are 29 less than the characters, as many fonts have them."""
    codes = "".join(f"{ord(character) - 29:04X}" for character in text)
    page.content += b"BT /F3 10 Tf 1 0 0 1 50 %g Tm <%s> Tj ET\n" % (y, codes.encode())


def make_garbled_page(lines: int = 6) -> Page:
    page = Page()
    for i in range(lines):
        write_garbled(page, 700 - 14 * i, "The harbour of the old town was built by the council")
    return page


def make_readable_page() -> Page:
    page = Page()
    page.write(50, 700, "The harbour is open to the public every day from nine to five.")
    return page


def test_a_page_without_a_unicode_map_is_a_page_without_text() -> None:
    data = build_pdf([make_readable_page(), make_garbled_page()], [CID_FONT])
    document = PdfParser(ocr=False).parse(data, uri="file:///a.pdf")
    assert document.text.strip() == "The harbour is open to the public every day from nine to five."
    assert document.metadata["pages_without_text"] == (2,)
    assert document.metadata["pages_unreadable"] == (2,)
    assert document.coverage is not None
    assert [(o.reason, o.name) for o in document.coverage.omissions] == [("unreadable", "page 2")]
    assert document.coverage.missing == 0


def test_a_document_without_a_unicode_map_fails_with_this_reason() -> None:
    data = build_pdf([make_garbled_page()], [CID_FONT])
    with pytest.raises(NoText, match=r"fonts have no Unicode map.*citewell\[ocr\]"):
        PdfParser(ocr=False).parse(data, uri="file:///a.pdf")


def test_an_unreadable_page_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "recognise_text", lambda picture: "Recognised words")
    data = build_pdf([make_readable_page(), make_garbled_page()], [CID_FONT])
    document = PdfParser(ocr=True).parse(data, uri="file:///a.pdf")
    assert document.text.endswith("Recognised words")
    assert document.metadata["pages_recognised"] == (2,)


def test_unreadable_lines_of_a_readable_page_are_dropped() -> None:
    page = Page()
    for i in range(12):
        page.write(50, 700 - 14 * i, f"Line {i} of the page can be read by everyone who likes it.")
    write_garbled(page, 400, "A short caption")
    document = PdfParser(ocr=False).parse(build_pdf([page], [CID_FONT]), uri="file:///a.pdf")
    assert "\ufffd" not in document.text
    assert document.text.endswith("Line 11 of the page can be read by everyone who likes it.")
    assert "pages_unreadable" not in document.metadata


def test_ligatures_become_letters() -> None:
    assert clean_characters("e\ufb03cient \ufb01sh \ufb02ow o\ufb00 \ufb04 \ufb06") == (
        "efficient fish flow off ffl st"
    )
