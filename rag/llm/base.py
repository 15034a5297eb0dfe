"""What every chat model does."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag import tracing
from rag.component import Component, NotFingerprinted
from rag.concurrency import close_at_end, iterate_in_threads, limit_concurrency
from rag.errors import ModelReplyError
from rag.llm import cache
from rag.llm.usage import record_usage
from rag.types import Message, Usage, well_formed

JsonSchema = Mapping[str, Any]


class KnownChat(NamedTuple):
    """A model known by name, as ``rag models`` lists it.

    ``context`` is what it reads, in tokens; prices are US dollars for a million tokens.
    """

    model: str
    context: int | None
    input_usd: float | None
    output_usd: float | None


class Source(NamedTuple):
    """A passage as it is given to a model whose provider cites by itself."""

    title: str
    text: str


class NativeCitation(NamedTuple):
    """A provider's own citation: ``text[start:end]`` rests on these of the sources, from 0."""

    start: int
    end: int
    sources: tuple[int, ...]


class Completion(NamedTuple):
    """A whole reply.

    ``finish_reason`` is ``length`` where it was cut off by the token limit, ``refusal`` where the
    model would not answer. ``citations`` are the provider's, where it has a mode for that.
    """

    text: str
    usage: Usage = Usage()
    finish_reason: str = "stop"
    citations: tuple[NativeCitation, ...] = ()


class Delta(NamedTuple):
    """A piece of a reply as it comes; the last one, without text, brings the completion."""

    text: str
    completion: Completion | None = None


