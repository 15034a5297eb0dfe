"""The base class of all chat models, and the data types of their replies."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag import tracing
from rag.call_context import check_limits
from rag.component import Component, NotFingerprinted
from rag.concurrency import close_at_end, iterate_in_threads, limit_concurrency
from rag.errors import ModelReplyError
from rag.llm import cache
from rag.llm.completion import Completion, Delta, NativeCitation, Source
from rag.llm.usage import record_usage
from rag.types import Message, to_well_formed

JsonSchema = Mapping[str, Any]


class KnownChat(NamedTuple):
    """Context window and prices of a known model, as ``rag models`` lists them.

    ``context`` is in tokens; prices are in US dollars per million tokens.
    """

    model: str
    context: int | None
    input_usd: float | None
    output_usd: float | None


class ChatModel(Component):
    """A chat model: takes messages and returns a reply. Raises `ModelError`.

    At most ``concurrency`` calls of one model run at once in a process; others wait. A stream
    counts only while its next token is awaited. ``input_price`` and ``output_price`` are in US
    dollars per million tokens (default: the known prices of the model). A ``<think>...</think>``
    block at the beginning of a reply is removed.

    A subclass implements `_complete`, and `_stream` if it can stream.
    """

    kind: ClassVar[str] = "chat_model"
    extra: ClassVar[str] = ""
    """Optional dependency group that the model needs; "" for none."""
    cites: ClassVar[bool] = False
    """Whether the model takes ``sources`` and returns native citations."""

    concurrency: Annotated[int, NotFingerprinted] = Field(8, ge=1, le=1_024)
    input_price: Annotated[float | None, NotFingerprinted] = Field(None, ge=0)
    output_price: Annotated[float | None, NotFingerprinted] = Field(None, ge=0)

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Return the models with known prices; others may work as well."""
        return ()

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> Completion:
        """Return the complete reply to `messages`.

        With `schema`, the reply is JSON. Not every model guarantees that it matches the schema:
        validate it (`rag.llm.structured.fill` does). `sources` are for models with native
        citations. Within `rag.llm.cache.use_cache`, a repeated call returns the cached reply.
        """
        replies = cache.active_cache()
        key = cache.completion_key(self.fingerprint, messages, schema, sources) if replies else ""
        if replies and (cached := replies.get(key)):
            return cached
        with (
            self._open_span(messages) as span,
            limit_concurrency(self.fingerprint, self.concurrency),
        ):
            completion = self._complete(messages, schema=schema, sources=sources)
            if not isinstance(completion, Completion):
                raise TypeError(f"{type(self).__name__}._complete must return a rag.llm.Completion")
            completion = self._finish_completion(completion)
            _record_completion(span, completion)
        if replies:
            replies.put(key, completion)
        return completion

    def stream(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> Iterator[Delta]:
        """Yield the reply to `messages` piece by piece.

        To stop early, close the iterator: this closes the connection to the model as well.
        """
        replies = cache.active_cache()
        key = cache.completion_key(self.fingerprint, messages, schema, sources) if replies else ""
        if replies and (cached := replies.get(key)):
            yield Delta(cached.text)
            yield Delta("", cached)
            return
        visible_text = _ThoughtFilter()
        deltas = self._stream(messages, schema=schema, sources=sources)
        fingerprint = self.fingerprint
        with self._open_span(messages) as span, close_at_end(deltas):
            while True:
                check_limits()
                with limit_concurrency(fingerprint, self.concurrency):
                    delta = next(deltas, None)
                if delta is None:
                    raise ModelReplyError(
                        f"the stream of {self.name!r} ended without its completion",
                        model=self.model_id,
                    )
                completion = delta.completion
                if piece := visible_text.feed(delta.text, is_last=completion is not None):
                    span.emit_token(piece)
                    yield Delta(piece)
                if completion is not None:
                    completion = self._finish_completion(completion)
                    _record_completion(span, completion)
                    if replies:
                        replies.put(key, completion)
                    yield Delta("", completion)
                    return

    async def acomplete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> Completion:
        """Do as `complete` without blocking the event loop; cancelling stops at the next token."""
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
        """Do as `stream`, with each step in a worker thread."""
        async for delta in iterate_in_threads(
            self.stream(messages, schema=schema, sources=sources)
        ):
            yield delta

    @property
    def model_id(self) -> str:
        """Name of the model in traces."""
        return str(getattr(self, "model", self.name))

    @property
    def context_tokens(self) -> int | None:
        """Context window of the model in tokens (input and reply); None if not known."""
        model = self._known_model
        return model.context if model else None

    @property
    def reply_tokens(self) -> int:
        """Tokens of `context_tokens` that are reserved for the reply."""
        return 1_024

    @property
    def prices(self) -> tuple[float, float] | None:
        """US dollars per million input and output tokens; None if not known."""
        model = self._known_model
        price_in, price_out = self.input_price, self.output_price
        if model is not None:
            price_in = model.input_usd if price_in is None else price_in
            price_out = model.output_usd if price_out is None else price_out
        return None if price_in is None or price_out is None else (price_in, price_out)

    def count_tokens(self, text: str) -> int:
        """Return the approximate number of tokens of `text`, without a network call."""
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
        """Implement `complete`."""

    def _stream(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None,
        sources: Sequence[Source],
    ) -> Iterator[Delta]:
        """Implement `stream`; by default, the reply of `_complete` is yielded in one piece."""
        completion = self._complete(messages, schema=schema, sources=sources)
        yield Delta(completion.text)
        yield Delta("", completion)

    def _open_span(self, messages: Sequence[Message]) -> AbstractContextManager[tracing.Span]:
        model = self.model_id
        attributes = {
            "gen_ai.provider.name": tracing.provider_name(self.name),
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
    def _known_model(self) -> KnownChat | None:
        """Context window and prices of the model; None if not known."""
        return None

    def _finish_completion(self, completion: Completion) -> Completion:
        """Record the usage of the call with its cost, and remove thoughts from the reply."""
        usage, cost = completion.usage, completion.usage.cost_usd
        if cost is None and (prices := self.prices) is not None:
            cost = (usage.input_tokens * prices[0] + usage.output_tokens * prices[1]) / 1e6
        usage = usage.model_copy(update={"cost_usd": cost, "calls": max(1, usage.calls)})
        record_usage(usage)
        text = _remove_thought(to_well_formed(completion.text))
        removed_characters = len(completion.text) - len(text)
        citations = tuple(
            NativeCitation(
                citation.start - removed_characters,
                citation.end - removed_characters,
                citation.sources,
            )
            for citation in completion.citations
            if citation.start >= removed_characters
        )
        return completion._replace(text=text, usage=usage, citations=citations)


def _record_completion(span: tracing.Span, completion: Completion) -> None:
    """Record the result of a call in its span."""
    span.data["completion"] = completion
    span.set_usage(completion.usage)
    span.set("gen_ai.response.finish_reasons", [completion.finish_reason])


_THINK_START, _THINK_END = "<think>", "</think>"


class _ThoughtFilter:
    """Removes a leading ``<think>`` block from a stream, and holds text back until it is sure."""

    def __init__(self) -> None:
        self._held_back = ""
        self._is_at_start = True

    def feed(self, text: str, *, is_last: bool) -> str:
        """Return what can be shown of all text so far and was not returned before."""
        text = to_well_formed(text)
        if not self._is_at_start:
            return text
        self._held_back += text
        self._is_at_start = not is_last and _may_be_unfinished_thought(self._held_back)
        return "" if self._is_at_start else _remove_thought(self._held_back)


def _may_be_unfinished_thought(text: str) -> bool:
    """Return whether `text` may be the beginning of a thought that has not ended.

    A thought also includes the white space after it.
    """
    is_thought = _THINK_START.startswith(text.lstrip()[: len(_THINK_START)])
    return is_thought and not text.partition(_THINK_END)[2].strip()


def _remove_thought(text: str) -> str:
    if not text.lstrip().startswith(_THINK_START):
        return text
    return re.sub(r"\A\s*<think>.*?(?:</think>\s*|\Z)", "", text, count=1, flags=re.S)
