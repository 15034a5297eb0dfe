"""PDF: the text of each page in reading order, with a mark for each page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from connectors.base import Parser
from connectors.parsers import ocr
from connectors.parsers.omissions import OmissionLog, list_words
from connectors.parsers.pdf_fonts import clean_characters
from connectors.parsers.pdf_footnotes import move_footnotes
from connectors.parsers.pdf_headers import drop_repeated_lines
from connectors.parsers.pdf_headings import (
    Heading,
    find_headings,
    find_title_line,
    measure_body_size,
)
from connectors.parsers.pdf_hyphens import join_divided_words
from connectors.parsers.pdf_layout import Line
from connectors.parsers.pdf_reader import PDFIUM_LOCK, Bookmark, PdfContent, read_pdf
from connectors.parsers.pdf_rules import inherit_columns
from connectors.parsers.pdf_torn_words import join_torn_words
from connectors.parsers.text_builder import build_heading_marks
from connectors.parsers.titles import choose_title
from rag.errors import NoText
from rag.types import Document, Mark, Table, flatten_metadata
from rag.types.source_location import MarkKind

_PAGE_BREAK = "\n\n"


class PdfParser(Parser):
    """The text of the pages, extracted by PDFium, with a blank line between pages.

    Each page has a mark with the number that a viewer shows (from 1). With ``clean``, columns are
    put in reading order, tables are written as Markdown with the names of their columns, words
    divided at the end of a line are joined, footnotes are moved out of the sentence that they
    interrupt, and lines that repeat at the top or bottom of pages (headers, footers, page numbers)
    are kept only where they first occur. The outline becomes headings; without one, lines in larger
    type and bold lines with the number of a section do.

    Values of form fields follow their labels (``[x]`` for a box that is checked), text boxes are
    text, and notes become ``[Comment by AUTHOR: ...]``.

    The metadata field ``pages_without_text`` lists the pages without text (scans, figures); a
    document with only such pages fails. ``pages_unreadable`` lists the pages of which more than a
    fifth cannot be read, because their fonts have no Unicode map: what cannot be read is left out.
    With ``ocr`` (default: whether the extra ``ocr`` is installed) the text of both is recognised at
    ``dpi`` dots per inch; ``pages_recognised`` lists these pages.
    """

    name: ClassVar[str] = "pdf"
    revision: ClassVar[int] = 9
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/pdf": (".pdf",)}
    library: ClassVar[str] = "pypdfium2"
    keeps: ClassVar[str] = (
        "pages, columns in reading order, tables, headings (from the outline, or "
        "recognised by their font), form values, text boxes, comments, title, author, dates"
    )
    drops: ClassVar[str] = "pictures, repeated headers and footers, hidden annotations"

    clean: bool = True
    ocr: bool = Field(default_factory=ocr.is_installed)
    dpi: int = Field(200, ge=72, le=600)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document title or the file name."""
        log = OmissionLog()
        with PDFIUM_LOCK:
            content = read_pdf(data, log, clean=self.clean, dpi=self.dpi if self.ocr else None)
        pages = content.pages
        headings: list[Heading] = []
        title_line = ""
        if self.clean:
            pages, headings, title_line = _clean_pages(pages, log)
        pages = [_trim_blank_lines(page) for page in pages]
        texts = ["\n".join(line.text for line in page) for page in pages]
        for number, text in content.recognised.items():
            texts[number - 1] = text
        text, marks = _join_pages(texts)
        table_marks = _move_table_marks(pages, marks)
        empty_pages = tuple(
            number for number, page in enumerate(texts, start=1) if not page.strip()
        )
        if len(empty_pages) == len(texts):
            raise NoText(_describe_missing_text(content, self.ocr))
        heading_marks = (
            _mark_bookmarks(content.outline, text, marks)
            if content.outline
            else _mark_heading_lines(headings, pages, marks, len(text))
        )
        title = content.info.pop("title", "")
        metadata = {
            **content.info,
            "pages": len(texts),
            "pages_without_text": empty_pages,
            "pages_recognised": tuple(content.recognised),
            "pages_unreadable": tuple(content.unreadable),
            **log.metadata,
        }
        return Document(
            uri=uri,
            text=text,
            title=choose_title(
                title,
                heading=_find_title_bookmark(content.outline) or title_line,
                uri=uri,
            ),
            mime=mime or "application/pdf",
            metadata=flatten_metadata(metadata),
            marks=(*marks, *table_marks, *heading_marks),
            coverage=log.measure(text, _join_source_words(content.source_texts, text)),
        )


def _describe_missing_text(content: PdfContent, recognised: bool) -> str:
    count = len(content.pages)
    problem = f"none of the {count} pages has a text layer (a scan?)"
    if content.unreadable:
        problem = f"the text of the {count} pages cannot be read: their fonts have no Unicode map"
    if recognised:
        return f"{problem}, and no text was recognised on them"
    return f"{problem}: pip install 'citewell[ocr]' to have them recognised"


