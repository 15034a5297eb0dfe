"""Answers, their sentences and citations, and the messages of a conversation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
)

from rag.types.base import FrozenModel, Text
from rag.types.documents import Hit
from rag.types.source_location import Located

CitationMethod = Literal["marker", "native", "attribution", "extractive"]


class Citation(Located):
    """A span of a source that an answer rests on: ``document.text[start:end] == quote``.

    ``marker`` is the number in the answer's text. ``support`` (0..1) is how well the quote
    supports the sentence that cites it. ``verified`` means that the quote was read back from
    the stored source at these offsets and is the same, character for character. ``method`` says
    who chose the source: the model by a marker in its text (``marker``) or by its provider's own
    citations (``native``), the verifier where the model chose none or a wrong one
    (``attribution``), or the answer is the quote itself (``extractive``).
    """

    marker: int = Field(ge=1)
    uri: Text
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    quote: Text
    title: Text = ""
    support: float = Field(default=0.0, ge=0, le=1)
    verified: bool = False
    method: CitationMethod = "marker"


SentenceStatus = Literal["supported", "partly", "unsupported", "needs_none"]


class Sentence(FrozenModel):
    """A sentence of an answer: its span in ``Answer.text`` and what it rests on.

    ``citations`` are positions in ``Answer.citations``; ``support`` (0..1) is the best of
    theirs, or what they give together. ``status`` says whether that reaches the verifier's
    threshold (``supported``), its lower one (``partly``) or neither (``unsupported``). What
    claims nothing (a heading, a question, "Here is the list:") is in the state ``needs_none``.
    """

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    citations: tuple[int, ...] = ()
    support: float = Field(default=0.0, ge=0, le=1)
    status: SentenceStatus = "unsupported"

    @property
    def supported(self) -> bool:
        """Whether the sources support it."""
        return self.status == "supported"


class Usage(FrozenModel):
    """Calls of chat models, tokens that went in and came out, and US dollars where known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Sum of both; its cost is known where both are."""
        costs = [used.cost_usd for used in (self, other) if used != Usage()]
        known = [cost for cost in costs if cost is not None]
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=sum(known) if known and len(known) == len(costs) else None,
            calls=self.calls + other.calls,
        )


class Step(FrozenModel):
    """One timed stage on the way to an answer."""

    name: str
    seconds: float
    detail: dict[str, Any] = {}


NO_ANSWER = "I could not find an answer to that in the sources."
"""Text of every answer that is abstained from."""


class Answer(FrozenModel):
    """An answer that can be checked.

    ``status`` is ``abstained`` where the sources do not support an answer; ``reason`` then says
    why, and ``hits`` are the nearest passages.
    """

    text: Text
    status: Literal["answered", "abstained"]
    reason: str = ""
    sentences: tuple[Sentence, ...] = ()
    citations: tuple[Citation, ...] = ()
    hits: tuple[Hit, ...] = ()
    usage: Usage = Usage()
    trace: tuple[Step, ...] = ()


class Message(FrozenModel):
    """One turn of a conversation with a chat model."""

    role: Literal["system", "user", "assistant"]
    content: Text
