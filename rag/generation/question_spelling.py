"""Spelling of a question as in the passages: ``err07`` is ``ERR-07`` there, a typo its word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace

from rag.embedding import Embedder
from rag.generation.passages import Passage
from rag.query import Query
from rag.text.spellings import find_query_forms, find_written_forms
from rag.text.synonyms import is_synonym
from rag.text.tokenization import STOP_WORDS, stems, words
from rag.text.typos import find_nearest_words, max_typos
from rag.text.word_lists import MONTH_NUMBERS

_CAPITALIZED = re.compile(r"\b[^\W\d_a-zß-öø-ÿ]\w*")
_MAX_CORRECTED_WORDS = 5
_MIN_STEM_CHARACTERS = 3  # at the beginning, which words of one stem have in common
_MIN_NAME_CHARACTERS = 6  # a shorter name has others that differ in one letter


def respell_question(query: Query, passages: Sequence[Passage], embedder: Embedder) -> Query:
    """Return the query with the words that no passage has, as the passages spell them.

    Identifiers, numbers, months and dates are replaced by the spelling of the same, other words by
    the word of the passages that differs in one letter. A word that is one token for `embedder` is
    a common word and no typo.
    """
    texts = ["\n".join([p.document_name, *dict.fromkeys(p.labels), p.text]) for p in passages]
    known_words = set().union(*map(words, texts)) if texts else set()
    unknown = [
        word
        for word in dict.fromkeys(words(query.text))
        if word not in known_words and word not in STOP_WORDS
    ]
    if not unknown:
        return query
    beginnings = {word[:_MIN_STEM_CHARACTERS] for word in unknown}
    similar_words = [w for w in known_words if w[:_MIN_STEM_CHARACTERS] in beginnings]
    known_stems = set(stems("\n".join(similar_words)))
    unknown = [word for word in unknown if known_stems.isdisjoint(stems(word))]
    text = _replace_months(query.text, unknown, known_words)
    text = _replace_forms(text, unknown, texts)
    text = _replace_typos(text, unknown[:_MAX_CORRECTED_WORDS], texts, embedder)
    return query if text == query.text else replace(query, text=text)


def _replace_months(question: str, unknown: Sequence[str], known_words: Set[str]) -> str:
    """Replace unknown names of months by another name of the same: Nov by November."""
    known_months = sorted(known_words & MONTH_NUMBERS.keys())
    for word in unknown:
        names = [name for name in known_months if MONTH_NUMBERS[name] == MONTH_NUMBERS.get(word)]
        if names:
            best = max(names, key=len)
            question = re.sub(rf"\b{re.escape(word)}\b", best.capitalize(), question, flags=re.I)
    return question


def _replace_forms(question: str, unknown: Sequence[str], texts: Sequence[str]) -> str:
    """Replace identifiers, numbers and dates with unknown words by their spelling in a text."""
    if not unknown or not any(map(str.isdigit, question)):
        return question
    unknown_words = set(unknown)
    spans = [
        span
        for span in find_query_forms(question)
        if not unknown_words.isdisjoint(span.words) and any(map(str.isdigit, "".join(span.forms)))
    ]
    if not spans:
        return question
    written: dict[str, str] = {}
    for text in texts:
        for form in find_written_forms(text):
            written.setdefault(form.text, text[form.start : form.end])
    replaced: list[tuple[int, int, str]] = []
    replaced_characters: set[int] = set()
    for span in spans:
        spelling = next((written[form] for form in span.forms if form in written), None)
        characters = range(span.start, span.end)
        if spelling and replaced_characters.isdisjoint(characters):
            replaced.append((span.start, span.end, spelling))
            replaced_characters.update(characters)
    for start, end, spelling in sorted(replaced, reverse=True):
        question = f"{question[:start]}{spelling}{question[end:]}"
    return question


def _replace_typos(
    question: str, unknown: Sequence[str], texts: Sequence[str], embedder: Embedder
) -> str:
    present = set(words(question))
    names = {word.lower() for word in _CAPITALIZED.findall(question)}
    typos = [
        word
        for word in unknown
        if word in present and max_typos(word) and not is_synonym(word)
        if word not in names or len(word) >= _MIN_NAME_CHARACTERS
    ]
    typos = [
        word
        for word, tokens in zip(typos, embedder.count_tokens(typos), strict=True)
        if tokens > 1
    ]  # fmt: skip
    if not typos:
        return question
    counts: Counter[str] = Counter(word for text in texts for word in words(text))
    for typo in typos:
        # With another first letter or two changes, it is often another word: "decreased" would be
        # "increased", and "automation" "automatic".
        nearest = [w for w in find_nearest_words(typo, counts, 1) if w[:1] == typo[:1]]
        best = max(sorted(nearest), key=lambda word: counts[word], default="")
        if best:
            word = re.compile(rf"\b{re.escape(typo)}\b", re.IGNORECASE)
            question = word.sub(_find_spelling(best, texts), question)
    return question


def _find_spelling(word: str, texts: Sequence[str]) -> str:
    """Return a word as it is spelled within a sentence; the first word of one has a capital."""
    pattern = re.compile(rf"(?<![.!?:\n]\s)(?<!\n)(?<!^)\b{re.escape(word)}\b", re.IGNORECASE)
    return next((match.group() for text in texts if (match := pattern.search(text))), word)
