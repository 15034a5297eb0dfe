"""The lines of a PDF page in reading order: columns are detected from line positions."""

from __future__ import annotations

import ctypes
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from rag.types import Table

_MIN_GUTTER_POINTS = 10.0  # distance between two columns
_SAMPLED_LINES = 8  # long lines of a page that are searched for a gap
_LONG_LINE_CHARACTERS = 40
_MIN_COLUMN_LINES = 5
_MIN_COLUMN_LINE_CHARACTERS = 20  # mean line length; a table has shorter lines
_FULL_LINE_SHARE = 0.7  # a full line takes at least this share of the column width
_MIN_LETTER_SHARE = 0.65  # share of letters in running text; tables have more digits
_EDGE_LINES = 2  # lines at the top, and at the bottom, that may be a header or footer


@dataclass(slots=True)
class Line:
    """A line of a page and its box, in points from the bottom left; all 0 if unknown.

    The line of a table has the text of all its rows, and ``marks``: start, end and value of the
    table and of each row, counted from its beginning.
    """

    text: str
    start: int = 0
    x_min: float = 0.0
    x_max: float = 0.0
    y_min: float = 0.0
    y_max: float = 0.0
    edge: Literal["", "top", "bottom"] = ""
    marks: tuple[tuple[int, int, Table | int], ...] = ()

    @property
    def end(self) -> int:
        """Offset after the last character, in the text of the page."""
        return self.start + len(self.text)


def extract_lines(text: str, textpage: Any, *, clean: bool) -> list[Line]:
    """Return the lines of the `text` of a page; with `clean`, in reading order."""
    lines = [Line(part, offset) for part, offset in _split_lines(text)]
    # PDFium counts UTF-16 code units: offsets are equal only without surrogate pairs.
    if not clean or len(text) != textpage.count_chars():
        return lines
    boxes = CharacterBoxes(textpage)
    for line in lines:
        boxes.locate(line)
    gutter = _find_gutter(lines, boxes)
    if gutter is not None:
        lines = [part for line in lines for part in _split_at_gutter(line, gutter, boxes)]
    text_lines = [line for line in lines if line.text.strip()]
    _mark_edges(text_lines)
    if len(text_lines) >= 2 * _MIN_COLUMN_LINES:
        ordered_lines = _order_columns(text_lines)
        if ordered_lines != text_lines:
            return ordered_lines
    return lines


def _split_lines(text: str) -> Iterator[tuple[str, int]]:
    offset = 0
    for part in re.split("(\r\n|\r|\n)", text):
        if part not in ("\r\n", "\r", "\n"):
            yield part, offset
        offset += len(part)


class CharacterBoxes:
    """Reads the boxes of characters from PDFium; each call takes almost a microsecond."""

    def __init__(self, textpage: Any) -> None:
        import pypdfium2.raw as pdfium

        self._get_char_box = pdfium.FPDFText_GetLooseCharBox
        self._page = textpage.raw
        self._box = pdfium.FS_RECTF()
        self._reference = ctypes.byref(self._box)

    def get_box(self, index: int) -> tuple[float, float, float, float]:
        """Return x_min, y_min, x_max and y_max of a character; all 0 if PDFium does not know."""
        if not self._get_char_box(self._page, index, self._reference):
            return (0.0, 0.0, 0.0, 0.0)
        box = self._box
        return (box.left, box.bottom, box.right, box.top)

    def get_x_min(self, index: int) -> float:
        """Return the left edge of a character."""
        self._get_char_box(self._page, index, self._reference)
        return self._box.left  # type: ignore[no-any-return]

    def get_edges(self, first: int, second: int) -> tuple[float, float]:
        """Return the right edge of one character, and the left edge of another."""
        get_char_box, page, box, reference = (
            self._get_char_box,
            self._page,
            self._box,
            self._reference,
        )
        get_char_box(page, first, reference)
        x_max = box.right
        get_char_box(page, second, reference)
        return x_max, box.left

    def locate(self, line: Line) -> None:
        """Set the box of a line from its first and last visible characters."""
        stripped = line.text.strip()
        if not stripped:
            return
        first_index = line.start + line.text.index(stripped[0])
        box = self._box
        if not self._get_char_box(self._page, first_index, self._reference):
            return
        x_min, x_max, y_min, y_max = box.left, box.left, box.bottom, box.top
        if self._get_char_box(self._page, first_index + len(stripped) - 1, self._reference):
            right, bottom, top = box.right, box.bottom, box.top
            x_min, x_max = (x_min, right) if x_min < right else (right, x_max)
            y_min, y_max = min(y_min, bottom), max(y_max, top)
        line.x_min, line.x_max, line.y_min, line.y_max = x_min, x_max, y_min, y_max

    def find_gaps(self, line: Line) -> Iterator[tuple[int, float, float]]:
        """Yield position in the line, start and end (x) of each wide gap."""
        min_width = max(_MIN_GUTTER_POINTS, line.y_max - line.y_min)
        for space in re.finditer(r"(?<=\S) +(?=\S)", line.text):
            gap_start, gap_end = self.get_edges(
                line.start + space.start() - 1, line.start + space.end()
            )
            if gap_end - gap_start >= min_width:
                yield space.start(), gap_start, gap_end


