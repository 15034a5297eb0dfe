"""Compound sentences: "The case is grey and the lid is blue" does not say that the lid is grey."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from rag.text.function_words import find_stop_words
from rag.text.tokenization import stems, words
from rag.verification.rows import split_row

_MIN_STEMS, _MAX_STEMS = 2, 9  # of a clause, and of a claim
_MAX_CLAIM_CHARACTERS = 200
_CONJUNCTION = re.compile(
    r"(?P<semicolon>;)\s"
    r"|,?\s(?:and|but|while|whereas|und|aber|während|et|mais|tandis que|y|pero)\s",
    re.IGNORECASE,
)
_VERBS = frozenset(
    """is are was were has have had will can may must shall does did costs cost takes needs
    ist sind war waren hat haben hatte wird werden kann können muss müssen darf kostet
    est sont ont était es son está tiene""".split()
)
_PREPOSITIONS = frozenset("in on at by for from until with bis von für mit zum im am um".split())
_NAMED_SUBJECT = re.compile(
    r"(?:(?:Mr|Ms|Mrs|Miss|Dr|Herr|Frau|Mme)\.?\s[A-ZÄÖÜ][\w-]+|[A-ZÄÖÜ][\w-]+\s[A-ZÄÖÜ][\w-]+)"
    r"\s[a-zäöü]+(?:s|ed|t|te)\b"
)
_LETTER = re.compile(r"(?<=[\w,] )[B-HJ-Z]\b(?!['’]|\.\s?[A-Z])")


def exchanges_clauses(claim: str, sentences: Sequence[str]) -> bool:
    """Whether a claim joins a part of one clause with a part of another clause of a sentence.

    The clauses are complete: each has a subject and a verb, which the second one may leave out. The
    claim has only words of theirs,
    some and not all of those that only one of them has, and no other sentence has them all.
    """
    if len(claim) > _MAX_CLAIM_CHARACTERS or _CONJUNCTION.search(claim):
        return False
    claim_stems = _list_stems(claim)
    if not _MIN_STEMS <= len(claim_stems) <= _MAX_STEMS:
        return False
    is_exchanged = any(
        claim_stems <= first | second
        and _has_part(claim_stems, first - second)
        and _has_part(claim_stems, second - first)
        for sentence in sentences
        for first, second in _list_clauses(sentence)
    )
    return is_exchanged and not any(
        claim_stems <= _list_stems(sentence)
        for sentence in sentences
        if not _list_clauses(sentence)
    )


def _have_same_preposition(first: str, second_words: Sequence[str]) -> bool:
    """Whether a clause without a verb is like the first one: "..., and the chimney in May"."""
    return not _PREPOSITIONS.isdisjoint(set(words(first)).intersection(second_words[1:]))


def _has_part(claim_stems: frozenset[str], own_stems: frozenset[str]) -> bool:
    return bool(own_stems & claim_stems) and bool(own_stems - claim_stems)


@lru_cache(maxsize=1_024)
def _list_clauses(sentence: str) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    return tuple(_iterate_clauses(sentence))


def _iterate_clauses(sentence: str) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Yield the stems of each two complete clauses that a conjunction joins."""
    breaks = [] if split_row(sentence) else list(_CONJUNCTION.finditer(sentence))
    starts = [0, *(match.end() for match in breaks)]
    ends = [*(match.start() for match in breaks), len(sentence)]
    parts = [sentence[start:end] for start, end in zip(starts, ends, strict=True)]
    for (first, second), conjunction in zip(pairwise(parts), breaks, strict=True):
        first_stems, second_stems = _list_stems(first), _list_stems(second)
        subject, *others = words(second) or [""]
        is_complete = subject not in _VERBS and (
            bool(conjunction["semicolon"])
            or not _VERBS.isdisjoint(others)
            or _NAMED_SUBJECT.match(second) is not None
            or not first_stems.isdisjoint(second_stems)
            or (conjunction.group().startswith(",") and _have_same_preposition(first, others))
        )
        if is_complete and all(
            _MIN_STEMS <= len(own) <= _MAX_STEMS for own in (first_stems, second_stems)
        ):
            yield first_stems, second_stems


@lru_cache(maxsize=2_048)
def _list_stems(text: str) -> frozenset[str]:
    """Return the stems of a text without stop words, with single letters that are names."""
    stop_words = find_stop_words(text)
    content = [word for word in words(text) if word not in stop_words]
    return frozenset([*stems(" ".join(content)), *_LETTER.findall(text)])
