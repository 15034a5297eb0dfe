"""Reading PowerPoint presentations: slides with their shapes, charts, notes and comments."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

from connectors.parsers.docx_numbering import format_count
from connectors.parsers.markdown_tables import Cell, format_table, repeat_spanned_cells
from connectors.parsers.office_charts import list_chart_texts, read_chart, read_diagram
from connectors.parsers.office_parts import (
    COMPATIBILITY,
    DRAWING,
    MATH,
    OfficeText,
    Relationship,
    find_unused_branches,
    get_relationship_id,
    list_part_texts,
    parse_part,
    read_relationships,
)
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.reading_order import Box, sort_boxes
from connectors.parsers.safe_zip import ZippedFile, local_name
from connectors.parsers.text_builder import TextBuilder

_DESCRIPTION = "PowerPoint presentation"
_MAX_GROUP_DEPTH = 20
_MAX_LIST_NUMBER = 32_767
_AUTHOR_PARTS = ("ppt/commentAuthors.xml", "ppt/authors.xml")
_MARGIN_PLACEHOLDERS = {
    "ftr": "footer",
    "hdr": "header",
    "dt": "date",
    "sldNum": "slide number",
}
_NUMBER_FORMATS = {
    "arabic": "decimal",
    "alphaLc": "lowerLetter",
    "alphaUc": "upperLetter",
    "romanLc": "lowerRoman",
    "romanUc": "upperRoman",
}
_NUMBER_SIGNS = {"ParenBoth": "({})", "ParenR": "{})", "Period": "{}.", "Plain": "{}"}
_TEXT_TAGS = (f"{DRAWING}t", f"{DRAWING}br", f"{MATH}t")


def read_presentation(data: bytes, archive: ZippedFile, notes: bool, hidden: bool) -> OfficeText:
    """Read the slides of a presentation, with speaker notes if `notes`.

    Hidden slides and shapes are left out unless `hidden`. Raises the errors of python-pptx, which
    are of many types.
    """
    from pptx import Presentation

    slides = Presentation(io.BytesIO(data)).slides
    reader = _PresentationReader(archive, notes, hidden)
    title = _read_title_slide(slides)
    reader.count_margins(slides)
    for number, slide in enumerate(slides, start=1):
        reader.read_slide(slide, number)
    return OfficeText(
        reader.builder,
        reader.headings,
        title,
        tuple(reader.slides_with_notes),
        reader.log,
        reader.source_texts,
    )


class _PresentationReader:
    """Writes slides one after the other."""

    def __init__(self, archive: ZippedFile, notes: bool, hidden: bool) -> None:
        self._archive = archive
        self._has_notes = notes
        self._keeps_hidden = hidden
        self._authors = _read_authors(archive)
        self._margins: Counter[str] = Counter()
        self._relationships: dict[str, Relationship] = {}
        self.builder = TextBuilder()
        self.headings: list[tuple[int, int, str]] = []
        self.slides_with_notes: list[int] = []
        self.log = OmissionLog()
        self.source_texts: list[str] = []

    def count_margins(self, slides: Any) -> None:
        """Count the texts of footers and dates: those on several slides are left out."""
        for slide in slides:
            texts = {
                _read_text(shape) for shape in slide.element.iter("{*}sp") if _is_margin(shape)
            }
            self._margins.update(texts)

    def read_slide(self, slide: Any, number: int) -> None:
        """Write a slide and its notes, or record that it is left out."""
        part = slide.part.partname.lstrip("/")
        self._relationships = read_relationships(self._archive, part)
        texts = self._list_slide_texts(slide)
        self.source_texts += texts
        is_hidden = slide.element.get("show") in ("0", "false")
        if is_hidden and not self._keeps_hidden:
            self.log.add("hidden", f"slide {number}", "\n".join(texts))
            return
        _choose_branches(slide.element)
        with self.builder.mark_block("slide", number):
            self._write_slide(slide)
            self._write_comments()
            self._write_notes(slide, number)

    def _list_slide_texts(self, slide: Any) -> list[str]:
        """Return all text of a slide, its charts, diagrams, comments and notes."""
        texts = list(list_part_texts(slide.element))
        if self._has_notes and slide.has_notes_slide:
            texts += list_part_texts(slide.notes_slide.element)
        for relationship in self._relationships.values():
            root = None
            if relationship.kind in ("chart", "diagramData", "comments"):
                root = parse_part(self._archive, relationship.target, _DESCRIPTION)
            if root is None:
                continue
            if relationship.kind == "chart":
                texts += list_chart_texts(root)
            elif relationship.kind == "diagramData":
                texts += read_diagram(root)
            else:
                texts += (text for _, text in _read_comments(root))
        return [text for text in texts if text.strip()]

    def _write_slide(self, slide: Any) -> None:
        title = slide.shapes.title
        text = " ".join(_read_text(title.element).split()) if title is not None else ""
        if title is not None and self._is_left_out(title.element):
            text = ""
        if text:
            self.builder.write_paragraph(f"# {text}")
            self.headings.append((self.builder.offset - len(text) - 3, 1, text[:200]))
        for shape in self._iterate_shapes(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                self.builder.write_paragraph(self._read_shape(shape.element))

    def _iterate_shapes(self, shapes: Any, depth: int = 0) -> Iterator[Any]:
        """Yield the visible shapes in reading order; those of a group stay together."""
        members = list(shapes)
        # Lines and backgrounds divide nothing.
        filled = [m for m in members if hasattr(m, "shapes") or self._read_shape(m.element)]
        ordered = [filled[i] for i in sort_boxes(list(map(_read_box, filled)))]
        for shape in [*ordered, *(m for m in members if m not in filled)]:
            if self._is_left_out(shape.element):
                continue
            if hasattr(shape, "shapes") and depth < _MAX_GROUP_DEPTH:
                yield from self._iterate_shapes(shape.shapes, depth + 1)
            else:
                yield shape

    def _is_left_out(self, element: Any) -> bool:
        """Whether a shape is hidden or a repeated footer; record it if so."""
        properties = next(element.iter("{*}cNvPr"), None)
        is_hidden = properties is not None and properties.get("hidden") in ("1", "true")
        if properties is not None and is_hidden and not self._keeps_hidden:
            self._log_shape("hidden", element, f"shape {properties.get('name', '')}")
            return True
        margin = _is_margin(element)
        if not margin:
            return False
        is_number = margin == _MARGIN_PLACEHOLDERS["sldNum"]
        if is_number or self._margins[_read_text(element)] > 1:
            self._log_shape("repeated", element, margin)
            return True
        return False

    def _log_shape(self, reason: Any, element: Any, name: str) -> None:
        texts = list(list_part_texts(element))
        for frame in element.iter("{*}graphicFrame"):
            texts.append(self._read_shape(frame))
        text = "\n".join(filter(str.strip, texts))
        if text or reason == "hidden":
            self.log.add(reason, name, text)

    # -- Shapes ----------------------------------------------------------------------------

    def _read_shape(self, element: Any) -> str:
        if local_name(element) != "graphicFrame":
            return _read_paragraphs(element.iter(f"{DRAWING}p"))
        for data in element.iter("{*}graphicData"):
            for content in data:
                name = local_name(content)
                if name == "tbl":
                    return _format_slide_table(content)
                if name == "chart":
                    return self._format_chart(get_relationship_id(content))
                if name == "relIds":
                    return self._format_diagram(get_relationship_id(content, "dm"))
        return _read_paragraphs(element.iter(f"{DRAWING}p"))

    def _read_target(self, relationship_id: str) -> Any:
        relationship = self._relationships.get(relationship_id)
        if relationship is None:
            return None
        return parse_part(self._archive, relationship.target, _DESCRIPTION)

    def _format_chart(self, relationship_id: str) -> str:
        root = self._read_target(relationship_id)
        tables = [] if root is None else read_chart(root)
        parts = [
            part
            for table in tables
            for part in (table.title, format_table(table.grid, header_rows=1))
        ]
        return "\n\n".join(filter(None, parts))

    def _format_diagram(self, relationship_id: str) -> str:
        root = self._read_target(relationship_id)
        return "" if root is None else "\n".join(f"- {text}" for text in read_diagram(root))

    # -- Comments and notes ----------------------------------------------------------------

    def _write_comments(self) -> None:
        for relationship in self._relationships.values():
            if relationship.kind != "comments":
                continue
            root = parse_part(self._archive, relationship.target, _DESCRIPTION)
            for author_id, text in _read_comments(root) if root is not None else ():
                name = self._authors.get(author_id, "")
                head = f"Comment by {name}" if name else "Comment"
                self.builder.write_paragraph(f"[{head}: {text}]")

    def _write_notes(self, slide: Any, number: int) -> None:
        if not self._has_notes or not slide.has_notes_slide:
            return
        frame = slide.notes_slide.notes_text_frame
        body = None if frame is None else frame._txBody
        for shape in slide.notes_slide.element.iter("{*}sp"):
            if _is_margin(shape):
                self._log_shape("repeated", shape, f"{_is_margin(shape)} of notes")
        if body is None:
            return
        notes = _read_paragraphs(body.iter(f"{DRAWING}p"))
        if notes.strip():
            self.slides_with_notes.append(number)
            self.builder.write_paragraph(f"Notes: {notes.strip()}")


def _read_title_slide(slides: Any) -> str:
    """Return the title of the first slide if it is a title slide: the others are about a part."""
    from pptx.enum.shapes import PP_PLACEHOLDER

    title = slides[0].shapes.title if len(slides) else None
    if title is None or title.placeholder_format.type != PP_PLACEHOLDER.CENTER_TITLE:
        return ""
    return " ".join(_read_text(title.element).split())


def _choose_branches(root: Any) -> None:
    """Replace alternate content by the branch that is shown."""
    tag = f"{COMPATIBILITY}AlternateContent"
    unused = find_unused_branches(root)
    for element in reversed(list(root.iter(tag))):
        for branch in element:
            if branch not in unused:
                for child in reversed(list(branch)):
                    element.addnext(child)
        element.getparent().remove(element)


def _read_box(shape: Any) -> Box:
    x_min, y_min = shape.left or 0, shape.top or 0
    return Box(x_min, y_min, x_min + (shape.width or 0), y_min + (shape.height or 0))


def _is_margin(element: Any) -> str:
    """Return what a placeholder for a footer, header, date or number is; "" for other shapes."""
    if local_name(element) != "sp" or not len(element):
        return ""
    placeholder = next(element[0].iter("{*}ph"), None)
    return "" if placeholder is None else _MARGIN_PLACEHOLDERS.get(placeholder.get("type", ""), "")


def _read_text(element: Any) -> str:
    return "\n".join(map(_read_paragraph, element.iter(f"{DRAWING}p")))


def _read_paragraph(paragraph: Any) -> str:
    texts = (
        "\n" if part.tag == f"{DRAWING}br" else (part.text or "").replace("\v", "\n")
        for part in paragraph.iter(*_TEXT_TAGS)
    )
    return "".join(texts).strip()


def _read_paragraphs(paragraphs: Iterator[Any]) -> str:
    """Return paragraphs as lines, with the signs and numbers of lists."""
    counts: dict[int, tuple[str, int]] = {}
    lines: list[str] = []
    for paragraph in paragraphs:
        text = _read_paragraph(paragraph)
        if not text:
            continue
        properties = paragraph.find(f"{DRAWING}pPr")
        level_text = "0" if properties is None else properties.get("lvl", "0")
        level = int(level_text) if level_text in "012345678" and level_text else 0
        counts = {k: count for k, count in counts.items() if k <= level}
        numbering = None if properties is None else properties.find(f"{DRAWING}buAutoNum")
        sign = "- " if level else ""
        if numbering is None:
            counts.pop(level, None)
        else:
            kind, last = numbering.get("type", ""), counts.get(level, ("", 0))
            start = numbering.get("startAt", "1")
            first = int(start) if start.isdecimal() and len(start) < 6 else 1
            number = last[1] + 1 if last[0] == kind else first
            counts[level] = (kind, min(number, _MAX_LIST_NUMBER))
            sign = _format_number(kind, number)
        lines.append("  " * level + sign + text)
    return "\n".join(lines)


def _format_number(kind: str, number: int) -> str:
    """Return the number of an item of a list, such as ``(b)`` for ``alphaLcParenBoth``."""
    for prefix, number_format in _NUMBER_FORMATS.items():
        if kind.startswith(prefix):
            sign = _NUMBER_SIGNS.get(kind.removeprefix(prefix), "{}.")
            return sign.format(format_count(number, number_format)) + " "
    return f"{number}. "


def _format_slide_table(table: Any) -> str:
    rows: list[list[Cell]] = []
    for row in table.iter(f"{DRAWING}tr"):
        cells: list[Cell] = []
        for cell in row.iter(f"{DRAWING}tc"):
            if {cell.get("hMerge"), cell.get("vMerge")} & {"1", "true"}:
                continue
            spans = [cell.get(name, "1") for name in ("rowSpan", "gridSpan")]
            counts = [int(s) if s.isdecimal() and len(s) < 5 else 1 for s in spans]
            cells.append(Cell(_read_text(cell), max(1, counts[0]), max(1, counts[1])))
        rows.append(cells)
    properties = table.find(f"{DRAWING}tblPr")
    has_header = properties is not None and properties.get("firstRow") in ("1", "true")
    return format_table(repeat_spanned_cells(rows), None if has_header else 0)


def _read_authors(archive: ZippedFile) -> dict[str, str]:
    """Return the names of the authors of comments, by their ids."""
    authors: dict[str, str] = {}
    for name in _AUTHOR_PARTS:
        root = parse_part(archive, name, _DESCRIPTION) if name in archive.names else None
        for element in root if root is not None else ():
            authors[element.get("id", "")] = element.get("name", "")
    return authors


def _read_comments(root: Any) -> list[tuple[str, str]]:
    """Return the author's id and the text of each comment and reply of a slide."""
    comments: list[tuple[str, str]] = []
    for element in root.iter("{*}cm", "{*}reply"):
        for child in element:
            if local_name(child) in ("text", "txBody"):
                text = (child.text or "") if local_name(child) == "text" else _read_text(child)
                if text.strip():
                    comments.append((element.get("authorId", ""), " ".join(text.split())))
    return comments
