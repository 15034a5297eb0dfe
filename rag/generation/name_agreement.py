"""Agreement of names: a sentence about Berlin does not support a claim about Munich.

A verifier compares a claim with one sentence below its headings. It does not know that the same
words stand under another heading, so most of a false claim may agree: only the name is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence, Set
from functools import lru_cache
from itertools import permutations

from rag.generation.passages import Passage
from rag.text.date_ranges import agree_dates, find_exact_dates
from rag.text.function_words import find_function_words
from rag.text.names import find_years, spell_out_fiscal_years
from rag.text.sentences import Span
from rag.text.synonyms import find_synonymous_words
from rag.text.tokenization import STOP_WORDS, content_stems, words
from rag.text.word_lists import SENTENCE_STARTERS
from rag.verification.number_normalization import spell_out_dates
from rag.verification.rows import split_row

_MAX_JOINED_NAMES = 12
MAX_SHORT_CLAIM_WORDS = 2  # a claim of at most so many words has no meaning alone
_MAX_VALUE_WORDS = 3  # of a cell: a longer one is a text
MISSING_NAME_FACTOR = 0.3  # of the support, if the sentence is about another name
_INNER_PUNCTUATION = re.compile(r"(?<=\w)[-_./](?=\w)")
_SHAPE = re.compile(r"\d+")
_YEAR = re.compile(r"(?:19|20)\d\d")
_POSSESSIVE = re.compile(r"['’]s?$")
_FIRST_WORD = re.compile(r"(?:^\W*|(?<=[.!?]\s))[^\W\d_]+\b(?![-./]?\d)")
_INITIALISM = re.compile(r"\b(?=\w?[a-z&]?[A-Z])[A-Z][A-Za-z&]{1,5}\b")
_LINKING_WORDS = r"(?:(?:and|of|for|the|in|und|für|et|de|des|du|y|e|&)\W{1,3})?"
_PERSON = re.compile(r"\b[A-ZÄÖÜÀ-Þ][a-zß-ÿ]{1,20} (?:[A-Z]\. )?[A-ZÄÖÜÀ-Þ][a-zß-ÿ]{1,20}\b")
_NAME = re.compile(r"(?<![\w])(?:[^\W\d_a-zß-öø-ÿ]|\d|\w*\d)[\w'’]*(?:[-./]\w+)*")


class NameAgreement:
    """Compares the names of a claim with those of the sentences of passages.

    A name is a word with an initial capital or a digit. `question` is the question that the claim
    answers. A claim of one or two words takes the names of the question.
    """

    def __init__(self, claim: str, question: str, passages: Sequence[Passage]) -> None:
        self._claim_words = _list_words(claim)
        self._claim_names = find_name_words(claim)
        self._asked_names = find_asked_names(question)
        self._asked_identifiers = _list_identifiers_of_family(self._asked_names, passages)
        if len(set(content_stems(claim))) > MAX_SHORT_CLAIM_WORDS:
            self._asked_names &= find_asked_names(claim)
        names_by_label = [
            find_name_words(label)
            for label in dict.fromkeys(label for passage in passages for label in passage.labels)
        ]
        shared_names = frozenset.intersection(*names_by_label) if names_by_label else frozenset()
        self._distinguishing_names = frozenset().union(*names_by_label) - shared_names
        self._asked_dates = _find_dates_of_sources(question, passages)
        self._source_years = {
            word
            for passage in passages
            for word in _list_words(" ".join((passage.document_name, *passage.labels)))
            if is_year(word)
        }
        self._names_unknown_person = _names_unknown_person(claim, question, passages)

    def factor(self, passage: Passage, span: Span) -> float:
        """Return the factor of the support by a span: below 1 if the span is about another name.

        It is about another name if it lacks a name that both the question and the claim have, or
        if the claim has a name from other headings, and the headings of the span have one that is
        not in the claim. The claim must name each of several rows of a table. What it says of an
        identifier must not stand in a sentence about another one; without one, it is about the
        identifier in the question. A person that the claim names must be named in some passage.
        If it is one row of a table, the claim has no value of another row in place of its own. If
        the question names a day or a month in the headings or file name of a passage, the span
        has no other one in its own. The same holds for the year of the claim and of its numbers.
        """
        if (
            self._names_unknown_person
            or self._is_of_other_date(passage, span)
            or self._has_number_of_other_year(passage, span)
        ):
            return MISSING_NAME_FACTOR
        if any(
            self._claim_words.isdisjoint(_list_words(label))
            for label in passage.row_labels(span)
            if label
        ) or self._has_values_of_other_identifier(passage, span):
            return MISSING_NAME_FACTOR
        if self._has_value_of_other_row(passage, span):
            return MISSING_NAME_FACTOR
        if self._asked_identifiers.isdisjoint(self._claim_words) and not has_asked_name(
            self._asked_identifiers, passage, span
        ):
            return MISSING_NAME_FACTOR
        needed_names = self._asked_names | (self._claim_names & self._distinguishing_names)
        if not needed_names:
            return 1.0
        known_names = _list_words(passage.premise(span)) | _list_words(passage.document_name)
        foreign_names = needed_names - known_names - _find_joined(needed_names, known_names)
        if foreign_names & self._asked_names:
            return MISSING_NAME_FACTOR
        if not foreign_names:
            return 1.0
        own_names = find_name_words(passage.label_at(span.start)) & self._distinguishing_names
        return MISSING_NAME_FACTOR if own_names - self._claim_words else 1.0

    def _is_of_other_date(self, passage: Passage, span: Span) -> bool:
        """Whether the source of a span has another date than the one in the question."""
        if not self._asked_dates:
            return False
        own_dates = passage.list_dates(passage.label_at(span.start))
        named_dates = own_dates | find_exact_dates(passage.describe(span))
        return bool(own_dates) and not _have_common_date(self._asked_dates, named_dates)

    def _has_number_of_other_year(self, passage: Passage, span: Span) -> bool:
        """Whether the numbers of a claim about one year are those of a source about another.

        The audit of 2022, which found 412 instruments, also says when the next one is: in 2024.
        """
        claimed_years = self._claim_names & self._source_years
        numbers = {n for n in self._claim_names if n.isdecimal() and not is_year(n)}
        own_names = _list_words(passage.label_at(span.start)) | _list_words(passage.document_name)
        own_years = set(filter(is_year, own_names))
        if not claimed_years or not numbers or not own_years or claimed_years & own_years:
            return False
        units = [
            _list_words(passage.describe(unit))
            for unit in passage.sentence_spans()
            if span.start <= unit.start < span.end
        ]
        with_numbers = [unit for unit in units if numbers & unit]
        return bool(with_numbers) and all(claimed_years.isdisjoint(unit) for unit in with_numbers)

    def _has_value_of_other_row(self, passage: Passage, span: Span) -> bool:
        """Whether a claim has, in place of a value of the row, one of another row of its table.

        "The order was delivered" is not supported by "Order: 7; Status: cancelled" if another order
        has the status "delivered".
        """
        table = passage.table_at(span.start)
        own_cells = split_row(passage.describe(span)) if table else ()
        if not own_cells:
            return False
        premise_words = _list_words(passage.premise(span))
        other_values: dict[str, set[str]] = {}
        for row in passage.sentence_spans():
            if row != span and passage.table_at(row.start) == table:
                for name, value in split_row(passage.describe(row)):
                    other_values.setdefault(name, set()).add(value)
        return any(
            self._claims(other_value) and not _list_value_words(other_value) <= premise_words
            for name, value in own_cells
            if not self._claims(value)
            for other_value in other_values.get(name, ())
        )

    def _claims(self, value: str) -> bool:
        """Whether a claim has all words of a short value."""
        value_words = _list_value_words(value)
        return 0 < len(value_words) <= _MAX_VALUE_WORDS and value_words <= self._claim_words

    def _has_values_of_other_identifier(self, passage: Passage, span: Span) -> bool:
        """Whether a span lacks an identifier of the claim, or gives its values to another one.

        Below the heading "P-9", 0.1 is the P-9's in "Accuracy 0.1 percent. Replaces the P-7.".
        """
        claimed = _list_identifiers(self._claim_names)
        if not (identifiers := claimed or self._asked_identifiers):
            return False
        known = _list_words(passage.premise(span)) | _list_words(passage.document_name)
        if any(find_identifiers(claimed, like={name}).isdisjoint(known) for name in claimed):
            return True
        label_words = _list_words(passage.label_at(span.start))
        units = [
            _list_words(passage.describe(unit))
            for unit in passage.sentence_spans()
            if span.start <= unit.start < span.end
        ]
        for identifier in identifiers:
            if not any(identifier in unit for unit in units):
                continue
            alike = find_identifiers(identifiers, like={identifier})
            others = [u for u in units if _has_other_identifier(alike, u | label_words)]
            own_words = frozenset().union(*(unit for unit in units if unit not in others))
            other_words = frozenset().union(*others) - own_words - label_words
            if (self._claim_names - alike) & other_words:
                return True
        return False


def is_year(word: str) -> bool:
    """Whether a word is a year of the last or of this century."""
    return _YEAR.fullmatch(word) is not None


def _find_dates_of_sources(question: str, passages: Sequence[Passage]) -> frozenset[str]:
    """Return the days and months in a question that headings or file names of passages have."""
    dates = find_exact_dates(question)
    source_dates = frozenset[str]().union(
        *(p.list_dates(label) for p in passages for label in p.labels if dates)
    )
    return frozenset(date for date in dates if _have_common_date({date}, source_dates))


def _have_common_date(dates: Set[str], others: Set[str]) -> bool:
    return any(agree_dates(date, other_date) for date in dates for other_date in others)


def _names_unknown_person(claim: str, question: str, passages: Sequence[Passage]) -> bool:
    """Whether a claim has a name of two words of which no passage has either."""
    people = [
        _list_words(match.group())
        for match in _PERSON.finditer(claim)
        if match.group().partition(" ")[0].lower() not in SENTENCE_STARTERS
    ]
    if not people or find_function_words(claim).has_capitalized_nouns:
        return False
    mentioned_words = _list_words(question).union(
        *(_list_words(" ".join((p.document_name, *p.labels, p.text))) for p in passages)
    )
    return any(person.isdisjoint(mentioned_words) for person in people)


def find_asked_names(question: str, carried_terms: Sequence[str] = ()) -> frozenset[str]:
    """Return the names in a question; the first word of a sentence has a capital in any case.

    A question that has taken over words of an earlier one asks about the names in them, too.
    """
    carried_names = find_name_words(" ".join(carried_terms))
    return find_name_words(_FIRST_WORD.sub("", question)) | carried_names


def has_asked_name(names: Set[str], passage: Passage, span: Span) -> bool:
    """Whether a span has one of the `names`, below its headings or elsewhere in its passage.

    A row of a table has them in its own cells, its headings or the names of its columns. The names
    of the file and its folders count for the whole document. A span
    that has another identifier or year instead does not: P-9 for P-7, 2024 for 2022 where its
    passage does not mention 2022.
    """
    if not names:
        return True
    premise_words = _list_words(passage.premise(span))
    document_words = _list_words(passage.document_name)
    premise_words |= _find_joined(names, premise_words)
    document_words |= _find_joined(names, document_words)
    missing_names = names - (document_words - premise_words)
    if not missing_names:
        return True
    mentioned_years = {w for w in _list_words(passage.text) & names if _YEAR.fullmatch(w)}
    other_words = (premise_words | document_words) - names
    if _has_other_identifier(missing_names - mentioned_years - premise_words, other_words):
        return False
    if not missing_names.isdisjoint(premise_words):
        return True
    is_row = passage.table_at(span.start) is not None
    return not is_row and not missing_names.isdisjoint(_list_words(passage.text))


def find_unknown_identifiers(question: str, passages: Sequence[Passage]) -> frozenset[str]:
    """Return the identifiers and years of a question that no passage has.

    "2000 euros" is no year; ``FY24`` is 2024.
    """
    years = frozenset(find_years(question))
    names = years | frozenset(
        name
        for name in find_asked_names(question)
        if _is_identifier(name) and not _YEAR.fullmatch(name) and not find_years(name)
    )
    for passage in passages if names else ():
        text = "\n".join([passage.document_name, *passage.labels, passage.text])
        names -= _list_words(text)
        names -= frozenset(find_years(text)) if names & years else frozenset()
    return names


def find_unknown_names(question: str, passages: Sequence[Passage]) -> frozenset[str]:
    """Return the names of a question, without digits, that no passage has: "Berlin".

    Where nouns have capitals, none is known to be a name.
    """
    if find_function_words(question).has_capitalized_nouns:
        return frozenset()
    names = frozenset(name for name in find_asked_names(question) if name.isalpha())
    for passage in passages if names else ():
        text = "\n".join([passage.document_name, *passage.labels, passage.text])
        known_words = _list_words(text)
        names -= known_words | _find_joined(names, known_words)
        names -= find_synonymous_words(question, text) if names else frozenset()
        names -= _find_written_out(question, text) if names else frozenset()
    return names


def _find_written_out(question: str, text: str) -> frozenset[str]:
    """Return the initialisms of a question that a text has in words: ``JnJ``, "Johnson & Johnson".

    They are in lower case, as in `find_asked_names`.
    """
    folded_text = _fold_accents(text)
    written_out = set()
    for name in set(_INITIALISM.findall(_fold_accents(question))):
        initials = [letter for letter in name if letter.isupper()]
        pattern = rf"\W{{1,3}}{_LINKING_WORDS}".join(rf"{letter}\w*" for letter in initials)
        if len(initials) > 1 and re.search(rf"\b{pattern}", folded_text):
            written_out.add(name.lower())
    return frozenset(written_out)


def find_identifiers(names: Set[str], like: Set[str] = frozenset()) -> frozenset[str]:
    """Return the identifiers and years among `names`; with `like`, those of a form that it has."""
    shapes = {_SHAPE.sub("0", name) for name in like}
    return frozenset(
        name
        for name in names
        if _is_identifier(name) and (not shapes or _SHAPE.sub("0", name) in shapes)
    )


def is_about_other_identifier(names: Set[str], passage: Passage, span: Span) -> bool:
    """Whether a span stands below a heading with another identifier than one of the `names`."""
    return _has_other_identifier(names, _list_words(passage.label_at(span.start)))


def _has_other_identifier(names: Set[str], premise_words: Set[str]) -> bool:
    """Whether a name with digits is missing, and one that differs in its digits is there."""
    missing_shapes = {
        _SHAPE.sub("0", name) for name in names - premise_words if _is_identifier(name)
    }
    return bool(missing_shapes) and any(
        _SHAPE.sub("0", word) in missing_shapes and word not in names
        for word in premise_words
        if _is_identifier(word)
    )


def _list_identifiers(names: Set[str]) -> frozenset[str]:
    return frozenset(name for name in names if _is_identifier(name) and not name.isdigit())


def _list_identifiers_of_family(names: Set[str], passages: Sequence[Passage]) -> frozenset[str]:
    """Return the identifiers of which passages have the same or one of the same form.

    Where there is no P-7 and a P-9, P-7 is a product; where nothing is like NH3, it is a word.
    """
    identifiers = _list_identifiers(names)
    if not identifiers:
        return identifiers
    passage_words = frozenset[str]().union(
        *(_list_words("\n".join((p.document_name, *p.labels, p.text))) for p in passages)
    )
    return find_identifiers(identifiers, like=_list_identifiers(passage_words))


def _is_identifier(word: str) -> bool:
    """Whether a word is letters with digits, or a year; another number is an amount."""
    has_digit = any(map(str.isdigit, word))
    return (has_digit and any(map(str.isalpha, word))) or bool(_YEAR.fullmatch(word))


@lru_cache(maxsize=4_096)
def _list_value_words(value: str) -> frozenset[str]:
    return frozenset(words(_fold_accents(value))) - STOP_WORDS


@lru_cache(maxsize=4_096)
def _list_words(text: str) -> frozenset[str]:
    text = _fold_accents(text)
    texts = {
        text,
        _INNER_PUNCTUATION.sub("", text),
        spell_out_dates(text),
        spell_out_fiscal_years(text),
    }
    return frozenset().union(*map(words, texts))


def _find_joined(names: Set[str], known_words: Set[str]) -> frozenset[str]:
    """Return the names of which two are one word: ``best`` and ``buy`` in ``bestbuy``."""
    if len(names) > _MAX_JOINED_NAMES:
        return frozenset()
    return frozenset(
        name
        for first, second in permutations(sorted(names), 2)
        if first + second in known_words
        for name in (first, second)
    )


def _fold_accents(text: str) -> str:
    """Return the text without combining marks: é is e. Questions are often typed so."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


@lru_cache(maxsize=4_096)
def find_name_words(text: str) -> frozenset[str]:
    """Return the words of names in lower case: with an initial capital or a digit, no stop words.

    An identifier of letters and digits is one word without punctuation: ERR-07 is ``err07``.
    Accents are left out. ``FY21`` is 2021.
    """
    names: set[str] = set()
    for name in _NAME.findall(spell_out_fiscal_years(_fold_accents(text))):
        name = _POSSESSIVE.sub("", name)
        is_identifier = any(map(str.isdigit, name)) and any(map(str.isalpha, name))
        parts = words(_INNER_PUNCTUATION.sub("", name) if is_identifier else name)
        names |= set(parts)
    return frozenset(names - STOP_WORDS)
