"""The lines of a PDF page with their boxes, in points."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import pi
from typing import Any, Literal

from rag.types import Table

LINE_END_HYPHEN = "\ufffe"  # PDFium writes this for a hyphen and the line end after it
_LEAST_GAP_SHARE = 0.35  # of the line height: narrower gaps are the spaces between words
_GAP_SHARE = 0.75  # of the line height: the least width of a gap between columns
_SAMPLED_ANGLES = 5  # characters of a page whose direction is read
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
    size: float = 0.0  # height of the type; 0 if unknown
    is_bold: bool | None = None  # None: it is not known, because the line is no heading
    edges: tuple[float, ...] = ()  # of the columns of a table with drawn lines
    row_extent: tuple[float, float] | None = None  # from left to right, of the rows of a table
    is_running: bool = False  # the first occurrence of a line that repeats from page to page

    @property
    def end(self) -> int:
        """Offset after the last character, in the text of the page."""
        return self.start + len(self.text)


def extract_lines(text: str, boxes: CharacterBoxes | None) -> list[Line]:
    """Return the lines of the `text` of a page; with `boxes`, as they are drawn and located."""
    pattern = _DRAWN_LINE_END if boxes is not None and LINE_END_HYPHEN in text else _LINE_END
    lines = [Line(part, offset) for part, offset in _split_lines(text, pattern)]
    if boxes is None or len(text) != boxes.count:
        return lines
    for line in lines:
        boxes.locate(line)
    _mark_edges([line for line in lines if line.text.strip()])
    return lines


_LINE_END = "(\r\n|\r|\n)"
_DRAWN_LINE_END = f"(\r\n|\r|\n|(?<={LINE_END_HYPHEN})(?=[^\r\n]))"


def _split_lines(text: str, pattern: str) -> Iterator[tuple[str, int]]:
    offset = 0
    for i, part in enumerate(re.split(pattern, text)):
        if i % 2 == 0:
            yield part, offset
        offset += len(part)


class CharacterBoxes:
    """Reads the boxes of characters from PDFium; a page has thousands of them."""

    def __init__(self, textpage: Any) -> None:
        import pypdfium2.raw as pdfium

        # With plain addresses, a call takes half the time that it takes with typed pointers.
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        function = ctypes.cast(pdfium.FPDFText_GetLooseCharBox, ctypes.c_void_p)
        self._get_char_box = prototype(function.value or 0)
        self._textpage = textpage  # its memory is read as long as this object lives
        self._page = ctypes.cast(textpage.raw, ctypes.c_void_p).value
        self._box = pdfium.FS_RECTF()
        self._reference = ctypes.addressof(self._box)
        self.count = textpage.count_chars()
        self._gaps: dict[tuple[int, int], list[tuple[int, float, float]]] = {}

    def get_box(self, index: int) -> tuple[float, float, float, float]:
        """Return x_min, y_min, x_max and y_max of a character; all 0 if PDFium does not know."""
        if not self._get_char_box(self._page, index, self._reference):
            return (0.0, 0.0, 0.0, 0.0)
        box = self._box
        return (box.left, box.bottom, box.right, box.top)

    def turn(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return a box of the page in the coordinates of the lines: as the text is read."""
        return box

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

    def find_gaps(
        self, line: Line, max_height: float = float("inf")
    ) -> list[tuple[int, float, float]]:
        """Return position in the line, start and end (x) of each gap wide enough for columns.

        `max_height` is that of a usual line: PDFium may have joined words that are not at the same
        height.
        """
        height = line.y_max - line.y_min
        span = line.start, line.end
        gaps = self._gaps.get(span)
        if gaps is None:
            gaps = self._gaps[span] = self._find_gaps(line, _LEAST_GAP_SHARE * height)
        min_width = _GAP_SHARE * min(height, max_height)
        return [gap for gap in gaps if gap[2] - gap[1] >= min_width] if gaps else gaps

    def _find_gaps(self, line: Line, min_width: float) -> list[tuple[int, float, float]]:
        gaps: list[tuple[int, float, float]] = []
        get_char_box, page, box, reference, offset = (
            self._get_char_box,
            self._page,
            self._box,
            self._reference,
            line.start,
        )
        # As `get_edges`, without a call for each space: much time is spent here.
        for space in _GAP.finditer(line.text):
            start, end = space.span()
            get_char_box(page, offset + start - 1, reference)
            gap_start = box.right
            get_char_box(page, offset + end, reference)
            gap_end = box.left
            if gap_end - gap_start >= min_width:
                gaps.append((start, gap_start, gap_end))
        return gaps

    def divide(self, line: Line, positions: Sequence[int]) -> list[Line]:
        """Return the parts of a line, without white space around them, with their boxes."""
        parts: list[Line] = []
        for start, end in zip([0, *positions], [*positions, len(line.text)], strict=True):
            text = line.text[start:end]
            stripped = text.strip(" \t\xa0")
            offset = start + len(text) - len(text.lstrip(" \t\xa0"))
            parts.append(Line(stripped, line.start + offset, edge=line.edge))
            self.locate(parts[-1])
        return parts


