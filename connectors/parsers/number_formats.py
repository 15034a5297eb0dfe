"""Number formats of spreadsheets: the text that a cell shows for a number, a date or a duration.

The codes are those of ECMA-376, part 1, section 18.8.31, such as ``#,##0.00`` and ``dd/mm/yyyy``.
Names of months and weekdays are English. Colours, alignment and fill characters are left out.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

Moment = datetime.datetime | datetime.date | datetime.time | datetime.timedelta

BUILT_IN_CODES = {
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00",
    5: '"$"#,##0;-"$"#,##0', 6: '"$"#,##0;-"$"#,##0',
    7: '"$"#,##0.00;-"$"#,##0.00', 8: '"$"#,##0.00;-"$"#,##0.00',
    9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??",
    15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM",
    20: "h:mm", 21: "h:mm:ss", 37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)", 40: "#,##0.00;(#,##0.00)",
    41: '#,##0;(#,##0);"-"', 42: '"$"#,##0;"$"(#,##0);"$-"',
    43: '#,##0.00;(#,##0.00);"-"', 44: '"$"#,##0.00;"$"(#,##0.00);"$-"',
    45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0",
}  # fmt: skip
"""Codes that a workbook refers to by number. 14 and 22 are absent: the reader's system decides
how these dates look, so they stay in ISO form."""

_MAX_CODE_CHARACTERS = 255  # the limit of Excel
_MAX_DECIMALS = 30
_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|_(?P<space>.)|\*(?P<fill>.)'
    r"|\[(?P<elapsed>h+|m+|s+)\]|\[(?P<bracket>[^\]]*)\]"
    r"|(?P<general>General)|(?P<half>AM/PM|A/P)|(?P<exponent>E[+-])"
    r"|(?P<date>y+|m+|d+|h+|s+)|(?P<fraction>\.0+(?=$|[^0#?]))|(?P<digit>[0#?])"
    r"|(?P<sign>[.,/%@])|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_SIMPLE_NUMBER = re.compile(
    r"(?P<prefix>\0*)(?:(?P<grouped>#,##0)|#*0)(?P<decimals>\.0{1,30})?(?P<suffix>\0*)"
)
_NUMBER_KINDS = ("digit", "fraction", ".", ",")
_MAX_EXACT = 1e15
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)(-?\d+(?:\.\d+)?)")
_CURRENCY = re.compile(r"\$([^-\]]*)(?:-[^\]]*)?")
_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


class _Part(NamedTuple):
    kind: str
    text: str


class _Pattern(NamedTuple):
    """A format such as ``"$"#,##0.00`` or ``0.0 %``: a prefix, a number and a suffix."""

    prefix: str
    specification: str
    factor: int
    suffix: str


class _Section(NamedTuple):
    kind: Literal["number", "date", "text", "general"]
    parts: tuple[_Part, ...]
    condition: tuple[str, float] | None
    pattern: _Pattern | None


@lru_cache(65_536)
def format_number(value: float, code: str) -> str:
    """Return a number as a cell with the format `code` shows it.

    A number with the format of a date is returned without a format, because the beginning of its
    calendar is unknown; see `format_moment`.
    """
    sections = _parse_code(code[:_MAX_CODE_CHARACTERS])
    section, magnitude, sign = _select_section(sections, value)
    if section is None:
        return "#" * 3
    if section.kind in ("date", "general") and not _has_literals(section):
        return format_general(value)
    if section.kind == "text" and any(part.kind == "@" for part in section.parts):
        return format_general(value)
    text = " ".join(_render_number(magnitude, section.parts, section.pattern).split())
    is_zero = not any(c in "123456789" for c in text)
    return text if is_zero and section.kind == "number" else sign + text


@lru_cache(65_536)
def format_moment(value: Moment, code: str) -> str:
    """Return a date, time or duration as a cell with the format `code` shows it.

    Raises `ValueError` if the code is not the format of a date.
    """
    section = next((s for s in _parse_code(code[:_MAX_CODE_CHARACTERS]) if s.kind == "date"), None)
    if section is None:
        raise ValueError(f"not the format of a date: {code!r}")
    seconds, day = _split_moment(value)
    sign = "-" if seconds < 0 else ""
    return sign + " ".join(_render_date(day, abs(seconds), section.parts).split())


def format_general(value: float) -> str:
    """Return a number as a cell without a format shows it, without the errors of binary sums."""
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}".replace("e", "E")


# -- Codes ---------------------------------------------------------------------------------


