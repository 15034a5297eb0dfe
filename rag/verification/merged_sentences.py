"""Merged sentences: a claim about one name with what the passage says of another one.

"The Dublin office opened in 2015. The Cork office has 70 employees." does not say that the Dublin
office has 70 employees.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.text.function_words import find_function_words
from rag.text.tokenization import STOP_WORDS
from rag.text.word_lists import MONTH_NUMBERS

if TYPE_CHECKING:
    from rag.verification.text_facts import TextFacts

_START = re.compile(r"\W{0,5}(?:(?:The|Our|A|An|Mr|Ms|Mrs|Dr)\b\.?\s)?")
_SUBJECT = re.compile(r"[A-Z][\w-]{0,40}(?:\s[A-Z][\w-]{0,40}){0,2}(?=\s[a-z])")
_CAPITAL = re.compile(r"[A-Z][\w-]*")
_WEEKDAYS = frozenset("monday tuesday wednesday thursday friday saturday sunday".split())
_MAX_SENTENCES = 40
_MIN_FOREIGN_STEMS = 2  # that only the sentences about another name have; one if it is a number


def joins_sentences_about_others(claim: TextFacts, sentences: Sequence[TextFacts]) -> bool:
    """Whether a claim about a name has words that only sentences about other names have.

    Where all nouns have capitals, names are not known.
    """
    if not 2 <= len(sentences) <= _MAX_SENTENCES or not claim.names:
        return False
    if find_function_words(claim.text).has_capitalized_nouns:
        return False
    subjects = [_find_subject(sentence.text) for sentence in sentences]
    subject = _find_subject(claim.text)
    if not subject or subject not in subjects:
        return False
    about_others = [
        sentence
        for sentence, its_subject in zip(sentences, subjects, strict=True)
        if its_subject and not its_subject & claim.all_words and not subject & sentence.all_words
    ]
    if not about_others:
        return False
    known_stems = {
        stem
        for sentence in sentences
        if sentence not in about_others
        for stem in sentence.stem_weights
    }
    foreign_stems = [
        stem
        for stem in claim.stem_weights
        if stem not in known_stems and any(stem in s.stem_weights for s in about_others)
    ]
    return len(foreign_stems) >= _MIN_FOREIGN_STEMS or any(
        stem in claim.counting_numbers for stem in foreign_stems
    )


def _find_subject(sentence: str) -> frozenset[str]:
    """Return the words of the name at the beginning of a sentence, in lower case; else nothing."""
    start = _START.match(sentence)
    match = _SUBJECT.match(sentence, start.end() if start else 0)
    names = set(map(str.lower, _CAPITAL.findall(match.group()))) if match else set()
    return frozenset(names - STOP_WORDS - MONTH_NUMBERS.keys() - _WEEKDAYS)
