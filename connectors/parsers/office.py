"""Office documents: DOCX, ODT, RTF, and presentations with a mark for each slide."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import ClassVar

from connectors.base import Parser
from connectors.parsers.docx_document import prepare_word_document
from connectors.parsers.docx_markup import replace_labels
from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.markdown import find_structure_marks
from connectors.parsers.markdown_tables import find_table_marks, format_table
from connectors.parsers.office_parts import convert_strict_package
from connectors.parsers.opendocument import read_open_document
from connectors.parsers.presentations import read_presentation
from connectors.parsers.rtf_fonts import prepare_rtf
from connectors.parsers.safe_zip import ZippedFile, describe_error, read_office_properties
from connectors.parsers.text_builder import build_heading_marks
from connectors.parsers.titles import choose_title, find_title_heading
from rag.errors import NoText, ParseError
from rag.types import Document, to_well_formed

_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_RTF_TITLE = re.compile(rb"\{\\title ([^{}]{1,500})\}")


class DocxParser(Parser):
    """Word documents as Markdown, by mammoth: headings, lists, tables, footnotes, comments.

    Headings are also lines that only look like one, and automatic numbers are written as the reader
    sees them. Tracked changes are applied: deleted text is dropped, inserted text is kept. Hidden
    text is left out unless ``hidden``. Comments are paragraphs such as
    ``[Comment by Ada: too long]``.
    """

    name: ClassVar[str] = "docx"
    revision: ClassVar[int] = 9
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {_DOCX: (".docx", ".docm", ".dotx")}
    library: ClassVar[str] = "mammoth, lxml"
    keeps: ClassVar[str] = (
        "headings, automatic numbers, lists, tables, text boxes, footnotes, comments, values of "
        "charts, title, author, dates"
    )
    drops: ClassVar[str] = (
        "pictures, page breaks, headers and footers, hidden text, deleted text, "
        "pronunciations above Asian characters (ruby)"
    )

    hidden: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is that in the text or the properties, or the first heading."""
        import mammoth

        archive = ZippedFile(data, "Word document")
        document = prepare_word_document(archive, self.hidden)
        try:
            html = mammoth.convert_to_html(io.BytesIO(document.package)).value
        except MemoryError:
            raise
        except Exception as error:  # mammoth raises many types for invalid content
            raise ParseError(f"a damaged Word document: {describe_error(error)}") from None
        text = replace_labels(to_markdown(html))
        if not text.strip():
            raise NoText("the document contains no text")
        properties = read_office_properties(archive)
        marks = find_structure_marks(text)
        titles = (document.title, properties.pop("title", ""))
        return Document(
            uri=uri,
            text=text,
            title=choose_title(*titles, heading=find_title_heading(text, marks), uri=uri),
            mime=mime or _DOCX,
            metadata=properties | document.log.metadata,
            marks=marks,
            coverage=document.log.measure(text, document.source_texts),
        )


