"""Tables in PDF pages whose cells are bounded by drawn lines or rectangles."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress, pairwise
from typing import Any, NamedTuple

from connectors.parsers.pdf_layout import LINE_END_HYPHEN, CharacterBoxes, Line
from connectors.parsers.pdf_table_lines import format_table, join_cell_lines
from connectors.parsers.pdf_table_rows import is_value
from connectors.parsers.table_layout import count_header_rows
from rag.types import Table

_MAX_OBJECTS = 20_000  # of a page; on a page with more, no lines are read
_SAMPLED_OBJECTS = 60  # of a page, that are searched for a vertical line
_MAX_SEGMENTS = 400  # of a path
_MAX_RULES = 1_000  # of a page
_THIN_POINTS = 2.5  # the width of a line; what is wider is a rectangle
_MIN_LENGTH_POINTS = 6.0
_JOINED_POINTS = 3.0  # between the ends of lines that meet
_MAX_COLUMNS = 40
_MAX_ROWS = 200
_MAX_HEADER_ROWS = 4
_MAX_CELL_CHARACTERS = 800  # a longer text is in a frame, not in a cell
_MAX_CROSSING_SHARE = 0.02  # of the words of a table, that a line may go through
_MIN_FILLED_SHARE = 0.3  # of the cells of a table
_SAME_EDGE_POINTS = 3.0  # between the columns of a table and those of its continuation
_MAX_DIVIDED_SHARE = 0.2  # of the cells: they have numbers of several columns
_COLUMN_GAP = 1.5  # of the line height
_NUMBER_ENDS = "0123456789)%"
_WORD = re.compile(rf"[^\s{LINE_END_HYPHEN}]+{LINE_END_HYPHEN}?")

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class _Rule:
    """A horizontal or vertical line: its position on one axis, its ends on the other."""

    position: float
    start: float
    end: float


# -- Reading lines ---------------------------------------------------------------------------


def read_rules(page: Any, boxes: CharacterBoxes) -> tuple[list[_Rule], list[_Rule]]:
    """Return the horizontal and the vertical lines of a page; none if it has no vertical ones."""
    import pypdfium2.raw as pdfium

    count = pdfium.FPDFPage_CountObjects(page.raw)
    if not 4 <= count <= _MAX_OBJECTS:
        return [], []
    step = max(1, count // _SAMPLED_OBJECTS)
    sample = (_read_boxes(path, boxes) for path in _list_paths(page, range(0, count, step)))
    if not any(box[3] - box[1] > _MIN_LENGTH_POINTS for found in sample for box in found):
        return [], []
    horizontal: list[_Rule] = []
    vertical: list[_Rule] = []
    for path in _list_paths(page, range(count)):
        for x_min, y_min, x_max, y_max in _read_boxes(path, boxes):
            is_thin = (y_max - y_min <= _THIN_POINTS, x_max - x_min <= _THIN_POINTS)
            if not is_thin[1] and x_max - x_min >= _MIN_LENGTH_POINTS:
                edges = {(y_min + y_max) / 2} if is_thin[0] else {y_min, y_max}
                horizontal += [_Rule(y, x_min, x_max) for y in edges]
            if not is_thin[0] and y_max - y_min >= _MIN_LENGTH_POINTS:
                edges = {(x_min + x_max) / 2} if is_thin[1] else {x_min, x_max}
                vertical += [_Rule(x, y_min, y_max) for x in edges]
        if len(horizontal) + len(vertical) > 4 * _MAX_RULES:
            return [], []
    return _join_rules(horizontal), _join_rules(vertical)


def _list_paths(page: Any, indices: Iterable[int]) -> Iterator[int]:
    """Yield the addresses of those objects of a page that are paths; thousands are text."""
    import pypdfium2.raw as pdfium

    functions, path_type = _load_functions(), pdfium.FPDF_PAGEOBJ_PATH
    get_object, get_type = functions.get_object, functions.get_type
    page_address = ctypes.cast(page.raw, ctypes.c_void_p).value
    for index in indices:
        item = get_object(page_address, index)
        if get_type(item) == path_type:
            yield item


class _Functions(NamedTuple):
    """Functions of PDFium that take plain addresses: a call takes half the time."""

    get_object: Any
    get_type: Any
    count_segments: Any
    get_bounds: Any


@lru_cache(maxsize=1)
def _load_functions() -> _Functions:
    import pypdfium2.raw as pdfium

    def load(function: Any, result: Any, *arguments: Any) -> Any:
        address = ctypes.cast(function, ctypes.c_void_p).value or 0
        return ctypes.CFUNCTYPE(result, *arguments)(address)

    address, integer = ctypes.c_void_p, ctypes.c_int
    return _Functions(
        load(pdfium.FPDFPage_GetObject, address, address, integer),
        load(pdfium.FPDFPageObj_GetType, integer, address),
        load(pdfium.FPDFPath_CountSegments, integer, address),
        load(pdfium.FPDFPageObj_GetBounds, integer, *[address] * 5),
    )


def _read_boxes(address: int, boxes: CharacterBoxes) -> list[Box]:
    """Return the boxes of the lines and rectangles of the path at an address."""
    import pypdfium2.raw as pdfium

    functions = _load_functions()
    segments = functions.count_segments(address)
    if segments > _MAX_SEGMENTS:
        return []
    if segments <= 5:
        bounds = (ctypes.c_float * 4)()
        start = ctypes.addressof(bounds)
        if not functions.get_bounds(address, start, start + 4, start + 8, start + 12):
            return []
        left, bottom, right, top = bounds
        is_thin = min(right - left, top - bottom) <= _THIN_POINTS
        if not is_thin and not _is_stroked(ctypes.cast(address, pdfium.FPDF_PAGEOBJECT)):
            return []  # the background of a cell
        return [boxes.turn((left, bottom, right, top))]
    item = ctypes.cast(address, pdfium.FPDF_PAGEOBJECT)
    if not _is_stroked(item):
        return []
    return [boxes.turn(box) for box in _read_segments(item, segments)]


def _is_stroked(item: Any) -> bool:
    """Whether the outline of a path is drawn."""
    import pypdfium2.raw as pdfium

    fill_mode, stroke = ctypes.c_int(), ctypes.c_int()
    return bool(pdfium.FPDFPath_GetDrawMode(item, fill_mode, stroke)) and bool(stroke.value)


def _read_segments(item: Any, count: int) -> Iterator[Box]:
    """Yield the boxes of the horizontal and vertical segments of a path."""
    import pypdfium2.raw as pdfium

    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFPageObj_GetMatrix(item, matrix)
    x, y = ctypes.c_float(), ctypes.c_float()
    previous: tuple[float, float] | None = None
    for i in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(item, i)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        point = (
            matrix.a * x.value + matrix.c * y.value + matrix.e,
            matrix.b * x.value + matrix.d * y.value + matrix.f,
        )
        is_line = pdfium.FPDFPathSegment_GetType(segment) == pdfium.FPDF_SEGMENT_LINETO
        if is_line and previous is not None:
            x_min, x_max = sorted((previous[0], point[0]))
            y_min, y_max = sorted((previous[1], point[1]))
            if min(x_max - x_min, y_max - y_min) <= _THIN_POINTS:
                yield x_min, y_min, x_max, y_max
        previous = point


def _join_rules(rules: Sequence[_Rule]) -> list[_Rule]:
    """Return the lines from low to high; parts of one line are joined."""
    joined: list[_Rule] = []
    for rule in sorted(rules, key=lambda rule: (rule.position, rule.start)):
        for earlier in reversed(joined[-_MAX_COLUMNS:]):
            is_same = abs(rule.position - earlier.position) <= _THIN_POINTS
            if (
                is_same
                and rule.start <= earlier.end + _JOINED_POINTS
                and (rule.end >= earlier.start - _JOINED_POINTS)
            ):
                earlier.start, earlier.end = (
                    min(rule.start, earlier.start),
                    max(rule.end, earlier.end),
                )
                break
        else:
            joined.append(replace(rule))
    return joined


# -- Grids -----------------------------------------------------------------------------------


@dataclass
class _Grid:
    """The cells between lines: edges from left to right, and from top to bottom."""

    xs: list[float]
    ys: list[float]
    horizontal: list[_Rule]
    vertical: list[_Rule]

    def find_cell(self, x: float, y: float) -> tuple[int, int] | None:
        """Return row and column of a point; None if it is outside."""
        column = sum(edge <= x for edge in self.xs) - 1
        row = sum(edge >= y for edge in self.ys) - 1
        is_inside = 0 <= column < len(self.xs) - 1 and 0 <= row < len(self.ys) - 1
        return (row, column) if is_inside else None

    def is_crossed(self, x_min: float, x_max: float, y: float) -> bool:
        """Whether a vertical line goes through a word."""
        return any(
            x_min < rule.position < x_max and rule.start < y < rule.end for rule in self.vertical
        )

    def list_spans(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Return the first cell of the span of each cell: cells without a line between them."""
        first: dict[tuple[int, int], tuple[int, int]] = {}
        for row in range(len(self.ys) - 1):
            y = (self.ys[row] + self.ys[row + 1]) / 2
            for column in range(len(self.xs) - 1):
                x = (self.xs[column] + self.xs[column + 1]) / 2
                cell = (row, column)
                if column and not _has_rule(self.vertical, self.xs[column], y):
                    first[cell] = first[row, column - 1]
                elif row and not _has_rule(self.horizontal, self.ys[row], x):
                    first[cell] = first[row - 1, column]
                else:
                    first[cell] = cell
        return first


