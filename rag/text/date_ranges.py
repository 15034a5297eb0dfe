"""Periods of time in questions: "in February 2025", "since March", "last year", "Q3 2024"."""

from __future__ import annotations

import calendar
import datetime
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from rag.text.date_forms import MONTH_PATTERN, NOT_IN_WORD, find_dates, find_quarters
from rag.text.tokenization import words
from rag.text.word_lists import CARDINALS, MONTH_NUMBERS

_UNITS = {
    "day": "day", "days": "day", "tag": "day", "tage": "day", "tagen": "day",
    "week": "week", "weeks": "week", "woche": "week", "wochen": "week",
    "month": "month", "months": "month", "monat": "month", "monate": "month", "monaten": "month",
    "quarter": "quarter", "quarters": "quarter", "quartal": "quarter",
    "year": "year", "years": "year", "jahr": "year", "jahre": "year", "jahren": "year",
}  # fmt: skip
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
_NUMBER = rf"\d{{1,3}}|{'|'.join(sorted(CARDINALS, key=len, reverse=True))}"
_RELATIVE = re.compile(
    r"\b(?:(?P<today>today|heute)|(?P<yesterday>yesterday|gestern)"
    rf"|(?:the\s)?(?:past|last|letzten|vergangenen)\s(?P<count>{_NUMBER})\s(?P<units>{_UNIT})"
    r"|(?:the\s)?(?:(?P<last>last|previous|past|letzte[nmrs]?|vorige[nmrs]?|vergangene[nmrs]?)"
    r"|(?P<this>this|current|diese[nmrs]?))"
    rf"\s(?:(?:fiscal|financial|calendar)\s)?(?P<unit>{_UNIT})(?:['’]s)?)\b",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?<![\w.,/-])(?:FY\s?)?((?:19|20)\d\d)(?:['’]s)?(?![\w/-]|[.,]\d)")
_YEAR_WORDS = re.compile(
    r"\b(?:year[\s-]end(?:ed|ing)?|(?:the\s)?end\sof|(?:fiscal|financial|calendar|business)(?:\syear)?|year"
    r"|(?:ende\s(?:des\s)?)?(?:geschäfts)?jahre?s?|exercice|année|ejercicio|año)\s(?=(?:FY\s?)?(?:19|20)\d\d\b)",
    re.IGNORECASE,
)
_MONTH = re.compile(rf"(?<!\w)({MONTH_PATTERN})\.?(?!\w)", re.IGNORECASE)
_BETWEEN = re.compile(r"\b(?:between|from|zwischen|von|vom)\s(?:the\s|dem\s)?$", re.IGNORECASE)
_AND = re.compile(
    r"\s?(?:and|to|until|till|through|und|bis(?:\szum)?|-|–)\s?(?:the\s|dem\s)?", re.IGNORECASE
)
_TO = re.compile(r"\b(?:and|to|until|through|und|bis)\s$", re.IGNORECASE)
_PREPOSITIONS = {
    "after": r"after|nach(?:\sdem)?",
    "since": r"since|starting(?:\sin|\sfrom)?|seit(?:\sdem)?|ab(?:\sdem)?",
    "before": r"before|earlier\sthan|prior\sto|older\sthan|vor(?:\sdem)?",
    "until": r"until|till|up\sto|by(?:\sthe\send\sof)?|bis(?:\szum)?",
    "in": r"dated|during|within|in|of|on|from|for|im|am|vom|von|aus(?:\sdem)?|während",
}
_PART_OF = re.compile(
    r"\b(?:half|end|beginning|start|middle|early|late|mid|ende|anfang|mitte|hälfte)[\s-](?:of\s|des\s)?"
    r"(?:the\s)?$",
    re.IGNORECASE,
)
_ONWARDS = re.compile(r"\s(?:on|onwards?|an)\b", re.IGNORECASE)
_FULL_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_PREPOSITION = re.compile(
    r"\b(?:" + "|".join(f"(?P<{name}>{words})" for name, words in _PREPOSITIONS.items())
    + r")\s(?:the\s)?$",
    re.IGNORECASE,
)  # fmt: skip


class DateRange(NamedTuple):
    """A period from ``first`` to ``last``, both included; None is open. The span is in the text.

    The span has the preposition, which decides what is meant: "before March" ends with February.
    ``has_preposition`` says whether there is one, or none is needed: "last year".
    """

    first: datetime.date | None
    last: datetime.date | None
    start: int
    end: int
    has_preposition: bool


class _Period(NamedTuple):
    first: datetime.date
    last: datetime.date
    start: int
    end: int
    has_year: bool = True
    is_relative: bool = False


def find_date_ranges(text: str, today: datetime.date | None = None) -> list[DateRange]:
    """Return the periods that `text` names, in their order.

    Relative ones ("last month") are those before `today` (default: the date of the system); a month
    without a year is the last one that has begun. Month and weekday names are those of
    `rag.text.word_lists`; prepositions are English and German.
    """
    periods = _find_periods(text, today or datetime.date.today())
    ranges: list[DateRange] = []
    i = 0
    while i < len(periods):
        both = _join_periods(text, *periods[i : i + 2]) if i + 1 < len(periods) else None
        ranges.append(both or _apply_preposition(periods[i], text))
        i += 2 if both else 1
    return ranges


@lru_cache(maxsize=1_024)
def find_exact_dates(text: str) -> frozenset[str]:
    """Return the days and months that `text` names: ``2025-03-11``, ``2025-03``, ``--03-11``.

    Those that only limit a period ("before March 2025") are left out.
    """
    text_words = frozenset(NOT_IN_WORD.split(text.lower()))
    return frozenset(
        form.text.removeprefix("@")
        for form in find_dates(text, text_words)
        if (preposition := _PREPOSITION.search(text[: form.start])) is None
        or preposition.lastgroup == "in"
    )


@lru_cache(maxsize=1_024)
def find_date_words(text: str) -> dict[str, frozenset[str]]:
    """Return the words of each day in `text` in lower case, by its date: ``2025-03-11``."""
    days: dict[str, frozenset[str]] = {}
    for form in find_dates(text, frozenset(NOT_IN_WORD.split(text.lower()))):
        date = form.text.removeprefix("@")
        if _FULL_DATE.fullmatch(date):
            days[date] = frozenset(words(text[form.start : form.end]))
    return days


@lru_cache(maxsize=1_024)
def find_period_words(text: str) -> frozenset[str]:
    """Return the words in lower case that only say that a year is one: the "year end" of 2024."""
    return frozenset(word for match in _YEAR_WORDS.finditer(text) for word in words(match[0]))


def agree_dates(first: str, second: str) -> bool:
    """Whether two dates of `find_exact_dates` can be the same; one may lack its year or day."""
    year, month, day = divide_date(first)
    other_year, other_month, other_day = divide_date(second)
    return (
        month == other_month
        and (year == other_year or not year or not other_year)
        and (day == other_day or not day or not other_day)
    )


def divide_date(date: str) -> tuple[str, str, str]:
    """Return year, month and day; "" for a missing one."""
    year, date = ("", date[2:]) if date.startswith("--") else (date[:4], date[5:])
    month, _, day = date.partition("-")
    return year, month, day


def _join_periods(text: str, period: _Period, following: _Period) -> DateRange | None:
    """Return "between ... and ..." as one range; None if the two are not joined."""
    opening = _BETWEEN.search(text[: period.start])
    if opening is None or not _AND.fullmatch(text, period.end, following.start):
        return None
    first = period.first
    if not period.has_year:  # "from January to March 2025"
        year = following.first.year - (first.month > following.first.month)
        first = first.replace(year=year)
    first, last = min(first, following.first), max(first, period.last, following.last)
    if not period.has_year:
        last = following.last
    return DateRange(first, last, opening.start(), following.end, True)


def _apply_preposition(period: _Period, text: str) -> DateRange:
    first: datetime.date | None = period.first
    last: datetime.date | None = period.last
    preposition = _PREPOSITION.search(text[: period.start])
    start = preposition.start() if preposition else period.start
    kind = preposition.lastgroup if preposition else "in"
    end = period.end
    if preposition and (onwards := _ONWARDS.match(text, end)):
        kind, end = "since", onwards.end()
    if kind == "since":
        last = None
    elif kind == "after":
        first, last = _add_days(period.last, 1), None
    elif kind == "before":
        first, last = None, _add_days(period.first, -1)
    elif kind == "until":
        first = None
    return DateRange(first, last, start, end, preposition is not None or period.is_relative)


def _add_days(day: datetime.date, count: int) -> datetime.date:
    return day + datetime.timedelta(days=count)


def _find_periods(text: str, today: datetime.date) -> list[_Period]:
    """Return the periods in their order, without prepositions; the longest wins."""
    candidates = [
        *_find_written_periods(text),
        *_find_relative_periods(text, today),
        *_find_months_without_year(text, today),
        *(_Period(*_span_of_year(int(m[1])), *m.span()) for m in _YEAR.finditer(text)),
    ]
    selected: list[_Period] = []
    for period in sorted(candidates, key=lambda p: (p.start - p.end, p.start)):
        if all(period.end <= other.start or other.end <= period.start for other in selected):
            selected.append(period)
    complete = [p for p in selected if not _PART_OF.search(text[: p.start])]
    return sorted(complete, key=lambda period: period.start)


def _find_written_periods(text: str) -> Iterator[_Period]:
    """Yield days, months and quarters that have a year."""
    text_words = frozenset(NOT_IN_WORD.split(text.lower()))
    forms = [*find_dates(text, text_words), *find_quarters(text)]
    readings = Counter((form.start, form.end) for form in forms)
    for form in forms:
        if readings[form.start, form.end] > 1 or form.text.startswith("@-"):
            continue  # 03/02/2025 is in February or in March
        year, _, rest = form.text.removeprefix("@").replace("q", "-q").partition("-")
        try:
            if rest.startswith("q"):
                first, last = _span_of_months(int(year), 3 * int(rest[1:]) - 2, 3)
            elif "-" in rest:
                month, _, day = rest.partition("-")
                first = last = datetime.date(int(year), int(month), int(day))
            else:
                first, last = _span_of_months(int(year), int(rest), 1)
        except ValueError:  # 31 February
            continue
        yield _Period(first, last, form.start, form.end)


def _find_relative_periods(text: str, today: datetime.date) -> Iterator[_Period]:
    for match in _RELATIVE.finditer(text):
        if match["today"]:
            first = last = today
        elif match["yesterday"]:
            first = last = _add_days(today, -1)
        elif match["units"]:
            word = match["count"].lower()
            count = int(word) if word.isdecimal() else CARDINALS[word]
            first, last = _go_back(today, _UNITS[match["units"].lower()], count), today
        else:
            unit = _UNITS[match["unit"].lower()]
            first, last = _span_of_unit(today, unit, 1 if match["last"] else 0)
        yield _Period(first, last, *match.span(), is_relative=True)


def _find_months_without_year(text: str, today: datetime.date) -> Iterator[_Period]:
    """Yield months after a preposition: "in March", and not "may" or "mar"."""
    for match in _MONTH.finditer(text):
        before = text[: match.start()]
        if not match[1][0].isupper() or not (_PREPOSITION.search(before) or _TO.search(before)):
            continue
        month = MONTH_NUMBERS[match[1].lower()]
        year = today.year if month <= today.month else today.year - 1
        yield _Period(*_span_of_months(year, month, 1), *match.span(), has_year=False)


def _span_of_year(year: int) -> tuple[datetime.date, datetime.date]:
    return datetime.date(year, 1, 1), datetime.date(year, 12, 31)


def _span_of_months(year: int, month: int, count: int) -> tuple[datetime.date, datetime.date]:
    """Return the first and the last day of `count` months in succession of a year."""
    last_month = month + count - 1
    last_day = calendar.monthrange(year, last_month)[1]
    return datetime.date(year, month, 1), datetime.date(year, last_month, last_day)


def _span_of_unit(
    today: datetime.date, unit: str, back: int
) -> tuple[datetime.date, datetime.date]:
    """Return the first and last day of this day, week, month ..., or of the one before."""
    if unit == "day":
        return _add_days(today, -back), _add_days(today, -back)
    if unit == "week":
        first = _add_days(today, -today.weekday() - 7 * back)
        return first, _add_days(first, 6)
    if unit == "year":
        return _span_of_year(today.year - back)
    size = 3 if unit == "quarter" else 1
    number = (12 * today.year + today.month - 1) // size - back
    return _span_of_months(number * size // 12, number * size % 12 + 1, size)


def _go_back(today: datetime.date, unit: str, count: int) -> datetime.date:
    """Return the day that was so many days, weeks, months or years before `today`."""
    if unit in ("day", "week"):
        return _add_days(today, -count * (7 if unit == "week" else 1))
    months = {"month": 1, "quarter": 3, "year": 12}[unit] * count
    number = max(12, 12 * today.year + today.month - 1 - months)
    year, month = number // 12, number % 12 + 1
    day = min(today.day, calendar.monthrange(year, month)[1])
    return datetime.date(year, month, day)
