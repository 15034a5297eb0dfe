"""Follow-up questions, understood without a model: by rules, in seven languages.

Each question of a conversation is completed from the one before, which is its anchor:

* "And the Oslo site?" and "no, I meant 2023" replace the element of the anchor of the same kind: a
  name, an identifier, a year, a month, what follows the same preposition.
* "What is its phone number?" stands, and carries the words that the anchor is about.
* "the second one" carries the second item of the last reply, or the second name of the anchor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rag.query import Query
from rag.retrieval.question_phrases import (
    PERIODS,
    Element,
    Token,
    append_phrase,
    find_date_kind,
    find_name_runs,
    find_names,
    find_phrase_with_noun,
    find_replaced_span,
    has_digit,
    is_name,
    list_content_words,
    list_item_words,
    list_named_phrases,
    list_subject_words,
    tokenize,
)
from rag.text.function_words import FunctionWords, find_function_words
from rag.text.tokenization import stems
from rag.types import NO_ANSWER

_ARTICLES = frozenset("the a an der die das le la el il o de".split())
_MARKER = re.compile(r"(?<!\s)\s*+\[\d{1,3}\]\s*+")
_PERSON = re.compile(r"\b[^\W\d_a-zß-öø-ÿ][\w'’-]{1,60}(?: [^\W\d_a-zß-öø-ÿ][\w'’-]{1,60}){1,6}")
_ENUMERATION = re.compile(
    r"(?<!\s)\s*+(?:,|;|\b(?:and|or|und|oder|et|ou|y|o|e|en|of|vs|versus)\b)\s*+"
)
_MAX_ELLIPSIS_WORDS = 6
_MIN_CONTENT_WORDS = 2  # words of content below which a question does not stand by itself
_MAX_CHARACTERS = 500  # of a question that can be a follow-up
_MAX_ANCHORS = 50  # earlier questions that are looked at


class Turn(NamedTuple):
    """A question of a conversation, and the reply to it."""

    question: str
    reply: str = ""


class _Anchor(NamedTuple):
    """An earlier question that has been completed, with the reply to it."""

    text: str
    carried_terms: tuple[str, ...]
    reply: str
    list_reply: str = ""  # the last reply with several items

    def list_subject_words(self, words: FunctionWords) -> list[str]:
        """Return the words that the question is about, each once."""
        return list(dict.fromkeys([*list_subject_words(self.text, words), *self.carried_terms]))


def complete_follow_up(question: str, turns: Sequence[Turn], max_terms: int) -> Query:
    """Return a question as it is meant after the earlier `turns`, oldest first.

    A question that stands by itself is returned unchanged. At most `max_terms` words are carried.
    """
    anchor: _Anchor | None = None
    answered: _Anchor | None = None
    list_reply = ""
    for turn in turns[-_MAX_ANCHORS:]:
        query = _complete(_shorten(turn.question), anchor, answered, max_terms)
        list_reply = turn.reply if len(_split_items(turn.reply)) > 1 else list_reply
        anchor = _Anchor(query.text, query.carried_terms, turn.reply, list_reply)
        if turn.reply != NO_ANSWER:
            answered = anchor
    return _complete(question, anchor, answered, max_terms)


def _complete(
    question: str, anchor: _Anchor | None, answered: _Anchor | None, max_terms: int
) -> Query:
    if anchor is None or not question.strip() or len(question) > _MAX_CHARACTERS:
        return Query(question)
    follow_up = _FollowUp(question, anchor, answered)
    completed = follow_up.complete()
    return Query(completed.text, carried_terms=completed.carried_terms[:max_terms])


def _shorten(question: str) -> str:
    """Return the beginning of an earlier question on one line."""
    return " ".join(question[: 10 * _MAX_CHARACTERS].split())[:_MAX_CHARACTERS]


def _split_items(reply: str) -> list[str]:
    """Return the parts of a reply before its markers."""
    return [] if reply == NO_ANSWER else [part for part in _MARKER.split(reply) if part.strip()]


class _FollowUp:
    """A question that may depend on the one before."""

    def __init__(self, question: str, anchor: _Anchor, answered: _Anchor | None) -> None:
        self.words = find_function_words(f"{anchor.text} {question} {question}")
        self.question = question
        self.anchor = anchor
        self.answered = answered or anchor
        correction = self.words.correction_pattern.match(question)
        rest = question[correction.end() :] if correction else question
        negation = self.words.negation_pattern.search(rest)
        if negation and negation.start() == 0:
            rest = rest[negation.end() :]
        elif negation and correction:
            rest = rest[: negation.start()]
        self.is_correction = bool((correction or negation) and rest.strip(" .?!"))
        opening = self.words.opening_pattern.match(rest)
        self.has_opening = opening is not None
        self.core = rest[opening.end() :] if opening else rest
        if not self.core.strip(" ?.!¿¡"):
            self.core = rest
        self.tokens = tokenize(self.core)

    def complete(self) -> Query:
        """Return the question as it is meant."""
        if (ordinal := self._find_ordinal()) is not None and (item := self._find_item(ordinal)):
            return self._carry(item)
        if self._is_ellipsis():
            completed = self._replace_elements()
            if completed is not None:
                return completed
            has_name = any(element.kind == "name" for element in self._list_elements())
            if self.is_correction and has_name:
                return Query(_capitalize(self.core.strip()))
            return self._carry(self._list_carried_words())
        if person := self._find_person():
            return self._carry([*person.split(), *self._list_carried_words()])
        if self._refers_back():
            return self._carry(self._list_carried_words())
        if self.is_correction:
            return Query(_capitalize(self.core.strip()))
        if self.has_opening and not find_names(self.tokens, self.words, has_first=True):
            return self._carry(self._list_carried_words())
        if self._count_content_words() < _MIN_CONTENT_WORDS and self._asks():
            return self._carry(self._list_carried_words())
        return Query(self.question)

    def _asks(self) -> bool:
        """Whether a short text is a question, and not "no" or "thanks"."""
        question_words = self.words.question_words
        return "?" in self.core or any(token.word in question_words for token in self.tokens)

    # -- what kind of follow-up it is ----------------------------------------------------------

    def _is_ellipsis(self) -> bool:
        """Whether the question is a phrase without a verb: "And the Oslo site?", "in 2024?"."""
        if not self.tokens or len(self.tokens) > _MAX_ELLIPSIS_WORDS + len(self._small_words()):
            return False
        if any(self._belongs_to_clause(i) for i in range(len(self.tokens))):
            return False
        if not self._count_content_words():
            return False
        if self.has_opening or self.is_correction:
            return True
        elements = self._list_elements()
        if any(element.kind == "phrase" and not element.preposition for element in elements):
            anchor_tokens = tokenize(self.anchor.text)
            return self._asks() and any(
                find_phrase_with_noun(self.anchor.text, anchor_tokens, element, self.words)
                for element in elements
            )
        is_name_alone = len(elements) == 1 and elements[0].kind == "name"
        return self._asks() or not is_name_alone

    def _belongs_to_clause(self, i: int) -> bool:
        """Whether a token shows that the question has a verb, or refers back with a pronoun."""
        words, word = self.words, self.tokens[i].word
        if word in words.articles or word in words.preposition_groups:
            return False
        if word in words.question_words | words.auxiliaries | words.persons:
            return True
        return word in words.things and not self._stands_for_noun(i)

    def _stands_for_noun(self, i: int) -> bool:
        """Whether a token is "that" in "and that of Oslo"."""
        groups = self.words.preposition_groups
        return i + 1 < len(self.tokens) and self.tokens[i + 1].word in groups

    def _small_words(self) -> list[Token]:
        small = self.words.articles | self.words.preposition_groups.keys()
        return [token for token in self.tokens if token.word in small]

    def _count_content_words(self) -> int:
        return len(list_content_words(self.core, self.words))

    def _refers_back(self) -> bool:
        """Whether a pronoun points to an earlier question, and not to this one or to nothing."""
        words = self.words
        fillers = words.filler_pattern
        hidden = [m.span() for m in fillers.finditer(self.core)] if fillers else []
        names = find_names(self.tokens, words, has_first=False)
        groups = words.preposition_groups
        for i, token in enumerate(self.tokens):
            if any(start <= token.start < end for start, end in hidden):
                continue
            before = self.tokens[i - 1].word if i else ""
            is_last = i + 1 == len(self.tokens)
            is_pronoun = token.word in words.statements and words.has_capitalized_nouns
            if (
                not is_last
                and not (is_pronoun and self._stands_alone(i))
                and (token.word in words.articles or token.word in groups)
            ):
                continue  # "la" and "die" before a noun, "en" before a year
            if token.word in words.places and self.core[token.start : token.start + 1].islower():
                return True
            if token.word in words.statements:
                if self._is_demonstrative(i, before):
                    return True
            elif token.word in words.things | words.persons | words.noun_substitutes - {""}:
                is_inner = any(end <= token.start for _, end in names)
                if not is_inner:
                    return True
        return False

    def _stands_alone(self, i: int) -> bool:
        """Whether "das" is no article: no word with a capital follows soon."""
        return not any(token.text[0].isupper() for token in self.tokens[i + 1 : i + 3])

    def _is_demonstrative(self, i: int, before: str) -> bool:
        """Whether "that" stands for something: "why is that", "that site", not "the one that"."""
        words = self.words
        if i == len(self.tokens) - 1 or i == 0 or words.has_capitalized_nouns:
            return True
        if before in words.auxiliaries or before in words.preposition_groups:
            return True
        following = set(stems(self.tokens[i + 1].text))
        return not following.isdisjoint(stems(" ".join(self.anchor.list_subject_words(words))))

    # -- what it refers to ---------------------------------------------------------------------

    def _list_carried_words(self) -> list[str]:
        """Return the words of the anchor that the question needs and does not have."""
        words = self.words
        is_about_reply = not self._count_content_words() or any(
            token.word in words.statements - {"so"} for token in self.tokens
        )
        anchor = self.answered if is_about_reply else self.anchor
        subject_words = anchor.list_subject_words(words)
        if not is_about_reply and any(
            token.word in words.things | words.persons | words.places for token in self.tokens
        ):
            named_words = list_named_phrases(anchor.text, words)
            subject_words = [
                word
                for word in subject_words
                if word in anchor.carried_terms or word in named_words
            ] or subject_words
        own_stems = set(stems(self.core))
        has_name = bool(find_names(self.tokens, words, has_first=self.has_opening))
        has_name = has_name and not words.has_capitalized_nouns
        return [
            word
            for word in subject_words
            if own_stems.isdisjoint(stems(word)) and not (has_name and is_name(word))
        ]

    def _find_person(self) -> str:
        """Return the person in the last reply that "he" or "her" stands for; "" if there is none.

        A person that the anchor itself names is carried with its other words.
        """
        persons = self.words.persons
        if not any(token.word in persons for token in self.tokens):
            return ""
        if find_names(self.tokens, self.words, has_first=False):
            return ""
        question_stems = set(stems(self.anchor.text))
        for match in _PERSON.finditer(_MARKER.sub(" ", self.anchor.reply)):
            name_words = [word for word in match.group().split() if word.lower() not in _ARTICLES]
            if len(name_words) > 1 and question_stems.isdisjoint(stems(" ".join(name_words))):
                return " ".join(name_words)
        return ""

    def _find_ordinal(self) -> int | None:
        """Return the place in a list that the question names, -1 for the last; None for no place.

        An ordinal with a noun of its own ("the second quarter") names no place.
        """
        words = self.words
        for i, token in enumerate(self.tokens):
            list_place = next(
                (n for n, forms in enumerate(words.ordinals) if token.word in forms), None
            )
            if token.word in words.former or token.word in words.latter:
                return 0 if token.word in words.former else -1
            if token.word in words.last:
                list_place = -1
            if list_place is None:
                continue
            following = self.tokens[i + 1].word if i + 1 < len(self.tokens) else ""
            before = self.tokens[i - 1].word if i else ""
            subjects = set(stems(" ".join(self.anchor.list_subject_words(words))))
            if (
                not following
                or following in words.noun_substitutes - {""}
                or following in words.function_words - words.articles
                or (before in words.articles and not subjects.isdisjoint(stems(following)))
            ):
                return list_place
        return None

    def _find_item(self, list_place: int) -> list[str]:
        """Return the words of an item of the last reply, or else of a list in the anchor."""
        parts = _split_items(self.anchor.list_reply)
        listed = [part for part in _ENUMERATION.split(self.anchor.text) if part.strip()]
        names = [
            [t.text for t in run.tokens] for run in find_name_runs(self.anchor.text, self.words)
        ]
        if len(listed) > 1 and len(names) > 1:
            items = names
        elif parts:
            items = [list_item_words(part, self.words) for part in parts]
        else:
            return []
        return items[list_place] if -len(items) <= list_place < len(items) else []

    def _carry(self, carried: Iterable[str]) -> Query:
        text = self.core.strip() if self.is_correction else self.question
        return Query(text, carried_terms=tuple(dict.fromkeys(carried)))

    # -- what it replaces ----------------------------------------------------------------------

    def _list_elements(self) -> list[Element]:
        """Return the parts of an elliptic question: phrases, years, months and weekdays."""
        groups = self.words.preposition_groups
        elements: list[Element] = []
        preposition: Token | None = None
        phrase: list[Token] = []

        def add(kind: str, tokens: Sequence[Token]) -> None:
            nonlocal preposition
            stands_for_noun = len(tokens) > 1 and tokens[-1].word in self.words.noun_substitutes
            last = tokens[-2 if stands_for_noun else -1]
            text = self.core[tokens[0].start : last.end]
            start = (preposition or tokens[0]).start
            word = preposition.word if preposition else ""
            phrase_text = self.core[start : tokens[-1].end]
            phrase_text = phrase_text[0].lower() + phrase_text[1:] if preposition else phrase_text
            elements.append(Element(word, tuple(tokens), text, phrase_text, kind, stands_for_noun))
            preposition = None

        def add_phrase() -> None:
            if phrase:
                kind = "name" if any(map(self._is_name_here, phrase)) else "phrase"
                if self.words.has_capitalized_nouns and self._follows_article(phrase[0]):
                    kind = "name" if any(has_digit(t.text) for t in phrase) else "phrase"
                if phrase[-1].word in PERIODS:
                    kind = "period"
                add(kind, phrase)
                phrase.clear()

        for i, token in enumerate(self.tokens):
            kind = find_date_kind(token.text)
            if token.word in groups and not (phrase and token.word in self.words.articles):
                add_phrase()
                preposition = token
            elif kind:
                add_phrase()
                add(kind, [token])
            elif token.word in self.words.things and self._stands_for_noun(i):
                continue
            elif token.word not in self.words.articles or (phrase and is_name(token.text)):
                phrase.append(token)
        add_phrase()
        return elements

    def _is_name_here(self, token: Token) -> bool:
        """Whether a token is a name; the capital of a question's first word is none of a name."""
        is_first = token.start == self.tokens[0].start and len(self.tokens) > 1
        if is_first and not self.has_opening and not has_digit(token.text):
            return False
        return is_name(token.text)

    def _follows_article(self, token: Token) -> bool:
        before = [t for t in self.tokens if t.end <= token.start]
        return bool(before) and before[-1].word in self.words.articles

    def _replace_elements(self) -> Query | None:
        """Return the anchor with the elements of this question; None if one has no place in it."""
        text, carried = self.anchor.text.strip(), self.anchor.carried_terms
        for element in self._list_elements():
            replaced = find_replaced_span(text, element, self.words)
            if replaced is not None:
                text = text[: replaced[0]] + element.text + text[replaced[1] :]
                continue
            if element.kind == "name" and any(map(is_name, carried)):
                kept_terms = [word for word in carried if not is_name(word)]
                names = [t.text for t in element.tokens]
                carried = tuple(dict.fromkeys([*names, *kept_terms]))
            elif element.preposition or element.kind not in {"name", "phrase"}:
                text = append_phrase(text, element.phrase)
            else:
                return None
        return Query(text, carried_terms=carried)


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]