def _has_rule(rules: Sequence[_Rule], position: float, point: float) -> bool:
    return any(
        abs(rule.position - position) <= _THIN_POINTS and rule.start <= point <= rule.end
        for rule in rules
    )


def _find_grids(horizontal: Sequence[_Rule], vertical: Sequence[_Rule]) -> Iterator[_Grid]:
    """Yield a grid for each group of lines that cross one another."""
    remaining = list(vertical)
    while remaining:
        columns = new_columns = [remaining.pop()]
        rows: list[_Rule] = []
        other_rows = list(horizontal)
        while new_columns:
            met = [any(_meet(h, v) for v in new_columns) for h in other_rows]
            new_rows = list(compress(other_rows, met))
            other_rows = [h for h, is_met in zip(other_rows, met, strict=True) if not is_met]
            rows += new_rows
            met = [any(_meet(h, v) for h in new_rows) for v in remaining]
            new_columns = list(compress(remaining, met))
            remaining = [v for v, is_met in zip(remaining, met, strict=True) if not is_met]
            columns = [*columns, *new_columns]
        xs = _list_edges([v.position for v in columns], [p for h in rows for p in (h.start, h.end)])
        ys = _list_edges([h.position for h in rows], [p for v in columns for p in (v.start, v.end)])
        if 3 <= len(xs) <= _MAX_COLUMNS and 3 <= len(ys) <= _MAX_ROWS:
            yield _Grid(xs, ys[::-1], rows, columns)


