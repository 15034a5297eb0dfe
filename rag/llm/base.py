"""The base class of all chat models, and the data types of their replies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from rag import tracing
from rag.call_context import check_limits
from rag.component import Component, NotFingerprinted
from rag.concurrency import (
    aclose_at_end,
    close_at_end,
    iterate_in_background,
    iterate_in_threads,
    limit_async_concurrency,
    limit_concurrency,
    run_in_background,
    stop_at_limits,
)
from rag.errors import ModelReplyError
from rag.llm import cache
from rag.llm.completion import Completion, Delta, NativeCitation, Source
from rag.llm.thoughts import ThoughtFilter, separate_thoughts
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
    dollars per million tokens (default: the known prices of the model). The thoughts of reasoning
    models are taken out of their replies (`rag.llm.thoughts`).

    A subclass implements `_astream` if its client is async, or `_complete`, and `_stream` if it
    can stream. Do not call `complete` or `stream` in the thread of an event loop: they block it.
    """

    kind: ClassVar[str] = "chat_model"
    extra: ClassVar[str] = ""
    """Optional dependency group that the model needs; "" for none."""
    concurrency: Annotated[int, NotFingerprinted] = Field(8, ge=1, le=1_024)
    input_price: Annotated[float | None, NotFingerprinted] = Field(None, ge=0)
    output_price: Annotated[float | None, NotFingerprinted] = Field(None, ge=0)

    @property
    def cites(self) -> bool:
        """Whether the model takes ``sources`` in place of passages in the prompt."""
        return False

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
        cached_reply = self._find_cached_reply(messages, schema, sources)
        if cached := cached_reply.get():
            return cached
        with (
            self._open_span(messages) as span,
            limit_concurrency(self.fingerprint, self.concurrency),
        ):
            completion = self._complete(messages, schema=schema, sources=sources)
            if not isinstance(completion, Completion):
                raise TypeError(f"{type(self).__name__}._complete must return a rag.llm.Completion")
            completion = self._finish_completion(completion, span)
        cached_reply.put(completion)
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
        cached_reply = self._find_cached_reply(messages, schema, sources)
        if cached := cached_reply.get():
            yield Delta(cached.text)
            yield Delta("", cached)
            return
        deltas = self._stream(messages, schema=schema, sources=sources)
        fingerprint = self.fingerprint
        with self._open_span(messages) as span, close_at_end(deltas):
            reply = _StreamedReply(self, span)
            while reply.completion is None:
                check_limits()
                with limit_concurrency(fingerprint, self.concurrency):
                    delta = next(deltas, None)
                visible_deltas = reply.add(delta)
                if reply.completion is not None:
                    cached_reply.put(reply.completion)
                yield from visible_deltas

    async def acomplete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> Completion:
        """Do as `complete` without blocking the event loop.

        A model with `_astream` stops at once when the call is cancelled; others stop at the next
        token.
        """
        if not self._can_stream_async:
            completion = Completion("")
            async for delta in self.astream(messages, schema=schema, sources=sources):
                completion = delta.completion or completion
            return completion
        cached_reply = self._find_cached_reply(messages, schema, sources)
        if cached := await cached_reply.aget():
            return cached
        with self._open_span(messages) as span:
            async with (
                stop_at_limits(),
                limit_async_concurrency(self.fingerprint, self.concurrency),
            ):
                completion = await self._acomplete(messages, schema=schema, sources=sources)
            completion = self._finish_completion(completion, span)
        await cached_reply.aput(completion)
        return completion

    async def astream(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None = None,
        sources: Sequence[Source] = (),
    ) -> AsyncIterator[Delta]:
        """Do as `stream` without blocking the event loop.

        The steps of a model without `_astream` run in worker threads.
        """
        if self._can_stream_async:
            deltas = self._iterate_async(messages, schema, sources)
        else:
            deltas = iterate_in_threads(self.stream(messages, schema=schema, sources=sources))
        async with aclose_at_end(deltas):
            async for delta in deltas:
                yield delta

    async def _iterate_async(
        self, messages: Sequence[Message], schema: JsonSchema | None, sources: Sequence[Source]
    ) -> AsyncIterator[Delta]:
        """Do as `stream`, with the steps of `_astream`."""
        cached_reply = self._find_cached_reply(messages, schema, sources)
        if cached := await cached_reply.aget():
            yield Delta(cached.text)
            yield Delta("", cached)
            return
        fingerprint = self.fingerprint
        with self._open_span(messages) as span:
            async with aclose_at_end(
                self._astream(messages, schema=schema, sources=sources)
            ) as deltas:
                reply = _StreamedReply(self, span)
                while reply.completion is None:
                    async with (
                        stop_at_limits(),
                        limit_async_concurrency(fingerprint, self.concurrency),
                    ):
                        delta = await anext(deltas, None)
                    visible_deltas = reply.add(delta)
                    if reply.completion is not None:
                        await cached_reply.aput(reply.completion)
                    for visible_delta in visible_deltas:
                        yield visible_delta

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

    def _complete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None,
        sources: Sequence[Source],
    ) -> Completion:
        """Implement `complete`; by default, it does as `_acomplete`, or collects `_stream`."""
        if self._prefers_async():
            return run_in_background(self._acomplete(messages, schema=schema, sources=sources))
        if type(self)._stream is ChatModel._stream:
            raise TypeError(f"{type(self).__name__} implements neither _complete nor _astream")
        with close_at_end(self._stream(messages, schema=schema, sources=sources)) as deltas:
            for delta in deltas:
                if delta.completion is not None:
                    return delta.completion
        raise _make_missing_completion_error(self)

    def _stream(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None,
        sources: Sequence[Source],
    ) -> Iterator[Delta]:
        """Implement `stream`; by default by `_astream`, or by `_complete` in one piece."""
        if self._prefers_async("_complete"):
            yield from iterate_in_background(
                self._astream(messages, schema=schema, sources=sources)
            )
            return
        completion = self._complete(messages, schema=schema, sources=sources)
        yield Delta(completion.text)
        yield Delta("", completion)

    async def _acomplete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None,
        sources: Sequence[Source],
    ) -> Completion:
        """Implement `acomplete`; by default, the reply of `_astream` is collected."""
        deltas = self._astream(messages, schema=schema, sources=sources)
        async with aclose_at_end(deltas):
            async for delta in deltas:
                if delta.completion is not None:
                    return delta.completion
        raise _make_missing_completion_error(self)

    def _astream(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema | None,
        sources: Sequence[Source],
    ) -> AsyncIterator[Delta]:
        """Implement all calls for asyncio: synchronous ones run on an event loop in a thread."""
        raise NotImplementedError

    @property
    def _can_stream_async(self) -> bool:
        """Whether `astream` and `acomplete` use `_astream`.

        They do not if a subclass has its own `_stream` or `_complete` and no `_astream`: its
        replies would be ignored. On other event loops than asyncio's, they use threads.
        """
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return self._prefers_async("_complete", "_stream")

    def _prefers_async(self, *other_hooks: str) -> bool:
        """Whether `_astream` is implemented, and `other_hooks` are not by a class below that one.

        A subclass that replaces another hook of a model with `_astream` means its own.
        """
        for part in type(self).__mro__:
            if part is ChatModel or not {"_astream", *other_hooks}.isdisjoint(vars(part)):
                return part is not ChatModel and "_astream" in vars(part)
        return False

    def _find_cached_reply(
        self, messages: Sequence[Message], schema: JsonSchema | None, sources: Sequence[Source]
    ) -> _CachedReply:
        replies = cache.active_cache()
        key = cache.completion_key(self.fingerprint, messages, schema, sources) if replies else ""
        return _CachedReply(replies, key)

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

    def _finish_completion(self, completion: Completion, span: tracing.Span) -> Completion:
        """Record the usage of the call with its cost, and remove thoughts from the reply."""
        usage, cost = completion.usage, completion.usage.cost_usd
        if cost is None and (prices := self.prices) is not None:
            cost = (usage.input_tokens * prices[0] + usage.output_tokens * prices[1]) / 1e6
        usage = usage.model_copy(update={"cost_usd": cost, "calls": max(1, usage.calls)})
        record_usage(usage)
        reply = separate_thoughts(to_well_formed(completion.text))
        thoughts = "\n".join(part for part in (completion.thoughts, reply.thoughts) if part)
        citations = tuple(
            NativeCitation(start, last + 1, citation.sources)
            for citation in completion.citations
            if (start := reply.shift(citation.start)) is not None
            and (last := reply.shift(citation.end - 1)) is not None
        )
        completion = completion._replace(
            text=reply.text, usage=usage, citations=citations, thoughts=to_well_formed(thoughts)
        )
        _record_completion(span, completion)
        return completion


