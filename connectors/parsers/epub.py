"""EPUB: the chapters of a book in reading order, as Markdown."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

from connectors.base import Parser
from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.markdown import find_structure_marks
from connectors.parsers.safe_zip import ZippedFile, local_name, parse_xml, read_properties
from connectors.parsers.text_builder import TextBuilder
from connectors.parsers.titles import choose_title, find_title_heading
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document

_EPUB = "application/epub+zip"


class EpubParser(Parser):
    """Books as Markdown, with the chapters in the order that the book lists them."""

    name: ClassVar[str] = "epub"
    revision: ClassVar[int] = 7
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {_EPUB: (".epub",)}
    library: ClassVar[str] = "lxml, markdownify"
    keeps: ClassVar[str] = "chapters in order, headings, lists, tables, title, author, language"
    drops: ClassVar[str] = "images, page numbers of the printed book"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is that of the book, or the file name."""
        book = ZippedFile(data, "book")
        if "META-INF/rights.xml" in book.names:
            raise EncryptedDocument("protected by digital rights management")
        package_name = _find_package(book)
        package_data = book.read(package_name)
        package = parse_xml(package_data, "book")
        builder = TextBuilder()
        for name in _list_chapters(package, posixpath.dirname(package_name)):
            if name in book.names:
                builder.write_paragraph(to_markdown(book.read(name)))
        text = builder.text
        if not text.strip():
            raise NoText("the book contains no text")
        metadata = read_properties(package_data)
        marks = find_structure_marks(text)
        heading = find_title_heading(text, marks)
        return Document(
            uri=uri,
            text=text,
            title=choose_title(metadata.pop("title", ""), heading=heading, uri=uri),
            mime=mime or _EPUB,
            metadata=metadata,
            marks=marks,
        )


def _find_package(book: ZippedFile) -> str:
    container = parse_xml(book.read("META-INF/container.xml"), "book")
    for element in container.iter():
        if local_name(element) == "rootfile" and element.get("full-path"):
            return str(element.get("full-path"))
    raise ParseError("a damaged book: META-INF/container.xml names no package file")


def _list_chapters(package: Any, folder: str) -> list[str]:
    """Return the file names of the chapters, in reading order."""
    items = {e.get("id"): e for e in package.iter() if local_name(e) == "item"}
    order = [e.get("idref") for e in package.iter() if local_name(e) == "itemref"]
    chapters = [items[name].get("href") for name in order if name in items]
    return [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in chapters if href]
