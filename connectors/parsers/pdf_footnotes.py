"""Footnotes of PDF pages are kept apart from the sentence that they interrupt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from connectors.parsers.pdf_layout import Line

_MAX_SIZE_RATIO = 0.93  # of the size of the text: the size of a footnote
_MAX_FOOTNOTE_LINES = 40
_SIGN = re.compile(r"\s*(?:\d{1,3}[.)]?|\(\d{1,2}\)|\[\d{1,3}\]|[*†‡§¶]{1,3}|[a-z][.)])\s*[^\W\d_]")
_SENTENCE_END = re.compile(r"[.!?:;…][\"'”’)\]]*\d{0,3}$")
_FULL_LINE_SHARE = 0.85  # of the width of the text; a shorter line ends a paragraph


def move_footnotes(pages: list[list[Line]], body_size: float) -> list[list[Line]]:
    """Return the pages with a blank line before footnotes.

    Footnotes that stand within a sentence, which goes on in the next column or on the next page,
    are moved up behind the last complete paragraph of the page, or to its beginning.
    """
    if not body_size:
        return pages
    result: list[list[Line]] = []
    for number, page in enumerate(pages):
        following = _find_text(pages[number + 1]) if number + 1 < len(pages) else None
        result.append(_move_on_page(page, following, body_size))
    return result


def _find_text(page: Sequence[Line]) -> Line | None:
    """Return the first line of a page that is neither blank nor its head."""
    lines = [line for line in page if line.text.strip() and not line.is_running]
    return lines[0] if lines else None


def _move_on_page(page: list[Line], following: Line | None, body_size: float) -> list[Line]:
    start = 0
    while True:
        span = _find_footnotes(page, start, body_size)
        if span is None:
            return page
        first, last = span
        notes, rest = page[first:last], page[last:]
        upper = [line for line in page[:first] if line.text.strip()]
        lower = next((line for line in rest if _is_text(line)), following)
        if upper and lower and _is_interrupted(upper[-1], lower):
            position = _find_paragraph_end(page, first)
            before, between = page[:position], page[position:first]
            page = [*before, *([Line("")] if before else []), *notes, Line(""), *between, *rest]
            start = last + 2
        else:
            page = [*page[:first], Line(""), *notes, *rest]
            start = last + 1


def _is_text(line: Line) -> bool:
    return bool(line.text.strip()) and not line.is_running and any(map(str.isalpha, line.text))


def _find_footnotes(page: Sequence[Line], start: int, body_size: float) -> tuple[int, int] | None:
    """Return the range of the next lines in small type that begin with the sign of a footnote."""
    limit = _MAX_SIZE_RATIO * body_size
    for first in range(max(start, 1), len(page)):
        line, previous = page[first], page[first - 1]
        if not (0 < line.size <= limit and previous.size > limit and not previous.marks):
            continue
        if line.marks or line.is_running or not _SIGN.match(line.text):
            continue
        last = first
        while last < len(page) and 0 < page[last].size <= limit and not page[last].marks:
            last += 1
        if last - first <= _MAX_FOOTNOTE_LINES and line.y_max < previous.y_max:
            return first, last
    return None


def _is_interrupted(upper: Line, lower: Line) -> bool:
    """Whether the sentence of a line goes on in the line after the footnotes."""
    text = lower.text.lstrip()
    return _SENTENCE_END.search(upper.text.rstrip()) is None and text[:1].islower()


def _find_paragraph_end(page: Sequence[Line], first: int) -> int:
    """Return the index after the last line before `first` that ends a paragraph; 0 if none."""
    width = max((line.x_max for line in page[:first]), default=0.0)
    for index in range(first - 1, 0, -1):
        line = page[index - 1]
        is_short = line.marks or line.x_max < _FULL_LINE_SHARE * width
        if is_short and (line.marks or _SENTENCE_END.search(line.text.rstrip())):
            return index
    return 0
