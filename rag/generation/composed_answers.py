"""Answers of several quotes: lists, the sides of a comparison, the parts of a calculation, files.

Each function returns the sentences to quote, in the order of the answer, or nothing where the
passages have no such answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from itertools import groupby

from rag.embedding import Embedder
from rag.generation.answer_scorer import rank_candidates
from rag.generation.list_items import find_list, is_list_item
from rag.generation.name_agreement import find_identifiers, find_name_words
from rag.generation.passages import Passage
from rag.generation.question_kinds import AskedFor
from rag.generation.relevance import Candidate
from rag.query import Query
from rag.text.function_words import question_stems
from rag.text.sentences import Span
from rag.text.synonyms import find_synonymous_words
from rag.text.tokenization import stems

_GENERIC_STEMS = frozenset(
    stems("list listed sell sold offer offered exist existing mention contain have available known")
)
_NEGATION = re.compile(r"\b(?:not|no|without|except|nicht|kein\w*|ohne|außer|pas|sans|sin)\b", re.I)
_DENIED_WORD = re.compile(r"\b(?:not|no|never|nicht|kein\w*|pas)\s+(\w+)", re.IGNORECASE)
_ADJECTIVE = re.compile(r"\b(?:\w+er|more|less|better|worse|mehr|weniger)\b", re.IGNORECASE)
_OR = re.compile(r"\b(?:or|oder|ou)\b", re.IGNORECASE)
_COMPARISON = re.compile(
    r"\b(?:over|under|above|below|more|less|fewer|at\sleast|at\smost|before|after|since|until|than|"
    r"between|über|unter|mehr|weniger|mindestens|höchstens|vor|nach|seit|bis)\b",
    re.IGNORECASE,
)
_MAX_SUMMARY_SENTENCES = 5
_MIN_TOPIC_SHARE = 0.6  # of the words of a topic, in the names of the document
_TOTAL = re.compile(r"\W*(?:total|sum|summe|gesamt)\W*", re.IGNORECASE)
_WORDS_OF_SENTENCE = 100  # more than a label has
_QUOTES_PER_SIDE = 2  # of a comparison that does not say what is compared


def select_items(
    query: Query, asked: AskedFor, ranked: Sequence[Candidate], passages: Sequence[Passage]
) -> list[Candidate]:
    """Return the rows of a table, the items of a list or the headings that a question asks for.

    The rows are those with all words of the question, the items those beside the best one, and the
    headings those with the noun of the question, or below a heading with it.
    """
    if headings := _select_headings(asked, passages):
        return headings
    if not ranked:
        return []
    best = ranked[0]
    if best.passage.table_at(best.span.start) is not None:
        return _select_rows(query, asked, best, ranked)
    if is_list_item(best.passage, best.span):
        return _list_items(best, ranked)
    return select_list_below(ranked)


def _select_rows(
    query: Query, asked: AskedFor, best: Candidate, ranked: Sequence[Candidate]
) -> list[Candidate]:
    """Return the rows of the table of `best` with all words of the question; the others for "not".

    If a question has words that are in no row and no name of the table ("delayed"), or compares
    values ("over 3"), none is known to fit.
    """
    table = best.passage.table_at(best.span.start)
    assert table is not None
    names = "\n".join([best.passage.label_at(best.span.start), table.name, *table.columns])
    wanted_stems = set(question_stems(" ".join([asked.topic, *query.carried_terms])))
    wanted_stems -= set(stems(names)) | _GENERIC_STEMS

    def list_shared_stems(candidate: Candidate) -> set[str]:
        return wanted_stems & set(stems(candidate.passage.describe(candidate.span)))

    rows = [
        candidate
        for candidate in ranked
        if candidate.passage.uri == best.passage.uri
        and (other := candidate.passage.table_at(candidate.span.start)) is not None
        and (other.name, other.columns) == (table.name, table.columns)
    ]
    known_stems = set().union(*map(list_shared_stems, rows))
    if known_stems != wanted_stems or _COMPARISON.search(query.text):
        return []  # it has a condition that no row has in these words
    is_negated, is_any = bool(_NEGATION.search(query.text)), bool(_OR.search(query.text))
    matching = []
    for row in rows:
        row_stems = {stem for stem in list_shared_stems(row) if not _is_denied(row, stem)}
        fits = bool(row_stems) if is_any and wanted_stems else row_stems >= wanted_stems
        if fits != (is_negated and bool(wanted_stems)):
            matching.append(row)
    return sorted(matching, key=_find_position)


def _is_denied(row: Candidate, stem: str) -> bool:
    """Whether a row says "not delivered"."""
    denied = _DENIED_WORD.findall(row.passage.describe(row.span))
    return any(stem in stems(word) for word in denied)


def select_list_below(ranked: Sequence[Candidate]) -> list[Candidate]:
    """Return the best sentence with the list below it, if it is the lead-in of one: "Bring:"."""
    if not ranked or not is_lead_in(ranked[0]):
        return []
    items = _list_items(ranked[0], ranked)
    return [ranked[0], *items] if items else []


def select_list_around(
    ranked: Sequence[Candidate], near_best: Sequence[Candidate]
) -> list[Candidate]:
    """Return the list of the best sentence if another one that is near it is an item, too."""
    if not ranked or not is_list_item(ranked[0].passage, ranked[0].span):
        return []
    items = _list_items(ranked[0], ranked)
    return items if sum(candidate in items for candidate in near_best) > 1 else []


def _list_items(best: Candidate, ranked: Sequence[Candidate]) -> list[Candidate]:
    """Return the items of the list that a sentence is an item of or introduces, in their order.

    An item that is too short to be ranked is one, too.
    """
    known = {c.span: c for c in ranked if c.passage == best.passage}
    return [
        known.get(span, Candidate(best.passage, span, 0.0, -math.inf))
        for span in find_list(best.passage, best.span)
    ]


def is_lead_in(candidate: Candidate) -> bool:
    """Whether a sentence introduces what follows: "You need to bring:"."""
    return candidate.text.rstrip().endswith((":", "："))


def _select_headings(asked: AskedFor, passages: Sequence[Passage]) -> list[Candidate]:
    """Return at least two headings with the noun that is asked for.

    If there are none, return those directly below a title with it: the products of a "Product
    catalogue".
    """
    topic_stems = question_stems(asked.topic)
    noun_stems, other_stems = set(topic_stems[:1]), set(topic_stems[1:]) - _GENERIC_STEMS
    with_noun: dict[tuple[str, ...], Candidate] = {}
    below_noun: dict[tuple[str, ...], Candidate] = {}
    for passage in passages if noun_stems else ():
        for path, span in passage.heading_spans():
            known_stems = set(stems("\n".join([passage.title, *path, passage.document_name])))
            if not other_stems <= known_stems and other_stems & known_stems:
                continue
            candidate = Candidate(passage, _skip_markup(passage, span), 1.0, 0.0)
            if noun_stems <= set(stems(path[-1])):
                with_noun.setdefault((passage.uri, *path), candidate)
            elif len(path) == 2 and noun_stems <= set(stems(path[0])):
                below_noun.setdefault((passage.uri, *path), candidate)
    for headings in (with_noun, below_noun):
        siblings = [
            [candidate for path, candidate in headings.items() if path[:-1] == parent]
            for parent in dict.fromkeys(path[:-1] for path in headings)
        ]
        largest_group = max(siblings, key=len, default=[])
        if len(largest_group) > 1:
            return sorted(largest_group, key=_find_position)
    return []


def _skip_markup(passage: Passage, span: Span) -> Span:
    """Return the span of a heading without its marks."""
    line = passage.text[span.start : span.end].split("\n")[0]
    start = span.start + len(line) - len(line.lstrip("#= "))
    return Span(start, span.start + len(line.rstrip("#= ")))


def select_sides(
    asked: AskedFor, passages: Sequence[Passage], embedder: Embedder
) -> tuple[list[Candidate], list[str]]:
    """Return the best quotes for each side of a comparison, and the sides without one."""
    by_side: dict[str, list[Candidate]] = {}
    for side in asked.sides:
        side_stems, side_names = set(question_stems(side)), find_name_words(side)
        query = Query(f"{asked.topic} {side}".strip())
        topic_stems = set(question_stems(asked.topic)) if asked.topic else set()
        matching = [
            candidate
            for candidate in rank_candidates(query, passages, embedder)
            if side_stems <= set(stems(_describe(candidate)))
            and find_identifiers(side_names) <= find_name_words(_describe(candidate))
        ]
        matching.sort(key=lambda c: _rate_side(c, side_stems, topic_stems), reverse=True)
        by_side[side] = (
            _add_first_of_section(matching) if asked.topic else matching[:_QUOTES_PER_SIDE]
        )
    is_noun = bool(asked.topic) and not _ADJECTIVE.search(asked.topic)
    if is_noun or any(_has_words(quotes, asked.topic) for quotes in by_side.values()):
        by_side = {
            side: [c for c in quotes if _has_words([c], asked.topic)]
            for side, quotes in by_side.items()
        }
    selected = [candidate for quotes in by_side.values() for candidate in quotes]
    distinct = {(candidate.passage.uri, candidate.text): candidate for candidate in selected}
    return list(distinct.values()), [side for side, quotes in by_side.items() if not quotes]


def select_quantities(
    asked: AskedFor, passages: Sequence[Passage], embedder: Embedder
) -> list[Candidate]:
    """Return the row or sentence for each quantity of a calculation; [] if fewer than two have one.

    It has all words of the quantity, or their synonyms; the one with the fewest other words in its
    label is the quantity itself.
    """
    selected: list[Candidate] = []
    for quantity in asked.sides:
        candidates = rank_candidates(Query(quantity), passages, embedder)
        matching = [c for c in candidates if _has_quantity(c, quantity)]
        best = min(
            matching, key=lambda c: (_count_other_words(c, quantity), -c.score), default=None
        )
        if best is not None:
            selected.append(best)
    distinct = {(candidate.passage.uri, candidate.text): candidate for candidate in selected}
    return list(distinct.values()) if len(distinct) > 1 else []


def _has_quantity(candidate: Candidate, quantity: str) -> bool:
    """Whether a sentence has a number, and all words of a quantity or other terms for them.

    Of a row, its label has the words; the name of its group counts only for "Total".
    """
    if not any(map(str.isdigit, candidate.text)):
        return False
    group, _, own_label = _find_label(candidate).rpartition(": ")
    text = own_label or candidate.text
    if _TOTAL.fullmatch(text):
        text = f"{text} {group}"
    others = {stem for word in find_synonymous_words(quantity, text) for stem in stems(word)}
    return set(question_stems(quantity)) <= set(stems(text)) | others


def _find_label(candidate: Candidate) -> str:
    """Return the label of a row; "" for a sentence."""
    passage, span = candidate.passage, candidate.span
    table = passage.table_at(span.start)
    return table.find_row_label(passage.text[span.start : span.end]) if table else ""


def _count_other_words(candidate: Candidate, quantity: str) -> int:
    """Return how many words of the label of a row are not in the quantity; many for a sentence."""
    label = _find_label(candidate).rpartition(": ")[2]
    return len(set(stems(label)) - set(stems(quantity))) if label else _WORDS_OF_SENTENCE


def _add_first_of_section(matching: Sequence[Candidate]) -> list[Candidate]:
    """Return the best sentence, after the first one of its section: that often says it plainly."""
    if not matching or matching[0].passage.table_at(matching[0].span.start) is not None:
        return list(matching[:1])
    best = matching[0]
    first = min((c for c in matching if c.section == best.section), key=_find_position)
    return [best] if first is best else [first, best]


def _has_words(candidates: Sequence[Candidate], topic: str) -> bool:
    """Whether a sentence has a word of the topic, itself or in its headings."""
    topic_stems = set(question_stems(topic))
    return any(topic_stems & set(stems(_describe(candidate))) for candidate in candidates)


def _rate_side(
    candidate: Candidate, side_stems: Set[str], topic_stems: Set[str]
) -> tuple[int, bool]:
    """Return how many words of the topic it has, and whether it stands below the side's name."""
    passage = candidate.passage
    label = f"{passage.document_name}\n{passage.label_at(candidate.span.start)}"
    if passage.table_at(candidate.span.start) is not None:
        label = _describe(candidate)
    topic_count = len(topic_stems & set(stems(_describe(candidate))))
    return topic_count, side_stems <= set(stems(label))


