"""Forms of numbers, amounts, percentages, ordinals and phone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag.text.forms import Form, make_form
from rag.text.word_lists import CARDINALS, ORDINALS

_PHONE_DIGITS = 8  # the last digits of a phone number, which are the same with and without prefix
_MIN_PHONE_DIGITS = 7
_MAX_PHONE_DIGITS = 15
_NUMBER = re.compile(
    r"(?<![\d.,])\d{1,3}(?:([,.'’ \xa0\u202f\u2009])\d{3})(?:\1\d{3})*(?:[.,]\d+)?(?![\d]|[.,]\d)"
    r"|(?<![\d.,])\d+[.,]\d+(?!\d|[.,]\d)|(?<![\d.,])\d{4,}(?!\d|[.,]\d)"
)
_NOT_DIGIT = re.compile(r"\D")
_PLAIN_NUMBER = r"(?P<number>\d+(?:[,.'’\xa0\u202f]\d+)*)"
_MAGNITUDES = (
    r"(?:\s?(?P<magnitude>thousand|million|billion|trillion|mill|mio|mrd|bn|tsd)\b|(?P<k>[kK])\b)"
)
_SCALED = re.compile(rf"(?<![\w.,]){_PLAIN_NUMBER}{_MAGNITUDES}", re.IGNORECASE)
_CURRENCIES = {
    word: code
    for code, forms in {
        "eur": "€ eur euro euros",
        "usd": "$ usd us$ dollar dollars",
        "gbp": "£ gbp pound pounds",
        "jpy": "¥ jpy yen",
        "chf": "chf franc francs franken",
        "inr": "₹ inr rupees",
    }.items()
    for word in forms.split()
}
_CURRENCY = "|".join(sorted(map(re.escape, _CURRENCIES), key=len, reverse=True))
CURRENCY_SIGN = re.compile("[€$£¥₹]")
AMOUNT_WORDS = frozenset(word for word in _CURRENCIES if word.isalpha())
_AMOUNT = re.compile(
    rf"(?:(?<![^\W\d_])(?P<before>{_CURRENCY})\s?)?(?<![\w.,]){_PLAIN_NUMBER}{_MAGNITUDES}?"
    rf"(?:[,.]-+)?(?:\s?(?P<after>{_CURRENCY})(?![^\W_]))?",
    re.IGNORECASE,
)
_ZEROS = {"k": 3, "thousand": 3, "tsd": 3, "million": 6, "mill": 6, "mio": 6, "billion": 9, "bn": 9,
          "mrd": 9, "trillion": 12}  # fmt: skip


def find_numbers(text: str) -> Iterator[Form]:
    """Yield the values of numbers with separators, decimals or four digits and more."""
    for match in _NUMBER.finditer(text):
        for value in _read_number(match.group()):
            yield from make_form(f"={value}", *match.span())
    for match in _SCALED.finditer(text):
        magnitude = match["magnitude"] or match["k"]
        for value in _read_number(match["number"]):
            scaled = _scale(value, _ZEROS[magnitude.lower()])
            yield from make_form(f"={scaled}", *match.span())


def find_amounts(text: str) -> Iterator[Form]:
    """Yield amounts of money: ``eur:1250`` for "€1,250.00" and "1250 euros"."""
    for match in _AMOUNT.finditer(text):
        currency = _CURRENCIES.get((match["before"] or match["after"] or "").lower())
        magnitude = match["magnitude"] or match["k"]
        if currency:
            for value in _read_number(match["number"]):
                amount = _scale(value, _ZEROS[magnitude.lower()]) if magnitude else value
                yield from make_form(f"{currency}:{amount}", *match.span())


def _read_number(text: str) -> list[str]:
    """Return the values that a number may have: ``1.234`` is 1234 or 1.234."""
    signs = _NOT_DIGIT.findall(text)
    digits = _NOT_DIGIT.sub("", text)
    if not signs:
        return [digits]
    decimals = len(text) - 1 - text.rindex(signs[-1])
    has_decimals = _write_decimal(digits, decimals)
    if len(set(signs)) > 1:  # 1,234.5
        return [has_decimals]
    if len(signs) > 1 or signs[0] not in ".,":
        return [digits]
    return [digits, has_decimals] if decimals == 3 else [has_decimals]


def _write_decimal(digits: str, decimals: int) -> str:
    whole, fraction = digits[:-decimals].lstrip("0") or "0", digits[-decimals:].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _scale(value: str, zeros: int) -> str:
    whole, _, fraction = value.partition(".")
    fraction = fraction.ljust(zeros, "0")
    scaled = (whole + fraction[:zeros]).lstrip("0") or "0"
    rest = fraction[zeros:].rstrip("0")
    return f"{scaled}.{rest}" if rest else scaled


_PHONE = re.compile(r"(?<![\w.,])(?:\+|00)?\(?\d(?:[\d ()/.\-\xa0]{5,18})\d(?![\d])")


def find_phones(text: str) -> Iterator[Form]:
    """Yield the last digits of phone numbers, which do not depend on the prefix."""
    for match in _PHONE.finditer(text):
        digits = _NOT_DIGIT.sub("", match.group())
        if _MIN_PHONE_DIGITS <= len(digits) <= _MAX_PHONE_DIGITS:
            yield from make_form(f"tel:{digits[-_PHONE_DIGITS:]}", *match.span())


_ORDINAL_NUMBER = re.compile(r"(?<![\w.,])(\d{1,4})(?:st|nd|rd|th)\b", re.IGNORECASE)
PERCENT_WORDS = frozenset(["percent", "cent", "pct", "prozent", "pourcent", "ciento"])
_PERCENTAGE = re.compile(
    rf"(?<![\w.,])(?:(?P<number>\d+(?:[.,]\d+)?)\s?(?P<fraction>[½¼¾])?"
    rf"|\b(?P<word>{'|'.join(sorted(CARDINALS, key=len, reverse=True))}))"
    r"[\s-]?(?:%|per\s?cent\b|pct\b|prozent\b|pour\s?cent\b|por\s?ciento\b)",
    re.IGNORECASE,
)
_FRACTIONS = {"½": "5", "¼": "25", "¾": "75"}


def find_ordinals(text: str, text_words: frozenset[str]) -> Iterator[Form]:
    """Yield ``#21`` for "21st" and "twenty-first"."""
    for match in _ORDINAL_NUMBER.finditer(text):
        yield Form(f"#{int(match[1])}", *match.span())
    for word in ORDINALS.keys() & text_words:
        start = text.lower().index(word)
        yield Form(f"#{ORDINALS[word]}", start, start + len(word))


def find_percentages(text: str) -> Iterator[Form]:
    """Yield ``%17.5`` for "17.5 per cent" and "17½%"."""
    for match in _PERCENTAGE.finditer(text):
        if match["word"]:
            value = str(CARDINALS[match["word"].lower()])
        elif match["fraction"]:
            value = f"{match['number']}.{_FRACTIONS[match['fraction']]}"
        else:
            value = _read_number(match["number"])[-1]
        yield Form(f"%{value}", *match.span())
