"""For an abstention: the passages closest to an answer, and why each is not an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import islice

from rag.generation.answer_types import AnswerType, find_answer_type, has_answer_of_type
from rag.generation.name_agreement import find_asked_names, find_identifiers, find_name_words
from rag.generation.passages import Passage
from rag.generation.quotes import Quote
from rag.generation.relevance import Candidate, find_unmentioned_words
from rag.query import Query
from rag.text.sentences import Span
from rag.text.tokenization import words
from rag.types import ClosestPassage

_MAX_PASSAGES = 3
_MAX_CHARACTERS = 400  # of a passage that is shown
_MAX_LISTED_WORDS = 3
_ANSWER_NAMES: dict[AnswerType, str] = {
    "number": "number",
    "money": "amount of money",
    "duration": "length of time",
    "time": "date or time",
    "person": "person",
    "contact": "phone number or address",
    "reason": "reason",
}


def find_closest_passages(
    question: Query, ranked: Sequence[Candidate]
) -> tuple[ClosestPassage, ...]:
    """Return up to three passages around the best of the `ranked` sentences, of different sections.

    Each has a reason in plain words: what the question names or asks for, and the passage has not.
    """
    best_by_section: dict[tuple[int, tuple[str, ...]], Candidate] = {}
    for candidate in ranked:
        best_by_section.setdefault(candidate.section, candidate)
    best = islice(best_by_section.values(), _MAX_PASSAGES)
    return tuple(_describe(question, candidate) for candidate in best)


def _describe(question: Query, candidate: Candidate) -> ClosestPassage:
    span = _widen(candidate.passage, candidate.span)
    citation = Quote(candidate.passage, span, 0.0).citation(1, "extractive")
    fields = {name: getattr(citation, name) for name in ("uri", "start", "end", "quote", "title")}
    return ClosestPassage(
        **fields,
        heading_context=citation.heading_context,
        location=citation.location,
        reason=" and ".join(_list_reasons(question, candidate.passage, span)),
    )


def _widen(passage: Passage, span: Span) -> Span:
    """Return a span with the sentences around it, in the same section and table."""
    sentences = passage.sentences_beside(span)
    first = last = next(i for i, s in enumerate(sentences) if s.start <= span.start < s.end)
    while True:
        is_wider = False
        for new_first, new_last in ((first, last + 1), (first - 1, last)):
            if new_first < 0 or new_last >= len(sentences):
                continue
            if sentences[new_last].end - sentences[new_first].start <= _MAX_CHARACTERS:
                first, last, is_wider = new_first, new_last, True
        if not is_wider:
            start = min(sentences[first].start, span.start)
            return Span(start, max(sentences[last].end, span.end))


def _list_reasons(question: Query, passage: Passage, span: Span) -> list[str]:
    """Return why a span does not answer: at most one reason about words, and one about its kind."""
    text = passage.text[span.start : span.end]
    premise = "\n".join([passage.document_name, passage.premise(span)])
    reasons = [reason for reason in (_find_word_reason(question, premise),) if reason]
    answer_type = find_answer_type(question.text)
    if answer_type and not has_answer_of_type(text, answer_type):
        reasons.append(f"has no {_ANSWER_NAMES[answer_type]}")
    return reasons or ["has the words of the question, but hardly the answer"]


def _find_word_reason(question: Query, premise: str) -> str:
    asked_names = find_asked_names(question.text, question.carried_terms)
    known_words = set(find_name_words(premise)) | set(words(premise))
    missing_names = asked_names - known_words
    if identifiers := find_identifiers(missing_names):
        missing = _list_as_written(str(question), identifiers)
        others = find_identifiers(find_name_words(premise) - asked_names, like=identifiers)
        if others:
            return f"is about {_list_as_written(premise, others)}, not {missing}"
        return f"does not mention {missing}"
    missing_words: Set[str] = missing_names or {
        part for word in find_unmentioned_words(str(question), [premise]) for part in words(word)
    }
    listed = _list_as_written(str(question), missing_words)
    return f"does not mention {listed}" if listed else ""


def _list_as_written(text: str, selected: Set[str]) -> str:
    """Return the `selected` words of a text in quotation marks, as they are written there."""
    listed = [
        f'"{word}"'
        for word in dict.fromkeys(_iterate_words(text))
        if selected & {*words(word), *find_name_words(word)}
    ]
    return ", ".join(listed[:_MAX_LISTED_WORDS])


def _iterate_words(text: str) -> Iterator[str]:
    for word in text.split():
        yield word.strip("?!.,;:()[]{}\"'“”„«»")
