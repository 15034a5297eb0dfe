"""PDF: the text of each page in reading order, with a mark for each page."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from connectors.base import Parser
from connectors.parsers import ocr
from connectors.parsers.pdf_columns import order_lines
from connectors.parsers.pdf_headers import drop_repeated_lines
from connectors.parsers.pdf_hyphens import join_divided_words
from connectors.parsers.pdf_layout import Line, extract_lines, make_boxes
from connectors.parsers.pdf_tables import insert_tables
from connectors.parsers.text_builder import build_heading_marks
from connectors.parsers.titles import choose_title
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, Mark, Table, flatten_metadata, to_well_formed
from rag.types.source_location import MarkKind

_PAGE_BREAK = "\n\n"
PDFIUM_LOCK = threading.Lock()  # PDFium allows one thread at a time in a process
_FPDF_ERR_PASSWORD = 4
_MAX_PAGES = 50_000
_MAX_BOOKMARKS = 10_000


class PdfParser(Parser):
    """The text of the pages, extracted by PDFium, with a blank line between pages.

    Each page has a mark with the number that a viewer shows (from 1). With ``clean``, columns are
    put in reading order, tables are written as Markdown with the names of their columns, words
    divided at the end of a line are joined, and lines that repeat at
    the top or bottom of pages (headers, footers, page numbers) are kept only where they first
    occur. The outline becomes headings.

    The metadata field ``pages_without_text`` lists the pages without text (scans, figures); a
    document with only such pages fails. With ``ocr`` (default: whether the extra ``ocr`` is
    installed) their text is recognised at ``dpi`` dots per inch; ``pages_recognised`` lists them.
    """

    name: ClassVar[str] = "pdf"
    revision: ClassVar[int] = 3
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/pdf": (".pdf",)}
    library: ClassVar[str] = "pypdfium2"
    keeps: ClassVar[str] = (
        "pages, columns in reading order, tables, outline as headings, title, author, dates"
    )
    drops: ClassVar[str] = "pictures, repeated headers and footers, form fields, comments"

    clean: bool = True
    ocr: bool = Field(default_factory=ocr.is_installed)
    dpi: int = Field(200, ge=72, le=600)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document title or the file name."""
        with PDFIUM_LOCK:
            content = _read_pdf(data, self)
        pages = content.pages
        if self.clean:
            pages = join_divided_words(drop_repeated_lines(pages))
            for line in (line for page in pages for line in page):
                if not line.marks and ("  " in line.text or "\xa0" in line.text):
                    line.text = _SPACES.sub(" ", line.text)
        texts = ["\n".join(line.text for line in page) for page in pages]
        for number, text in content.recognised.items():
            texts[number - 1] = text
        text, marks = _join_pages(texts)
        table_marks = _move_table_marks(pages, marks)
        empty_pages = tuple(
            number for number, page in enumerate(texts, start=1) if not page.strip()
        )
        if len(empty_pages) == len(texts):
            raise NoText(_describe_missing_text(len(texts), self.ocr))
        title = content.info.pop("title", "")
        metadata = {
            **content.info,
            "pages": len(texts),
            "pages_without_text": empty_pages,
            "pages_recognised": tuple(content.recognised),
        }
        return Document(
            uri=uri,
            text=text,
            title=choose_title(title, heading=_find_title_bookmark(content.outline), uri=uri),
            mime=mime or "application/pdf",
            metadata=flatten_metadata(metadata),
            marks=(*marks, *table_marks, *_mark_headings(content.outline, text, marks)),
        )


def _describe_missing_text(pages: int, recognised: bool) -> str:
    problem = f"none of the {pages} pages has a text layer (a scan?)"
    if recognised:
        return f"{problem}, and no text was recognised on them"
    return f"{problem}: pip install 'citewell[ocr]' to have them recognised"


@dataclass(slots=True)
class _Bookmark:
    level: int
    title: str
    page: int  # from 1