class RtfParser(Parser):
    """Rich Text Format, as plain text with tables."""

    name: ClassVar[str] = "rtf"
    revision: ClassVar[int] = 6
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/rtf": (".rtf",)}
    library: ClassVar[str] = "striprtf"
    extra: ClassVar[str] = "formats"
    packages: ClassVar[tuple[str, ...]] = ("striprtf",)
    keeps: ClassVar[str] = "the text, tables"
    drops: ClassVar[str] = "headings, pictures, notes, hidden and deleted text"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document title or the file name."""
        self.require()
        from striprtf.striprtf import rtf_to_text

        try:
            text = _format_rtf_tables(
                rtf_to_text(_mark_rtf_cells(prepare_rtf(data.decode("latin-1"))), errors="replace")
            )
            # striprtf writes both halves of a character such as an emoji.
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        except MemoryError:
            raise
        except Exception as error:
            raise ParseError(f"a damaged RTF document: {describe_error(error)}") from None
        text = to_well_formed(re.sub(r"\n{3,}", "\n\n", text.replace("\0", "")).strip())
        if not text:
            raise NoText("the document contains no text")
        title_match = _RTF_TITLE.search(data[:100_000])
        title = (
            rtf_to_text("{\\rtf1 " + title_match.group(1).decode("latin-1") + "}").strip()
            if title_match
            else ""
        )
        return Document(
            uri=uri,
            text=text,
            title=choose_title(title, uri=uri),
            mime=mime or "application/rtf",
            marks=find_table_marks(text),
        )


# Characters that are written into RTF for the parts of its tables, which striprtf does not keep.
_RTF_ROW_START, _RTF_CELL_END, _RTF_ROW_END, _RTF_HEADER = "\x1d", "\x1f", "\x1e", "\x14"
_RTF_FLAGS = {"": "\x11", "clmrg": "\x12", "clvmrg": "\x13"}  # of a cell: plain or merged
_RTF_SIGNS = "\x11\x12\x13\x14\x1d\x1e\x1f"
_RTF_TABLE_WORD = re.compile(
    r"\\(?:(trowd|trhdr|clv?mrg|cellx|cell|row|nestcell)(-?\d+)?(?![a-z])|(?s:.))"
)


def _mark_rtf_cells(rtf: str) -> str:
    """Write a character after the control words of tables."""
    flag = ""

    def mark(match: re.Match[str]) -> str:
        nonlocal flag
        word = match.group(1)
        if word == "nestcell":
            return "\\line"
        if word in ("clmrg", "clvmrg"):
            flag = word
        elif word == "cellx":
            sign, flag = _RTF_FLAGS[flag], ""
            return match.group() + sign
        signs = {
            "trowd": _RTF_ROW_START,
            "trhdr": _RTF_HEADER,
            "cell": _RTF_CELL_END,
            "row": _RTF_ROW_END,
        }
        return match.group() + signs.get(word, "")

    return _RTF_TABLE_WORD.sub(mark, rtf.translate(dict.fromkeys(map(ord, _RTF_SIGNS), " ")))


def _format_rtf_tables(text: str) -> str:
    """Replace the marked rows in the text of an RTF document by Markdown tables."""
    *segments, rest = text.split(_RTF_ROW_END)
    pieces: list[str] = []
    grid: list[list[str]] = []
    header_rows = 0
    for segment in segments:
        before, _, row = segment.partition(_RTF_ROW_START)
        if before.strip():
            pieces += [format_table(grid, header_rows or None), before]
            grid, header_rows = [], 0
        header_rows += _RTF_HEADER in row
        grid.append(_read_rtf_row(row, grid[-1] if grid else []))
    pieces += [format_table(grid, header_rows or None), rest]
    joined = "\n\n".join(piece.strip("\n") for piece in pieces if piece.strip())
    return joined.translate(dict.fromkeys(map(ord, _RTF_SIGNS)))


def _read_rtf_row(row: str, above: list[str]) -> list[str]:
    """Return the texts of the cells of a row; those of merged cells are repeated."""
    definition = row.rpartition(_RTF_ROW_START)[2]
    flags = [character for character in definition if character in _RTF_FLAGS.values()]
    cells: list[str] = []
    for i, part in enumerate(row.split(_RTF_CELL_END)[:-1]):
        text = part.removesuffix("|").translate(dict.fromkeys(map(ord, _RTF_SIGNS))).strip()
        flag = flags[i] if i < len(flags) else ""
        if flag == _RTF_FLAGS["clmrg"] and cells:
            text = text or cells[-1]
        elif flag == _RTF_FLAGS["clvmrg"] and i < len(above):
            text = text or above[i]
        cells.append(text)
    return cells


class OdtParser(Parser):
    """OpenDocument texts and presentations: headings, lists, tables, slides.

    Hidden text, slides, rows and columns are left out unless ``hidden``. Comments are paragraphs
    such as ``[Comment by Ada: too long]``.
    """

    name: ClassVar[str] = "odt"
    revision: ClassVar[int] = 8
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/vnd.oasis.opendocument.text": (".odt", ".ott"),
        "application/vnd.oasis.opendocument.presentation": (".odp",),
    }
    library: ClassVar[str] = "lxml"
    keeps: ClassVar[str] = (
        "headings, lists, tables, notes, comments, slides, speaker notes, title, author, dates"
    )
    drops: ClassVar[str] = (
        "pictures, page breaks, headers and footers, deleted text, hidden text, hidden slides, "
        "hidden rows and columns"
    )

    hidden: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is that in the text or the properties, or the first heading."""
        archive = ZippedFile(data, "OpenDocument file")
        try:
            content = read_open_document(archive, self.hidden)
        except RecursionError:
            raise ParseError("the document is nested too deep") from None
        text = to_well_formed(content.builder.text)
        if not text.strip():
            raise NoText("the document contains no text")
        metadata = read_office_properties(archive)
        titles = (content.title, metadata.pop("title", ""))
        if content.slides_with_notes:
            metadata["slides_with_notes"] = content.slides_with_notes
        heading_marks = build_heading_marks(content.headings, len(text))
        return Document(
            uri=uri,
            text=text,
            title=choose_title(*titles, heading=find_title_heading(text, heading_marks), uri=uri),
            mime=mime or "application/vnd.oasis.opendocument.text",
            metadata=metadata | content.log.metadata,
            marks=(*content.builder.marks, *heading_marks, *find_table_marks(text)),
            coverage=content.log.measure(text, content.source_texts),
        )


class PptxParser(Parser):
    """PowerPoint slides: titles as headings, text from the top, tables, charts, speaker notes.

    Hidden slides and shapes are left out unless ``hidden``. Speaker notes are paragraphs that begin
    with ``Notes:``, if ``notes``; the metadata field ``slides_with_notes`` has the slides.
    """

    name: ClassVar[str] = "pptx"
    revision: ClassVar[int] = 9
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {_PPTX: (".pptx", ".pptm", ".potx", ".ppsx")}
    library: ClassVar[str] = "python-pptx, lxml"
    keeps: ClassVar[str] = (
        "slides, titles as headings, tables, values of charts, texts of diagrams, comments, notes"
    )
    drops: ClassVar[str] = (
        "pictures, animations, hidden slides and shapes, repeated footers, slide numbers"
    )

    notes: bool = True
    hidden: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document title, that of a title slide or the file name."""
        data = convert_strict_package(data, "PowerPoint presentation")
        archive = ZippedFile(data, "PowerPoint presentation")
        try:
            content = read_presentation(data, archive, self.notes, self.hidden)
        except MemoryError:
            raise
        except Exception as error:  # python-pptx raises many types for invalid parts
            raise ParseError(
                f"a damaged PowerPoint presentation: {describe_error(error)}"
            ) from None
        builder = content.builder
        text = to_well_formed(builder.text)
        if not text.strip():
            raise NoText("the presentation contains no text")
        metadata = read_office_properties(archive)
        title = choose_title(metadata.pop("title", ""), heading=content.title, uri=uri)
        if content.slides_with_notes:
            metadata["slides_with_notes"] = content.slides_with_notes
        return Document(
            uri=uri,
            text=text,
            title=title,
            mime=mime or _PPTX,
            metadata=metadata | content.log.metadata,
            marks=(
                *builder.marks,
                *build_heading_marks(content.headings, builder.offset),
                *find_table_marks(text),
            ),
            coverage=content.log.measure(text, content.source_texts),
        )
