"""Text documents of office programs: DOCX, ODT, RTF; and PPTX, a mark per slide."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.html_fragments import table, to_markdown
from connectors.parsers.markdown import heading_marks
from connectors.parsers.safe_zip import (
    ZippedFile,
    etree_bytes,
    local_name,
    office_properties,
    parse_xml,
)
from connectors.parsers.text import name_of
from connectors.parsers.text_builder import TextBuilder, heading_path_marks
from rag.errors import NoText, ParseError
from rag.types import Document, well_formed

_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_RTF_TITLE = re.compile(rb"\{\\title ([^{}]{1,500})\}")
_DOCX_BODY = "word/document.xml"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"


class DocxParser(Parser):
    """Word documents as Markdown, by mammoth: headings, lists, tables, footnotes, comments.

    What a tracked change has deleted is left out, and what it has inserted is in.
    """

    name: ClassVar[str] = "docx"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {_DOCX: (".docx", ".docm", ".dotx")}
    library: ClassVar[str] = "mammoth"
    keeps: ClassVar[str] = "headings, lists, tables, footnotes, title, author, dates"
    drops: ClassVar[str] = "pictures, page breaks, headers and footers"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document's own, the first heading or the file name."""
        import mammoth

        archive = ZippedFile(data, "Word document")
        try:
            html = mammoth.convert_to_html(
                io.BytesIO(_with_fields(data, archive)),
                convert_image=mammoth.images.img_element(lambda image: {}),
            ).value
        except MemoryError:
            raise
        except Exception as error:  # whatever a part that is missing or odd makes mammoth raise
            raise ParseError(f"a damaged Word document: {_said(error)}") from None
        return _markdown_document(to_markdown(html), uri, mime or _DOCX, office_properties(archive))


def _with_fields(data: bytes, archive: ZippedFile) -> bytes:
    """The document with what mammoth passes over as plain runs: simple fields and equations."""
    body = archive.read(_DOCX_BODY) if _DOCX_BODY in archive.names else b""
    if b"fldSimple" not in body and b"oMath" not in body:
        return data
    root = parse_xml(body, "Word document")
    for field in list(root.iter(f"{_W}fldSimple")):
        parent, at = field.getparent(), field.getparent().index(field)
        parent[at : at + 1] = list(field)
    for formula in list(root.iter(f"{_M}oMath")):
        run = root.makeelement(f"{_W}r")
        text = run.makeelement(f"{_W}t")
        text.text = "".join(part.text or "" for part in formula.iter(f"{_M}t"))
        run.append(text)
        outer = formula.getparent()
        if outer.tag == f"{_M}oMathPara":  # a line of its own; its paragraph takes the run
            outer.addprevious(run)
        else:
            run.tail = None
            outer.replace(formula, run)
    return archive.replaced(_DOCX_BODY, etree_bytes(root))


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _markdown_document(text: str, uri: str, mime: str, found: dict[str, Any]) -> Document:
    if not text.strip():
        raise NoText("a document without any text")
    marks = heading_marks(text)
    first = next((mark.value[0] for mark in marks if isinstance(mark.value, tuple)), "")
    title = found.pop("title", "")
    title = title if isinstance(title, str) else " ".join(map(str, title))
    return Document(
        uri=uri,
        text=text,
        title=(title or first or name_of(uri))[:200],
        mime=mime,
        metadata=found,
        marks=marks,
    )


class RtfParser(Parser):
    """Rich Text Format, without its format."""

    name: ClassVar[str] = "rtf"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/rtf": (".rtf",)}
    library: ClassVar[str] = "striprtf"
    keeps: ClassVar[str] = "the text, cells of tables with bars between them"
    drops: ClassVar[str] = "headings, pictures, notes"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document's own or the file name."""
        from striprtf.striprtf import rtf_to_text

        try:
            text = rtf_to_text(data.decode("latin-1"), errors="replace")
        except MemoryError:
            raise
        except Exception as error:
            raise ParseError(f"a damaged RTF document: {_said(error)}") from None
        text = well_formed(re.sub(r"\n{3,}", "\n\n", text.replace("\0", "")).strip())
        if not text:
            raise NoText("a document without any text")
        said = _RTF_TITLE.search(data[:100_000])
        title = (
            rtf_to_text("{\\rtf1 " + said.group(1).decode("latin-1") + "}").strip() if said else ""
        )
        return Document(
            uri=uri, text=text, title=title[:200] or name_of(uri), mime=mime or "application/rtf"
        )