@lru_cache(512)
def _parse_code(code: str) -> tuple[_Section, ...]:
    sections: list[list[_Part]] = [[]]
    for match in _TOKEN.finditer(code):
        kind, text = match.lastgroup or "other", match.group()
        if kind == "other" and text == ";":
            sections.append([])
        elif kind == "quoted" or kind == "escaped":
            sections[-1].append(_Part("literal", match.group(kind)))
        elif kind == "space":
            sections[-1].append(_Part("literal", " "))
        elif kind == "elapsed":
            sections[-1].append(_Part(kind, match.group(kind).lower()))
        elif kind == "bracket":
            sections[-1].append(_Part(kind, match.group(kind)))
        elif kind == "sign":
            sections[-1].append(_Part(text, text))
        elif kind == "other":
            sections[-1].append(_Part("literal", text))
        elif kind != "fill":
            sections[-1].append(_Part(kind, text))
    return tuple(_build_section(parts) for parts in sections[:4])


def _build_section(parts: Sequence[_Part]) -> _Section:
    condition: tuple[str, float] | None = None
    visible: list[_Part] = []
    for part in parts:
        if part.kind != "bracket":
            visible.append(part)
        elif match := _CONDITION.fullmatch(part.text):
            condition = match.group(1), float(match.group(2))
        elif match := _CURRENCY.fullmatch(part.text):
            visible.append(_Part("literal", match.group(1)))
    kinds = {part.kind for part in visible}
    kind: Literal["number", "date", "text", "general"] = "text"
    if kinds & {"date", "elapsed", "half"}:
        kind = "date"
    elif "general" in kinds:
        kind = "general"
    elif kinds & {"digit", "fraction"}:
        kind = "number"
    pattern = _find_pattern(visible) if kind == "number" else None
    return _Section(kind, tuple(visible), condition, pattern)


def _find_pattern(parts: Sequence[_Part]) -> _Pattern | None:
    """Return the prefix, number and suffix of the most frequent formats; they are fast."""
    code = "".join(p.text if p.kind in ("digit", "fraction", ".", ",") else "\0" for p in parts)
    match = _SIMPLE_NUMBER.fullmatch(code)
    if not match or any(p.kind not in (*_NUMBER_KINDS, "literal", "%") for p in parts):
        return None
    texts = [part.text for part in parts]
    stop = len(texts) - len(match.group("suffix"))
    decimals = len(match.group("decimals") or ".") - 1
    return _Pattern(
        "".join(texts[: len(match.group("prefix"))]),
        f"{',' if match.group('grouped') else ''}.{decimals}f",
        100 ** sum(part.kind == "%" for part in parts),
        "".join(texts[stop:]),
    )


def _has_literals(section: _Section) -> bool:
    return section.kind == "general" and any(p.kind != "general" for p in section.parts)


def _select_section(
    sections: Sequence[_Section], value: float
) -> tuple[_Section | None, float, str]:
    """Return the section for a value, the number to show in it, and the sign before it."""
    if any(section.condition for section in sections):
        for section in sections[:3]:
            if section.condition is None or _is_met(section.condition, value):
                return section, abs(value), "-" if value < 0 else ""
        return None, 0.0, ""
    numeric = sections[:3]
    if value < 0 and len(numeric) > 1:
        return numeric[1], -value, ""
    if value == 0 and len(numeric) > 2:
        return numeric[2], 0.0, ""
    return numeric[0], abs(value), "-" if value < 0 else ""


def _is_met(condition: tuple[str, float], value: float) -> bool:
    operator, limit = condition
    return {
        "<": value < limit,
        ">": value > limit,
        "=": value == limit,
        "<=": value <= limit,
        ">=": value >= limit,
        "<>": value != limit,
    }[operator]


# -- Numbers -------------------------------------------------------------------------------


