"""Tables of contents: lines that repeat the headings of their document, with pages or links."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rag.types import Mark

_MIN_ENTRIES = 3
_MAX_OTHER_LINES = 2  # between two entries: a heading on two lines, the header of a page
_MIN_REPEATED_SHARE = 0.5  # of the entries: so many are lines of the text
_MIN_ASCENDING_SHARE = 0.9  # of the pages
_MAX_ENTRY_CHARACTERS = 200
_MAX_TITLE_WORDS = 4
_MIN_PAGE_CHARACTERS = 100  # a number beyond the last page is a price or a quantity
_MIN_PAGES = 20

_PAGE = re.compile(r"(?:\d{1,4}|[ivxlc]{1,6})$")
_PAGE_CHARACTERS = frozenset("0123456789ivxlc")
_LINK = re.compile(r"\[(?P<label>[^\[\]]{1,200})\]\(#[^()\s]{1,200}\)")
_TABLE_RULE = re.compile(r"\|(?:[ \t]*:?-{3,}:?[ \t]*\|)+$")
_PAGE_COLUMN = re.compile(r"(?i)(?:page|seite|página|pagina|pág|blz|s\.|p\.)")
_WORD = re.compile(r"[^\W\d_]{2}")
_NUMBER = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){0,5}|[A-Z]|[IVX]{1,5})[.)]?[ \t]+")
_MARKUP = "#*_`>+•- \t"
_LEADER = " \t.…·_"


class _Line(NamedTuple):
    start: int
    end: int
    text: str  # "" for the rule below the header of a table
    is_row: bool


class _Entry(NamedTuple):
    line: int  # its number among the lines
    label: str
    page: int | None  # None for a link and for a Roman number


def find_contents(text: str) -> list[Mark]:
    """Return a mark for each table of contents: several entries whose labels are lines of `text`.

    An entry ends with a page number, or is a link to a place within the document.
    """
    lines = list(_iterate_lines(text))
    marks: list[Mark] = []
    counts: Counter[str] = Counter()
    max_page = max(_MIN_PAGES, len(text) // _MIN_PAGE_CHARACTERS)
    all_entries = [e for e in _iterate_entries(lines) if e.page is None or e.page <= max_page]
    for entries in _list_runs(all_entries):
        if not _is_ascending([entry.page for entry in entries if entry.page is not None]):
            continue
        first, last = entries[0].line, entries[-1].line
        counts = counts or Counter(_normalize(line.text) for line in lines)
        own_counts = Counter(_normalize(line.text) for line in lines[first : last + 1])
        repeated = sum(counts[entry.label] > own_counts[entry.label] for entry in entries)
        if repeated < _MIN_REPEATED_SHARE * len(entries):
            continue
        if first > 1 and not lines[first - 1].text:  # below the header of a table
            first -= 2
        if first and 0 < len(lines[first - 1].text.split()) <= _MAX_TITLE_WORDS:
            first -= 1
        start, end = lines[first].start, lines[last].end
        marks.append(Mark(start=start, end=end, kind="contents", value=len(entries)))
    return marks


def _iterate_lines(text: str) -> Iterator[_Line]:
    """Yield the lines with words; the cells of a row are joined."""
    start = 0
    for line in text.split("\n"):
        stripped = line.strip()
        is_row = stripped.startswith("|")
        cleaned = " ".join(stripped.replace("|", " ").split()) if is_row else stripped
        if any(map(str.isalnum, cleaned)):
            yield _Line(start, start + len(line), cleaned, is_row)
        elif _TABLE_RULE.match(stripped):
            yield _Line(start, start + len(line), "", is_row)
        start += len(line) + 1


def _iterate_entries(lines: Sequence[_Line]) -> Iterator[_Entry]:
    """Yield the entries, without the rows of tables whose last column has another name."""
    has_other_column = False
    for i, line in enumerate(lines):
        if not line.is_row:
            has_other_column = False
        elif not line.text and i:
            header = lines[i - 1].text
            has_other_column = not (_read_entry(i - 1, header) or _PAGE_COLUMN.search(header))
        if line.text and not has_other_column and (entry := _read_entry(i, line.text)):
            yield entry


def _read_entry(number: int, text: str) -> _Entry | None:
    if len(text) > _MAX_ENTRY_CHARACTERS or not text:
        return None
    has_links = "](#" in text
    line = _LINK.sub(r"\g<label>", text) if has_links else text
    page = _PAGE.search(line) if line[-1] in _PAGE_CHARACTERS else None
    before = line[: page.start()] if page else ""
    label = before.rstrip(_LEADER)
    if page and label != before and _WORD.search(label):
        digits = page.group()
        return _Entry(number, _normalize(label), int(digits) if digits.isdigit() else None)
    if has_links and _WORD.search(line) and not _WORD.search(_LINK.sub("", text)):
        return _Entry(number, _normalize(line), None)
    return None


def _list_runs(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """Yield the entries that are close to each other, if there are enough of them."""
    run = list(entries[:1])
    for previous, entry in pairwise(entries):
        if entry.line - previous.line > _MAX_OTHER_LINES + 1:
            if len(run) >= _MIN_ENTRIES:
                yield run
            run = []
        run.append(entry)
    if len(run) >= _MIN_ENTRIES:
        yield run


def _is_ascending(pages: Sequence[int]) -> bool:
    steps = list(pairwise(pages))
    return sum(a <= b for a, b in steps) >= _MIN_ASCENDING_SHARE * len(steps)


def _normalize(line: str) -> str:
    """Return a line without markup, section number, leader and case."""
    line = line.strip(_MARKUP)
    if number := _NUMBER.match(line):
        line = line[number.end() :]
    return " ".join(line.rstrip(_LEADER + ":").casefold().split())
