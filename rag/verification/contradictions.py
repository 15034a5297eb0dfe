"""Contradictions: sentences that have the words of a claim, but state something else.

Each rule compares words of one kind, in the places where claim and sentence have the same words
around them: quantifiers, modal verbs, antonyms, negations, numbers, conditions, speakers, order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from itertools import islice, pairwise
from typing import Literal, NamedTuple

from rag.text.tokenization import STOP_WORDS, content_stems, stems
from rag.verification.linked_clauses import compare_links
from rag.verification.number_normalization import NUMBER_WORDS, normalize_number
from rag.verification.only import adds_only, is_outside_only

ContradictionKind = Literal[
    "quantifier", "modality", "direction", "negation", "number", "condition", "speaker", "order"
]

SAYS_LESS = frozenset({"condition", "speaker", "modality"})
"""The kinds of which the sentence does not deny the claim."""

ALWAYS_DENIES = frozenset({"negation", "quantifier"})
"""The kinds that are a denial also where the claim does not repeat the sentence."""

_TOKEN = re.compile(
    r"[^\W\d_]+(?:['’-][^\W\d_]+)*|(?:(?<![\w.])[-−–])?(?<![\w.])\d+(?:[.,:]\d+)*|[€$£¥%°]"
)
_SCOPE = 3  # content words after a negation or a quantifier that it can be about
_NEAR = 3  # content words around a word that say what it is about
_TOKEN_OR_NEGATION = re.compile(r"n't|" + _TOKEN.pattern)
_MAX_TOKENS = 200  # of a text

# Each line is a class, with the classes that a sentence with it entails.
_QUANTIFIERS: Mapping[str, str] = {
    word: name
    for name, listed in {
        "all": "all every each both always everyone everybody everything entire whole",
        "most": "most majority mostly usually generally",
        "half": "half",
        "some": "some several certain sometimes occasionally partly",
        "many": "many numerous often",
        "few": "few rarely seldom hardly",
        "none": "none neither nobody nothing never no",
    }.items()
    for word in listed.split()
}
_ENTAILED_QUANTIFIERS: Mapping[str, Set[str]] = {
    "all": {"all", "most", "some", "many"},
    "most": {"most", "some", "many"},
    "half": {"half", "some"},
    "some": {"some"},
    "many": {"many", "some"},
    "few": {"few", "some"},
    "none": {"none"},
}
_POSSIBLE = frozenset(
    """may might could possibly perhaps maybe probably likely considering plans planning proposes
    suspect suspects suspected believed expected would apparently allegedly reportedly""".split()
)
_PERMITTED = frozenset("may can could optional allowed permitted optionally".split())
_RECOMMENDED = frozenset("should recommended sollte sollten".split())
_REQUIRED = frozenset("must shall required obliged mandatory compulsory".split())
_HEDGES = (
    _POSSIBLE
    | _PERMITTED
    | frozenset(
        "possible thought rumoured rumored seems appears suggest suggests opinion view if".split()
    )
)
_ANTONYMS = """\
rise rises rose risen rising increase increases increased grow grows grew raise raised raises \
| fall falls fell fallen falling decrease decreases decreased decline declined drop dropped lowered
higher|lower
more|less fewer
heavier|lighter
faster|slower
longer|shorter
larger bigger greater|smaller
older|younger newer
earlier|later
better|worse
before|after
above over|below under
open opened opens|closed closes shut
approve approved approves accept accepted|reject rejected rejects refuse refused
include includes included|exclude excludes excluded
win won wins beat beats|lose lost loses
buy bought buys|sell sold sells
start started begin began begins|end ended ends stop stopped
first|last
maximum most|minimum least
with|without
allowed permitted|forbidden prohibited banned
true|false
yearly annual annually|monthly
present|absent
twice|half
morning|evening
gain gains profit profits|loss losses
import imported imports|export exported exports
left|right
north northern|south southern
east eastern|west western
hot|cold
his|her
he|she
am|pm
inside|outside
warm warmer|cool cooler colder
strong stronger|weak weaker
public|private
full|empty
success succeeded|failure failed
safe|dangerous
on|off
exceed exceeds exceeded exceeding|most maximum
optional voluntary|mandatory compulsory obligatory required
enabled|disabled
works working|broken
online|offline
upstairs|downstairs
indoor indoors|outdoor outdoors
one-way|two-way
high|low
old|new
early|late
upper|lower
front|back rear
top|bottom
internal|external
input|output
positive|negative
wet|dry
summer|winter
spring|autumn
weekday weekdays|weekend weekends
entrance|exit
arrive arrives arrived arrival|leave leaves left departure depart departs
offen geöffnet|geschlossen
mehr|weniger
mit|ohne
höher|niedriger
schneller|langsamer
teurer|billiger günstiger
größer|kleiner
älter|neuer jünger
früher|später
besser|schlechter
schwerer|leichter
länger|kürzer
öffnet|schließt
höchstens maximal|mindestens
freiwillig|verpflichtend pflicht vorgeschrieben
activated|deactivated
cheaper|expensive dearer costlier
quieter|louder
monthly|weekly
weekly|daily
monthly|daily
yearly|weekly
yearly|daily
jährlich|monatlich
monatlich|wöchentlich
wöchentlich|täglich
monatlich|täglich
jährlich|wöchentlich
angenommen genehmigt genehmigte bewilligt bewilligte|abgelehnt
begann beginnt beginnen anfängt angefangen|endet endete enden aufhört
leiser|lauter
vor vorher|nach nachher""".splitlines()
"""Words and their opposites."""

_POLARITY: dict[str, list[tuple[int, int]]] = {}
for _class, _line in enumerate(_ANTONYMS):
    for _side, _listed in zip((1, -1), _line.split("|"), strict=True):
        for _word in _listed.split():
            _POLARITY.setdefault(_word, []).append((_class, _side))
_OPPOSITE_PREFIXES = (
    "non-", "non", "nicht-", "un", "in", "im", "il", "ir", "dis", "de"
)  # fmt: skip
_ADJECTIVE = re.compile(
    r"(?:able|ible|ive|ient|dent|quent|al|id|ete|rect|rate|quate|ar|ure|ous|ite|ise)$"
)
_MIN_OPPOSITE_CHARACTERS = 4
_NO_OPPOSITES = frozenset("less covered counted played".split())  # of unless, discovered
_COMPARATIVE_CLASSES = frozenset(
    i for i, line in enumerate(_ANTONYMS) if line.split("|")[0].split()[0].endswith(("er", "more"))
)
_NEGATIONS = frozenset(
    """not no never neither nor none without cannot fails failed nobody nothing n't isnt arent wasnt
    werent dont doesnt didnt wont cant nicht kein keine keinen nie niemals""".split()
)
_REVERSALS = re.compile(r"\b(?:it is false that|anything but|far from|by no means)\b", re.I)
_EXCEPT = (
    r"except|excepting|excluding|apart\sfrom|aside\sfrom|other\sthan|with\sthe\sexception\sof|save\sfor|"
    r"all\sbut|außer|ausgenommen|mit\sausnahme|bis\sauf(?!\sweiteres)|abgesehen\svon|"
    r"sauf|hormis|à\sl['’]exception|excepto|salvo|a\sexcepción"
)
_CONDITION = re.compile(
    r"\b(?:if|unless|provided|as long as|only|when (?:it|they|he|she) (?:is|are|has|have))\b"
    r"|\bwithout\b|^had\b.*\bwould\b|\bwenn\b|\bfalls\b|\bsofern\b|\bnur\b"
    rf"|\b(?:{_EXCEPT})\b",
    re.IGNORECASE,
)
_ONLY = re.compile(r"\b(?:only|nur)\b", re.IGNORECASE)
_ANY_CONDITION = re.compile(
    r"\b(?:if|unless|provided|as long as|only|when|would|without|until|depend\w*|wenn|falls|"
    rf"sofern|nur|in\scase|case\sof|must|no|not|after|for|{_EXCEPT})\b",
    re.IGNORECASE,
)
_SAYING = frozenset(
    """say says said claim claims claimed believe believes believed argue argues argued allege
    alleges alleged suspect suspects think thinks thought rumour rumours rumor according
    reportedly allegedly accuse accuses accused critics opinion view deny denies""".split()
)
_KNOWN_UNITS: Mapping[str, str] = {
    word: line.split()[0]
    for line in """\
