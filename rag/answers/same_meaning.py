"""Whether two questions, or two sentences, mean the very same thing.

A cosine alone cannot tell: "the rent in 2023" and "the rent in 2024" have nearly the same vector.
So the words are compared: a word that only one of the questions has must be a synonym of a word
that only the other has, or say nothing. In doubt, the answer is no: a cache that misses costs a
call of the model, and one that mixes up questions gives a wrong answer.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from rapidfuzz.distance import OSA

from rag.embedding import StaticEmbedder
from rag.text.date_ranges import find_date_ranges
from rag.text.tokenization import detect_language, stems
from rag.text.word_lists import CARDINALS
from rag.verification.contradictions import find_contradiction

MIN_SYNONYM_COSINE = 0.6
_MAX_CHARACTERS = 1_000  # of a text that is compared
_MIN_SHARED_AFFIX = 3  # letters; words that share so many at an end are contrasts: Einfuhr, Ausfuhr
_MIN_TYPO_CHARACTERS = 5
_TOKEN = re.compile(r"n't\b|[^\W_]+(?:[-_./:,][^\W_]+)*")
_SUFFIX = re.compile(r"['’](?:s|re|ve|ll|d|m)\b", re.IGNORECASE)
_NUMBER_SIGN = re.compile(r"\b(?:no|nr)\.?\s(?=\w*\d)|#(?=\d)", re.IGNORECASE)
_FRONTED_PHRASE = re.compile(
    r"^\s*((?:in|at|on|for|during|under)\s[^,?]{1,80}),\s+([^?]+)", re.IGNORECASE
)
_LOOSE_PREPOSITION = re.compile(
    r"\b(?:of|in|at|on|for|with|von|vom|der|des|im|du|de|del|en)\b", re.IGNORECASE
)
_FILLERS = frozenset(
    """a an the please tell know exactly me give show want need like would could you i we us our
    my your find out say let hello hi sorry bother mind telling thanks thank kindly quick
    question but wondering just do does did is are was were be been am being has have had
    there it its this that these those of in at on for with what which how much and so can may
    will shall about information info regarding concerning according going one bitte sag sagen
    mir uns der die das den dem des ein eine einen einem einer eines ist sind war waren hat
    haben wird werden ich wir man du sie es welche welcher welches was wie von im in am an für
    bei können könnten le la les l un une des de du d est sont a ont je nous vous on quel
    quelle quels quelles que comment merci el los las del en es son ha han por favor cuál
    cuáles qué me puede puedes dime cómo se""".split()
)
_EQUAL_WORDS = {
    "not": "n't", "cannot": "n't", "no": "n't", "never": "n't", "whats": "what", "whom": "who",
    "whose": "who", "begins": "start", "begin": "start", "telephone": "phone",
    "vacation": "holiday", "buy": "purchase", "nr": "number", "max": "maximum", "min": "minimum",
    "percent": "%", "yearly": "annual", "limited": "ltd", "incorporated": "inc", "company": "firm",
}  # fmt: skip
_RELATIVE_TIME = re.compile(
    r"\b(?:today|tomorrow|yesterday|tonight|now|current|currently|ago|recent|recently|latest|newest|"
    r"(?:this|last|next|past|coming|previous)\s(?:week|month|quarter|year|spring|summer|autumn|fall|"
    r"winter)|heute|morgen|gestern|jetzt|aktuelle?[nmrs]?|derzeit|neueste[nmrs]?|"
    r"(?:letzte|nächste|vorige|diese)[nmrs]?\s(?:woche|monat|quartal|jahr)|aujourd.hui|demain|hier|"
    r"maintenant|actuel|actuelle|actuellement|hoy|mañana|ayer|ahora|actual|actualmente|oggi|domani|"
    r"ieri|adesso|vandaag|gisteren|nu|hoje|amanhã|ontem|agora)\b",
    re.IGNORECASE,
)


class _Word(NamedTuple):
    text: str
    stem: str
    is_exact: bool
    """Whether only the same word is equal to it: a name, a number, or a word such as "before"."""


def mean_the_same(text: str, other: str) -> bool:
    """Return whether two questions, or two sentences, mean the very same thing.

    >>> mean_the_same("What does the H-120 cost?", "Please tell me the price of the H-120.")
    True
    >>> mean_the_same("What was the rent in 2023?", "What was the rent in 2024?")
    False
    """
    if text == other:
        return True
    if max(len(text), len(other)) > _MAX_CHARACTERS:
        return False
    language = detect_language(text)
    if language != detect_language(other):
        return False
    words, other_words = _analyse(text, language), _analyse(other, language)
    if not words or not other_words:
        return False
    pairs = _align(words, other_words)
    return (
        pairs is not None
        and (_is_in_order(pairs) or _is_rearranged(text, other, pairs))
        and not _contradict(text, other)
    )


def _contradict(text: str, other: str) -> bool:
    """Whether two texts disagree in more than the order of their words, which is compared here."""
    kinds = {find_contradiction(text, other), find_contradiction(other, text)}
    return not kinds <= {None, "order"}


def depends_on_today(question: str) -> bool:
    """Return whether the answer may be another one tomorrow: "last month", "the latest".

    >>> depends_on_today("What was ordered last month?")
    True
    """
    today = datetime.date.today()
    ranges, later_ranges = (
        [(period.first, period.last) for period in find_date_ranges(question, day)]
        for day in (today, today + datetime.timedelta(days=200))
    )
    return ranges != later_ranges or _RELATIVE_TIME.search(question) is not None


@lru_cache(maxsize=4_096)
def _analyse(text: str, language: str) -> tuple[_Word, ...]:
    """Return the words of a text that count, in their order."""
    text = unicodedata.normalize("NFKC", text)
    if text.isupper():
        text = text.lower()
    text = re.sub(r"n['’]t\b", " n't", _SUFFIX.sub("", text))
    text = _NUMBER_SIGN.sub("number ", text)
    text = _FRONTED_PHRASE.sub(r"\2 \1", text)
    analysed: list[_Word] = []
    for number, match in enumerate(_TOKEN.finditer(text)):
        raw = match.group()
        lower = raw.lower()
        lower = _EQUAL_WORDS.get(lower, lower)
        if (value := CARDINALS.get(lower)) is not None and lower != "one":
            lower = str(value)
        if lower in _FILLERS and not (raw.isupper() and len(raw) > 1):
            continue
        has_digit = any(map(str.isdigit, lower))
        is_name = raw[0].isupper() and number > 0 and language != "de"
        if not has_digit and lower != "n't":
            lower = re.sub(r"[-_./:,]", "", lower)
        stem = lower if has_digit else _fold_accents(" ".join(stems(lower, language)))
        analysed.append(_Word(lower, stem, is_name or has_digit or lower in _DECISIVE_WORDS))
    return tuple(analysed)


def _fold_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


_DECISIVE_WORDS = (
    frozenset(
        """n't must should might who when where why only all every each some any none both either or
    first second third last next previous more less most least than fewer higher lower larger
    smaller before after since until without over under above below between outside within
    from to by against up down per during through many long often far soon early late old new
    total half double extra former latter other another same maximum minimum gross net nicht
    kein keine nur alle jeder jede vor nach ohne mit seit bis über unter zwischen mehr weniger
    lange viele viel oft erste letzte nächste wer wen wem wann wo wohin woher warum zu zum zur
    durch pas sans avec avant après depuis tous seulement plus moins premier dernier qui quand
    où pourquoi combien par pour sin con antes después desde hasta todos solo más menos
    primero último quién cuándo dónde cuánto cuántos cuántas para a""".split()
    )
    - _FILLERS
)


def _align(words: Sequence[_Word], others: Sequence[_Word]) -> list[tuple[int, int]] | None:
    """Return which word of one text is which of the other; None if a word is left over."""
    pairs: list[tuple[int, int]] = []
    free = dict(enumerate(others))
    left: list[int] = []
    for i, word in enumerate(words):
        j = next((j for j, other in free.items() if other.stem == word.stem), None)
        if j is None:
            left.append(i)
        else:
            pairs.append((i, j))
            del free[j]
    if len(left) != len(free):
        return None
    for i in left:
        j = next((j for j, other in free.items() if _is_same_word(words[i], other)), None)
        if j is None:
            return None
        pairs.append((i, j))
        del free[j]
    return sorted(pairs)


def _is_same_word(word: _Word, other: _Word) -> bool:
    """Whether two words are synonyms, or one is a misspelling of the other."""
    if word.is_exact or other.is_exact:
        return False
    if _is_misspelling(word.text, other.text) or _is_misspelling(other.text, word.text):
        return True
    return (
        not _share_affix(word.text, other.text)
        and _cosine(word.text, other.text) >= MIN_SYNONYM_COSINE
    )


def _is_misspelling(text: str, word: str) -> bool:
    """Whether a text is one edit away from a word, and less common: in more pieces."""
    if min(len(text), len(word)) < _MIN_TYPO_CHARACTERS or OSA.distance(text, word) != 1:
        return False
    pieces, word_pieces = StaticEmbedder().count_tokens([text, word])
    return pieces > word_pieces


def _share_affix(word: str, other: str) -> bool:
    head, tail = word[:_MIN_SHARED_AFFIX], word[-_MIN_SHARED_AFFIX:]
    return other.startswith(head) or other.endswith(tail)


def _is_in_order(pairs: Sequence[tuple[int, int]]) -> bool:
    return all(j < next_j for (_, j), (_, next_j) in pairwise(pairs))


def _is_rearranged(text: str, other: str, pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether another order is that of a phrase: "hours of the site", "the site's hours".

    Words that change places with the same prepositions change roles: "Does A owe B?".
    """
    if len(_LOOSE_PREPOSITION.findall(text)) == len(_LOOSE_PREPOSITION.findall(other)):
        return False
    positions = [j for _, j in pairs]
    return not any(
        any(before > position for before in positions[:middle])
        and any(position > after for after in positions[middle + 1 :])
        for middle, position in enumerate(positions)
    )


@lru_cache(maxsize=16_384)
def _cosine(word: str, other: str) -> float:
    vectors = StaticEmbedder().embed_documents([word, other])
    return float(vectors[0] @ vectors[1])
