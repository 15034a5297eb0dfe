"""Documents inside a Word document: what Word shows for ``altChunk``."""

import io
import zipfile

import pytest

from connectors.parsers.auto import AutoParser
from rag.types import Document
from tests.connectors.file_fixtures import make_docx

HTML = """<html><body><h2>Warranty</h2><p>The warranty is three years.</p>
<table><tr><th>Plan</th><th>Price</th></tr><tr><td>Team</td><td>30 euros</td></tr></table>
</body></html>"""
MHT = f"""MIME-Version: 1.0
Content-Type: multipart/related; boundary="b"

--b
Content-Type: text/html; charset="utf-8"
Content-Transfer-Encoding: 8bit

{HTML}
--b--
"""
STRICT = "http://purl.oclc.org/ooxml/officeDocument/relationships"
USUAL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def make_document(name: str, data: bytes, namespace: str = USUAL) -> bytes:
    """Make a Word document with an embedded one between its two paragraphs."""
    chunk = f'<w:altChunk xmlns:r="{namespace}" r:id="x1"/>'
    last = "<w:p><w:r><w:t>The last paragraph.</w:t></w:r></w:p>"
    source = zipfile.ZipFile(
        io.BytesIO(make_docx([("Terms", "The first paragraph.")], extra=chunk + last))
    )
    relationship = (
        f'<Relationship Id="x1" Type="{USUAL}/aFChunk" Target="{name}"/></Relationships>'.encode()
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member in source.namelist():
            content = source.read(member)
            if member == "word/_rels/document.xml.rels":
                content = content.replace(b"</Relationships>", relationship)
            archive.writestr(member, content)
        if data:
            archive.writestr(f"word/{name}", data)
    return buffer.getvalue()


def parse(data: bytes) -> Document:
    (document,) = AutoParser().documents(data, uri="file:///a.docx")
    assert isinstance(document, Document)
    return document


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("chunk.html", HTML.encode()),
        ("chunk.mht", MHT.encode()),
        ("afchunk.mht", MHT.replace("\n", "\r\n").encode()),
        ("chunk.docx", make_docx([("Warranty", "The warranty is three years.")])),
        ("chunk.txt", b"The warranty is three years."),
    ],
)
@pytest.mark.parametrize("namespace", [USUAL, STRICT])
def test_an_embedded_document_is_read_at_its_place(name: str, data: bytes, namespace: str) -> None:
    text = parse(make_document(name, data, namespace)).text
    positions = [text.index(t) for t in ("The first", "three years", "The last paragraph")]
    assert positions == sorted(positions)


@pytest.mark.parametrize(("name", "data"), [("c.html", HTML.encode()), ("c.mht", MHT.encode())])
def test_headings_and_tables_of_embedded_html(name: str, data: bytes) -> None:
    document = parse(make_document(name, data))
    headings = [mark.value for mark in document.marks if mark.kind == "heading"]
    assert any(isinstance(h, tuple) and h[-1] == "Warranty" for h in headings)
    assert "| Team | 30 euros |" in document.text
    assert document.coverage is not None and document.coverage.missing == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("c.rtf", b"{\\rtf1 x}"),
        ("gone.html", b""),
        ("c.docx", b"PK\x03\x04 broken"),
        ("c.html", b" "),
    ],
)
def test_an_embedded_document_that_cannot_be_read_is_named(name: str, data: bytes) -> None:
    document = parse(make_document(name, data))
    assert "The first paragraph." in document.text and "The last paragraph." in document.text
    assert document.coverage is not None
    (omission,) = document.coverage.omissions
    assert (omission.reason, name in omission.name) == ("unreadable", True)
