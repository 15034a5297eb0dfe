"""Filters from questions: "mails from Ruth in February 2025 about the charter".

The rules know the fields and values that the index has: people in ``from`` or ``author``, dates,
media types, and fields that the question names. They apply only to a question that asks for
documents ("the mails of ...", "which reports ...", "what did Ruth write ..."): "revenue in 2024" is
no filter.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations, islice
from typing import TYPE_CHECKING, NamedTuple

from rag.filters import AnyOf, F, Filter, join_filters
from rag.query import Query
from rag.text.date_ranges import DateRange, find_date_ranges
from rag.text.name_keys import make_key
from rag.text.tokenization import STOP_WORDS, words
from rag.text.word_lists import MONTH_NUMBERS
from rag.types import Scalar
from rag.types.comparison import normalize_field

if TYPE_CHECKING:
    from rag.index import Index

_MAX_VALUES = 5_000  # different values of a field that are compared with a question
_MAX_FIELDS = 100
_MAX_VALUE_CHARACTERS = 120
_MAX_NAME_WORDS = 4
_MAX_QUESTION_CHARACTERS = 500  # a longer text is no question for a filter
_MAX_VALUE_WORDS = 6

_AUTHOR_FIELDS = frozenset(
    "from sender author authors creator writer by owner last_modified_by editor reporter".split()
)
_RECIPIENT_FIELDS = frozenset("to cc bcc recipient recipients".split())
_TAG_FIELDS = frozenset("tag tags keyword keywords label labels category categories topic".split())
_CREATION_FIELDS = frozenset(
    """date sent received published publication_date created created_at creation_date issued
    written""".split()
)
_CHANGE_FIELDS = frozenset("modified modified_at updated updated_at last_modified changed".split())
_YEAR_FIELDS = frozenset("year fiscal_year".split())
_IGNORED_FIELDS = frozenset("message_id in_reply_to subject attachments size damage".split())
_ISO_DATE = re.compile(r"\d{4}-\d\d(?:-\d\d(?:[T ].*)?)?\Z")

_OFFICE_XML = "application/vnd.openxmlformats-officedocument."
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument."


class DocumentKind(NamedTuple):
    """A kind of document: how questions call it, and its media types."""

    name: str
    nouns: str
    types: tuple[str, ...]


DOCUMENT_KINDS = (
    DocumentKind(
        "mail",
        r"e-?mails?|mails?|messages?|nachrichten?",
        ("message/rfc822", "application/vnd.ms-outlook", "application/mbox"),
    ),
    DocumentKind(
        "spreadsheet",
        r"spreadsheets?|workbooks?|excel[\s-](?:files?|sheets?|dateien?|tabellen?)|tabellen",
        (
            _OFFICE_XML + "spreadsheetml.sheet",
            _OPEN_DOCUMENT + "spreadsheet",
            "application/vnd.ms-excel",
            "application/vnd.ms-excel.sheet.binary.macroenabled.12",
            "text/csv",
            "text/tab-separated-values",
        ),
    ),
    DocumentKind(
        "presentation",
        r"presentations?|slide\sdecks?|slides|powerpoints?|präsentation(?:en)?|folien",
        (
            _OFFICE_XML + "presentationml.presentation",
            _OPEN_DOCUMENT + "presentation",
            "application/vnd.ms-powerpoint",
        ),
    ),
    DocumentKind(
        "Word document",
        r"word[\s-](?:documents?|files?|dokumente?|dateien?)|docx\sfiles?",
        (
            _OFFICE_XML + "wordprocessingml.document",
            _OPEN_DOCUMENT + "text",
            "application/msword",
            "application/rtf",
        ),
    ),
    DocumentKind(
        "PDF", r"pdfs?(?:[\s-](?:files?|documents?|dateien?|dokumente?))?", ("application/pdf",)
    ),
    DocumentKind("web page", r"web\s?pages?|html\s(?:files?|pages?)|webseiten?", ("text/html",)),
)
_OTHER_NOUNS = (
    "documents?|files?|reports?|notes?|minutes|letters?|memos?|invoices?|articles?|posts?|papers?|"
    "records?|entries|tickets?|contracts?|orders?|transcripts?|dokumente?|dateien?|berichte?|"
    "notizen|protokolle?|briefe?|rechnungen|verträge?|artikel|einträge"
)
_NOUN = re.compile(
    "|".join(rf"(?P<kind{i}>\b(?:{kind.nouns})\b)" for i, kind in enumerate(DOCUMENT_KINDS))
    + rf"|\b(?:{_OTHER_NOUNS})\b",
    re.IGNORECASE,
)
_TOPIC = re.compile(
    r"(?<!\s)\s*+\b(?:about|on|regarding|concerning|über|zu[mr]?|wegen|betreffend)\b\s*+",
    re.IGNORECASE,
)
_ALL_OF = re.compile(
    r"\b(?:which|what|any|all|every|in|my|our|find|list|show|welche|alle|in\sden)"
    r"\s(?:the\s|of\sthe\s)?$",
    re.IGNORECASE,
)
_BY = re.compile(r"\b(?:from|by|von)\s", re.IGNORECASE)
_TO = re.compile(r"\b(?:to|an)\s", re.IGNORECASE)
_WROTE = re.compile(
    r"\b(?:did|has|have|had)\s(?P<name>(?:[^\W_][\w.'’-]*\s){1,4}?)"
    r"(?:ever\s|already\s)?(?:write|written|send|sent|mail|mailed|e-?mail|e-?mailed|reply|replied)\b"
    r"|\b(?:that|which)\s(?P<name3>(?:[^\W_][\w.'’-]*\s){1,4}?)(?:wrote|sent|mailed|e-?mailed)\b"
    r"|\b(?:schrieb|schickte|mailte)\s(?P<name2>[^\W_][\w.'’-]*)",
    re.IGNORECASE,
)
_POSSESSIVE = re.compile(r"(?P<name>(?:[^\W\d_][\w.-]{0,60}\s){0,3}[^\W\d_][\w.-]{0,60})['’]s?\s$")
_TAGGED = re.compile(r"\b(?:tagged|labell?ed|filed)\s(?:as|with|under)?\s?", re.IGNORECASE)
_CHANGED = re.compile(r"\b(?:modified|changed|updated|edited|geändert)\b", re.IGNORECASE)
_IS = re.compile(r"\s*+(?:(?:is|are|=|:|equals|ist)\s*+)?[\"'“]?", re.IGNORECASE)
_FILLERS = re.compile(
    r"(?:\s*(?:,|and|that|which|were|was|are|is|sent|received|written|dated|created|published|"
    r"modified|changed|updated|issued)\b)*\s*",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:[-.'’&@][^\W_]+)*")
_NAME_PART = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_POSSESSIVE_END = re.compile(r"['’]s$")
_OR = re.compile(
    r"\s*+(?:,\s*+(?:and|or|und|oder)?|\b(?:and|or|und|oder)|[&/])\s*+(?:from\s|by\s|to\s)?"
)
_ENDS_WITH_OR = re.compile(r"(?:,|\b(?:and|or|und|oder))\s*$")
_WRITTEN = re.compile(
    r"(?:\s*(?:,|that|which|were|was|are|is|sent|written|authored|created|made|prepared|published)\b)*\s*",
    re.IGNORECASE,
)
_NO_FILTER = re.compile(
    r"\b(?:not|no|none|without|except|excluding|nicht|kein\w*|ohne|außer|must|should|ha(?:ve|s)\sto|"
    r"needs?|due|repl(?:y|ied|ies)|respon\w+|answer\w*|\w*antwort\w*)\b|n['’]t\b"
    r"|^\W*(?:how(?!\smany)|why|does|do|is(?!\sthere)|are(?!\sthere)|was|were|may|might|shall|write|"
    r"draft|compose|(?:can|could)\si|wie(?!\sviele)|warum|muss|soll|darf|schreib\w*)\b",
    re.IGNORECASE,
)


# -- what the index has ----------------------------------------------------------------------


@dataclass
class IndexFields:
    """The metadata fields of an index, by their normalized name, with their values."""

    values: dict[str, list[Scalar]] = field(default_factory=dict)
    keys: dict[str, dict[str, list[Scalar]]] = field(default_factory=dict)
    """Values by their key (`rag.text.name_keys.make_key`), by field."""
    name_parts: dict[str, list[tuple[frozenset[str], Scalar]]] = field(default_factory=dict)
    """The words of each value, of fields that hold people."""
    dates: list[str] = field(default_factory=list)
    years: list[str] = field(default_factory=list)


def read_fields(index: Index) -> IndexFields:
    """Return the fields of the live documents, with the values that a question may name."""
    store = index.document_store
    names = [
        name for name in store.metadata_fields() if _plain(name) not in _IGNORED_FIELDS
    ][:_MAX_FIELDS]  # fmt: skip
    fields = IndexFields()
    for name, counted in store.metadata_values(names, _MAX_VALUES).items():
        values = [
            value
            for value, _ in counted
            if not isinstance(value, str) or len(value) <= _MAX_VALUE_CHARACTERS
        ]
        if not values:
            continue
        texts = [value for value in values if isinstance(value, str)]
        if _plain(name) in _YEAR_FIELDS:
            fields.years.append(name)
        elif 2 * sum(bool(_ISO_DATE.match(text)) for text in texts[:100]) > len(values[:100]):
            fields.dates.append(name)
        if _plain(name) in _AUTHOR_FIELDS | _RECIPIENT_FIELDS:
            fields.name_parts[name] = [
                (frozenset(make_key(part) for part in _NAME_PART.findall(text)), text)
                for text in texts
            ]
        fields.values[name] = values
        by_key = fields.keys.setdefault(name, {})
        for value in values:
            by_key.setdefault(make_key(_write_value(value)), []).append(value)
    return fields


def _plain(name: str) -> str:
    """Return the last part of the name of a field, in lower case with underscores."""
    last = re.split(r"[./]", normalize_field(name))[-1]
    return re.sub(r"[\s-]+", "_", last.strip())


def _write_value(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- rules -----------------------------------------------------------------------------------


class _Condition(NamedTuple):
    """A part of the filter: what it selects, in words, and its span in the question.

    ``topic`` is the span of a word that goes with it.
    """

    filter: Filter
    description: str
    start: int
    end: int
    is_kept_in_text: bool = False
    topic: tuple[int, int] | None = None


def apply_rules(question: str, fields: IndexFields, today: datetime.date, index: Index) -> Query:
    """Return the question as a filter that selects a document, and the rest to search for."""
    if len(question) > _MAX_QUESTION_CHARACTERS or _NO_FILTER.search(question):
        return Query(question)
    conditions = _find_conditions(question, fields, today, index)
    if not conditions:
        return Query(question)
    kept = _relax(conditions, index)
    dropped = [condition.description for condition in conditions if condition not in kept]
    wanted = ", ".join(condition.description for condition in conditions)
    if dropped:
        notes = [f"no document has all of: {wanted}; searched without: {', '.join(dropped)}"]
    else:
        notes = [f"filter from the question: {wanted}"]
    if not kept:
        return Query(question, notes=tuple(notes))
    return Query(
        _cut(question, kept),
        filter=join_filters(*(condition.filter for condition in kept)),
        is_filter_optional=True,
        notes=tuple(notes),
    )


def _relax(conditions: Sequence[_Condition], index: Index) -> Sequence[_Condition]:
    """Return the most conditions that select a document together; the first ones are kept first."""
    for size in range(len(conditions), 0, -1):
        for chosen in combinations(conditions, size):
            if index.count_matching_documents(join_filters(*(c.filter for c in chosen))):
                return chosen
    return ()


def _find_conditions(
    question: str, fields: IndexFields, today: datetime.date, index: Index
) -> list[_Condition]:
    """Return the conditions in a question that asks for documents, the most certain first."""
    noun = _find_noun(question)
    authors = list(_find_authors(question, noun, fields))
    if noun is None and not authors:
        return []
    kind = DOCUMENT_KINDS[int(noun.lastgroup[4:])] if noun is not None and noun.lastgroup else None
    recipients = list(_find_recipients(question, fields)) if kind and kind.name == "mail" else []
    named_values = list(_find_named_values(question, fields)) if noun is not None else []
    others = _drop_overlaps([*authors, *recipients, *named_values])
    dates = list(_find_dates(question, noun, others, bool(authors), fields, today))
    conditions = _drop_overlaps([*others, *dates])
    if noun is None or kind is None or not (conditions or _asks_for_all(question, noun)):
        return conditions
    condition = _Condition(F("mime").in_(kind.types), f"kind {kind.name}", noun.start(), noun.end())
    if not conditions and not index.count_matching_documents(condition.filter):
        return []
    topic = _find_topic(question, noun.end(), conditions)
    condition = condition._replace(topic=topic, is_kept_in_text=topic is None)
    return [
        *(c for c in conditions if c not in dates),
        condition,
        *(c for c in conditions if c in dates),
    ]


def _find_topic(
    question: str, start: int, conditions: Sequence[_Condition]
) -> tuple[int, int] | None:
    """Return the span of the word before the topic, if only conditions are in front of it.

    It is "about" in "mails from Ruth about the charter". Then the rest is "the charter".
    """
    topic = _TOPIC.search(question, start)
    if topic is None:
        return None
    return topic.span() if _are_adjacent(question, start, topic.start(), conditions) else None


def _are_adjacent(question: str, start: int, end: int, conditions: Sequence[_Condition]) -> bool:
    """Whether only conditions and words such as "that were sent" are between two places."""
    between = question[start:end]
    for condition in sorted(conditions, key=lambda c: -c.start):
        if start <= condition.start and condition.end <= end:
            between = between[: condition.start - start] + between[condition.end - start :]
    return bool(_FILLERS.fullmatch(between))


def _find_noun(question: str) -> re.Match[str] | None:
    """Return the word for the documents that are asked for, the first one."""
    return next(_NOUN.finditer(question), None)


def _asks_for_all(question: str, noun: re.Match[str]) -> bool:
    """Whether the question is about all documents of a kind: "in the spreadsheets"."""
    is_plural = noun.group().lower().endswith(("s", "en", "n"))
    return is_plural and bool(_ALL_OF.search(question[: noun.start()]))


def _find_authors(
    question: str, noun: re.Match[str] | None, fields: IndexFields
) -> Iterator[_Condition]:
    names = [name for name in fields.name_parts if _plain(name) in _AUTHOR_FIELDS]
    if not names:
        return
    for match in _WROTE.finditer(question):
        group = next(name for name, text in match.groupdict().items() if text)
        condition = _match_person(question, match.start(group), names, fields, "from")
        if condition and not question[condition.end : match.end(group)].strip():
            yield condition
            return
    if noun is None:
        return
    if possessive := _POSSESSIVE.search(question[: noun.start()]):
        for word in _NAME_PART.finditer(question, possessive.start(), noun.start()):
            if condition := _match_person(question, word.start(), names, fields, "from"):
                yield condition._replace(end=noun.start())
                return
    for match in _BY.finditer(question, noun.end()):
        if not _WRITTEN.fullmatch(question, noun.end(), match.start()):
            continue
        if condition := _match_people(question, match.end(), names, fields, "from"):
            yield condition._replace(start=match.start())
            return


def _find_recipients(question: str, fields: IndexFields) -> Iterator[_Condition]:
    names = [name for name in fields.name_parts if _plain(name) in _RECIPIENT_FIELDS]
    for match in _TO.finditer(question):
        if condition := _match_people(question, match.end(), names, fields, "to"):
            yield condition._replace(start=match.start())
            return


def _match_people(
    question: str, start: int, names: Sequence[str], fields: IndexFields, label: str
) -> _Condition | None:
    """Return the condition for one of the people at `start`: "Ruth, Tom or May"."""
    condition = _match_person(question, start, names, fields, label)
    while condition is not None and (following := _OR.match(question, condition.end)):
        other = _match_person(question, following.end(), names, fields, label)
        if other is None:  # half of an enumeration would exclude the other half
            return None if question[following.end() :][:1].isupper() else condition
        condition = _join_alternatives(condition, other)
    return condition


def _join_alternatives(first: _Condition, second: _Condition) -> _Condition:
    description = f"{first.description} or {second.description}"
    return _Condition(first.filter | second.filter, description, first.start, second.end)


def _match_person(
    question: str, start: int, names: Iterable[str], fields: IndexFields, label: str
) -> _Condition | None:
    """Return the condition for the longest name at `start` that a value of these fields holds."""
    parts: list[re.Match[str]] = []
    for part in _NAME_PART.finditer(question, start):
        gap = question[parts[-1].end() if parts else start : part.start()]
        if len(parts) == _MAX_NAME_WORDS or gap.strip(" .@<'’,"):
            break
        parts.append(part)
    for count in range(len(parts), 0, -1):
        keys = {make_key(_POSSESSIVE_END.sub("", part.group())) for part in parts[:count]}
        if count == 1 and parts[0].group().lower() in MONTH_NUMBERS:
            continue
        if not all(_may_be_name(part.group()) for part in parts[:count]):
            continue
        conditions: list[Filter] = []
        matched_values: dict[Scalar, None] = {}
        for name in names:
            values = [value for words_, value in fields.name_parts[name] if keys <= words_]
            if values:
                conditions.append(F(name).in_(values))
                matched_values.update(dict.fromkeys(values))
        if conditions:
            people = " or ".join(map(str, list(matched_values)[:3])) + (
                " ..." if len(matched_values) > 3 else ""
            )
            end = parts[count - 1].end()
            return _Condition(_any_of(conditions), f"{label} {people}", start, end)
    return None


def _may_be_name(word: str) -> bool:
    return word.lower() not in STOP_WORDS and (word[0].isupper() or len(word) > 2)


def _any_of(conditions: Sequence[Filter]) -> Filter:
    return conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions))


def _find_dates(
    question: str,
    noun: re.Match[str] | None,
    others: Sequence[_Condition],
    has_author: bool,
    fields: IndexFields,
    today: datetime.date,
) -> Iterator[_Condition]:
    """Yield the period in which the documents were written.

    It stands beside the word for the documents ("reports from May", "last year's mails"), or in a
    question about what somebody wrote. "Reports on sales in May" and "the charter from May" name
    no such period.
    """
    ranges = find_date_ranges(question, today)
    for i, period in enumerate(ranges):
        if noun is not None and period.end <= noun.start():
            is_meant = not question[period.end : noun.start()].strip(" ,")
        elif noun is not None and _are_adjacent(question, noun.end(), period.start, others):
            is_meant = period.has_preposition
        else:
            is_meant = has_author and period.has_preposition
        if not is_meant or not (condition := _make_date_condition(question, period, fields)):
            continue
        for other in ranges[i + 1 :]:
            if not _OR.fullmatch(question, condition.end, other.start):
                break
            if following := _make_date_condition(question, other, fields):
                condition = _join_alternatives(condition, following)
        yield condition
        return


def _make_date_condition(
    question: str, period: DateRange, fields: IndexFields
) -> _Condition | None:
    wanted = _CHANGE_FIELDS if _CHANGED.search(question) else _CREATION_FIELDS
    names = [name for name in fields.dates if _plain(name) in wanted]
    names = names or [
        name for name in fields.dates if _plain(name) in _CHANGE_FIELDS | _CREATION_FIELDS
    ]
    if not names and len(fields.dates) == 1:
        names = fields.dates
    first = period.first.isoformat() if period.first else ""
    last = period.last.isoformat() if period.last else ""
    conditions: list[Filter] = []
    for name in names:
        conditions.append(_between(name, first, last))
    for name in fields.years:
        first_year = period.first.year if period.first else None
        conditions.append(_between(name, first_year, period.last.year if period.last else None))
    if year := _whole_year(period):  # a document may be named by a year in which it was not written
        conditions.append(F("title").contains(str(year)))
    if not names and not fields.years:
        return None
    description = f"date from {first} to {last}" if first and last else (
        f"date from {first}" if first else f"date until {last}"
    )  # fmt: skip
    return _Condition(_any_of(conditions), description, period.start, period.end)


def _between(name: str, first: Scalar | None, last: Scalar | None) -> Filter:
    """Return the condition on a field whose value is in a range; an empty bound is open."""
    bounds = [F(name) >= first] if first else []
    bounds += [F(name) <= last] if last else []
    return reduce(Filter.__and__, bounds)


def _whole_year(period: DateRange) -> int | None:
    """Return the year of a period that is one whole year."""
    first, last = period.first, period.last
    if first is None or last is None or first.year != last.year:
        return None
    is_whole = (first.month, first.day, last.month, last.day) == (1, 1, 12, 31)
    return first.year if is_whole else None


def _find_named_values(question: str, fields: IndexFields) -> Iterator[_Condition]:
    """Yield conditions with the name of a field: "status open", "in the finance department"."""
    question_words = list(_WORD.finditer(question))
    for name, by_key in fields.keys.items():
        plain = _plain(name)
        if name in fields.years or name in fields.dates:
            continue
        label = plain.replace("_", " ")
        if plain in _TAG_FIELDS:
            for tagged in _TAGGED.finditer(question):
                if condition := _match_value(question, tagged.end(), name, by_key, label):
                    yield condition._replace(start=tagged.start())
        for i, word in enumerate(question_words):
            label_words = label.split()
            spelled = [w.group().lower() for w in question_words[i : i + len(label_words)]]
            if spelled != label_words:
                continue
            end = question_words[i + len(label_words) - 1].end()
            is_ = _IS.match(question, end)
            value_start = is_.end() if is_ else end
            if condition := _match_value(question, value_start, name, by_key, label):
                yield condition._replace(start=word.start())
            else:
                yield from _match_value_before(
                    question, question_words[:i], end, name, by_key, label
                )


def _match_value(
    question: str, start: int, name: str, by_key: dict[str, list[Scalar]], label: str
) -> _Condition | None:
    """Return the condition for the longest value of a field at `start`."""
    parts = list(islice(_WORD.finditer(question, start), _MAX_VALUE_WORDS))
    if not parts or question[start : parts[0].start()].strip(" \"'“"):
        return None
    for count in range(len(parts), 0, -1):
        text = question[parts[0].start() : parts[count - 1].end()]
        if values := by_key.get(make_key(text)):
            end = parts[count - 1].end()
            end += len(question[end:]) - len(question[end:].lstrip("\"'”"))
            condition = _Condition(F(name).in_(values), f"{label} {text}", start, end)
            if following := _OR.match(question, end):
                other = _match_value(question, following.end(), name, by_key, label)
                return _join_alternatives(condition, other) if other else condition
            return condition
    return None


def _match_value_before(
    question: str,
    before: Sequence[re.Match[str]],
    end: int,
    name: str,
    by_key: dict[str, list[Scalar]],
    label: str,
) -> Iterator[_Condition]:
    """Yield the condition for the value in front of the name: "the finance department"."""
    for count in range(min(len(before), _MAX_VALUE_WORDS), 0, -1):
        text = question[before[-count].start() : before[-1].end()]
        if values := by_key.get(make_key(text)):
            if not _ENDS_WITH_OR.search(question[: before[-count].start()]):
                yield _Condition(
                    F(name).in_(values), f"{label} {text}", before[-count].start(), end
                )
            return


def _drop_overlaps(conditions: Sequence[_Condition]) -> list[_Condition]:
    """Return the conditions without those that share words with an earlier one."""
    kept: list[_Condition] = []
    for condition in conditions:
        if all(condition.end <= other.start or other.end <= condition.start for other in kept):
            kept.append(condition)
    return kept


_DANGLING = re.compile(
    r"(?:\b(?:from|by|in|of|the|with|to|for|and|von|aus|im|mit)\s{0,3}){1,5}(?=[?.!,]|$)"
)


def _cut(question: str, conditions: Sequence[_Condition]) -> str:
    """Return the question without the words of the conditions; all of it if no word is left."""
    cut = [c for c in conditions if not c.is_kept_in_text]
    spans = [(c.start, c.end) for c in cut] + [c.topic for c in cut if c.topic is not None]
    text = question
    for start, end in sorted(spans, reverse=True):
        text = f"{text[:start]} {text[end:]}"
    text = re.sub(r"(?<!\s)\s++([?.!,;])", r"\1", " ".join(text.split()))
    text = _DANGLING.sub("", text).strip(" ,")
    is_empty = all(word.lower() in STOP_WORDS for word in words(text))
    return question if is_empty else text
