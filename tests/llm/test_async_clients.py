"""The async clients of OpenAI and Cohere over real HTTP: streams, limits, and event loops."""

import asyncio
import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, ClassVar

import anyio
import pytest
from pydantic import SecretStr

from rag import (
    AzureOpenAIChat,
    Cancellation,
    ChatModel,
    CohereChat,
    Message,
    OpenAIChat,
    limit_call,
    tracing,
)
from rag.concurrency import _get_background_loop
from rag.errors import (
    CallCancelled,
    DeadlineExceeded,
    ModelAuthError,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
)
from rag.llm import Completion, Delta, track_usage
from rag.llm.cache import CompletionCache, use_cache
from rag.providers import base, cohere, openai
from tests.conftest import API_KEY
from tests.llm import test_cohere, test_openai
from tests.llm.test_openai import JSON

HELLO = [Message(role="user", content="Say hello.")]
PROMPT_SECONDS = 5
"""A call that does not end promptly would last for the timeout of the model, 60 seconds."""

ASYNC_CLIENTS: list[base.AsyncClients[Any]] = [openai._CLIENTS, cohere._CLIENTS]

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """A server that sends its replies in order and records the connections.

    A reply with the header ``Unfinished`` does not end before the client closes the connection.
    """

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    default_reply: Reply = (500, JSON, b"{}")
    delay: float = 0.0
    keeps_connections: bool = False
    request_count: int = 0
    running_count: int = 0
    max_running_count: int = 0
    connection_count: int = 0
    open_connection_count: int = 0
    unfinished_began: Event = field(default_factory=Event)
    unfinished_closed: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: ClassVar[Server]

    def setup(self) -> None:
        super().setup()
        with self.script.lock:
            self.script.connection_count += 1
            self.script.open_connection_count += 1

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        with self.script.lock:
            self.script.open_connection_count -= 1

    def do_POST(self) -> None:
        script = self.script
        self.rfile.read(int(self.headers["Content-Length"]))
        with script.lock:
            script.request_count += 1
            script.running_count += 1
            script.max_running_count = max(script.max_running_count, script.running_count)
            status, headers, body = (
                script.replies.pop(0) if script.replies else script.default_reply
            )
        time.sleep(script.delay)
        with script.lock:
            script.running_count -= 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not {"Unfinished", "Content-Length"} & headers.keys():
            self.send_header("Content-Length", str(len(body)))
        if not script.keeps_connections and "Connection" not in headers:
            self.send_header("Connection", "close")
        with suppress(OSError):  # the client has timed out
            self.end_headers()
            self.wfile.write(body)
        if "Unfinished" in headers:
            script.unfinished_began.set()
            with suppress(OSError):
                self.connection.recv(1)
            script.unfinished_closed.set()
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    script = Server()
    handler = type("ScriptHandler", (Handler,), {"script": script})
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http_server.daemon_threads = True
    thread = Thread(target=lambda: http_server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{http_server.server_port}"
    yield script
    http_server.shutdown()
    http_server.server_close()
    thread.join()


@dataclass(frozen=True)
class Provider:
    """How to make a model, and the streams of its server."""

    make: Callable[..., ChatModel]
    stream: Callable[..., Reply]

    def unfinished(self) -> Reply:
        status, headers, body = self.stream("Hel", ends=False)
        return status, headers | {"Unfinished": "yes"}, body


def make_openai(server: Server, **options: Any) -> ChatModel:
    return test_openai.chat(f"{server.url}/v1", **options)


def make_responses(server: Server, **options: Any) -> ChatModel:
    return test_openai.responses(f"{server.url}/v1", **options)


def make_azure(server: Server, **options: Any) -> ChatModel:
    settings = {"model": "m", "base_url": server.url, "api_key": API_KEY, "retries": 0}
    return AzureOpenAIChat.model_validate(settings | options)


def make_cohere(server: Server, **options: Any) -> ChatModel:
    settings = {"base_url": server.url, "api_key": SecretStr(API_KEY), "retries": 0}
    return CohereChat.model_validate(settings | options)


def stream_chat_completions(*texts: str, ends: bool = True) -> Reply:
    status, headers, body = test_openai.chunks(*texts, finished=ends)
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    event = {"id": "1", "object": "chat.completion.chunk", "choices": [], "usage": usage}
    head, done, tail = body.partition(b"data: [DONE]")
    return status, headers, head + b"data: " + json.dumps(event).encode() + b"\n\n" + done + tail


def stream_responses(*texts: str, ends: bool = True) -> Reply:
    usage = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}
    response = test_openai.response("".join(texts), usage=usage)
    completed = [{"type": "response.completed", "response": response}] if ends else []
    return test_openai.events(*map(test_openai.delta, texts), *completed)


