"""Office documents: DOCX, ODT, RTF, and presentations with a mark for each slide."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.markdown import find_structure_marks
from connectors.parsers.markdown_tables import (
    Cell,
    find_table_marks,
    format_table,
    repeat_spanned_cells,
)
from connectors.parsers.safe_zip import (
    ZippedFile,
    local_name,
    parse_xml,
    read_office_properties,
    serialize_xml,
)
from connectors.parsers.text_builder import TextBuilder, build_heading_marks
from connectors.parsers.titles import choose_title, find_title_heading
from rag.errors import NoText, ParseError
from rag.types import Document, to_well_formed

_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_RTF_TITLE = re.compile(rb"\{\\title ([^{}]{1,500})\}")
_DOCX_BODY = "word/document.xml"
_DOCX_STYLES = "word/styles.xml"
_MAX_PARAGRAPHS_ABOVE_TITLE = 50
_WORD_NAMESPACE = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_WORD_VALUE = f"{_WORD_NAMESPACE}val"
_MATH_NAMESPACE = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"


class DocxParser(Parser):
    """Word documents as Markdown, by mammoth: headings, lists, tables, footnotes, comments.

    Tracked changes are applied: deleted text is dropped, inserted text is kept.
    """

    name: ClassVar[str] = "docx"
    revision: ClassVar[int] = 3
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {_DOCX: (".docx", ".docm", ".dotx")}
    library: ClassVar[str] = "mammoth"
    keeps: ClassVar[str] = "headings, lists, tables, footnotes, title, author, dates"
    drops: ClassVar[str] = "pictures, page breaks, headers and footers"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is that in the text or the properties, or the first heading."""
        import mammoth

        archive = ZippedFile(data, "Word document")
        try:
            html = mammoth.convert_to_html(
                io.BytesIO(_expand_fields_and_equations(data, archive)),
                convert_image=mammoth.images.img_element(lambda image: {}),
            ).value
        except MemoryError:
            raise
        except Exception as error:  # mammoth raises many types for missing or invalid parts
            raise ParseError(f"a damaged Word document: {_describe_error(error)}") from None
        properties = read_office_properties(archive)
        title = _read_styled_title(archive)
        return _build_document(to_markdown(html), uri, mime or _DOCX, properties, title)


def _expand_fields_and_equations(data: bytes, archive: ZippedFile) -> bytes:
    """Replace simple fields and equations, which mammoth ignores, by plain runs of text."""
    body = archive.read(_DOCX_BODY) if _DOCX_BODY in archive.names else b""
    if b"fldSimple" not in body and b"oMath" not in body:
        return data
    root = parse_xml(body, "Word document")
    for field in list(root.iter(f"{_WORD_NAMESPACE}fldSimple")):
        parent, index = field.getparent(), field.getparent().index(field)
        parent[index : index + 1] = list(field)
    for formula in list(root.iter(f"{_MATH_NAMESPACE}oMath")):
        run = root.makeelement(f"{_WORD_NAMESPACE}r")
        text = run.makeelement(f"{_WORD_NAMESPACE}t")
        text.text = "".join(part.text or "" for part in formula.iter(f"{_MATH_NAMESPACE}t"))
        run.append(text)
        outer = formula.getparent()
        if (
            outer.tag == f"{_MATH_NAMESPACE}oMathPara"
        ):  # a separate line: the enclosing paragraph takes the run
            outer.addprevious(run)
        else:
            run.tail = None
            outer.replace(formula, run)
    return archive.replace_member(_DOCX_BODY, serialize_xml(root))


