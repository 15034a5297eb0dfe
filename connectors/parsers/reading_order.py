"""The order in which a person reads boxes on a page: columns whose boxes belong together first.

This is a recursive XY cut: the boxes are divided into rows, or into columns where these are farther
apart than the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

_TOLERANCE = 38_100  # of boxes that overlap a little: 3 points, in the units of Office
_MIN_ROWS_OF_GRID = 3
_MAX_DEPTH = 50


class Box(NamedTuple):
    """A rectangle; the edges are in English Metric Units (12,700 to a point)."""

    left: int
    top: int
    right: int
    bottom: int


def sort_boxes(boxes: Sequence[Box]) -> list[int]:
    """Return the indexes of the boxes in reading order.

    A heading and the text below it stay together, also beside others of their kind; a grid of three
    or more rows is read row by row.
    """
    return _sort(boxes, list(range(len(boxes))), 0)


def _sort(boxes: Sequence[Box], indexes: list[int], depth: int) -> list[int]:
    if len(indexes) < 2:
        return indexes
    columns, _ = _divide_columns(boxes, indexes)
    bands = _join_bands(boxes, _divide(indexes, lambda i: (boxes[i].top, boxes[i].bottom))[0])
    if len(bands) == 1 and len(columns) > 1 and not _is_grid(boxes, columns):
        parts = columns
    elif len(bands) == 1:
        parts = _divide(indexes, lambda i: (boxes[i].top, boxes[i].bottom))[0]
    else:
        parts = bands
    if depth == _MAX_DEPTH or len(parts) == 1:
        return sorted(indexes, key=lambda i: (boxes[i].top, boxes[i].left))
    return [i for part in parts for i in _sort(boxes, part, depth + 1)]


def _join_bands(boxes: Sequence[Box], bands: Sequence[list[int]]) -> list[list[int]]:
    """Join rows of boxes that are as many columns together, farther apart than the rows are."""
    joined: list[list[int]] = []
    for band in bands:
        if joined:
            members = [*joined[-1], *band]
            columns, column_gap = _divide_columns(boxes, members)
            row_gap = min(boxes[i].top for i in band) - max(boxes[i].bottom for i in joined[-1])
            count = len(_divide_columns(boxes, band)[0])
            if 1 < len(columns) == count and column_gap > row_gap:
                joined[-1] = members
                continue
        joined.append(band)
    return joined


def _divide_columns(boxes: Sequence[Box], indexes: list[int]) -> tuple[list[list[int]], int]:
    return _divide(indexes, lambda i: (boxes[i].left, boxes[i].right))


def _divide(
    indexes: list[int], get_extent: Callable[[int], tuple[int, int]]
) -> tuple[list[list[int]], int]:
    """Return the parts that no box connects, in order, and the widest gap between them."""
    parts: list[list[int]] = []
    end = widest = 0
    for i in sorted(indexes, key=get_extent):
        first, last = get_extent(i)
        if parts and first < end - _TOLERANCE:
            parts[-1].append(i)
            end = max(end, last)
            continue
        widest = max(widest, first - end) if parts else 0
        parts.append([i])
        end = last
    return parts, widest


def _is_grid(boxes: Sequence[Box], columns: Sequence[Sequence[int]]) -> bool:
    """Whether the columns have as many boxes, three or more, each at the height of the others."""
    tops = [sorted(boxes[i].top for i in column) for column in columns]
    return len(tops[0]) >= _MIN_ROWS_OF_GRID and all(
        len(column) == len(tops[0])
        and all(abs(a - b) <= _TOLERANCE for a, b in zip(column, tops[0], strict=True))
        for column in tops
    )
