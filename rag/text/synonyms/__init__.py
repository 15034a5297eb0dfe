"""Synonyms in the documents of an office: "revenue" and "turnover", "illness" and "sick leave".

The tables beside this module, one a language, have the format of Solr's synonym files.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rag.text.tokenization import index_stems, regional_stems, stems, words

SYNONYM_LANGUAGES = ("en", "de", "fr", "es")
"""ISO 639-1 codes of the languages with a table."""

_FOLDER = Path(__file__).parent
_MAX_CACHED_TEXTS = 16_384
_NO_GROUPS: frozenset[int] = frozenset()


class _Term(NamedTuple):
    """A term of the tables in a text: the span of its words, and the groups that it belongs to."""

    start: int
    end: int
    groups: frozenset[int]


class _Table(NamedTuple):
    """The groups of one language by the stems of a term; the longest term by its first stem."""

    groups: Mapping[tuple[str, ...], frozenset[int]]
    max_words: Mapping[str, int]
    terms: Mapping[int, Sequence[str]]


def find_synonymous_words(question: str, text: str) -> frozenset[str]:
    """Return the words of a question, in lower case, that a text has another term for.

    All words of a term of several words count: "credit" and "period" where the text has "due
    date". The tables of all languages are used: a short question does not show its language.
    """
    groups_by_word = _group_words(question)
    if not groups_by_word:
        return frozenset()
    text_groups = _list_groups(text)
    return frozenset(
        word for word, groups in groups_by_word.items() if not groups.isdisjoint(text_groups)
    )


def is_synonym(word: str) -> bool:
    """Whether a word is a term of a table by itself, such as "EPS": it is spelled right."""
    return bool(_list_groups(word))


@lru_cache(maxsize=len(SYNONYM_LANGUAGES))
def synonym_stems(language: str) -> Mapping[str, tuple[str, ...]]:
    """Return the stems of the synonyms of a stem, as an index has them; only of single words.

    `language` is an ISO 639-1 code. A language without a table has none.
    """
    if language not in SYNONYM_LANGUAGES:
        return {}
    regional = regional_stems() if language == "en" else {}
    synonyms: dict[str, dict[str, None]] = {}
    for group in _read_groups(language):
        stemmed = [index_stems(term, language) for term in group]
        singles = [term_stems[0] for term_stems in stemmed if len(term_stems) == 1]
        same = dict.fromkeys(s for stem in singles for s in (stem, *regional.get(stem, ())))
        for stem in same:
            synonyms.setdefault(stem, {}).update(same)
    return {
        stem: tuple(synonym for synonym in same if synonym != stem)
        for stem, same in synonyms.items()
    }


def find_synonym_phrases(question: str, language: str) -> list[tuple[tuple[str, ...], ...]]:
    """Return the stems of the synonyms of each term of a question, as an index has them.

    `language` is an ISO 639-1 code. A word of a longer term is no term of its own, and synonyms
    that are single words, of a single word, are left out (see `synonym_stems`).
    """
    tables = _load_tables()
    if language not in tables:
        return []
    question_stems = _stem_text(question, language)
    terms = _find_language_terms(question_stems, tables[language])
    phrases = []
    stemmed = _stem_groups(language)
    used: set[int] = set()
    for term in sorted(terms, key=lambda term: (term.start - term.end, term.start)):
        positions = range(term.start, term.end)
        if not used.isdisjoint(positions):
            continue
        used.update(positions)
        others = frozenset[tuple[str, ...]]().union(*(stemmed[number] for number in term.groups))
        own = tuple(question_stems[term.start : term.end])
        if synonyms := [o for o in sorted(others) if o != own and max(len(o), len(own)) > 1]:
            phrases.append(tuple(synonyms))
    return phrases


@lru_cache(maxsize=len(SYNONYM_LANGUAGES))
def _stem_groups(language: str) -> Mapping[int, frozenset[tuple[str, ...]]]:
    """Return the stems of the terms of each group, as an index has them, by its number."""
    return {
        number: frozenset(tuple(index_stems(term, language)) for term in terms)
        for number, terms in _load_tables()[language].terms.items()
    }


def _read_groups(language: str) -> Iterator[list[str]]:
    """Yield the groups of a table; a line with an arrow is a group for each word behind it."""
    content = (_FOLDER / f"{language}.txt").read_text(encoding="utf-8")
    for line in content.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        first, arrow, others = line.partition("=>")
        if arrow:
            yield from ([first.strip(), word.strip()] for word in others.split(","))
        else:
            yield [term.strip() for term in line.split(",")]


@lru_cache(maxsize=1)
def _load_tables() -> Mapping[str, _Table]:
    tables = {}
    numbers = itertools.count()
    for language in SYNONYM_LANGUAGES:
        groups: dict[tuple[str, ...], set[int]] = {}
        terms: dict[int, Sequence[str]] = {}
        for number, group in zip(numbers, _read_groups(language), strict=False):
            terms[number] = group
            for term in group:
                groups.setdefault(tuple(_stem_text(term, language)), set()).add(number)
        max_words: dict[str, int] = {}
        for term_stems in groups:
            max_words[term_stems[0]] = max(max_words.get(term_stems[0], 0), len(term_stems))
        groups_by_stems = {key: frozenset(group_numbers) for key, group_numbers in groups.items()}
        tables[language] = _Table(groups_by_stems, max_words, terms)
    return tables


def _stem_text(text: str, language: str) -> list[str]:
    return stems(text) if language == "en" else index_stems(text, language)


def _find_terms(text: str) -> Iterator[_Term]:
    """Yield every term of the tables in a text."""
    for language, table in _load_tables().items():
        yield from _find_language_terms(_stem_text(text, language), table)


def _find_language_terms(text_stems: Sequence[str], table: _Table) -> Iterator[_Term]:
    for start, stem in enumerate(text_stems):
        for length in range(1, table.max_words.get(stem, 0) + 1):
            groups = table.groups.get(tuple(text_stems[start : start + length]))
            if groups is not None and start + length <= len(text_stems):
                yield _Term(start, start + length, groups)


@lru_cache(maxsize=_MAX_CACHED_TEXTS)
def _list_groups(text: str) -> frozenset[int]:
    return _NO_GROUPS.union(*(term.groups for term in _find_terms(text)))


@lru_cache(maxsize=_MAX_CACHED_TEXTS)
def _group_words(question: str) -> dict[str, frozenset[int]]:
    """Return the groups of each word of a question; those of the longest terms with the word.

    "Credit period" is about payments, and not about loans.
    """
    question_words = words(question)
    lengths = [0] * len(question_words)
    groups = [_NO_GROUPS] * len(question_words)
    for term in sorted(_find_terms(question), key=lambda term: term.start - term.end):
        length = term.end - term.start
        for i in range(term.start, term.end):
            if length >= lengths[i]:
                lengths[i], groups[i] = length, groups[i] | term.groups
    grouped: dict[str, frozenset[int]] = {}
    for word, word_groups in zip(question_words, groups, strict=True):
        if word_groups:
            grouped[word] = grouped.get(word, _NO_GROUPS) | word_groups
    return grouped
