"""The cells of a table in a PDF: its columns, their names, and the labels of its rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, zip_longest

from connectors.parsers.pdf_table_rows import Row, Run

_MAX_SECTION_CHARACTERS = 100  # of the label of a section that is repeated in its rows
_WRAPPED_DISTANCE = 1.6  # of the line height, between two lines of a label
_INDENT_POINTS = 2.0
_COLUMN_BONUS = 1.0  # points by which a name may be off centre for each column that it spans
_STACKED_DISTANCE = 1.3  # of the line height, between two lines of a name
_ALIGNED_POINTS = 6.0  # between the places of two names above their groups
_STACKED_POINTS = 4.0  # between the centres of two lines of a name
_WRAPPED_END = re.compile(
    r"(?i)(?:\b(?:of|and|or|the|to|for|from|in|on|by|with|net|per|than|at|a|an|attributable"
    r"|before|including)|[,\-–—/&])$"
)


@dataclass(slots=True)
class Column:
    """The horizontal span of the values of a column."""

    x_min: float
    x_max: float

    @property
    def centre(self) -> float:
        """The horizontal centre."""
        return (self.x_min + self.x_max) / 2

    def measure_overlap(self, run: Run) -> float:
        """Return the width that a run and the column share; negative: the gap between them."""
        return min(self.x_max, run.x_max) - max(self.x_min, run.x_min)


def split_label(row: Row, value_start: float) -> tuple[list[Run], list[Run]]:
    """Return the runs of the label of a row, and the runs of its values."""
    label = [
        run
        for i, run in enumerate(row.runs)
        if run.x_max <= value_start or (i == 0 and not run.is_value and run.x_min < value_start - 1)
    ]
    return label, row.runs[len(label) :]


def list_columns(body: Sequence[Row], value_start: float) -> list[Column]:
    """Return the columns of the values of the rows, from left to right."""
    cells = [run for row in body for run in split_label(row, value_start)[1]]
    columns: list[Column] = []
    for run in sorted((run for run in cells if run.is_value), key=lambda run: run.x_min):
        if columns and run.x_min < columns[-1].x_max - 1:
            columns[-1].x_max = max(columns[-1].x_max, run.x_max)
        else:
            columns.append(Column(run.x_min, run.x_max))
    for run in cells:
        if not run.is_value and not any(column.measure_overlap(run) > 0 for column in columns):
            columns.append(Column(run.x_min, run.x_max))
    return sorted(columns, key=lambda column: column.x_min)


def find_column(run: Run, columns: Sequence[Column]) -> int:
    """Return the index of the column that shares the most width with a run, or is nearest."""
    for i, column in enumerate(columns):
        if column.x_min <= run.x_min and run.x_max <= column.x_max:
            return i
    return max(range(len(columns)), key=lambda i: columns[i].measure_overlap(run))


# -- Names of columns ----------------------------------------------------------------------


def name_columns(
    rows: Sequence[Sequence[Run]],
    positions: Sequence[float],
    heights: Sequence[float],
    columns: Sequence[Column],
    value_start: float,
    period: re.Pattern[str],
) -> list[str]:
    """Return the names of the columns, that of the labels first.

    `rows` are the runs of the header rows. A run names the columns that it is above; a run that
    stands above several names, or is a period, names the columns that it is centred on.
    """
    names: list[list[str]] = [[] for _ in range(len(columns) + 1)]
    for i, runs in enumerate(rows):
        label_runs = [
            run
            for position, run in enumerate(runs)
            if run.centre < value_start
            and not run.is_value
            and not _is_above_values(run, columns, is_first=position == 0, count=len(runs))
        ]
        names[0] += [run.text for run in label_runs]
        value_runs = [run for run in runs if run not in label_runs]
        below = rows[i + 1] if i + 1 < len(rows) else []
        is_close = bool(below) and positions[i] - positions[i + 1] <= _STACKED_DISTANCE * heights[i]
        is_stacked = (
            len(value_runs) == 1
            and is_close
            and any(abs(run.centre - value_runs[0].centre) < _STACKED_POINTS for run in below)
        )
        spans = []
        if not is_close or all(period.search(run.text) for run in value_runs):
            names_below = [run for run in below if run.centre >= value_start]
            spans = _divide_evenly(value_runs, names_below, len(columns))
        spans = spans or _span_columns(value_runs, columns, period, alone=not is_stacked)
        for run, (start, end) in zip(value_runs, spans, strict=True):
            for column in range(start, end):
                names[column + 1].append(run.text)
    return [join_lines(parts) for parts in names]


def _is_above_values(run: Run, columns: Sequence[Column], *, is_first: bool, count: int) -> bool:
    """Whether a name that begins left of the values belongs to them: "Quantity" above "1"."""
    return columns[0].measure_overlap(run) > 0 and (not is_first or count == len(columns) > 1)


def _divide_evenly(
    runs: Sequence[Run], below: Sequence[Run], column_count: int
) -> list[tuple[int, int]]:
    """Return the columns of groups with equally many names below each of them; else [].

    The names stand at the same place above each group: at its left or right, or in its middle.
    """
    if len(runs) < 2 or len(below) != column_count or column_count % len(runs):
        return []
    size = column_count // len(runs)
    groups = [below[i : i + size] for i in range(0, column_count, size)]
    pairs = list(zip(runs, groups, strict=True))
    if any(
        run.x_max > next_group[0].x_min or next_run.x_min < group[-1].x_max
        for (run, group), (next_run, next_group) in pairwise(pairs)
    ):
        return []  # the name of one group reaches another
    shifts = (
        [run.x_min - group[0].x_min for run, group in pairs],
        [run.x_max - group[-1].x_max for run, group in pairs],
        [run.centre - (group[0].x_min + group[-1].x_max) / 2 for run, group in pairs],
    )
    widest = max(group[-1].x_max - group[0].x_min for group in groups)
    is_even = size > 1 and any(
        max(shift) - min(shift) <= _ALIGNED_POINTS and max(map(abs, shift)) < widest
        for shift in shifts
    )
    return [(i, i + size) for i in range(0, column_count, size)] if is_even else []


def _span_columns(
    runs: Sequence[Run], columns: Sequence[Column], period: re.Pattern[str], alone: bool
) -> list[tuple[int, int]]:
    """Return the range of columns that each run of a header row names."""
    fixed: list[tuple[int, int]] = []
    for run in runs:
        hits = [i for i, column in enumerate(columns) if column.measure_overlap(run) > 0]
        nearest = find_column(run, columns)
        fixed.append((min(hits), max(hits) + 1) if hits else (nearest, nearest + 1))
    if len(runs) >= len(columns):
        return [(nearest, nearest + 1) for nearest in (find_column(r, columns) for r in runs)]
    flexible = [
        end - start > 1 or period.search(run.text) is not None or (len(runs) == 1 and alone)
        for run, (start, end) in zip(runs, fixed, strict=True)
    ]

    @cache
    def choose(i: int, first: int) -> tuple[float, tuple[tuple[int, int], ...]]:
        if i == len(runs):
            return 0.0, ()
        best: tuple[float, tuple[tuple[int, int], ...]] = (float("inf"), ())
        start, end = fixed[i]
        for a in range(first, start + 1) if flexible[i] else [start]:
            for b in range(end, len(columns) + 1) if flexible[i] else [end]:
                if a < first:
                    continue
                centre = (columns[a].x_min + columns[b - 1].x_max) / 2
                rest, spans = choose(i + 1, b)
                cost = abs(centre - runs[i].centre) - _COLUMN_BONUS * (b - a) + rest
                if cost < best[0]:
                    best = (cost, ((a, b), *spans))
        return best

    cost, spans = choose(0, 0)
    return list(spans) if cost < float("inf") else fixed


def join_lines(parts: Sequence[str]) -> str:
    """Join the lines of a name or label; a hyphen at the end of a line divides a word."""
    text = ""
    for part in parts:
        if text.endswith("\ufffe"):
            text = f"{text[:-1]}-{part}"
        else:
            text = f"{text} {part}" if text else part
    return text.replace("\ufffe", "-")


# -- Labels of rows ------------------------------------------------------------------------


@dataclass(slots=True)
class Label:
    """A row of the grid: the lines of its label, and its cells, if it has any."""

    lines: list[str]
    x_min: float
    y: float
    height: float
    cells: list[str] | None

    @property
    def text(self) -> str:
        """The whole label."""
        return join_lines(self.lines)


def make_grid(
    body: Sequence[Row], columns: Sequence[Column], value_start: float
) -> list[list[str]]:
    """Return the cells of each row, label first.

    Lines of wrapped labels are joined. The label of a section is repeated in the rows below it
    that are indented.
    """
    labels = _join_wrapped_labels([_read_row(row, columns, value_start) for row in body])
    return _repeat_sections(labels, len(columns))


def _read_row(row: Row, columns: Sequence[Column], value_start: float) -> Label:
    label, values = split_label(row, value_start)
    cells = [""] * len(columns)
    for run in values:
        i = find_column(run, columns)
        cells[i] = f"{cells[i]} {run.text}".strip().replace("\ufffe", "-")
    lines = [run.text for run in label]
    x_min = label[0].x_min if label else 0.0
    return Label(lines, x_min, row.y, row.height, cells if values else None)


def _join_wrapped_labels(rows: Sequence[Label]) -> list[Label]:
    joined: list[Label] = []
    last_y = 0.0
    for row in rows:
        previous = joined[-1] if joined else None
        if previous is not None and last_y - row.y <= _WRAPPED_DISTANCE * row.height:
            if previous.cells is None and _is_wrapped(previous, row):
                previous.lines += row.lines
                previous.cells, last_y = row.cells, row.y
                continue
            if row.cells is None and row.lines and row.lines[0][:1].islower():
                previous.lines += row.lines
                last_y = row.y
                continue
        joined.append(row)
        last_y = row.y
    return joined


def _is_wrapped(upper: Label, lower: Label) -> bool:
    """Whether the label of the lower row continues the label of the upper one."""
    text = upper.lines[-1]
    if not lower.lines:
        return bool(lower.cells) and upper.y - lower.y < upper.height
    if text.endswith(":") or lower.x_min < upper.x_min - _INDENT_POINTS:
        return False
    first = lower.lines[0]
    is_closed = "".join(upper.lines).count("(") <= "".join(upper.lines).count(")")
    return first[0].islower() or _WRAPPED_END.search(text) is not None or not is_closed


@dataclass(slots=True)
class _Section:
    """The label of a section, whether its rows are indented, and whether it has rows."""

    label: Label
    is_indented: bool
    is_used: bool = False


def _repeat_sections(rows: Sequence[Label], column_count: int) -> list[list[str]]:
    """Return the grid, with the labels of sections in front of the labels of their rows."""
    sections: list[_Section] = []  # from the outermost
    repeats = _has_repeated_first_label(rows)
    empty_cells = [""] * column_count
    grid: list[list[str]] = []

    def close_sections(row: Label) -> None:
        """Remove the sections that end above `row`; one without rows becomes a row."""
        while sections and row.x_min <= sections[-1].label.x_min + _INDENT_POINTS:
            section = sections.pop()
            if not section.is_used:
                grid.append([section.label.text, *empty_cells])

    for row, below in zip_longest(rows, rows[1:]):
        if row.cells is None:
            close_sections(row)
            is_indented = below is not None and below.x_min > row.x_min + _INDENT_POINTS
            if len(row.text) <= _MAX_SECTION_CHARACTERS and below and (is_indented or repeats):
                sections.append(_Section(row, is_indented))
            else:
                grid.append([row.text, *empty_cells])
            continue
        if row.lines and sections and sections[-1].is_indented:
            close_sections(row)
        prefix = ""
        for section in sections if row.lines else ():
            section.is_used = True
            prefix += section.label.text.rstrip(": ") + ": "
        grid.append([prefix + row.text, *row.cells])
    grid += [[s.label.text, *empty_cells] for s in sections if not s.is_used]
    return grid


def _has_repeated_first_label(rows: Sequence[Label]) -> bool:
    """Whether different sections begin with the same label, so that they have to be named."""
    first_labels: dict[str, set[str]] = {}
    for i, row in enumerate(rows[:-1]):
        if row.cells is None and rows[i + 1].cells is not None:
            first_labels.setdefault(rows[i + 1].text, set()).add(row.text)
    return any(len(names) > 1 for names in first_labels.values())
