"""Samples, the input of every metric: a question, its answer, its passages and its references."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

from pydantic import ConfigDict

from rag.generation.claims import extract_claim, has_no_claim, is_refusal
from rag.generation.markers import find_marker_numbers, strip_markers
from rag.text.sentences import sentences
from rag.types import Answer, FrozenModel, Text

_FENCE = re.compile(
    r"^[ >]{0,8}+(`{3,}+(?![^\n]*`)|~{3,}+)[^\n]*+\n.*?(?:^[ >]{0,8}+\1[`~]*+[ ]*+$|\Z)",
    re.M | re.S,
)
_QUESTION = re.compile(r"[?？؟][\"'”’»)]*\Z")
_YES_OR_NO = re.compile(
    r"(?:in a word\W+|(?:the )?(?:short )?answer is:? )?(?:yes|no|none|nope|never|not)\b",
    re.IGNORECASE,
)
_MAX_SHORT_ANSWER_WORDS = 3  # up to this length, a sentence claims something only with its question
_ZERO_MARKER = re.compile(r"\s\[0\](?=\W*\Z)")  # passages are numbered from 1


class Passage(FrozenModel):
    """A span of a source: a passage that the model was shown, or a quote that the answer cites."""

    text: Text
    uri: Text = ""
    start: int = 0
    title: Text = ""
    verified: bool | None = None
    """Whether a quote is in its source at ``start``; None if it was not checked."""


class Statement(FrozenModel):
    """A sentence of an answer, its span in the answer, and the passages that it cites.

    ``start`` and ``end`` count characters. ``cited`` are positions in `Sample.citable_passages`, in
    the order of their markers, without repetition; ``invalid`` is the number of markers that name
    no passage. ``claim`` is the text that must be supported: the sentence without markers.
    ``needs_citation`` is False for headings, questions, courtesies, and sentences that say that
    there is no answer.
    """

    start: int
    end: int
    claim: Text
    cited: tuple[int, ...] = ()
    invalid: int = 0
    needs_citation: bool = True


class Sample(FrozenModel):
    """One answer with everything that metrics need to score it.

    ``contexts`` are the passages that the model was shown, in the order of their numbers: ``[1]``
    in the answer cites the first. ``contexts_known`` is False if they are unknown, which differs
    from an empty ``contexts`` (nothing was retrieved). ``quotes`` are the exact spans that the
    answer cites; if ``given`` is set, sentences cite quotes instead of contexts. ``given`` are the
    sentences as the pipeline reported them. ``references`` are correct answers. ``gold`` are ids or
    uris of the documents that contain the answer. ``answerable`` says whether the sources contain
    the answer (None: unknown). ``abstained`` says whether the system reported that it did not
    answer (None: it reports nothing).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    id: Text
    question: Text
    answer: Text
    contexts: tuple[Passage, ...] = ()
    contexts_known: bool = True
    quotes: tuple[Passage, ...] = ()
    given: tuple[Statement, ...] | None = None
    references: tuple[Text, ...] = ()
    answerable: bool | None = None
    gold: tuple[Text, ...] = ()
    abstained: bool | None = None
    retrieved: tuple[Text, ...] | None = None
    """Uris of the retrieved documents, best first; None if unknown."""

    @classmethod
    def of(cls, id: str, question: str, answer: Answer, **facts: Any) -> Self:
        """Make the sample of a pipeline's answer, with its sentences, exact quotes and hits.

        `facts` are further fields of the sample: ``references``, ``gold`` and ``answerable``.
        """
        quotes = tuple(
            Passage(text=c.quote, uri=c.uri, start=c.start, title=c.title, verified=c.verified)
            for c in answer.citations
        )
        statements = None
        if answer.status == "answered" and answer.sentences:
            statements = tuple(
                Statement(
                    start=s.start,
                    end=s.end,
                    claim=_extract_claim(answer.text[s.start : s.end]),
                    cited=tuple(dict.fromkeys(s.citations)),
                    needs_citation=s.status != "needs_none",
                )
                for s in answer.sentences
            )
        return cls(
            id=id,
            question=question,
            answer=answer.text,
            contexts=tuple(
                Passage(text=h.chunk.text, uri=h.chunk.uri, start=h.chunk.start)
                for h in answer.hits
            ),
            quotes=quotes,
            given=statements,
            abstained=answer.status == "abstained",
            retrieved=tuple(dict.fromkeys(hit.chunk.uri for hit in answer.hits)),
            **facts,
        )

    @property
    def citable_passages(self) -> tuple[Passage, ...]:
        """The passages that sentences cite: the exact quotes if known, else the contexts."""
        return self.quotes if self.given is not None else self.contexts

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """The sentences of the answer, without code blocks and without parts that have no word."""
        if self.given is not None:
            return self.given
        statements: list[Statement] = []
        for start, end in sentences(_FENCE.sub(lambda m: " " * len(m.group()), self.answer)):
            raw = self.answer[start:end]
            cited, invalid = _parse_citations(raw, len(self.contexts))
            if not re.search(r"\w", _extract_claim(raw)):
                if statements and (cited or invalid):  # markers without a sentence
                    statements[-1] = _add_citations(statements[-1], cited, invalid, end)
                continue
            statements.append(self._make_statement(statements, start, end, cited, invalid))
        return tuple(statements)

    def _make_statement(
        self,
        earlier: Sequence[Statement],
        start: int,
        end: int,
        cited: tuple[int, ...],
        invalid: int,
    ) -> Statement:
        """Make the statement of a sentence; a short answer claims what its question asks."""
        claim = _extract_claim(self.answer[start:end])
        claims_something = bool(cited or invalid) or not (has_no_claim(claim) or is_refusal(claim))
        question = earlier[-1].claim if earlier and _QUESTION.search(earlier[-1].claim) else ""
        is_short_reply = bool(question) and len(claim.split()) <= _MAX_SHORT_ANSWER_WORDS
        if claims_something and (is_short_reply or _YES_OR_NO.match(claim)):
            # "Does it fly? Yes, it does."
            claim = f"{question or ('' if earlier else self.question)} {claim}".strip()
        return Statement(
            start=start,
            end=end,
            claim=claim,
            cited=cited,
            invalid=invalid,
            needs_citation=claims_something,
        )

    @cached_property
    def is_refusal(self) -> bool:
        """Whether the answer says that there is no answer, and claims nothing else.

        "The passages do not say why, but it began in 1960." is not a refusal.
        """
        if self.abstained is not None:
            return self.abstained
        if not self.answer.strip():
            return True
        refusals = [s for s in self.statements if is_refusal(s.claim)]
        claims = [s for s in self.statements if s.needs_citation and not is_refusal(s.claim)]
        return bool(refusals) and not claims


