"""Where the lines of a PDF page stand: reading order, and what repeats from page to page."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

_GUTTER = 10.0  # points, at least, between two columns
_SAMPLED = 8  # long lines of a page that are looked at for a gap
_LONG = 40  # characters
_COLUMN_LINES = 5  # lines a column has at least
_COLUMN_CHARACTERS = 20  # characters its lines have at least, in the mean: what is less is a table
_FULL = 0.7  # of a column's width that a full line takes
_LETTERS = 0.65  # of the characters of running text; in tables there are more figures
_OUTERMOST = 2  # lines at the top and at the bottom that may be a header or footer
_NUMBERS = 4  # numbers of a line that may be the page's
_NEAR = 100  # pages that the printed number may be away from the count of pages
_PAGE_NUMBER = re.compile(
    r"[^\w]*(?:page|p\.|seite|página|pagina|стр\.?|第)?[^\w]*[0-9]{1,6}"
    r"(?:[^\w]*(?:of|von|de|di|van|из|/)?[^\w]*[0-9]{1,6})?[^\w]*(?:页|頁)?"
)
_FEW_PAGES = 4  # a document with fewer has no repeated lines
_REPEATED = 0.3  # share of the pages that a header or footer is on


@dataclass(slots=True)
class Line:
    """A line of a page, and where it stands in points from the bottom left; all 0 if unknown."""

    text: str
    start: int = 0
    left: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    top: float = 0.0
    edge: Literal["", "top", "bottom"] = ""

    @property
    def end(self) -> int:
        """Position behind the last character in the page's text."""
        return self.start + len(self.text)


def lines_of(text: str, textpage: Any, *, clean: bool) -> list[Line]:
    """Lines of a page's `text`; in reading order, where `clean`."""
    lines = [Line(part, at) for part, at in _split(text)]
    # Characters are numbered as in the text, but where some take two places in UTF-16.
    if not clean or len(text) != textpage.count_chars():
        return lines
    boxes = _Boxes(textpage)
    for line in lines:
        boxes.place(line)
    gutter = _gutter(lines, boxes)
    if gutter is not None:
        lines = [part for line in lines for part in _parted(line, gutter, boxes)]
    placed = [line for line in lines if line.text.strip()]
    _mark_edges(placed)
    if len(placed) >= 2 * _COLUMN_LINES:
        ordered = _in_columns(placed)
        if ordered != placed:
            return ordered
    return lines


def _split(text: str) -> Iterator[tuple[str, int]]:
    at = 0
    for part in re.split("(\r\n|\r|\n)", text):
        if part not in ("\r\n", "\r", "\n"):
            yield part, at
        at += len(part)


