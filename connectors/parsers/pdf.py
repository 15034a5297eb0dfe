"""PDF: the text of each page in reading order, with a mark for it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from connectors.base import Parser
from connectors.parsers import ocr, pdf_layout
from connectors.parsers.pdf_layout import Line
from connectors.parsers.text import name_of
from connectors.parsers.text_builder import heading_path_marks
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, Mark, flat_metadata, well_formed

_PAGE_BREAK = "\n\n"
PDFIUM = threading.Lock()  # PDFium may be entered by one thread at a time, in a whole process
_FPDF_ERR_PASSWORD = 4
_HYPHEN = "\ufffe"  # what PDFium writes for a hyphen at the end of a line, without the line's end
_MOST_PAGES = 50_000
_MOST_BOOKMARKS = 10_000


class PdfParser(Parser):
    """Text by PDFium, pages one after another with a blank line between them.

    Every page has a mark, with the number a reader sees in a viewer (from 1). With ``clean``,
    columns are put in reading order, words divided at the end of a line are joined, and lines
    that repeat at the top or bottom of pages (headers, footers, page numbers) stay only where
    they stand first. The outline becomes headings.

    The numbers of pages without text (scans, figures) are in the metadata as
    ``pages_without_text``; a document of only such pages fails. With ``ocr`` (by default where
    the extra of that name is installed) their text is recognised, at ``dpi`` dots per inch, and
    their numbers are in ``pages_recognised``.
    """

    name: ClassVar[str] = "pdf"
    revision: ClassVar[int] = 2
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/pdf": (".pdf",)}
    library: ClassVar[str] = "pypdfium2"
    keeps: ClassVar[str] = (
        "pages, columns in reading order, outline as headings, title, author, dates"
    )
    drops: ClassVar[str] = "pictures, repeated headers and footers, form fields, comments"

    clean: bool = True
    ocr: bool = Field(default_factory=ocr.installed)
    dpi: int = Field(200, ge=72, le=600)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document's own or the file name."""
        with PDFIUM:
            read = _read(data, self)
        pages = read.pages
        if self.clean:
            pages = _without_hyphens(pdf_layout.without_repeated(pages))
            for line in (line for page in pages for line in page):
                line.text = _SPACES.sub(" ", line.text)
        texts = ["\n".join(line.text for line in page) for page in pages]
        for number, text in read.recognised.items():
            texts[number - 1] = text
        text, marks = _joined(texts)
        empty = tuple(number for number, page in enumerate(texts, start=1) if not page.strip())
        if len(empty) == len(texts):
            raise NoText(_no_text(len(texts), self.ocr))
        title = read.info.pop("title", "").strip()
        found = {
            **read.info,
            "pages": len(texts),
            "pages_without_text": empty,
            "pages_recognised": tuple(read.recognised),
        }
        return Document(
            uri=uri,
            text=text,
            title=title[:200] if _is_title(title) else name_of(uri),
            mime=mime or "application/pdf",
            metadata=flat_metadata(found),
            marks=(*marks, *_headings(read.outline, text, marks)),
        )


def _no_text(pages: int, tried: bool) -> str:
    said = f"none of the {pages} pages has a text layer (a scan?)"
    if tried:
        return f"{said}, and no text was recognised on them"
    return f"{said}: pip install 'citewell[ocr]' to have them recognised"


@dataclass(slots=True)
class _Bookmark:
    level: int
    title: str
    page: int  # from 1


@dataclass(slots=True)
class _Read:
    pages: list[list[Line]]
    recognised: dict[int, str]
    outline: list[_Bookmark]
    info: dict[str, str]


def _read(data: bytes, settings: PdfParser) -> _Read:
    import pypdfium2 as pdfium

    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == _FPDF_ERR_PASSWORD:
            raise EncryptedDocument("protected by a password: save a copy without one") from None
        raise ParseError("not a PDF, or a damaged one") from None
    try:
        if len(pdf) > _MOST_PAGES:
            raise ParseError(f"{len(pdf):,} pages; at most {_MOST_PAGES:,} are read")
        pages: list[list[Line]] = []
        recognised: dict[int, str] = {}
        for i in range(len(pdf)):
            page = pdf[i]
            try:
                pages.append(_page_lines(page, i + 1, settings.clean))
                if settings.ocr and not any(line.text.strip() for line in pages[-1]):
                    recognised[i + 1] = ocr.text_of(_picture(page, settings.dpi))
            finally:
                page.close()
        found = {number: text for number, text in recognised.items() if text.strip()}
        return _Read(pages, found, list(_outline(pdf)), _information(pdf))
    except pdfium.PdfiumError as error:
        raise ParseError(f"a damaged PDF: {error}") from None
    finally:
        pdf.close()


