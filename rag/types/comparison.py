"""Comparison of metadata values: numbers, dates, times and texts, for filters.

A text in the plain form of a number counts as a number when it is compared with one, and a text in
ISO 8601 form counts as a date, a date-time or a time of day when it is compared with another one.
"""

from __future__ import annotations

import datetime
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from rag.types.base import Scalar

MAX_PLAIN_DIGITS = 15
"""Digits of the longest text that counts as a number; a float holds as many without loss."""

ORDER_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_ZERO_PADDED_INTEGER = re.compile(r"0([0-9]+)")
_YEAR = re.compile(r"[1-9][0-9]{3}")
_DATE = re.compile(
    r"(?P<month>[0-9]{4}-[0-9]{2})(?P<day>-[0-9]{2}(?:[Tt ]"
    r"(?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?)"
    r" ?(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?"
)
_TIME = re.compile(r"([0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?)")


class Moment(NamedTuple):
    """A month, day, instant or time of day.

    ``key`` is (year, month, day, microsecond of the day) in UTC, or the beginning of it for what is
    less exact; for a time of day it is (microsecond,).
    """

    is_time_of_day: bool
    key: tuple[int, ...]


def normalize_text(text: str) -> str:
    """Return `text` in the Unicode normal form NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@lru_cache(maxsize=8_192)
def normalize_field(name: str) -> str:
    """Return the form of a field's name in which the names of the same field are equal."""
    return name.lower() if name.isascii() else normalize_text(normalize_text(name).casefold())


def read_number(text: str) -> int | float | None:
    """Return the number that `text` is in plain form, such as ``-12.50``; None for other texts.

    Texts with leading zeros, a plus sign, an exponent or more than 15 digits are no numbers, but
    identifiers, telephone numbers and so on.
    """
    if len(text) > MAX_PLAIN_DIGITS + 2 or not _PLAIN_NUMBER.fullmatch(text):
        return None
    if sum(map(str.isdigit, text)) > MAX_PLAIN_DIGITS:
        return None
    return float(text) if "." in text else int(text)


@lru_cache(maxsize=8_192)
def read_moment(text: str) -> Moment | None:
    """Return the month, day, instant or time of day that `text` is in ISO 8601 form.

    An instant without a zone is in UTC. Returns None for any other text, and for a date or time
    that does not exist.
    """
    if match := _DATE.fullmatch(text):
        return _read_date(match)
    if _TIME.fullmatch(text):
        time = _parse_time(text)
        return None if time is None else Moment(True, (_count_microseconds(time),))
    return None


def _read_date(match: re.Match[str]) -> Moment | None:
    try:
        date = datetime.date.fromisoformat(match["month"] + (match["day"] or "-01")[:3])
        if match["time"] is None:
            key = (date.year, date.month, date.day)
            return Moment(False, key if match["day"] else key[:2])
        time = _parse_time(match["time"])
        if time is None:
            return None
        instant = datetime.datetime.combine(date, time) - _parse_offset(match["zone"] or "Z")
    except (ValueError, OverflowError):
        return None
    day_key = (instant.year, instant.month, instant.day)
    return Moment(False, (*day_key, _count_microseconds(instant.time())))


def _parse_time(text: str) -> datetime.time | None:
    clock, _, fraction = text.replace(",", ".").partition(".")
    hours, minutes, *rest = clock.split(":")
    try:
        return datetime.time(
            int(hours), int(minutes), int(rest[0]) if rest else 0, int(f"{fraction:0<6.6}")
        )
    except ValueError:
        return None


def _parse_offset(zone: str) -> datetime.timedelta:
    """Return the offset of a zone from UTC. Raises `ValueError` if there is no such offset."""
    if zone in "Zz":
        return datetime.timedelta()
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"no such zone: {zone}")
    offset = datetime.timedelta(hours=hours, minutes=minutes)
    return -offset if zone[0] == "-" else offset


def _count_microseconds(time: datetime.time) -> int:
    seconds = (time.hour * 60 + time.minute) * 60 + time.second
    return seconds * 1_000_000 + time.microsecond