class OdtParser(Parser):
    """OpenDocument texts and presentations: headings, lists, tables, slides."""

    name: ClassVar[str] = "odt"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/vnd.oasis.opendocument.text": (".odt", ".ott"),
        "application/vnd.oasis.opendocument.presentation": (".odp",),
    }
    library: ClassVar[str] = "lxml"
    keeps: ClassVar[str] = "headings, lists, tables, notes, slides, title, author, dates"
    drops: ClassVar[str] = "pictures, page breaks, headers and footers, deleted text"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document's own, the first heading or the file name."""
        archive = ZippedFile(data, "OpenDocument file")
        body = next(
            (e for e in parse_xml(archive.read("content.xml"), "document").iter()
             if local_name(e) == "body"),
            None,
        )  # fmt: skip
        built = TextBuilder()
        headings: list[tuple[int, int, str]] = []
        try:
            _open_document(body if body is not None else (), built, headings, 0)
        except RecursionError:
            raise ParseError("a document nested too deep") from None
        text = built.text
        if not text.strip():
            raise NoText("a document without any text")
        found = office_properties(archive)
        title = found.pop("title", "") or (headings[0][2] if headings else "") or name_of(uri)
        return Document(
            uri=uri,
            text=well_formed(text),
            title=str(title)[:200],
            mime=mime or "application/vnd.oasis.opendocument.text",
            metadata=found,
            marks=(*built.marks, *heading_path_marks(headings, len(text))),
        )


def _open_document(
    parent: Any, built: TextBuilder, headings: list[tuple[int, int, str]], depth: int
) -> None:
    slide = 0
    for element in parent:
        name = local_name(element)
        if name == "h":
            title = " ".join(_open_text(element).split())
            if title:
                level = next(
                    (int(v) for k, v in element.attrib.items() if k.endswith("outline-level")), 1
                )
                built.paragraph(f"{'#' * min(level, 6)} {title}")
                start = built.at - len(title) - 2 - min(level, 6)
                headings.append((start, level, title[:200]))
        elif name == "p":
            built.paragraph(_open_text(element))
        elif name == "list-item":
            bullet = "  " * max(0, depth - 1) + "- "
            for child in element:
                if local_name(child) == "list":
                    _open_document(child, built, headings, depth + 1)
                elif text := _open_text(child):
                    built.line(bullet + text)
        elif name == "list":
            if depth == 0 and built.at:
                built.write("\n")
            _open_document(element, built, headings, depth + 1)
        elif name == "table":
            built.paragraph(table(_open_table(element)))
        elif name == "page":
            slide += 1
            with built.marked("slide", slide):
                _open_document(element, built, headings, depth)
        elif name not in ("tracked-changes", "forms", "sequence-decls", "notes"):
            _open_document(element, built, headings, depth)


def _open_table(element: Any) -> list[list[str]]:
    rows: list[list[str]] = []
    for row in element.iter():
        if local_name(row) == "table-row":
            rows.append([])
            for cell in row:
                if local_name(cell) in ("table-cell", "covered-table-cell"):
                    text = " ".join(filter(None, (_open_text(part) for part in cell)))
                    rows[-1] += [text] * (_times(cell) if text else 1)
    return rows


def _times(cell: Any) -> int:
    """How often a cell stands there: equal neighbours are written once."""
    said = next((v for k, v in cell.attrib.items() if k.endswith("columns-repeated")), "1")
    return min(int(said), 100) if said.isdecimal() else 1