def _page_lines(page: Any, number: int, clean: bool) -> list[Line]:
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_range()
        lines = pdf_layout.lines_of(well_formed_text(text), textpage, clean=clean)
    except UnicodeDecodeError:
        raise ParseError(f"page {number} has text that is not valid Unicode") from None
    finally:
        textpage.close()
    return lines


def well_formed_text(text: str) -> str:
    """Keep the length: PDFium writes NUL for glyphs that it cannot name."""
    return well_formed(text).replace("\0", "\ufffd")


def _picture(page: Any, dpi: int) -> Any:
    width, height = page.get_size()
    scale = min(dpi / 72, 6_000 / max(width, height, 1))  # a page may be as large as a poster
    return page.render(scale=scale, rev_byteorder=True).to_numpy()


def _outline(pdf: Any) -> Iterator[_Bookmark]:
    for count, entry in enumerate(pdf.get_toc(max_depth=15)):
        if count == _MOST_BOOKMARKS:
            return
        target = entry.get_dest()
        index = target.get_index() if target else None
        title = " ".join(well_formed(entry.get_title()).split())
        if title and index is not None:
            yield _Bookmark(entry.level, title[:200], index + 1)


def _information(pdf: Any) -> dict[str, str]:
    raw = pdf.get_metadata_dict(skip_empty=True)
    names = {
        "Title": "title",
        "Author": "author",
        "Subject": "subject",
        "Keywords": "keywords",
        "CreationDate": "created",
        "ModDate": "modified",
    }
    found = {names[key]: well_formed(value) for key, value in raw.items() if key in names}
    for key in ("created", "modified"):
        date = re.match(r"D:(\d{4})(\d{2})?(\d{2})?", found.pop(key, ""))
        if date:
            found[key] = "-".join(part for part in date.groups() if part)
    return found


def _joined(pages: Sequence[str]) -> tuple[str, list[Mark]]:
    parts: list[str] = []
    marks: list[Mark] = []
    at = 0
    for number, page in enumerate(pages, start=1):
        start, at = at, at + len(page)
        marks.append(Mark(start=start, end=at, kind="page", value=number))
        parts.append(page)
        if number < len(pages):
            parts.append(_PAGE_BREAK)
            at += len(_PAGE_BREAK)
    return "".join(parts), marks


def _headings(outline: Sequence[_Bookmark], text: str, pages: Sequence[Mark]) -> tuple[Mark, ...]:
    """Marks from where the title of each bookmark stands on its page, up to the next one."""
    starts: list[tuple[int, int, str]] = []
    at = 0
    for bookmark in outline:
        if bookmark.page > len(pages):
            continue
        page = pages[bookmark.page - 1]
        words = r"\s+".join(map(re.escape, bookmark.title.split()))
        found = re.compile(words, re.I).search(text, max(at, page.start), page.end)
        start = found.start() if found else max(at, page.start)
        if start >= at:
            starts.append((start, bookmark.level, bookmark.title))
            at = start
    return heading_path_marks(starts, len(text))


_SPACES = re.compile("[ \xa0]+")
_DIVIDED = re.compile(rf"([^\W\d_]+){_HYPHEN}([^\W\d_]+)")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def _without_hyphens(pages: list[list[Line]]) -> list[list[Line]]:
    """Join words that were divided at the end of a line, by what else the document says.

    A hyphen stays where the word is written with it elsewhere, or where its parts are words and
    the whole is not.
    """
    if not any(_HYPHEN in line.text for page in pages for line in page):
        return pages
    words: Counter[str] = Counter(
        word.lower() for page in pages for line in page for word in _WORD.findall(line.text)
    )

    def whole(found: re.Match[str]) -> str:
        a, b = found.groups()
        hyphened, joined = f"{a}-{b}".lower(), f"{a}{b}".lower()
        if words[joined] and words[joined] >= words[hyphened]:
            return a + b
        if words[hyphened] or not b[:1].islower() or (words[a.lower()] and words[b.lower()] > 1):
            return f"{a}-{b}"
        return a + b

    for page in pages:
        for line in page:
            if _HYPHEN in line.text:
                line.text = _DIVIDED.sub(whole, line.text).replace(_HYPHEN, "-")
    return pages


def _is_title(title: str) -> bool:
    """Whether a PDF's title field says something; often it is the writing program's file name."""
    return bool(re.search(r"[^\W\d]{2}", title)) and not re.fullmatch(
        r"(?i)untitled.*|microsoft word - .*|.*\.(docx?|indd|qxd|tex|pdf|xlsx?|pptx?)", title
    )