def is_in_order(value: Scalar, op: str, operand: Scalar) -> bool:
    """Return whether ``value op operand`` holds, for one of `ORDER_OPERATORS`.

    Values of different types, such as a text and a number that is not its meaning, have no order.
    """
    if isinstance(value, bool) or isinstance(operand, bool):
        return False
    keys = _make_order_keys(value, operand)
    return keys is not None and ORDER_OPERATORS[op](*keys)


def _make_order_keys(value: Scalar, operand: Scalar) -> tuple[Any, Any] | None:
    """Return what to compare for `value` and `operand`; None if they have no order."""
    if not isinstance(value, str):
        number = read_number(operand) if isinstance(operand, str) else operand
        return None if number is None else (value, number)
    moment = read_moment(value)
    if not isinstance(operand, str):
        if (number := read_number(value)) is not None:
            return number, operand
        year = _read_year(operand)
        return None if moment is None or year is None else _cut_to_same_precision(moment, year)
    operand_moment = read_moment(operand)
    if operand_moment is None:
        year = _read_year(operand)
        if year is not None and moment is not None and not moment.is_time_of_day:
            return _cut_to_same_precision(moment, year)
        return normalize_text(value), normalize_text(operand)
    if moment is None:
        moment = _read_year(value)
    return None if moment is None else _cut_to_same_precision(moment, operand_moment)


def _read_year(value: Scalar) -> Moment | None:
    """Return the year that a number or text of four digits can mean."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return Moment(False, (int(text),)) if _YEAR.fullmatch(text) else None


def _cut_to_same_precision(
    left: Moment, right: Moment
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the keys of two moments, both as exact as the less exact one."""
    if left.is_time_of_day != right.is_time_of_day:
        return None
    length = min(len(left.key), len(right.key))
    return left.key[:length], right.key[:length]


class ValueSet:
    """A set of operands; ``value in value_set`` means that `value` equals one of them."""

    __slots__ = (
        "_cut_moments",
        "_moments",
        "_texts",
        "booleans",
        "booleans_of_texts",
        "numbers",
        "numbers_of_texts",
    )

    def __init__(self, operands: Iterable[Scalar]) -> None:
        self._texts: set[str] = set()
        self.booleans: set[bool] = set()
        self.booleans_of_texts: set[bool] = set()
        self.numbers: set[int | float] = set()
        self.numbers_of_texts: set[int | float] = set()
        self._moments: set[Moment] = set()
        for operand in operands:
            self._add(operand)
        self._cut_moments = {
            Moment(moment.is_time_of_day, moment.key[:length])
            for moment in self._moments
            for length in range(1, len(moment.key))
        }

    def _add(self, operand: Scalar) -> None:
        if isinstance(operand, bool):
            self.booleans.add(operand)
            return
        if not isinstance(operand, str):
            self.numbers.add(operand)
            self._moments.update(filter(None, [_read_year(operand)]))
            return
        self._texts.add(normalize_text(operand))
        if operand.lower() in ("true", "false"):
            self.booleans_of_texts.add(operand.lower() == "true")
        padded = _ZERO_PADDED_INTEGER.fullmatch(operand)
        number = read_number(padded[1].lstrip("0") or "0" if padded else operand)
        if number is not None:
            self.numbers_of_texts.add(number)
        self._moments.update(filter(None, [read_moment(operand) or _read_year(operand)]))

    def __contains__(self, value: Scalar) -> bool:
        if isinstance(value, bool):
            return value in self.booleans or value in self.booleans_of_texts
        if not isinstance(value, str):
            return value in self.numbers or value in self.numbers_of_texts
        if normalize_text(value) in self._texts:
            return True
        return self._has_meaning(value)

    def _has_meaning(self, text: str) -> bool:
        """Return whether an operand is the boolean, number or moment that `text` means."""
        if self.booleans and text.lower() in ("true", "false"):
            return (text.lower() == "true") in self.booleans
        if self.numbers and read_number(text) in self.numbers:
            return True
        if not self._moments or (moment := read_moment(text)) is None:
            return False
        return moment in self._cut_moments or any(
            Moment(moment.is_time_of_day, moment.key[:length]) in self._moments
            for length in range(1, len(moment.key) + 1)
        )
