"""Typos: the words for which a misspelt word may stand, by Damerau-Levenshtein distance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

_MIN_TYPO_CHARACTERS = 4  # a shorter word has too many neighbours
_TWO_TYPOS_CHARACTERS = 8
_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
    "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώ",
)


def max_typos(word: str) -> int:
    """Return the edit distance at which another word may be meant: 0, 1, or 2 for a long word."""
    if len(word) < _MIN_TYPO_CHARACTERS or not word.isalpha():
        return 0
    return 2 if len(word) >= _TWO_TYPOS_CHARACTERS else 1


@lru_cache(maxsize=512)
def list_edits(word: str) -> tuple[str, ...]:
    """Return all words at a Damerau-Levenshtein distance of 1 from `word`."""
    alphabet = next((a for a in _ALPHABETS if not set(a).isdisjoint(word)), "")
    splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    edits = [a + b[1:] for a, b in splits if b]
    edits += [a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1]
    edits += [a + c + b[1:] for a, b in splits if b for c in alphabet]
    edits += [a + c + b for a, b in splits for c in alphabet]
    return tuple(dict.fromkeys(edit for edit in edits if edit != word))


def find_nearest_words(word: str, candidates: Iterable[str], distance: int) -> list[str]:
    """Return those of `candidates` that are nearest to `word`, at a distance of at most that."""
    from rapidfuzz.distance import OSA
    from rapidfuzz.process import extract

    matches = extract(
        word, list(candidates), scorer=OSA.distance, score_cutoff=distance, limit=None
    )
    nearest = min((changes for _, changes, _ in matches), default=0)
    return [match for match, changes, _ in matches if changes == nearest]


def find_words_with_two_typos(word: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Return the words in `counts` that are nearest to `word`, at a distance of 2 at most."""
    return {match: counts[match] for match in find_nearest_words(word, counts, 2)}
