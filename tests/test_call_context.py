"""The context of a call: limits, observers, and that calls do not see each other's."""

import ast
import os
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from types import MappingProxyType

import pytest
import tiktoken

import rag
from rag import (
    CallCancelled,
    Cancellation,
    DeadlineExceeded,
    GroundedGenerator,
    Message,
    Pipeline,
    ScriptedChat,
    TextDelta,
    limit_call,
    tracing,
)
from rag.call_context import CallContext, check_limits, current_context, update_context
from rag.concurrency import map_concurrently
from rag.errors import ModelUnreachable
from rag.llm.usage import record_usage, track_usage
from rag.providers import retries
from rag.text import tokens
from rag.types import Usage

QUESTION = [Message(role="user", content="How long does the battery last?")]
REPLY = "A full battery lasts 34 minutes [1]. Charging takes 90 minutes [1]."


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("rag.call_context.time", clock)
    return clock


def test_one_context_variable_holds_all_hidden_state() -> None:
    variables = [
        f"{path.name}: {ast.unparse(node)}"
        for package in ("rag", "connectors", "prompts", "evals")
        for path in (Path(rag.__file__).parent.parent / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ContextVar")
    ]
    assert len(variables) == 1 and variables[0].startswith("call_context.py")


def test_deadline_stops_a_pipeline_between_stages(
    pipeline: Pipeline, folder: Path, clock: Clock
) -> None:
    pipeline.ingest(folder)
    with limit_call(seconds=30) as context:
        assert context.remaining_seconds == 30
        assert pipeline.ask("battery").citations
        clock.seconds += 30
        with pytest.raises(DeadlineExceeded):
            pipeline.ask("battery")
        assert context.remaining_seconds == 0
    assert pipeline.ask("battery").citations  # no limit is left
    assert current_context() == CallContext()


def test_nested_limits_hold_together(clock: Clock) -> None:
    with limit_call(seconds=10), limit_call(seconds=60) as inner:
        assert inner.remaining_seconds == 10
        with limit_call(seconds=5) as innermost:
            assert innermost.remaining_seconds == 5
        assert current_context().remaining_seconds == 10
    outer, inner_cancellation = Cancellation(), Cancellation()
    with limit_call(cancellation=outer), limit_call(cancellation=inner_cancellation):
        outer.cancel()
        with pytest.raises(CallCancelled):
            check_limits()
    check_limits()


def test_cancellation_stops_a_stream_at_the_next_token(folder: Path, tmp_path: Path) -> None:
    generator = GroundedGenerator(model=ScriptedChat(replies=(REPLY,)))
    cancellation = Cancellation()
    with Pipeline(index=tmp_path / "index", generator=generator) as pipeline:
        pipeline.ingest(folder)
        texts: list[str] = []
        with limit_call(cancellation=cancellation), pytest.raises(CallCancelled):
            for event in pipeline.stream("battery"):
                if isinstance(event, TextDelta):
                    texts.append(event.text)
                    cancellation.cancel()
        assert len(texts) == 1 and len(texts[0]) < len(REPLY)


def test_cancelled_ingest_stops_and_continues_later(pipeline: Pipeline, folder: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with limit_call(cancellation=cancellation), pytest.raises(CallCancelled):
        pipeline.ingest(folder)
    assert pipeline.ingest(folder).added == 2


def test_a_retry_does_not_wait_past_the_deadline(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Time:
        @staticmethod
        def sleep(seconds: float) -> None:
            waits.append(seconds)
            clock.seconds += seconds

    monkeypatch.setattr(retries, "time", Time)
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ModelUnreachable("no connection", retry_after=20)

    with limit_call(seconds=50), pytest.raises(ModelUnreachable):
        retries.call_with_retries(fail, 10)
    assert waits == [20, 20] and len(calls) == 3


def test_concurrent_calls_do_not_mix(clock: Clock) -> None:
    contexts: dict[str, CallContext] = {}

    def run(name: str, seconds: float) -> None:
        with limit_call(seconds=seconds), track_usage() as tracker:
            record_usage(Usage(calls=1))
            contexts[name] = current_context()
            assert tracker.usage.calls == 1

    threads = [Thread(target=run, args=(str(n), n)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: c.remaining_seconds for name, c in contexts.items()} == {"1": 1, "2": 2, "3": 3}
    assert current_context() == CallContext()


def test_worker_threads_and_generators_have_the_context_of_their_call() -> None:
    cancellation = Cancellation()

    def use_model(number: int) -> int:
        record_usage(Usage(calls=1))
        return number

    with track_usage() as tracker, limit_call(cancellation=cancellation):
        assert map_concurrently(use_model, range(5), 3) == [0, 1, 2, 3, 4]
        assert tracker.usage.calls == 5
        cancellation.cancel()
        with pytest.raises(CallCancelled):
            map_concurrently(use_model, range(5), 3)
    assert tracker.usage.calls == 5


def test_the_context_is_restored_after_an_error() -> None:
    before = current_context()
    with (
        pytest.raises(ZeroDivisionError),
        tracing.record_spans(),
        track_usage(),
        limit_call(seconds=9),
        tracing.span("stage"),
    ):
        raise ZeroDivisionError
    assert current_context() == before


def test_a_change_in_another_context_stays_there() -> None:
    def change() -> Iterator[int]:
        update_context(repeat=(7,))
        yield 1

    assert copy_context().run(next, change()) == 1
    assert current_context().repeat == ()


def test_the_vocabulary_is_read_without_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tokens._find_vocabulary_folder(tokens._VOCABULARY_FILES["o200k_base"])
    if folder is None:
        pytest.skip("no vocabulary on disk")
    texts = ["Hello brave new world", "Straße, 12.5 km", "東京 🦩", "  x\n\n"]
    tokens.load_vocabulary.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", MappingProxyType(dict(os.environ)))  # cannot be written
        encoding = tokens.load_vocabulary()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    expected = tiktoken.get_encoding("o200k_base")
    assert [encoding.encode(text) for text in texts] == [expected.encode(text) for text in texts]
