"""What all chat models have in common."""

import threading
from collections.abc import Iterator, Sequence
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


class Said(ChatModel):
    """Says what it is made with, in pieces of one character."""

    name: ClassVar[str] = "said"

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
    ("said", "left"),
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
def test_what_is_thought_aloud_is_left_out(said: str, left: str) -> None:
    model = Said(text=said)
    assert model.complete(HELLO).text == left
    *deltas, last = model.stream(HELLO)
    assert "".join(delta.text for delta in deltas) == left
    assert last.completion is not None and last.completion.text == left


def test_native_citations_move_with_the_text() -> None:
    model = Said(text="<think>x</think>Yes.", citations=(NativeCitation(16, 19, (0,)),))
    assert model.complete(HELLO).citations == (NativeCitation(0, 3, (0,)),)


def test_a_stream_that_is_closed_closes_the_model_s() -> None:
    model = Said(text="abc")
    deltas = model.stream(HELLO)
    assert next(deltas).text == "a"
    deltas.close()  # type: ignore[attr-defined]
    assert model._closed == [True]


def test_meters_count_what_threads_use_and_know_what_it_costs() -> None:
    model = Said(text="x", input_price=1.0, output_price=2.0)
    with track_usage() as outer:
        with track_usage() as inner:
            map_concurrently(lambda _: model.complete(HELLO), range(5), concurrency=3)
        list(model.stream(HELLO))
    model.complete(HELLO)
    assert (inner.usage.calls, outer.usage.calls) == (5, 6)
    assert inner.usage.cost_usd == pytest.approx(5 * 7e-6)


def test_a_cost_that_is_not_known_is_none() -> None:
    with track_usage() as meter:
        Said(text="x", input_price=1.0, output_price=2.0).complete(HELLO)
        Said(text="x").complete(HELLO)
    assert (meter.usage.cost_usd, meter.usage.input_tokens) == (None, 6)


def test_no_more_calls_than_allowed_run_beside_each_other() -> None:
    running, peak = [0], [0]
    guard, meet = threading.Lock(), threading.Barrier(2)

    class Busy(Said):
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


def test_a_call_within_a_stream_does_not_wait_for_it() -> None:
    model = Said(text="ab", concurrency=1)
    for _ in model.stream(HELLO):
        assert model.complete(HELLO).text == "ab"


def test_a_stream_that_ends_without_a_completion_is_told() -> None:
    class Forgetful(Said):
        name: ClassVar[str] = "forgetful"

        def _stream(self, messages: Sequence[Message], **_: Any) -> Iterator[Delta]:
            yield Delta("ab")

    with pytest.raises(ModelReplyError, match="without its completion"):
        list(Forgetful(text="").stream(HELLO))


def test_async_and_cancelled() -> None:
    model = Said(text="abc")

    async def run() -> None:
        assert (await model.acomplete(HELLO)).text == "abc"
        pieces = [delta.text async for delta in model.astream(HELLO)]
        assert pieces == ["a", "b", "c", ""]
        with anyio.CancelScope() as scope:
            async for _ in model.astream(HELLO):
                scope.cancel()

    anyio.run(run)
    assert len(model._closed) == 3


def test_a_script_is_shared_by_threads() -> None:
    model = ScriptedChat(replies=tuple(str(i) for i in range(50)))
    replies = map_concurrently(lambda _: model.complete(HELLO).text, range(50), concurrency=8)
    assert sorted(replies, key=int) == [str(i) for i in range(50)]


@given(st.text(), st.text())
def test_estimates_add_up(one: str, other: str) -> None:
    assert 0 <= estimate_tokens(one) <= len(one)
    assert estimate_tokens(f"{one}\n{other}") == estimate_tokens(one) + estimate_tokens(other)
