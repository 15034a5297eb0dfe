"""LiteLLM over real HTTP, against a scripted server that speaks OpenAI's API."""

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from rag import LiteLlmChat, Message
from rag.component import build
from rag.errors import (
    MissingKey,
    ModelAuthError,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelRequestError,
    ModelUnreachable,
)
from rag.llm import fill
from rag.llm.completion import Completion
from rag.providers.dialects import forget_refusals
from rag.testing import SHAPES, ModelServer
from rag.testing.model_server import REPLY
from tests.conftest import API_KEY, Script
from tests.llm.test_misbehaving_servers import complete, stream
from tests.llm.test_openai import JSON, SSE, chunks, completion

HELLO = [Message(role="user", content="Say hello.")]
USAGE_EVENT = {
    "id": "1",
    "object": "chat.completion.chunk",
    "created": 0,
    "model": "m",
    "choices": [],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}

# Pydantic warns about LiteLLM's own types.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

needs_litellm = pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None, reason="the package litellm is not installed"
)


def chat(url: str, **options: Any) -> LiteLlmChat:
    defaults: dict[str, Any] = {
        "model": "openai/gpt-4o-mini",
        "base_url": url,
        "api_key": SecretStr(API_KEY),
        "retries": 0,
    }
    return LiteLlmChat.model_validate(defaults | options)


def chunks_with_usage(*texts: str) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = chunks(*texts)
    end = b"data: [DONE]\n\n"
    return status, headers, body.replace(end, f"data: {json.dumps(USAGE_EVENT)}\n\n".encode() + end)


