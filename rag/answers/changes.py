"""What has changed between two answers to the same question."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from rag.answers.same_meaning import mean_the_same
from rag.generation.markers import strip_markers
from rag.types import Answer, Citation, FrozenModel, Text

LossReason = Literal["document_deleted", "text_changed", "no_longer_cited"]


class CitationChange(FrozenModel):
    """A citation that one of two answers has and the other one has not.

    ``reason`` is ``new``, or why the earlier answer's citation is gone: ``document_deleted``,
    ``text_changed`` (the document no longer has the quote), or ``no_longer_cited``.
    """

    citation: Citation
    reason: Literal["new"] | LossReason


class AnswerChange(FrozenModel):
    """An answer compared with an earlier one to the same question.

    ``earlier`` is None if the question is asked for the first time, and ``earlier_at`` is the time
    of the earlier answer (ISO 8601, UTC). ``added`` and ``removed`` are the sentences that only one
    of the answers has, without their markers. A quote that only moved in its document is no change.
    """

    question: Text
    answer: Answer
    earlier: Answer | None = None
    earlier_at: str = ""
    added: tuple[Text, ...] = ()
    removed: tuple[Text, ...] = ()
    citations: tuple[CitationChange, ...] = ()

    @property
    def is_first(self) -> bool:
        """Whether there is no earlier answer."""
        return self.earlier is None

    @property
    def has_changed(self) -> bool:
        """Whether the sentences, their sources or the status differ from the earlier answer."""
        return self.earlier is not None and bool(
            self.added
            or self.removed
            or self.citations
            or self.answer.status != self.earlier.status
        )


def compare_answers(
    question: str,
    answer: Answer,
    earlier: Answer,
    *,
    earlier_at: str = "",
    stored_texts: Mapping[str, str] | None = None,
) -> AnswerChange:
    """Compare an answer with an earlier one to the same question.

    A sentence in other words that mean the same is no change. `stored_texts` are the present texts
    of the documents that the earlier answer cites, by uri: those that are missing were deleted.
    None says that they are not known.
    """
    sentences, earlier_sentences = _list_sentences(answer), _list_sentences(earlier)
    return AnswerChange(
        question=question,
        answer=answer,
        earlier=earlier,
        earlier_at=earlier_at,
        added=_list_missing(sentences, earlier_sentences),
        removed=_list_missing(earlier_sentences, sentences),
        citations=(
            *_list_lost(earlier.citations, answer.citations, stored_texts),
            *_list_new(answer.citations, earlier.citations),
        ),
    )


def _list_sentences(answer: Answer) -> list[str]:
    if answer.status == "abstained":
        return []
    texts = [answer.text[s.start : s.end] for s in answer.sentences] or [answer.text]
    return [text for text in (strip_markers(t).strip() for t in texts) if text]


def _list_missing(sentences: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """Return the sentences that no other one is equal to in meaning."""
    normalized_others = {_normalize(sentence) for sentence in others}
    return tuple(
        sentence
        for sentence in sentences
        if _normalize(sentence) not in normalized_others
        and not any(mean_the_same(sentence, candidate) for candidate in others)
    )


def _list_lost(
    earlier: Sequence[Citation], present: Sequence[Citation], stored_texts: Mapping[str, str] | None
) -> list[CitationChange]:
    quotes = _collect_quotes(present)
    changes: list[CitationChange] = []
    for citation in _without_repetition(earlier):
        if (citation.uri, _normalize(citation.quote)) in quotes:
            continue
        reason: LossReason = "no_longer_cited"
        if stored_texts is not None and citation.uri not in stored_texts:
            reason = "document_deleted"
        elif stored_texts is not None and citation.quote not in stored_texts[citation.uri]:
            reason = "text_changed"
        changes.append(CitationChange(citation=citation, reason=reason))
    return changes


def _list_new(present: Sequence[Citation], earlier: Sequence[Citation]) -> list[CitationChange]:
    quotes = _collect_quotes(earlier)
    return [
        CitationChange(citation=citation, reason="new")
        for citation in _without_repetition(present)
        if (citation.uri, _normalize(citation.quote)) not in quotes
    ]


def _without_repetition(citations: Sequence[Citation]) -> Collection[Citation]:
    return {(c.uri, _normalize(c.quote)): c for c in citations}.values()


def _collect_quotes(citations: Sequence[Citation]) -> set[tuple[str, str]]:
    return {(citation.uri, _normalize(citation.quote)) for citation in citations}


def _normalize(text: str) -> str:
    return " ".join(text.split())
