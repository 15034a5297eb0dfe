"""Text facts: the words, numbers, names, units and negation of claims and passages.

They are extracted once per text and cached, because every sentence of an answer is compared with
the same passages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from functools import cached_property, lru_cache
from typing import NamedTuple

from rag.text.sentences import sentence_spans
from rag.text.tokenization import STOP_WORDS, content_stems, words
from rag.verification.number_normalization import (
    NUMBER_STEMS,
    NUMBER_WORDS,
    find_numbers,
    find_numbers_in_names,
    find_units,
    normalize_number,
    normalize_numbers,
)
from rag.verification.rows import split_row

_MAX_PASSAGE_SENTENCES = 400  # later sentences count only as part of the passage
_MAX_WEIGHTED_CHARACTERS = 8  # of a stem; longer stems weigh no more

_TOKEN = re.compile(r"\w+(?:(?<=\d)[.,:/](?=\d)\w+)*+")
_NAME = re.compile(r"(?<![^\W_])[^\W\d_a-z][\w-]*\w")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|unable|hardly|"
    r"fail(?:s|ed)?|den(?:y|ies|ied)|refuse[sd]?|lack(?:s|ed)?|"
    r"nicht|kein\w*|nie(?:mals)?|ohne|jamais|aucune?|sans|ne|n'\w+|nunca|ningun\w*|niet|geen|"
    r"не|нет|без)\b|n['’]t\b|ません|ない|なかった|没有|不",
    re.IGNORECASE,
)


def shared_words(claim: str, texts: Sequence[str]) -> tuple[dict[str, float], list[Set[str]]]:
    """Return the weights of a claim's words, and for each text the claim's words that it has.

    The weights sum to 1. This is fast, and serves to select what a verifier compares.
    """
    weights = _weigh_stems(claim)
    total = sum(weights.values())
    return {stem: weight / total for stem, weight in weights.items()}, [
        weights.keys() & _normalize_stems(text) for text in texts
    ]


def is_repetition(claim: str, text: str) -> bool:
    """Whether a text is the claim word for word; a full stop at its end may be missing."""
    claim_words, text_words = (each.rstrip(" .").split() for each in (claim, text))
    return claim_words == text_words


class TextFacts:
    """The facts that must agree between a claim and a passage; each is computed on first use.

    `texts` are a claim, or the sentences of a passage; `parts` the facts of each sentence, if they
    are already known.
    """

    def __init__(self, *texts: str, parts: Sequence[TextFacts] = ()) -> None:
        self._texts = texts
        self._parts = parts

    @property
    def text(self) -> str:
        """The text; the sentences of a passage are joined."""
        return " ".join(self._texts)

    @cached_property
    def stem_weights(self) -> dict[str, float]:
        """The stems without stop words, with their weights: longer ones count more."""
        weights: dict[str, float] = {}
        if self._parts:
            for part in self._parts:
                weights.update(part.stem_weights)
        else:
            for text in self._texts:
                weights.update(_weigh_stems(text))
        return weights

    @cached_property
    def total_weight(self) -> float:
        """The sum of the stems' weights."""
        return sum(self.stem_weights.values())

    @cached_property
    def all_words(self) -> frozenset[str]:
        """The words in lower case, stop words included."""
        return frozenset(word for text in self._texts for word in words(text))

    @cached_property
    def numbers(self) -> frozenset[str]:
        """The normalized numbers, number words included."""
        return frozenset(number for text in self._texts for number in find_numbers(text))

    @cached_property
    def counting_numbers(self) -> frozenset[str]:
        """The numbers that count something: not those that are part of a name (COVID-19)."""
        return self.numbers - {
            number for text in self._texts for number in find_numbers_in_names(text)
        }

    @cached_property
    def names(self) -> frozenset[str]:
        """The words of names: capitalized words that do not begin a sentence."""
        names: set[str] = set()
        for text in self._texts:
            first_word = re.match(r"\W*(\w+)", text)
            sentence_beginnings = {first_word.group(1).lower()} if first_word else set()
            names |= {name.lower() for name in _NAME.findall(text)} - sentence_beginnings
        name_words = frozenset(part for name in names - STOP_WORDS for part in words(name))
        # Unicode normalization can join a name with the characters before it into another word.
        return name_words & self.all_words if name_words else name_words

    @cached_property
    def tokens(self) -> list[str]:
        """The words in order, with normalized numbers."""
        return [_normalize_token(word) for text in self._texts for word in _split_tokens(text)]

    @cached_property
    def numbers_and_capitals(self) -> dict[str, bool]:
        """The tokens that are numbers (True) or begin with a capital (False), no stop words.

        A single capital letter names something: "model D".
        """
        is_number: dict[str, bool] = {}
        for text in self._texts:
            for i, word in enumerate(_split_tokens(text)):
                token = _normalize_token(word)
                is_letter = i > 0 and len(word) == 1 and word.isupper() and word != "I"
                if (token not in STOP_WORDS or is_letter) and (
                    token[0].isdigit() or word[0].isupper()
                ):
                    is_number[token] = token[0].isdigit()
        return is_number

    @cached_property
    def units(self) -> dict[str, set[str]]:
        """The units that follow each number."""
        units: dict[str, set[str]] = {}
        for text in self._texts:
            for number, unit in find_units(text):
                units.setdefault(number, set()).add(unit)
        return units

    @cached_property
    def is_negated(self) -> bool:
        """Whether the text has a word that negates."""
        return any(_NEGATION.search(text) for text in self._texts)

    def share_of(self, claim: TextFacts) -> float:
        """Return the share of a claim's words (0..1, by weight) that this text has."""
        weights = claim.stem_weights
        shared = weights.keys() & self.stem_weights.keys()
        return sum(map(weights.__getitem__, shared)) / claim.total_weight


