"""The rows of a PDF page: runs of words at the same height, read from character boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import median

from connectors.parsers.pdf_fonts import clean_characters
from connectors.parsers.pdf_layout import CharacterBoxes, Line

_WIDE_GAP = 0.5  # of the line height; a space between words takes a quarter
_TALL_LINE = 1.5  # of the usual height: PDFium has joined two lines
_SAME_ROW = 0.45  # of the line height, between the centres of cells in a row
_SPACE_CHARACTERS = 1.15  # of the mean width of the characters of a word, in monospaced type
_MEAN_CHARACTER = 0.5  # width of a character, as a share of the line height
_VALUE_LINE_CHARACTER = 0.48  # the same, of a line with numbers; of prose it is about 0.43
_LOOSE_CHARACTER = 0.62  # the same, of a line with wide gaps
_TAIL_CHARACTERS = 40  # of a line that are searched for a number at its end
_NUMBER_ENDS = "0123456789)%—–-"
_TOKEN = re.compile(r"[^\s\ufffe]+\ufffe?")
_CURRENCY_SIGNS = ("$", "€", "£")
_FOOTNOTE = r"(?:\s*+(?:\([0-9a-zA-Z]{1,3}\)|[*†‡]++))*+"
_VALUE = re.compile(
    r"[$€£¥]?\s*+[(+\-−–—<>~]*+\s*+[$€£¥]?\s*+\d[\d.,]*+\s*+\)?\s*+(?:[%x]|bps?|pts?|pp)?\s*+\)?"
    rf"{_FOOTNOTE}|[$(]*+\s*+[-–—−]++[)%\s]*+{_FOOTNOTE}|\*+|†|[nN]/?[aAmM]|[nN]\.[mM]\."
)
_LAST_WORD = re.compile(
    r"[$€£¥(+\-−–—<>~]*\d(?:[\d.,]*\d)?[)%x]*(?:\([0-9a-zA-Z]{1,3}\))?[*†‡]*|[$(]*[-–—−]+[)%*†]*"
    r"|[)%*†]+|\([0-9a-zA-Z]{1,3}\)|[nN]/?[aAmM]|bps?|pp|pts"
)
_YEAR = re.compile(rf"(?:FY\s?)?(?:19|20)\d\d{_FOOTNOTE}")


def ends_with_value(line: Line) -> bool:
    """Whether the text of a line ends like a number."""
    words = line.text[-_TAIL_CHARACTERS:].rsplit(None, 1)
    return bool(words) and _LAST_WORD.fullmatch(words[-1]) is not None


def may_be_row(line: Line) -> bool:
    """Whether a line is wider than words without gaps, and ends like a number or is loose."""
    width = line.x_max - line.x_min
    size = (line.y_max - line.y_min) * len(line.text)
    if width < _VALUE_LINE_CHARACTER * size and " " in line.text.strip():
        return False
    return width >= _LOOSE_CHARACTER * size or ends_with_value(line)


def is_loose(line: Line) -> bool:
    """Whether a line is so wide for its characters that it may have several wide gaps."""
    return line.x_max - line.x_min >= _LOOSE_CHARACTER * (line.y_max - line.y_min) * len(line.text)


def is_value(text: str) -> bool:
    """Whether a text is a number, as the cells of tables have them."""
    return _VALUE.fullmatch(text) is not None


class Run:
    """Words of a line without a wide gap between them: a cell, or a part of one."""

    __slots__ = ("is_value", "text", "x_max", "x_min")

    def __init__(self, text: str, x_min: float, x_max: float, is_label: bool = False) -> None:
        self.text = clean_characters(" ".join(text.split()))
        self.x_min = x_min
        self.x_max = x_max
        self.is_value = not is_label and _VALUE.fullmatch(self.text) is not None

    @property
    def centre(self) -> float:
        """The horizontal centre."""
        return (self.x_min + self.x_max) / 2


class Row:
    """The runs of a page at the same height, from left to right.

    * ``runs``: the runs; a label before numbers is one run
    * ``values``: the runs that are numbers, but not a year that is the label
    * ``has_values``: whether there is a number next to another cell
    * ``has_only_years``: whether all numbers are years, as in a header row
    """

    def __init__(self, lines: Sequence[Line], boxes: CharacterBoxes) -> None:
        first = lines[0]
        self.lines = list(lines)
        self.height = first.y_max - first.y_min
        self.y = (first.y_max + first.y_min) / 2
        self.x_min, self.x_max = first.x_min, first.x_max
        self.runs: list[Run] = []
        has_value_at_end = False
        for line in lines:
            if ends_with_value(line):
                self.runs += read_runs(line, boxes, whole=False)
                has_value_at_end = True
            else:
                self.runs.append(Run(line.text, line.x_min, line.x_max, is_label=True))
        if len(lines) > 1:
            self.height = max([line.y_max - line.y_min for line in lines])
            self.y = sum([line.y_max + line.y_min for line in lines]) / (2 * len(lines))
            self.x_min = min([line.x_min for line in lines])
            self.x_max = max([line.x_max for line in lines])
            self.runs.sort(key=lambda run: run.x_min)
        self.values: list[Run] = []
        self.has_values = self.has_only_years = False
        if has_value_at_end and len(self.runs) > 1:
            self._find_values()
        self._all_runs: list[Run] | None = None
        self._boxes = boxes

    def _find_values(self) -> None:
        values = [run for run in self.runs if run.is_value]
        has_label = not self.runs[0].is_value or _YEAR.fullmatch(self.runs[0].text) is not None
        self.values = [run for run in values if run is not self.runs[0] or not has_label]
        self.has_values = bool(self.values)
        self.has_only_years = bool(values) and all(_YEAR.fullmatch(run.text) for run in values)

    @property
    def all_runs(self) -> list[Run]:
        """The runs, with all gaps of the row."""
        if self._all_runs is None:
            runs = [run for line in self.lines for run in read_runs(line, self._boxes, whole=True)]
            self._all_runs = sorted(runs, key=lambda run: run.x_min)
        return self._all_runs

    @property
    def text(self) -> str:
        """The text of the row."""
        lines = sorted(self.lines, key=lambda line: line.x_min)
        return clean_characters(" ".join([" ".join(line.text.split()) for line in lines]))


def read_rows(lines: Sequence[Line], boxes: CharacterBoxes) -> list[Row]:
    """Return the rows of the lines from top to bottom."""
    rows: list[Row] = []
    group: list[Line] = []
    for line in sorted(lines, key=lambda line: -(line.y_min + line.y_max)):
        if group and not _is_same_row(group, line):
            rows.append(Row(group, boxes))
            group = []
        group.append(line)
    return [*rows, Row(group, boxes)] if group else rows


def _is_same_row(group: Sequence[Line], line: Line) -> bool:
    first = group[0]
    height = min(first.y_max - first.y_min, line.y_max - line.y_min)
    distance = (first.y_min + first.y_max - line.y_min - line.y_max) / 2
    return distance <= _SAME_ROW * height and all(
        line.x_min >= group_line.x_max - 1 or line.x_max <= group_line.x_min + 1
        for group_line in group
    )


def split_tall_lines(lines: Sequence[Line], boxes: CharacterBoxes) -> list[Line]:
    """Return the lines; a line in which PDFium has joined several is divided."""
    heights = [line.y_max - line.y_min for line in lines if line.y_max > line.y_min]
    limit = _TALL_LINE * median(heights) if heights else 0
    parts: list[Line] = []
    for line in lines:
        is_tall = line.y_max - line.y_min > limit and len(line.text) > 1
        parts += _split_tall_line(line, boxes) if is_tall else [line]
    return parts


def _split_tall_line(line: Line, boxes: CharacterBoxes) -> list[Line]:
    text = line.text.rstrip()
    _, bottom, _, top = boxes.get_box(line.start + len(text) - len(text.lstrip()))
    _, y_min, _, y_max = boxes.get_box(line.start + len(text) - 1)
    if abs(bottom + top - y_min - y_max) < max(top - bottom, y_max - y_min):
        return [line]  # a superscript, or a line in large type
    starts: list[int] = []
    for token in _TOKEN.finditer(line.text):
        _, y_min, _, y_max = boxes.get_box(line.start + token.start())
        if not starts or not bottom < (y_min + y_max) / 2 < top:
            starts.append(token.start())
        bottom, top = y_min, y_max
    if len(starts) < 2:
        return [line]
    parts: list[Line] = []
    for start, end in zip(starts, [*starts[1:], len(line.text)], strict=True):
        text = line.text[start:end].rstrip()
        parts.append(Line(text, line.start + start, edge=line.edge))
        boxes.locate(parts[-1])
    return parts


def _is_space(gap: float, width: float, count: int) -> bool:
    """Whether a gap is a space of a monospaced font, as wide as each of `count` characters."""
    return gap <= _SPACE_CHARACTERS * width / count


def read_runs(line: Line, boxes: CharacterBoxes, whole: bool) -> list[Run]:
    """Return the runs of a line, read from its end.

    Unless `whole`, the words before the numbers are one run if they take as much space as words
    do: this saves the boxes of the words of a label.
    """
    text, offset = line.text, line.start
    height = max(line.y_max - line.y_min, 1.0)
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    signs = _take_signs(text, tokens, boxes, offset)
    wide_gap = _WIDE_GAP * height
    runs: list[Run] = []
    start, end = tokens[-1]
    run_end, x_max = end, line.x_max
    x_min = boxes.get_x_min(offset + start)
    if start in signs:
        x_max = boxes.get_edges(offset + end - 1, offset + start)[0]
    for previous_start, previous_end in reversed(tokens[:-1]):
        previous_x_max, previous_x_min = boxes.get_edges(
            offset + previous_end - 1, offset + previous_start
        )
        gap = x_min - previous_x_max
        if wide_gap <= gap < height and _is_space(
            gap, previous_x_max - previous_x_min, previous_end - previous_start
        ):
            gap = 0
        if gap >= wide_gap or gap < -height or text[start] in "$€£":
            is_amount = text[start] in "$€£" and text[previous_end - 1] in _NUMBER_ENDS
            is_joined = text[previous_start:previous_end] in _CURRENCY_SIGNS or (
                text[start] in "%)" and not text[start:end].strip("%)")
            )
            if is_amount or ((gap >= wide_gap or gap < -height) and not is_joined):
                runs.append(_make_run(text, start, run_end, x_min, x_max, signs))
                run_end, x_max = previous_end, previous_x_max
        start, end, x_min = previous_start, previous_end, previous_x_min
        if not whole and text[start].isalpha() and start:
            width = previous_x_max - line.x_min
            if width <= _MEAN_CHARACTER * height * previous_end:
                start, x_min = 0, line.x_min
                break
    runs.append(_make_run(text, start, run_end, x_min, x_max, signs))
    return runs[::-1]


def _take_signs(
    text: str, tokens: list[tuple[int, int]], boxes: CharacterBoxes, offset: int
) -> dict[int, tuple[str, float]]:
    """Remove the currency signs that are drawn after their numbers, and stand before them.

    Return them and their left edges by the start of the number.
    """
    signs: dict[int, tuple[str, float]] = {}
    for i in range(len(tokens) - 1, 0, -1):
        (before, _), (start, end) = tokens[i - 1 : i + 1]
        if text[start:end] in _CURRENCY_SIGNS:
            x_min = boxes.get_x_min(offset + start)
            if x_min < boxes.get_x_min(offset + before):
                signs[before] = text[start:end], x_min
                del tokens[i]
    return signs


def _make_run(
    text: str,
    start: int,
    end: int,
    x_min: float,
    x_max: float,
    signs: Mapping[int, tuple[str, float]],
) -> Run:
    """Return the run of a span, with the currency sign that is drawn after it."""
    if start not in signs:
        return Run(text[start:end], x_min, x_max)
    sign, sign_x_min = signs[start]
    return Run(f"{sign} {text[start:end]}", sign_x_min, x_max)