def _find_gutter(lines: Sequence[Line], boxes: CharacterBoxes) -> tuple[float, float] | None:
    """Return the gap between two columns whose adjacent lines PDFium has joined.

    On such a page most long lines have exactly one wide gap, at the same position. Returns None
    if there is no such gap.
    """
    long_lines = sorted(
        (line for line in lines if len(line.text) >= _LONG_LINE_CHARACTERS),
        key=lambda line: -len(line.text),
    )
    single_gaps: list[tuple[float, float]] = []
    for count, line in enumerate(long_lines[:_SAMPLED_LINES], start=1):
        gaps = [(gap_start, gap_end) for _, gap_start, gap_end in boxes.find_gaps(line)]
        single_gaps += gaps if len(gaps) == 1 else []
        if count == 3 and not single_gaps:
            return None
    if len(single_gaps) < max(_MIN_COLUMN_LINES, len(long_lines[:_SAMPLED_LINES]) // 2):
        return None
    centres = sorted((gap_start + gap_end) / 2 for gap_start, gap_end in single_gaps)
    middle = centres[len(centres) // 2]
    gutter_gaps = [
        (gap_start, gap_end) for gap_start, gap_end in single_gaps if gap_start < middle < gap_end
    ]
    if len(gutter_gaps) < 0.8 * len(single_gaps):
        return None
    starts, ends = zip(*gutter_gaps, strict=True)
    return max(starts), min(ends)


def _split_at_gutter(line: Line, gutter: tuple[float, float], boxes: CharacterBoxes) -> list[Line]:
    gutter_start, gutter_end = gutter
    if not line.x_min < gutter_start < gutter_end < line.x_max:
        return [line]
    for position, gap_start, gap_end in boxes.find_gaps(line):
        if gap_start <= gutter_end and gap_end >= gutter_start:
            parts = [
                Line(line.text[:position], line.start),
                Line(line.text[position:], line.start + position),
            ]
            stripped = parts[1].text.lstrip()
            parts[1] = Line(stripped, parts[1].end - len(stripped))
            for part in parts:
                boxes.locate(part)
            return parts
    return [line]


def _order_columns(lines: list[Line], depth: int = 0) -> list[Line]:
    """Order lines: left column, then right column, between the lines that cross both."""
    split = _find_column_split(lines) if depth < 3 else None
    if split is None:
        return lines
    bands: list[list[Line]] = [[]]
    for line in sorted(lines, key=lambda line: -line.y_max):
        if line.x_min < split < line.x_max:
            bands += [[line], []]
        else:
            bands[-1].append(line)
    band_columns = [_split_band(band, split) for band in bands]
    if not any(band_columns):
        return lines
    ordered_lines: list[Line] = []
    for band, columns in zip(bands, band_columns, strict=True):
        if columns is None:
            ordered_lines += sorted(band, key=lambda line: line.start)
        else:
            ordered_lines += [
                line for column in columns for line in _order_columns(column, depth + 1)
            ]
    return ordered_lines


def _split_band(band: Sequence[Line], split: float) -> tuple[list[Line], list[Line]] | None:
    """Split the lines between two crossing lines into columns; None for cells of a table."""
    band = sorted(band, key=lambda line: line.start)
    left_column = [line for line in band if line.x_max <= split]
    right_column = [line for line in band if line.x_min >= split]
    if not (_is_column(left_column) and _is_column(right_column)):
        return None
    return left_column, right_column


def _find_column_split(lines: Sequence[Line]) -> float | None:
    """Return the x that separates two columns of running text; None if there are none."""
    x_start = min(line.x_min for line in lines)
    x_end = max(line.x_max for line in lines)
    left_edges = sorted([line.x_min for line in lines])
    right_edges = sorted([line.x_max for line in lines])
    best: tuple[int, float] | None = None
    for right_edge in {round(line.x_max, 1) for line in lines}:
        split = right_edge + 0.5
        if not x_start + 0.2 * (x_end - x_start) < split < x_end - 0.2 * (x_end - x_start):
            continue
        left_count = bisect_right(right_edges, split)
        right_count = len(lines) - bisect_left(left_edges, split)
        if min(left_count, right_count) < _MIN_COLUMN_LINES or len(
            lines
        ) - left_count - right_count > 0.35 * len(lines):
            continue
        left_column = [line for line in lines if line.x_max <= split]
        right_column = [line for line in lines if line.x_min >= split]
        crossing_count = len(lines) - len(left_column) - len(right_column)
        if (
            crossing_count <= 0.35 * len(lines)
            and _is_column(left_column)
            and _is_column(right_column)
            and _is_side_by_side(left_column, right_column)
            and _is_out_of_order(lines, split)
            and min(line.x_min for line in right_column) - max(line.x_max for line in left_column)
            >= _MIN_GUTTER_POINTS / 2
            and (best is None or crossing_count < best[0])
        ):
            best = (crossing_count, split)
    return best[1] if best else None


def _is_column(lines: Sequence[Line]) -> bool:
    """Return whether these are lines of running text: long enough, and most of them full."""
    if len(lines) < _MIN_COLUMN_LINES:
        return False
    width = max(line.x_max for line in lines) - min(line.x_min for line in lines)
    full_lines = sum(line.x_max - line.x_min >= _FULL_LINE_SHARE * width for line in lines)
    text = "".join(line.text for line in lines)
    return (
        len(text) >= _MIN_COLUMN_LINE_CHARACTERS * len(lines)
        and 2 * full_lines >= len(lines)
        and sum(map(str.isalpha, text)) >= _MIN_LETTER_SHARE * len(text)
    )


def _is_out_of_order(lines: Sequence[Line], split: float) -> bool:
    """Return whether the lines change sides with nearly every line, or go right to left.

    If several lines in a row are on the same side, they are table cells and belong together.
    """
    is_right = [line.x_min >= split for line in lines if not line.x_min < split < line.x_max]
    changes = sum(a != b for a, b in pairwise(is_right))
    return changes >= 1.2 * min(sum(is_right), len(is_right) - sum(is_right)) or (
        is_right[0] and changes == 1
    )


def _is_side_by_side(left_column: Sequence[Line], right_column: Sequence[Line]) -> bool:
    """Return whether two columns overlap for more than half of the height of the shorter."""
    columns = (left_column, right_column)
    tops = [max(line.y_max for line in column) for column in columns]
    bottoms = [min(line.y_min for line in column) for column in columns]
    height = min(top - bottom for top, bottom in zip(tops, bottoms, strict=True))
    return min(tops) - max(bottoms) > 0.5 * height


def _mark_edges(lines: Sequence[Line]) -> None:
    """Mark the lines at the top and bottom that may be a header or footer."""
    by_height = sorted(lines, key=lambda line: -line.y_max)
    for line in by_height[:_EDGE_LINES]:
        line.edge = "top"
    for line in by_height[_EDGE_LINES:][-_EDGE_LINES:]:
        line.edge = "bottom"