def _render_number(value: float, parts: Sequence[_Part], pattern: _Pattern | None) -> str:
    """Render a number that is not negative."""
    if pattern and value < _MAX_EXACT:
        scaled = value * pattern.factor
        scaled += scaled * 1e-15  # rounds .5 up, as spreadsheets do, despite binary fractions
        return f"{pattern.prefix}{scaled:{pattern.specification}}{pattern.suffix}"
    parts = _split_fractions(parts)
    kinds = [part.kind for part in parts]
    if "general" in kinds:
        return "".join(format_general(value) if p.kind == "general" else p.text for p in parts)
    if "digit" not in kinds:
        return "".join(part.text for part in parts if part.kind in ("literal", "%"))
    if "/" in kinds and "digit" in kinds[: kinds.index("/")]:
        return _render_fraction(value, parts)
    first, last = kinds.index("digit"), len(kinds) - 1 - kinds[::-1].index("digit")
    point = kinds.index(".") if "." in kinds else len(kinds)
    exponent = kinds.index("exponent") if "exponent" in kinds else len(kinds)
    last_whole = max((i for i in range(min(point, exponent)) if kinds[i] == "digit"), default=first)
    scale = _count_commas(kinds, last_whole + 1)
    if last != last_whole:
        scale += _count_commas(kinds, last + 1)
    decimals = [p.text for p in parts[point:exponent] if p.kind == "digit"][:_MAX_DECIMALS]
    whole = [p.text for p in parts[: min(point, exponent)] if p.kind == "digit"]
    number = Decimal(repr(float(value))).scaleb(2 * kinds.count("%") - 3 * scale)
    power = 0
    if exponent < len(kinds):
        number, power = _scale_to_exponent(number, max(1, len(whole)))
    digits, fraction = _round_number(number, whole, decimals)
    is_grouped = "," in kinds[first:last_whole]
    texts = _fill_digits(parts, digits, fraction, is_grouped, point, exponent)
    if exponent < len(kinds):
        width = sum(kind == "digit" for kind in kinds[exponent : last + 1])
        sign = "-" if power < 0 else ("+" if parts[exponent].text.endswith("+") else "")
        texts[exponent] = f"E{sign}{abs(power):0{width}}"
    return "".join(texts)


def _count_commas(kinds: Sequence[str], start: int) -> int:
    """Return the number of commas from `start`; each divides the number by 1,000."""
    stop = start
    while stop < len(kinds) and kinds[stop] == ",":
        stop += 1
    return stop - start


def _split_fractions(parts: Sequence[_Part]) -> list[_Part]:
    """Return the parts with ``.00`` as a point and its digits."""
    split: list[_Part] = []
    for part in parts:
        if part.kind == "fraction":
            split.append(_Part(".", "."))
            split += [_Part("digit", "0")] * (len(part.text) - 1)
        else:
            split.append(part)
    return split


def _scale_to_exponent(number: Decimal, whole_digits: int) -> tuple[Decimal, int]:
    if not number:
        return number, 0
    power = number.adjusted() // whole_digits * whole_digits
    return number.scaleb(-power), power


def _round_number(
    number: Decimal, whole: Sequence[str], decimals: Sequence[str]
) -> tuple[str, str]:
    """Return the digits before and after the decimal point."""
    with localcontext() as context:
        context.prec = 400
        rounded = number.quantize(Decimal(1).scaleb(-len(decimals)), rounding=ROUND_HALF_UP)
        digits, _, fraction = f"{rounded:f}".partition(".")
    optional = len(decimals)
    while optional and decimals[optional - 1] != "0":
        optional -= 1
    while len(fraction) > optional and fraction.endswith("0"):
        fraction = fraction[:-1]
    digits = digits.lstrip("0")
    first_zero = whole.index("0") if "0" in whole else len(whole)
    return digits.zfill(len(whole) - first_zero), fraction


def _fill_digits(
    parts: Sequence[_Part], digits: str, fraction: str, is_grouped: bool, point: int, exponent: int
) -> list[str]:
    """Return the text of each part, with the digits in their places."""
    texts = [part.text if part.kind in ("literal", "%") else "" for part in parts]
    if point < len(parts):
        texts[point] = "." if fraction or parts[point + 1 : point + 2] == [] else ""
        places = [i for i in range(point, min(exponent, len(parts))) if parts[i].kind == "digit"]
        for i, digit in zip(places, fraction, strict=False):
            texts[i] = digit
        if len(fraction) > len(places) and places:
            texts[places[-1]] += fraction[len(places) :]
    places = [i for i in range(min(point, exponent)) if parts[i].kind == "digit"]
    if not places:
        texts[min(point, len(texts) - 1)] = digits + texts[min(point, len(texts) - 1)]
        return texts
    rest = digits
    if is_grouped or not any(parts[i].kind == "literal" for i in range(places[0], places[-1])):
        texts[places[0]] = _group_thousands(digits) if is_grouped else digits
        return texts
    for i in reversed(places[1:]):
        rest, texts[i] = rest[:-1], rest[-1:]
    texts[places[0]] = rest
    return texts


