"""Parallel clauses: "adults pay 12 euros, children 6 euros" gives each figure to one of two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from rag.text.tokenization import STOP_WORDS, stems, words
from rag.verification.number_normalization import (
    find_numbers,
    find_numbers_in_names,
    find_units,
    normalize_numbers,
)
from rag.verification.rows import split_row

_MAX_CLAUSE_WORDS = 20
_MAX_OWN_WORDS = 4  # that only one of two clauses has; more say something else, not the same
_MAX_PASSAGE_CLAUSES = 200
_MAX_DISTANCE = 5  # from one clause to another
_MAX_ELLIPTICAL_WORDS = 2  # "530 instruments were checked and 11 failed"
_YEAR = re.compile(r"(?:19|20)\d\d")
_LETTER = re.compile(r"(?<=\w\s)[A-Z]\b(?!['’.])")
_BREAK = re.compile(
    r"[;\n]|,(?=\s)|\s(?:and|but|while|whereas|und|aber|während|et|mais|tandis que|y|pero|"
    r"mientras que)(?=\s)",
    re.IGNORECASE,
)
_BREAK_BETWEEN_YEARS = re.compile(
    rf"{_BREAK.pattern}|\s(?:to|auf|à|a)(?=\s)", re.IGNORECASE
)  # "from 7 million in 2022 to 8 million in 2023"
_COMPARISON = re.compile(
    r"\b(?:respectively|unlike|than|instead|rather|not|beziehungsweise|bzw|statt|als|nicht|"
    r"respectivement|que|pas|respectivamente|no)\b",
    re.IGNORECASE,
)


class Clause(NamedTuple):
    """The figures of a clause, their units, and the stems of its other words."""

    numbers: frozenset[str]
    units: frozenset[str]
    stems: frozenset[str]


def gives_figures_to_others(claim: str, sentences: Sequence[str]) -> bool:
    """Whether a claim gives a figure to what the passage gives another figure of the same kind.

    Two clauses in a row that differ in their figures and in a few words are parallel: "The red
    valve opens at 5 bar, the blue valve at 7 bar." A claim with one clause's figure and the other
    clause's words, without its own, is wrong: "The red valve opens at 7 bar." The clauses may have
    nothing in common if one is very short: "530 were checked and 11 failed."
    """
    claimed = _list_claim_clauses(claim)
    if not claimed:
        return False
    clauses = _list_clauses(tuple(sentences))
    if len(clauses) < 2:
        return False
    return any(
        _is_exchanged(part, own, other, clauses)
        for part in claimed
        for first, second in _list_pairs(clauses)
        for own, other in ((first, second), (second, first))
        if part.numbers <= own.numbers
    ) or any(
        _is_of_elliptical_clause(claimed[0], first, second)
        for first, second in pairwise(clauses)
        if len(claimed) == 1
    )


def _list_pairs(clauses: Sequence[Clause]) -> Iterator[tuple[Clause, Clause]]:
    """Yield the pairs of clauses that are near each other, as the items of a list are."""
    for distance in range(1, _MAX_DISTANCE + 1):
        yield from zip(clauses, clauses[distance:], strict=False)


def _is_exchanged(part: Clause, own: Clause, other: Clause, clauses: Sequence[Clause]) -> bool:
    """Whether a part of a claim has the figures of `own`, and the words of `other`."""
    own_words, other_words = own.stems - other.stems, other.stems - own.stems
    is_elliptical = min(len(own.stems), len(other.stems)) <= _MAX_ELLIPTICAL_WORDS and all(
        _YEAR.fullmatch(stem) for stem in part.stems - own.stems - other.stems
    )
    is_parallel = (
        0 < len(own_words) <= _MAX_OWN_WORDS
        and 0 < len(other_words) <= _MAX_OWN_WORDS
        and not part.numbers <= other.numbers
        and own.units == other.units
        and (
            own.units
            or any(not _YEAR.fullmatch(stem) for stem in own.stems & other.stems)
            or len(own.numbers) == len(other.numbers) > 1
            or is_elliptical
        )
    )
    if not is_parallel or 3 * len(other_words & part.stems) < 2 * len(other_words):
        return False
    if 2 * len(own_words & part.stems) > len(own_words):
        return False
    return not any(part.numbers <= c.numbers and other_words <= c.stems for c in clauses)


def _is_of_elliptical_clause(part: Clause, first: Clause, second: Clause) -> bool:
    """Whether a claim has the figure of a clause, and the words of a short one behind it.

    In "The small tent costs 250 euros, the large 400 euros", the large one has no other words.
    """
    own_words = second.stems - first.stems
    return (
        0 < len(second.stems) <= _MAX_ELLIPTICAL_WORDS < len(first.stems)
        and bool(own_words)
        and own_words <= part.stems
        and part.stems - own_words < first.stems
        and part.numbers <= first.numbers
        and not part.numbers <= second.numbers
        and first.units == second.units
    )


@lru_cache(maxsize=256)
def _list_claim_clauses(claim: str) -> list[Clause]:
    """Return the clauses of a claim if each has a figure, else the claim as one.

    Return nothing if the claim compares, or has no figure.
    """
    if not find_numbers(claim) or _COMPARISON.search(claim):
        return []
    parts = list(_split_sentence(claim))
    return parts if len(parts) > 1 else [_read_clause(claim)]


@lru_cache(maxsize=256)
def _list_clauses(sentences: tuple[str, ...]) -> list[Clause]:
    """Return the clauses with figures; a part without one belongs to the clause after it."""
    clauses: list[Clause] = []
    for sentence in sentences:
        clauses += _split_sentence(sentence)
        if len(clauses) >= _MAX_PASSAGE_CLAUSES:
            break
    return clauses


def _split_sentence(sentence: str) -> Iterator[Clause]:
    """Yield the clauses with figures, without a lead-in: "Distances: Oslo 5 km, Rome 7 km"."""
    if row := split_row(sentence):
        yield from _read_row(row)
        return
    if sentence.count(": ") == 1 and len(_BREAK.findall(sentence.partition(": ")[2])):
        sentence = sentence.partition(": ")[2]
    start = 0
    lead_in = ""
    pattern = _BREAK_BETWEEN_YEARS if len(_YEAR.findall(sentence)) > 1 else _BREAK
    ends = [match.start() for match in pattern.finditer(sentence)]
    for end in (*ends, len(sentence)):
        part = sentence[start:end]
        if not _has_figure(part):
            if not start and sentence[end : end + 1] == ",":  # it is about all clauses
                lead_in, start = part, end
            continue
        start = end
        if len(part.split()) <= _MAX_CLAUSE_WORDS:
            yield _read_clause(f"{lead_in} {part}")


def _has_figure(text: str) -> bool:
    """Whether a text has a number that is no year."""
    return not all(map(_YEAR.fullmatch, find_numbers(text)))


def _read_row(row: Sequence[tuple[str, str]]) -> Iterator[Clause]:
    """Yield a clause for each figure of a row: its column says what it measures."""
    has_figure = {cell: find_numbers(cell[1]) > find_numbers_in_names(cell[1]) for cell in row}
    label = " ".join(f"{name} {value}" for name, value in row if not has_figure[name, value])
    for name, value in row:
        if has_figure[name, value]:
            yield _read_clause(f"{label} {name} {value}")._replace(units=frozenset())


@lru_cache(maxsize=2_048)
def _read_clause(text: str) -> Clause:
    numbers = find_numbers(text) - find_numbers_in_names(text)
    years = frozenset(filter(_YEAR.fullmatch, numbers))  # when something holds, mostly
    numbers = numbers - years or numbers
    units = find_units(text)
    unit_words = {unit for _, unit in units}
    other_words = [
        word
        for word in words(normalize_numbers(text))
        if word not in STOP_WORDS and not word[0].isdigit() and word not in unit_words
    ]
    letters = _LETTER.findall(text)  # "Shift A" and "Shift B"
    own_stems = frozenset([*stems(" ".join(other_words)), *letters, *(years - numbers)])
    return Clause(numbers, frozenset(unit_words), own_stems)
