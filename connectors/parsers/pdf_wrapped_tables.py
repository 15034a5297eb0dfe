"""Tables without drawn lines whose cells have several lines of text.

Programs draw a table cell after cell: the lines of a cell below each other, then the cell to the
right of it, then the next row. PDFium keeps this order, but joins words at the same height. The
lines are therefore divided at their wide gaps and read as cells. Rows whose cells begin at the
same places are a table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from statistics import median

from connectors.parsers.pdf_columns import BULLETS
from connectors.parsers.pdf_layout import CharacterBoxes, Line
from connectors.parsers.pdf_table_lines import format_table, join_cell_lines
from connectors.parsers.pdf_table_rows import ends_with_value, is_value, split_tall_lines
from connectors.parsers.table_layout import count_header_rows

_MAX_PAGE_LINES = 1_000  # on a page with more lines, no tables are looked for
_MIN_ROWS = 3
_MAX_CELL_LINES = 20
_MAX_MEAN_LINES = 4.0  # of the cells; those of columns of prose have more
_MAX_MEAN_CHARACTERS = 120  # the same
_MIN_TEXT_COLUMNS = 2  # a table of numbers has one, for its labels: see `pdf_tables`
_MIN_FILLED_SHARE = 0.6  # of the cells
_ALIGNED_POINTS = 2.5
_LINE_DISTANCE = 1.6  # of the line height, between two lines of a cell
_ROW_GAP = 2.5  # the same, between the cells of two rows
_GAP = 0.56  # the same, between two cells
_LEFT = 1.5  # the same, from the left edge of the page to an inner column
_RISE = 0.4  # the same, from a line up to the first line of the next cell
_TALL_LINE = 1.3  # the same, of a line that has words of two cells
_MIN_STARTS = 2  # of parts that begin at the end of a narrower gap
_MAX_HEADER_PARTS = 16
_MARKER = re.compile(r"\W{1,2}|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.)]|[o◦]")  # of a list item


class _Cell:
    """Lines below each other, and the box around them."""

    def __init__(self, line: Line) -> None:
        self.lines = [line]
        self.x_min, self.x_max, self.y_min, self.y_max = (
            line.x_min,
            line.x_max,
            line.y_min,
            line.y_max,
        )

    def add(self, line: Line) -> None:
        """Add the next line."""
        self.lines.append(line)
        self.x_min, self.x_max = min(self.x_min, line.x_min), max(self.x_max, line.x_max)
        self.y_min, self.y_max = min(self.y_min, line.y_min), max(self.y_max, line.y_max)

    @property
    def length(self) -> int:
        """The number of characters."""
        return sum(len(line.text) for line in self.lines)

    @property
    def is_value(self) -> bool:
        """Whether the cell is a number, or a sign in front of one."""
        return len(self.lines) == 1 and (
            is_value(self.lines[0].text) or not self.lines[0].text.strip("$€£%() ")
        )

    @property
    def text(self) -> str:
        """The text of the cell."""
        return join_cell_lines([line.text for line in self.lines])


class _Table:
    """Rows of cells by column, and where the columns begin and end."""

    def __init__(self, row: Sequence[_Cell]) -> None:
        self.rows = [dict(enumerate(row))]
        self._starts = [cell.x_min for cell in row]
        self._ends = [cell.x_max for cell in row]

    def add(self, row: Sequence[_Cell]) -> bool:
        """Add a row if each of its cells is in a column of its own; return whether it is."""
        placed: dict[int, _Cell] = {}
        for cell in row:
            column = self._find_column(cell)
            if column is None or column <= max(placed, default=-1):
                return False
            placed[column] = cell
        for column, cell in placed.items():
            self._starts[column] = min(self._starts[column], cell.x_min)
            self._ends[column] = max(self._ends[column], cell.x_max)
        self.rows.append(placed)
        return True

    def _find_column(self, cell: _Cell) -> int | None:
        """Return the column that a cell is aligned with, or whose numbers it is above or below."""
        for column, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            next_start = self._starts[column + 1] if column + 1 < len(self._starts) else inf
            if cell.x_max > next_start + _ALIGNED_POINTS:
                continue
            is_aligned = (
                abs(cell.x_min - start) <= _ALIGNED_POINTS
                or abs(cell.x_max - end) <= _ALIGNED_POINTS
                or abs(cell.x_min + cell.x_max - start - end) <= 2 * _ALIGNED_POINTS
            )
            if is_aligned or (cell.is_value and cell.x_min < end and cell.x_max > start):
                return column
        return None

    @property
    def extent(self) -> tuple[float, float]:
        """The left and the right edge."""
        return min(self._starts), max(self._ends)

    @property
    def bottom(self) -> float:
        """The bottom of the last row."""
        return min(cell.y_min for cell in self.rows[-1].values())

    @property
    def top(self) -> float:
        """The top of the first row."""
        return max(cell.y_max for cell in self.rows[0].values())

    def make_grid(self) -> list[list[str]]:
        """Return the texts of the cells."""
        columns = range(len(self._starts))
        return [[row[i].text if i in row else "" for i in columns] for row in self.rows]

    def match_header(self, row: Sequence[_Cell]) -> bool:
        """Whether a row has one cell above each column."""
        centres = [(cell.x_min + cell.x_max) / 2 for cell in row]
        columns = [sum(centre >= start - 1 for start in self._starts) - 1 for centre in centres]
        return columns == list(range(len(self._starts)))

    @property
    def is_convincing(self) -> bool:
        """Whether the rows are a table with wrapped cells, and not a list or columns of prose."""
        cells = [cell for row in self.rows for cell in row.values()]
        line_counts = [len(cell.lines) for cell in cells]
        return (
            len(self.rows) >= _MIN_ROWS
            and max(line_counts) > 1
            and sum(line_counts) <= _MAX_MEAN_LINES * len(cells)
            and sum(cell.length for cell in cells) <= _MAX_MEAN_CHARACTERS * len(cells)
            and len(cells) >= _MIN_FILLED_SHARE * len(self.rows) * len(self._starts)
            and self._has_texts()
            and not self._is_list()
        )

    def _has_texts(self) -> bool:
        """Whether two columns have texts, or one behind the numbers of the rows."""
        texts: Counter[int] = Counter()
        for row in self.rows:
            for column, cell in row.items():
                texts[column] += -1 if cell.is_value else 1
        text_columns = [column for column, count in texts.items() if count > 1]  # 1 may be a name
        return len(text_columns) >= _MIN_TEXT_COLUMNS or (
            bool(text_columns) and _may_be_numbered([*self.rows[-1].values()])
        )

    def _is_list(self) -> bool:
        """Whether the first of two columns has the markers of list items."""
        markers = sum(_MARKER.fullmatch(row[0].text) is not None for row in self.rows if 0 in row)
        return len(self._starts) == 2 and 2 * markers >= len(self.rows)


def insert_wrapped_tables(lines: list[Line], boxes: CharacterBoxes) -> list[Line]:
    """Return the lines of a page with one line for each table whose cells have several lines."""
    heights = [line.y_max - line.y_min for line in lines if line.x_max > line.x_min]
    if not heights or len(lines) > _MAX_PAGE_LINES:
        return lines
    height = median(heights)
    if not _has_wrapped_cells(lines, height):
        return lines
    original_lines = lines
    lines = split_tall_lines(lines, boxes)
    parts: list[Line] = []
    sources: list[int] = []  # the index of the line of each part
    for i, divided in enumerate(_divide_lines(lines, boxes, height)):
        parts += divided
        sources += [i] * len(divided)
    sources.append(len(lines))
    result: list[Line] = []
    position = 0  # of the next line that is not in the result
    for start, end, table in _TableReader(parts, height).find_tables():
        first, last = sources[start], sources[end - 1]
        if sources[start - 1] != first and sources[end] != last and first >= position:
            result += [*lines[position:first], table]
            position = last + 1
    return [*result, *lines[position:]] if result else original_lines


def _divide_lines(
    lines: Sequence[Line], boxes: CharacterBoxes, height: float
) -> Iterator[list[Line]]:
    """Yield the parts of each line between its wide gaps.

    A narrower gap divides a line where other parts begin at the same place. The space beside a
    bullet is no gap.
    """
    all_gaps = [
        [
            (position, end, end - start >= _GAP * height)
            for position, start, end in boxes.find_gaps(line, 0.0)
            if line.text[position - 1] not in BULLETS
            and line.text[position:].lstrip(" \t\xa0")[0] not in BULLETS
        ]
        for line in lines
    ]
    starts = Counter(round(line.x_min) for line in lines if line.x_max > line.x_min)
    starts.update(round(end) for gaps in all_gaps for _, end, is_wide in gaps if is_wide)
    for line, gaps in zip(lines, all_gaps, strict=True):
        positions = [
            position
            for position, end, is_wide in gaps
            if is_wide or starts[round(end)] >= _MIN_STARTS
        ]
        yield boxes.divide(line, positions)


def _has_wrapped_cells(lines: Sequence[Line], height: float) -> bool:
    """Whether lines of a page rise to a cell on the right, or have words of two cells.

    A line that ends with a number is not counted where the line before is at the left edge: it is
    a row of a table of numbers.
    """
    left = min(line.x_min for line in lines if line.x_max > line.x_min) + _LEFT * height
    for upper, lower in pairwise(lines):
        rise = (lower.y_min + lower.y_max - upper.y_min - upper.y_max) / 2
        is_right = lower.x_min >= upper.x_max - 1 and lower.x_max > lower.x_min
        is_tall = lower.y_max - lower.y_min > _TALL_LINE * height
        if (is_tall or (is_right and rise > _RISE * height)) and (
            upper.x_min > left or not ends_with_value(lower)
        ):
            return True
    return False


class _TableReader:
    """Reads tables from the parts of the lines of a page, in the order in which they are drawn."""

    def __init__(self, parts: Sequence[Line], height: float) -> None:
        self._parts = parts
        self._height = height
        self._has_cell_beside = self._find_cells_beside()

    def _find_cells_beside(self) -> list[bool]:
        """Return for each part whether a cell follows to the right of the cell it begins."""
        has_cell = [False] * (len(self._parts) + 1)
        for i in range(len(self._parts) - 2, -1, -1):
            part, following = self._parts[i], self._parts[i + 1]
            if following.x_min >= part.x_max - 1:
                has_cell[i] = following.y_max > part.y_min
            else:
                has_cell[i] = has_cell[i + 1] and following.y_max <= part.y_max
        return has_cell

    def find_tables(self) -> Iterator[tuple[int, int, Line]]:
        """Yield the start and the end of each table, and its line."""
        written = start = 0
        while start < len(self._parts):
            table, end = self._read_table(start) if self._has_cell_beside[start] else (None, start)
            if table is None:
                start = max(start + 1, end)
                continue
            header_start, names = self._find_header(table, written, start)
            grid = table.make_grid()
            if names is None:
                count = count_header_rows(grid)
                names = [" ".join(filter(None, texts)) for texts in zip(*grid[:count], strict=True)]
                grid = grid[count:]
            line = format_table("", "", names, grid)
            line.row_extent = table.extent
            yield header_start, end, line
            written = start = end

    def _read_table(self, start: int) -> tuple[_Table | None, int]:
        """Return the table whose first row begins at `start`, and where to go on."""
        row, end = self._read_row(start)
        is_text = sum(not cell.is_value for cell in row) >= _MIN_TEXT_COLUMNS
        if not is_text and not _may_be_numbered(row):
            return None, start
        table = _Table(row)
        rows_end = end  # behind the last row with several cells
        while end < len(self._parts):
            row, next_end = self._read_row(end)
            if not row or not self._is_near(table.bottom, row) or not table.add(row):
                break
            end = next_end
            rows_end = end if len(row) > 1 else rows_end
        while len(table.rows[-1]) == 1:
            table.rows.pop()
        if table.is_convincing:
            return table, rows_end
        return None, rows_end if len(table.rows) >= _MIN_ROWS else start

    def _read_row(self, start: int) -> tuple[list[_Cell], int]:
        """Return the cells of the row that begins at `start`, and its end; [] if it is none."""
        parts = self._parts
        if not _is_located(parts[start]):
            return [], start
        cells = [_Cell(parts[start])]
        bottom = parts[start].y_min
        end = start + 1
        while end < len(parts) and _is_located(parts[end]):
            part, cell = parts[end], cells[-1]
            if self._continues(cell, part):
                cell.add(part)
            elif part.x_min >= cell.x_max - 1 and part.y_max > bottom:
                cells.append(_Cell(part))
            else:
                break
            bottom = min(bottom, part.y_min)
            end += 1
        tallest = max(cells, key=lambda cell: len(cell.lines))
        is_row = all(
            cell.y_min < tallest.y_max
            and cell.y_max > tallest.y_min
            and len(cell.lines) <= _MAX_CELL_LINES
            for cell in cells
        )
        return (cells, end) if is_row else ([], start)

    def _continues(self, cell: _Cell, part: Line) -> bool:
        """Whether a part is the next line of a cell."""
        last = cell.lines[-1]
        distance = (last.y_min + last.y_max - part.y_min - part.y_max) / 2
        if not 0.5 * self._height < distance <= _LINE_DISTANCE * self._height:
            return False
        return (
            abs(part.x_min - last.x_min) <= _ALIGNED_POINTS
            or abs(part.x_max - last.x_max) <= _ALIGNED_POINTS
            or abs(part.x_min + part.x_max - last.x_min - last.x_max) <= 2 * _ALIGNED_POINTS
        )

    def _is_near(self, bottom: float, row: Sequence[_Cell]) -> bool:
        """Whether a row is just below the bottom of another one."""
        gap = bottom - max(cell.y_max for cell in row)
        return -_RISE * self._height <= gap <= _ROW_GAP * self._height

    def _find_header(self, table: _Table, written: int, start: int) -> tuple[int, list[str] | None]:
        """Return where the header above a table begins, and its names; None if it has none."""
        for header_start in range(start - 1, max(written, start - _MAX_HEADER_PARTS) - 1, -1):
            row, end = self._read_row(header_start)
            if end != start or len(row) < 2 or not table.match_header(row):
                continue
            gap = min(cell.y_min for cell in row) - table.top
            if -_RISE * self._height <= gap <= _ROW_GAP * self._height:
                return header_start, [cell.text for cell in row]
        return start, None


def _may_be_numbered(row: Sequence[_Cell]) -> bool:
    """Whether a row of an invoice begins with its number: 1, what it is, how many."""
    return len(row) > 2 and row[0].is_value and not row[1].is_value


def _is_located(part: Line) -> bool:
    return part.x_max > part.x_min and not part.marks
