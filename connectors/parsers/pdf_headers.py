"""Removing the headers and footers that repeat from page to page of a PDF."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from connectors.parsers.omissions import OmissionLog
from connectors.parsers.pdf_layout import Line

_MAX_NUMBERS_PER_LINE = 4  # numbers of a line that are compared with the page number
_MAX_PAGE_NUMBER_OFFSET = 100  # difference between a printed page number and the page count
_PAGE_NUMBER = re.compile(
    r"\W*+(?:(?:page|p|seite|página|pagina|стр|第)\W*+)?[0-9]{1,6}"
    r"(?:\W*+(?:(?:of|von|de|di|van|из)\W*+)?[0-9]{1,6})?\W*+(?:页|頁)?"
)
_ROMAN_NUMBER = re.compile(
    r"[^\w]*(m{0,3}(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3}))[^\w]*"
)
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}
_MIN_PAGES_WITH_REPEATS = 4  # in a shorter document, a repeated line has to be at one place
_MIN_SHORT_PAGE_LINES = 5  # of each page of such a document
_MIN_REPEATS = 3  # pages that a header or footer is on
_MIN_REPEAT_SHARE = 0.3  # share of the pages that a header or footer is on
_SAME_PLACE_POINTS = 3.0  # between the places of the running head of a chapter


def drop_repeated_lines(pages: list[list[Line]], log: OmissionLog) -> list[list[Line]]:
    """Drop headers and footers except their first occurrence, so that no text is lost.

    Two lines at the edge of a page are equal if they differ only in a number that grows with the
    page number. Lines that differ in other numbers are content. The dropped lines are recorded in
    `log`.
    """
    if len(pages) < 2:
        return pages
    edge_forms = [
        {id(line): _list_forms(line, number) for line in page if line.edge and line.text.strip()}
        for number, page in enumerate(pages)
    ]
    positions = _find_places(pages, edge_forms)
    repeated = {form for form, lines in positions.items() if _is_repeated(lines, pages)}
    if not repeated:
        return pages
    previous_forms: set[str] = set()
    cleaned_pages: list[list[Line]] = []
    for page, forms in zip(pages, edge_forms, strict=True):
        dropped_forms = repeated & previous_forms
        body_lines: list[Line] = []
        for line in page:
            if forms.get(id(line), set()) & dropped_forms:
                log.add("repeated", "page header or footer", line.text)
            else:
                line.is_running = bool(forms.get(id(line), set()) & repeated)
                body_lines.append(line)
        cleaned_pages.append(body_lines)
        previous_forms.update(*forms.values())
    return cleaned_pages


def _find_places(
    pages: Sequence[Sequence[Line]], edge_forms: Sequence[Mapping[int, set[str]]]
) -> dict[str, list[tuple[int, Line]]]:
    """Return the pages and lines of each form, one line for each page."""
    positions: dict[str, list[tuple[int, Line]]] = defaultdict(list)
    for number, (page, forms) in enumerate(zip(pages, edge_forms, strict=True)):
        for line in page:
            for form in forms.get(id(line), ()):
                if not positions[form] or positions[form][-1][0] != number:
                    positions[form].append((number, line))
    return positions


def _is_repeated(places: Sequence[tuple[int, Line]], pages: Sequence[Sequence[Line]]) -> bool:
    """Whether a form is that of a header or footer: on many pages, or on one page after another.

    The running head of a chapter is at the same place of all its pages, or of every second one.
    """
    if len(places) < 2:
        return False
    if len(pages) < _MIN_PAGES_WITH_REPEATS:
        return len(places) == len(pages) and _is_evident(places, pages)
    if len(places) >= max(_MIN_REPEATS, _MIN_REPEAT_SHARE * len(pages)):
        return True
    run = 1
    for (number, line), (next_number, next_line) in pairwise(places):
        is_next = next_number - number <= 2 and _is_same_place(line, next_line)
        run = run + 1 if is_next else 1
        if run >= _MIN_REPEATS:
            return True
    return False


def _is_evident(places: Sequence[tuple[int, Line]], pages: Sequence[Sequence[Line]]) -> bool:
    """Whether the pages of a short document have a line at the same place, and different text."""
    if any(len(page) < _MIN_SHORT_PAGE_LINES for page in pages):
        return False
    if not all(_is_same_place(first[1], second[1]) for first, second in pairwise(places)):
        return False
    first, *others = [{line.text for line in page} for page in pages]
    return all(2 * len(first & words) < len(words) for words in others)


def _is_same_place(first: Line, second: Line) -> bool:
    return (
        first.x_max > first.x_min
        and abs(first.y_max - second.y_max) <= _SAME_PLACE_POINTS
        and first.edge == second.edge
    )


def _list_forms(line: Line, page: int) -> set[str]:
    """Return the line's text, and its text with each possible page number made relative.

    At the bottom of a page, any number close to the page number may be one. At the top, only a
    number that is alone or follows a word for "page" may be one.
    """
    text = " ".join(line.text.split()).casefold()[:200]
    roman = _ROMAN_NUMBER.fullmatch(text)
    if roman and roman[1]:
        return {text, f"roman\0{_read_roman(roman[1]) - page}"}
    if line.edge == "top" and not _PAGE_NUMBER.fullmatch(text):
        return {text}
    forms = {text}
    words = text.rpartition(" ")
    if words[0] and (roman := _ROMAN_NUMBER.fullmatch(words[2])) and roman[1]:
        forms.add(f"{words[0]}\0roman\0{_read_roman(roman[1]) - page}")
    for match in list(re.finditer(r"[0-9]{1,6}", text))[:_MAX_NUMBERS_PER_LINE]:
        offset = int(match.group()) - page
        if abs(offset) <= _MAX_PAGE_NUMBER_OFFSET:
            forms.add(f"{text[: match.start()]}\0{offset}\0{text[match.end() :]}")
    return forms


def _read_roman(number: str) -> int:
    """Return the value of a Roman number."""
    values = [_ROMAN_DIGITS[digit] for digit in number]
    signs = [-1 if value < following else 1 for value, following in pairwise(values)]
    return sum(sign * value for sign, value in zip([*signs, 1], values, strict=True))
