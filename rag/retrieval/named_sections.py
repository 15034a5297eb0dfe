"""Which sections a question names: how much of a heading is in the question.

"What were the total assets, as shown in the balance sheet?" names the section "Consolidated
Balance Sheets". A heading of which the question has only one word tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rag.text.synonyms import find_synonymous_words
from rag.text.tokenization import STOP_WORDS, index_stems, words

if TYPE_CHECKING:
    from rag.index import Index

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
    languages = tuple(index.lexical.languages() or [""])
    question_stems = {stem for word in _stem_words(question, languages) for stem in word[1]}
    distinct = {heading for path in headings_by_row.values() for heading in path[-_LEVELS:]}
    scores = {
        heading: _score_heading(heading, question, question_stems, languages, index)
        for heading in distinct
    }
    by_row = {
        row: max((scores[heading] for heading in path[-_LEVELS:]), default=0.0)
        for row, path in headings_by_row.items()
    }
    return {row: score for row, score in by_row.items() if score}


def _score_heading(
    heading: str,
    question: str,
    question_stems: Iterable[str],
    languages: tuple[str, ...],
    index: Index,
) -> float:
    heading_words = _stem_words(heading, languages)
    if not _MIN_WORDS <= len(heading_words) <= _MAX_HEADING_WORDS:
        return 0.0
    synonymous = find_synonymous_words(heading, question)
    total = covered = 0.0
    covered_words = 0
    for word, word_stems in heading_words:
        idf = max(map(index.lexical.inverse_document_frequency, word_stems), default=0.0)
        total += idf
        if word in synonymous or not word_stems.isdisjoint(question_stems):
            covered += idf
            covered_words += 1
    return covered / total if total and covered_words >= _MIN_WORDS else 0.0


@lru_cache(maxsize=16_384)
def _stem_words(text: str, languages: tuple[str, ...]) -> tuple[tuple[str, frozenset[str]], ...]:
    """Return the words of a text but stop words, each with its stems in the languages."""
    stemmed = [index_stems(text, language) for language in languages]
    if any(len(stems) != len(stemmed[0]) for stems in stemmed):
        return ()
    return tuple(
        (word, frozenset(forms))
        for word, *forms in zip(words(text), *stemmed, strict=False)
        if word not in STOP_WORDS
    )