def select_summary(
    asked: AskedFor, passages: Sequence[Passage], ranked: Sequence[Candidate]
) -> list[Candidate]:
    """Return the first sentences of the sections of the document or section that is meant.

    It is the document whose title, headings or file name have the words of the question; the
    sections with these words are preferred to others of the document.
    """
    topic_stems = set(question_stems(asked.topic))
    scores: dict[str, float] = {}
    for passage in passages:
        names = "\n".join([passage.document_name, *passage.labels])
        share = len(topic_stems & set(stems(names))) / max(1, len(topic_stems))
        scores[passage.uri] = max(scores.get(passage.uri, 0.0), share + passage.score / 10)
    uri = max(scores, key=lambda name: scores[name], default="")
    if scores.get(uri, 0.0) < _MIN_TOPIC_SHARE:
        return []
    ordered = sorted((c for c in ranked if c.passage.uri == uri), key=_find_position)
    leads = [
        next(section)
        for _, section in groupby(ordered, key=lambda c: c.passage.headings_at(c.span.start))
    ]
    meant = [c for c in leads if topic_stems <= set(stems(c.passage.label_at(c.span.start)))]
    leads = meant if len(meant) > 1 else leads
    if len(leads) < _MAX_SUMMARY_SENTENCES:  # a document of few sections: more of each
        leads = ordered if len(ordered) <= _MAX_SUMMARY_SENTENCES else _spread(ordered, leads)
    return _thin_out(leads)


