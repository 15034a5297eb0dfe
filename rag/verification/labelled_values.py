"""Labelled values: "Team: 20 euros" is supported only by what gives the Team 20 euros.

An item of a list, a row and "For the Team plan, it is 20 euros" say little besides their figure, so
a verifier that compares words finds most of them beside another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from rag.embedding import StaticEmbedder
from rag.text.tokenization import STOP_WORDS, stems, words
from rag.verification.number_normalization import (
    find_numbers,
    find_numbers_in_names,
    spell_out_dates,
)

_MAX_LABEL_WORDS = 6
_MAX_CHARACTERS = 400
_MAX_WORDS = 14  # of a label and its value; a longer part says more than a figure
_SIMILAR = 0.3  # cosine of a label's word and a word that means nearly the same
_EMPHASIS = re.compile(r"[*_`]+")
_ITEM = r"\s*+(?:[-*•–]\s++|\d{1,3}[.)]\s++|\|\s*+)?"
_LABEL = r"(?P<label>[^\s:;|()–—][^:;|()\n–—]{0,80}?)"
_LABEL_FIRST = re.compile(
    rf"{_ITEM}{_LABEL}(?:\s[-–—](?=\s)|\s*+(?::(?!\d)|[–—]|\((?=[^)]*\d)|\||=))\s*+(?P<value>.+)",
    re.DOTALL,
)
_LABEL_AS_ADVERBIAL = re.compile(
    rf"{_ITEM}(?:for|with|in|at|on|under)\s++{_LABEL}(?:,\s*+|\s++(?=it\b|they\b))(?P<value>.+)",
    re.IGNORECASE | re.DOTALL,
)
_LABEL_LAST = re.compile(
    rf"{_ITEM}(?P<value>[^;:|\n]*?\d[^;:|\n]{{0,40}}?)\s++for\s++{_LABEL}\W*+$",
    re.IGNORECASE,
)
_PART = re.compile(r";\s+|\n|,\s+(?=[^,;:]{1,60}:\s)")
_POINTS_BACK = re.compile(r"\W*(?:it|its|they|their|this|these|he|she|his|her)\b", re.IGNORECASE)
_ATTRIBUTES = frozenset(
    stems(
        """answer result results total sum number amount count quantity value figure rate level
        price cost fee charge salary budget time date day deadline term duration period length
        width height depth size weight capacity range limit maximum minimum average temperature
        pressure speed power voltage frequency phone telephone fax mobile email contact number
        address extension  year age version
        status note source summary lead delivery shipping example hours opening open start end
        percentage percent share ratio score population area distance dose step item
        passage passages document documents text context article file page section table list
        fact addition general present conclusion short end case
        antwort ergebnis preis anzahl dauer termin telefon gesamt frist summe"""
    )
)
"""Nouns that name what a figure measures; another word before a figure says whose it is."""


class LabelledValue(NamedTuple):
    """Figures, and the words that say whose they are."""

    subject_words: tuple[str, ...]
    numbers: frozenset[str]


@lru_cache(maxsize=4_096)
def find_labelled_values(claim: str) -> tuple[LabelledValue, ...]:
    """Return the labelled values of a claim; a label that only names what is measured is none."""
    return tuple(
        LabelledValue(subject, numbers)
        for part in _PART.split(_EMPHASIS.sub("", claim))
        for label, value in _split_label(part)
        if (numbers := frozenset(find_numbers(value)) - find_numbers_in_names(value))
        and (subject := _find_subject_words(label))
    )


def gives_labelled_values(values: Sequence[LabelledValue], sentences: Sequence[str]) -> bool:
    """Whether the sentences of a passage give the figures that they have to their labels.

    A sentence with the figures must have the label, or words that are similar to it, in itself, in
    the headings before the first sentence ("Catalogue > H-120: ...") or, if it points back, in the
    sentence before it.
    """
    if not values:
        return True
    premises = _list_premises(sentences)
    return all(
        any(_has_subject(value.subject_words, premise) for premise in with_numbers)
        for value in values
        if (with_numbers := [p for p in premises if value.numbers <= find_numbers(p)])
    )


def names_what_is_measured(word: str) -> bool:
    """Whether a word says what a figure measures ("price"), not whose figure it is."""
    return not _ATTRIBUTES.isdisjoint(stems(word))


def _split_label(part: str) -> Iterator[tuple[str, str]]:
    if len(part) > _MAX_CHARACTERS or len(part.split()) > _MAX_WORDS:
        return
    for pattern in (_LABEL_FIRST, _LABEL_AS_ADVERBIAL, _LABEL_LAST):
        if match := pattern.match(part.strip()):
            label = match["label"]
            if len(label.split()) <= _MAX_LABEL_WORDS:
                yield label, match["value"]
            return


def _find_subject_words(label: str) -> tuple[str, ...]:
    """Return the words of a label that can name something; none if it names what is measured."""
    label_words = [w for w in words(label) if w not in STOP_WORDS and not w.isdigit()]
    return tuple(word for word in label_words if not names_what_is_measured(word))


def _list_premises(sentences: Sequence[str]) -> list[str]:
    """Return each sentence below its headings, after the sentence that it points back to."""
    headings, separator, _ = "".join(sentences[:1]).partition(": ")
    premises: list[str] = []
    for sentence in map(spell_out_dates, sentences):
        premise = f"{headings}: {sentence}" if separator and premises else sentence
        if premises and _POINTS_BACK.match(sentence):
            premise = f"{premises[-1]} {premise}"
        premises.append(premise)
    return premises


def _has_subject(subject_words: Sequence[str], premise: str) -> bool:
    """Whether a premise has more than half of a label's words, or similar ones."""
    premise_stems = set(stems(premise))
    missing = [word for word in subject_words if premise_stems.isdisjoint(stems(word))]
    if 2 * len(missing) < len(subject_words):
        return True
    known_words = [w for w in dict.fromkeys(words(premise)) if w not in STOP_WORDS and w.isalpha()]
    if not known_words:
        return False
    vectors = StaticEmbedder().embed_documents([*missing, *known_words])
    similar = (vectors[: len(missing)] @ vectors[len(missing) :].T).max(axis=1) >= _SIMILAR
    return 2 * int((~similar).sum()) < len(subject_words)