€ euro euros eur
$ dollar dollars usd
£ pound pounds gbp
CHF chf franc francs franken
kr krona kronor krone kroner kronen sek nok dkk
¥ yen jpy
PLN pln zloty złoty
% percent
h hour hours
min minute minutes
s second seconds
d day days
week weeks
month months
year years
kg kilogram kilograms kilos kilo
g gram grams
mg milligram milligrams
t tonne tonnes ton tons
km kilometre kilometres kilometer kilometers
m metre metres meter meters
cm centimetre centimetres centimeter centimeters
mm millimetre millimetres millimeter millimeters
mW milliwatt milliwatts
MW megawatt megawatts
kW kilowatt kilowatts
W watt watts
l litre litres liter liters
ml millilitre millilitres milliliter milliliters
V volt volts
mV millivolt millivolts
am
pm
celsius c
fahrenheit f
thousand thousands
million millions mn
billion billions bn""".splitlines()
    for word in line.split()
}
"""The first name of each unit, by its other names."""

_PER = frozenset("per a an each every je pro im".split())
_RATE_ADVERBS = frozenset("hourly daily weekly monthly yearly".split())
_RATES: Mapping[str, str] = {
    word: line.split()[0]
    for line in """\
hour hourly stunde
day daily tag
week weekly woche
month monthly monat
year yearly annum jahr""".splitlines()
    for word in line.split()
}
_WORDS_BEFORE_UNITS = frozenset("degree degrees ° swiss us american australian canadian".split())
_APPROXIMATIONS = frozenset(
    "than over under least most about around nearly almost approximately up not above below".split()
)
_EVERY = re.compile(r"\b(?:every|each|jede[nmrs]?)\s([^\W\d_]+)", re.IGNORECASE)
_INTERVAL = re.compile(
    r"\b(?:every|each|on\sthe|jede[nmrs]?|am)\s(?:second|other|third|fourth|first|last|2nd|3rd|"
    r"zweite[nmrs]?|dritte[nmrs]?|erste[nmrs]?|letzte[nmrs]?)\s([^\W\d_]+)",
    re.IGNORECASE,
)
_BEYOND = re.compile(
    r"\b(?:(?:more|over|mehr|über)\s(?:than\s|als\s)?(?P<more>\d+)"
    r"|(?:less|fewer|under|weniger|unter)\s(?:than\s|als\s)?(?P<less>\d+))\b",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"\b(?:at\smost|up\sto|no\smore\sthan|a?\s?maximum\sof|höchstens|maximal|bis\szu)\s(?P<max>\d+)"
    r"|\b(?:at\sleast|no\sfewer\sthan|no\sless\sthan|a?\s?minimum\sof|mindestens)\s(?P<min>\d+)"
    r"|\b(?P<from>\d+)\s?(?:to|bis|-|–)\s?(?P<to>\d+)\b",
    re.IGNORECASE,
)
_BOUND_NUMBER = rf"\d+|{'|'.join(NUMBER_WORDS)}"
_BOUND = re.compile(
    r"\b(?:at\smost|up\sto|no\smore\sthan|maximum\sof|höchstens|maximal|bis\szu|tout\sau\splus|como\smáximo)\s"
    rf"(?P<max>{_BOUND_NUMBER})\b"
    r"|\b(?:at\sleast|no\sfewer\sthan|no\sless\sthan|minimum\sof|mindestens|wenigstens|au\smoins|al\smenos)\s"
    rf"(?P<min>{_BOUND_NUMBER})\b",
    re.IGNORECASE,
)
_CURRENCIES = frozenset("€$£¥")
_UNIT_STEMS = frozenset(stems(" ".join(w for w in _KNOWN_UNITS if w.isalpha() and len(w) > 2)))


class _Word(NamedTuple):
    text: str
    lower: str
    stem: str
    is_content: bool


def find_contradiction(
    claim: str, sentence: str, others: Sequence[str] = ()
) -> ContradictionKind | None:
    """Return in what a sentence contradicts a claim, or leaves it open; None if in nothing.

    ``condition``, ``speaker`` and ``modality`` are no denial: the sentence says less than the
    claim. The sentence should have most of the claim's words; `others` are those of its passage,
    which may have the claim's numbers.
    """
    claim_words, sentence_words = _analyse(claim), _analyse(sentence)
    shared = {w.stem for w in claim_words if w.is_content} & {
        w.stem for w in sentence_words if w.is_content
    }
    if not shared or claim_words == sentence_words:
        return None
    if _has_other_number(claim, [sentence, *others]):
        return "number"
    return _find_other_contradiction(claim, sentence)


@lru_cache(maxsize=1_024)  # a claim is compared with a sentence alone and beside its neighbours
def _find_other_contradiction(claim: str, sentence: str) -> ContradictionKind | None:
    claim_words, sentence_words = _analyse(claim), _analyse(sentence)
    if _is_negated_otherwise(claim, sentence, claim_words, sentence_words):
        return "negation"
    if (
        _has_other_quantifier(claim_words, sentence_words)
        or _drops_interval(claim, sentence)
        or is_outside_only(claim, sentence)
    ):
        return "quantifier"
    if _is_beyond_limit(claim, sentence):
        return "number"
    links = compare_links(claim, sentence)
    if links != "same" and _has_antonym(claim_words, sentence_words):
        return "direction"
    if links == "exchanged" or (links is None and _is_exchanged(claim_words, sentence_words)):
        return "order"
    if _is_more_certain(claim_words, sentence_words):
        return "modality"
    if _drops_condition(claim, sentence) or adds_only(claim, sentence):
        return "condition"
    return "speaker" if _drops_speaker(claim_words, sentence_words) else None


@lru_cache(maxsize=4_096)
def _analyse(text: str) -> tuple[_Word, ...]:
    text = re.sub(r"\b([ap])\.m\.", r"\1m", text.replace("\u200b", "").replace("’", "'"))
    text = re.sub(r"\b(\w+)n't\b", r"\1 n't ", text)
    matches = islice(_TOKEN_OR_NEGATION.finditer(text), _MAX_TOKENS)
    return tuple(_analyse_word(match.group()) for match in matches)


@lru_cache(maxsize=16_384)
def _analyse_word(word: str) -> _Word:
    lower = word if word == "May" else word.lower()
    is_content = word == "May" or (
        lower not in STOP_WORDS and lower not in _FUNCTION and word != "n't"
    )
    stem = (stems(word) or [lower])[0] if word[0].isalpha() else word.replace("−", "-")
    return _Word(word, lower, stem, is_content)


_BE = frozenset(
    """is are was were be been being gets got été est sont sera fue fueron sido será wurde wurden
    worden""".split()
)
_BY = frozenset("by par por".split())
_PARTICIPLE_ENDINGS = (
    *("ed", "en", "ne", "wn"),
    *("é", "ée", "és", "ées", "ado", "ada", "ido", "ida", "ados", "adas"),
)
_ROLE_MARKERS = frozenset(
    """am im vom zum zur beim ins ab seit nach vor mit für um bei auf von wegen der den dem des
    einen einem einer eines jeden jede jedes""".split()
)
_FUNCTION = (
    frozenset(
        """may might must shall also debe deben puede pueden doit doivent peut peuvent muss müssen
        kann
    können darf dürfen soll sollen wird werden wurde wurden el la los las al del un una le les du
    des au aux une der die das den dem ein eine einen einem einer zu im am als wie war waren ist
    sind que""".split()
    )
    | _NEGATIONS
    | _QUANTIFIERS.keys()
)


def _list_after(words: Sequence[_Word], i: int, count: int) -> list[str]:
    return [w.stem for w in words[i + 1 : i + 8] if w.is_content][:count]


def _list_before(words: Sequence[_Word], i: int, count: int) -> list[str]:
    return [w.stem for w in reversed(words[max(0, i - 7) : i]) if w.is_content][:count]


def _list_around(words: Sequence[_Word], i: int) -> set[str]:
    return {*_list_before(words, i, _NEAR), *_list_after(words, i, _NEAR)}


# -- the rules ---------------------------------------------------------------------------------


def _has_other_quantifier(claim: Sequence[_Word], sentence: Sequence[_Word]) -> bool:
    """Whether the claim says "all" of what the sentence says "some" of."""
    for i, word in enumerate(claim):
        if word.lower not in _QUANTIFIERS:
            continue
        claimed = _QUANTIFIERS[word.lower]
        head = _list_after(claim, i, _SCOPE)
        alike = [
            _QUANTIFIERS[sentence_word.lower]
            for j, sentence_word in enumerate(sentence)
            if sentence_word.lower in _QUANTIFIERS
            and set(head) & set(_list_after(sentence, j, _SCOPE))
        ]
        if alike and not any(claimed in _ENTAILED_QUANTIFIERS[name] for name in alike):
            return True
    return False


def _is_more_certain(claim: Sequence[_Word], sentence: Sequence[_Word]) -> bool:
    """Whether the claim says "is" or "must" where the sentence says "may" or "can"."""
    claim_words = {word.lower for word in claim}
    claim_stems = {word.stem for word in claim if word.is_content}
    is_required = bool(claim_words & _REQUIRED)
    for j, word in enumerate(sentence):
        is_dropped = word.lower in _POSSIBLE and not claim_words & _HEDGES
        is_tightened = (
            word.lower in _PERMITTED | _RECOMMENDED
            and is_required
            and not claim_words & (_PERMITTED | _RECOMMENDED)
            and not any(w.lower in _REQUIRED for w in sentence)
        )
        if (is_dropped or is_tightened) and claim_stems & set(_list_after(sentence, j, 2)):
            return True
    return False


def _has_antonym(claim: Sequence[_Word], sentence: Sequence[_Word]) -> bool:
    """Whether a word of the claim stands for its opposite in the sentence."""
    for i, word in enumerate(claim):
        for kind, side in _POLARITY.get(word.lower, ()):
            around = _list_around(claim, i)
            matches = [
                (len(around & _list_around(sentence, j)), other_side, j)
                for j, sentence_word in enumerate(sentence)
                for other_kind, other_side in _POLARITY.get(sentence_word.lower, ())
                if other_kind == kind
            ]
            if not matches or _has_both_sides(claim, kind) > _has_both_sides(sentence, kind):
                continue  # "opens at 9 and closes at 17" for "open from 9 to 17"
            best, same_side, j = max(matches, key=lambda match: (match[0], match[1] == side))
            sign = 1 if same_side == side else -1
            if kind in _COMPARATIVE_CLASSES:
                sign *= _compare_sides(claim, i, sentence, j)
            if best and sign < 0:
                return True
    return _has_negated_form(claim, sentence) or _has_negated_form(sentence, claim)


def _has_negated_form(words: Sequence[_Word], others: Sequence[_Word]) -> bool:
    """Whether a word stands in the other text only with a negating prefix, near the same words."""
    word_positions = {word.lower: i for i, word in enumerate(words)}
    for j, other in enumerate(others):
        for prefix in _OPPOSITE_PREFIXES if other.is_content else ():
            base = other.lower.removeprefix(prefix)
            if (
                base != other.lower
                and base in word_positions
                and other.lower not in word_positions
                and not any(word.lower == base for word in others)
                and _is_negatable(prefix, base)
                and _list_around(words, word_positions[base]) & _list_around(others, j)
            ):
                return True
    return False


def _is_negatable(prefix: str, base: str) -> bool:
    """Whether a prefix makes the opposite of a word: "incomplete", but not "inform"."""
    if len(base) < _MIN_OPPOSITE_CHARACTERS or base in _NO_OPPOSITES:
        return False
    if prefix in {"dis", "de"}:
        return base.endswith("ed") or base.startswith("agree")
    return prefix in {"non-", "non", "nicht-", "un"} or bool(_ADJECTIVE.search(base))


def _has_both_sides(words: Sequence[_Word], kind: int) -> bool:
    sides = {side for w in words for k, side in _POLARITY.get(w.lower, ()) if k == kind}
    return len(sides) > 1


def _compare_sides(claim: Sequence[_Word], i: int, sentence: Sequence[_Word], j: int) -> int:
    """Return -1 if what stands before a comparative in one text stands after it in the other."""
    claim_before, claim_after = _split_content(claim, i)
    before, after = _split_content(sentence, j)
    crossed = len((claim_before - claim_after) & (after - before)) and len(
        (claim_after - claim_before) & (before - after)
    )
    straight = len((claim_before - claim_after) & (before - after)) and len(
        (claim_after - claim_before) & (after - before)
    )
    return -1 if crossed and not straight else 1


def _split_content(words: Sequence[_Word], i: int) -> tuple[set[str], set[str]]:
    return (
        {w.stem for w in words[:i] if w.is_content or w.stem[:1].isdigit()},
        {w.stem for w in words[i + 1 :] if w.is_content or w.stem[:1].isdigit()},
    )


def _is_negated_otherwise(
    claim: str, sentence: str, claim_words: Sequence[_Word], sentence_words: Sequence[_Word]
) -> bool:
    """Whether only one of the two negates a word that both have."""
    if bool(_REVERSALS.search(claim)) != bool(_REVERSALS.search(sentence)):
        return True
    claim_scope, sentence_scope = _list_negated(claim_words), _list_negated(sentence_words)
    claim_stems = {w.stem for w in claim_words if w.is_content}
    sentence_stems = {w.stem for w in sentence_words if w.is_content}
    has_negation = any(w.lower in _NEGATIONS for w in claim_words)
    is_denied = bool(sentence_scope & claim_stems) and not has_negation
    denies = bool(claim_scope & sentence_stems) and not any(
        w.lower in _NEGATIONS for w in sentence_words
    )
    return is_denied or denies


def _list_negated(words: Sequence[_Word]) -> set[str]:
    """Return the stems of the words that a negation is about: the two after it."""
    return {
        stem
        for i, word in enumerate(words)
        if word.lower in _NEGATIONS and word.lower != "without"
        for stem in _list_after(words, i, 2)
    }


def _has_other_number(claim: str, sentences: Sequence[str]) -> bool:
    """Whether another number, unit or sign stands beside the same words.

    The first sentence is the nearest one: a number that it has is only compared in unit and sign.
    """
    claimed = _list_numbers(claim)
    nearest_values = {number.value for number in _list_numbers(sentences[0])}
    numbers = [number for sentence in sentences for number in _list_numbers(sentence)]
    for value, unit, rate, around in claimed:
        same = [(len(around & n.around), n.unit, n.rate) for n in numbers if n.value == value]
        if same:
            _, same_unit, same_rate = max(same)
            if (unit and same_unit and unit != same_unit) or (
                rate and same_rate and rate != same_rate
            ):
                return True
        if value in nearest_values or (same and len(claimed) > 1):
            continue
        others = [
            (len(around & n.around), n.value)
            for n in numbers
            if n.value != value and n.unit == unit and _is_year(n.value) == _is_year(value)
        ]
        overlap, other_value = max(others, default=(0, ""))
        if overlap >= 2 and overlap > max(same, default=(-1, "", ""))[0]:
            return True
        if overlap and other_value.lstrip("-") == value.lstrip("-"):
            return True
    return False


def _is_year(value: str) -> bool:
    return len(value) == 4 and value[:2] in {"19", "20"}


class _Number(NamedTuple):
    """A number with its known unit, what it is for ("per month"), and the words around it."""

    value: str
    unit: str
    rate: str
    around: set[str]


@lru_cache(maxsize=4_096)
def _list_numbers(text: str) -> tuple[_Number, ...]:
    return tuple(_iterate_numbers(_analyse(text)))


def _iterate_numbers(words: Sequence[_Word]) -> Iterator[_Number]:
    for i, word in enumerate(words):
        if not word.stem.lstrip("-–")[:1].isdigit():
            continue
        following = words[i + 1].text if i + 1 < len(words) else ""
        if following.lower() in _WORDS_BEFORE_UNITS and i + 2 < len(words):
            following = words[i + 2].text
        before = words[i - 1].text if i else ""
        unit = _KNOWN_UNITS.get(following) or _KNOWN_UNITS.get(following.lower(), "")
        if {w.lower for w in words[max(0, i - 2) : i]} & _APPROXIMATIONS:
            continue
        if not unit and before in _CURRENCIES:
            unit = before
        value = normalize_number(word.stem.replace(",", "").replace("–", "-"))
        around = {*_list_before(words, i, _NEAR), *_list_after(words, i, 1)}
        around = {s for s in around if s not in _UNIT_STEMS and not s[:1].isdigit()}
        yield _Number(value, unit, _find_rate(words[i + 1 : i + 5]), around)


def _find_rate(words: Sequence[_Word]) -> str:
    """Return the unit of time after "per" or "a" ("85 francs per hour"); "" if there is none."""
    for first, second in pairwise(words):
        if first.lower in _PER and second.lower in _RATES:
            return _RATES[second.lower]
    return next((_RATES[w.lower] for w in words if w.lower in _RATE_ADVERBS), "")


def _is_exchanged(claim: Sequence[_Word], sentence: Sequence[_Word]) -> bool:
    """Whether what stands before and after a word is exchanged: "A beat B", "B beat A"."""
    shared = _list_shared_once(claim, sentence)
    if len(shared) < 3:
        return False
    claim_positions = {w.stem: i for i, w in enumerate(claim) if w.stem in shared}
    positions = {w.stem: i for i, w in enumerate(sentence) if w.stem in shared}
    other_voice = [
        stem
        for stem in shared
        if _is_passive(claim, claim_positions[stem]) != _is_passive(sentence, positions[stem])
    ]
    in_order = sorted(shared, key=claim_positions.__getitem__)
    if other_voice:  # "Frost damage is covered by X", "X covers damage caused by frost"
        return any(
            positions[before] < positions[verb] < positions[after]
            for before, verb, after in zip(in_order, in_order[1:], in_order[2:], strict=False)
            if verb in other_voice
            and _has_agent(claim, claim_positions[verb]) != _has_agent(sentence, positions[verb])
        )
    if _count_passives(claim) != _count_passives(sentence):
        return False
    for k in range(1, len(in_order) - 1):
        pivot = in_order[k]
        if _is_listed(claim, claim_positions[pivot]) or _is_listed(sentence, positions[pivot]):
            continue
        before, after = in_order[k - 1], in_order[k + 1]
        if positions[after] < positions[pivot] < positions[before] and not any(
            _keeps_role(claim, claim_positions[noun], sentence, positions[noun])
            for noun in (before, after)
        ):
            return True
    return False


def _keeps_role(claim: Sequence[_Word], i: int, sentence: Sequence[_Word], j: int) -> bool:
    """Whether a German preposition or case shows that a noun has the same role in both.

    "Am Montag beginnt die Schulung" is "Die Schulung beginnt am Montag".
    """
    marker = _find_role_marker(claim, i)
    return marker is not None and marker == _find_role_marker(sentence, j)


def _find_role_marker(words: Sequence[_Word], i: int) -> str | None:
    before = (word.lower for word in reversed(words[max(0, i - 3) : i]))
    return next((word for word in before if word in _ROLE_MARKERS), None)


def _list_shared_once(claim: Sequence[_Word], sentence: Sequence[_Word]) -> set[str]:
    """Return the stems of content that each of the two has once."""

    def list_once(words: Iterable[_Word]) -> set[str]:
        listed = [w.stem for w in words if w.is_content]
        return {stem for stem in listed if listed.count(stem) == 1}

    return list_once(claim) & list_once(sentence)


def _count_passives(words: Sequence[_Word]) -> int:
    """Return how many verbs are in the passive voice: "was beaten by", "is needed"."""
    participles = sum(
        first.lower in _BE and second.lower.endswith(_PARTICIPLE_ENDINGS)
        for first, second in pairwise(words)
    )
    return max(participles, sum(w.lower in _BY for w in words))


def _is_passive(words: Sequence[_Word], i: int) -> bool:
    """Whether a word is a participle after "is" or before "by"."""
    before, after = words[max(0, i - 2) : i], words[i + 1 : i + 2]
    return words[i].lower.endswith((*_PARTICIPLE_ENDINGS, "t")) and (
        any(word.lower in _BE for word in before) or any(word.lower in _BY for word in after)
    )


def _has_agent(words: Sequence[_Word], i: int) -> bool:
    """Whether "by" follows a verb: the one who acts is named after it."""
    return any(word.lower in _BY for word in words[i + 1 : i + 3])


def _is_listed(words: Sequence[_Word], i: int) -> bool:
    return any(
        0 <= k < len(words) and words[k].lower in {"and", "or", "und", "oder"}
        for k in (i - 1, i + 1)
    )


def _drops_interval(claim: str, sentence: str) -> bool:
    """Whether a claim says "every Friday" of what is "every second Friday" in the sentence."""
    intervals = {noun.lower() for noun in _INTERVAL.findall(sentence)}
    return any(
        noun.lower() in intervals and not _INTERVAL.search(claim) for noun in _EVERY.findall(claim)
    )


def _is_beyond_limit(claim: str, sentence: str) -> bool:
    """Whether a claim is about more than a maximum or less than a minimum of the sentence.

    So is "at least 50", where the sentence says "at most 50".
    """
    claimed_bounds, bounds = _list_bounds(claim), _list_bounds(sentence)
    if any((number, not is_max) in bounds for number, is_max in claimed_bounds - bounds):
        return True
    beyond = {(m.lastgroup, m[m.lastgroup or 0]) for m in _BEYOND.finditer(claim)}
    if not beyond:
        return False
    limits = {
        (kind, number)
        for match in _LIMIT.finditer(sentence)
        for kind, numbers in (("more", ("max", "to")), ("less", ("min", "from")))
        for number in map(match.group, numbers)
        if number
    }
    return bool(beyond & limits)


def _list_bounds(text: str) -> set[tuple[str, bool]]:
    """Return the numbers of "at most" and "at least" in a text, and whether it is the former."""
    return {
        (NUMBER_WORDS.get(number.lower(), number), match["max"] is not None)
        for match in _BOUND.finditer(text)
        for number in (match["max"] or match["min"],)
    }


def _drops_condition(claim: str, sentence: str) -> bool:
    """Whether the sentence states a condition, and the claim none that the sentence has not.

    A condition behind a semicolon is one for what stands there.
    """
    if ";" in sentence:
        claim_stems = set(stems(claim))
        sentence = max(sentence.split(";"), key=lambda part: len(claim_stems & set(stems(part))))
    if not _CONDITION.search(sentence):
        return False
    only = _ONLY.search(sentence)
    if only and len(_CONDITION.findall(sentence)) == 1:
        limited_stems = set(content_stems(sentence[only.end() :]))
        if limited_stems and limited_stems <= set(content_stems(claim)):
            return False  # "Members may vote" keeps what "only members may vote" is about
    other_words = {match.group().lower() for match in _ANY_CONDITION.finditer(sentence)}
    return not any(
        match.group().lower() not in other_words or _CONDITION.search(match.group())
        for match in _ANY_CONDITION.finditer(claim)
    )


def _drops_speaker(claim: Sequence[_Word], sentence: Sequence[_Word]) -> bool:
    """Whether the sentence only reports what the claim states."""
    if {w.lower for w in claim} & _SAYING:
        return False
    claim_stems = {w.stem for w in claim if w.is_content}
    return any(
        word.lower in _SAYING and claim_stems & set(_list_after(sentence, j, _SCOPE))
        for j, word in enumerate(sentence)
    )