def stream_cohere(*texts: str, ends: bool = True) -> Reply:
    end = [test_cohere.END] if ends else []
    return test_cohere.stream(*test_cohere.make_stream(*texts), *end)


PROVIDERS = {
    "openai": Provider(make_openai, stream_chat_completions),
    "responses": Provider(make_responses, stream_responses),
    "azure": Provider(make_azure, stream_chat_completions),
    "cohere": Provider(make_cohere, stream_cohere),
}


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> Provider:
    return PROVIDERS[request.param]


@pytest.fixture(autouse=True)
def _forbid_threads(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Fail if a stream runs in worker threads."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the stream runs in worker threads")

    if "uses_threads" not in request.node.name:
        monkeypatch.setattr("rag.llm.base.iterate_in_threads", refuse)


async def collect(model: ChatModel) -> list[Delta]:
    return [delta async for delta in model.astream(HELLO)]


async def wait_for(event: Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


def assert_becomes_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- replies -------------------------------------------------------------------------------


def test_async_methods_reply_as_the_synchronous_ones(server: Server, provider: Provider) -> None:
    server.default_reply = provider.stream("<think>x</think>Hel", "lo")
    model = provider.make(server, input_price=1.0, output_price=1.0)
    with track_usage() as tracker:
        deltas = asyncio.run(collect(model))
        completion = asyncio.run(model.acomplete(HELLO))
    assert deltas == list(model.stream(HELLO))
    assert [delta.text for delta in deltas] == ["Hel", "lo", ""]
    assert deltas[-1].completion == completion
    assert completion.text == "Hello"
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (10, 4)
    assert completion.usage.cost_usd == pytest.approx(14e-6)
    assert tracker.usage == completion.usage + completion.usage


def test_calls_are_traced_and_cached(server: Server, provider: Provider, tmp_path: Path) -> None:
    server.replies = [provider.stream("Hello"), provider.stream("Bye")]
    model = provider.make(server)
    cache = CompletionCache(tmp_path / "replies.sqlite")

    async def call_twice() -> tuple[Completion, list[Delta]]:
        with use_cache(cache):
            return await model.acomplete(HELLO), await collect(model)

    async def stream_twice() -> tuple[list[Delta], Completion]:
        other = model.model_copy(update={"max_output_tokens": 9})
        with use_cache(cache):
            return await collect(other), await other.acomplete(HELLO)

    with tracing.record_spans() as spans:
        completion, deltas = asyncio.run(call_twice())
        streamed, cached = asyncio.run(stream_twice())
    cache.close()
    assert [delta.text for delta in deltas] == ["Hello", ""] and completion.text == "Hello"
    assert [delta.text for delta in streamed] == ["Bye", ""] and cached.text == "Bye"
    assert server.request_count == 2
    assert [span.data["completion"].text for span in spans] == ["Hello", "Bye"]
    assert [span.attributes["gen_ai.usage.output_tokens"] for span in spans] == [4, 4]


@pytest.mark.parametrize("method", [ChatModel.acomplete, ChatModel.astream])
def test_http_429_is_retried(server: Server, provider: Provider, method: Any) -> None:
    server.replies = [(429, {**JSON, "Retry-After": "0.01"}, b"{}"), provider.stream("Hello")]
    model = provider.make(server, retries=1)
    if method is ChatModel.acomplete:
        assert asyncio.run(model.acomplete(HELLO)).text == "Hello"
    else:
        assert asyncio.run(collect(model))[0].text == "Hello"
    assert server.request_count == 2


def test_timeouts_are_retried(server: Server, provider: Provider) -> None:
    server.delay = 1.5
    with pytest.raises(ModelUnreachable, match=r"did not answer in 0\.5 s"):
        asyncio.run(provider.make(server, retries=1, timeout=0.5).acomplete(HELLO))
    assert_becomes_true(lambda: server.request_count == 2)


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (401, f"invalid key {API_KEY}", ModelAuthError),
        (429, "slow down", ModelRateLimited),
        (500, "oh", ModelUnreachable),
        (400, "too many tokens: 300000", ModelContextExceeded),
        (404, f"no model {API_KEY}", ModelError),
    ],
)
def test_http_statuses_become_our_errors(
    server: Server, provider: Provider, status: int, message: str, error: type[ModelError]
) -> None:
    body = json.dumps({"message": message, "error": {"message": message}}).encode()
    server.default_reply = (status, JSON, body)
    with pytest.raises(error) as caught:
        asyncio.run(provider.make(server).acomplete(HELLO))
    assert caught.value.status == status and API_KEY not in str(caught.value)
    with pytest.raises(error):
        asyncio.run(collect(provider.make(server)))


