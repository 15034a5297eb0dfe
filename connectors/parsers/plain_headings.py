"""Headings of plain text: the title line, underlined, numbered and capital lines."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

_MAX_TITLE_CHARACTERS = 90
_MAX_TITLE_WORDS = 14
_MAX_CAPITAL_WORDS = 8
_MIN_CAPITALS = 4
_UNDERLINE_LEVELS = {"=": 1, "-": 2, "~": 3, "*": 1, "#": 1}
_MIN_UNDERLINE_SHARE = 0.5  # of the length of the line above

_UNDERLINE = re.compile(r"([=\-~*#])\1{2,}")
_NUMBERED = re.compile(r"(?P<number>\d{1,2}(?:\.\d{1,2}){0,3})[.)]?[ \t]+(?=[^\W_a-z])")
_SENTENCE_END = (".", "!", "?", ";", ",", ":", "…", "。", "！", "？")
_INNER_SENTENCE_END = re.compile(r"[^\W\d_]{4}[.!?][ \t]")
_KEY = re.compile(r"[^\s:]{1,20}(?:[ \t][^\s:]{1,20}){0,2}:[ \t]")
_GREETING = re.compile(
    r"(?:hi|hello|hey|dear|good (?:morning|afternoon|day)|hallo|liebe[rs]?|sehr geehrte|guten tag|"
    r"bonjour|cher|chère|hola|estimad[oa]|ciao|caro|gentile|beste|kind regards|thanks?)\b",
    re.IGNORECASE,
)
_ITEM = re.compile(r"(?:[-*+•◦▪–—>|]|\d{1,3}[.)]|\(?[a-z]\))[ \t]")
_TIMESTAMP = re.compile(r"\[?\d{2,4}[-/.:]\d\d")


class PlainHeading(NamedTuple):
    """A heading: its offset in the text, its level from 1, and its line."""

    start: int
    level: int
    text: str


class _Line(NamedTuple):
    start: int
    text: str  # without white space around it
    indent: int
    follows_blank: bool


def find_plain_headings(text: str) -> list[PlainHeading]:
    """Return the headings of a plain text, in their order; none if it has no other text.

    A heading is short and ends like no sentence. It is the first line before an empty one, a line
    that is underlined, a line of capitals below an empty one, or one of several lines with
    ascending numbers that have text below them.
    """
    lines = _list_lines(text)
    capitals = _find_capitals(lines)
    title = {} if len(capitals) > 1 and 0 in capitals else _find_title(lines)
    headings = {**_find_numbered(lines), **capitals, **title, **_find_underlined(lines)}
    return [
        PlainHeading(lines[i].start, level, " ".join(lines[i].text.split()))
        for i, level in sorted(headings.items())
    ]


def _list_lines(text: str) -> list[_Line]:
    """Return the lines that are not blank."""
    lines: list[_Line] = []
    start, follows_blank = 0, True
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped:
            indent = len(line) - len(line.lstrip())
            lines.append(_Line(start + indent, stripped, indent, follows_blank))
        follows_blank = not stripped
        start += len(line) + 1
    return lines


def _may_be_heading(line: _Line) -> bool:
    text = line.text
    return (
        len(text) <= _MAX_TITLE_CHARACTERS
        and len(text.split()) <= _MAX_TITLE_WORDS
        and not text.endswith(_SENTENCE_END)
        and any(character.isalpha() for character in text)
        and not _TIMESTAMP.match(text)
        and not _INNER_SENTENCE_END.search(text)
    )


def _find_title(lines: list[_Line]) -> dict[int, int]:
    if len(lines) < 2 or not lines[1].follows_blank:
        return {}
    first = lines[0]
    is_title = (
        _may_be_heading(first)
        and not first.text[0].islower()
        and not _KEY.match(first.text)
        and not _ITEM.match(first.text)
        and not _GREETING.match(first.text)
    )
    return {0: 1} if is_title else {}


def _find_underlined(lines: list[_Line]) -> dict[int, int]:
    headings: dict[int, int] = {}
    for i, (line, below) in enumerate(pairwise(lines)):
        underline = _UNDERLINE.fullmatch(below.text)
        if (
            underline
            and not below.follows_blank
            and len(line.text) <= _MAX_TITLE_CHARACTERS
            and len(below.text) >= _MIN_UNDERLINE_SHARE * len(line.text)
            and any(character.isalpha() for character in line.text)
            and not line.text.startswith("|")
            and i + 2 < len(lines)
        ):
            headings[i] = _UNDERLINE_LEVELS[underline[1]]
    return headings


def _find_capitals(lines: list[_Line]) -> dict[int, int]:
    headings: dict[int, int] = {}
    for i, line in enumerate(lines[:-1]):
        text = line.text.rstrip(":")
        if (
            line.follows_blank
            and text.isupper()
            and len(text.split()) <= _MAX_CAPITAL_WORDS
            and sum(character.isupper() for character in text) >= _MIN_CAPITALS
            and sum(character.isdigit() for character in text) <= len(text) / 4
            and _may_be_heading(line._replace(text=text))
            and not lines[i + 1].text.isupper()
        ):
            headings[i] = 2
    return headings


def _find_numbered(lines: list[_Line]) -> dict[int, int]:
    """Return the lines whose numbers go on from 1; none if one of them is no heading.

    Lines of lists and of tables of contents, which directly follow each other, are skipped.
    """
    numbers = _list_numbers(lines)
    items = _find_numbered_items(lines, numbers)
    headings: dict[int, int] = {}
    last: tuple[int, ...] = ()
    for i, line in enumerate(lines[:-1]):
        number = numbers[i]
        if i in items or not _follows(last, number):
            continue
        if not _may_be_heading(line) or not _has_text_below(line, lines[i + 1]):
            return {}
        headings[i] = len(number) + 1
        last = number
    return headings if len(headings) > 1 else {}


def _find_numbered_items(lines: list[_Line], numbers: list[tuple[int, ...]]) -> set[int]:
    """Return the numbered lines that follow each other without text between them.

    A heading is only followed by one with a deeper number: 1.1 after 1.
    """
    items: set[int] = set()
    run: list[int] = []
    for i, number in enumerate(numbers):
        if not (run and number and _continues(lines[i - 1], lines[i])):
            run = [i] if number else []
            continue
        run.append(i)
        is_deeper = number[: len(numbers[i - 1])] == numbers[i - 1]
        if not is_deeper or not items.isdisjoint(run):
            items.update(run)
    return items


def _list_numbers(lines: list[_Line]) -> list[tuple[int, ...]]:
    """Return the section number of each line; () for none, and for a numbered paragraph.

    "1.1 The gate is closed at ten." is a paragraph, and so is a line that goes on in the next one:
    in lower case, or directly below a long line.
    """
    numbers: list[tuple[int, ...]] = []
    for i, line in enumerate(lines):
        number = _read_number(line)
        below = lines[i + 1] if i + 1 < len(lines) else None
        is_long = len(line.text.split()) > _MAX_CAPITAL_WORDS
        goes_on = (
            below is not None
            and not below.follows_blank
            and (below.text[0].islower() or (is_long and not _read_number(below)))
        )
        is_paragraph = len(number) > 1 and (goes_on or not _may_be_heading(line))
        numbers.append(() if is_paragraph else number)
    return numbers


def _continues(line: _Line, below: _Line) -> bool:
    """Whether two numbered lines count on, and write the numbers of a level in the same way."""
    number, number_below = _read_number(line), _read_number(below)
    matches = _NUMBERED.match(line.text), _NUMBERED.match(below.text)
    signs = {m.string[m.end("number")] for m in matches if m}
    return _follows(number, number_below) and (len(signs) == 1 or len(number) != len(number_below))


def _read_number(line: _Line) -> tuple[int, ...]:
    """Return the section number that begins a line; () if there is none."""
    match = _NUMBERED.match(line.text)
    return tuple(map(int, match["number"].split("."))) if match else ()


def _follows(last: tuple[int, ...], number: tuple[int, ...]) -> bool:
    """Whether a number comes next: 2 or 1.1 after 1, 1.2 or 2 after 1.1."""
    if not last:
        return number in ((1,), (1, 0), (1, 1))
    if not number:
        return False
    successors = {(*last[:depth], last[depth] + 1) for depth in range(len(last))}
    return number in successors | {(*last, 1), (last[0] + 1, 0)}


def _has_text_below(line: _Line, below: _Line) -> bool:
    """Whether the line below is no continuation and no item: a text, or a deeper number."""
    number, number_below = _read_number(line), _read_number(below)
    if len(number_below) > len(number):
        return True
    if number_below and _follows(number, number_below):
        return False
    is_new = below.follows_blank or not below.text[0].islower()
    return is_new and (below.follows_blank or below.indent <= line.indent)
