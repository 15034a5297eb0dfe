"""The verifier that is always there: words, numbers, names, negation, and static vectors."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence, Set
from functools import cached_property, lru_cache
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from rag.embedding import Embedder, StaticEmbedder
from rag.text import sentences
from rag.verification.base import Verifier
from rag.words import STOP_WORDS, content_stems, stems, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WINDOW = 3  # sentences in a row
_MOSTLY = 0.7  # share of a claim's words in a sentence that negates it
_HALF = 0.5  # ... and in one that says what the claim negates
_BESIDE = 0.5  # share of the other words, of the best sentence's, beside a claim's number
_MOST_SENTENCES = 400  # of a passage; what lies behind counts with the passage as a whole

_NUMBER = re.compile(r"(?:(?<![\w.)\]-])-)?\d+(?:[.,:/]\d+)*")
# Not "one", which is a pronoun more often than a number.
_NUMBER_WORDS = {
    word: str(number)
    for words_ in (
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty",
        "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
        "deux trois quatre cinq six - huit - dix - douze",
        "dos tres cuatro cinco seis siete ocho nueve diez - doce",
    )
    for number, word in enumerate(words_.split(), start=2)
    if word != "-"  # a word of another language as well, or of two meanings
} | {
    word: str(10 * number)
    for number, word in enumerate("thirty forty fifty sixty seventy eighty ninety".split(), start=3)
}
_NUMBER_STEMS = {stems(word)[0]: number for word, number in _NUMBER_WORDS.items()}
_WRITTEN = re.compile(r"\d|illion|thousand", re.IGNORECASE)
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED = re.compile(
    rf"(?<![\w,.])(\d[\d,]*+|{'|'.join(_NUMBER_WORDS)})(?:\.(\d++))?[ -]"
    rf"({'|'.join(_SCALES)})\b",
    re.IGNORECASE,
)
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_ISO_DATE = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\b")
_NAME = re.compile(r"(?<![^\W_])[^\W\d_a-z][\w-]*\w")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|unable|hardly|"
    r"fail(?:s|ed)?|den(?:y|ies|ied)|refuse[sd]?|lack(?:s|ed)?|"
    r"nicht|kein\w*|nie(?:mals)?|ohne|jamais|aucune?|sans|ne|n'\w+|nunca|ningun\w*|niet|geen|"
    r"не|нет|без)\b|n['’]t\b|ません|ない|なかった|没有|不",
    re.IGNORECASE,
)
# A number of one thing is not that of another.
_UNITS = {
    form: unit
    for unit, forms in {
        "year": "year years yr yrs jahr jahre jahren",
        "month": "month months monat monate monaten",
        "week": "week weeks woche wochen",
        "day": "day days tag tage tagen",
        "hour": "hour hours hr hrs h stunde stunden",
        "minute": "minute minutes min mins minuten",
        "second": "second seconds sec secs s sekunde sekunden",
        "m": "m metre metres meter meters",
        "km": "km kilometre kilometres kilometer kilometers",
        "cm": "cm",
        "mm": "mm",
        "kg": "kg kilogram kilograms kilogramm",
        "g": "g gram grams gramm",
        "l": "l litre litres liter liters",
        "ml": "ml",
        "%": "% percent prozent",
        "dollar": "dollar dollars usd",
        "euro": "euro euros eur €",
    }.items()
    for form in forms.split()
}
_MEASURE = re.compile(r"(?<![\w.,])(\d++(?:[.,]\d++)*+)[ -]?([^\W\d]++|%|€)")


class LexicalVerifier(Verifier):
    """Share of a claim's words that the passage has, and how alike their vectors are.

    Longer words count more, as they are rarer (inverse document frequencies of a large collection
    do no better: ``docs/decisions.md``). Half of that share is of the whole passage, half of the
    best three sentences in a row; the cosine to the nearest sentence counts ``similarity`` beside
    it. What must agree multiplies the support where it does not: numbers and dates
    (``wrong_number``), names (``missing_name``), and whether the nearest sentence negates
    (``negation``, or ``contradiction`` where it is clearly that which the claim says). These are
    rules, not understanding: a claim in which one content word is wrong may pass, paraphrase in
    quite other words does not, nor does another language.

    Both thresholds are those with the best mean balanced accuracy against people's judgements in
    the sets that ``calibrated_on`` names (``python benchmarks/verification.py``).
    """

    name: ClassVar[str] = "lexical"
    revision: ClassVar[int] = 2
    shortlist: ClassVar[int] = 8
    by_words: ClassVar[bool] = True

    threshold: float = Field(0.55, ge=0, le=1)
    partial: float = Field(0.45, ge=0, le=1)
    calibrated_on: str = "AttributionBench, WiCE and LFQA (development sets)"
    similarity: float = Field(0.3, ge=0, le=1)
    wrong_number: float = Field(0.4, ge=0, le=1)
    missing_name: float = Field(0.7, ge=0, le=1)
    negation: float = Field(0.85, ge=0, le=1)
    contradiction: float = Field(0.4, ge=0, le=1)
    embedder: Embedder = StaticEmbedder()

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """See `Verifier.scores`. A claim without a word is supported by nothing."""
        import numpy as np

        cosines = self._cosines(pairs) if self.similarity else [None] * len(pairs)
        found = [
            self._score(_facts(claim), _passage(passage), cosine)
            for (claim, passage), cosine in zip(pairs, cosines, strict=True)
        ]
        return np.array(found, dtype=np.float32)

    def _score(self, claim: _Facts, passage: _Passage, cosine: float | None) -> float:
        if not claim.words:
            return 0.0
        share, closest = _shares(claim, passage)
        score = share
        if cosine is not None:
            score = (1 - self.similarity) * share + self.similarity * max(0.0, cosine)
        if claim.numbers and not _numbers_agree(claim, passage):
            score *= self.wrong_number
        if claim.names and claim.names - passage.whole.all_words:
            score *= self.missing_name
        if claim.negated != closest.negated:
            clear = closest.share_of(claim) >= (_HALF if claim.negated else _MOSTLY)
            clear = clear and (claim.negated or _is_same(claim, closest))
            score *= self.contradiction if clear else self.negation
        return min(1.0, score)

    def _cosines(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Cosine of each claim to the nearest sentence of its passage; None without vectors."""
        import numpy as np

        texts = dict.fromkeys(claim.strip() for claim, _ in pairs)
        for _, passage in pairs:
            texts.update(dict.fromkeys(_sentences(passage)))
        vectors = _vectors(self.embedder, list(texts))
        out: list[float | None] = []
        for claim, passage in pairs:
            own = vectors[claim.strip()]
            rows = [vectors[sentence] for sentence in _sentences(passage)]
            out.append(float((np.stack(rows) @ own).max()) if rows and own.any() else None)
        return out


