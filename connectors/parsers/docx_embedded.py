"""Documents inside a Word document (``altChunk``): HTML, MHT, Word and plain text.

Exporters write them, often the whole document as one. Word converts them when it opens the file.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.office_parts import WORD, Relationship, parse_part
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.safe_zip import ZippedFile
from connectors.parsers.text import decode
from rag.errors import ParseError
from rag.types import is_table_rule, split_cells

_DESCRIPTION = "Word document"
_RELATIONSHIP_ID = re.compile(r"\{[^}]*/relationships\}id")
_HEADING = re.compile(r"(#{1,6}) +(.+)")
_HTML = frozenset({".htm", ".html", ".xhtml"})
_MHT = frozenset({".mht", ".mhtml", ".eml"})
_WORD = frozenset({".docx", ".docm", ".dotx"})
_TEXT = frozenset({".txt", ".text"})


def insert_embedded_documents(
    body: Any, archive: ZippedFile, relationships: Mapping[str, Relationship], log: OmissionLog
) -> None:
    """Replace each ``altChunk`` by paragraphs and tables. What cannot be read is logged."""
    for element in list(body.iter(f"{WORD}altChunk")):
        identifiers = [v for name, v in element.attrib.items() if _RELATIONSHIP_ID.fullmatch(name)]
        relationship = relationships.get(identifiers[0]) if identifiers else None
        name = relationship.target if relationship is not None else "an unknown file"
        try:
            blocks = list(_read_document(archive, name))
        except ParseError:
            blocks = []
        if not blocks:
            log.add("unreadable", f"embedded document {name}")
        parent = element.getparent()
        position = parent.index(element)
        parent[position : position + 1] = blocks


def _read_document(archive: ZippedFile, name: str) -> Iterator[Any]:
    """Yield the blocks of an embedded document. Raises `ParseError`; none for other formats."""
    data = archive.read(name)
    suffix = PurePosixPath(name).suffix.lower()
    if data.startswith(b"PK\x03\x04") or suffix in _WORD:
        yield from _read_word_document(data)
    elif suffix in _MHT or data[:200].lstrip().lower().startswith(b"mime-version:"):
        yield from _make_blocks(to_markdown(_find_html(data)))
    elif suffix in _HTML:
        yield from _make_blocks(to_markdown(data))
    elif suffix in _TEXT:
        yield from _make_blocks(decode(data))


def _read_word_document(data: bytes) -> Iterator[Any]:
    """Yield the paragraphs and tables of a Word document; it has no embedded ones of its own."""
    root = parse_part(ZippedFile(data, _DESCRIPTION), "word/document.xml", _DESCRIPTION)
    body = root.find(f"{WORD}body") if root is not None else None
    for block in list(body) if body is not None else ():
        if block.tag in (f"{WORD}p", f"{WORD}tbl"):
            yield block


def _find_html(data: bytes) -> bytes:
    message = email.message_from_bytes(data, policy=email.policy.default)
    for part in message.walk():
        if part.get_content_type() in ("text/html", "application/xhtml+xml"):
            payload = part.get_payload(decode=True)
            return payload if isinstance(payload, bytes) else b""
    return b""


def _make_blocks(markdown: str) -> Iterator[Any]:
    """Yield a paragraph for each line, and a table for each table."""
    rows: list[list[str]] = []
    for line in markdown.split("\n"):
        if line.startswith("|"):
            if not is_table_rule(line):
                rows.append([line[start:end] for start, end in split_cells(line)])
            continue
        if rows:
            yield _make_table(rows)
            rows = []
        if line.strip():
            yield _make_paragraph(line)
    if rows:
        yield _make_table(rows)


def _make_table(rows: Sequence[Sequence[str]]) -> Any:
    from lxml import etree

    table = etree.Element(f"{WORD}tbl")
    for row in rows:
        row_element = etree.SubElement(table, f"{WORD}tr")
        for cell in row:
            etree.SubElement(row_element, f"{WORD}tc").append(_make_paragraph(cell))
    return table


def _make_paragraph(line: str) -> Any:
    from lxml import etree

    paragraph = etree.Element(f"{WORD}p")
    if heading := _HEADING.fullmatch(line):
        line = heading[2]
        properties = etree.SubElement(paragraph, f"{WORD}pPr")
        level = etree.SubElement(properties, f"{WORD}outlineLvl")
        level.set(f"{WORD}val", str(len(heading[1]) - 1))
    text = etree.SubElement(etree.SubElement(paragraph, f"{WORD}r"), f"{WORD}t")
    text.text = line
    return paragraph