def test_incomplete_stream_raises_a_reply_error(server: Server, provider: Provider) -> None:
    server.default_reply = provider.stream("Hel", ends=False)
    with pytest.raises(ModelReplyError, match="ended unexpectedly"):
        asyncio.run(collect(provider.make(server)))


def test_broken_connection_raises_model_unreachable(server: Server, provider: Provider) -> None:
    status, headers, body = provider.stream("Hel", ends=False)
    headers = headers | {"Content-Length": "100000", "Connection": "close"}
    server.default_reply = (status, headers, body)
    with pytest.raises(ModelUnreachable, match="broke"):
        asyncio.run(provider.make(server).acomplete(HELLO))


def test_missing_completion_raises_a_reply_error() -> None:
    class Forgetful(OpenAIChat):
        name: ClassVar[str] = "forgetful"

        async def _astream(self, messages: Sequence[Message], **_: Any) -> Any:
            yield Delta("ab")

    model = Forgetful(model="m")
    with pytest.raises(ModelReplyError, match="without its completion"):
        asyncio.run(model.acomplete(HELLO))
    with pytest.raises(ModelReplyError, match="without its completion"):
        asyncio.run(collect(model))


# -- cancellation and deadlines ------------------------------------------------------------


async def start_unfinished_call(
    server: Server, model: ChatModel, streams: bool
) -> asyncio.Task[Any]:
    task = asyncio.create_task(collect(model) if streams else model.acomplete(HELLO))
    await wait_for(server.unfinished_began)
    await asyncio.sleep(0.05)  # the client reads what was sent
    return task


@pytest.mark.parametrize("streams", [False, True])
def test_cancelling_the_task_closes_the_connection(
    server: Server, provider: Provider, streams: bool
) -> None:
    server.default_reply = provider.stream("Hello")
    server.replies = [provider.unfinished()]
    model = provider.make(server, concurrency=1)

    async def run() -> None:
        task = await start_unfinished_call(server, model, streams)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_for(server.unfinished_closed)
        assert (await model.acomplete(HELLO)).text == "Hello"  # the permit is free

    asyncio.run(run())


@pytest.mark.parametrize("streams", [False, True])
def test_deadline_ends_a_call_and_closes_the_connection(
    server: Server, provider: Provider, streams: bool
) -> None:
    server.replies = [provider.stream("Hello"), provider.unfinished()]
    model = provider.make(server)

    async def run() -> None:
        await model.acomplete(HELLO)  # creates the client, which takes longer on a busy machine
        started = time.monotonic()
        with limit_call(seconds=0.5), pytest.raises(DeadlineExceeded):
            await (collect(model) if streams else model.acomplete(HELLO))
        assert 0.5 <= time.monotonic() - started < PROMPT_SECONDS
        await wait_for(server.unfinished_closed)

    asyncio.run(run())


