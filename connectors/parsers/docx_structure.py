"""Reading the parts of a Word document into paragraphs and tables, as the reader sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

from connectors.parsers.docx_blocks import (
    Block,
    Cell,
    Paragraph,
    Row,
    Run,
    Table,
    TextFormat,
    join_paragraphs,
    make_list_item,
    make_table,
    make_text_paragraph,
)
from connectors.parsers.docx_formulas import format_formula
from connectors.parsers.docx_numbering import Numbering
from connectors.parsers.docx_styles import (
    BODY_LEVEL,
    RunFormat,
    StyleSheet,
    is_on,
    read_list_reference,
    read_number,
    read_run_format,
)
from connectors.parsers.office_charts import read_chart, read_diagram
from connectors.parsers.office_parts import (
    CHART,
    DIAGRAM,
    DRAWING,
    EXTENDED_CHART,
    MATH,
    WORD,
    Relationship,
    find_unused_branches,
    get_relationship_id,
    parse_part,
)
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.safe_zip import ZippedFile
from rag.types import OmissionReason

_VML = "{urn:schemas-microsoft-com:vml}"
_SPACES = re.compile(r"[\t\r\n\f\v]")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,5}")

Leave = Callable[[], None]
Step = tuple[Iterable[Any], Leave | None] | None


class Omitted(NamedTuple):
    """Why text is left out, and what it is called."""

    reason: OmissionReason
    name: str


class DocumentContext(NamedTuple):
    """What the parts of a Word document share."""

    archive: ZippedFile
    styles: StyleSheet
    numbering: Numbering
    comments: Mapping[str, str]
    log: OmissionLog
    keeps_hidden: bool


class PartReader:
    """Reads one part: the body, the footnotes or the endnotes.

    It walks through the elements without recursion. `omitted_notes` has the ids of the notes to
    which only omitted text refers.
    """

    def __init__(self, context: DocumentContext, relationships: Mapping[str, Relationship]) -> None:
        self._context = context
        self._relationships = relationships
        self._blocks: list[Block] = []
        self._after_table: list[Block] = []
        self._paragraph: Paragraph | None = None
        self._omitted_texts: list[tuple[Omitted, str]] = []
        self._omitted: Omitted | None = None
        self._style_id = ""
        self._format = TextFormat()
        self._table: Table | None = None
        self._row: Row | None = None
        self._box_depth = 0
        self._field_parts: list[str] = []
        self._comment_ids: set[str] = set()
        self._unused_branches: set[Any] = set()
        self.omitted_notes: dict[tuple[str, str], Omitted] = {}

    def read(self, root: Any) -> list[Block]:
        """Read the content of `root`."""
        blocks: list[Block] = []
        self._blocks = blocks
        self._unused_branches = find_unused_branches(root)
        stack: list[tuple[Any, Leave | None]] = [(iter(root), None)]
        while stack:
            children, leave = stack[-1]
            element = next(children, None)
            if element is None:
                stack.pop()
                if leave:
                    leave()
            elif isinstance(element.tag, str) and element not in self._unused_branches:
                enter = _ENTER.get(element.tag)
                step = enter(self, element) if enter else (element, None)
                if step:
                    stack.append((iter(step[0]), step[1]))
        return join_paragraphs(blocks)

    # -- Paragraphs ------------------------------------------------------------------------

    def _enter_paragraph(self, element: Any) -> Step:
        paragraph, properties = Paragraph(), _find_first(element, f"{WORD}pPr")
        saved = (self._paragraph, self._style_id, self._omitted_texts, self._format)
        styles = self._context.styles
        self._style_id = styles.default_style_id
        self._omitted_texts = []
        self._paragraph = paragraph
        if properties is not None:
            self._read_paragraph_properties(paragraph, properties)
        elif self._style_id and self._omitted is None:
            paragraph.label = self._context.numbering.find_label(self._style_id, None, None)

        def leave() -> None:
            self._log_omitted_texts()
            self._field_parts = ["result"] * len(self._field_parts)
            self._paragraph, self._style_id, self._omitted_texts, self._format = saved
            self._blocks.append(paragraph)
            self._blocks.extend(paragraph.after)
            paragraph.after = []

        return element, leave

    def _read_paragraph_properties(self, paragraph: Paragraph, properties: Any) -> None:
        styles = self._context.styles
        style = properties.find(f"{WORD}pStyle")
        if style is not None:
            self._style_id = style.get(f"{WORD}val", "")
        level = read_number(properties.find(f"{WORD}outlineLvl"), BODY_LEVEL)
        if level is None:
            level = styles.get_level(self._style_id)
        is_body = self._table is None and not self._box_depth  # else it is above nothing else
        is_heading = level is not None and level < BODY_LEVEL and is_body
        paragraph.level = level + 1 if is_heading and level is not None else None
        paragraph.is_title = styles.is_title(self._style_id)
        mark = properties.find(f"{WORD}rPr")
        frame = properties.find(f"{WORD}framePr")
        is_drop_cap = frame is not None and frame.get(f"{WORD}dropCap", "none") != "none"
        is_deleted = mark is not None and any(
            mark.find(f"{WORD}{name}") is not None for name in ("del", "moveFrom")
        )
        paragraph.joins_next = is_deleted or is_drop_cap
        is_hidden = not self._context.keeps_hidden and self._read_format(mark)[0]
        is_counted = not is_deleted and not is_hidden and self._omitted is None
        paragraph.label = self._context.numbering.find_label(
            self._style_id, *read_list_reference(properties), is_counted=is_counted
        )

    def _log_omitted_texts(self) -> None:
        for omitted, group in groupby(self._omitted_texts, key=lambda pair: pair[0]):
            text = "".join(text for _, text in group)
            if text.strip():
                self._context.log.add(omitted.reason, omitted.name, text)

    # -- Text ------------------------------------------------------------------------------

    def _enter_run(self, element: Any) -> Step:
        saved = (self._format, self._omitted)
        is_hidden, self._format = self._read_format(_find_first(element, f"{WORD}rPr"))
        if is_hidden and self._omitted is None and not self._context.keeps_hidden:
            self._omitted = Omitted("hidden", "text")

        def leave() -> None:
            self._format, self._omitted = saved

        return element, leave

    def _read_format(self, properties: Any) -> tuple[bool, TextFormat]:
        """Return whether a run is hidden, and its format; `properties` may be None."""
        styles = self._context.styles
        own = read_run_format(properties)
        of_paragraph = styles.get_format(self._style_id)
        style = properties.find(f"{WORD}rStyle") if properties is not None else None
        style_id = "" if style is None else style.get(f"{WORD}val", "")
        of_style = styles.get_format(style_id) if style_id else RunFormat()
        is_bold = bool(own.bold) or bool(style_id and styles.is_strong(style_id))
        is_shown_bold = own.bold
        if is_shown_bold is None:
            is_shown_bold = is_bold or bool(of_paragraph.bold) != bool(of_style.bold)
        is_hidden = own.hidden
        if is_hidden is None:
            is_hidden = bool(of_paragraph.hidden) != bool(of_style.hidden)
        sizes = (own.half_points, of_style.half_points, of_paragraph.half_points)
        half_points = next((size for size in sizes if size), 0)
        text_format = TextFormat(
            is_bold,
            is_shown_bold,
            _is_set(properties, "i"),
            _is_set(properties, "strike"),
            _read_position(properties),
            half_points or styles.default_format.half_points or 0,
        )
        return is_hidden, text_format

    def _add_text(self, text: str) -> None:
        if self._paragraph is None or not text:
            return
        if self._omitted is not None:
            self._omitted_texts.append((self._omitted, text))
            return
        if "instruction" in self._field_parts:
            self._omitted_texts.append((Omitted("hidden", "field code"), text))
            return
        self._paragraph.runs.append(Run(text, self._format))

    def _add_xml(self, xml: str) -> None:
        if self._paragraph is not None and self._omitted is None:
            self._paragraph.runs.append(Run("", self._format, xml))

    def _enter_text(self, element: Any) -> Step:
        self._add_text(_SPACES.sub(" ", element.text or ""))
        return None

    def _enter_symbol(self, element: Any) -> Step:
        code = element.get(f"{WORD}char", "")
        if _HEXADECIMAL.fullmatch(code):
            font = quoteattr(element.get(f"{WORD}font", ""))
            self._add_xml(f'<w:sym w:font={font} w:char="{code}"/>')
        return None

    def _enter_break(self, element: Any) -> Step:
        kind = element.get(f"{WORD}type", "textWrapping")
        self._add_text("\n" if kind == "textWrapping" else " ")
        return None

    def _enter_field_sign(self, element: Any) -> Step:
        kind = element.get(f"{WORD}fldCharType")
        if kind == "begin":
            self._add_text(_read_form_field(element))
            self._field_parts.append("instruction")
        elif kind == "separate" and self._field_parts:
            self._field_parts[-1] = "result"
        elif kind == "end" and self._field_parts:
            self._field_parts.pop()
        return None

    def _enter_art(self, element: Any) -> Step:
        if self._paragraph is not None and self._omitted is None and element.get("string"):
            self._paragraph.after.append(make_text_paragraph(element.get("string")))
        return None

    def _enter_formula(self, element: Any) -> Step:
        self._add_text(format_formula(element))
        return None

    def _enter_note_reference(self, element: Any) -> Step:
        kind, note_id = element.tag.rpartition("}")[2], element.get(f"{WORD}id", "")
        if self._omitted is not None:
            self.omitted_notes[kind.removesuffix("Reference"), note_id] = self._omitted
        self._add_xml(f"<w:{kind} w:id={quoteattr(note_id)}/>")
        return None

    def _enter_deletion(self, element: Any) -> Step:
        saved = self._omitted
        verb = "moved" if element.tag == f"{WORD}moveFrom" else "deleted"
        self._omitted = _name_change(element, f"text {verb}")

        def leave() -> None:
            self._omitted = saved

        return element, leave

    def _enter_comment(self, element: Any) -> Step:
        comment_id = element.get(f"{WORD}id", "")
        text = self._context.comments.get(comment_id)
        if text and comment_id not in self._comment_ids:
            self._comment_ids.add(comment_id)
            self._add_after(make_text_paragraph(text))
        return None

    def _add_after(self, *blocks: Block) -> None:
        """Add blocks after the current table or paragraph."""
        if self._table is not None:
            self._after_table.extend(blocks)
        elif self._paragraph is not None:
            self._paragraph.after.extend(blocks)
        else:
            self._blocks.extend(blocks)

    # -- Text boxes, charts, diagrams ------------------------------------------------------

    def _enter_box(self, element: Any) -> Step:
        saved = (self._blocks, self._paragraph, self._table, self._row)
        own_blocks: list[Block] = []
        self._box_depth += 1
        target = self._blocks if self._paragraph is None else self._paragraph.after
        self._blocks, self._paragraph, self._table, self._row = own_blocks, None, None, None

        def leave() -> None:
            self._box_depth -= 1
            self._blocks, self._paragraph, self._table, self._row = saved
            target.extend(join_paragraphs(own_blocks))

        return element, leave

    def _enter_drawing_paragraph(self, element: Any) -> Step:
        text = "".join(part.text or "" for part in element.iter(f"{DRAWING}t"))
        if self._paragraph is not None and text.strip():
            self._paragraph.after.append(make_text_paragraph(text))
        return None

    def _enter_chart(self, element: Any) -> Step:
        if (root := self._read_target(get_relationship_id(element))) is not None:
            for chart_table in read_chart(root):
                if chart_table.title:
                    self._add_after(make_text_paragraph(chart_table.title))
                if chart_table.grid:
                    self._add_after(make_table(chart_table.grid))
        return None

    def _enter_diagram(self, element: Any) -> Step:
        if (root := self._read_target(get_relationship_id(element, "dm"))) is not None:
            self._add_after(*map(make_list_item, read_diagram(root)))
        return None

    def _read_target(self, relationship_id: str) -> Any:
        relationship = self._relationships.get(relationship_id)
        if relationship is None or self._omitted is not None:
            return None
        return parse_part(self._context.archive, relationship.target, "drawing")

    # -- Tables ----------------------------------------------------------------------------

    def _enter_table(self, element: Any) -> Step:
        saved = (self._table, self._row, self._blocks, self._paragraph)
        table = self._table = Table()
        self._row, self._paragraph = None, None

        def leave() -> None:
            self._table, self._row, self._blocks, self._paragraph = saved
            if table.rows:
                self._blocks.append(table)
            if self._table is None:
                self._blocks.extend(self._after_table)
                self._after_table = []

        return element, leave

    def _enter_row(self, element: Any) -> Step:
        if self._table is None:
            return element, None
        table, row, saved_row, saved_omitted = self._table, Row(), self._row, self._omitted
        self._row = row
        properties = element.find(f"{WORD}trPr")
        if properties is not None:
            row.is_header = _is_set(properties, "tblHeader")
            deletion = properties.find(f"{WORD}del")
            if deletion is not None:
                self._omitted = _name_change(deletion, "table row deleted")
            elif _is_set(properties, "hidden") and not self._context.keeps_hidden:
                self._omitted = Omitted("hidden", "table row")
            before = read_number(properties.find(f"{WORD}gridBefore"), 60)
            if before:
                row.cells.append(Cell(columns=before))

        def leave() -> None:
            if self._omitted is saved_omitted and row.cells:
                table.rows.append(row)
            self._row, self._omitted = saved_row, saved_omitted

        return element, leave

    def _enter_cell(self, element: Any) -> Step:
        if self._row is None:
            return element, None
        row, cell, saved_blocks, saved_omitted = self._row, Cell(), self._blocks, self._omitted
        own_blocks: list[Block] = []
        self._blocks, self._paragraph = own_blocks, None
        properties = element.find(f"{WORD}tcPr")
        if properties is not None:
            cell.columns = read_number(properties.find(f"{WORD}gridSpan"), 63) or 1
            merge = properties.find(f"{WORD}vMerge")
            if merge is not None:
                cell.merge = merge.get(f"{WORD}val") or "continue"
            merge = properties.find(f"{WORD}hMerge")
            cell.is_merged_left = merge is not None and merge.get(f"{WORD}val") != "restart"
            deletion = properties.find(f"{WORD}cellDel")
            if deletion is not None:
                self._omitted = _name_change(deletion, "table cell deleted")

        def leave() -> None:
            self._blocks, self._omitted = saved_blocks, saved_omitted
            cell.blocks = join_paragraphs(own_blocks)
            if cell.is_merged_left and row.cells:
                row.cells[-1].columns += cell.columns
            else:
                row.cells.append(cell)

        return element, leave


def _find_first(element: Any, tag: str) -> Any:
    """Return the first child if it has the tag, which is where properties are; else None."""
    child = element[0] if len(element) else None
    return child if child is not None and child.tag == tag else element.find(tag)


def _is_set(properties: Any, name: str) -> bool:
    child = properties.find(f"{WORD}{name}") if properties is not None else None
    return child is not None and is_on(child.get(f"{WORD}val", "1"))


def _read_position(properties: Any) -> str:
    child = properties.find(f"{WORD}vertAlign") if properties is not None else None
    value = "" if child is None else child.get(f"{WORD}val", "")
    return value if value in ("superscript", "subscript") else ""


def _read_form_field(element: Any) -> str:
    """Return the sign of a check box, or the choice in a list, of a form."""
    box = next(element.iter(f"{WORD}checkBox"), None)
    if box is not None:
        state = box.find(f"{WORD}checked")
        state = box.find(f"{WORD}default") if state is None else state
        is_checked = state is not None and is_on(state.get(f"{WORD}val", "1"))
        return "\u2612 " if is_checked else "\u2610 "
    choices = next(element.iter(f"{WORD}ddList"), None)
    if choices is None:
        return ""
    entries = [entry.get(f"{WORD}val", "") for entry in choices.iter(f"{WORD}listEntry")]
    index = read_number(choices.find(f"{WORD}result"), 10_000) or 0
    return entries[index] if index < len(entries) else ""


def _name_change(element: Any, change: str) -> Omitted:
    author = element.get(f"{WORD}author", "")
    return Omitted("deleted", f"{change} by {author}" if author else change)


def _skip(reader: PartReader, element: Any) -> Step:
    return None


def _add_character(character: str) -> Callable[[PartReader, Any], Step]:
    def enter(reader: PartReader, element: Any) -> Step:
        reader._add_text(character)
        return None

    return enter


_ENTER: dict[str, Callable[[PartReader, Any], Step]] = {
    f"{WORD}p": PartReader._enter_paragraph,
    f"{WORD}r": PartReader._enter_run,
    f"{WORD}t": PartReader._enter_text,
    f"{WORD}delText": PartReader._enter_text,
    f"{WORD}sym": PartReader._enter_symbol,
    f"{WORD}br": PartReader._enter_break,
    f"{WORD}fldChar": PartReader._enter_field_sign,
    f"{_VML}textpath": PartReader._enter_art,
    f"{WORD}cr": _add_character("\n"),
    f"{WORD}tab": _add_character("\t"),
    f"{WORD}ptab": _add_character("\t"),
    f"{WORD}noBreakHyphen": _add_character("\u2011"),
    f"{WORD}footnoteReference": PartReader._enter_note_reference,
    f"{WORD}endnoteReference": PartReader._enter_note_reference,
    f"{WORD}commentReference": PartReader._enter_comment,
    f"{WORD}commentRangeStart": PartReader._enter_comment,
    f"{WORD}del": PartReader._enter_deletion,
    f"{WORD}moveFrom": PartReader._enter_deletion,
    f"{WORD}tbl": PartReader._enter_table,
    f"{WORD}tr": PartReader._enter_row,
    f"{WORD}tc": PartReader._enter_cell,
    f"{WORD}txbxContent": PartReader._enter_box,
    f"{MATH}oMath": PartReader._enter_formula,
    f"{DRAWING}p": PartReader._enter_drawing_paragraph,
    f"{CHART}chart": PartReader._enter_chart,
    f"{EXTENDED_CHART}chart": PartReader._enter_chart,
    f"{DIAGRAM}relIds": PartReader._enter_diagram,
    **{
        f"{WORD}{name}": _skip
        for name in (
            *("pPr", "rPr", "tblPr", "tblGrid", "trPr", "tcPr", "sectPr", "sdtPr", "sdtEndPr"),
            *("rt", "rubyPr", "instrText", "delInstrText", "tblPrEx"),
        )
    },
}
