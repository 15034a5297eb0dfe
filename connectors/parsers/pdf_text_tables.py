"""Tables without numbers in PDF pages: three columns or more, whose cells are strictly aligned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from connectors.parsers.pdf_layout import Line
from connectors.parsers.pdf_table_lines import format_table
from connectors.parsers.pdf_table_rows import Row, is_loose

_MIN_ROWS = 3
_MIN_COLUMNS = 3
_ALIGNED_POINTS = 2.5
_MAX_ROW_DISTANCE = 4.5  # of the line height
_MAX_LINE_DISTANCE = 1.6  # of the line height, between the lines of a cell
_SAME_DISTANCE = 1.15  # times the smallest distance, between the lines of a cell
_MAX_MEAN_CELL_CHARACTERS = 24  # columns of prose have more
_MAX_CELL_CHARACTERS = 60  # of a line
_DOT_LEADERS = ("....", ". . .", "…")


def find_text_tables(rows: Sequence[Row]) -> Iterator[tuple[list[Line], Line]]:
    """Yield the lines of each table without numbers, and the line of its table."""
    for group in _find_groups(rows):
        clusters = _join_lines_of_cells(group)
        for table in [clusters] if clusters else _list_complete_rows(group):
            columns = [run.x_min for run in group[0].all_runs]
            if _is_table([row for cluster in table for row in cluster], len(columns)):
                lines = [line for cluster in table for row in cluster for line in row.lines]
                grid = [_read_cells(cluster, columns) for cluster in table]
                yield lines, format_table("", "", grid[0], grid[1:])


def _list_complete_rows(group: Sequence[Row]) -> Iterator[list[list[Row]]]:
    """Yield the complete rows that follow each other, each as a row of one line."""
    for is_complete, rows in groupby(group, lambda row: _is_complete(row, group)):
        if is_complete:
            yield [[row] for row in rows]


def _find_groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield rows that have the same cells, or some of them, below each other.

    The first and the last have all cells. A row with long cells is only looked at beside one with
    short cells.
    """
    group: list[Row] = []
    end = 0  # the length of the group up to its last complete row
    for i, row in enumerate(rows):
        if group and _has_cells(row) and _is_below(group[end - 1], row, group[-1]):
            group.append(row)
            end = len(group)
            continue
        if group and _is_part_of_row(row, group[0], group[-1]):
            group.append(row)
            continue
        yield _remove_other_text(group, end)
        group, end = [], 0
        if (any(map(is_loose, row.lines)) or len(row.lines) > 2) and _has_cells(row):
            above = [rows[i - 1]] if i and _has_cells(rows[i - 1]) else []
            group = [*above, row] if above and _is_below(above[0], row, above[0]) else [row]
            end = len(group)
    yield _remove_other_text(group, end)


def _remove_other_text(group: Sequence[Row], end: int) -> list[Row]:
    """Return a group up to the last line of its last complete row, which `end` follows.

    What is below may be text that begins where the first column does. It is a line of a cell if
    other rows have such lines, at the same distance.
    """
    rows = list(group[:end])
    near = [
        upper.y - lower.y
        for upper, lower in pairwise(rows)
        if not (_is_complete(upper, group) and _is_complete(lower, group))
    ]
    for row in group[end:]:
        if not near or rows[-1].y - row.y > _SAME_DISTANCE * min(near):
            break
        rows.append(row)
    return rows


def _is_complete(row: Row, group: Sequence[Row]) -> bool:
    return len(row.all_runs) == len(group[0].all_runs)


def _has_cells(row: Row) -> bool:
    has_leaders = any(leader in row.text for leader in _DOT_LEADERS)
    return len(row.all_runs) >= _MIN_COLUMNS and not has_leaders


def _is_below(upper: Row, lower: Row, previous: Row) -> bool:
    """Whether a row has the cells of the complete row above, and is near the `previous` one."""
    return (
        _is_near(previous, lower)
        and len(upper.all_runs) == len(lower.all_runs)
        and all(
            abs(a.x_min - b.x_min) <= _ALIGNED_POINTS or abs(a.x_max - b.x_max) <= _ALIGNED_POINTS
            for a, b in zip(upper.all_runs, lower.all_runs, strict=True)
        )
    )


def _is_near(upper: Row, lower: Row) -> bool:
    height = max(min(upper.height, lower.height), 1)
    return upper.y - lower.y <= _MAX_ROW_DISTANCE * height


def _is_part_of_row(row: Row, first: Row, previous: Row) -> bool:
    """Whether a row has cells in some of the columns of the first row, and none beyond them."""
    runs, starts = row.all_runs, [run.x_min for run in first.all_runs]
    ends = [*starts[1:], float("inf")]
    return (
        len(runs) < len(starts)
        and _is_near(previous, row)
        and all(
            any(
                abs(run.x_min - start) <= _ALIGNED_POINTS and run.x_max < end
                for start, end in zip(starts, ends, strict=True)
            )
            for run in runs
        )
    )


def _join_lines_of_cells(group: Sequence[Row]) -> list[list[Row]]:
    """Return the rows with the lines that continue their cells, above or below them.

    The lines of a cell are closer than two rows. Return nothing if a part then has no row of its
    own, or several.
    """
    if not group:
        return []
    distances = [upper.y - lower.y for upper, lower in pairwise(group)]
    column_count = len(group[0].all_runs)
    is_complete = [_is_complete(row, group) for row in group]
    near = [
        distance
        for distance, pair in zip(distances, pairwise(is_complete), strict=True)
        if not all(pair)
    ]
    height = max(min(row.height for row in group), 1)
    if not near or min(near) > _MAX_LINE_DISTANCE * height:
        return []
    clusters = [[group[0]]]
    for distance, row in zip(distances, group[1:], strict=True):
        if distance <= _SAME_DISTANCE * min(near):
            clusters[-1].append(row)
        else:
            clusters.append([row])
    counts = [sum(len(row.all_runs) == column_count for row in cluster) for cluster in clusters]
    return clusters if set(counts) == {1} else []


def _read_cells(cluster: Sequence[Row], starts: Sequence[float]) -> list[str]:
    """Return the texts of the cells of a row, whose lines are joined."""
    cells = [""] * len(starts)
    for row in cluster:
        is_complete = len(row.all_runs) == len(starts)
        for i, run in enumerate(row.all_runs):
            column = i if is_complete else _find_column(run.x_min, starts)
            cells[column] = f"{cells[column]} {run.text}".strip()
    return cells


def _find_column(x_min: float, starts: Sequence[float]) -> int:
    return min(range(len(starts)), key=lambda column: abs(starts[column] - x_min))


def _is_table(rows: Sequence[Row], column_count: int) -> bool:
    complete = [row for row in rows if len(row.all_runs) == column_count]
    lengths = [len(run.text) for row in rows for run in row.all_runs]
    return (
        len(complete) >= _MIN_ROWS
        and sum(lengths) <= _MAX_MEAN_CELL_CHARACTERS * len(lengths)
        and max(lengths) <= _MAX_CELL_CHARACTERS
    )