def _add_citations(
    statement: Statement, cited: tuple[int, ...], invalid: int, end: int
) -> Statement:
    """Add the citations of markers that follow a sentence to its statement."""
    return statement.model_copy(
        update={
            "cited": tuple(dict.fromkeys((*statement.cited, *cited))),
            "invalid": statement.invalid + invalid,
            "end": end,
        }
    )


def _extract_claim(sentence: str) -> str:
    return extract_claim(_ZERO_MARKER.sub("", strip_markers(sentence)).strip())


def _parse_citations(sentence: str, passage_count: int) -> tuple[tuple[int, ...], int]:
    """Return the cited positions, each once, and the number of markers that name no passage."""
    numbers = find_marker_numbers(sentence)
    positions = tuple(n - 1 for n in numbers if 1 <= n <= passage_count)
    has_zero_marker = bool(_ZERO_MARKER.search(sentence) and 0 not in numbers)
    return positions, len(numbers) - len(positions) + has_zero_marker


def passages(contexts: Sequence[str | Passage]) -> tuple[Passage, ...]:
    """Make passages of plain texts; passages are returned unchanged."""
    return tuple(c if isinstance(c, Passage) else Passage(text=c) for c in contexts)


__all__ = ["Passage", "Sample", "Statement", "passages"]
