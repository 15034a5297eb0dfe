"""Numbers with a unit, and the ranges that texts give: "20–60 km", "up to 4 persons"."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from rag.text.tokenization import stems

_NUMBER = r"\d{1,9}(?:[.,]\d{1,4})?(?![\d.,]*\d)"
_UNIT = r"[\s\u00a0-]?(?P<unit>[^\W\d_]{1,20})?"
_UP_TO = (
    r"up\sto|at\smost|no\smore\sthan|less\sthan|under|below|until|max\.?|≤|<=?|"
    r"bis(?:\szu)?|höchstens|maximal|unter|jusqu'à|moins\sde|hasta|menos\sde"
)
_FROM = (
    r"over|above|more\sthan|at\sleast|from|beyond|min\.?|≥|>=?|"
    r"über|mehr\sals|ab|mindestens|plus\sde|à\spartir\sde|más\sde|desde"
)
_TO = r"\s?(?:–|—|-|to|and|bis|und|à|et|a|y)\s?"
_RANGE = re.compile(
    rf"(?:(?<!\w)(?:from|between|von|zwischen|entre|de)\s)?(?<![\w.,])(?P<low>{_NUMBER})(?:\s?[^\W\d_]{{1,12}})?{_TO}(?P<high>{_NUMBER}){_UNIT}"
    rf"|(?<!\w)(?P<limit>{_UP_TO})\s?(?P<most>{_NUMBER})(?P<unit2>[\s\u00a0-]?[^\W\d_]{{1,20}})?"
    rf"|(?<!\w)(?P<start>{_FROM})\s?(?P<least>{_NUMBER})(?P<unit3>[\s\u00a0-]?[^\W\d_]{{1,20}})?",
    re.IGNORECASE,
)
_QUANTITY = re.compile(rf"(?<![\w.,])(?P<number>{_NUMBER}){_UNIT}")
_NO_UNITS = frozenset("and or to in of the for per und oder im in et ou de la y o".split())


class Quantity(NamedTuple):
    """A number and the stem of its unit."""

    value: float
    unit: str


class NumberRange(NamedTuple):
    """The numbers from ``low`` to ``high``, and the stem of their unit; "" without one."""

    low: float
    high: float
    unit: str

    def contains(self, quantity: Quantity) -> bool:
        """Whether the number is in the range."""
        return self.low <= quantity.value <= self.high


def find_quantities(text: str) -> list[Quantity]:
    """Return the numbers that have a unit: "45 km"."""
    quantities = [
        Quantity(_parse_number(match["number"]), _stem_unit(match["unit"]))
        for match in _QUANTITY.finditer(text)
    ]
    return [quantity for quantity in quantities if quantity.unit]


def find_ranges(text: str) -> list[NumberRange]:
    """Return the ranges of a text, closed or open at one end."""
    ranges = []
    for match in _RANGE.finditer(text):
        unit = _stem_unit(match["unit"] or match["unit2"] or match["unit3"])
        if match["low"] is not None:
            low, high = _parse_number(match["low"]), _parse_number(match["high"])
        elif match["most"] is not None:
            low, high = -math.inf, _parse_number(match["most"])
        else:
            low, high = _parse_number(match["least"]), math.inf
        if low <= high:
            ranges.append(NumberRange(low, high, unit))
    return ranges


def _parse_number(text: str) -> float:
    return float(text.replace(",", "."))


def _stem_unit(word: str | None) -> str:
    word = (word or "").strip(" \u00a0-").lower()
    return "" if not word or word in _NO_UNITS else next(iter(stems(word)), word)