def _clean_pages(
    pages: list[list[Line]], log: OmissionLog
) -> tuple[list[list[Line]], list[Heading], str]:
    """Drop what repeats on the pages, move footnotes, join divided words.

    Return the pages, the headings and the title, as far as the size of the type shows them.
    """
    pages = drop_repeated_lines(pages, log)
    inherit_columns(pages)
    join_torn_words(pages)
    body_size = measure_body_size(pages)
    headings = find_headings(pages, body_size)
    title = clean_characters(find_title_line(pages, body_size))
    pages = join_divided_words(move_footnotes(pages, body_size))
    for page in pages:
        for line in page:
            if line.marks:
                continue
            if not line.text.isascii():
                line.text = clean_characters(line.text)
            if "  " in line.text or "\xa0" in line.text:
                line.text = _SPACES.sub(" ", line.text)
    return pages, headings, title


def _trim_blank_lines(page: list[Line]) -> list[Line]:
    """Return the lines without blank ones at the beginning and the end of the page."""
    texts = [index for index, line in enumerate(page) if line.text.strip()]
    return page[texts[0] : texts[-1] + 1] if texts else []


def _join_source_words(texts: Iterable[str], text: str) -> Iterator[str]:
    """Yield the texts of the pages with divided words as they are in the `text` of the document."""
    words: set[str] = set()

    def join_parts(match: re.Match[str]) -> str:
        page = match.string
        first = _LAST_WORD.search(page[max(0, match.start() - 50) : match.start()])
        second = _FIRST_WORD.match(page[match.end() : match.end() + 50])
        if not first or not second:
            return "-\n"
        return "" if (first[0] + second[0]).casefold() in words else "-"

    for page in texts:
        if _LINE_END_HYPHEN.search(page):
            words = words or set(list_words("\n".join(set(text.split()))))
            page = _LINE_END_HYPHEN.sub(join_parts, page)
        yield clean_characters(page).replace("\u00ad", "")


def _join_pages(pages: Sequence[str]) -> tuple[str, list[Mark]]:
    parts: list[str] = []
    marks: list[Mark] = []
    offset = 0
    for number, page in enumerate(pages, start=1):
        start, offset = offset, offset + len(page)
        marks.append(Mark(start=start, end=offset, kind="page", value=number))
        parts.append(page)
        if number < len(pages):
            parts.append(_PAGE_BREAK)
            offset += len(_PAGE_BREAK)
    return "".join(parts), marks


def _move_table_marks(pages: Sequence[Sequence[Line]], page_marks: Sequence[Mark]) -> list[Mark]:
    """Return the marks of the tables and their rows, with offsets in the document."""
    marks: list[Mark] = []
    for page, page_mark in zip(pages, page_marks, strict=True):
        offset = page_mark.start
        for line in page:
            for start, end, value in line.marks:
                kind: MarkKind = "table" if isinstance(value, Table) else "row"
                marks.append(Mark(start=start + offset, end=end + offset, kind=kind, value=value))
            offset += len(line.text) + 1
    return marks


def _mark_heading_lines(
    headings: Sequence[Heading],
    pages: Sequence[Sequence[Line]],
    page_marks: Sequence[Mark],
    end: int,
) -> tuple[Mark, ...]:
    """Return heading marks from each heading to the next one."""
    offsets: dict[int, int] = {}
    for page, mark in zip(pages, page_marks, strict=True):
        offset = mark.start
        for line in page:
            offsets[id(line)] = offset
            offset += len(line.text) + 1
    starts = [
        (offsets[id(heading.line)], heading.level, clean_characters(heading.title)[:200])
        for heading in headings
        if id(heading.line) in offsets
    ]
    return build_heading_marks(starts, end)


def _mark_bookmarks(
    outline: Sequence[Bookmark], text: str, pages: Sequence[Mark]
) -> tuple[Mark, ...]:
    """Return heading marks from the title of each bookmark on its page to the next bookmark."""
    starts: list[tuple[int, int, str]] = []
    offset = 0
    for bookmark in outline:
        if bookmark.page > len(pages):
            continue
        page = pages[bookmark.page - 1]
        words = r"\s+".join(map(re.escape, bookmark.title.split()))
        match = re.compile(words, re.I).search(text, max(offset, page.start), page.end)
        start = match.start() if match else max(offset, page.start)
        if start >= offset:
            starts.append((start, bookmark.level, bookmark.title))
            offset = start
    return build_heading_marks(starts, len(text))


_LINE_END_HYPHEN = re.compile("\ufffe|[-\u00ad\u2010]\r?\n")
_LAST_WORD = re.compile(r"(?<!\w)\w++$")
_FIRST_WORD = re.compile(r"\w+")
_SPACES = re.compile("[ \xa0]+")


def _find_title_bookmark(outline: Sequence[Bookmark]) -> str:
    """Return the first bookmark, if no other is on its level or above it; "" otherwise."""
    levels = [bookmark.level for bookmark in outline]
    is_alone = len(levels) > 1 and levels[0] == min(levels) and levels.count(levels[0]) == 1
    return outline[0].title if is_alone else ""
