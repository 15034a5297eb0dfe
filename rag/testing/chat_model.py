"""The contract of chat models."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from rag.component import Component
from rag.errors import ModelError
from rag.llm.base import ChatModel, KnownChat
from rag.llm.cache import CompletionCache, use_cache
from rag.llm.completion import Completion, Delta
from rag.llm.usage import track_usage
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads
from rag.testing.samples import BLANK_TEXTS, HOSTILE_TEXTS
from rag.types import Message, Usage

DEADLOCK_TIMEOUT_SECONDS = 60


class ChatModelContract(PartContract[ChatModel]):
    """Checks of `rag.ChatModel`: complete and stream agree, usage is recorded, streams can stop.

    A part with scripted replies needs about 50 equal replies.
    """

    part_class: ClassVar[type[Component]] = ChatModel

    is_deterministic: ClassVar[bool] = True
    """Whether equal messages have equal replies."""
    gives_json: ClassVar[bool] = False
    """Whether replies to requests with a JSON schema are JSON."""

    def sample_messages(self) -> list[Message]:
        """Return the messages of a request."""
        return [
            Message(role="system", content="You answer in one short sentence."),
            Message(role="user", content="Which colour has the sky?"),
            Message(role="assistant", content="Blue."),
            Message(role="user", content="And which colour has grass?"),
        ]

    def test_complete_returns_a_completion(self) -> None:
        """`complete` returns text, a reason for its end, and the usage of at least one call."""
        messages = self.sample_messages()
        given = list(messages)
        _check_completion(self.make_part().complete(messages))
        assert messages == given, "the model changed the list of messages"

    def test_stream_ends_with_the_completion(self) -> None:
        """The last piece has the completion; the text of the pieces is its text."""
        deltas = list(self.make_part().stream(self.sample_messages()))
        _check_deltas(deltas)

    def test_complete_and_stream_agree(self) -> None:
        """The streamed reply is the complete reply."""
        self._require_determinism()
        completion = self.make_part().complete(self.sample_messages())
        *_, last = self.make_part().stream(self.sample_messages())
        assert last.completion is not None, "the stream has no completion"
        assert last.completion.text == completion.text, (
            f"streamed {last.completion.text!r}, complete {completion.text!r}"
        )
        assert last.completion.finish_reason == completion.finish_reason, "the reasons differ"

    def test_async_methods_give_the_same_reply(self) -> None:
        """`acomplete` and `astream` reply as `complete` and `stream` do."""
        completion = asyncio.run(self.make_part().acomplete(self.sample_messages()))
        _check_completion(completion)
        deltas = asyncio.run(_collect(self.make_part().astream(self.sample_messages())))
        _check_deltas(deltas)
        if self.is_deterministic:
            expected = self.make_part().complete(self.sample_messages()).text
            assert completion.text == expected, "acomplete gives another reply"
            assert "".join(delta.text for delta in deltas) == expected, "astream gives another"

    def test_usage_is_recorded(self) -> None:
        """A usage tracker counts the tokens of both kinds of call."""
        with track_usage() as tracker:
            completion = self.make_part().complete(self.sample_messages())
        assert tracker.usage == completion.usage, f"recorded {tracker.usage}"
        with track_usage() as tracker:
            *_, last = self.make_part().stream(self.sample_messages())
        assert last.completion is not None and tracker.usage == last.completion.usage, (
            f"recorded {tracker.usage} for a stream"
        )

    def test_stream_can_be_stopped(self) -> None:
        """After a stream is closed, the model is free for the next call."""
        model = self.make_part().model_copy(update={"concurrency": 1})

        def stop_streams_and_complete() -> Completion:
            for _ in range(3):
                stream = model.stream(self.sample_messages())
                next(stream)
                stream.close()  # type: ignore[attr-defined]
            return model.complete(self.sample_messages())

        threads = ThreadPoolExecutor(1)
        try:
            future = threads.submit(stop_streams_and_complete)
            _check_completion(future.result(timeout=DEADLOCK_TIMEOUT_SECONDS))
        finally:
            threads.shutdown(wait=False)

    def test_hostile_messages_have_a_reply(self) -> None:
        """Any text has a reply, or raises `ModelError`."""
        for text in (*HOSTILE_TEXTS.values(), *BLANK_TEXTS):
            _check_reply_or_model_error(self.make_part(), [Message(role="user", content=text)])

    def test_reply_is_the_same_in_every_call(self) -> None:
        """Two calls and two threads get the same reply."""
        self._require_determinism()
        model, messages = self.make_part(), self.sample_messages()
        expected = model.complete(messages).text
        assert model.complete(messages).text == expected, "the second reply differs"
        for completion in call_from_threads(lambda: model.complete(messages)):
            assert completion.text == expected, "two threads at once get another reply"

    def test_cache_returns_the_reply_again(self) -> None:
        """Within `use_cache`, a repeated call has the same reply and no usage."""
        model, messages = self.make_part(), self.sample_messages()
        with tempfile.TemporaryDirectory() as folder:
            cache = CompletionCache(Path(folder) / "replies.sqlite")
            with use_cache(cache):
                first, again = model.complete(messages), model.complete(messages)
                *_, last = model.stream(messages)
            cache.close()
        assert again.text == first.text and again.usage == Usage(), f"the second call: {again}"
        assert last.completion == again, f"the cached stream: {last.completion}"

    def test_reply_with_a_schema_is_json(self) -> None:
        """With a schema, the reply is JSON (only if `gives_json` is set)."""
        schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
        completion = self.make_part().complete(self.sample_messages(), schema=schema)
        _check_completion(completion)
        if self.gives_json:
            json.loads(completion.text)

    def test_tokens_are_counted(self) -> None:
        """`count_tokens` returns 0 or more, and more for a longer text."""
        model = self.make_part()
        for text in (*HOSTILE_TEXTS.values(), *BLANK_TEXTS):
            count = model.count_tokens(text)
            assert isinstance(count, int) and count >= 0, f"{text[:40]!r} has {count} tokens"
        one, many = (model.count_tokens("two words " * count) for count in (1, 50))
        assert 0 < one < many, f"a text has {one} tokens, and 50 times the text has {many}"

    def test_properties_are_in_range(self) -> None:
        """Context window, reserved tokens and prices have sensible values."""
        model = self.make_part()
        assert model.context_tokens is None or model.context_tokens > 0, "context_tokens"
        assert model.reply_tokens > 0, "reply_tokens"
        assert model.prices is None or min(model.prices) >= 0, f"the prices are {model.prices}"
        assert model.model_id, "the model has no name for traces"
        assert all(isinstance(known, KnownChat) for known in type(model).known_models())
        assert (model.context_tokens or model.reply_tokens + 1) > model.reply_tokens, (
            "the reply does not fit the context window"
        )

    def test_prices_give_the_cost(self) -> None:
        """With known prices, the usage of a call has a cost."""
        model = self.make_part().model_copy(update={"input_price": 1.0, "output_price": 1.0})
        usage = model.complete(self.sample_messages()).usage
        assert usage.cost_usd is not None and usage.cost_usd >= 0, f"the cost is {usage.cost_usd}"

    def _require_determinism(self) -> None:
        if not self.is_deterministic:
            raise SkipTest("the model gives other replies to equal messages")


async def _collect(stream: AsyncIterator[Delta]) -> list[Delta]:
    return [delta async for delta in stream]


def _check_completion(completion: Completion) -> None:
    assert isinstance(completion, Completion), f"the reply is a {type(completion).__name__}"
    assert isinstance(completion.text, str), "the text of the reply is no string"
    completion.text.encode()  # no lone surrogates
    assert completion.finish_reason, "the completion has no finish_reason"
    usage = completion.usage
    assert usage.calls >= 1, f"the usage counts {usage.calls} calls"
    assert min(usage.input_tokens, usage.output_tokens) >= 0, f"negative tokens: {usage}"
    assert usage.cost_usd is None or usage.cost_usd >= 0, f"the cost is {usage.cost_usd}"
    for citation in completion.citations:
        assert 0 <= citation.start < citation.end <= len(completion.text), f"{citation}"


def _check_deltas(deltas: Sequence[Delta]) -> None:
    assert deltas, "the stream is empty"
    *pieces, last = deltas
    assert all(piece.completion is None for piece in pieces), "a completion is not at the end"
    assert last.completion is not None, "the last piece has no completion"
    assert not last.text, f"the last piece has the text {last.text!r} and the completion"
    text = "".join(piece.text for piece in pieces)
    assert text == last.completion.text, f"streamed {text!r}, completed {last.completion.text!r}"
    _check_completion(last.completion)


def _check_reply_or_model_error(model: ChatModel, messages: Sequence[Message]) -> None:
    try:
        completion = model.complete(messages)
    except ModelError as error:
        assert str(error), "the error has no message"
        return
    _check_completion(completion)