@dataclass(slots=True)
class _PdfContent:
    pages: list[list[Line]]
    recognised: dict[int, str]
    outline: list[_Bookmark]
    info: dict[str, str]


def _read_pdf(data: bytes, settings: PdfParser) -> _PdfContent:
    import pypdfium2 as pdfium

    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == _FPDF_ERR_PASSWORD:
            raise EncryptedDocument("protected by a password: save a copy without one") from None
        raise ParseError("not a PDF, or a damaged one") from None
    try:
        if len(pdf) > _MAX_PAGES:
            raise ParseError(f"{len(pdf):,} pages; at most {_MAX_PAGES:,} are read")
        pages: list[list[Line]] = []
        recognised: dict[int, str] = {}
        for i in range(len(pdf)):
            page = pdf[i]
            try:
                pages.append(_read_page_lines(page, i + 1, settings.clean))
                if settings.ocr and not any(line.text.strip() for line in pages[-1]):
                    recognised[i + 1] = ocr.recognise_text(_render_page(page, settings.dpi))
            finally:
                page.close()
        recognised_texts = {number: text for number, text in recognised.items() if text.strip()}
        return _PdfContent(
            pages, recognised_texts, list(_read_outline(pdf)), _read_information(pdf)
        )
    except pdfium.PdfiumError as error:
        raise ParseError(f"a damaged PDF: {error}") from None
    finally:
        pdf.close()


def _read_page_lines(page: Any, number: int, clean: bool) -> list[Line]:
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_range()
        boxes = make_boxes(textpage) if clean else None
        lines = extract_lines(replace_invalid_characters(text), textpage, boxes)
        if boxes is not None:
            lines = insert_tables(order_lines(lines, boxes), boxes)
    except UnicodeDecodeError:
        raise ParseError(f"page {number} has text that is not valid Unicode") from None
    finally:
        textpage.close()
    return lines


def replace_invalid_characters(text: str) -> str:
    """Replace lone surrogates and NUL by U+FFFD, which keeps the length.

    PDFium writes NUL for glyphs without a Unicode character.
    """
    return to_well_formed(text).replace("\0", "\ufffd")


def _render_page(page: Any, dpi: int) -> Any:
    width, height = page.get_size()
    scale = min(dpi / 72, 6_000 / max(width, height, 1))  # a page may be a poster
    return page.render(scale=scale, rev_byteorder=True).to_numpy()


def _read_outline(pdf: Any) -> Iterator[_Bookmark]:
    for count, entry in enumerate(pdf.get_toc(max_depth=15)):
        if count == _MAX_BOOKMARKS:
            return
        target = entry.get_dest()
        index = target.get_index() if target else None
        title = " ".join(to_well_formed(entry.get_title()).split())
        if title and index is not None:
            yield _Bookmark(entry.level, title[:200], index + 1)


def _read_information(pdf: Any) -> dict[str, str]:
    raw_metadata = pdf.get_metadata_dict(skip_empty=True)
    names = {
        "Title": "title",
        "Author": "author",
        "Subject": "subject",
        "Keywords": "keywords",
        "CreationDate": "created",
        "ModDate": "modified",
    }
    information = {
        names[key]: to_well_formed(value) for key, value in raw_metadata.items() if key in names
    }
    for key in ("created", "modified"):
        date = re.match(r"D:(\d{4})(\d{2})?(\d{2})?", information.pop(key, ""))
        if date:
            information[key] = "-".join(part for part in date.groups() if part)
    return information


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


def _mark_headings(
    outline: Sequence[_Bookmark], text: str, pages: Sequence[Mark]
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


_SPACES = re.compile("[ \xa0]+")

def _find_title_bookmark(outline: Sequence[_Bookmark]) -> str:
    """Return the first bookmark, if no other is on its level or above it; "" otherwise."""
    levels = [bookmark.level for bookmark in outline]
    is_alone = len(levels) > 1 and levels[0] == min(levels) and levels.count(levels[0]) == 1
    return outline[0].title if is_alone else ""
