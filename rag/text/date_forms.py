"""Forms of dates, quarters and times of day: ``@2025-02-03``, ``@2025q1``, ``@14:30``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag.text.forms import Form
from rag.text.word_lists import MONTH_NUMBERS, ORDINALS

MONTH_PATTERN = "|".join(sorted(map(re.escape, MONTH_NUMBERS), key=len, reverse=True))
_YEAR = r"(?:19|20)\d\d"
_ORDINAL = r"(?:st|nd|rd|th|er|\.|º|ª)?"
_OF = r"[\s-]*+(?:(?<=\s)(?:of|de|del)\b)?"
_NUMERIC_DATE = re.compile(
    rf"(?<![\w.])(?P<y1>{_YEAR})[-/.](?P<m1>\d\d?)(?:[-/.](?P<d1>\d\d?))?(?!\w|[-/.]\d)"
    rf"|(?<![\w.])(?P<y2>{_YEAR})(?P<m2>0[1-9]|1[0-2])(?P<d2>0[1-9]|[12]\d|3[01])(?!\w|[.,]\d)"
    rf"|(?<![\w.])(?P<a>\d\d?)(?P<sep>[-/.])\s?(?P<b>\d\d?)(?P=sep)\s?(?P<y>{_YEAR}|\d\d)"
    r"(?!\w|[-/.]\d)"
    rf"|(?P<y3>{_YEAR})\s?年\s?(?P<m3>\d\d?)\s?月(?:\s?(?P<d3>\d\d?)\s?日)?"
)
_NAMED_DATE = re.compile(
    rf"(?<![\w.])(?P<d1>\d\d?){_ORDINAL}{_OF}[\s-]*+(?P<m1>{MONTH_PATTERN})\.?(?!\w)"
    rf"(?:,?{_OF}[\s-]*+(?P<y1>{_YEAR})(?!\d))?"
    rf"|(?<!\w)(?P<m2>{MONTH_PATTERN})\.?[\s-]++(?P<d2>\d\d?){_ORDINAL}(?:,?\s+(?P<y2>{_YEAR}))?(?!\w)"
    rf"|(?<!\w)(?P<m3>{MONTH_PATTERN})\.?,?{_OF}[\s-]*+(?P<y3>{_YEAR})(?!\w)",
    re.IGNORECASE,
)
NOT_IN_WORD = re.compile(r"[^\w-]+|(?<=\d)-|-(?=\d)")
_TIME = re.compile(
    r"(?<![\w.:,])(?P<h>[01]?\d|2[0-4])(?:(?P<sep>[:.h])(?P<m>[0-5]\d))?(?:\s?(?P<half>[ap])\.?m\b\.?"
    r"|\s?(?P<clock>Uhr|h|o'clock)\b)?(?![\w:]|[.,]\d)",
    re.IGNORECASE,
)


_QUARTER = re.compile(
    r"\b(?:Q(?P<q1>[1-4])|(?P<q2>[1-4])Q"
    r"|(?P<q3>first|second|third|fourth|1st|2nd|3rd|4th)[ -]quarter)"
    rf"(?:\s+of)?[\s/’'-]*(?:FY\s?)?(?P<y1>{_YEAR}|\d\d)(?!\d)"
    rf"|\b(?P<y2>{_YEAR})[\s/-]?Q(?P<q4>[1-4])(?!\d)",
    re.IGNORECASE,
)
QUARTER_SIGN = re.compile(r"[qQ][1-4]|[1-4][qQ]|[qQ]uarter")


def find_quarters(text: str) -> Iterator[Form]:
    """Yield ``@2022q3`` for "Q3 2022" and "third quarter of 2022"."""
    for match in _QUARTER.finditer(text):
        word = (match["q1"] or match["q2"] or match["q3"] or match["q4"]).lower()
        quarter = ORDINALS.get(word) or int(word[0])
        year = match["y1"] or match["y2"]
        yield Form(f"@{year if len(year) == 4 else '20' + year}q{quarter}", *match.span())


def find_dates(text: str, text_words: frozenset[str]) -> Iterator[Form]:
    """Yield days and months in ISO 8601 form; a day without a year as ``@--02-03``."""
    for match in _NUMERIC_DATE.finditer(text):
        for form in _read_day(match) if match["a"] else _read_date(match):
            yield Form(form, *match.span())
    if not MONTH_NUMBERS.keys().isdisjoint(text_words):
        for match in _NAMED_DATE.finditer(text):
            for form in _read_date(match):
                yield Form(form, *match.span())


def _read_day(match: re.Match[str]) -> Iterator[str]:
    """Yield what ``03/02/2025`` may be: the day is first, or the month."""
    year = match["y"]
    if len(year) == 2:
        if match["sep"] == "-":
            return
        year = f"20{year}" if year < "70" else f"19{year}"
    yield from _write_date(year, match["b"], match["a"])
    if match["sep"] != "." and match["a"] != match["b"]:
        yield from _write_date(year, match["a"], match["b"])


def _read_date(match: re.Match[str]) -> Iterator[str]:
    groups = match.groupdict()
    for number in "123":
        if month := groups[f"m{number}"]:
            month = str(MONTH_NUMBERS.get(month.lower(), month))
            yield from _write_date(groups[f"y{number}"], month, groups.get(f"d{number}"))


def _write_date(year: str | None, month: str, day: str | None) -> Iterator[str]:
    if not 1 <= int(month) <= 12 or (day and not 1 <= int(day) <= 31):
        return
    parts = [year or "-", f"{int(month):02}", *([f"{int(day):02}"] if day else [])]
    yield "@" + "-".join(parts)


def shorten_date(form: str) -> Iterator[str]:
    """Yield the month and the day without the year of a date in a document."""
    if len(form) == len("@2025-02-03") and form[0] == "@":
        yield form[:8]
        yield f"@-{form[5:]}"


def find_times(text: str) -> Iterator[Form]:
    """Yield times of day as ``@14:30``."""
    for match in _TIME.finditer(text):
        has_sign = match["half"] or match["clock"]
        if not has_sign and match["sep"] != ":":
            continue
        hour = int(match["h"])
        if match["half"]:
            if not 1 <= hour <= 12:
                continue
            hour = hour % 12 + (12 if match["half"].lower() == "p" else 0)
        yield Form(f"@{hour:02}:{match['m'] or '00'}", *match.span())