_known: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()
_guard = Lock()
_MOST_KNOWN = 8_192


def _vectors(embedder: Embedder, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Unit vectors of texts; the same sentences are asked about for every claim of an answer."""
    import numpy as np

    name = embedder.fingerprint
    with _guard:
        found = {text: _known[name, text] for text in texts if (name, text) in _known}
    if missing := [text for text in texts if text not in found]:
        made = embedder.embed_documents(missing)
        if embedder.similarity != "cosine":
            made = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
        fresh = dict(zip(missing, made, strict=True))
        found |= fresh
        with _guard:
            _known.update({(name, text): vector for text, vector in fresh.items()})
            while len(_known) > _MOST_KNOWN:
                _known.popitem(last=False)
    return found


def shared_words(claim: str, texts: Sequence[str]) -> tuple[dict[str, float], list[Set[str]]]:
    """A claim's words with their weights, which sum to 1, and those of them that each text has.

    Quick, to choose what a verifier is to look at.
    """
    weights = {stem: float(min(len(stem), 8)) for stem in _stems(claim)}
    total = sum(weights.values())
    return {stem: weight / total for stem, weight in weights.items()}, [
        weights.keys() & _stems(text) for text in texts
    ]


@lru_cache(maxsize=8_192)
def _stems(text: str) -> frozenset[str]:
    return frozenset(_NUMBER_STEMS.get(stem, stem) for stem in content_stems(_plain(text)))


class _Facts:
    """What must agree between a claim and a passage; each part is looked up when first needed."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts  # the sentences of a passage, or a claim

    @cached_property
    def words(self) -> dict[str, float]:
        """Stems, with their weights."""
        return {stem: float(min(len(stem), 8)) for text in self._texts for stem in _stems(text)}

    @cached_property
    def total(self) -> float:
        return sum(self.words.values())

    @cached_property
    def all_words(self) -> frozenset[str]:
        return frozenset(word for text in self._texts for word in words(text))

    @cached_property
    def numbers(self) -> frozenset[str]:
        found: set[str] = set()
        for text in map(_plain, self._texts):
            found |= {_plain_number(number) for number in _NUMBER.findall(text)}
            found |= {_NUMBER_WORDS[word] for word in words(text) if word in _NUMBER_WORDS}
        return frozenset(found)

    @cached_property
    def names(self) -> frozenset[str]:
        found: set[str] = set()
        for text in self._texts:
            first = re.match(r"\W*(\w+)", text)
            begins = {first.group(1).lower()} if first else set()
            found |= {name.lower() for name in _NAME.findall(text)} - begins
        return frozenset(part for name in found - STOP_WORDS for part in words(name))

    @cached_property
    def units(self) -> dict[str, set[str]]:
        """Units that stand behind each number."""
        found: dict[str, set[str]] = {}
        for text in map(_plain, self._texts):
            pairs = [(_plain_number(number), unit) for number, unit in _MEASURE.findall(text)]
            pairs += [(_NUMBER_WORDS.get(one, ""), other) for one, other in pairwise(words(text))]
            for number, unit in pairs:
                if number and (known := _UNITS.get(unit.lower())):
                    found.setdefault(number, set()).add(known)
        return found

    @cached_property
    def negated(self) -> bool:
        return any(_NEGATION.search(text) for text in self._texts)

    def share_of(self, claim: _Facts) -> float:
        """Share of a claim's words that this has."""
        own = self.words
        return sum(weight for word, weight in claim.words.items() if word in own) / claim.total


def _numbers_agree(claim: _Facts, passage: _Passage) -> bool:
    """Whether each number of the claim stands, with its unit, where its other words do."""
    if claim.numbers - passage.whole.numbers:
        return False
    if any(
        units.isdisjoint(other)
        for number, units in claim.units.items()
        if (other := passage.whole.units.get(number))
    ):
        return False
    if not 1 < len(passage.sentences) <= _WINDOW:
        return True
    weights = {word: w for word, w in claim.words.items() if word not in claim.numbers}
    shares = [
        sum(weight for word, weight in weights.items() if word in sentence.words)
        for sentence in passage.sentences
    ]
    return all(
        max(
            share
            for share, sentence in zip(shares, passage.sentences, strict=True)
            if number in sentence.numbers
        )
        >= _BESIDE * max(shares)
        for number in claim.numbers
    )


def _is_same(claim: _Facts, sentence: _Facts) -> bool:
    """Whether a sentence says hardly anything but what the claim does."""
    return len(sentence.words) <= 1.5 * len(claim.words) + 1


class _Passage(NamedTuple):
    whole: _Facts
    sentences: tuple[_Facts, ...]


def _shares(claim: _Facts, passage: _Passage) -> tuple[float, _Facts]:
    """Share of the claim's words in the passage, and the sentence that has most of them."""
    whole = passage.whole.share_of(claim)
    if len(passage.sentences) < 2:
        return whole, passage.whole
    each = [sentence.share_of(claim) for sentence in passage.sentences]
    closest = passage.sentences[max(range(len(each)), key=each.__getitem__)]
    if len(passage.sentences) <= _WINDOW:
        return whole, closest
    window = max(
        sum(
            weight
            for word, weight in claim.words.items()
            if any(word in sentence.words for sentence in passage.sentences[i : i + _WINDOW])
        )
        for i in range(len(passage.sentences) - _WINDOW + 1)
    )
    return (whole + window / claim.total) / 2, closest


@lru_cache(maxsize=4_096)  # the same passages are asked about for every sentence
def _facts(text: str) -> _Facts:
    return _Facts(text)


@lru_cache(maxsize=1_024)
def _passage(text: str) -> _Passage:
    each = _sentences(text)
    whole = _Facts(*each) if 0 < len(each) < _MOST_SENTENCES else _facts(text)
    return _Passage(whole, tuple(_facts(sentence) for sentence in each))


@lru_cache(maxsize=1_024)
def _sentences(text: str) -> tuple[str, ...]:
    return tuple(text[start:end] for start, end in sentences(text)[:_MOST_SENTENCES])


def _plain(text: str) -> str:
    """Numbers and dates in one form: 1,577 is 1577, 1.5 million 1500000, 2018-05-03 3 May 2018."""
    if not _WRITTEN.search(text):
        return text
    text = _SCALED.sub(_scaled, _GROUPED.sub("", text))
    return _ISO_DATE.sub(lambda date: f"{int(date[3])} {_MONTHS[int(date[2]) - 1]} {date[1]}", text)


def _scaled(number: re.Match[str]) -> str:
    whole, part, scale = number.groups()
    zeros = _SCALES[scale.lower()]
    if part and len(part) > zeros:
        return number.group()
    whole = _NUMBER_WORDS.get(whole.lower(), whole)
    return whole.replace(",", "") + (part or "").ljust(zeros, "0")


def _plain_number(number: str) -> str:
    """1577.00 and 1577 are the same number; 10:30, 1/2 and version 3.10 stay as they are."""
    if ":" in number or "/" in number:
        return number
    return re.sub(r"\.0+$", "", number)
