"""Office files that were saved as "Strict Open XML" are read as the usual ones."""

import datetime
import io
import re
import zipfile

import pytest

from connectors.parsers.auto import AutoParser
from rag.errors import ParseError
from rag.types import Document
from tests.connectors.file_fixtures import make_docx, make_pptx, make_xlsx

USUAL = rb"http://schemas.openxmlformats.org/(presentationml|drawingml|\w+ml|officeDocument)/2006/"


def to_strict(data: bytes) -> bytes:
    source, buffer = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith((".xml", ".rels")):
                content = re.sub(USUAL, rb"http://purl.oclc.org/ooxml/\1/", content)
            archive.writestr(name, content)
    return buffer.getvalue()


def parse(data: bytes, name: str) -> Document:
    (document,) = AutoParser().documents(data, uri=f"file:///{name}")
    assert isinstance(document, Document)
    return document


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.docx", make_docx([("Plan", "The plan costs 40 euros.")])),
        ("a.pptx", make_pptx([("Plan", "The plan costs 40 euros.")], notes="Say it slowly.")),
        ("a.xlsx", make_xlsx({"Plan": [["Item", "Cost"], ["Lamp", 84]], "No": [["x"]]}, ["No"])),
        ("a.xlsx", make_xlsx({"Plan": [["Day"], [datetime.date(2024, 5, 1)]]})),
    ],
)
def test_a_strict_file_has_the_text_of_the_usual_one(name: str, data: bytes) -> None:
    strict = to_strict(data)
    assert strict != data and b"oclc" in b"".join(
        zipfile.ZipFile(io.BytesIO(strict)).read(n)
        for n in zipfile.ZipFile(io.BytesIO(strict)).namelist()
    )
    document, usual = parse(strict, name), parse(data, name)
    assert document.text == usual.text and document.text.strip()
    assert document.marks == usual.marks


@pytest.mark.parametrize("name", ["a.pptx", "a.xlsx"])
def test_a_damaged_strict_file_is_a_parse_error(name: str) -> None:
    data = to_strict(make_pptx([("Plan", "Text.")]))
    with pytest.raises(ParseError):
        parse(data[: len(data) // 2], name)