def _open_text(element: Any) -> str:
    """Text of a paragraph; its white space is written as elements."""
    pieces: list[str] = [element.text or ""]
    for child in element:
        name = local_name(child)
        if name == "s":
            count = next((v for k, v in child.attrib.items() if k.endswith("}c")), "1")
            pieces.append(" " * min(int(count) if count.isdecimal() else 1, 1_000))
        elif name == "tab":
            pieces.append("\t")
        elif name == "line-break":
            pieces.append("\n")
        elif name == "note":
            pieces.append(f" ({' '.join(_open_text(n) for n in child).strip()})")
        elif name in ("frame", "text-box", "p", "list", "list-item"):  # a text in a box
            pieces.append(f"\n{_open_text(child)}\n")
        elif name not in ("annotation", "note-citation"):
            pieces.append(_open_text(child))
        pieces.append(child.tail or "")
    return "".join(pieces).strip()


class PptxParser(Parser):
    """PowerPoint slides: titles as headings, text from the top, tables, charts, speaker notes."""

    name: ClassVar[str] = "pptx"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {_PPTX: (".pptx", ".pptm", ".potx", ".ppsx")}
    library: ClassVar[str] = "python-pptx"
    keeps: ClassVar[str] = "slides, titles as headings, tables, figures of charts, notes"
    drops: ClassVar[str] = "pictures, animations, diagrams"

    notes: bool = True

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the presentation's own, the first slide's or the file name."""
        from pptx import Presentation

        archive = ZippedFile(data, "PowerPoint presentation")
        built = TextBuilder()
        headings: list[tuple[int, int, str]] = []
        try:
            for number, slide in enumerate(Presentation(io.BytesIO(data)).slides, start=1):
                with built.marked("slide", number):
                    self._slide(slide, built, headings)
        except MemoryError:
            raise
        except Exception as error:  # whatever a part that is missing or odd makes python-pptx raise
            raise ParseError(f"a damaged PowerPoint presentation: {_said(error)}") from None
        if not built.text.strip():
            raise NoText("a presentation without any text")
        found = office_properties(archive)
        title = found.pop("title", "")
        if not title or str(title).casefold() == "powerpoint presentation":
            title = headings[0][2] if headings else name_of(uri)
        return Document(
            uri=uri,
            text=well_formed(built.text),
            title=str(title)[:200],
            mime=mime or _PPTX,
            metadata=found,
            marks=(*built.marks, *heading_path_marks(headings, built.at)),
        )

    def _slide(self, slide: Any, built: TextBuilder, headings: list[tuple[int, int, str]]) -> None:
        title = slide.shapes.title
        text = " ".join(title.text_frame.text.split()) if title is not None else ""
        if text:
            built.paragraph(f"# {text}")
            headings.append((built.at - len(text) - 3, 1, text[:200]))
        for shape in _shapes(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                built.paragraph(_shape_text(shape))
        if self.notes and slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            notes = slide.notes_slide.notes_text_frame.text.strip()
            built.paragraph(f"Notes: {notes}" if notes else "")


def _shapes(shapes: Any, depth: int = 0) -> Iterator[Any]:
    """Shapes from top to bottom, those in a group together."""
    for shape in sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0)):
        if hasattr(shape, "shapes") and depth < 20:
            yield from _shapes(shape.shapes, depth + 1)
        else:
            yield shape


def _shape_text(shape: Any) -> str:
    if getattr(shape, "has_table", False) and shape.has_table:
        return table([[cell.text for cell in row.cells] for row in shape.table.rows])
    if getattr(shape, "has_chart", False) and shape.has_chart:
        return _chart(shape.chart)
    if not getattr(shape, "has_text_frame", False) or not shape.has_text_frame:
        return ""
    lines = [
        "  " * (paragraph.level or 0) + ("- " if paragraph.level else "") + paragraph.text.strip()
        for paragraph in shape.text_frame.paragraphs
        if paragraph.text.strip()
    ]
    return "\n".join(line.replace("\v", "\n") for line in lines)


def _chart(chart: Any) -> str:
    title = chart.chart_title.text_frame.text if chart.has_title else ""
    plot = chart.plots[0]
    names = [str(category) for category in plot.categories]
    rows = [["", *(str(series.name) for series in plot.series)]]
    for i, name in enumerate(names):
        rows.append([name, *(_figure(list(series.values), i) for series in plot.series)])
    return "\n\n".join(part for part in (title, table(rows)) if part)


def _figure(values: list[Any], i: int) -> str:
    return "" if i >= len(values) or values[i] is None else f"{values[i]:g}"
