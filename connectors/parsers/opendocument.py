"""Reading OpenDocument texts and presentations."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from itertools import islice
from typing import Any

from connectors.parsers.markdown_tables import Cell, format_table, repeat_spanned_cells
from connectors.parsers.office_parts import OfficeText
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.opendocument_styles import (
    ListCounter,
    OpenDocumentStyles,
    get_attribute,
    get_count,
)
from connectors.parsers.safe_zip import ZippedFile, local_name, parse_xml
from connectors.parsers.text_builder import TextBuilder
from rag.errors import ParseError
from rag.types import OmissionReason, to_well_formed

_MAX_PARAGRAPHS_ABOVE_TITLE = 50
_MAX_HEADING_CHARACTERS = 200
_MAX_ROW_REPEATS = 100
_MAX_COLUMNS = 1_000
_MAX_SPANNED_ROWS = 65_534
_BLOCKS = ("frame", "text-box", "p", "h", "list", "list-item", "title", "desc", "table-cell")
_SKIPPED = ("forms", "sequence-decls", "ruby-text", "note-citation", "number")
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"  # author and date of a comment
_MARGIN_CLASSES = ("footer", "header", "date-time", "page-number")
_SEPARATORS = ("s", "tab", "line-break")


def _is_skipped(element: Any) -> bool:
    return local_name(element) in _SKIPPED or str(element.tag).startswith(_DUBLIN_CORE)


def read_open_document(archive: ZippedFile, hidden: bool) -> OfficeText:
    """Read a text or a presentation. Hidden content is left out unless `hidden`.

    Raises `ParseError` for a damaged file and `RecursionError` for one that is nested too deep.
    """
    content = parse_xml(archive.read("content.xml"), "document")
    roots = [content]
    if "styles.xml" in archive.names:
        with contextlib.suppress(ParseError):
            roots.insert(0, parse_xml(archive.read("styles.xml"), "document"))
    styles = OpenDocumentStyles(*roots)
    body = next((e for e in content.iter() if local_name(e) == "body"), None)
    reader = _OpenDocumentReader(archive, styles, hidden)
    if body is not None:
        reader.write_elements(body, 0)
    return OfficeText(
        reader.builder,
        reader.headings,
        _find_styled_title(content, styles),
        tuple(reader.slides_with_notes),
        reader.log,
        [] if body is None else list(_list_texts(body)),
    )


def _find_styled_title(content: Any, styles: OpenDocumentStyles) -> str:
    """Return the first paragraph in the style Title, or in one that is derived from it."""
    paragraphs = content.iter("{*}p", "{*}h")
    for element in islice(paragraphs, _MAX_PARAGRAPHS_ABOVE_TITLE):
        if styles.is_title(get_attribute(element, "style-name")):
            return to_well_formed(" ".join(" ".join(_list_texts(element)).split()))
    return ""


def _list_texts(root: Any) -> Iterator[str]:
    """Yield all text of an element, paragraph by paragraph, with hidden and deleted text.

    This is independent of the conversion, to compare its result with.
    """
    pieces: list[str] = []
    stack: list[tuple[Any, Any]] = [(root, iter(root))]
    pieces.append(root.text or "")
    while stack:
        parent, children = stack[-1]
        element = next(children, None)
        if element is None:
            stack.pop()
            pieces.append("\n" if local_name(parent) in _BLOCKS else "")
            pieces.append("" if parent is root else parent.tail or "")
            continue
        name = local_name(element)
        if _is_skipped(element) or name in _SEPARATORS or not name:
            pieces.append("\n" if name in _SEPARATORS else "")
            pieces.append(element.tail or "")
            continue
        pieces.append("\n" if name in _BLOCKS or name == "note" else "")
        pieces.append(element.text or "")
        stack.append((element, iter(element)))
    yield from "".join(pieces).split("\n")


class _OpenDocumentReader:
    """Writes the elements of a document one after the other."""

    def __init__(self, archive: ZippedFile, styles: OpenDocumentStyles, hidden: bool) -> None:
        self._archive = archive
        self._styles = styles
        self._keeps_hidden = hidden
        self._comments: list[str] = []
        self._outline = ListCounter(styles.outline)
        self._counters: dict[str, ListCounter] = {}
        self._counter = ListCounter({})
        self._slide = 0
        self.builder = TextBuilder()
        self.headings: list[tuple[int, int, str]] = []
        self.slides_with_notes: list[int] = []
        self.log = OmissionLog()

    def write_elements(self, parent: Any, depth: int) -> None:
        """Write the children of an element; `depth` is the number of lists around them."""
        for element in parent:
            name = local_name(element)
            if self._leave_out(element, name):
                continue
            if name in ("h", "p"):
                self._write_paragraph(element, is_heading=name == "h")
            elif name in ("list-item", "list-header"):
                self._write_item(element, depth, is_counted=name == "list-item")
            elif name == "list":
                self._write_list(element, depth)
            elif name == "table":
                self.builder.write_paragraph(self._format_table(element))
                self._write_comments()
            elif name == "page":
                self._write_slide(element, depth)
            elif name == "frame" and get_attribute(element, "class") == "title":
                if title := " ".join(self._read_text(element).split()):
                    self._write_heading(title, 1)
            elif name == "notes":
                self._write_notes(element)
            elif name == "object":
                self.builder.write_paragraph(self._read_object(element))
            elif name == "annotation":
                self._read_comment(element)
            elif name not in ("forms", "sequence-decls"):
                self.write_elements(element, depth)

    # -- What is left out ------------------------------------------------------------------

    def _leave_out(self, element: Any, name: str) -> bool:
        """Whether an element is hidden, deleted or repeated; record it if so."""
        if name == "tracked-changes":
            self._log_deletions(element)
            return True
        if name == "page":
            self._slide += 1
        reason: OmissionReason = "hidden"
        label = {"page": f"slide {self._slide}", "table-row": "table row"}.get(name, "text")
        if name == "frame" and get_attribute(element, "class") in _MARGIN_CLASSES:
            reason, label = "repeated", get_attribute(element, "class").replace("-", " ")
        elif self._keeps_hidden or not self._is_hidden(element, name):
            return False
        text = "\n".join(_list_texts(element))
        if text.strip() or name == "page":
            self.log.add(reason, label, text)
        return True

    def _is_hidden(self, element: Any, name: str) -> bool:
        style = get_attribute(element, "style-name")
        if name in ("p", "h"):
            return self._styles.is_hidden("paragraph", style) or any(
                local_name(child) == "hidden-paragraph"
                and get_attribute(child, "is-hidden") == "true"
                for child in element
            )
        if name == "span":
            return self._styles.is_hidden("text", style)
        if name == "page":
            return self._styles.is_hidden("drawing-page", style)
        if name == "table":
            return self._styles.is_hidden("table", style)
        if name == "section":
            display = get_attribute(element, "display")
            is_off = display == "condition" and get_attribute(element, "is-hidden") == "true"
            return display == "none" or is_off
        if name in ("hidden-text", "conditional-text"):
            return name == "hidden-text" and get_attribute(element, "is-hidden") != "false"
        if name == "table-row":
            return get_attribute(element, "visibility") in ("collapse", "filter")
        return False

    def _log_deletions(self, element: Any) -> None:
        for region in element:
            for deletion in region.iter("{*}deletion"):
                author = next(("".join(e.itertext()) for e in deletion.iter("{*}creator")), "")
                text = "\n".join(_list_texts(deletion))
                if text.strip():
                    name = f"text deleted by {author}" if author else "text deleted"
                    self.log.add("deleted", name, text)

    # -- Paragraphs and lists --------------------------------------------------------------

    def _write_paragraph(self, element: Any, is_heading: bool, label: str = "") -> None:
        style = get_attribute(element, "style-name")
        level = self._styles.find_level(style)
        if is_heading:
            level = get_count(element, "outline-level", 10)
        elif level is None and not self._slide and self._styles.is_title(style):
            level = 1
        text = self._read_text(element)
        title = " ".join(text.split())
        if level and title and (is_heading or len(title) <= _MAX_HEADING_CHARACTERS):
            if is_heading and get_attribute(element, "is-list-header") != "true":
                label = self._outline.count(level, self._read_start(element)) or label
            self._write_heading(" ".join(f"{label} {title}".split()), level)
        else:
            self.builder.write_paragraph(text)
        self._write_comments()

    def _write_heading(self, title: str, level: int) -> None:
        sign = "#" * min(level, 6)
        self.builder.write_paragraph(f"{sign} {title}")
        start = self.builder.offset - len(title) - 2 - len(sign)
        self.headings.append((start, level, title[:_MAX_HEADING_CHARACTERS]))

    def _read_start(self, element: Any) -> int | None:
        if get_attribute(element, "restart-numbering") != "true":
            return None
        return get_count(element, "start-value", 32_767)

    def _write_list(self, element: Any, depth: int) -> None:
        name, outer_counter = get_attribute(element, "style-name"), self._counter
        if depth == 0:
            self.builder.write("\n" if self.builder.offset else "")
            is_continued = get_attribute(element, "continue-numbering") == "true"
            is_continued = is_continued or bool(get_attribute(element, "continue-list"))
            if not is_continued or name not in self._counters:
                self._counters[name] = ListCounter(self._styles.find_list_levels(name))
            self._counter = self._counters[name]
        elif name:
            self._counter = ListCounter(self._styles.find_list_levels(name))
        self.write_elements(element, depth + 1)
        self._counter = outer_counter

    def _write_item(self, element: Any, depth: int, is_counted: bool) -> None:
        start = get_count(element, "start-value", 32_767, -1)
        label = self._counter.count(depth, start if start >= 0 else None) if is_counted else ""
        sign = f"{label.strip()} " if label.strip() else "- "
        for child in element:
            name = local_name(child)
            if self._leave_out(child, name):
                continue
            if name == "list":
                self._write_list(child, depth)
            elif name == "h":
                self._write_paragraph(child, is_heading=True, label=label)
            elif text := self._read_text(child):
                self.builder.write_line("  " * max(0, depth - 1) + sign + text)
                sign = "- " if sign == "- " else "  "
        self._write_comments()

    # -- Slides, notes, comments, objects --------------------------------------------------

    def _write_slide(self, element: Any, depth: int) -> None:
        with self.builder.mark_block("slide", self._slide):
            self.write_elements(element, depth)
            self._write_comments()

    def _write_notes(self, element: Any) -> None:
        """Write the speaker notes of a slide."""
        lines = [self._read_text(p) for p in element.iter("{*}p") if not _is_in_margin(p, element)]
        notes = "\n".join(line for line in lines if line.strip())
        if notes:
            self.slides_with_notes.append(self._slide)
            self.builder.write_paragraph(f"Notes: {notes}")

    def _read_comment(self, element: Any) -> None:
        name = next(("".join(e.itertext()).strip() for e in element.iter("{*}creator")), "")
        text = " ".join(" ".join(self._read_text(p) for p in element.iter("{*}p")).split())
        if text:
            head = f"Comment by {name}" if name else "Comment"
            self._comments.append(f"[{head}: {text}]")

    def _write_comments(self) -> None:
        comments, self._comments = self._comments, []
        for comment in comments:
            self.builder.write_paragraph(comment)

    def _read_object(self, element: Any) -> str:
        """Return the title and the values of a chart, or the tables of another embedded file."""
        path = posixpath.normpath(get_attribute(element, "href")).lstrip("/")
        name = f"{path}/content.xml"
        try:
            root = parse_xml(self._archive.read(name), "document")
        except ParseError:
            return ""
        parts = [" ".join(_list_texts(title)).strip() for title in root.iter("{*}title")]
        parts += (self._format_table(table) for table in root.iter("{*}table"))
        parts += ((math.text or "") for math in root.iter("{*}annotation") if not len(math))
        return "\n\n".join(part for part in parts if part.strip())

    # -- Tables ----------------------------------------------------------------------------

    def _format_table(self, table: Any) -> str:
        rows: list[list[Cell]] = []
        header_rows = 0
        hidden_columns = set() if self._keeps_hidden else _find_hidden_columns(table)
        for row, parents in _iterate_rows(table):
            if self._leave_out(row, "table-row"):
                continue
            cells = self._read_cells(row, hidden_columns)
            has_text = any(cell.text for cell in cells)
            repeats = get_count(row, "number-rows-repeated", _MAX_ROW_REPEATS) if has_text else 1
            rows += [cells] * max(1, repeats)
            header_rows += "table-header-rows" in parents
        return format_table(repeat_spanned_cells(rows), header_rows or None)

    def _read_cells(self, row: Any, hidden_columns: set[int]) -> list[Cell]:
        cells: list[Cell] = []
        column = 0
        for element in row:
            name = local_name(element)
            if name not in ("table-cell", "covered-table-cell"):
                continue
            repeats = max(1, get_count(element, "number-columns-repeated", _MAX_COLUMNS))
            columns = range(column, column + repeats)
            column += repeats
            if name == "covered-table-cell":  # it belongs to a cell that spans it
                continue
            if hidden_columns and hidden_columns.issuperset(columns):
                text = "\n".join(_list_texts(element))
                if text.strip():
                    self.log.add("hidden", f"table column {columns[0] + 1}", text)
                continue
            text = "\n".join(filter(None, (self._read_child(part) for part in element)))
            spanned = max(1, get_count(element, "number-columns-spanned", _MAX_COLUMNS))
            spanned = sum(i not in hidden_columns for i in range(columns[0], columns[0] + spanned))
            height = max(1, get_count(element, "number-rows-spanned", _MAX_SPANNED_ROWS))
            visible_columns = [i for i in columns if i not in hidden_columns]
            cells += [Cell(text, height, max(1, spanned))] * len(visible_columns)
        return cells

    # -- Text ------------------------------------------------------------------------------

    def _read_child(self, element: Any) -> str:
        return "" if self._leave_out(element, local_name(element)) else self._read_text(element)

    def _read_text(self, element: Any) -> str:
        """Return the text of a paragraph, in which elements represent white space."""
        pieces: list[str] = [element.text or ""]
        for child in element:
            name = local_name(child)
            if name == "s":
                pieces.append(" " * max(1, get_count(child, "c", 1_000)))
            elif name == "tab":
                pieces.append("\t")
            elif name == "line-break":
                pieces.append("\n")
            elif name == "annotation":
                self._read_comment(child)
            elif name == "object":
                pieces.append(f"\n{self._read_object(child)}\n")
            elif name == "note":
                note = " ".join(self._read_child(part) for part in child).strip()
                pieces.append(f" ({note})")
            elif not _is_skipped(child) and not self._leave_out(child, name):
                text = self._read_text(child)
                pieces.append(f"\n{text}\n" if name in _BLOCKS else text)
            pieces.append(child.tail or "")
        return "".join(pieces).strip()


def _is_in_margin(element: Any, root: Any) -> bool:
    """Whether a paragraph is in the header, footer, date or page number of `root`."""
    for ancestor in element.iterancestors():
        if ancestor is root:
            return False
        if get_attribute(ancestor, "class") in _MARGIN_CLASSES:
            return True
    return False


def _find_hidden_columns(table: Any) -> set[int]:
    """Return the indexes of the hidden columns of a table, without those of nested tables."""
    hidden: set[int] = set()
    column = 0
    stack = list(reversed(table))
    while stack:
        element = stack.pop()
        name = local_name(element)
        if name == "table-column":
            repeats = max(1, get_count(element, "number-columns-repeated", _MAX_COLUMNS))
            if get_attribute(element, "visibility") in ("collapse", "filter"):
                hidden.update(range(column, column + repeats))
            column += repeats
        elif name in ("table-columns", "table-column-group", "table-header-columns"):
            stack += reversed(element)
    return hidden


def _iterate_rows(table: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield the rows of a table, without those of nested tables, and the names of their groups."""
    stack: list[tuple[Any, tuple[str, ...]]] = [(child, ()) for child in reversed(table)]
    while stack:
        element, parents = stack.pop()
        name = local_name(element)
        if name == "table-row":
            yield element, parents
        elif name in ("table-rows", "table-row-group", "table-header-rows"):
            stack += [(child, (*parents, name)) for child in reversed(element)]