def test_missing_package_is_named_by_its_extra() -> None:
    code = """if True:
        import sys
        sys.modules["litellm"] = None
        from rag import LiteLlmChat, Message
        model = LiteLlmChat(model="anthropic/claude-sonnet-4-5")
        assert model.context_tokens is None and model.prices is None
        model.complete([Message(role="user", content="x")])
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtra" in process.stderr
    assert "pip install 'citewell[litellm]'" in process.stderr


def test_import_of_the_adapter_does_not_import_litellm() -> None:
    code = "import sys, rag.llm.litellm; assert 'litellm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_model_is_registered() -> None:
    model = build("chat_model", {"type": "litellm", "model": "mistral/mistral-small-latest"})
    assert model == LiteLlmChat(model="mistral/mistral-small-latest")


@needs_litellm
def test_complete_returns_text_usage_and_cost(scripted_server: Script) -> None:
    scripted_server.replies = [completion("hello")]
    reply = chat(scripted_server.url, seed=1, max_output_tokens=7).complete(HELLO)
    assert (reply.text, reply.finish_reason) == ("hello", "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.calls) == (5, 2, 1)
    assert reply.usage.cost_usd == pytest.approx(5 * 0.15e-6 + 2 * 0.6e-6)
    assert scripted_server.requests == [
        {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 7,
            "temperature": 0.0,
            "seed": 1,
        }
    ]


@needs_litellm
def test_stream_yields_the_same_reply_usage_and_cost(scripted_server: Script) -> None:
    scripted_server.replies = [chunks_with_usage("Hel", "lo")]
    *deltas, last = chat(scripted_server.url).stream(HELLO)
    assert [delta.text for delta in deltas] == ["Hel", "lo"]
    assert last.completion is not None
    assert (last.completion.text, last.completion.finish_reason) == ("Hello", "stop")
    usage = last.completion.usage
    assert (usage.input_tokens, usage.output_tokens) == (5, 2)
    assert usage.cost_usd == pytest.approx(5 * 0.15e-6 + 2 * 0.6e-6)
    assert scripted_server.requests[0]["stream_options"] == {"include_usage": True}


@needs_litellm
def test_prices_of_the_configuration_replace_litellm_s(scripted_server: Script) -> None:
    scripted_server.replies = [completion("a"), completion("b")]
    priced = chat(scripted_server.url, input_price=2.0, output_price=10.0)
    assert priced.complete(HELLO).usage.cost_usd == pytest.approx(3e-5)
    unknown = chat(scripted_server.url, model="openai/unknown-model")
    assert unknown.complete(HELLO).usage.cost_usd is None


@needs_litellm
def test_context_window_and_prices_come_from_litellm() -> None:
    model = LiteLlmChat(model="openai/gpt-4o-mini")
    assert model.context_tokens == 128_000
    assert model.prices == pytest.approx((0.15, 0.6))
    assert LiteLlmChat(model="openai/unknown-model").context_tokens is None
    assert LiteLlmChat(model="openai/unknown-model", context=512).context_tokens == 512


class Person(BaseModel):
    name: str
    age: int | None = None


@needs_litellm
def test_schema_is_sent_in_strict_form(scripted_server: Script) -> None:
    scripted_server.replies = [completion('{"name": "Ada", "age": null}')]
    assert fill(chat(scripted_server.url), HELLO, Person) == Person(name="Ada")
    json_schema = scripted_server.requests[0]["response_format"]["json_schema"]
    assert (json_schema["name"], json_schema["strict"]) == ("Person", True)
    assert json_schema["schema"]["required"] == ["name", "age"]


@needs_litellm
def test_unsupported_parameters_are_not_sent(scripted_server: Script) -> None:
    scripted_server.replies = [completion("x")]
    chat(scripted_server.url, model="openai/o3").complete(HELLO)
    assert "temperature" not in scripted_server.requests[0]
    assert scripted_server.requests[0]["max_completion_tokens"] == 1024


@needs_litellm
@pytest.mark.parametrize(
    ("status", "body", "error_class"),
    [
        (401, {"message": f"invalid key {API_KEY}"}, ModelAuthError),
        (403, {"message": f"invalid key {API_KEY}"}, ModelAuthError),
        (404, {"message": f"no model {API_KEY}"}, ModelError),
        (400, {"message": f"bad value {API_KEY}"}, ModelRequestError),
        (400, {"message": "maximum context length is 8192 tokens"}, ModelContextExceeded),
        (400, {"message": "too much", "code": "context_length_exceeded"}, ModelContextExceeded),
        (429, {"message": "slow down"}, ModelRateLimited),
        (500, {"message": "oh"}, ModelUnreachable),
        (503, {"message": "oh"}, ModelUnreachable),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "mistral"])
def test_http_statuses_become_our_errors(
    scripted_server: Script,
    provider: str,
    status: int,
    body: dict[str, str],
    error_class: type[ModelError],
) -> None:
    scripted_server.replies = [(status, JSON, json.dumps({"error": body}).encode())] * 2
    model = chat(scripted_server.url, model=f"{provider}/m")
    with pytest.raises(error_class, match=r"127\.0\.0\.1") as complete_error:
        model.complete(HELLO)
    with pytest.raises(error_class) as stream_error:
        list(model.stream(HELLO))
    assert API_KEY not in str(complete_error.value) + str(stream_error.value)
    for error in (complete_error.value, stream_error.value):
        assert (error.status, error.model) == (status, f"{provider}/m")


@needs_litellm
@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_failures_are_retried(scripted_server: Script, status: int) -> None:
    failure = (status, {**JSON, "Retry-After": "0.01"}, b"{}")
    scripted_server.replies = [failure, completion("hello"), failure, chunks("hel", "lo")]
    model = chat(scripted_server.url, retries=1)
    assert model.complete(HELLO).text == "hello"
    assert "".join(delta.text for delta in model.stream(HELLO)) == "hello"
    assert len(scripted_server.requests) == 4


@needs_litellm
def test_other_failures_are_not_retried(scripted_server: Script) -> None:
    scripted_server.replies = [(400, JSON, b"{}"), completion("hello")]
    with pytest.raises(ModelRequestError):
        chat(scripted_server.url, retries=3).complete(HELLO)
    assert len(scripted_server.requests) == 1


@needs_litellm
def test_rate_limit_error_has_the_delay_of_the_server(scripted_server: Script) -> None:
    scripted_server.replies = [(429, {**JSON, "Retry-After": "7"}, b"{}")]
    with pytest.raises(ModelRateLimited) as limited:
        chat(scripted_server.url).complete(HELLO)
    assert limited.value.retry_after == 7


@needs_litellm
@pytest.mark.parametrize("body", [b"", b"not json", b'{"choices": []}', b"[]"])
def test_unreadable_replies_are_reply_errors(scripted_server: Script, body: bytes) -> None:
    scripted_server.replies = [(200, JSON, body)]
    with pytest.raises(ModelReplyError):
        chat(scripted_server.url).complete(HELLO)


@needs_litellm
def test_incomplete_streams_are_errors(scripted_server: Script) -> None:
    status, headers, body = chunks("Hel", "lo", finished=False)
    scripted_server.replies = [
        (status, headers, body),
        (200, SSE, b"data: {half\n\n"),
        (status, {**headers, "Content-Length": "100000"}, body),
    ]
    model = chat(scripted_server.url)
    texts: list[str] = []
    with pytest.raises(ModelReplyError, match="incomplete"):
        texts.extend(delta.text for delta in model.stream(HELLO))
    assert texts == [] or texts == ["Hel", "lo"]
    with pytest.raises(ModelReplyError, match="cannot be read"):
        list(model.stream(HELLO))
    with pytest.raises(ModelUnreachable, match="broke"):
        list(model.stream(HELLO))


@needs_litellm
@pytest.mark.parametrize("provider", ["openai", "mistral"])
def test_unreachable_and_silent_servers_are_named(provider: str) -> None:
    model = chat("http://127.0.0.1:9/v1", model=f"{provider}/m")
    with pytest.raises(ModelUnreachable, match=r"cannot reach http://127\.0\.0\.1:9/v1"):
        model.complete(HELLO)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ModelUnreachable, match=r"did not answer in 0\.1 s"):
            chat(url, model=f"{provider}/m", timeout=0.1).complete(HELLO)


@needs_litellm
@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai/gpt-4o-mini", "OPENAI_API_KEY"),
        ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
    ],
)
def test_missing_key_names_the_variable_of_the_provider(
    model: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(MissingKey, match=variable) as caught:
        LiteLlmChat(model=model, base_url="http://127.0.0.1:9", retries=0).complete(HELLO)
    assert caught.value.variable == variable


@needs_litellm
def test_unknown_provider_is_a_request_error() -> None:
    with pytest.raises(ModelRequestError, match=r"(?i)provider"):
        LiteLlmChat(model="no-such-provider/m").complete(HELLO)


@needs_litellm
def test_keys_of_the_environment_are_redacted(
    scripted_server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    body = json.dumps({"error": {"message": f"bad value in {API_KEY}"}}).encode()
    scripted_server.replies = [(400, JSON, body)]
    with pytest.raises(ModelRequestError, match=r"bad value in \*\*\*"):
        chat(scripted_server.url, api_key=None).complete(HELLO)


@needs_litellm
def test_closed_stream_closes_the_connection(scripted_server: Script) -> None:
    scripted_server.replies = [chunks("Hel", "lo"), completion("x")]
    model = chat(scripted_server.url, concurrency=1)
    deltas = model.stream(HELLO)
    assert next(deltas).text == "Hel"
    deltas.close()  # type: ignore[attr-defined]
    assert model.complete(HELLO).text == "x"


# -- servers that misbehave ----------------------------------------------------------------


@needs_litellm
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("call", [complete, stream])
def test_a_misbehaving_server_gives_the_answer_or_one_clear_error(
    name: str, call: Callable[[Any], Completion]
) -> None:
    shape = SHAPES[name]
    with ModelServer(shape) as server:
        model = LiteLlmChat(
            model="openai/m", base_url=server.url, api_key=SecretStr(API_KEY), retries=0, seed=1
        )
        try:
            text = call(model).text
        except ModelError as error:
            assert len(str(error)) > 20
            assert shape.expects == "error" or not {"temperature", "seed", "CRLF"} & {name}
        else:
            assert text == REPLY  # LiteLLM turns a few errors into the end of the reply
    forget_refusals()


@needs_litellm
def test_the_key_of_the_environment_is_not_sent_to_another_server(
    monkeypatch: pytest.MonkeyPatch, scripted_server: Script
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    model = LiteLlmChat(model="openai/m", base_url=scripted_server.url, retries=0)
    assert model._find_key_for_litellm() == "none"
    assert LiteLlmChat(model="openai/m")._find_key_for_litellm() is None
