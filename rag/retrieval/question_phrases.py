"""The phrases of a question: names, what follows a preposition, what it is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rag.text.function_words import FunctionWords
from rag.text.tokenization import STOP_WORDS, stems
from rag.text.word_lists import MONTH_NUMBERS

_TOKEN = re.compile(
    r"(?:[dlnmstcj]|qu|(?:d|n|s)?ell|all|sull|quest|un)['’](?=\w)|[^\W_](?:[\w'’./-]*[^\W_])?",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:FY|CY|GJ)?(?:19|20)\d\d(?:[/–-]\d{2,4})?", re.IGNORECASE)
_QUARTER = re.compile(r"[QH][1-4]|[1-4][QH]", re.IGNORECASE)
_WEEKDAYS = frozenset(
    """monday tuesday wednesday thursday friday saturday sunday montag dienstag mittwoch donnerstag
    freitag samstag sonntag lundi mardi mercredi jeudi vendredi samedi dimanche lunes martes
    miércoles jueves viernes sábado domingo lunedì martedì mercoledì giovedì venerdì sabato domenica
    maandag dinsdag woensdag donderdag vrijdag zaterdag zondag""".split()
)
PERIODS = frozenset(
    """year month week quarter weekend jahr monat woche quartal wochenende année mois semaine
    trimestre año mes semana anno mese settimana ano mês jaar maand kwartaal""".split()
)
_AMBIGUOUS_MONTHS = frozenset({"may", "march", "mar", "mars", "sept", "dec", "jan", "set"})
_POSSESSIVE = re.compile(r"['’]s?$")
_MAX_ITEM_WORDS = 4  # of an item of a list that is carried
_MAX_MODIFIERS = 3  # words before a noun that belong to it
_MEASURE_PHRASE = re.compile(r"\bhow \w+", re.IGNORECASE)  # long, often: not what it is about
_ENGLISH_DO = re.compile(r"\b(?:do|does|did)\s+(?!(?:i|you|we|they|he|she|it)\b)", re.I)


class Token(NamedTuple):
    """A word of a question, with its span."""

    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """The token in lower case, without a possessive ending."""
        return _POSSESSIVE.sub("", self.text).lower()


class Element(NamedTuple):
    """A part of an elliptic question: "in 2024", "the Oslo site"."""

    preposition: str
    tokens: tuple[Token, ...]
    text: str
    phrase: str
    kind: str
    stands_for_noun: bool


class NameRun(NamedTuple):
    """Words of a question that are one name: "Kite 4"."""

    tokens: tuple[Token, ...]

    @property
    def start(self) -> int:
        """The start of the first word."""
        return self.tokens[0].start

    @property
    def end(self) -> int:
        """The end of the last word."""
        return self.tokens[-1].end

    @property
    def has_digit(self) -> bool:
        """Whether one of the words has a digit."""
        return any(has_digit(token.text) for token in self.tokens)


def tokenize(text: str) -> list[Token]:
    """Return the words of a text; an article with an apostrophe is a word."""
    return [Token(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(text)]


def find_names(
    tokens: Sequence[Token], words: FunctionWords, *, has_first: bool
) -> list[tuple[int, int]]:
    """Return the spans of the names; those of the first word count with `has_first`.

    Where nouns have capitals, only identifiers count, and words in the middle of a question that
    follow no article.
    """
    spans = []
    for i, token in enumerate(tokens):
        if not is_name(token.text) or token.word in words.function_words:
            continue
        if i == 0 and not has_first and not has_digit(token.text):
            continue
        if (
            words.has_capitalized_nouns
            and not has_digit(token.text)
            and (i == 0 or tokens[i - 1].word not in words.preposition_groups)
        ):
            continue
        spans.append((token.start, token.end))
    return spans


def find_name_runs(text: str, words: FunctionWords) -> list[NameRun]:
    """Return the names in a question, in their order; years and months are none."""
    runs: list[list[Token]] = []
    previous_end = -2
    for i, token in enumerate(tokenize(text)):
        is_part = (
            is_name(token.text)
            and token.word not in words.function_words
            and not find_date_kind(token.text)
            and (i > 0 or has_digit(token.text))
        )
        if not is_part:
            continue
        if runs and text[previous_end : token.start] == " ":
            runs[-1].append(token)
        else:
            runs.append([token])
        previous_end = token.end
    return [NameRun(tuple(run)) for run in runs]


def list_named_phrases(text: str, words: FunctionWords) -> set[str]:
    """Return the words of phrases with a name: "Oslo site", "warranty of the P-40"."""
    tokens = tokenize(text)
    name_words: set[str] = set()
    for run in find_name_runs(text, words):
        name_words |= {token.text for token in run.tokens}
        for neighbours in (
            [token for token in tokens if token.start >= run.end],
            [token for token in reversed(tokens) if token.end <= run.start],
        ):
            for i, token in enumerate(neighbours):
                is_link = token.word in words.articles or token.word in words.preposition_groups
                if is_link and i < 2 and neighbours[0].end <= run.start:
                    continue
                if token.word not in words.function_words:
                    name_words.add(token.text)
                break
    return name_words


def find_replaced_span(text: str, element: Element, words: FunctionWords) -> tuple[int, int] | None:
    """Return the span of a question that an element replaces; None if there is none."""
    tokens = tokenize(text)
    if element.kind not in {"name", "phrase"}:
        same = [t for t in tokens if find_date_kind(t.text) == element.kind]
        return (same[-1].start, same[-1].end) if same else None
    if (span := find_phrase_with_noun(text, tokens, element, words)) is not None:
        return span
    if element.kind == "phrase" and not element.preposition and element.stands_for_noun:
        return _find_modifier(text, tokens, words)
    runs = find_name_runs(text, words)
    after_preposition = _find_phrase_after(text, tokens, element, words)
    if element.kind == "name":
        is_code = any(has_digit(token.text) for token in element.tokens)
        alike = [run for run in runs if run.has_digit == is_code]
        if after_preposition is not None and (
            not alike or any(run.start == after_preposition[0] for run in runs)
        ):
            return after_preposition
        candidates = alike or ([] if element.preposition else runs)
        if candidates:
            return _find_replaced_part(candidates[-1], element, words)
        if runs:
            return None
    elif after_preposition is not None:
        return after_preposition
    elif runs and not words.has_capitalized_nouns:
        return None
    if element.preposition or (runs and any(run.has_digit for run in runs)):
        return None
    return _find_only_subject(text, element, words)


def _find_modifier(
    text: str, tokens: Sequence[Token], words: FunctionWords
) -> tuple[int, int] | None:
    """Return the span of the last word between an article and a noun: "the small van"."""
    for article, modifier, noun in reversed(
        list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    ):
        if (
            article.word in words.articles
            and not {modifier.word, noun.word} & words.function_words
            and text[modifier.end : noun.start] == " "
        ):
            return modifier.start, modifier.end
    return None


def _find_replaced_part(run: NameRun, element: Element, words: FunctionWords) -> tuple[int, int]:
    """Return the span of a name; without the noun before it where nouns have capitals."""
    is_named_noun = words.has_capitalized_nouns and not run.has_digit
    first = -min(len(run.tokens), len(element.tokens)) if is_named_noun else 0
    return run.tokens[first].start, run.end


def _find_only_subject(text: str, element: Element, words: FunctionWords) -> tuple[int, int] | None:
    """Return the only word that a question is about."""
    subjects = list_subject_words(text, words)
    if len(subjects) != 1 or element.kind == "name":
        return None
    start = text.rfind(subjects[0])
    return start, start + len(subjects[0])


def find_phrase_with_noun(
    text: str, tokens: Sequence[Token], element: Element, words: FunctionWords
) -> tuple[int, int] | None:
    """Return the span of the phrase with the same noun: "Basic plan" for "Team plan"."""
    for head in reversed(element.tokens) if len(element.tokens) > 1 else element.tokens:
        pieces = _list_last_pieces(head.text)
        for i in reversed(range(len(tokens))):
            token = tokens[i]
            if token.word in words.function_words or (i == 0 and not has_digit(token.text)):
                continue
            if pieces.isdisjoint(_list_last_pieces(token.text)):
                continue
            is_last = head is element.tokens[-1]
            return _extend_to_modifiers(text, tokens, i, element, words, is_last=is_last)
    return None


def _extend_to_modifiers(
    text: str,
    tokens: Sequence[Token],
    i: int,
    element: Element,
    words: FunctionWords,
    *,
    is_last: bool,
) -> tuple[int, int]:
    """Return the span of token `i` with the words beside it that the element has others for."""
    others_are_names = all(is_name(t.text) for t in element.tokens[: -1 if is_last else None])
    first = last = i
    if is_last:
        while first > 0 and i - first < max(len(element.tokens) - 1, 0) + 1:
            before = tokens[first - 1]
            if (
                before.word in words.function_words
                or text[before.end : tokens[first].start].strip()
                or (others_are_names and not is_name(before.text))
                or (first - 1 == 0)
                or i - first >= _MAX_MODIFIERS
            ):
                break
            first -= 1
        if len(element.tokens) == 1:
            first = i
    else:  # "Standort Oslo", "Kite 5": the name follows the noun
        while last + 1 < len(tokens):
            following = tokens[last + 1]
            if (
                text[tokens[last].end : following.start] != " "
                or not is_name(following.text)
                or following.word in words.function_words
                or find_date_kind(following.text)
            ):
                break
            last += 1
        while first > 0 and element.tokens[0] is not element.tokens[-1]:
            if stems(tokens[first].text) == stems(element.tokens[0].text):
                break
            before = tokens[first - 1]
            if not is_name(before.text) or first - 1 == 0:
                break
            first -= 1
    return tokens[first].start, tokens[last].end


def _find_phrase_after(
    text: str, tokens: Sequence[Token], element: Element, words: FunctionWords
) -> tuple[int, int] | None:
    """Return the span of the words after the same preposition, without their article."""
    groups = words.preposition_groups
    if not element.preposition:
        return None
    group = groups[element.preposition]
    for i in reversed(range(len(tokens) - 1)):
        if groups.get(tokens[i].word) != group:
            continue
        phrase: list[Token] = []
        for token in tokens[i + 1 :]:
            if token.word in words.articles and not phrase:
                continue
            if token.word in words.function_words or find_date_kind(token.text):
                break
            if phrase and text[phrase[-1].end : token.start].strip():
                break
            if phrase and is_name(phrase[-1].text) and not is_name(token.text):
                break
            phrase.append(token)
        if phrase:
            return phrase[0].start, phrase[-1].end
    return None


def append_phrase(text: str, phrase: str) -> str:
    """Return a question with a phrase at its end, before its punctuation."""
    body = text.rstrip(" ?.!")
    return f"{body} {phrase}{text[len(body) :].strip() or '?'}"


def list_content_words(text: str, words: FunctionWords) -> list[str]:
    """Return the words that say something about the topic, in their order."""
    return [
        token.text
        for token in tokenize(_MEASURE_PHRASE.sub("", text))
        if token.word not in STOP_WORDS
        and token.word not in words.function_words
        and not token.text.endswith(("'", "’"))  # the article of "l'hôtel"
    ]


def list_subject_words(text: str, words: FunctionWords) -> list[str]:
    """Return the words that a question is about, without its verb if that can be recognized."""
    content_words = list_content_words(text, words)
    question_words = [token.word for token in tokenize(text)]
    if len(content_words) < 2:
        return content_words
    if (
        _ENGLISH_DO.search(text)
        and question_words[-1] == content_words[-1].lower()
        and question_words[-2] not in words.articles | words.preposition_groups.keys()
        and not is_name(content_words[-1])
    ):
        return content_words[:-1]
    asks_who = len(question_words) > 1 and question_words[0] in words.who
    if asks_who and content_words[0].lower() == question_words[1]:
        return content_words[1:]
    return content_words


def list_item_words(text: str, words: FunctionWords) -> list[str]:
    """Return the words that name an item of a list: its names, or else its first words."""
    first_line = text.strip().strip("|-*• ").partition("|")[0]
    tokens = tokenize(first_line)
    names = [token.text for token in tokens if is_name(token.text)]
    lower = [word for word in names if word.lower() not in words.function_words]
    return (lower or list_content_words(first_line, words))[:_MAX_ITEM_WORDS]


def _list_last_pieces(word: str) -> set[str]:
    """Return the stems of a word, and of what follows its last hyphen: Team-Tarif, Tarif."""
    return {*stems(word), *stems(word.rsplit("-", 1)[-1])}


def find_date_kind(word: str) -> str:
    """Return whether a word is a year, a quarter, a month or a weekday; else ""."""
    if _YEAR.fullmatch(word):
        return "year"
    if _QUARTER.fullmatch(word):
        return "quarter"
    is_month = word.lower() in MONTH_NUMBERS
    if is_month and (word[0].isupper() or word not in _AMBIGUOUS_MONTHS):
        return "month"
    return "weekday" if word.lower() in _WEEKDAYS else ""


def is_name(word: str) -> bool:
    """Whether a word begins with a capital or a digit."""
    return word[0].isupper() or word[0].isdigit()


def has_digit(word: str) -> bool:
    """Whether a word has a digit."""
    return any(map(str.isdigit, word))