class _CachedReply(NamedTuple):
    """The reply to one call in the cache of replies; without a cache, it does not exist."""

    replies: cache.CompletionCache | None
    key: str

    def get(self) -> Completion | None:
        return self.replies.get(self.key) if self.replies else None

    def put(self, completion: Completion) -> None:
        if self.replies:
            self.replies.put(self.key, completion)

    async def aget(self) -> Completion | None:
        """Do as `get`; the file of the cache is read in a thread."""
        import asyncio

        return await asyncio.to_thread(self.get) if self.replies else None

    async def aput(self, completion: Completion) -> None:
        """Do as `put`; the file of the cache is written in a thread."""
        import asyncio

        if self.replies:
            await asyncio.to_thread(self.put, completion)


class _StreamedReply:
    """The reply of a stream so far: what `stream` and `astream` do with the pieces of a model."""

    def __init__(self, model: ChatModel, span: tracing.Span) -> None:
        self.completion: Completion | None = None
        self._model = model
        self._span = span
        self._visible_text = ThoughtFilter()

    def add(self, delta: Delta | None) -> list[Delta]:
        """Add the next piece of the model, None after its end. Return what the caller receives."""
        if delta is None:
            raise _make_missing_completion_error(self._model)
        visible_deltas = []
        is_last = delta.completion is not None
        piece, restarts = self._visible_text.feed(to_well_formed(delta.text), is_last=is_last)
        if piece or restarts:
            self._span.emit_token(piece)
            visible_deltas.append(Delta(piece, restarts=restarts))
        if delta.completion is not None:
            self.completion = self._model._finish_completion(delta.completion, self._span)
            visible_deltas.append(Delta("", self.completion))
        return visible_deltas


def _make_missing_completion_error(model: ChatModel) -> ModelReplyError:
    return ModelReplyError(
        f"the stream of {model.name!r} ended without its completion", model=model.model_id
    )


def _record_completion(span: tracing.Span, completion: Completion) -> None:
    """Record the result of a call in its span."""
    span.data["completion"] = completion
    span.set_usage(completion.usage)
    span.set("gen_ai.response.finish_reasons", [completion.finish_reason])
