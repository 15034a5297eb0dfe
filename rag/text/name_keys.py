"""Keys of names: forms in which a name in a question and the name of a document are compared.

A key has no case, spaces and punctuation: ``BESTBUY``, ``Best Buy`` and ``best-buy`` have the key
``bestbuy``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from rag.text.date_ranges import find_date_words, find_exact_dates
from rag.text.names import find_years, list_quarters
from rag.text.spellings import fold, spell_umlauts
from rag.text.word_lists import SENTENCE_STARTERS

_WORD = re.compile(r"[^\W_]+(?:[&'’.+][^\W_]+)*\+{0,2}")
_POSSESSIVE = re.compile(r"['’]s$")
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_MAX_NAME_WORDS = 4
_MAX_KEY_CHARACTERS = 60
_MAX_QUERY_KEYS = 200
_ORIGIN_WEIGHTS = {
    "title": 0.0,  # it is in the heading context of every chunk, and found there
    "file": 1.0,
    "folder": 0.5,
    "date": 0.8,
    "heading": 0.0,
    "author": 0.4,
    "record": 0.4,
    "first_page": 0.4,
}
_OTHER_ORIGIN_WEIGHT = 0.8
_YEAR_OF_QUARTER_WEIGHT = 0.7
_LAST_QUARTERS = ("Q4", "H2")
MIN_STRONG_WEIGHT = 0.5
"""Least weight of a name that people gave to a document as such: that of its file or folder."""


class QueryKey(NamedTuple):
    """A possible name in a question: the words from ``first`` to before ``end``.

    ``is_name`` says that it is written as a name: with a capital or a digit.
    """

    key: str
    text: str
    first: int
    end: int
    is_name: bool


def make_key(text: str) -> str:
    """Return the key of a name; "" for one without letters and digits."""
    return _NOT_ALPHANUMERIC.sub("", fold(text))[:_MAX_KEY_CHARACTERS]


def is_year(key: str) -> bool:
    """Whether a key is a year."""
    return len(key) == 4 and key.isdecimal() and key[:2] in ("19", "20")


def list_words(text: str) -> list[str]:
    """Return the words of a text without the possessive ``'s``."""
    return [_POSSESSIVE.sub("", word) for word in _WORD.findall(text)]


def list_document_keys(identity: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the keys of the identity terms of a document, of their words and of pairs of words.

    The weight of a key (0..1) is that of the origin in which it counts most: a name in the title
    tells more than one on the first page. The year of a quarter counts less than a whole year; a
    report on the last quarter is often one on the year, too.
    """
    weights: dict[str, float] = {}
    years_of_quarters = {
        year
        for term in identity.get("file", ())
        for year, quarter in list_quarters(term)
        if quarter not in _LAST_QUARTERS
    }
    for origin, terms in identity.items():
        weight = _ORIGIN_WEIGHTS.get(origin, _OTHER_ORIGIN_WEIGHT)
        if not weight:
            continue
        for term in terms:
            words = list_words(term)
            pairs = [a + b for a, b in pairwise(words)]
            parts = (term, *words, *pairs)
            spellings = (s for part in parts for s in (part, spell_umlauts(part)))
            for key in {make_key(spelling) for spelling in spellings}:
                if len(key) > 1:
                    weights[key] = max(weights.get(key, 0.0), weight)
    for year in years_of_quarters & weights.keys():
        weights[year] = min(weights[year], _YEAR_OF_QUARTER_WEIGHT)
    return weights


def list_query_keys(text: str, today: datetime.date | None = None) -> list[QueryKey]:
    """Return the keys of up to four words in succession of a question, the longest first.

    Years are among them in each form: ``FY23`` also has the key ``2023``, and "last year" that of
    the year before `today` (default: the date of the system). So are days: "1 July 2022" also has
    the key ``20220701``.
    """
    words = list_words(text)[:_MAX_QUERY_KEYS]
    keys: list[QueryKey] = []
    for size in range(_MAX_NAME_WORDS, 0, -1):
        for first in range(len(words) - size + 1):
            part = words[first : first + size]
            if len(key := make_key("".join(part))) > 1:
                is_name = _is_written_as_name(part, first)
                keys.append(QueryKey(key, " ".join(part), first, first + size, is_name))
    known_keys = {query_key.key for query_key in keys}
    days = sorted(find_exact_dates(text) & find_date_words(text).keys())
    for name in dict.fromkeys([*find_years(text), *_find_relative_years(text, today), *days]):
        if (key := make_key(name)) not in known_keys:
            keys.append(QueryKey(key, name, 0, 0, is_name=True))
    return keys


_RELATIVE_YEAR = re.compile(
    r"\b(?:(?P<last>last|previous|past|letzte[nms]?|vorige[nms]?|vergangene[nms]?)"
    r"|(?P<this>this|current|diese[nms]?|laufende[nms]?)|(?P<next>next|nächste[nms]?))"
    r"\s(?:(?:fiscal|financial|business|calendar)\s)?(?:year|jahr|geschäftsjahr)(?:['’]?s|es)?\b",
    re.IGNORECASE,
)


def _find_relative_years(text: str, today: datetime.date | None) -> list[str]:
    """Return the years that words such as "last year" stand for."""
    year = (today or datetime.date.today()).year
    return [
        str(year + (bool(match["next"]) - bool(match["last"])))
        for match in _RELATIVE_YEAR.finditer(text)
    ]


def _is_written_as_name(words: Sequence[str], position: int) -> bool:
    """Whether words are written as a name: with capitals or digits, but for words such as "of"."""
    has_letters = any(map(str.isalpha, "".join(words)))
    for i, word in enumerate(words):
        if any(map(str.isdigit, word)):
            continue
        if word.lower() in _CONNECTORS and 0 < i < len(words) - 1:
            continue
        if not word[0].isupper() or word in _PRONOUNS:
            return False
        if position + i == 0 and word.lower() in _QUESTION_STARTERS | SENTENCE_STARTERS:
            return False
    return has_letters or len(words) == 1


_CONNECTORS = frozenset(["of", "the", "and", "for", "de", "la", "der", "von", "du", "des", "di"])
_PRONOUNS = frozenset(["I", "A"])
_QUESTION_STARTERS = frozenset(
    """am are can compare could describe did do does explain find give had has have how is list may
    might must name please shall should show summarize tell was were what when where which who whom
    whose why will would""".split()
)
