"""Equal dates: "1 March 2025" in a claim is "2025-03-01" in a passage, and in March 2025.

Each date is replaced by a number such as 20250301, so another day is another number. Without a day
it is 202503, without a year 301. Where a passage names the day and the claim only the month, the
passage gets the number of the month.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from rag.text.date_forms import MONTH_PATTERN, NOT_IN_WORD, find_dates
from rag.text.date_ranges import divide_date

_MIDDLE_OF_MONTH = 15
_MAX_DATES = 200  # of a text; more are compared as they are written
_MAX_PART_CHARACTERS = 24
_TO = re.compile(r"\.?\s?(?:to|until|till|through|bis(?: zum)?|and|und|-|–)\s?(?:the\s)?")
_SHORT_RANGE = re.compile(
    r"(?<![\w.])(?P<first>\d\d?)(?:st|nd|rd|th|\.)?\s?"
    r"(?P<to>to|until|till|through|bis(?: zum)?|-|–)\s?"
    r"(?P<last>\d\d?)(?:st|nd|rd|th|\.)?\s(?:of\s)?"
    rf"(?P<month>{MONTH_PATTERN})(?!\w)(?P<year>\s(?:19|20)\d\d(?!\d))?",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_PART_OF_MONTH = re.compile(
    r"\b(?:(?P<start>beginning|start|early|first half|anfang)|(?P<end>end|late|second half|ende))"
    r"(?:\s(?:of|in|des))?\s$",
    re.IGNORECASE,
)


class _Day(NamedTuple):
    """A day or a month; "" for a year or a day that is not named.

    ``part`` is the part of a month: "start", "end" or "".
    """

    year: str
    month: str
    day: str
    part: str = ""

    @property
    def number(self) -> str:
        return f"{self.year}{self.month}{self.day}".lstrip("0")

    def includes(self, other: _Day) -> bool:
        """Whether `other` is the same, and names at least what this one does."""
        return self.agrees(other) and self.day in ("", other.day) and self.year in ("", other.year)

    def agrees(self, other: _Day) -> bool:
        """Whether both can be the same day or month."""
        return (
            self.month == other.month
            and (self.day == other.day or "" in (self.day, other.day))
            and self._has_in_part(other)
            and other._has_in_part(self)
            and (self.year == other.year or "" in (self.year, other.year))
        )

    def _has_in_part(self, other: _Day) -> bool:
        if not (self.part and other.day):
            return True
        day = int(other.day)
        return day <= _MIDDLE_OF_MONTH if self.part == "start" else day >= _MIDDLE_OF_MONTH


class _Date(NamedTuple):
    """A date in a text; 03/02/2025 has two readings."""

    start: int
    end: int
    readings: tuple[_Day, ...]


def number_dates(claim: str, passage: str) -> tuple[str, str]:
    """Return claim and passage with numbers for their dates; unchanged if the claim has none.

    They are also unchanged if the passage may have a date of the claim, but names less of it.
    """
    if not _DIGIT.search(claim) or not (claim_dates := _list_dates(claim)):
        return claim, passage
    claim, passage = _complete_ranges(claim), _complete_ranges(passage)
    claim_dates, passage_dates = _list_dates(claim), _list_dates(passage)
    if not passage_dates or len(claim_dates) > _MAX_DATES or len(passage_dates) > _MAX_DATES:
        return claim, passage
    claim = _move_into_ranges(claim, claim_dates, passage, passage_dates)
    claim_dates = _list_dates(claim)
    days = sorted(
        {day for date in claim_dates for day in date.readings}, key=lambda d: -len(d.number)
    )
    if any(
        day.agrees(reading) and not day.includes(reading)
        for day in days
        for date in passage_dates
        for reading in date.readings
    ):
        return claim, passage
    numbers = {
        reading: next((day.number for day in days if day.includes(reading)), "")
        for date in passage_dates
        for reading in date.readings
    }
    own_numbers = {day: day.number for day in days if day.number in numbers.values()}
    return _replace_dates(claim, claim_dates, own_numbers), _replace_dates(
        passage, passage_dates, numbers
    )


@lru_cache(maxsize=2_048)
def _complete_ranges(text: str) -> str:
    """Return a text with "3 March to 14 March" for "3 to 14 March"."""
    return _SHORT_RANGE.sub(
        lambda m: (
            f"{m['first']} {m['month']}{m['year'] or ''} {m['to']} "
            f"{m['last']} {m['month']}{m['year'] or ''}"
        ),
        text,
    )


def _move_into_ranges(
    claim: str, claimed: Sequence[_Date], passage: str, known: Sequence[_Date]
) -> str:
    """Return the claim with the first day of a period for each single day within it."""
    ranges = [
        (passage[first.start : first.end], first.readings[0], last.readings[0])
        for first, last in pairwise(known)
        if _TO.fullmatch(passage, first.end, last.start)
    ]
    in_claim = {
        date
        for first, last in pairwise(claimed)
        if _TO.fullmatch(claim, first.end, last.start)
        for date in (first, last)
    }
    for date in reversed(claimed):
        for text, first, last in ranges:
            days = [day for day in date.readings if day.day and date not in in_claim]
            if any(_is_between(first, day, last) for day in days):
                claim = f"{claim[: date.start]}{text}{claim[date.end :]}"
                break
    return claim


def _is_between(first: _Day, day: _Day, last: _Day) -> bool:
    """Whether a day is after the first and before the last one, of the same or of no year."""
    if not (first.day and last.day) or day.year not in ("", first.year, last.year):
        return False
    positions = [(d.month, d.day) for d in (first, day, last)]
    return positions[0] < positions[1] < positions[2]


def _replace_dates(text: str, dates: Sequence[_Date], numbers: Mapping[_Day, str]) -> str:
    """Replace each date by the number of the first reading that has one, or of its first one."""
    for date in reversed(dates):
        number = next(filter(None, (numbers.get(day) for day in date.readings)), "")
        text = f"{text[: date.start]}{number or date.readings[0].number}{text[date.end :]}"
    return text


@lru_cache(maxsize=2_048)
def _list_dates(text: str) -> tuple[_Date, ...]:
    """Return the dates of a text, in order; of two that overlap, the first."""
    readings: dict[tuple[int, int], list[_Day]] = {}
    for form in find_dates(text, frozenset(NOT_IN_WORD.split(text.lower()))):
        part = _PART_OF_MONTH.search(text[max(0, form.start - _MAX_PART_CHARACTERS) : form.start])
        day = _Day(*divide_date(form.text.removeprefix("@")))._replace(
            part=(part.lastgroup or "") if part else ""
        )
        readings.setdefault((form.start, form.end), []).append(day)
    dates: list[_Date] = []
    for (start, end), days in sorted(readings.items()):
        if not dates or start >= dates[-1].end:
            dates.append(_Date(start, end, tuple(days)))
    return tuple(dates)
