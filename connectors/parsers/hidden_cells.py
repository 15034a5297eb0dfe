"""Hidden rows and columns of sheets, and formulas without a stored result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import unescape
from typing import NamedTuple

from connectors.parsers.table_layout import Span

_MAX_COLUMNS = 16_384
_MAX_FORMULAS = 100_000  # of a sheet
_ROW_OR_COLUMN = re.compile(rb"<(?:\w+:)?(row|col)\s([^>]*)>")
_ATTRIBUTE = re.compile(rb"""\b(r|min|max|hidden)\s*=\s*["']([^"']*)["']""")
_FORMULA_WITHOUT_RESULT = re.compile(
    rb'<c\s(?:[^>]*\s)?r="([A-Z]{1,3})(\d{1,7})"[^>]*>\s*<f(?:\s[^>]*)?(?:/>|>([^<]*)</f>)\s*'
    rb"(?:<v\s*/>|<v>\s*</v>)?\s*</c>"
)


class HiddenLines(NamedTuple):
    """The numbers of hidden rows and columns, from 0."""

    rows: frozenset[int]
    columns: frozenset[int]


NO_HIDDEN_LINES = HiddenLines(frozenset(), frozenset())


def find_hidden_lines(xml: bytes) -> HiddenLines:
    """Return the rows and columns that are hidden in the XML of a sheet of XLSX."""
    rows: set[int] = set()
    columns: set[int] = set()
    if b"hidden=" not in xml:
        return NO_HIDDEN_LINES
    y = -1
    for match in _ROW_OR_COLUMN.finditer(xml):
        attributes = dict(_ATTRIBUTE.findall(match.group(2)))
        is_hidden = attributes.get(b"hidden") in (b"1", b"true")
        if match.group(1) == b"row":
            y = _read_number(attributes.get(b"r", b""), y + 2) - 1
            rows.update([y] if is_hidden else [])
        elif is_hidden:
            first = _read_number(attributes.get(b"min", b""), 1)
            last = _read_number(attributes.get(b"max", b""), first)
            columns.update(range(first - 1, min(last, _MAX_COLUMNS)))
    return HiddenLines(frozenset(rows), frozenset(columns))


def _read_number(digits: bytes, default: int) -> int:
    return int(digits) if digits.isdigit() and len(digits) < 8 else default


def find_unresolved_formulas(xml: bytes) -> Iterator[tuple[int, int, str]]:
    """Yield row, column (from 0) and formula of each cell of XLSX without a stored result.

    The formula of a cell that shares one with others is only ``=``.
    """
    if b"<f" not in xml:
        return
    for count, match in enumerate(_FORMULA_WITHOUT_RESULT.finditer(xml)):
        if count == _MAX_FORMULAS:
            return
        letters, row, formula = match.groups()
        text = unescape((formula or b"").decode("utf-8", errors="replace"))
        yield int(row) - 1, parse_column(letters), f"={' '.join(text.split())}"


def parse_column(letters: bytes) -> int:
    """Return the number of a column, from 0, such as 27 for ``AB``."""
    column = 0
    for letter in letters.upper()[:4]:
        column = column * 26 + letter - 64
    return column - 1


def format_column(column: int) -> str:
    """Return the letters of a column, such as ``AB`` for 27."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


class VisibleCells(NamedTuple):
    """The cells of a sheet without its hidden rows and columns."""

    rows: list[list[str]]
    raw_values: dict[tuple[int, int], int | float | str]
    spans: list[Span]
    row_numbers: list[int]
    """The number of each row in the sheet, from 1."""
    hidden: list[tuple[str, str]]
    """Name and text of each hidden row and column that has text."""


def remove_hidden_lines(
    rows: Sequence[list[str]],
    raw_values: Mapping[tuple[int, int], int | float | str],
    spans: Iterable[Span],
    lines: HiddenLines,
) -> VisibleCells:
    """Remove hidden rows and columns; merged cells shrink to their visible part."""
    width = max(map(len, rows), default=0)
    spans = list(spans)
    rows = _move_span_labels(rows, spans, lines)
    visible_rows = [y for y in range(len(rows)) if y not in lines.rows]
    visible_columns = [x for x in range(width) if x not in lines.columns]
    new_y = {y: i for i, y in enumerate(visible_rows)}
    new_x = {x: i for i, x in enumerate(visible_columns)}
    hidden = list(_name_hidden_rows(rows, lines))
    for x in sorted(lines.columns):
        texts = [rows[y][x] for y in visible_rows if x < len(rows[y]) and rows[y][x]]
        hidden += [(f"column {format_column(x)}", " ".join(texts))] if texts else []
    kept_rows = [
        [row[x] for x in visible_columns if x < len(row)] for row in (rows[y] for y in visible_rows)
    ]
    kept_values = {
        (new_y[y], new_x[x]): value
        for (y, x), value in raw_values.items()
        if y in new_y and x in new_x
    }
    return VisibleCells(
        kept_rows,
        kept_values,
        list(_shrink_spans(spans, visible_rows, visible_columns)),
        [y + 1 for y in visible_rows],
        hidden,
    )


def _name_hidden_rows(rows: Sequence[list[str]], lines: HiddenLines) -> Iterator[tuple[str, str]]:
    """Yield name and text of each series of hidden rows with text."""
    filled = [y for y in sorted(lines.rows) if y < len(rows) and any(rows[y])]
    first = 0
    for i, y in enumerate(filled):
        if i + 1 < len(filled) and filled[i + 1] == y + 1:
            continue
        series = filled[first : i + 1]
        name = f"row {y + 1}" if len(series) == 1 else f"rows {series[0] + 1} to {y + 1}"
        yield name, " ".join(text for number in series for text in rows[number] if text)
        first = i + 1


def _move_span_labels(
    rows: Sequence[list[str]], spans: Iterable[Span], lines: HiddenLines
) -> list[list[str]]:
    """Move the text of each merged cell to the first row and column of it that are visible."""
    moved = list(rows)
    for span in spans:
        visible_y = next((y for y in range(span.top, span.bottom) if y not in lines.rows), None)
        visible_x = next((x for x in range(span.left, span.right) if x not in lines.columns), None)
        if visible_y is None or visible_x is None or (visible_y, visible_x) == span[::2]:
            continue
        if span.top < len(rows) and span.left < len(rows[span.top]) and visible_y < len(rows):
            text, row = rows[span.top][span.left], list(moved[visible_y])
            row += [""] * (visible_x + 1 - len(row))
            row[visible_x] = row[visible_x] or text
            moved[visible_y] = row
    return moved


def _shrink_spans(
    spans: Iterable[Span], rows: Sequence[int], columns: Sequence[int]
) -> Iterator[Span]:
    from bisect import bisect_left

    for span in spans:
        top, bottom = bisect_left(rows, span.top), bisect_left(rows, span.bottom)
        left, right = bisect_left(columns, span.left), bisect_left(columns, span.right)
        if (bottom - top) * (right - left) > 1:
            yield Span(top, bottom, left, right)
