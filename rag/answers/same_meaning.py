"""Whether two questions, or two sentences, mean the very same thing.

A cosine alone cannot tell: "the rent in 2023" and "the rent in 2024" have nearly the same vector.
So the words are compared, one by one. Both texts must have the same ones, with the same capitals
and accents; only politeness, articles, the order of a few phrases and listed synonyms may differ.
In doubt, the answer is no: a cache that misses costs a call of the model, and one that mixes up
questions gives a wrong answer.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from rag.text.date_ranges import find_date_ranges
from rag.text.tokenization import detect_language
from rag.text.word_lists import CARDINALS
from rag.verification.contradictions import find_contradiction

_MAX_CHARACTERS = 1_000  # of a text that is compared
_COMPARED_LANGUAGES = frozenset({"en", "de", "fr", "es"})  # texts in others must be equal
_TOKEN = re.compile(
    r"n't\b|[^\W_]+(?:[-_./:,][^\W_]+)*|[^\w\s.,;:!?'\"’‘“”„«»()\[\]…¿¡？。-]|(?<!\w)-(?=\w)|(?<=\d\s)-"
)
_POLITE_BEGINNING = re.compile(
    r"^\W*(?:(?:please|kindly|hi|hello|hey|sorry|bitte|hallo|quick\squestion)[\s,.!:]+)*"
    r"(?:(?:(?:can|could|would|will)\s(?:you|someone|anyone)\s(?:please\s|kindly\s)?)?"
    r"(?:tell\s(?:me|us)|let\s(?:me|us)\sknow|(?:give|show)\s(?:me|us)(?=\sthe\b))"
    r"|(?:can|could|may)\s(?:i|we)\sask|do\syou\sknow|i\swould\slike\sto\sknow|i\swant\sto\sknow"
    r"|(?:kannst\sdu|können\ssie|könnten\ssie)\s(?:mir|uns)\s(?:bitte\s)?sagen)?[\s,:]*",
    re.IGNORECASE,
)
_POLITE_END = re.compile(
    r"(?<![\s,.!?])[\s,.!?]++(?:please|kindly|thanks|thank\syou|bitte|danke|merci|s['’]il\s(?:vous|te)\spla[iî]t|"
    r"por\sfavor|gracias)\W*+$",
    re.IGNORECASE,
)
_SUFFIX = re.compile(r"['’](?:s|re|ve|d|m)\b", re.IGNORECASE)
_WILL = re.compile(r"(?:\bwo(?=n['’]t\b)|['’]ll\b)", re.IGNORECASE)
_NUMBER_SIGN = re.compile(r"\b(?:no|nr)\.?\s(?=\w*\d)|#(?=\d)", re.IGNORECASE)
_FRONTED_PHRASE = re.compile(
    r"^\s*((?:in|at|on|for|during|under)\s[^,?]{1,80}),\s+([^?]+)", re.IGNORECASE
)
# "What is", "Who are": the verb says no more than the question word. "Who is paid" keeps "paid".
_COPULA = re.compile(
    r"\b(what|which|who|where|when|how|was|welches?|wer|wo|wann|wie|quels?|quelles?|qui|où|quand|qué|"
    r"cuál|cuáles|quién|dónde|cuándo)(?:\s(?:is|are|does|do|ist|sind|est|sont|es|son)|['’]s|['’]re)\b",
    re.IGNORECASE,
)
_LOOSE_PREPOSITION = re.compile(
    r"\b(?:of|in|at|on|for|with|von|vom|der|des|im|du|de|del|en)\b", re.IGNORECASE
)
_FILLERS = frozenset(
    """a an the exactly just of in at on for what which how much and
    about information info regarding concerning according one do does
    die das den dem des der ein eine einen einem einer eines welche welcher welches was wie
    von im am an für le la les l un une du d quel quelle quels quelles comment el los las del en
    cuál cuáles qué cómo de""".split()
)
_QUESTION_WORDS = {
    word: kind
    for kind, listed in {
        "what": "what whats which was welche welcher welches welchen quel quelle quels quelles "
        "qué cuál cuáles",
        "who": "who whom whose wer wen wem wessen qui quién quiénes",
        "when": "when wann quand cuándo",
        "where": "where wo wohin woher où dónde adónde",
        "why": "why warum wieso pourquoi",
        "how": "how wie comment combien cómo cuánto cuánta cuántos cuántas",
    }.items()
    for word in listed.split()
}
_AMOUNT_WORDS, _COST_WORDS = {"much", "viel"}, {"cost", "costs", "price", "kostet", "kosten"}
_AUXILIARIES = frozenset(
    """is are was were do does did can could may might will would shall should must has have had am
    isn aren wasn don doesn didn can't won't ist sind war waren kann können darf dürfen muss müssen
    soll sollen hat haben wird werden gibt est sont peut peuvent doit doivent es son hay puede
    pueden debe deben""".split()
)  # a question that begins with one is answered by yes or no
_PAST, _FUTURE = "‹past›", "‹future›"
_EQUAL_WORDS = {
    "not": "n't", "cannot": "n't", "no": "n't", "never": "n't", "whats": "what", "whom": "who",
    "was": _PAST, "were": _PAST, "did": _PAST, "had": _PAST, "will": _FUTURE, "shall": _FUTURE,
    "nr": "number", "percent": "%", "prozent": "%", "ltd": "limited", "inc": "incorporated",
}  # fmt: skip
_SYNONYMS = {
    word: group.split()[0]
    for group in (
        "price cost prices costs", "begin start begins starts", "phone telephone", "buy purchase",
        "holiday vacation", "holidays vacations", "annual yearly", "maximum max", "minimum min",
        "firm company", "firms companies", "email e-mail mail", "boss manager", "car vehicle",
        "cars vehicles", "repair fix", "site location", "sites locations", "located situated",
        "preis kosten", "telefon telefonnummer", "urlaub ferien",
    )
    for word in group.split()
}  # fmt: skip
_RELATIVE_TIME = re.compile(
    r"\b(?:today|tomorrow|yesterday|tonight|now|current|currently|ago|recent|recently|latest|newest|"
    r"until|till|left|remaining|still|already|yet|expired?|expires|overdue|due|soon|upcoming|next|"
    r"old|age|valid|heute|morgen|gestern|jetzt|noch|schon|bereits|bald|"
    r"fällig\w{0,2}|abgelaufen|gültig|aktuelle?[nmrs]?|derzeit|neueste[nmrs]?|letzte[nmrs]?|"
    r"nächste[nmrs]?|vorige[nmrs]?|diese[nmrs]?|aujourd.hui|demain|hier|maintenant|encore|déjà|bientôt|"
    r"prochaine?s?|derni\w{1,4}|échue?s?|valables?|actuel\w{0,5}|hoy|mañana|ayer|ahora|todavía|aún|ya|"
    r"próxim[oa]s?|últim[oa]s?|pasad[oa]s?|vencid[oa]s?|actual\w{0,5})\b",
    re.IGNORECASE,
)


class _Word(NamedTuple):
    text: str
    capitals: int
    """1 if it begins with a capital within the text, 2 if it has no other letters; else 0."""


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
    if _normalize(text) == _normalize(other):
        return True
    text, other = _remove_politeness(text), _remove_politeness(other)
    language = _detect_language(text)
    if language not in _COMPARED_LANGUAGES or language != _detect_language(other):
        return False
    words, other_words = _analyse(text, language), _analyse(other, language)
    if not words or not other_words:
        return False
    pairs = _align(words, other_words)
    return (
        pairs is not None
        and _find_kind(text) == _find_kind(other)
        and (_is_in_order(pairs) or _is_rearranged(text, other, pairs))
        and not _contradict(text, other)
    )


def _contradict(text: str, other: str) -> bool:
    """Whether two texts disagree in more than the order of their words, which is compared here."""
    kinds = {find_contradiction(text, other), find_contradiction(other, text)}
    return not kinds <= {None, "order"}


def depends_on_today(question: str) -> bool:
    """Return whether the answer may be another one tomorrow: "last month", "is it still valid".

    >>> depends_on_today("What was ordered last month?")
    True
    """
    if _detect_language(question) not in _COMPARED_LANGUAGES:
        return True  # its words for time are not known
    today = datetime.date.today()
    ranges, later_ranges = (
        [(period.first, period.last) for period in find_date_ranges(question, day)]
        for day in (today, today + datetime.timedelta(days=200))
    )
    return ranges != later_ranges or _RELATIVE_TIME.search(question) is not None


def _normalize(text: str) -> str:
    """Return a text without its spacing and the signs at its end; case counts within words."""
    return " ".join(unicodedata.normalize("NFC", text).split()).rstrip(" ?？.!。")


def _remove_politeness(text: str) -> str:
    """Return a text without "could you please tell me". Not in NFKC, in which 10² is 102."""
    return _POLITE_END.sub("", _POLITE_BEGINNING.sub("", unicodedata.normalize("NFC", text)))


def _find_kind(text: str) -> str:
    """Return what a question asks for: "who", "when", ..., "yes or no"; "what" for a phrase."""
    text_words = re.findall(r"[^\W\d_]+", text.casefold())
    kind = next((_QUESTION_WORDS[w] for w in text_words[:3] if w in _QUESTION_WORDS), "")
    if not kind:
        return "yes or no" if text_words and text_words[0] in _AUXILIARIES else "what"
    if kind == "how" and _AMOUNT_WORDS & {*text_words} and _COST_WORDS & {*text_words}:
        return "what"  # "How much does it cost?", "What does it cost?"
    return kind


_detect_language = lru_cache(maxsize=4_096)(detect_language)


@lru_cache(maxsize=4_096)
def _analyse(text: str, language: str) -> tuple[_Word, ...]:
    """Return the words and signs of a text that count, in their order."""
    if text.isupper():
        text = text.lower()
    text = _COPULA.sub(r"\1", _WILL.sub(" will ", text))
    text = re.sub(r"n['’]t\b", " n't", _SUFFIX.sub("", text))
    text = _FRONTED_PHRASE.sub(_move_to_end, _NUMBER_SIGN.sub("number ", text))
    analysed: list[_Word] = []
    for number, match in enumerate(_TOKEN.finditer(text)):
        raw = match.group()
        lower = _EQUAL_WORDS.get(raw.lower(), raw.lower())
        if (value := CARDINALS.get(lower)) is not None and lower != "one":
            lower = str(value)
        is_name = raw[0].isupper() and number > 0 and language != "de"
        if lower in _FILLERS and not is_name:
            continue
        is_sign = len(raw) == 1 or not any(map(str.isalnum, raw)) or lower in (_PAST, _FUTURE)
        is_exact = is_name or is_sign or any(map(str.isdigit, lower)) or lower in _DECISIVE_WORDS
        if is_sign and raw.isalpha() and number > 0:
            lower = raw  # the options -v and -V
        elif not is_exact:
            lower = _SYNONYMS.get(lower, lower)
        has_capitals = raw.isalpha() and raw != raw.lower() and (number > 0 or not raw.istitle())
        analysed.append(_Word(lower, has_capitals + raw.isupper() if has_capitals else 0))
    return tuple(analysed)


def _move_to_end(match: re.Match[str]) -> str:
    phrase = match[1]
    return f"{match[2]} {phrase[:1].lower()}{phrase[1:]}"


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
    if len(words) != len(others):
        return None
    pairs: list[tuple[int, int]] = []
    free = dict(enumerate(others))
    for i, word in enumerate(words):
        j = next((j for j, candidate in free.items() if _is_same_word(word, candidate)), None)
        if j is None:
            return None
        pairs.append((i, j))
        del free[j]
    return pairs


def _is_same_word(word: _Word, other: _Word) -> bool:
    """Whether two words are equal. With capitals it may be another: Turkey, turkey; US, us."""
    return word.text == other.text and word.capitals == other.capitals


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
