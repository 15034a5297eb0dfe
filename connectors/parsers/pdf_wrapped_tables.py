"""Tables without drawn lines whose cells have several lines of text.

Programs draw a table cell after cell: the lines of a cell below each other, then the cell to the
right of it, then the next row. PDFium keeps this order, but joins words at the same height. The
lines are therefore divided at their wide gaps and read as cells. Rows whose cells begin at the
same places are a table.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from connectors.parsers.pdf_layout import CharacterBoxes, Line
from connectors.parsers.pdf_table_lines import format_table, join_cell_lines
from connectors.parsers.pdf_table_rows import is_value
from connectors.parsers.table_layout import count_header_rows

_MAX_PAGE_LINES = 1_000  # on a page with more lines, no tables are looked for
_MIN_ROWS = 3
_MAX_CELL_LINES = 20
_MAX_MEAN_LINES = 4.0  # of the cells; those of columns of prose have more
_MAX_VALUE_SHARE = 0.3  # of the cells; tables of numbers are read by `pdf_tables`
_MIN_FILLED_SHARE = 0.6  # of the cells
_ALIGNED_POINTS = 2.5
_LINE_DISTANCE = 1.6  # of the line height, between two lines of a cell
_ROW_GAP = 2.5  # the same, between the cells of two rows
_RISE = 0.4  # the same, from a line up to the first line of the next cell
_TALL_LINE = 1.3  # the same, of a line that has words of two cells
_MIN_SIGNS = 2  # of wrapped cells on a page
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
    def text(self) -> str:
        """The text of the cell."""
        return join_cell_lines([line.text for line in self.lines])


class _Table:
    """Rows of cells, and where their columns begin and end."""

    def __init__(self, row: Sequence[_Cell]) -> None:
        self.rows = [list(row)]
        self.columns = [(cell.x_min, cell.x_max) for cell in row]

    def place(self, row: Sequence[_Cell]) -> list[int] | None:
        """Return the column of each cell; None if cells cross a column or share one."""
        starts = [start for start, _ in self.columns]
        places: list[int] = []
        for cell in row:
            column = bisect_right(starts, cell.x_min + _ALIGNED_POINTS) - 1
            end = starts[column + 1] if 0 <= column < len(starts) - 1 else float("inf")
            if column < 0 or cell.x_max > end + _ALIGNED_POINTS or column in places:
                return None
            places.append(column)
        return places

    def is_aligned(self, row: Sequence[_Cell], places: Sequence[int]) -> bool:
        """Whether each text of a row begins where its column does."""
        return all(
            abs(cell.x_min - self.columns[column][0]) <= _ALIGNED_POINTS or is_value(cell.text)
            for cell, column in zip(row, places, strict=True)
        )

    def add(self, row: Sequence[_Cell], places: Sequence[int]) -> None:
        """Add a row."""
        self.rows.append(list(row))
        for cell, column in zip(row, places, strict=True):
            start, end = self.columns[column]
            self.columns[column] = start, max(end, cell.x_max)

    def make_grid(self) -> list[list[str]]:
        """Return the texts of the cells."""
        return [self.list_texts(row) for row in self.rows]

    def list_texts(self, row: Sequence[_Cell]) -> list[str]:
        """Return the texts of a row, with "" for a column without a cell."""
        texts = [""] * len(self.columns)
        for cell, column in zip(row, self.place(row) or [], strict=True):
            texts[column] = cell.text
        return texts

    @property
    def is_convincing(self) -> bool:
        """Whether the rows are a table with wrapped cells, and not a list or columns of prose."""
        cells = [cell for row in self.rows for cell in row]
        line_counts = [len(cell.lines) for cell in cells]
        markers = sum(_MARKER.fullmatch(row[0].text) is not None for row in self.rows)
        return (
            len(self.rows) >= _MIN_ROWS
            and max(line_counts) > 1
            and sum(line_counts) <= _MAX_MEAN_LINES * len(cells)
            and len(cells) >= _MIN_FILLED_SHARE * len(self.rows) * len(self.columns)
            and sum(is_value(cell.text) for cell in cells) <= _MAX_VALUE_SHARE * len(cells)
            and 2 * markers < len(self.rows)
        )


def insert_wrapped_tables(lines: list[Line], boxes: CharacterBoxes) -> list[Line]:
    """Return the lines of a page with one line for each table whose cells have several lines."""
    heights = [line.y_max - line.y_min for line in lines if line.x_max > line.x_min]
    if not heights or len(lines) > _MAX_PAGE_LINES:
        return lines
    height = median(heights)
    if not _has_wrapped_cells(lines, height):
        return lines
    parts: list[Line] = []
    sources: list[int] = []  # the index of the line of each part
    for i, line in enumerate(lines):
        divided = boxes.divide(line, [position for position, _, _ in boxes.find_gaps(line)])
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
    return [*result, *lines[position:]]


def _has_wrapped_cells(lines: Sequence[Line], height: float) -> bool:
    """Whether lines of a page rise to a cell on the right, or have words of two cells."""
    signs = 0
    for upper, lower in pairwise(lines):
        rise = (lower.y_min + lower.y_max - upper.y_min - upper.y_max) / 2
        is_right = lower.x_min >= upper.x_max - 1 and lower.x_max > lower.x_min
        signs += is_right and rise > _RISE * height
        signs += lower.y_max - lower.y_min > _TALL_LINE * height
    return signs >= _MIN_SIGNS


class _TableReader:
    """Reads tables from the parts of the lines of a page, in the order in which they are drawn."""

    def __init__(self, parts: Sequence[Line], height: float) -> None:
        self._parts = parts
        self._height = height

    def find_tables(self) -> Iterator[tuple[int, int, Line]]:
        """Yield the start and the end of each table, and its line."""
        written = start = 0
        while start < len(self._parts):
            table, end = self._read_table(start)
            if table is None:
                start += 1
                continue
            header_start, names = self._find_header(table, written, start)
            grid = table.make_grid()
            if names is None:
                count = count_header_rows(grid)
                names = [" ".join(filter(None, texts)) for texts in zip(*grid[:count], strict=True)]
                grid = grid[count:]
            line = format_table("", "", names, grid)
            cells = [cell for row in table.rows for cell in row]
            line.row_extent = min(c.x_min for c in cells), max(c.x_max for c in cells)
            yield header_start, end, line
            written = start = end

    def _read_table(self, start: int) -> tuple[_Table | None, int]:
        """Return the table whose first row begins at `start`, and its end."""
        row, end = self._read_row(start)
        if len(row) < 2:
            return None, start
        table = _Table(row)
        rows_end = end  # behind the last row with several cells
        while end < len(self._parts):
            row, next_end = self._read_row(end)
            places = table.place(row) if row and self._is_near(table.rows[-1], row) else None
            if places is None or not table.is_aligned(row, places):
                break
            table.add(row, places)
            end = next_end
            rows_end = end if len(row) > 1 else rows_end
        while len(table.rows[-1]) == 1:
            table.rows.pop()
        return (table, rows_end) if table.is_convincing else (None, start)

    def _read_row(self, start: int) -> tuple[list[_Cell], int]:
        """Return the cells of the row that begins at `start`, and its end; [] if it is none."""
        parts = self._parts
        if not _is_located(parts[start]):
            return [], start
        cells = [_Cell(parts[start])]
        end = start + 1
        while end < len(parts) and _is_located(parts[end]):
            part, cell = parts[end], cells[-1]
            if self._continues(cell, part):
                cell.add(part)
            elif part.x_min >= cell.x_max - 1 and part.y_max > min(c.y_min for c in cells):
                cells.append(_Cell(part))
            else:
                break
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

    def _is_near(self, upper: Sequence[_Cell], lower: Sequence[_Cell]) -> bool:
        """Whether a row is just below another one."""
        gap = min(cell.y_min for cell in upper) - max(cell.y_max for cell in lower)
        return -_RISE * self._height <= gap <= _ROW_GAP * self._height

    def _find_header(self, table: _Table, written: int, start: int) -> tuple[int, list[str] | None]:
        """Return where the header above a table begins, and its names; None if it has none."""
        for header_start in range(start - 1, max(written, start - _MAX_HEADER_PARTS) - 1, -1):
            row, end = self._read_row(header_start)
            if end != start or len(row) < 2 or not self._is_near(row, table.rows[0]):
                continue
            centres = [(cell.x_min + cell.x_max) / 2 for cell in row]
            columns = [sum(centre >= x - 1 for x, _ in table.columns) - 1 for centre in centres]
            if len(row) == len(table.columns) and columns == list(range(len(row))):
                return header_start, [cell.text for cell in row]
        return start, None


def _is_located(part: Line) -> bool:
    return part.x_max > part.x_min and not part.marks
