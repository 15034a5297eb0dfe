"""The verifier that is always there: words, numbers, names, negation, and static vectors."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence, Set
from functools import cached_property, lru_cache
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from rag.embedding import Embedder, StaticEmbedder
from rag.text.sentences import sentence_spans
from rag.text.tokenization import STOP_WORDS, content_stems, stems, words
from rag.verification.base import Verifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WINDOW = 3  # sentences in a row
_MOSTLY = 0.7  # share of a claim's words in a sentence that negates it
_HALF = 0.5  # ... and in one that says what the claim negates
_BESIDE = 0.5  # share of the other words, of the best sentence's, beside a claim's number
_SAME = 0.85  # share of the words of either in the other from which two say the same
_WORD_FOR_WORD = 0.75  # share of a claim's words that stand in a sentence in the same order
_CONTENT, _FEWEST, _BRIEF = 3, 3, 12  # characters of a word, words of a claim
_AND = frozenset("and or und et y e".split())
_GAP = 4  # words that may stand in the place of a name
_LONGEST, _MOST_PLACES = 1_000, 50  # tokens of a claim, and places of each, that are compared
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
_BROKEN = re.compile(r"(?<![\w.,])\d{1,3}(?:, \d{3})+(?![\w.,]\d)")  # as tokenisers leave 3,800
_NAMED = re.compile(r"[^\W\d_]-?(\d+)")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_ISO_DATE = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\b")
_TOKEN = re.compile(r"\w+(?:(?<=\d)[.,:/](?=\d)\w+)*+")
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
    """How much of a claim the passage says in the claim's own words, and what in it disagrees.

    Three shares, each 0..1, are added by their weights:

    * the claim's words that the passage has (half of the share in the whole passage, half of that
      in the best three sentences in a row); longer words count more, as they are rarer (inverse
      document frequencies of a large collection do no better: ``docs/decisions.md``)
    * ``order``: how much of the claim is copied from those three sentences in long pieces, the sum
      of their squared lengths (extractive fragment density, Grusky et al. 2018, over the length)
    * ``similarity``: cosine of static vectors to the nearest sentence

    What must agree multiplies the support where it does not: numbers and dates (``wrong_number``),
    names (``missing_name``), and whether the nearest sentence negates (``negation``, or
    ``contradiction`` where it is clearly that which the claim says). ``swapped`` is for what says
    the same word for word, but of another name or number (in a short claim: of anything else), or
    denies it. These are rules, not understanding: what says something else in the words of the
    source may pass, paraphrase in quite other words does not, nor does another language. Where it
    fails, in numbers: ``docs/metrics.md``.

    The weights were chosen by the mean AUROC over nine sets of people's judgements, and confirmed
    on each set by weights chosen without it. Both thresholds are those with the best mean balanced
    accuracy in the sets that ``calibrated_on`` names (``python -m benchmarks.verification``).
    """

    name: ClassVar[str] = "lexical"
    revision: ClassVar[int] = 3
    shortlist: ClassVar[int] = 8
    by_words: ClassVar[bool] = True

    threshold: float = Field(0.4, ge=0, le=1)
    partial: float = Field(0.35, ge=0, le=1)
    calibrated_on: str = "AttributionBench, WiCE and LFQA (development sets)"
    order: float = Field(0.35, ge=0, le=1)
    similarity: float = Field(0.4, ge=0, le=1)
    wrong_number: float = Field(0.6, ge=0, le=1)
    missing_name: float = Field(0.95, ge=0, le=1)
    swapped: float = Field(0.35, ge=0, le=1)
    negation: float = Field(0.95, ge=0, le=1)
    contradiction: float = Field(0.6, ge=0, le=1)
    embedder: Embedder = StaticEmbedder()

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        if self.order + self.similarity > 1:
            raise ValueError("order and similarity are shares of one support: at most 1 together")
        return self

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
        nearest = _nearest(claim, passage)
        if not nearest.share:  # not a word in common
            return max(0.0, cosine or 0.0) * self.similarity
        similarity = self.similarity if cosine is not None else 0.0
        score = (1 - self.order - similarity) * nearest.share + similarity * max(0.0, cosine or 0.0)
        if self.order:
            score += self.order * _density(claim.tokens, nearest.tokens)
        score *= self._agreement(claim, passage, nearest)
        if claim.negated != nearest.sentence.negated:
            score *= self._denial(claim, nearest.sentence)
        return min(1.0, score)

    def _denial(self, claim: _Facts, sentence: _Facts) -> float:
        """By what the support is multiplied where one of the two negates."""
        share = sentence.share_of(claim)
        if share >= _SAME and sentence.total and claim.share_of(sentence) >= _SAME:
            return self.swapped
        clear = share >= (_HALF if claim.negated else _MOSTLY)
        clear = clear and (claim.negated or _is_same(claim, sentence))
        return self.contradiction if clear else self.negation

    def _agreement(self, claim: _Facts, passage: _Passage, nearest: _Nearest) -> float:
        """By what the support is multiplied for the claim's names and numbers."""
        wrong = bool(claim.claimed) and not _numbers_agree(claim, passage)
        if _is_swapped(claim, nearest.sentence, wrong):
            return self.swapped
        factor = self.wrong_number if wrong else 1.0
        if claim.names and claim.names - passage.whole.all_words:
            factor *= self.missing_name
        return factor

    def _cosines(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Cosine of each claim to the nearest sentence of its passage; None without vectors."""
        rows: dict[str, int] = {}
        for claim, passage in pairs:
            for text in (claim.strip(), *_sentences(passage)):
                rows.setdefault(text, len(rows))
        vectors = _vectors(self.embedder, list(rows))
        out: list[float | None] = []
        places: dict[str, list[int]] = {}
        for claim, passage in pairs:
            own = vectors[rows[claim.strip()]]
            if (of := places.get(passage)) is None:
                of = places[passage] = [rows[sentence] for sentence in _sentences(passage)]
            if not of or not own.any():
                out.append(None)
                continue
            out.append(float((vectors[of] @ own).max()))
        return out


_known: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()
_guard = Lock()
_MOST_KNOWN = 8_192


def _vectors(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors of texts, ``[n, d]``.

    The same sentences are asked about for every claim of an answer.
    """
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
    return np.array([found[text] for text in texts], dtype=np.float32)


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

    def __init__(self, *texts: str, parts: Sequence[_Facts] = ()) -> None:
        self._texts = texts  # the sentences of a passage, or a claim
        self._parts = parts  # of each of the sentences, where they are known

    @cached_property
    def words(self) -> dict[str, float]:
        """Stems, with their weights."""
        if self._parts:
            both: dict[str, float] = {}
            for part in self._parts:
                both.update(part.words)
            return both
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
        for text in self._texts:
            plain = _plain(text)
            found |= {_NUMBER_WORDS[word] for word in words(plain) if word in _NUMBER_WORDS}
            if _WRITTEN.search(plain):
                found |= {_plain_number(number) for number in _NUMBER.findall(plain)}
                found |= {re.sub(", ", "", number) for number in _BROKEN.findall(plain)}
        return frozenset(found)

    @cached_property
    def claimed(self) -> frozenset[str]:
        """The numbers that count something: not those that are a part of a name (COVID-19)."""
        return self.numbers - {
            _plain_number(number) for text in self._texts for number in _NAMED.findall(text)
        }

    @cached_property
    def names(self) -> frozenset[str]:
        found: set[str] = set()
        for text in self._texts:
            first = re.match(r"\W*(\w+)", text)
            begins = {first.group(1).lower()} if first else set()
            found |= {name.lower() for name in _NAME.findall(text)} - begins
        return frozenset(part for name in found - STOP_WORDS for part in words(name))

    @cached_property
    def tokens(self) -> list[str]:
        """Words in their order, numbers in one form."""
        return [_token(word) for text in self._texts for word in _raw_tokens(text)]

    @cached_property
    def marked(self) -> dict[str, bool]:
        """Words that are a number (True) or begin with a capital (False), stop words apart."""
        found: dict[str, bool] = {}
        for text in self._texts:
            for word in _raw_tokens(text):
                token = _token(word)
                if token not in STOP_WORDS and (token[0].isdigit() or word[0].isupper()):
                    found[token] = token[0].isdigit()
        return found

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
        weights = claim.words
        return sum(map(weights.__getitem__, weights.keys() & self.words.keys())) / claim.total


def _numbers_agree(claim: _Facts, passage: _Passage) -> bool:
    """Whether each number of the claim stands, with its unit, where its other words do."""
    if claim.claimed - passage.whole.numbers:
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
        for number in claim.claimed & passage.whole.numbers
    )