def _group_thousands(digits: str) -> str:
    first = len(digits) % 3
    groups = [digits[i : i + 3] for i in range(first, len(digits), 3)]
    return ",".join([digits[:first], *groups] if first else groups)


def _render_fraction(value: float, parts: Sequence[_Part]) -> str:
    """Render ``# ?/?`` and the like: 2.25 as ``2 1/4``."""
    kinds = [part.kind for part in parts]
    slash = kinds.index("/")
    below = [part.text for part in parts[slash + 1 :] if part.kind in ("digit", "literal")]
    denominator = "".join(below).strip()
    numerator_start = slash
    while numerator_start and kinds[numerator_start - 1] == "digit":
        numerator_start -= 1
    has_whole = "digit" in kinds[:numerator_start]
    whole = int(value) if has_whole else 0
    rest = Fraction(value) - whole
    if denominator.isdecimal() and int(denominator):
        fraction_above, fraction_below = round(rest * int(denominator)), int(denominator)
    else:
        limited = rest.limit_denominator(10 ** min(len(denominator) or 1, 5) - 1)
        fraction_above, fraction_below = limited.numerator, limited.denominator
    if has_whole and fraction_above == fraction_below:
        whole, fraction_above = whole + 1, 0
    if has_whole and not fraction_above:
        return str(whole)
    return f"{whole or ''} {fraction_above}/{fraction_below}"


# -- Dates ---------------------------------------------------------------------------------


def _split_moment(value: Moment) -> tuple[float, datetime.date | None]:
    """Return the seconds of the day, or of the whole duration, and the day."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds(), None
    time = datetime.time() if type(value) is datetime.date else value
    assert isinstance(time, datetime.datetime | datetime.time)
    seconds = time.hour * 3600 + time.minute * 60 + time.second + time.microsecond / 1e6
    day = value if isinstance(value, datetime.date) else None
    return seconds, day


def _render_date(day: datetime.date | None, seconds: float, parts: Sequence[_Part]) -> str:
    decimals = max((len(p.text) - 1 for p in parts if p.kind == "fraction"), default=0)
    seconds = round(seconds, min(decimals, 3))
    is_half = any(part.kind == "half" for part in parts)
    texts: list[str] = []
    for i, part in enumerate(parts):
        letter = part.text[:1].lower()
        if part.kind == "elapsed":
            count = int(seconds // {"h": 3600, "m": 60, "s": 1}[letter])
            texts.append(f"{count:0{len(part.text)}}")
        elif part.kind == "half":
            texts.append(_render_half(seconds, part.text))
        elif part.kind == "fraction":
            texts.append(f"{seconds % 1:.{min(decimals, 3)}f}"[1:])
        elif part.kind != "date":
            texts.append(part.text)
        elif letter in "hs" or (letter == "m" and _is_minutes(parts, i)):
            texts.append(_render_time(seconds, letter, len(part.text), is_half))
        else:
            texts.append(_render_day(day or datetime.date(1900, 1, 1), letter, len(part.text)))
    return "".join(texts)


def _is_minutes(parts: Sequence[_Part], i: int) -> bool:
    """Whether an ``m`` follows hours or precedes seconds; otherwise it is a month."""
    if len(parts[i].text) > 2:
        return False
    kinds = ("date", "elapsed")
    before = next((p.text for p in reversed(parts[:i]) if p.kind in kinds), "")
    after = next((p.text for p in parts[i + 1 :] if p.kind in kinds), "")
    return before[:1].lower() == "h" or after[:1].lower() == "s"


def _render_half(seconds: float, pattern: str) -> str:
    is_afternoon = seconds % 86400 >= 43200
    texts = pattern.split("/")
    return texts[1] if is_afternoon else texts[0]


def _render_time(seconds: float, letter: str, width: int, is_half: bool) -> str:
    number = {"h": seconds // 3600 % 24, "m": seconds // 60 % 60, "s": seconds % 60}[letter]
    if letter == "h" and is_half:
        number = (number - 1) % 12 + 1
    return f"{int(number):0{min(width, 2)}}"


def _render_day(day: datetime.date, letter: str, width: int) -> str:
    if letter == "y":
        return f"{day.year % 100:02}" if width < 3 else f"{day.year:04}"
    if letter == "m":
        name = _MONTHS[day.month - 1]
        return {1: str(day.month), 2: f"{day.month:02}", 3: name[:3], 5: name[0]}.get(width, name)
    name = _WEEKDAYS[day.weekday()]
    return {1: str(day.day), 2: f"{day.day:02}", 3: name[:3]}.get(width, name)