class PassageFacts(NamedTuple):
    """The facts of a passage (`combined`) and of each of its sentences."""

    combined: TextFacts
    sentences: tuple[TextFacts, ...]


@lru_cache(maxsize=4_096)
def get_text_facts(text: str) -> TextFacts:
    """Return the facts of a claim or a sentence."""
    return TextFacts(text)


@lru_cache(maxsize=1_024)
def get_passage_facts(text: str) -> PassageFacts:
    """Return the facts of a passage and of its first 400 sentences."""
    passage_sentences = split_passage(text)
    facts = tuple(get_text_facts(sentence) for sentence in passage_sentences)
    if 0 < len(passage_sentences) < _MAX_PASSAGE_SENTENCES:
        return PassageFacts(TextFacts(*passage_sentences, parts=facts), facts)
    return PassageFacts(get_text_facts(text), facts)


@lru_cache(maxsize=1_024)
def split_passage(text: str) -> tuple[str, ...]:
    """Return the first 400 sentences of a passage; a row of a table is one."""
    lines = text.split("\n")
    if "; " in text and all(map(split_row, lines)):
        return tuple(lines[:_MAX_PASSAGE_SENTENCES])
    return tuple(text[start:end] for start, end in sentence_spans(text)[:_MAX_PASSAGE_SENTENCES])


def _weigh_stems(text: str) -> dict[str, float]:
    return {
        stem: float(min(len(stem), _MAX_WEIGHTED_CHARACTERS)) for stem in _normalize_stems(text)
    }


@lru_cache(maxsize=8_192)
def _normalize_stems(text: str) -> frozenset[str]:
    return frozenset(
        NUMBER_STEMS.get(stem, stem) for stem in content_stems(normalize_numbers(text))
    )


@lru_cache(maxsize=8_192)
def _split_tokens(text: str) -> tuple[str, ...]:
    # Python's `re` does not know the newest letters of Unicode, which `words` finds.
    return tuple(_TOKEN.findall(normalize_numbers(text)) or words(text))


def _normalize_token(word: str) -> str:
    if word.isalpha():
        word = word.lower()
        return NUMBER_WORDS.get(word, word)
    return normalize_number(word) if word[0].isdigit() else word.lower()
