"""Times of day in one form: "6 pm", "18 Uhr", "18h" and "18:00" are 18:00."""

from __future__ import annotations

import re
from functools import lru_cache

_WRITTEN = re.compile(r"\d:\d\d")
_RANGE = re.compile(
    r"(?<![\w.:,])(?P<first>\d{1,2}(?:[:.]\d\d)?)(?P<to>\s?(?:to|until|till|and|bis|und|-|–)\s?)"
    r"(?P<last>\d{1,2}(?:[:.]\d\d)?)\s?(?P<half>[ap]\.?\s?m\b\.?|Uhr\b)",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"(?<![\w.:,])(?P<hour>\d{1,2})(?:[:.](?P<minute>[0-5]\d))?\s?(?P<half>[ap])(?:\.\s?m\.|m\b)"
    r"|(?<![\w.:,])(?P<hour24>[01]?\d|2[0-4])(?:[:.](?P<minute24>[0-5]\d))?\s?Uhr\b(?:\s(?P<minute2>[0-5]\d)\b)?"
    r"|(?<![\w.:,])(?P<hour_fr>[01]?\d|2[0-4])\s?h\s?(?P<minute_fr>[0-5]\d)\b"
    r"|(?<=\bà\s)(?P<full_fr>[01]?\d|2[0-4])\s?h(?:eures?)?\b"
    r"|(?<=a\slas\s)(?P<hour_es>[01]?\d|2[0-4])(?::(?P<minute_es>[0-5]\d))?(?:\s?horas?)?(?![\d:])"
    r"|(?<![\w.:,])0(?P<short>\d:[0-5]\d)(?![\w:])",
    re.IGNORECASE,
)


def unify_clock_times(claim: str, passage: str) -> tuple[str, str]:
    """Return both texts with times of day in one form, if both have some."""
    times = write_clock_times(claim), write_clock_times(passage)
    return times if all(map(_WRITTEN.search, times)) else (claim, passage)


@lru_cache(maxsize=4_096)
def write_clock_times(text: str) -> str:
    """Return a text with its times of day as ``18:00``; without am, pm and Uhr."""
    if not any(map(str.isdigit, text)):
        return text
    text = _RANGE.sub(_complete_range, text)
    return _TIME.sub(_write_time, text)


def _complete_range(match: re.Match[str]) -> str:
    """Return "8 pm to 10 pm" for "8 to 10 pm"; "11 to 2 pm" begins in the morning."""
    half = match["half"]
    first, last = (int(re.split("[:.]", match[name])[0]) for name in ("first", "last"))
    first_half = half
    if half[0].lower() in "ap" and first % 12 > last % 12:
        first_half = "pm" if half[0].lower() == "a" else "am"
    return f"{match['first']} {first_half}{match['to']}{match['last']} {half}"


def _write_time(match: re.Match[str]) -> str:
    if match["short"]:
        return match["short"]
    if match["half"]:
        hour = int(match["hour"]) % 12 + 12 * (match["half"].lower() == "p")
        return f"{hour}:{match['minute'] or '00'}" if int(match["hour"]) <= 12 else match.group()
    groups = match.groupdict()
    hours = (groups[name] for name in ("hour24", "hour_fr", "full_fr", "hour_es"))
    minutes = (groups[name] for name in ("minute24", "minute2", "minute_fr", "minute_es"))
    return f"{int(next(filter(None, hours)))}:{next(filter(None, minutes), '00')}"
