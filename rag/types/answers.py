"""Answers, their sentences and citations, and the messages of a conversation."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from rag.types.base import FrozenModel, Text
from rag.types.documents import Hit
from rag.types.source_location import LocatedModel
from rag.types.steps import Trace

CitationMethod = Literal["marker", "native", "attribution", "extractive"]


class Citation(LocatedModel):
    """A span of a source that supports the answer: ``document.text[start:end] == quote``.

    ``marker`` is the number in the answer's text. ``heading_context`` is what a reader sees
    beside the quote: title, headings and the caption of a table; for a quote from a table, also its
    row with the names of the columns. ``support`` (0..1) is how well the quote
    supports the sentence that cites it. ``verified`` means that the quote was read back from
    the stored source at these offsets and is identical. ``method`` says how the source was chosen:

    * ``marker``: by the model, with a marker in its text
    * ``native``: by the model, with its provider's native citations
    * ``attribution``: by the verifier, because the model cited nothing or a wrong source
    * ``extractive``: the answer is the quote itself
    """

    marker: int = Field(ge=1)
    uri: Text
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    quote: Text
    title: Text = ""
    heading_context: Text = ""
    support: float = Field(default=0.0, ge=0, le=1)
    verified: bool = False
    method: CitationMethod = "marker"


SentenceStatus = Literal["supported", "partly", "unsupported", "contradicted", "needs_none"]


class Sentence(FrozenModel):
    """A sentence of an answer: its span in ``Answer.text``, its citations and its support.

    ``citations`` are indices into ``Answer.citations``. ``support`` (0..1) is the best support of
    one citation, or the support of all of them combined. ``status`` compares it with the two
    thresholds of the verifier: ``supported`` (at least the upper one), ``partly`` (at least the
    lower one) or ``unsupported``; an unsupported sentence that a passage denies is
    ``contradicted``. A sentence without a claim (a heading, a question, "Here is the
    list:") has the status ``needs_none``.
    """

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    citations: tuple[int, ...] = ()
    support: float = Field(default=0.0, ge=0, le=1)
    status: SentenceStatus = "unsupported"

    @property
    def is_rejected(self) -> bool:
        """Whether ``status`` is ``unsupported`` or ``contradicted``."""
        return self.status in ("unsupported", "contradicted")

    @property
    def is_supported(self) -> bool:
        """Whether ``status`` is ``supported``."""
        return self.status == "supported"


class Usage(FrozenModel):
    """Usage of chat models: calls, input and output tokens, and cost in US dollars.

    ``cost_usd`` is None if the price of a model is not known. ``is_estimated`` says that a server
    reported no tokens, so that they were counted here.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    calls: int = 0
    is_estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        """Return the sum; its cost is known if both costs are."""
        costs = [usage.cost_usd for usage in (self, other) if usage != Usage()]
        known_costs = [cost for cost in costs if cost is not None]
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=sum(known_costs) if known_costs and len(known_costs) == len(costs) else None,
            calls=self.calls + other.calls,
            is_estimated=self.is_estimated or other.is_estimated,
        )


NO_ANSWER = "I could not find an answer to that in the sources."
"""Text of every abstained answer."""


class ClosestPassage(LocatedModel):
    """A passage that comes close to an answer: ``document.text[start:end] == quote``.

    ``reason`` says why it is none, as the end of a sentence about it: "does not mention ...".
    ``heading_context`` is that of a `Citation`.
    """

    uri: Text
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    quote: Text
    title: Text = ""
    heading_context: Text = ""
    reason: Text


class Answer(FrozenModel):
    """An answer with its sentences, citations, retrieved hits, usage and timings.

    ``status`` is ``abstained`` if the sources do not support an answer; ``reason`` then says why,
    ``closest`` are the passages that come closest, and ``hits`` are all that were found. An answer
    with a ``reason`` replaces what was streamed before: the sources are quoted in place of a
    model's draft, or it had written its thoughts first.
    ``trace`` has a step for each stage, in their order.
    """

    text: Text
    status: Literal["answered", "abstained"]
    reason: str = ""
    sentences: tuple[Sentence, ...] = ()
    citations: tuple[Citation, ...] = ()
    closest: tuple[ClosestPassage, ...] = ()
    hits: tuple[Hit, ...] = ()
    usage: Usage = Usage()
    trace: Trace = ()

    def _repr_html_(self) -> str:
        from rag.types.html_view import render_answer

        return render_answer(self)


class Message(FrozenModel):
    """A message of a conversation with a chat model."""

    role: Literal["system", "user", "assistant"]
    content: Text
