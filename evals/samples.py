"""What is scored: a question, the answer given, what it was given from, and what was wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

from pydantic import ConfigDict

from rag.generation.claims import admitted, claims_nothing, refuses
from rag.generation.markers import numbers_in, without_markers
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
_SHORT = 3  # words that claim something only as the answer to the question before them
_NOUGHT = re.compile(r"\s\[0\](?=\W*\Z)")  # passages count from 1


class Passage(FrozenModel):
    """A stretch of a source: what an answer was given from, or a quote that it cites."""

    text: Text
    uri: Text = ""
    start: int = 0
    title: Text = ""
    verified: bool | None = None
    """Of a quote: whether it stands in its source at ``start``; None where nobody has looked."""


class Statement(FrozenModel):
    """A sentence of an answer, its span in it, and what it cites.

    ``cited`` are positions in `Sample.citable`, each once, in order; ``invalid`` counts what it
    cites that is not there. ``claim`` is what must be supported: the sentence without markers.
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
    """One answer, and all that is known of it.

    ``contexts`` are the passages that the model was shown, in the order of their numbers, so that
    ``[1]`` in the answer names the first; ``contexts_known`` is False where they are not known,
    which is another thing than that there were none. ``quotes`` are exact spans that the answer
    cites, where it has such; then sentences cite these. ``references`` are right answers, ``gold``
    ids or uris of the documents that answer, ``answerable`` whether the sources do (None: not
    known).
    ``abstained`` is what the system says of itself, None where it says nothing.
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
    """Uris of what was retrieved, best first; None where that is not known."""

    @classmethod
    def of(cls, id: str, question: str, answer: Answer, **known: Any) -> Self:
        """The sample of one of our answers: its sentences, exact quotes and hits as they are."""
        quotes = tuple(
            Passage(text=c.quote, uri=c.uri, start=c.start, title=c.title, verified=c.verified)
            for c in answer.citations
        )
        given = None
        if answer.status == "answered" and answer.sentences:
            given = tuple(
                Statement(
                    start=s.start,
                    end=s.end,
                    claim=_claim(answer.text[s.start : s.end]),
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
            given=given,
            abstained=answer.status == "abstained",
            retrieved=tuple(dict.fromkeys(hit.chunk.uri for hit in answer.hits)),
            **known,
        )

    @property
    def citable(self) -> tuple[Passage, ...]:
        """What sentences cite: the quotes, or the passages by their numbers."""
        return self.quotes if self.given is not None else self.contexts

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """The sentences of the answer; code blocks and what has no word are none."""
        if self.given is not None:
            return self.given
        found: list[Statement] = []
        for start, end in sentences(_FENCE.sub(lambda m: " " * len(m.group()), self.answer)):
            raw = self.answer[start:end]
            cited, invalid = _cited(raw, len(self.contexts))
            claim = _claim(raw)
            if not re.search(r"\w", claim):
                if found and (cited or invalid):  # a marker that stands by itself
                    last = found[-1]
                    both = tuple(dict.fromkeys((*last.cited, *cited)))
                    found[-1] = last.model_copy(
                        update={"cited": both, "invalid": last.invalid + invalid, "end": end}
                    )
                continue
            silent = not (cited or invalid) and (claims_nothing(claim) or refuses(claim))
            asked = found[-1].claim if found and _QUESTION.search(found[-1].claim) else ""
            short = bool(asked) and len(claim.split()) <= _SHORT
            if not silent and (short or _YES_OR_NO.match(claim)):  # "Does it fly? Yes, it does."
                claim = f"{asked or ('' if found else self.question)} {claim}".strip()
            found.append(
                Statement(
                    start=start,
                    end=end,
                    claim=claim,
                    cited=cited,
                    invalid=invalid,
                    needs_citation=not silent,
                )
            )
        return tuple(found)

    @cached_property
    def refused(self) -> bool:
        """Whether the answer says that there is none, and claims nothing beside.

        "The passages do not say why, but it began in 1960." is an answer.
        """
        if self.abstained is not None:
            return self.abstained
        if not self.answer.strip():
            return True
        claiming = [s for s in self.statements if s.needs_citation]
        refusing = [s for s in self.statements if refuses(s.claim)]
        return bool(refusing) and not any(s for s in claiming if not refuses(s.claim))


def _claim(raw: str) -> str:
    return admitted(_NOUGHT.sub("", without_markers(raw)).strip())


def _cited(raw: str, available: int) -> tuple[tuple[int, ...], int]:
    """Positions named by the markers, each once, and how many of them are not there."""
    each = numbers_in(raw)
    valid = tuple(n - 1 for n in each if 1 <= n <= available)
    return valid, len(each) - len(valid) + bool(_NOUGHT.search(raw) and 0 not in each)


def passages(contexts: Sequence[str | Passage]) -> tuple[Passage, ...]:
    """Passages of plain texts."""
    return tuple(c if isinstance(c, Passage) else Passage(text=c) for c in contexts)


__all__ = ["Passage", "Sample", "Statement", "passages"]
