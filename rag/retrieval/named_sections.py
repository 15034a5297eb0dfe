"""Which sections a question names: how much of a heading is in the question.

"What were the total assets, as shown in the balance sheet?" names the section "Consolidated
Balance Sheets". A heading of which the question has only one word tells nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from rag.text.synonyms import find_synonymous_words
from rag.text.tokenization import STOP_WORDS, index_stems, words

if TYPE_CHECKING:
    from rag.index import Index
    from rag.stores.lexical_index import LexicalIndex

_LEVELS = 2  # of the path of headings above a chunk that are compared, from the last
_MIN_WORDS = 2  # of a heading in the question
_MAX_HEADING_WORDS = 30  # a longer one is a sentence


def score_sections(
    question: str, headings_by_row: Mapping[int, Sequence[str]], index: Index
) -> dict[int, float]:
    """Return how much of its heading the question has, from 0 to 1, by row; without zeros.

    `headings_by_row` has the headings above each chunk, from the top. Words count by their inverse
    document frequency, also if the question has a synonym of them.
    """
    lexical = index.lexical
    languages = tuple(lexical.languages() or [""])
    question_stems = frozenset[str]().union(*(w.stems for w in _list_words(question, languages)))
    scores: dict[str, float] = {}
    for heading in {heading for path in headings_by_row.values() for heading in path[-_LEVELS:]}:
        heading_words = _list_words(heading, languages)
        covered = [w for w in heading_words if not w.stems.isdisjoint(question_stems)]
        if len(covered) < len(heading_words) <= _MAX_HEADING_WORDS:
            synonyms = find_synonymous_words(heading, question)
            covered = [w for w in heading_words if w in covered or w.text in synonyms]
        if len(covered) >= _MIN_WORDS and len(heading_words) <= _MAX_HEADING_WORDS:
            scores[heading] = _weigh(covered, lexical) / (_weigh(heading_words, lexical) or 1.0)
    by_row = {
        row: max((scores.get(heading, 0.0) for heading in path[-_LEVELS:]), default=0.0)
        for row, path in headings_by_row.items()
    }
    return {row: score for row, score in by_row.items() if score}


def _weigh(heading_words: Sequence[_HeadingWord], lexical: LexicalIndex) -> float:
    """Return the sum of the inverse document frequencies of words."""
    return math.fsum(
        max(map(lexical.inverse_document_frequency, word.stems)) for word in heading_words
    )


class _HeadingWord(NamedTuple):
    """A word that is no stop word, and its stems in the languages of the index."""

    text: str
    stems: frozenset[str]


@lru_cache(maxsize=16_384)
def _list_words(text: str, languages: tuple[str, ...]) -> tuple[_HeadingWord, ...]:
    stemmed = [index_stems(text, language) for language in languages]
    if any(len(stems) != len(stemmed[0]) for stems in stemmed):
        return ()
    return tuple(
        _HeadingWord(word, frozenset(forms))
        for word, *forms in zip(words(text), *stemmed, strict=False)
        if word not in STOP_WORDS
    )
