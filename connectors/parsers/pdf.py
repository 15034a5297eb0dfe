"""PDF: the text of each page, with a mark for it."""

from __future__ import annotations

import re
import threading
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.text import name_of
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, Mark, flat_metadata, well_formed

_PAGE_BREAK = "\n\n"
_PDFIUM = threading.Lock()  # PDFium may be entered by one thread at a time, in a whole process
_FPDF_ERR_PASSWORD = 4


class PdfParser(Parser):
    """Text by PDFium, pages one after another with a blank line between them.

    Every page has a mark, with the number a reader sees in a viewer (from 1). The numbers of
    pages without text (scans, figures) are in the metadata as ``pages_without_text``; a document
    of only such pages fails.
    """

    name: ClassVar[str] = "pdf"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document's own or the file name."""
        with _PDFIUM:
            pages, info = _read(data)
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
        empty = tuple(number for number, page in enumerate(pages, start=1) if not page.strip())
        if len(empty) == len(pages):
            raise NoText(f"none of the {len(pages)} pages has a text layer (a scan?)")
        title = info.pop("title", "").strip()
        return Document(
            uri=uri,
            text="".join(parts),
            title=title[:200] if _is_title(title) else name_of(uri),
            mime=mime or "application/pdf",
            metadata=flat_metadata({**info, "pages": len(pages), "pages_without_text": empty}),
            marks=tuple(marks),
        )


def _read(data: bytes) -> tuple[list[str], dict[str, str]]:
    import pypdfium2 as pdfium

    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == _FPDF_ERR_PASSWORD:
            raise EncryptedDocument("protected by a password: save a copy without one") from None
        raise ParseError("not a PDF, or a damaged one") from None
    try:
        pages = [_page_text(pdf[i], i + 1) for i in range(len(pdf))]
        return pages, _information(pdf.get_metadata_dict(skip_empty=True))
    except pdfium.PdfiumError as error:
        raise ParseError(f"a damaged PDF: {error}") from None
    finally:
        pdf.close()


def _page_text(page: Any, number: int) -> str:
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_range()
    except UnicodeDecodeError:
        raise ParseError(f"page {number} has text that is not valid Unicode") from None
    finally:
        textpage.close()
        page.close()
    # PDFium writes U+FFFE for a hyphen at the end of a line, and NUL for glyphs it cannot name.
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "-")
    return well_formed(text.replace("\0", "\ufffd"))


def _information(raw: dict[str, str]) -> dict[str, str]:
    names = {"Title": "title", "Author": "author", "Subject": "subject", "CreationDate": "created"}
    found = {names[key]: well_formed(value) for key, value in raw.items() if key in names}
    if "created" in found:
        date = re.match(r"D:(\d{4})(\d{2})?(\d{2})?", found.pop("created"))
        if date:
            found["created"] = "-".join(part for part in date.groups() if part)
    return found


def _is_title(title: str) -> bool:
    """Whether a PDF's title field says something; often it is the writing program's file name."""
    return bool(re.search(r"[^\W\d]{2}", title)) and not re.fullmatch(
        r"(?i)untitled.*|microsoft word - .*|.*\.(docx?|indd|qxd|tex|pdf|xlsx?|pptx?)", title
    )
