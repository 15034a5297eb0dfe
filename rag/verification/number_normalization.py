"""Number normalization: numbers, dates and units of a text in one form, to compare them."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from rag.text.tokenization import stems, words
from rag.text.word_lists import CARDINALS

# Not "one", which is a pronoun more often than a number.
NUMBER_WORDS = {
    word: str(number)
    for language_words in (
        "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
        "deux trois quatre cinq six - huit - dix - douze",
        "dos tres cuatro cinco seis siete ocho nueve diez - doce",
    )
    for number, word in enumerate(language_words.split(), start=2)
    if word != "-"  # a word that another language also has, or that has two meanings
} | {
    word: str(number) for word, number in CARDINALS.items() if 1 < number < 100 and "-" not in word
}
"""Number words in English, German, French and Spanish, with their digits."""

NUMBER_STEMS = {stems(word)[0]: number for word, number in NUMBER_WORDS.items()}
"""The stems of `NUMBER_WORDS`, with their digits."""

_NUMBER = re.compile(r"(?:(?<![\w.)\]-])-)?\d+(?:[.,:/]\d+)*")
_NUMERIC_TEXT = re.compile(r"\d|illion|thousand", re.IGNORECASE)
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED_NUMBER = re.compile(
    rf"(?<![\w,.])(\d[\d,]*+|{'|'.join(NUMBER_WORDS)})(?:\.(\d++))?[ -]"
    rf"({'|'.join(_SCALES)})\b",
    re.IGNORECASE,
)
# 3,800 as some tokenizers write it: "3, 800".
_SPACED_THOUSANDS = re.compile(r"(?<![\w.,])\d{1,3}(?:, \d{3})+(?![\w.,]\d)")
_NUMBER_IN_NAME = re.compile(r"[^\W\d_]-?(\d+)")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
MONTH_NAMES = (
    "January February March April May June July August September October November December".split()
)
_ISO_DATE = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\b")
# Numbers with different units are different numbers.
_UNITS = {
    form: unit
    for unit, forms in {
        "year": "year years yr yrs jahr jahre jahren",
        "month": "month months monat monate monaten",
        "week": "week weeks woche wochen",
        "day": "day days tag tage tagen",
        "hour": "hour hours hr hrs h stunde stunden",
        "minute": "minute minutes min mins minuten",
        "second": "second seconds sec secs s sekunde sekunden",
        "m": "m metre metres meter meters",
        "km": "km kilometre kilometres kilometer kilometers",
        "cm": "cm",
        "mm": "mm",
        "kg": "kg kilogram kilograms kilogramm",
        "g": "g gram grams gramm",
        "l": "l litre litres liter liters",
        "ml": "ml",
        "%": "% percent prozent",
        "dollar": "dollar dollars usd",
        "euro": "euro euros eur €",
    }.items()
    for form in forms.split()
}
_MEASUREMENT = re.compile(r"(?<![\w.,])(\d++(?:[.,]\d++)*+)[ -]?([^\W\d]++|%|€)")


_MINUS = re.compile(r"[−﹣－](?=\d)")


@lru_cache(maxsize=8_192)
def normalize_numbers(text: str) -> str:
    """Return the text with numbers and dates in one form.

    1,577 becomes 1577, 1.5 million 1500000, 2018-05-03 3 May 2018, and the minus sign a hyphen.
    """
    if not _NUMERIC_TEXT.search(text):
        return text
    text = _MINUS.sub("-", text)
    text = _SCALED_NUMBER.sub(_expand_scale, _THOUSANDS_COMMA.sub("", text))
    return spell_out_dates(text)


def spell_out_dates(text: str) -> str:
    """Return a text with dates such as 2025-03-01 as 1 March 2025."""
    return _ISO_DATE.sub(
        lambda date: f"{int(date[3])} {MONTH_NAMES[int(date[2]) - 1]} {date[1]}", text
    )


def _expand_scale(scaled_number: re.Match[str]) -> str:
    integer, fraction, scale = scaled_number.groups()
    zero_count = _SCALES[scale.lower()]
    if fraction and len(fraction) > zero_count:
        return scaled_number.group()
    integer = NUMBER_WORDS.get(integer.lower(), integer)
    return integer.replace(",", "") + (fraction or "").ljust(zero_count, "0")


def normalize_number(number: str) -> str:
    """Return 1577.00 as 1577; 10:30, 1/2 and version 3.10 stay unchanged."""
    if ":" in number or "/" in number:
        return number
    return re.sub(r"\.0+$", "", number)


@lru_cache(maxsize=8_192)
def find_numbers(text: str) -> frozenset[str]:
    """Return the normalized numbers of a text, number words included."""
    normalized = normalize_numbers(text)
    numbers = {NUMBER_WORDS[word] for word in words(normalized) if word in NUMBER_WORDS}
    if _NUMERIC_TEXT.search(normalized):
        numbers |= {normalize_number(number) for number in _NUMBER.findall(normalized)}
        numbers |= {re.sub(", ", "", number) for number in _SPACED_THOUSANDS.findall(normalized)}
    return frozenset(numbers)


def find_numbers_in_names(text: str) -> set[str]:
    """Return the numbers that are part of a name, such as 19 in COVID-19."""
    return {normalize_number(number) for number in _NUMBER_IN_NAME.findall(text)}


def find_units(text: str) -> list[tuple[str, str]]:
    """Return the (number, unit) pairs of a text, both normalized."""
    normalized = normalize_numbers(text)
    pairs = [(normalize_number(number), unit) for number, unit in _MEASUREMENT.findall(normalized)]
    pairs += [
        (NUMBER_WORDS.get(word, ""), next_word) for word, next_word in pairwise(words(normalized))
    ]
    return [
        (number, unit)
        for number, form in pairs
        if number and (unit := _UNITS.get(form.lower(), ""))
    ]