def _is_same(claim: _Facts, sentence: _Facts) -> bool:
    """Whether a sentence says hardly anything but what the claim does."""
    return len(sentence.words) <= 1.5 * len(claim.words) + 1


class _Passage(NamedTuple):
    whole: _Facts
    sentences: tuple[_Facts, ...]


class _Nearest(NamedTuple):
    """Where in a passage a claim's words are: the best sentences in a row, and the best one."""

    share: float
    sentences: tuple[_Facts, ...]
    sentence: _Facts

    @property
    def tokens(self) -> list[str]:
        return [token for sentence in self.sentences for token in sentence.tokens]


def _nearest(claim: _Facts, passage: _Passage) -> _Nearest:
    weights, each = claim.words, passage.sentences
    whole = passage.whole.share_of(claim)
    if len(each) < 2:
        return _Nearest(whole, each or (passage.whole,), passage.whole)
    held = [weights.keys() & sentence.words.keys() for sentence in each]
    shares = [sum(map(weights.__getitem__, words_)) for words_ in held]
    closest = each[shares.index(max(shares))]
    if len(each) <= _WINDOW:
        return _Nearest(whole, each, closest)
    windows = [
        sum(map(weights.__getitem__, set().union(*held[i : i + _WINDOW])))
        if any(shares[i : i + _WINDOW])
        else 0.0
        for i in range(len(each) - _WINDOW + 1)
    ]
    best = max(windows)
    at = windows.index(best)
    return _Nearest((whole + best / claim.total) / 2, each[at : at + _WINDOW], closest)


