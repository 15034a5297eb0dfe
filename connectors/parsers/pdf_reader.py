"""Reading the pages, the outline and the information of a PDF through PDFium."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from connectors.parsers import ocr
from connectors.parsers.default_properties import remove_default_properties
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.pdf_annotations import insert_annotations, read_annotations
from connectors.parsers.pdf_columns import join_split_lines, order_lines
from connectors.parsers.pdf_fonts import (
    MAX_UNREADABLE_SHARE,
    ReadableText,
    align_with_boxes,
    drop_unreadable_lines,
    replace_unreadable,
)
from connectors.parsers.pdf_headings import measure_type
from connectors.parsers.pdf_layout import LINE_END_HYPHEN, Line, extract_lines, make_boxes
from connectors.parsers.pdf_rules import insert_ruled_tables
from connectors.parsers.pdf_scattered_text import join_scattered_characters
from connectors.parsers.pdf_superscripts import write_superscripts
from connectors.parsers.pdf_tables import insert_tables
from connectors.parsers.pdf_wrapped_tables import insert_wrapped_tables
from rag.errors import EncryptedDocument, ParseError
from rag.types import to_well_formed

PDFIUM_LOCK = threading.Lock()  # PDFium allows one thread at a time in a process
_FPDF_ERR_PASSWORD = 4
_HYPHEN_UNIT = 2  # for a hyphen at the end of a line
_MAX_PAGES = 50_000
_MAX_BOOKMARKS = 10_000
_MIN_READABLE_CHARACTERS = 200  # of a page with unreadable text that is used without them


@dataclass(slots=True)
class Bookmark:
    """An entry of the outline; pages count from 1."""

    level: int
    title: str
    page: int


@dataclass(slots=True)
class PdfContent:
    """What is read from a PDF: lines and source text by page, recognised text by page number."""

    pages: list[list[Line]] = field(default_factory=list)
    source_texts: list[str] = field(default_factory=list)
    recognised: dict[int, str] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)
    outline: list[Bookmark] = field(default_factory=list)
    info: dict[str, str] = field(default_factory=dict)


def read_pdf(data: bytes, log: OmissionLog, *, clean: bool, dpi: int | None) -> PdfContent:
    """Read a PDF; what is left out is recorded in `log`.

    With `dpi`, the text of pages without readable text is recognised. The caller holds
    `PDFIUM_LOCK`. Raises `EncryptedDocument` and `ParseError`.
    """
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
        form = _load_form(pdf)
        content = PdfContent()
        for i in range(len(pdf)):
            page = pdf[i]
            try:
                _read_page(page, content, form, log, clean=clean, dpi=dpi)
            finally:
                page.close()
        content.outline = list(_read_outline(pdf))
        content.info = _read_information(pdf)
        return content
    except pdfium.PdfiumError as error:
        raise ParseError(f"a damaged PDF: {error}") from None
    finally:
        pdf.close()


def _load_form(pdf: Any) -> Any:
    """Return PDFium's form handle; None if the document has no form."""
    import pypdfium2.raw as pdfium

    if pdf.get_formtype() == pdfium.FORMTYPE_NONE:
        return None
    pdf.init_forms()
    return pdf.formenv.raw if pdf.formenv else None


def _read_page(
    page: Any, content: PdfContent, form: Any, log: OmissionLog, *, clean: bool, dpi: int | None
) -> None:
    """Add the lines of a page to the content, or its recognised text."""
    number = len(content.pages) + 1
    lines, readable, source_text = _read_lines(page, number, clean, form, log)
    if readable.share > MAX_UNREADABLE_SHARE:
        content.unreadable.append(number)
    is_readable = readable.share <= MAX_UNREADABLE_SHARE and any(
        line.text.strip() for line in lines
    )
    recognised = ""
    if dpi and not is_readable:
        recognised = ocr.recognise_text(_render_page(page, dpi)).strip()
    if recognised:
        content.recognised[number] = recognised
    if readable.unreadable:
        log.add("unreadable", f"page {number}", source_text if recognised else readable.unreadable)
    content.pages.append([] if recognised else lines)
    content.source_texts.append(source_text)


def _read_lines(
    page: Any, number: int, clean: bool, form: Any, log: OmissionLog
) -> tuple[list[Line], ReadableText, str]:
    """Return the lines of a page, its text, and the text of all its parts."""
    textpage = page.get_textpage()
    try:
        text = _read_text(textpage)
        boxes = make_boxes(textpage) if clean else None
        readable = replace_unreadable(text, textpage)
        is_scattered = False
        if boxes is not None and len(text) == boxes.count:
            joined, text_boxes = join_scattered_characters(readable.text, textpage, boxes)
            is_scattered, boxes = text_boxes is not boxes, text_boxes
            readable = readable._replace(text=write_superscripts(joined, boxes))
        lines = extract_lines(readable.text, boxes)
        if readable.share > MAX_UNREADABLE_SHARE:
            lines = drop_unreadable_lines(lines)
            if sum(len(line.text) for line in lines) < _MIN_READABLE_CHARACTERS:
                lines = []
        if boxes is not None:
            lines = insert_ruled_tables(lines, page, boxes)
            lines = insert_wrapped_tables(lines, boxes)
            lines = insert_tables(order_lines(lines, boxes), boxes)
            if not is_scattered:
                measure_type(lines, textpage, boxes)
        annotations = read_annotations(page, form, boxes, log)
        if annotations:
            lines = insert_annotations(lines, annotations, boxes)
            text += "".join(f"\n{annotation.text}" for annotation in annotations)
        if boxes is not None:
            lines = join_split_lines(lines)
    except UnicodeDecodeError:
        raise ParseError(f"page {number} has text that is not valid Unicode") from None
    finally:
        textpage.close()
    return lines, readable, text


def _read_text(textpage: Any) -> str:
    """Return the text of a page with one character for each that PDFium counts.

    `get_text_range` leaves out control characters, which fonts without a Unicode map have.
    """
    import pypdfium2.raw as pdfium

    text = align_with_boxes(to_well_formed(textpage.get_text_range()))
    count = textpage.count_chars()
    if len(text) == count:
        return text
    raw = textpage.raw
    units = [pdfium.FPDFText_GetUnicode(raw, i) for i in range(count)]
    for i, unit in enumerate(units):
        if unit == _HYPHEN_UNIT and pdfium.FPDFText_IsHyphen(raw, i) == 1:
            units[i] = ord(LINE_END_HYPHEN)
    encoded = "".join(map(chr, units)).encode("utf-16-le", "surrogatepass")
    return align_with_boxes(encoded.decode("utf-16-le", "replace"))


def replace_invalid_characters(text: str) -> str:
    """Replace lone surrogates and NUL by U+FFFD, which keeps the length.

    PDFium writes NUL for glyphs without a Unicode character.
    """
    return to_well_formed(text).replace("\0", "\ufffd")


def _render_page(page: Any, dpi: int) -> Any:
    width, height = page.get_size()
    scale = min(dpi / 72, 6_000 / max(width, height, 1))  # a page may be a poster
    return page.render(scale=scale, rev_byteorder=True).to_numpy()


def _read_outline(pdf: Any) -> Iterator[Bookmark]:
    for count, entry in enumerate(pdf.get_toc(max_depth=15)):
        if count == _MAX_BOOKMARKS:
            return
        target = entry.get_dest()
        index = target.get_index() if target else None
        title = " ".join(to_well_formed(entry.get_title()).split())
        if title and index is not None:
            yield Bookmark(entry.level, title[:200], index + 1)


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
    return remove_default_properties(information)