def _meet(horizontal: _Rule, vertical: _Rule) -> bool:
    near = _JOINED_POINTS
    return (
        horizontal.start - near <= vertical.position <= horizontal.end + near
        and vertical.start - near <= horizontal.position <= vertical.end + near
    )


def _list_edges(positions: Sequence[float], ends: Sequence[float]) -> list[float]:
    """Return the positions of lines, and the outermost ends of the lines that cross them."""
    edges: list[float] = []
    for position in sorted([*positions, min(ends), max(ends)]) if ends else sorted(positions):
        if not edges or position - edges[-1] > 2 * _THIN_POINTS:
            edges.append(position)
    return edges


# -- Tables ----------------------------------------------------------------------------------


def insert_ruled_tables(lines: list[Line], page: Any, boxes: CharacterBoxes) -> list[Line]:
    """Return the lines of a page with one line for each table whose cells have borders."""
    horizontal, vertical = read_rules(page, boxes)
    if len(horizontal) < 3 or len(vertical) < 2 or len(horizontal) + len(vertical) > _MAX_RULES:
        return lines
    for grid in _find_grids(horizontal, vertical):
        covered = [line for line in lines if _is_inside(line, grid)]
        table = _make_table(grid, covered, boxes)
        if table is not None:
            covered_ids = {id(line) for line in covered}
            index = next(i for i, line in enumerate(lines) if id(line) in covered_ids)
            lines = [
                *lines[:index],
                table,
                *(line for line in lines[index:] if id(line) not in covered_ids),
            ]
    return lines