class _Boxes:
    """Asks PDFium where characters stand; every question costs most of a microsecond."""

    def __init__(self, textpage: Any) -> None:
        import pypdfium2.raw as pdfium

        self._ask = pdfium.FPDFText_GetLooseCharBox
        self._page = textpage.raw
        self._box = pdfium.FS_RECTF()
        self._reference = ctypes.byref(self._box)

    def of(self, index: int) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of a character."""
        if not self._ask(self._page, index, self._reference):
            return (0.0, 0.0, 0.0, 0.0)
        box = self._box
        return (box.left, box.bottom, box.right, box.top)

    def place(self, line: Line) -> None:
        bare = line.text.strip()
        if not bare:
            return
        first = line.start + line.text.index(bare[0])
        left, bottom, _, top = self.of(first)
        _, other_bottom, right, other_top = self.of(first + len(bare) - 1)
        line.left, line.right = min(left, right), max(left, right)
        line.bottom, line.top = min(bottom, other_bottom), max(top, other_top)

    def gaps(self, line: Line) -> Iterator[tuple[int, float, float]]:
        """Position in the line, left and right end of every wide space."""
        wide = max(_GUTTER, line.top - line.bottom)
        for space in re.finditer(r"(?<=\S) +(?=\S)", line.text):
            _, _, left, _ = self.of(line.start + space.start() - 1)
            right, _, _, _ = self.of(line.start + space.end())
            if right - left >= wide:
                yield space.start(), left, right


def _gutter(lines: Sequence[Line], boxes: _Boxes) -> tuple[float, float] | None:
    """The gap between two columns whose lines PDFium has joined, as they stand beside each other.

    Where a page has one, most long lines have one wide gap, all at the same place.
    """
    long = sorted((line for line in lines if len(line.text) >= _LONG), key=lambda x: -len(x.text))
    found: list[tuple[float, float]] = []
    for count, line in enumerate(long[:_SAMPLED], start=1):
        gaps = [(left, right) for _, left, right in boxes.gaps(line)]
        found += gaps if len(gaps) == 1 else []
        if count == 3 and not found:
            return None
    if len(found) < max(_COLUMN_LINES, len(long[:_SAMPLED]) // 2):
        return None
    middle = sorted((left + right) / 2 for left, right in found)[len(found) // 2]
    around = [(left, right) for left, right in found if left < middle < right]
    if len(around) < 0.8 * len(found):
        return None
    return max(left for left, _ in around), min(right for _, right in around)


def _parted(line: Line, gutter: tuple[float, float], boxes: _Boxes) -> list[Line]:
    left, right = gutter
    if not line.left < left < right < line.right:
        return [line]
    for at, gap_left, gap_right in boxes.gaps(line):
        if gap_left <= right and gap_right >= left:
            parts = [Line(line.text[:at], line.start), Line(line.text[at:], line.start + at)]
            stripped = parts[1].text.lstrip()
            parts[1] = Line(stripped, parts[1].end - len(stripped))
            for part in parts:
                boxes.place(part)
            return parts
    return [line]


def _in_columns(lines: list[Line], depth: int = 0) -> list[Line]:
    """The lines of the left column before those of the right one, between lines across both."""
    split = _column_split(lines) if depth < 3 else None
    if split is None:
        return lines
    bands: list[list[Line]] = [[]]
    for line in sorted(lines, key=lambda line: -line.top):
        if line.left < split < line.right:
            bands += [[line], []]
        else:
            bands[-1].append(line)
    found = [_sides(band, split) for band in bands]
    if not any(found):
        return lines
    ordered: list[Line] = []
    for band, sides in zip(bands, found, strict=True):
        if sides is None:
            ordered += sorted(band, key=lambda line: line.start)
        else:
            ordered += [line for side in sides for line in _in_columns(side, depth + 1)]
    return ordered


def _sides(band: Sequence[Line], split: float) -> tuple[list[Line], list[Line]] | None:
    """The columns of what stands between two lines across; None if these are cells of a table."""
    band = sorted(band, key=lambda line: line.start)
    left = [line for line in band if line.right <= split]
    right = [line for line in band if line.left >= split]
    return (left, right) if _is_column(left) and _is_column(right) else None


def _column_split(lines: Sequence[Line]) -> float | None:
    """Where the page parts in two columns of running text; None if it does not."""
    start = min(line.left for line in lines)
    end = max(line.right for line in lines)
    best: tuple[int, float] | None = None
    for right_edge in {round(line.right, 1) for line in lines}:
        split = right_edge + 0.5
        if not start + 0.2 * (end - start) < split < end - 0.2 * (end - start):
            continue
        left = [line for line in lines if line.right <= split]
        right = [line for line in lines if line.left >= split]
        across = len(lines) - len(left) - len(right)
        if (
            across <= 0.35 * len(lines)
            and _is_column(left)
            and _is_column(right)
            and _beside(left, right)
            and _is_out_of_order(lines, split)
            and min(line.left for line in right) - max(line.right for line in left) >= _GUTTER / 2
            and (best is None or across < best[0])
        ):
            best = (across, split)
    return best[1] if best else None


def _is_column(lines: Sequence[Line]) -> bool:
    """Whether these are lines of running text: long enough, and most of them full."""
    if len(lines) < _COLUMN_LINES:
        return False
    width = max(line.right for line in lines) - min(line.left for line in lines)
    full = sum(line.right - line.left >= _FULL * width for line in lines)
    text = "".join(line.text for line in lines)
    return (
        len(text) >= _COLUMN_CHARACTERS * len(lines)
        and 2 * full >= len(lines)
        and sum(map(str.isalpha, text)) >= _LETTERS * len(text)
    )


def _is_out_of_order(lines: Sequence[Line], split: float) -> bool:
    """Whether the page goes from one side to the other with nearly every line, or right to left.

    A page that goes on for some lines on each side has cells of text that belong together.
    """
    sides = [line.left >= split for line in lines if not line.left < split < line.right]
    changes = sum(a != b for a, b in pairwise(sides))
    return changes >= 1.2 * min(sum(sides), len(sides) - sum(sides)) or (sides[0] and changes == 1)


def _beside(left: Sequence[Line], right: Sequence[Line]) -> bool:
    """Whether the two stand beside each other for the better part of the lower of them."""
    top = min(max(x.top for x in left), max(x.top for x in right))
    bottom = max(min(x.bottom for x in left), min(x.bottom for x in right))
    height = min(max(x.top for x in side) - min(x.bottom for x in side) for side in (left, right))
    return top - bottom > 0.5 * height


def _mark_edges(lines: Sequence[Line]) -> None:
    by_height = sorted(lines, key=lambda line: -line.top)
    for line in by_height[:_OUTERMOST]:
        line.edge = "top"
    for line in by_height[_OUTERMOST:][-_OUTERMOST:]:
        line.edge = "bottom"


def without_repeated(pages: list[list[Line]]) -> list[list[Line]]:
    """Drop headers and footers, but where they stand first: nothing that is said once is lost.

    Outermost lines are the same where they differ in nothing but a number that grows with the
    page: other numbers are what the page says.
    """
    if len(pages) < _FEW_PAGES:
        return pages
    edges = [
        {id(line): _forms(line, number) for line in page if line.edge}
        for number, page in enumerate(pages)
    ]
    counts = Counter(
        form for page in edges for form in {f for forms in page.values() for f in forms}
    )
    enough = max(3, _REPEATED * len(pages))
    repeated = {form for form, count in counts.items() if count >= enough}
    seen: set[str] = set()
    kept: list[list[Line]] = []
    for page, forms in zip(pages, edges, strict=True):
        kept.append([x for x in page if not (forms.get(id(x), set()) & repeated & seen)])
        seen.update(*forms.values())
    return kept


def _forms(line: Line, page: int) -> set[str]:
    """The line as it stands; where it may hold the page's number, also counted from the page's.

    At the bottom of a page that is any number near to the page's, at the top only one that
    stands alone or behind a word for a page.
    """
    text = " ".join(line.text.split()).casefold()[:200]
    if line.edge == "top" and not _PAGE_NUMBER.fullmatch(text):
        return {text}
    forms = {text}
    for found in list(re.finditer(r"[0-9]{1,6}", text))[:_NUMBERS]:
        offset = int(found.group()) - page
        if abs(offset) <= _NEAR:
            forms.add(f"{text[: found.start()]}\0{offset}\0{text[found.end() :]}")
    return forms
