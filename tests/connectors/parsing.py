"""Parsing in tests: a parser without text recognition, and what it makes of some bytes."""

from __future__ import annotations

from connectors.base import FailedPart
from connectors.parsers.auto import AutoParser
from connectors.parsers.pdf import PdfParser
from connectors.parsers.picture import PictureParser
from rag import Document

PARSER = AutoParser(pdf=PdfParser(ocr=False), picture=PictureParser(recognise=False))


def parse(data: bytes | str, name: str = "file.txt") -> Document:
    raw = data.encode() if isinstance(data, str) else data
    return PARSER.parse(raw, uri=f"file:///folder/{name}")


def parse_parts(
    data: bytes, name: str, parser: AutoParser = PARSER
) -> dict[str, Document | FailedPart]:
    """Parse a file and all files in it; the keys are uris relative to that of the file."""
    uri = f"file:///folder/{name}"
    return {part.uri.removeprefix(uri): part for part in parser.documents(data, uri=uri)}


def list_marked_texts(document: Document, kind: str) -> list[tuple[object, str]]:
    return [
        (mark.value, document.text[mark.start : mark.end].strip())
        for mark in document.marks
        if mark.kind == kind
    ]
