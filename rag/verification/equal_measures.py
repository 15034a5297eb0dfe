"""Equal measures: "24 months" is "two years" where the passage writes that, 2,500 g is 2.5 kg.

Only the claim is restated, and only if the passage has no such measure in the claim's form: "14
working days" and "8 to 10 p.m." stay as they are.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rag.verification.number_normalization import NUMBER_WORDS

_MAX_MEASURES = 200  # of a claim; more are compared as they are written
_PARTS_OF_UNIT = 1_000  # metric values are compared in thousandths of the smallest unit
_BASE_UNITS = {
    "minute": ("minutes", 1),
    "hour": ("minutes", 60),
    "day": ("days", 1),
    "week": ("days", 7),
    "month": ("months", 1),
    "year": ("months", 12),
}
_METRIC_UNITS = {
    name: (kind, size)
    for kind, size, names in (
        ("g", 1, "g gram grams gramm"),
        ("g", 1_000, "kg kilo kilos kilogram kilograms kilogramm"),
        ("g", 1_000_000, "t tonne tonnes tonnen"),
        ("mm", 1, "mm"),
        ("mm", 10, "cm"),
        ("mm", 1_000, "m metre metres meter meters"),
        ("mm", 1_000_000, "km kilometre kilometres kilometer kilometers"),
        ("ml", 1, "ml"),
        ("ml", 1_000, "l litre litres liter liters"),
        ("mb", 1, "mb megabyte megabytes"),
        ("gb", 1, "gb gigabyte gigabytes"),
        ("tb", 1, "tb terabyte terabytes"),
        ("w", 1, "w watt watts"),
        ("w", 1_000, "kw kilowatt kilowatts"),
        ("w", 1_000_000, "mw megawatt megawatts"),
        ("v", 1, "v volt volts"),
        ("cent", 1, "cent cents ct"),
        ("cent", 100, "eur euro euros €"),
    )
    for name in names.split()
}
_PARTS_OF_HOURS = {
    "an hour and a half": 90,
    "one and a half hours": 90,
    "three quarters of an hour": 45,
    "half an hour": 30,
    "a quarter of an hour": 15,
}
_MEASURE = re.compile(
    rf"\b(?P<part>{'|'.join(_PARTS_OF_HOURS)})\b"
    r"|(?<![\w.:,])(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?\s?(?P<half>[ap])(?:\.\s?m\.|m\b)"
    r"|(?<![\w.:,])(?P<hour24>\d{1,2}):(?P<minute24>\d\d)(?![\w:])"
    rf"|(?<![\w.,:-])(?P<count>\d{{1,4}}|one|{'|'.join(NUMBER_WORDS)})[ -]"
    rf"(?P<unit>{'|'.join(_BASE_UNITS)})s?\b"
    r"|(?<![\w.,:-])(?P<amount>\d{1,3}(?:,\d{3})+|\d{1,7}(?:\.\d{1,3})?)[\s-]?"
    rf"(?P<metric>{'|'.join(sorted(_METRIC_UNITS, key=len, reverse=True))})"
    r"(?!\w|/|\s(?:per|an?|pro|je)\s)",
    re.IGNORECASE,
)


class Measure(NamedTuple):
    """A duration, a time of day or a metric measure: its place, and its kind and value."""

    start: int
    end: int
    text: str
    value: tuple[str, int]


def restate_measures(claim: str, passage: str) -> str:
    """Return the claim with its durations and times of day in the form that the passage has.

    Another time of day is written as the passage writes its own: "4 pm" is 16:00 beside 14:00.
    """
    claimed = _find_measures(claim)
    if not claimed or len(claimed) > _MAX_MEASURES:
        return claim
    forms = _list_forms(passage)
    clock_forms = [texts[0] for (kind, _), texts in forms.items() if kind == "clock"]
    for measure in reversed(claimed):
        equal = forms.get(measure.value, ())
        if equal and not any(measure.text.split() == form.split() for form in equal):
            claim = f"{claim[: measure.start]}{equal[0]}{claim[measure.end :]}"
        elif not equal and measure.value[0] == "clock" and clock_forms:
            time = _write_time(measure.value[1], like=clock_forms[0])
            claim = f"{claim[: measure.start]}{time}{claim[measure.end :]}"
    return claim


def _write_time(minutes: int, like: str) -> str:
    hour, minute = divmod(minutes, 60)
    if not like.rstrip(".").endswith("m"):
        return f"{hour:02}:{minute:02}"
    minute_text = f":{minute:02}" if minute else ""
    return f"{(hour - 1) % 12 + 1}{minute_text} {'pm' if hour > 11 else 'am'}"


@lru_cache(maxsize=1_024)
def _list_forms(passage: str) -> dict[tuple[str, int], list[str]]:
    forms: dict[tuple[str, int], list[str]] = {}
    for measure in _find_measures(passage):
        forms.setdefault(measure.value, []).append(measure.text)
    return forms


@lru_cache(maxsize=1_024)
def _find_measures(text: str) -> tuple[Measure, ...]:
    return tuple(
        Measure(*match.span(), match[0].lower(), _read_value(match))
        for match in _MEASURE.finditer(text)
    )


def _read_value(match: re.Match[str]) -> tuple[str, int]:
    if part := match["part"]:
        return "minutes", _PARTS_OF_HOURS[part.lower()]
    if match["half"]:
        hour = int(match["hour"]) % 12 + 12 * (match["half"].lower() == "p")
        return "clock", 60 * hour + int(match["minute"] or 0)
    if match["hour24"]:
        return "clock", 60 * int(match["hour24"]) + int(match["minute24"])
    if match["metric"]:
        kind, size = _METRIC_UNITS[match["metric"].lower()]
        if match["metric"] == "mW":  # not MW
            return kind, round(float(match["amount"].replace(",", "")))
        return kind, round(float(match["amount"].replace(",", "")) * size * _PARTS_OF_UNIT)
    kind, size = _BASE_UNITS[match["unit"].lower()]
    count = match["count"].lower()
    return kind, size * (1 if count == "one" else int(NUMBER_WORDS.get(count, count)))
