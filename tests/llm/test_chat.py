"""What all chat models have in common."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, ClassVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import PrivateAttr

from rag import ChatModel, Message, ScriptedChat, Usage
from rag.concurrency import map_concurrently
from rag.errors import ModelReplyError
from rag.llm import Completion, Delta, NativeCitation, track_usage
from rag.text.tokens import estimate_tokens

HELLO = [Message(role="user", content="Hello.")]


class EchoChat(ChatModel):
    """Replies with its ``text``; streams it character by character."""

    name: ClassVar[str] = "echo"

    text: str
    citations: tuple[NativeCitation, ...] = ()
    _closed: list[bool] = PrivateAttr(default_factory=list)

    def _complete(self, messages: Sequence[Message], **_: Any) -> Completion:
        return Completion(self.text, Usage(input_tokens=3, output_tokens=2), "stop", self.citations)

    def _stream(self, messages: Sequence[Message], **_: Any) -> Iterator[Delta]:
        try:
            for character in self.text:
                yield Delta(character)
            yield Delta("", self._complete(messages))
        finally:
            self._closed.append(True)


@pytest.mark.parametrize(
    ("reply", "visible"),
    [
        ("<think>hm, [1]</think>\n\nYes.", "Yes."),
        ("\n<think>a\nb</think>Yes.", "Yes."),
        ("<think>never ends", ""),
        ("<thinking is hard>", "<thinking is hard>"),
        ("I <think>so</think>.", "I <think>so</think>."),
        ("", ""),
        ("<", "<"),
    ],
)
def test_thoughts_are_removed(reply: str, visible: str) -> None:
    model = EchoChat(text=reply)
    assert model.complete(HELLO).text == visible
    *deltas, last = model.stream(HELLO)
    assert "".join(delta.text for delta in deltas) == visible
    assert last.completion is not None and last.completion.text == visible


def test_native_citations_are_shifted_when_a_think_block_is_removed() -> None:
    model = EchoChat(text="<think>x</think>Yes.", citations=(NativeCitation(16, 19, (0,)),))
    assert model.complete(HELLO).citations == (NativeCitation(0, 3, (0,)),)


def test_closing_a_stream_closes_the_model_s_stream() -> None:
    model = EchoChat(text="abc")
    deltas = model.stream(HELLO)
    assert next(deltas).text == "a"
    deltas.close()  # type: ignore[attr-defined]
    assert model._closed == [True]


def test_usage_trackers_count_calls_of_threads_and_their_cost() -> None:
    model = EchoChat(text="x", input_price=1.0, output_price=2.0)
    with track_usage() as outer:
        with track_usage() as inner:
            map_concurrently(lambda _: model.complete(HELLO), range(5), concurrency=3)
        list(model.stream(HELLO))
    model.complete(HELLO)
    assert (inner.usage.calls, outer.usage.calls) == (5, 6)
    assert inner.usage.cost_usd == pytest.approx(5 * 7e-6)


def test_total_cost_is_none_if_one_cost_is_unknown() -> None:
    with track_usage() as tracker:
        EchoChat(text="x", input_price=1.0, output_price=2.0).complete(HELLO)
        EchoChat(text="x").complete(HELLO)
    assert (tracker.usage.cost_usd, tracker.usage.input_tokens) == (None, 6)


def test_concurrency_limits_parallel_calls() -> None:
    running, peak = [0], [0]
    guard, meet = threading.Lock(), threading.Barrier(2)

    class Busy(EchoChat):
        name: ClassVar[str] = "busy"

        def _complete(self, messages: Sequence[Message], **_: Any) -> Completion:
            with guard:
                running[0] += 1
                peak[0] = max(peak[0], running[0])
            meet.wait(10)  # two at once, or a broken barrier
            with guard:
                running[0] -= 1
            return Completion("x")

    model = Busy(text="", concurrency=2)
    map_concurrently(lambda _: model.complete(HELLO), range(8), concurrency=8)
    assert peak == [2]


def test_call_during_a_stream_is_not_blocked_by_the_stream() -> None:
    model = EchoChat(text="ab", concurrency=1)
    for _ in model.stream(HELLO):
        assert model.complete(HELLO).text == "ab"


def test_stream_without_a_completion_raises_a_reply_error() -> None:
    class Forgetful(EchoChat):
        name: ClassVar[str] = "forgetful"

        def _stream(self, messages: Sequence[Message], **_: Any) -> Iterator[Delta]:
            yield Delta("ab")

    with pytest.raises(ModelReplyError, match="without its completion"):
        list(Forgetful(text="").stream(HELLO))


def test_async_calls_work_and_cancelling_closes_the_stream() -> None:
    model = EchoChat(text="abc")

    async def run() -> None:
        assert (await model.acomplete(HELLO)).text == "abc"
        pieces = [delta.text async for delta in model.astream(HELLO)]
        assert pieces == ["a", "b", "c", ""]
        with anyio.CancelScope() as scope:
            async for _ in model.astream(HELLO):
                scope.cancel()

    anyio.run(run)
    assert len(model._closed) == 3


def test_scripted_chat_is_thread_safe() -> None:
    model = ScriptedChat(replies=tuple(str(i) for i in range(50)))
    replies = map_concurrently(lambda _: model.complete(HELLO).text, range(50), concurrency=8)
    assert sorted(replies, key=int) == [str(i) for i in range(50)]


@given(st.text(), st.text())
def test_token_estimates_are_additive_over_lines(first: str, second: str) -> None:
    assert 0 <= estimate_tokens(first) <= len(first)
    assert estimate_tokens(f"{first}\n{second}") == estimate_tokens(first) + estimate_tokens(second)


# -- which of the hooks are used -----------------------------------------------------------


class AsyncEcho(ChatModel):
    """Replies with "async", in two pieces."""

    name: ClassVar[str] = "async-echo"

    async def _astream(self, messages: Sequence[Message], **_: Any) -> AsyncIterator[Delta]:
        yield Delta("as")
        yield Delta("ync")
        yield Delta("", Completion("async", finish_reason="stop"))


class WithOwnComplete(AsyncEcho):
    def _complete(self, messages: Sequence[Message], **options: Any) -> Completion:
        return super()._complete(messages, **options)._replace(text="own")


class WithOwnStream(AsyncEcho):
    def _stream(self, messages: Sequence[Message], **options: Any) -> Iterator[Delta]:
        for delta in super()._stream(messages, **options):
            yield delta._replace(text=delta.text.upper())


class OnlyStream(ChatModel):
    name: ClassVar[str] = "only-stream"

    def _stream(self, messages: Sequence[Message], **options: Any) -> Iterator[Delta]:
        yield Delta("x")
        yield Delta("", Completion("x"))


@pytest.mark.parametrize(
    ("model", "text", "pieces"),
    [
        (AsyncEcho(), "async", ["as", "ync", ""]),
        (WithOwnComplete(), "own", ["own", ""]),
        (WithOwnStream(), "async", ["AS", "YNC", ""]),
        (OnlyStream(), "x", ["x", ""]),
    ],
)
def test_calls_use_the_hooks_that_a_model_has(
    model: ChatModel, text: str, pieces: list[str]
) -> None:
    async def collect() -> list[str]:
        return [delta.text async for delta in model.astream(HELLO)]

    assert model.complete(HELLO).text == text
    assert [delta.text for delta in model.stream(HELLO)] == pieces
    assert asyncio.run(collect()) == pieces


def test_a_model_without_hooks_says_so() -> None:
    class Mute(ChatModel):
        name: ClassVar[str] = "mute"

    for call in (Mute().complete, lambda messages: list(Mute().stream(messages))):
        with pytest.raises(TypeError, match="Mute implements neither _complete nor _astream"):
            call(HELLO)