def _describe_error(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _read_styled_title(archive: ZippedFile) -> str:
    """Return the paragraphs in the style Title at the beginning of a Word document."""
    style_ids = {"Title"}
    if _DOCX_STYLES in archive.names:
        for style in parse_xml(archive.read(_DOCX_STYLES), "Word document").iter():
            if local_name(style) == "name" and style.get(_WORD_VALUE, "").casefold() == "title":
                style_ids.add(style.getparent().get(f"{_WORD_NAMESPACE}styleId", ""))
    lines: list[str] = []
    paragraphs = parse_xml(archive.read(_DOCX_BODY), "Word document").iter(f"{_WORD_NAMESPACE}p")
    for paragraph in islice(paragraphs, _MAX_PARAGRAPHS_ABOVE_TITLE):
        style = next(paragraph.iter(f"{_WORD_NAMESPACE}pStyle"), None)
        is_titled = style is not None and style.get(_WORD_VALUE) in style_ids
        if not is_titled and lines:
            break
        if is_titled:
            runs = paragraph.iter(f"{_WORD_NAMESPACE}t", f"{_WORD_NAMESPACE}br")
            lines += ["".join(run.text or " " for run in runs)]
    return to_well_formed(" ".join(lines))


def _build_document(
    text: str, uri: str, mime: str, metadata: dict[str, Any], title: str
) -> Document:
    if not text.strip():
        raise NoText("the document contains no text")
    marks = find_structure_marks(text)
    heading = find_title_heading(text, marks)
    return Document(
        uri=uri,
        text=text,
        title=choose_title(title, metadata.pop("title", ""), heading=heading, uri=uri),
        mime=mime,
        metadata=metadata,
        marks=marks,
    )


class RtfParser(Parser):
    """Rich Text Format, as plain text with tables."""

    name: ClassVar[str] = "rtf"
    revision: ClassVar[int] = 3
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/rtf": (".rtf",)}
    library: ClassVar[str] = "striprtf"
    extra: ClassVar[str] = "formats"
    packages: ClassVar[tuple[str, ...]] = ("striprtf",)
    keeps: ClassVar[str] = "the text, tables"
    drops: ClassVar[str] = "headings, pictures, notes"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document title or the file name."""
        self.require()
        from striprtf.striprtf import rtf_to_text

        try:
            text = _format_rtf_tables(
                rtf_to_text(_mark_rtf_cells(data.decode("latin-1")), errors="replace")
            )
        except MemoryError:
            raise
        except Exception as error:
            raise ParseError(f"a damaged RTF document: {_describe_error(error)}") from None
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
    """OpenDocument texts and presentations: headings, lists, tables, slides."""

    name: ClassVar[str] = "odt"
    revision: ClassVar[int] = 3
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/vnd.oasis.opendocument.text": (".odt", ".ott"),
        "application/vnd.oasis.opendocument.presentation": (".odp",),
    }
    library: ClassVar[str] = "lxml"
    keeps: ClassVar[str] = "headings, lists, tables, notes, slides, title, author, dates"
    drops: ClassVar[str] = "pictures, page breaks, headers and footers, deleted text"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is that in the text or the properties, or the first heading."""
        archive = ZippedFile(data, "OpenDocument file")
        content = parse_xml(archive.read("content.xml"), "document")
        body = next((e for e in content.iter() if local_name(e) == "body"), None)
        builder = TextBuilder()
        headings: list[tuple[int, int, str]] = []
        try:
            _write_elements(body if body is not None else (), builder, headings, 0)
        except RecursionError:
            raise ParseError("the document is nested too deep") from None
        text = builder.text
        if not text.strip():
            raise NoText("the document contains no text")
        metadata = read_office_properties(archive)
        titles = (_find_styled_title(content), metadata.pop("title", ""))
        heading_marks = build_heading_marks(headings, len(text))
        return Document(
            uri=uri,
            text=to_well_formed(text),
            title=choose_title(*titles, heading=find_title_heading(text, heading_marks), uri=uri),
            mime=mime or "application/vnd.oasis.opendocument.text",
            metadata=metadata,
            marks=(
                *builder.marks,
                *heading_marks,
                *find_table_marks(text),
            ),
        )


def _find_styled_title(content: Any) -> str:
    """Return the first paragraph in the style Title, or in one that is derived from it."""
    styles = {"Title"}
    paragraphs = 0
    for element in content.iter():
        attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        if local_name(element) == "style" and attributes.get("parent-style-name") == "Title":
            styles.add(attributes.get("name", ""))
        elif local_name(element) in ("p", "h"):
            paragraphs += 1
            if attributes.get("style-name") in styles:
                return to_well_formed(_read_text(element))
            if paragraphs == _MAX_PARAGRAPHS_ABOVE_TITLE:
                break
    return ""


def _write_elements(
    parent: Any, builder: TextBuilder, headings: list[tuple[int, int, str]], depth: int
) -> None:
    slide = 0
    for element in parent:
        name = local_name(element)
        if name == "h":
            title = " ".join(_read_text(element).split())
            if title:
                level = next(
                    (int(v) for k, v in element.attrib.items() if k.endswith("outline-level")), 1
                )
                builder.write_paragraph(f"{'#' * min(level, 6)} {title}")
                start = builder.offset - len(title) - 2 - min(level, 6)
                headings.append((start, level, title[:200]))
        elif name == "p":
            builder.write_paragraph(_read_text(element))
        elif name == "list-item":
            bullet = "  " * max(0, depth - 1) + "- "
            for child in element:
                if local_name(child) == "list":
                    _write_elements(child, builder, headings, depth + 1)
                elif text := _read_text(child):
                    builder.write_line(bullet + text)
        elif name == "list":
            if depth == 0 and builder.offset:
                builder.write("\n")
            _write_elements(element, builder, headings, depth + 1)
        elif name == "table":
            builder.write_paragraph(_format_odf_table(element))
        elif name == "page":
            slide += 1
            with builder.mark_block("slide", slide):
                _write_elements(element, builder, headings, depth)
        elif name not in ("tracked-changes", "forms", "sequence-decls", "notes"):
            _write_elements(element, builder, headings, depth)


def _format_odf_table(table: Any) -> str:
    rows = [(element, _read_cells(element), parents) for element, parents in _iter_rows(table)]
    cells = [row for element, row, _ in rows for _ in range(_count_repeats(element, row))]
    header_rows = sum("table-header-rows" in parents for _, _, parents in rows)
    return format_table(repeat_spanned_cells(cells), header_rows or None)


def _iter_rows(table: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield the rows of a table, without those of nested tables, and the names of their groups."""
    stack: list[tuple[Any, tuple[str, ...]]] = [(child, ()) for child in reversed(table)]
    while stack:
        element, parents = stack.pop()
        name = local_name(element)
        if name == "table-row":
            yield element, parents
        elif name in ("table-rows", "table-row-group", "table-header-rows"):
            stack += [(child, (*parents, name)) for child in reversed(element)]


def _read_cells(row: Any) -> list[Cell]:
    cells: list[Cell] = []
    for element in row:
        if local_name(element) == "table-cell":  # a covered one belongs to a cell that spans it
            text = "\n".join(filter(None, (_read_text(part) for part in element)))
            cell = Cell(
                text,
                _read_count(element, "number-rows-spanned", 65_534),
                _read_count(element, "number-columns-spanned", 1_000),
            )
            cells += [cell] * _read_count(element, "number-columns-repeated", 1_000)
    return cells


def _count_repeats(row: Any, cells: list[Cell]) -> int:
    """Return how often a row is repeated: equal neighbours are stored once."""
    has_text = any(cell.text for cell in cells)
    return _read_count(row, "number-rows-repeated", 100) if has_text else 1


def _read_count(element: Any, attribute: str, limit: int) -> int:
    value = next((v for k, v in element.attrib.items() if k.endswith(f"}}{attribute}")), "1")
    return max(1, min(int(value), limit)) if value.isdecimal() and len(value) < 10 else 1


def _read_text(element: Any) -> str:
    """Return the text of a paragraph, in which elements represent white space."""
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
            pieces.append(f" ({' '.join(_read_text(n) for n in child).strip()})")
        elif name in ("frame", "text-box", "p", "list", "list-item"):  # a text box
            pieces.append(f"\n{_read_text(child)}\n")
        elif name not in ("annotation", "note-citation"):
            pieces.append(_read_text(child))
        pieces.append(child.tail or "")
    return "".join(pieces).strip()


class PptxParser(Parser):
    """PowerPoint slides: titles as headings, text from the top, tables, charts, speaker notes."""

    name: ClassVar[str] = "pptx"
    revision: ClassVar[int] = 3
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {_PPTX: (".pptx", ".pptm", ".potx", ".ppsx")}
    library: ClassVar[str] = "python-pptx"
    keeps: ClassVar[str] = "slides, titles as headings, tables, values of charts, notes"
    drops: ClassVar[str] = "pictures, animations, diagrams"

    notes: bool = True

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document title, that of a title slide or the file name."""
        from pptx import Presentation

        archive = ZippedFile(data, "PowerPoint presentation")
        builder = TextBuilder()
        headings: list[tuple[int, int, str]] = []
        try:
            slides = Presentation(io.BytesIO(data)).slides
            title = _read_title_slide(slides)
            for number, slide in enumerate(slides, start=1):
                with builder.mark_block("slide", number):
                    self._write_slide(slide, builder, headings)
        except MemoryError:
            raise
        except Exception as error:  # python-pptx raises many types for invalid parts
            raise ParseError(
                f"a damaged PowerPoint presentation: {_describe_error(error)}"
            ) from None
        if not builder.text.strip():
            raise NoText("the presentation contains no text")
        metadata = read_office_properties(archive)
        return Document(
            uri=uri,
            text=to_well_formed(builder.text),
            title=choose_title(metadata.pop("title", ""), heading=title, uri=uri),
            mime=mime or _PPTX,
            metadata=metadata,
            marks=(
                *builder.marks,
                *build_heading_marks(headings, builder.offset),
                *find_table_marks(builder.text),
            ),
        )

    def _write_slide(
        self, slide: Any, builder: TextBuilder, headings: list[tuple[int, int, str]]
    ) -> None:
        title = slide.shapes.title
        text = " ".join(title.text_frame.text.split()) if title is not None else ""
        if text:
            builder.write_paragraph(f"# {text}")
            headings.append((builder.offset - len(text) - 3, 1, text[:200]))
        for shape in _sort_shapes(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                builder.write_paragraph(_read_shape(shape))
        if self.notes and slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            notes = slide.notes_slide.notes_text_frame.text.strip()
            builder.write_paragraph(f"Notes: {notes}" if notes else "")


def _read_title_slide(slides: Any) -> str:
    """Return the title of the first slide if it is a title slide: the others are about a part."""
    from pptx.enum.shapes import PP_PLACEHOLDER

    title = slides[0].shapes.title if len(slides) else None
    if title is None or title.placeholder_format.type != PP_PLACEHOLDER.CENTER_TITLE:
        return ""
    return " ".join(title.text_frame.text.split())


def _sort_shapes(shapes: Any, depth: int = 0) -> Iterator[Any]:
    """Yield shapes from top to bottom; those of a group stay together."""
    for shape in sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0)):
        if hasattr(shape, "shapes") and depth < 20:
            yield from _sort_shapes(shape.shapes, depth + 1)
        else:
            yield shape


def _read_shape(shape: Any) -> str:
    if getattr(shape, "has_table", False) and shape.has_table:
        return _format_slide_table(shape.table)
    if getattr(shape, "has_chart", False) and shape.has_chart:
        return _format_chart(shape.chart)
    if not getattr(shape, "has_text_frame", False) or not shape.has_text_frame:
        return ""
    lines = [
        "  " * (paragraph.level or 0) + ("- " if paragraph.level else "") + paragraph.text.strip()
        for paragraph in shape.text_frame.paragraphs
        if paragraph.text.strip()
    ]
    return "\n".join(line.replace("\v", "\n") for line in lines)


def _format_slide_table(table: Any) -> str:
    rows = [
        [
            Cell(cell.text, cell.span_height, cell.span_width)
            for cell in row.cells
            if not cell.is_spanned
        ]
        for row in table.rows
    ]
    header_rows = None if table.first_row else 0
    return format_table(repeat_spanned_cells(rows), header_rows)


def _format_chart(chart: Any) -> str:
    title = chart.chart_title.text_frame.text if chart.has_title else ""
    plot = chart.plots[0]
    names = [str(category) for category in plot.categories]
    rows = [["", *(str(series.name) for series in plot.series)]]
    for i, name in enumerate(names):
        rows.append([name, *(_format_figure(list(series.values), i) for series in plot.series)])
    return "\n\n".join(part for part in (title, format_table(rows, header_rows=1)) if part)


def _format_figure(values: list[Any], i: int) -> str:
    return "" if i >= len(values) or values[i] is None else f"{values[i]:g}"