class ChatModel(Component):
    """Messages in, a reply out. Raises `ModelError` and what derives from it.

    At most ``concurrency`` calls of one model are waited for at once in a process; others wait (a
    stream counts while its next token is waited for, not while its reader does something else).
    ``input_price`` and ``output_price`` are in US dollars for a million tokens (default: what is
    known of the model). What a model thinks aloud, ``<think>...</think>`` in front of its reply,
    is left out.

    A model derives from this and has `_complete`, and `_stream` where it can.
    """

    kind: ClassVar[str] = "chat_model"
    extra: ClassVar[str] = ""
    """Optional dependency group that it needs; "" for none."""
    cites: ClassVar[bool] = False
    """Whether it takes sources and cites them by itself."""

    concurrency: Annotated[int, NotFingerprinted] = Field(8, ge=1, le=1_024)
    input_price: Annotated[float | None, NotFingerprinted] = Field(None, ge=0)
    output_price: Annotated[float | None, NotFingerprinted] = Field(None, ge=0)

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Models that are known by name; others may work as well."""
        return ()

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> Completion:
        """Answer in one piece.

        With `schema`, the reply is JSON that fits it, as far as the model can be held to it: check
        what comes back (`rag.llm.structured.fill` does). `sources` are for models that cite.
        Within `rag.llm.cache.caching`, what was asked before is not asked again.
        """
        kept = cache.current()
        key = cache.key_of(self.fingerprint, messages, schema, sources) if kept else ""
        if kept and (known := kept.get(key)):
            return known
        with self._span(messages) as span, limit_concurrency(self.fingerprint, self.concurrency):
            completion = self._complete(messages, schema=schema, sources=sources)
            if not isinstance(completion, Completion):
                raise TypeError(
                    f"{type(self).__name__}._complete is to return a rag.llm.Completion"
                )
            completion = self._accounted(completion)
            _told(span, completion)
        if kept:
            kept.put(key, completion)
        return completion

    def stream(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> Iterator[Delta]:
        """Answer piece by piece. To stop early, close the iterator: the connection goes too."""
        kept = cache.current()
        kept_as = cache.key_of(self.fingerprint, messages, schema, sources) if kept else ""
        if kept and (known := kept.get(kept_as)):
            yield Delta(known.text)
            yield Delta("", known)
            return
        held = ""  # what may be the beginning of a thought
        thinking = True
        deltas = self._stream(messages, schema=schema, sources=sources)
        key = self.fingerprint
        with self._span(messages) as span, close_at_end(deltas):
            while True:
                with limit_concurrency(key, self.concurrency):
                    delta = next(deltas, None)
                if delta is None:
                    raise ModelReplyError(
                        f"the reply of {self.name!r} ended without its completion"
                    )
                text, completion = well_formed(delta.text), delta.completion
                piece = held + text if thinking else text
                if thinking:
                    held, thinking = piece, completion is None and _may_be_thought(piece)
                    piece = "" if thinking else _without_thought(piece)
                if piece:
                    span.token(piece)
                    yield Delta(piece)
                if completion is not None:
                    completion = self._accounted(completion)
                    _told(span, completion)
                    if kept:
                        kept.put(kept_as, completion)
                    yield Delta("", completion)
                    return

    async def acomplete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> Completion:
        """`complete` without blocking the event loop; cancelled, it stops at the next token."""
        completion = Completion("")
        async for delta in self.astream(messages, schema=schema, sources=sources):
            completion = delta.completion or completion
        return completion

    async def astream(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> AsyncIterator[Delta]:
        """`stream`, each step of it in a worker thread."""
        async for delta in iterate_in_threads(
            self.stream(messages, schema=schema, sources=sources)
        ):
            yield delta

    @property
    def model_id(self) -> str:
        """What the model is called, in traces."""
        return str(getattr(self, "model", self.name))

    @property
    def context_tokens(self) -> int | None:
        """What the model reads and writes at once, in tokens; None where that is not known."""
        known = self._known
        return known.context if known else None

    @property
    def reply_tokens(self) -> int:
        """Tokens of `context_tokens` that are kept for the reply."""
        return 1_024

    @property
    def prices(self) -> tuple[float, float] | None:
        """US dollars for a million tokens in and out; None where that is not known."""
        known = self._known
        price_in, price_out = self.input_price, self.output_price
        if known is not None:
            price_in = known.input_usd if price_in is None else price_in
            price_out = known.output_usd if price_out is None else price_out
        return None if price_in is None or price_out is None else (price_in, price_out)

    def count_tokens(self, text: str) -> int:
        """Length of `text` in tokens, near enough to fill a context; never a network call."""
        from rag.text.tokens import count_tokens

        return count_tokens(text)

    @abstractmethod
    def _complete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None,
        sources: Sequence[Source],
    ) -> Completion:
        """See `complete`."""

    def _stream(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None,
        sources: Sequence[Source],
    ) -> Iterator[Delta]:
        """See `stream`. Without a stream of its own, a model says all at once."""
        completion = self._complete(messages, schema=schema, sources=sources)
        yield Delta(completion.text)
        yield Delta("", completion)

    def _span(self, messages: Sequence[Message]) -> AbstractContextManager[tracing.Span]:
        model = self.model_id
        attributes = {
            "gen_ai.provider.name": tracing.provider_of(self.name),
            "gen_ai.request.model": model,
        }
        return tracing.span(
            f"chat {model}",
            operation="chat",
            attributes=attributes,
            data={"messages": tuple(messages)},
            nests=False,
        )

    @property
    def _known(self) -> KnownChat | None:
        """What is known of the model; None where nothing is."""
        return None

    def _accounted(self, completion: Completion) -> Completion:
        """Count the call, say what it cost, and leave out what was thought aloud."""
        used, cost = completion.usage, completion.usage.cost_usd
        if cost is None and (prices := self.prices) is not None:
            cost = (used.input_tokens * prices[0] + used.output_tokens * prices[1]) / 1e6
        usage = used.model_copy(update={"cost_usd": cost, "calls": max(1, used.calls)})
        record_usage(usage)
        text = _without_thought(well_formed(completion.text))
        gone = len(completion.text) - len(text)
        citations = tuple(
            NativeCitation(cited.start - gone, cited.end - gone, cited.sources)
            for cited in completion.citations
            if cited.start >= gone
        )
        return completion._replace(text=text, usage=usage, citations=citations)


def _told(span: tracing.Span, completion: Completion) -> None:
    """Note in the span of a call what came of it."""
    span.data["completion"] = completion
    span.used(completion.usage)
    span.set("gen_ai.response.finish_reasons", [completion.finish_reason])


_THINK, _THOUGHT = "<think>", "</think>"


def _may_be_thought(text: str) -> bool:
    """Whether what came so far may be the beginning of a thought that has not ended."""
    begins = _THINK.startswith(text.lstrip()[: len(_THINK)])
    return begins and not text.partition(_THOUGHT)[2].strip()  # nor the white space behind it


def _without_thought(text: str) -> str:
    if not text.lstrip().startswith(_THINK):
        return text
    return re.sub(r"\A\s*<think>.*?(?:</think>\s*|\Z)", "", text, count=1, flags=re.S)