@pytest.mark.parametrize("streams", [False, True])
def test_cancellation_of_another_thread_ends_a_call(
    server: Server, provider: Provider, streams: bool
) -> None:
    server.replies = [provider.unfinished()]
    model = provider.make(server)
    cancellation = Cancellation()

    async def run() -> None:
        with limit_call(cancellation=cancellation):
            task = await start_unfinished_call(server, model, streams)
        await asyncio.to_thread(cancellation.cancel)
        with pytest.raises(CallCancelled):
            await asyncio.wait_for(task, PROMPT_SECONDS)
        await wait_for(server.unfinished_closed)

    asyncio.run(run())


def test_deadline_interrupts_the_wait_before_a_retry(server: Server, provider: Provider) -> None:
    server.default_reply = (429, {**JSON, "Retry-After": "20"}, b"{}")
    cancellation = Cancellation()
    model = provider.make(server, retries=1)

    async def run() -> None:
        with limit_call(cancellation=cancellation):
            task = asyncio.create_task(model.acomplete(HELLO))
            await asyncio.sleep(0.5)
            cancellation.cancel()
            with pytest.raises(CallCancelled):
                await asyncio.wait_for(task, PROMPT_SECONDS)

    asyncio.run(run())


@pytest.mark.parametrize("streams", [False, True])
def test_deadline_ends_the_wait_for_other_calls(
    server: Server, provider: Provider, streams: bool
) -> None:
    server.replies = [provider.unfinished()]
    server.default_reply = provider.stream("Hello")
    model = provider.make(server, concurrency=1)

    async def run() -> None:
        task = await start_unfinished_call(server, model, streams=False)
        for _ in range(2):  # the first one that stops waiting does not make room for the second
            with limit_call(seconds=0.2), pytest.raises(DeadlineExceeded):
                await asyncio.wait_for(collect(model) if streams else model.acomplete(HELLO), 5)
        assert server.request_count == 1
        task.cancel()
        await asyncio.wait([task])
        assert (await asyncio.wait_for(model.acomplete(HELLO), 5)).text == "Hello"

    asyncio.run(run())


def test_closing_a_stream_closes_the_connection(server: Server, provider: Provider) -> None:
    server.replies = [provider.unfinished()]

    async def run() -> None:
        stream = provider.make(server).astream(HELLO)
        assert (await anext(stream)).text == "Hel"
        await stream.aclose()  # type: ignore[attr-defined]
        await wait_for(server.unfinished_closed)

    asyncio.run(run())


# -- event loops ---------------------------------------------------------------------------


def test_event_loops_do_not_share_a_client(
    server: Server, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    server.keeps_connections = True
    server.default_reply = provider.stream("Hello")
    model = provider.make(server)

    async def call_twice() -> None:
        assert (await model.acomplete(HELLO)).text == "Hello"
        assert len(await collect(model)) == 2

    for _ in range(2):
        asyncio.run(call_twice())
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: asyncio.run(call_twice()), range(4)))
    gc.collect()
    assert_becomes_true(lambda: server.open_connection_count == 0)
    assert server.connection_count == 6, "the calls of one event loop share a connection"
    background = _get_background_loop(os.getpid())  # of synchronous calls of other tests
    left = [loop for clients in ASYNC_CLIENTS for loop, _ in clients._open_clients]
    assert set(left) <= {background}, "clients are left"
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