def _spread(ordered: Sequence[Candidate], leads: Sequence[Candidate]) -> list[Candidate]:
    """Return the leads, and the best of the other sentences, in the order of the document."""
    others = sorted((c for c in ordered if c not in leads), key=lambda c: -c.score)
    sentences = [*leads, *others[: _MAX_SUMMARY_SENTENCES - len(leads)]]
    return sorted(sentences, key=_find_position)


def _thin_out(leads: Sequence[Candidate]) -> list[Candidate]:
    """Return at most five of the sentences, evenly from the first to the last."""
    count = min(len(leads), _MAX_SUMMARY_SENTENCES)
    return [leads[i * len(leads) // count] for i in range(count)]


def select_files(
    asked: AskedFor, passages: Sequence[Passage], ranked: Sequence[Candidate]
) -> list[Candidate]:
    """Return a sentence of each document that has all words of what a question looks for."""
    needed_stems = set(question_stems(asked.topic))
    by_document: dict[str, Candidate] = {}
    if not needed_stems:
        return []
    for candidate in ranked:
        if needed_stems <= set(stems(_describe(candidate))):
            by_document.setdefault(candidate.passage.uri, candidate)
    return list(by_document.values())


def _describe(candidate: Candidate) -> str:
    passage = candidate.passage
    return f"{passage.document_name}\n{passage.premise(candidate.span)}"


def _find_position(candidate: Candidate) -> tuple[str, int]:
    return candidate.passage.uri, candidate.passage.start + candidate.span.start
