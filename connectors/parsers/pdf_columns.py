"""Columns of PDF pages: the lines are put in the order in which a person reads them.

PDFium joins words at the same height, also those of different columns. Lines with wide gaps at the
same place are divided there, if the parts read as columns of running text; the cells of a table
stay in their rows. Columns that are drawn as lines of their own are ordered by their positions.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from connectors.parsers.pdf_layout import CharacterBoxes, Line

_MIN_GUTTER_POINTS = 4.0  # of the white space that is common to all lines of a region
_SAMPLED_LINE = 3  # every third long line is searched for gaps
_LONG_LINE_CHARACTERS = 30
_MAX_LINE_DISTANCE = 2.6  # of the line height, between the lines of a region
_MAX_LAST_LINE_DISTANCE = 1.7  # the same, to a line without a gap
_MIN_COLUMN_LINES = 5
_MIN_SHORT_COLUMN_LINES = 3  # if the lines continue one another
_MIN_COLUMN_LINE_CHARACTERS = 20  # mean line length; a table has shorter lines
_MIN_SHORT_LINE_CHARACTERS = 12  # the same, if the lines continue one another
_MIN_CONTINUED_SHARE = 0.3  # share of the lines that begin in the middle of a sentence
_FULL_LINE_SHARE = 0.7  # a full line takes at least this share of the column width
_MIN_LETTER_SHARE = 0.65  # share of letters in running text; tables have more digits
_MAX_HOLES = 0.2  # share of the rows of a region in which a column has no line
_MIN_WHITE_POINTS = 5.0  # between two columns that are drawn as lines of their own
_MAX_DEPTH = 4
_SAME_LINE = 0.4  # of the line height, between the centres of the parts of a line
_MAX_PART_GAP = 0.6  # of the line height, between two words
_MARKS_WITHOUT_SPACE = frozenset(".,;:)")  # behind a raised figure, which ends a part
_MAX_BULLET_GAP = 5.0  # of the line height, between a bullet and its text
_MIN_BULLET_GAP = 0.6  # of the height of a line; a space has a quarter
BULLETS = frozenset("•‣◦▪·●○■□–—-➢✓*")

Interval = tuple[float, float]


def order_lines(lines: list[Line], boxes: CharacterBoxes) -> list[Line]:
    """Return the lines of a page in reading order: column after column."""
    _write_round_bullets(lines, boxes)
    lines = _divide_joined_columns(lines, boxes)
    text_lines = [line for line in lines if line.text.strip()]
    if len(text_lines) >= 2 * _MIN_COLUMN_LINES:
        ordered_lines = _order_columns(text_lines)
        if ordered_lines != text_lines:
            return ordered_lines
    return lines


def _write_round_bullets(lines: Iterable[Line], boxes: CharacterBoxes) -> None:
    """Write "◦" for the letter "o" that word processors draw as the bullet of inner lists."""
    for line in lines:
        if line.text.startswith("o "):
            position = len(line.text) - len(line.text[1:].lstrip())
            bullet_end, text_start = boxes.get_edges(line.start, line.start + position)
            if text_start - bullet_end >= _MIN_BULLET_GAP * (line.y_max - line.y_min):
                line.text = f"◦{line.text[1:]}"


def join_split_lines(lines: list[Line]) -> list[Line]:
    """Return the lines; parts of a line that are drawn one by one, such as a bullet, are joined."""
    joined: list[Line] = []
    for line in lines:
        previous = joined[-1] if joined else None
        if previous is None or not _is_next_part(previous, line):
            joined.append(line)
            continue
        following = line.text.lstrip()
        space = "" if following[:1] in _MARKS_WITHOUT_SPACE else " "
        previous.text = f"{previous.text.rstrip()}{space}{following}"
        previous.x_max = line.x_max
        previous.y_min = min(previous.y_min, line.y_min)
        previous.y_max = max(previous.y_max, line.y_max)
        if line.is_bold is False:
            previous.is_bold = False
        previous.size = max(previous.size, line.size)
    return joined


def _is_next_part(first: Line, second: Line) -> bool:
    """Whether a line stands next to the right of another one."""
    if first.marks or second.marks or first.x_max <= first.x_min or second.x_max <= second.x_min:
        return False
    height = min(first.y_max - first.y_min, second.y_max - second.y_min)
    distance = abs(first.y_min + first.y_max - second.y_min - second.y_max) / 2
    is_bullet = first.text.strip() in BULLETS
    max_gap = (_MAX_BULLET_GAP if is_bullet else _MAX_PART_GAP) * height
    return (
        distance <= _SAME_LINE * height and -0.2 * height <= second.x_min - first.x_max <= max_gap
    )


# -- Columns that PDFium has joined ---------------------------------------------------------


@dataclass
class _Region:
    """The lines from `first` to `last` (inclusive), which leave the `gutters` free."""

    first: int
    last: int
    gutters: list[Interval] = field(default_factory=list)


class _GapReader:
    """The gaps and letters of the lines of a page, read once."""

    def __init__(self, lines: Sequence[Line], boxes: CharacterBoxes) -> None:
        self.lines = lines
        self._boxes = boxes
        self._letter_counts: dict[int, int] = {}

    def find_gaps(self, index: int) -> list[tuple[int, float, float]]:
        """Return the wide gaps of a line."""
        return self._boxes.find_gaps(self.lines[index])

    def count_letters(self, index: int) -> int:
        """Return the number of letters in a line."""
        count = self._letter_counts.get(index)
        if count is None:
            count = self._letter_counts[index] = sum(map(str.isalpha, self.lines[index].text))
        return count

    def divide(self, line: Line, positions: Sequence[int]) -> list[Line]:
        """Return the parts of a line."""
        return self._boxes.divide(line, positions)

    def cut(self, gutters: Sequence[Interval], index: int) -> list[Interval]:
        """Return the parts of the gutters that a line leaves free."""
        line = self.lines[index]
        if line.x_max <= line.x_min:
            return list(gutters)
        free = [(float("-inf"), line.x_min), (line.x_max, float("inf"))]
        if not all(end <= line.x_min or start >= line.x_max for start, end in gutters):
            free += [(start, end) for _, start, end in self.find_gaps(index)]
        parts = [(max(start, a), min(end, b)) for start, end in gutters for a, b in free if a < end]
        return [(a, b) for a, b in parts if b - a >= _MIN_GUTTER_POINTS]


def _divide_joined_columns(lines: list[Line], boxes: CharacterBoxes) -> list[Line]:
    """Divide lines at the gaps between columns, and put the parts in order."""
    reader = _GapReader(lines, boxes)
    result: list[Line] = []
    written = examined = 0
    for seed in range(1, len(lines), _SAMPLED_LINE):
        if seed < examined or len(lines[seed].text) < _LONG_LINE_CHARACTERS:
            continue
        region = _grow_region(reader, seed, written)
        if region is None:
            continue
        examined = region.last + 1
        columns = _divide_region(reader, region)
        if columns:
            result += lines[written : region.first]
            result += [part for column in columns for part in column]
            written = examined
    return [*result, *lines[written:]] if written else lines


def _grow_region(reader: _GapReader, seed: int, start: int) -> _Region | None:
    """Return the region of lines around `seed` that have the same gaps; None if it is too small."""
    lines = reader.lines
    seed_gutters = [(start, end) for _, start, end in reader.find_gaps(seed)]
    if not seed_gutters:
        return None
    best = _Region(seed, seed)
    for first in range(max(start, seed - 2), min(seed, len(lines) - 3) + 1):
        if not _may_be_columns(reader, first, first + 3):
            continue
        window = range(first, first + 3)
        gutters = seed_gutters
        for i in window:
            gutters = reader.cut(gutters, i) if i != seed else gutters
        gap_lines = sum(bool(reader.find_gaps(i)) for i in window)
        if gap_lines >= 2 and len(gutters) > len(best.gutters):
            best = _Region(first, first + 2, gutters)
    if not best.gutters:
        return None
    while best.first > start and _extend(reader, best, best.first - 1, best.first):
        best.first -= 1
    while best.last + 1 < len(lines) and _extend(reader, best, best.last + 1, best.last):
        best.last += 1
    return best


def _may_be_columns(reader: _GapReader, first: int, end: int) -> bool:
    """Whether lines follow one another, with letters for the most part."""
    lines = reader.lines
    if not all(_is_next(lines, i, i + 1) for i in range(first, end - 1)):
        return False
    characters = sum([len(lines[i].text) for i in range(first, end)])
    letters = sum([reader.count_letters(i) for i in range(first, end)])
    return letters >= _MIN_LETTER_SHARE * characters


def _extend(reader: _GapReader, region: _Region, index: int, neighbour: int) -> bool:
    """Whether a line belongs to a region; its gaps narrow the gutters."""
    lines = reader.lines
    upper, lower = sorted((index, neighbour))
    if not _is_next(lines, upper, lower):
        return False
    gutters = reader.cut(region.gutters, index)
    if len(gutters) != len(region.gutters):
        return False
    line = lines[index]
    if line.text.strip() and not reader.find_gaps(index):
        height = max(line.y_max - line.y_min, 1)
        distance = abs(lines[neighbour].y_max - line.y_max)
        if distance > _MAX_LAST_LINE_DISTANCE * height:
            return False
    region.gutters = gutters
    return True


def _is_next(lines: Sequence[Line], upper: int, lower: int) -> bool:
    """Whether a line is just below another one."""
    first, second = lines[upper], lines[lower]
    if not first.text.strip() or not second.text.strip():
        return False
    height = max(min(first.y_max - first.y_min, second.y_max - second.y_min), 1)
    distance = first.y_max - second.y_max
    return -0.5 * height <= distance <= _MAX_LINE_DISTANCE * height


def _divide_region(reader: _GapReader, region: _Region) -> list[list[Line]]:
    """Return the columns of a region; [] if they do not read as columns."""
    columns: list[list[Line]] = [[] for _ in range(len(region.gutters) + 1)]
    gutters = sorted(region.gutters)
    middles = [(start + end) / 2 for start, end in gutters]
    for index in range(region.first, region.last + 1):
        line = reader.lines[index]
        gaps = reader.find_gaps(index)
        cuts = [
            position
            for position, start, end in gaps
            if any(start < middle < end for middle in middles)
        ]
        for part in reader.divide(line, cuts) if cuts else [line]:
            column = bisect_right(middles, (part.x_min + part.x_max) / 2)
            columns[column].append(part)
    return columns if _are_columns(columns) else []


def _are_columns(columns: Sequence[Sequence[Line]]) -> bool:
    """Whether the parts of the lines of a region are columns of text, and not cells of a table."""
    if len(columns) < 2 or len(columns[0]) < _MIN_SHORT_COLUMN_LINES:
        return False
    row_count = max(map(len, columns))
    for column in columns:
        if len(column) < 2 or not _is_running_text(column):
            return False
        tops = sorted((line.y_max for line in column), reverse=True)
        height = max(column[0].y_max - column[0].y_min, 1)
        distances = [upper - lower for upper, lower in pairwise(tops)]
        holes = sum(distance > 1.8 * min(distances) + 0.2 * height for distance in distances)
        if holes > max(1, _MAX_HOLES * row_count):
            return False
    return True


def _is_running_text(lines: Sequence[Line]) -> bool:
    """Whether lines are full of words; few or short lines have to continue one another."""
    width = max(line.x_max for line in lines) - min(line.x_min for line in lines)
    full_lines = sum(line.x_max - line.x_min >= _FULL_LINE_SHARE * width for line in lines)
    text = "".join(line.text for line in lines)
    if 2 * full_lines < len(lines) or (sum(map(str.isalpha, text)) < _MIN_LETTER_SHARE * len(text)):
        return False
    starts = [line.text.lstrip("\"'(“‘„«")[:1] for line in lines[1:]]
    continued = sum(start.isalpha() and not start.isupper() for start in starts)
    if continued >= _MIN_CONTINUED_SHARE * len(starts):
        return len(text) >= _MIN_SHORT_LINE_CHARACTERS * len(lines)
    return len(lines) >= _MIN_COLUMN_LINES and len(text) >= _MIN_COLUMN_LINE_CHARACTERS * len(lines)


# -- Columns that are drawn out of order ----------------------------------------------------


def _order_columns(lines: list[Line], depth: int = 0) -> list[Line]:
    """Order lines: column after column, between the lines that cross them."""
    split = _find_column_split(lines, depth) if depth < _MAX_DEPTH else None
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
    if not (_has_columns(left_column) and _has_columns(right_column)):
        return None
    return left_column, right_column


def _find_column_split(lines: Sequence[Line], depth: int = 0) -> float | None:
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
            and (best is None or crossing_count < best[0])
            and min(line.x_min for line in right_column) - max(line.x_max for line in left_column)
            >= _MIN_WHITE_POINTS
            and _is_side_by_side(left_column, right_column)
            and _is_out_of_order(lines, split)
            and _has_columns(left_column, depth)
            and _has_columns(right_column, depth)
        ):
            best = (crossing_count, split)
    return best[1] if best else None


def _has_columns(lines: Sequence[Line], depth: int = 0) -> bool:
    """Return whether these are lines of a column, or of several columns side by side."""
    if _is_column(lines):
        return True
    return (
        depth + 1 < _MAX_DEPTH
        and len(lines) >= 2 * _MIN_COLUMN_LINES
        and _find_column_split(lines, depth + 1) is not None
    )


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