def _density(claim: Sequence[str], tokens: Sequence[str]) -> float:
    """Sum of the squared lengths of the pieces copied, longest first from the left, over its own.

    1 for a claim that is copied whole, 0 for one with no word of the `tokens`.
    """
    claim = claim[:_LONGEST]
    places: dict[str, list[int]] = {}
    for at, token in enumerate(tokens):
        if len(found := places.setdefault(token, [])) < _MOST_PLACES:
            found.append(at)
    i, total = 0, 0
    while i < len(claim):
        longest = 0
        for at in places.get(claim[i], ()):
            n = 1
            while i + n < len(claim) and at + n < len(tokens) and claim[i + n] == tokens[at + n]:
                n += 1
            longest = max(longest, n)
        total += longest * longest
        i += longest or 1
    return total / max(1, len(claim)) ** 2


def _is_swapped(claim: _Facts, sentence: _Facts, wrong: bool) -> bool:
    """Whether the sentence says the same of something else.

    It does where they agree word for word but for a name, a number or another word of content in
    another's place, or where names or numbers have changed places. Where a number is `wrong`,
    agreeing is enough.
    """
    if sentence.share_of(claim) < _HALF:
        return False
    own, other = claim.tokens[:_LONGEST], sentence.tokens[:_LONGEST]
    there = set(other) | sentence.numbers
    new = [token for token in own if token not in there]
    if not new and not wrong:
        return _changed_places(claim, own, other)
    # a name of two words is one word of another
    words_ = len(own) - sum(
        one in claim.marked and two in claim.marked and not {one, two} & there
        for one, two in pairwise(own)
    )
    if len(own) - len(new) < _WORD_FOR_WORD * words_:
        return False
    from difflib import SequenceMatcher

    steps = SequenceMatcher(None, own, other, autojunk=False).get_opcodes()
    if sum(j - i for what, i, j, _, _ in steps if what == "equal") < _WORD_FOR_WORD * words_:
        return False
    if wrong:
        return True
    ours = {token: kind for token, kind in claim.marked.items() if token not in there}
    stems_ = set(sentence.words)
    for what, i, j, k, n in steps:
        if what != "replace":
            continue
        gap = other[k:n]
        if n - k > 2 * _GAP:  # only what stands beside the words that agree
            gap = (gap[:_GAP] if i else []) + (gap[-_GAP:] if j < len(own) else [])
        found = {ours[token] for token in own[i:j] if token in ours}
        if found & {sentence.marked[token] for token in gap if token in sentence.marked}:
            return True
        short = len(new) == 1 and len(own) <= _BRIEF
        if short and j - i == 1 == n - k and _are_content(own[i], other[k], stems_):
            return True
    return False


def _are_content(one: str, other: str, known: Set[str]) -> bool:
    """Whether two words say something, and the first is not a form of one that is known."""
    if one in STOP_WORDS or other in STOP_WORDS or min(len(one), len(other)) < _CONTENT:
        return False
    return not set(stems(one)) & known


def _changed_places(claim: _Facts, own: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the other words stand as they do there, and the names or numbers in another order."""
    if not _FEWEST <= len(own) < _LONGEST or len(claim.marked) < 2:
        return False
    if not set(own) <= set(other) or _is_within(own, other):
        return False
    plain = [token for token in own if token not in claim.marked]
    if not set(plain) - _AND or not _is_within(plain, other):
        return False
    named: list[str] = []
    among: list[str] = []  # names in a list, whose order says nothing
    for token in [*own, ""]:
        if token in claim.marked:
            among.append(token)
        elif token not in _AND:
            named += sorted(among, key=other.index)
            among = []
    return not _is_within(named, other)


def _is_within(few: Sequence[str], many: Sequence[str]) -> bool:
    """Whether `few` stand in `many` in their order."""
    rest = iter(many)
    return all(token in rest for token in few)


@lru_cache(maxsize=4_096)  # the same passages are asked about for every sentence
def _facts(text: str) -> _Facts:
    return _Facts(text)


@lru_cache(maxsize=1_024)
def _passage(text: str) -> _Passage:
    each = _sentences(text)
    facts = tuple(_facts(sentence) for sentence in each)
    whole = _Facts(*each, parts=facts) if 0 < len(each) < _MOST_SENTENCES else _facts(text)
    return _Passage(whole, facts)


@lru_cache(maxsize=1_024)
def _sentences(text: str) -> tuple[str, ...]:
    return tuple(text[start:end] for start, end in sentence_spans(text)[:_MOST_SENTENCES])


@lru_cache(maxsize=8_192)
def _raw_tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(_plain(text)))


def _token(word: str) -> str:
    if word.isalpha():
        word = word.lower()
        return _NUMBER_WORDS.get(word, word)
    return _plain_number(word) if word[0].isdigit() else word.lower()


@lru_cache(maxsize=8_192)
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