def test_stream_that_is_not_read_to_its_end_is_closed(
    server: Server, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    server.replies = [provider.unfinished()]

    async def run() -> None:
        async for delta in provider.make(server).astream(HELLO):
            assert delta.text == "Hel"
            break
        await wait_for(server.unfinished_closed)

    asyncio.run(run())
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


def test_oldest_client_is_closed_after_its_calls(
    server: Server, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MAX_OPEN_CLIENTS", 1)
    server.keeps_connections = True
    server.default_reply = provider.stream("Hello")
    server.replies = [provider.unfinished(), provider.stream("Hello")]

    async def run() -> None:
        task = await start_unfinished_call(server, provider.make(server, timeout=50), False)
        await provider.make(server, timeout=51).acomplete(HELLO)
        await asyncio.sleep(0.2)
        assert not server.unfinished_closed.is_set(), "a client with a running call was closed"
        task.cancel()
        await asyncio.wait([task])
        await provider.make(server, timeout=52).acomplete(HELLO)
        del task
        await asyncio.sleep(0)
        await asyncio.to_thread(assert_becomes_true, lambda: server.open_connection_count == 1)

    asyncio.run(run())


# -- concurrency ---------------------------------------------------------------------------


def test_concurrency_limits_the_calls_of_tasks_and_threads_together(
    server: Server, provider: Provider
) -> None:
    server.default_reply = provider.stream("Hello")
    server.delay = 0.1
    model = provider.make(server, concurrency=2)

    async def run() -> None:
        tasks = [asyncio.create_task(model.acomplete(HELLO)) for _ in range(6)]
        streams = [asyncio.to_thread(list, model.stream(HELLO)) for _ in range(3)]
        await asyncio.gather(*tasks, *streams)

    asyncio.run(run())
    assert server.request_count == 9
    assert server.max_running_count == 2


def test_call_during_an_async_stream_is_not_blocked_by_it(
    server: Server, provider: Provider
) -> None:
    server.default_reply = provider.stream("Hel", "lo")
    model = provider.make(server, concurrency=1)

    async def run() -> None:
        async for _ in model.astream(HELLO):
            assert (await asyncio.wait_for(model.acomplete(HELLO), 10)).text == "Hello"

    asyncio.run(run())


# -- models that use threads ---------------------------------------------------------------


class Shouting(OpenAIChat):
    """A subclass with its own stream, which is not async."""

    name: ClassVar[str] = "shouting"

    def _stream(self, messages: Sequence[Message], **_: Any) -> Iterator[Delta]:
        yield Delta("HELLO")
        yield Delta("", Completion("HELLO"))


def test_subclass_with_its_own_stream_uses_threads() -> None:
    model = Shouting(model="m")
    assert asyncio.run(model.acomplete(HELLO)).text == "HELLO"
    assert asyncio.run(collect(model))[0].text == "HELLO"


def test_other_event_loop_than_asyncio_uses_threads(server: Server, provider: Provider) -> None:
    pytest.importorskip("trio")
    server.default_reply = provider.stream("Hello")
    assert anyio.run(provider.make(server).acomplete, HELLO, backend="trio").text == "Hello"


# -- the synchronous client of Cohere, and cancellations -----------------------------------


@pytest.mark.parametrize("method", ["complete", "stream"])
def test_synchronous_cohere_calls_are_retried_after_timeouts_and_429(
    server: Server, method: str
) -> None:
    server.delay = 1.5
    call = getattr(make_cohere(server, retries=1, timeout=0.5), method)
    with pytest.raises(ModelUnreachable, match=r"did not answer in 0\.5 s"):
        list(call(HELLO))
    assert_becomes_true(lambda: server.request_count == 2)
    server.delay = 0.0
    server.replies = [
        (429, {**JSON, "Retry-After": "0.01"}, b"{}"),
        stream_cohere("Hello") if method == "stream" else test_cohere.reply("Hello"),
    ]
    assert list(getattr(make_cohere(server, retries=1), method)(HELLO))
    assert server.request_count == 4


def test_cohere_http_408_is_retried(server: Server) -> None:
    server.replies = [(408, JSON, b"{}"), test_cohere.reply("Hello")]
    assert make_cohere(server, retries=1).complete(HELLO).text == "Hello"


def test_cancellation_notifies_only_within_the_block() -> None:
    calls: list[int] = []
    cancellation = Cancellation()
    with cancellation.notify(lambda: calls.append(1)):
        pass
    with cancellation.notify(lambda: calls.append(2)):
        cancellation.cancel()
        assert calls == [2]
    with cancellation.notify(lambda: calls.append(3)):
        assert calls == [2, 3]
