"""Headings of PDFs without an outline, found by the size of their type and by their numbers."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile
from statistics import median
from typing import Any

from connectors.parsers.pdf_layout import CharacterBoxes, Line

_MIN_SIZE_RATIO = 1.15  # of the usual size: the size of a heading
_MAX_HEADING_LINES = 3
_MAX_HEADING_CHARACTERS = 120
_MAX_HEADING_SHARE = 0.2  # of the lines of a document; more are no headings
_MIN_SPACE_ABOVE = 1.35  # of the distance between lines: the space above a bold heading
_MAX_BOLD_CHARACTERS = 80  # of a bold heading without a number
_MIN_TEXT_CHARACTERS = 40  # of the line of text below a bold heading
_MAX_TITLE_LINES = 4  # above a table: its title and plain lines below it, "(in millions)"
_FULL_LINE = 0.85  # the end of a line that goes on below, as a share of the right edge of a page
_TOP_LINES = 4  # at the top of a page, a title needs no space above
_LOOSE_CHARACTER = 0.75  # width of a character, as a share of the size; cells are further apart
_BOLD_WEIGHT = 600
_BOLD_NAME = re.compile(rb"(?i)bold|black|heavy|semib|demi")
_NUMBER = re.compile(
    r"(?:(\d{1,2}(?:\.\d{1,2}){0,4})\.?|[IVXL]{1,6}\.|(?i:article|section|chapter|part|item|appendix"
    r"|kapitel|abschnitt|teil|anhang|chapitre|capítulo)\s+[\dIVXLA-Z]{1,5}(?:\.\d{1,2})*[A-Z]?[.:]?"
    r"|§\s?\d{1,4}[a-z]?)(?=\s+[^\W\d_])"
)
_CONTENTS_ENTRY = re.compile(r"(?:\.{4}|(?: \.){3}|…|(?<!\s)\s)\s*+\d{1,4}$")
_SHORT_SENTENCE = re.compile(r"[^\W\d_a-z].*[^\W\d_][.!?]")
_SENTENCE_END = re.compile(r"[.,;:]$")


@dataclass(slots=True)
class Heading:
    """A heading of one line or a few, the first of which is ``line``."""

    line: Line
    title: str
    level: int
    page: int  # from 0


def measure_type(lines: Sequence[Line], textpage: Any, boxes: CharacterBoxes) -> None:
    """Set the size of the lines of a page, and whether lines that may be headings are bold."""
    located = [line for line in lines if line.x_max > line.x_min]
    if not located:
        return
    usual = median([line.y_max - line.y_min for line in located])
    previous: Line | None = None
    for number, line in enumerate(located):
        line.size = line.y_max - line.y_min
        text = line.text.strip()
        is_short = len(text) <= _MAX_HEADING_CHARACTERS
        if is_short and line.size >= 1.1 * usual:
            middle = boxes.get_box(line.start + len(line.text.rstrip()) // 2)
            line.size = min(line.size, max(middle[3] - middle[1], 1.0))
        above = previous if number >= _TOP_LINES else None
        if is_short and _may_be_bold_heading(line, text, above, usual):
            line.is_bold = _is_bold(textpage, line)
        previous = line


def _may_be_bold_heading(line: Line, text: str, previous: Line | None, usual: float) -> bool:
    if not text or _SENTENCE_END.search(text) or not (text[0].isupper() or text[0].isdigit()):
        return False
    if _NUMBER.match(text):
        return True
    is_apart = previous is None or abs(previous.y_max - line.y_max) > _MIN_SPACE_ABOVE * usual
    return is_apart and len(text) <= _MAX_BOLD_CHARACTERS


def _is_bold(textpage: Any, line: Line) -> bool:
    """Whether the first and the last characters of a line, and those between, are bold."""
    import pypdfium2.raw as pdfium

    text = line.text.rstrip()
    first = line.start + len(text) - len(text.lstrip())
    last = line.start + len(text) - 1
    middle = line.start + text.rfind(" ", 0, len(text) // 2 + 1) + 1  # the start of a word
    name = ctypes.create_string_buffer(200)
    for index in {first, max(first, middle), last}:
        if pdfium.FPDFText_GetFontWeight(textpage.raw, index) >= _BOLD_WEIGHT:
            continue
        size = pdfium.FPDFText_GetFontInfo(textpage.raw, index, name, 200, None)
        if not 0 < size <= 200 or _BOLD_NAME.search(name.value) is None:
            return False
    return True


def measure_body_size(pages: Sequence[Sequence[Line]]) -> float:
    """Return the size of most of the text; 0 if it is unknown."""
    counts: Counter[float] = Counter()
    for page in pages:
        for line in page:
            if line.size and not line.marks:
                counts[round(2 * line.size) / 2] += len(line.text)
    return counts.most_common(1)[0][0] if counts else 0.0


def find_headings(pages: Sequence[Sequence[Line]], body_size: float) -> list[Heading]:
    """Return the headings of a document in order.

    A heading is a line, or up to three, in type that is larger than that of the text, or a bold
    line with the number of a section or with space above, before text or as the title of a table.
    Lines of tables and the heads and feet of pages are none.
    """
    if not body_size:
        return []
    groups = [
        (number, group)
        for number, page in enumerate(pages)
        for group in _group_lines(page, body_size)
    ]
    line_count = sum(len(page) for page in pages)
    if len(groups) > max(3, _MAX_HEADING_SHARE * line_count):
        return []
    groups = _drop_cover_lines(groups, body_size)
    sizes = sorted({_round_size(group[0], body_size) for _, group in groups}, reverse=True)
    headings: list[Heading] = []
    for number, group in groups:
        title = _join_titles(group)
        match = _NUMBER.match(title)
        depth = match[1].count(".") if match and match[1] else 0
        level = sizes.index(_round_size(group[0], body_size)) + 1 + depth
        headings.append(Heading(group[0], title, level, number))
    return headings


def _join_titles(group: Sequence[Line]) -> str:
    return " ".join(" ".join(line.text.split()) for line in group)


def _drop_cover_lines(
    groups: Sequence[tuple[int, list[Line]]], body_size: float
) -> list[tuple[int, list[Line]]]:
    """Return the groups without those of a size that only the first page has, if others follow.

    These are the title, and lines of a cover: all other headings would stand below them.
    """
    later_sizes = {_round_size(group[0], body_size) for number, group in groups if number}
    if not later_sizes:
        return list(groups)
    return [
        (number, group)
        for number, group in groups
        if number or _round_size(group[0], body_size) in later_sizes
    ]


def _round_size(line: Line, body_size: float) -> float:
    """Return the size of a line in whole points; 0 for bold headings in the size of the text."""
    return float(round(line.size)) if line.size >= _MIN_SIZE_RATIO * body_size else 0.0


def _group_lines(page: Sequence[Line], body_size: float) -> list[list[Line]]:
    """Return the headings of a page, each a list of its lines."""
    lines = [line for line in page if line.text.strip()]
    titles = _find_table_titles(lines)
    groups: list[list[Line]] = []
    following: Line | None = None
    is_before_text = False  # whether the next line is text, or a heading before text
    for line in reversed(lines):
        is_large = line.size >= _MIN_SIZE_RATIO * body_size
        is_last = line.edge == "bottom" and following is None
        is_heading = (
            not is_last
            and _may_be_heading(line)
            and (
                is_large
                or (line.is_bold and is_before_text and line.size >= 0.9 * body_size)
                or id(line) in titles
            )
        )
        if not is_heading:
            is_before_text = _is_running_text(line)
        elif (
            groups
            and groups[-1][0] is following
            and _is_continued(line, following)
            and (is_large or _is_wrapped(line, following, lines))
        ):
            groups[-1].insert(0, line)
        else:
            groups.append([line])
        following = line
    return [group for group in reversed(groups) if _is_heading(group)]


def _find_table_titles(lines: Sequence[Line]) -> set[int]:
    """Return the ids of the bold lines above a table, at the left edge or in the middle of a page.

    Lines with the names of columns are at neither place, or have other names beside them.
    """
    located = [line for line in lines if line.x_max > line.x_min]
    titles: set[int] = set()
    for index, table in enumerate(lines):
        if table.marks:
            above = list(reversed(lines[max(0, index - _MAX_TITLE_LINES) : index]))
            for line in dropwhile(lambda line: not line.is_bold and not line.marks, above):
                if not (line.is_bold and _is_at_edge_or_middle(line, located, table.row_extent)):
                    break
                titles.add(id(line))
    return titles


def _is_at_edge_or_middle(
    line: Line, located: Sequence[Line], row_extent: tuple[float, float] | None
) -> bool:
    """Whether a line begins with the others of a page, or is in their middle, and stands alone."""
    height = line.y_max - line.y_min
    if any(abs(o.y_max - line.y_max) < 0.5 * height for o in located if o is not line):
        return False
    extents = [(o.x_min, o.x_max) for o in located] + ([row_extent] if row_extent else [])
    x_min, x_max = min(e[0] for e in extents), max(e[1] for e in extents)
    tolerance = 0.02 * (x_max - x_min)
    middle = (line.x_min + line.x_max) / 2
    return line.x_min - x_min <= tolerance or abs(middle - (x_min + x_max) / 2) <= tolerance


def _is_continued(line: Line, following: Line) -> bool:
    """Whether the next line is one of the same heading."""
    return (
        abs(following.size - line.size) < 0.5
        and -0.5 * line.size < line.y_max - following.y_max < 1.8 * line.size
        and not _NUMBER.match(following.text.strip())
    )


def _is_wrapped(line: Line, following: Line, lines: Sequence[Line]) -> bool:
    """Whether two bold lines are one heading: they are close, and the first fills the page.

    A short line without a number may also be the first of a title in the middle.
    """
    if not (line.is_bold and following.is_bold):
        return False
    if line.y_max - following.y_max > _MIN_SPACE_ABOVE * line.size:
        return False
    is_full = line.x_max >= _FULL_LINE * max(line_on_page.x_max for line_on_page in lines)
    return is_full or _NUMBER.match(line.text.strip()) is None


def _is_running_text(line: Line) -> bool:
    text = line.text.strip()
    is_long = len(text) >= _MIN_TEXT_CHARACTERS or (
        _SHORT_SENTENCE.fullmatch(text) is not None and text.count(" ") >= 2
    )
    return not line.marks and is_long and sum(map(str.isalpha, text)) >= 0.65 * len(text)


def _may_be_heading(line: Line) -> bool:
    text = line.text.strip()
    width = line.x_max - line.x_min
    return (
        not line.marks
        and not line.is_running
        and 0 < len(text) <= _MAX_HEADING_CHARACTERS
        and width <= _LOOSE_CHARACTER * line.size * len(text) + line.size
        and _CONTENTS_ENTRY.search(text) is None
    )


def _is_heading(group: Sequence[Line]) -> bool:
    text = " ".join(line.text.strip() for line in group)
    letters = sum(map(str.isalpha, text))
    return (
        len(group) <= _MAX_HEADING_LINES
        and len(text) <= _MAX_HEADING_CHARACTERS
        and letters >= 2
        and 2 * letters >= len(text)
        and not text[0].islower()
        and _SENTENCE_END.search(text) is None
    )


def find_title_line(pages: Sequence[Sequence[Line]], body_size: float) -> str:
    """Return the lines in the largest type of the document, if they are only on page 1; else ""."""
    groups = _group_lines(pages[0], body_size) if pages and body_size else []
    largest = max((line.size for page in pages for line in page), default=0.0) - 0.5
    top = [group for group in groups if group[0].size >= largest]
    is_alone = len(top) == 1 and not any(line.size >= largest for p in pages[1:] for line in p)
    return _join_titles(top[0]) if is_alone and largest >= _MIN_SIZE_RATIO * body_size else ""
