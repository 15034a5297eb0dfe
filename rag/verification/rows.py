"""Rows of tables in premises: "Name: Ann Lee; Role: Head of sales; Phone: 4411"."""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import lru_cache

from rag.text.tokenization import STOP_WORDS, content_stems, words

_MIN_CELLS = 2
_MIN_VALUE_WORDS = 2
_NO = frozenset("no none nein non false n".split())
_YES = frozenset("yes ja oui sí true y".split())
_MIN_FOREIGN_WORDS = 2
_MAX_CODE_CHARACTERS = 6


@lru_cache(maxsize=1_024)
def split_row(sentence: str) -> tuple[tuple[str, str], ...]:
    """Return the names and values of a row; nothing for another sentence."""
    cells = [cell.rpartition(": ") for cell in sentence.split("; ")]
    if len(cells) < _MIN_CELLS or not all(separator for _, separator, _ in cells):
        return ()
    return tuple((before.rpartition(": ")[2], value) for before, _, value in cells)


def replaces_value(claim: str, row: Sequence[tuple[str, str]]) -> bool:
    """Whether a claim has a value of the row in which one word is another one.

    "Head of marketing" replaces "head of sales". The first value, which says what the row is about,
    may be shortened.
    """
    claim_words = words(claim)
    row_words = {word for cell in row for text in cell for word in words(text)}
    return any(
        _differs_in_one_word(claim_words[i : i + len(value_words)], value_words, row_words)
        for _, value in row[1:]
        if len(value_words := words(value)) >= _MIN_VALUE_WORDS
        for i in range(len(claim_words) - len(value_words) + 1)
    )


def has_other_code(claim: str, row_words: Set[str]) -> bool:
    """Whether a claim has a code of a letter and digits, such as a shelf C4, that no cell has."""
    return any(
        any(map(str.isdigit, word)) and any(map(str.isalpha, word)) and word not in row_words
        for word in words(claim)
        if len(word) <= _MAX_CODE_CHARACTERS
    )


def denies_cell(claim_stems: Set[str], row: Sequence[tuple[str, str]], *, is_negated: bool) -> bool:
    """Whether a claim says the opposite of a cell with yes or no whose column it names."""
    return any(
        (value.strip().lower() in _NO) != is_negated
        for name, value in row
        if value.strip().lower() in _NO | _YES and set(content_stems(name)) <= claim_stems
    )


def is_about_another_row(
    claim_stems: Set[str], known_stems: Set[str], row: Sequence[tuple[str, str]]
) -> bool:
    """Whether a claim has nothing of the first value of a row, which says what the row is about.

    It must have several words that are neither in the row nor in its headings, the `known_stems`.
    """
    from rag.verification.labelled_values import names_what_is_measured

    if not row:
        return False
    label_stems = set(content_stems(row[0][1]))
    foreign_stems = [
        stem
        for stem in claim_stems - known_stems
        if not stem[0].isdigit() and not names_what_is_measured(stem)
    ]
    return (
        bool(label_stems)
        and label_stems.isdisjoint(claim_stems)
        and len(foreign_stems) >= _MIN_FOREIGN_WORDS
    )


def _differs_in_one_word(
    claim_words: Sequence[str], value_words: Sequence[str], row_words: Set[str]
) -> bool:
    different = [(a, b) for a, b in zip(claim_words, value_words, strict=True) if a != b]
    if len(different) != 1:
        return False
    ((new, old),) = different
    return STOP_WORDS.isdisjoint((new, old)) and new not in row_words