def _is_inside(line: Line, grid: _Grid) -> bool:
    return (
        not line.marks
        and line.x_max > line.x_min
        and line.x_min >= grid.xs[0] - _JOINED_POINTS
        and line.x_max <= grid.xs[-1] + _JOINED_POINTS
        and grid.ys[-1] <= (line.y_min + line.y_max) / 2 <= grid.ys[0]
    )


def _make_table(grid: _Grid, lines: Sequence[Line], boxes: CharacterBoxes) -> Line | None:
    """Return the line of a table; None if the lines are a frame around text or a drawing."""
    spans = grid.list_spans()
    texts = _read_cells(grid, spans, lines, boxes)
    filled_columns = {column for _, column in texts}
    if len(texts) < 4 or len(filled_columns) < 2 or len({row for row, _ in texts}) < 2:
        return None
    if len(texts) < _MIN_FILLED_SHARE * len(set(spans.values())):
        return None
    if max(map(len, texts.values())) > _MAX_CELL_CHARACTERS:
        return None
    columns = range(len(grid.xs) - 1)
    header_count = _count_header_rows(grid, spans, texts)
    names = [
        " ".join(
            dict.fromkeys(filter(None, (texts.get(spans[row, c]) for row in range(header_count))))
        )
        for c in columns
    ]
    rows = [
        [_find_text(texts, spans, row, column) for column in columns]
        for row in range(header_count, len(grid.ys) - 1)
    ]
    rows = [row for row in rows if any(row)]
    if not rows:
        return None
    table = format_table("", "", names, rows)
    table.edges = tuple(grid.xs)
    return table


def _find_text(
    texts: dict[tuple[int, int], str],
    spans: dict[tuple[int, int], tuple[int, int]],
    row: int,
    column: int,
) -> str:
    """Return the text of a cell; that of a span is repeated in its rows, not in its columns."""
    first = spans[row, column]
    return texts.get(first, "") if first[1] == column else ""


def _count_header_rows(
    grid: _Grid,
    spans: dict[tuple[int, int], tuple[int, int]],
    texts: dict[tuple[int, int], str],
) -> int:
    """Return the number of rows with names: the first, and those below names of several columns."""
    columns = range(len(grid.xs) - 1)
    first_row = [text for (row, _), text in texts.items() if row == 0]
    values = sum(map(is_value, first_row))
    if 2 * values > len(first_row) or (values and (0, 0) in texts):  # values, or years as names
        return count_header_rows(
            [
                [texts.get(spans[row, column], "") for column in columns]
                for row in range(len(grid.ys) - 1)
            ]
        )
    count = 1
    while count < min(len(grid.ys) - 2, _MAX_HEADER_ROWS):
        continues = any(spans[count, column][0] < count for column in columns)
        has_spans = any(spans[count - 1, column][1] < column for column in columns)
        has_no_label = not texts.get((count, 0)) or not texts.get((count - 1, 0))
        if not continues and not (has_spans and has_no_label):
            break
        count += 1
    return count