_GAP = re.compile(r"(?<=\S)[ \t\xa0]+(?=\S)")


class ComputedBoxes(CharacterBoxes):
    """Boxes of characters that are not those of PDFium; a subclass has `get_box`."""

    def get_x_min(self, index: int) -> float:
        """Return the left edge of a character."""
        return self.get_box(index)[0]

    def get_edges(self, first: int, second: int) -> tuple[float, float]:
        """Return the right edge of one character, and the left edge of another."""
        return self.get_box(first)[2], self.get_box(second)[0]

    def _find_gaps(self, line: Line, min_width: float) -> list[tuple[int, float, float]]:
        spaces = [space.span() for space in _GAP.finditer(line.text)]
        edges = [self.get_edges(line.start + start - 1, line.start + end) for start, end in spaces]
        return [
            (start, *gap)
            for (start, _), gap in zip(spaces, edges, strict=True)
            if gap[1] - gap[0] >= min_width
        ]

    def locate(self, line: Line) -> None:
        """Set the box of a line from its first and last visible characters."""
        stripped = line.text.strip()
        if not stripped:
            return
        first_index = line.start + line.text.index(stripped[0])
        first = self.get_box(first_index)
        last = self.get_box(first_index + len(stripped) - 1)
        line.x_min, line.x_max = min(first[0], last[0]), max(first[2], last[2])
        line.y_min, line.y_max = min(first[1], last[1]), max(first[3], last[3])


class _RotatedBoxes(ComputedBoxes):
    """The boxes of characters on a page whose text is drawn at 90, 180 or 270 degrees.

    The boxes are turned so that the text runs from left to right.
    """

    def __init__(self, textpage: Any, quarter_turns: int) -> None:
        super().__init__(textpage)
        self._quarter_turns = quarter_turns

    def get_box(self, index: int) -> tuple[float, float, float, float]:
        return self.turn(super().get_box(index))

    def turn(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        x_min, y_min, x_max, y_max = box
        if self._quarter_turns == 1:
            return -y_max, x_min, -y_min, x_max
        if self._quarter_turns == 2:
            return -x_max, -y_max, -x_min, -y_min
        return y_min, -x_max, y_max, -x_min


def make_boxes(textpage: Any) -> CharacterBoxes:
    """Return the reader of the boxes of a page; it turns them if the text is drawn turned."""
    import pypdfium2.raw as pdfium

    count = textpage.count_chars()
    turns: Counter[int] = Counter()
    for i in range(_SAMPLED_ANGLES):
        angle = pdfium.FPDFText_GetCharAngle(textpage.raw, (2 * i + 1) * count // 10)
        turns[round(angle / (pi / 2)) % 4 if angle > 0 else 0] += 1
    quarter_turns, votes = turns.most_common(1)[0]
    if quarter_turns and votes > _SAMPLED_ANGLES // 2:
        return _RotatedBoxes(textpage, quarter_turns)
    return CharacterBoxes(textpage)


def _mark_edges(lines: Sequence[Line]) -> None:
    """Mark the lines at the top and bottom that may be a header or footer."""
    by_height = sorted(lines, key=lambda line: -line.y_max)
    for line in by_height[:_EDGE_LINES]:
        line.edge = "top"
    for line in by_height[_EDGE_LINES:][-_EDGE_LINES:]:
        line.edge = "bottom"