def _read_cells(
    grid: _Grid,
    spans: dict[tuple[int, int], tuple[int, int]],
    lines: Sequence[Line],
    boxes: CharacterBoxes,
) -> dict[tuple[int, int], str]:
    """Return the text of each cell that has one; lines that are wrapped in a cell are joined.

    Return {} if the lines do not bound cells: words cross them, numbers stand one below another, or
    there are numbers far apart in many of them.
    """
    words: dict[tuple[int, int], list[_Word]] = {}
    crossing_count = word_count = 0
    for line in lines:
        for word in _WORD.finditer(line.text):
            x_min, y_min, _, y_max = boxes.get_box(line.start + word.start())
            _, _, x_max, _ = boxes.get_box(line.start + word.end() - 1)
            y = (y_min + y_max) / 2
            cell = grid.find_cell(x_min + 0.5, y)
            crossing_count += grid.is_crossed(x_min + 1, x_max - 1, y)
            word_count += 1
            if cell is not None:
                words.setdefault(spans[cell], []).append(
                    _Word(y, x_min, x_max, y_max - y_min, word[0])
                )
    if crossing_count > _MAX_CROSSING_SHARE * word_count:
        return {}
    rows = {cell: _list_rows(cell_words) for cell, cell_words in words.items()}
    divided_count = sum(any(map(_has_columns, cell_rows)) for cell_rows in rows.values())
    if divided_count > _MAX_DIVIDED_SHARE * len(rows):
        return {}  # the lines between some columns are missing
    texts = {cell: [_join_words(row) for row in cell_rows] for cell, cell_rows in rows.items()}
    if any(sum(map(is_value, lines)) > 1 for lines in texts.values()):
        return {}  # the lines between some rows are missing
    return {cell: join_cell_lines(lines) for cell, lines in texts.items()}


class _Word(NamedTuple):
    """A word in a cell: its vertical centre, its edges, and the height of its line."""

    y: float
    x_min: float
    x_max: float
    height: float
    text: str


def _list_rows(words: Sequence[_Word]) -> list[list[_Word]]:
    """Return the lines of text in a cell, from left to right."""
    rows: list[list[_Word]] = []
    for word in sorted(words, key=lambda word: -word.y):
        if rows and rows[-1][0].y - word.y < 0.5 * word.height:
            rows[-1].append(word)
        else:
            rows.append([word])
    return [sorted(row, key=lambda word: word.x_min) for row in rows]


def _join_words(row: Sequence[_Word]) -> str:
    return " ".join(word.text for word in row)


def _has_columns(row: Sequence[_Word]) -> bool:
    """Whether a line of text has two numbers far apart."""
    return any(
        left.text[-1] in _NUMBER_ENDS
        and any(map(str.isdigit, right.text))
        and right.x_min - left.x_max > _COLUMN_GAP * left.height
        for left, right in pairwise(word for word in row if word.text not in "$€£%")
    )


# -- Continuations ---------------------------------------------------------------------------


def inherit_columns(pages: Sequence[Sequence[Line]]) -> None:
    """Give tables that continue on the next page the names of their columns."""
    last: Line | None = None
    for page in pages:
        lines = [line for line in page if line.text.strip() and not line.is_running]
        first = lines[0] if lines else None
        if first is not None and last is not None and _continues(last, first):
            start, end, table = first.marks[0]
            previous = last.marks[0][2]
            if isinstance(table, Table) and isinstance(previous, Table):
                table = table.model_copy(
                    update={"columns": previous.columns, "name": table.name or previous.name}
                )
                first.marks = ((start, end, table), *first.marks[1:])
        last = lines[-1] if lines else None


def _continues(upper: Line, lower: Line) -> bool:
    table = lower.marks[0][2] if lower.marks else None
    return (
        bool(upper.edges)
        and len(upper.edges) == len(lower.edges)
        and isinstance(table, Table)
        and not any(table.columns)
        and all(
            abs(a - b) <= _SAME_EDGE_POINTS for a, b in zip(upper.edges, lower.edges, strict=True)
        )
    )
