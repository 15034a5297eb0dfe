"""OpenAI's chat models over real HTTP: a llama.cpp server, and a scripted server with faults."""

import json
import socket
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from rag import AzureOpenAIChat, GroundedGenerator, Message, OpenAIChat, Pipeline, Usage
from rag.errors import (
    ConfigError,
    MissingKey,
    ModelAuthError,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
)
from rag.generation import AnswerCompleted, TextDelta
from rag.llm import fill, track_usage
from rag.providers.context_length import ASSUMED_CONTEXT_TOKENS
from tests.conftest import API_KEY, Script

HELLO = [Message(role="user", content="Say hello.")]
JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream"}


def chat(url: str, key: str = API_KEY, **options: object) -> OpenAIChat:
    return OpenAIChat.model_validate(
        {"model": "smollm2", "base_url": url, "api_key": SecretStr(key), "seed": 1, "retries": 0}
        | options
    )


def completion(text: str) -> tuple[int, dict[str, str], bytes]:
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    return 200, JSON, json.dumps(body).encode()


def chunks(*texts: str, finished: bool = True) -> tuple[int, dict[str, str], bytes]:
    def event(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        base = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        return f"data: {json.dumps(base | {'choices': [choice]})}\n\n"

    body = "".join(event({"content": text}) for text in texts)
    if finished:
        body += event({}, "stop") + "data: [DONE]\n\n"
    return 200, SSE, body.encode()


@pytest.mark.slow
def test_complete_and_stream_return_the_same_text_and_usage(llama_url: str) -> None:
    model = chat(llama_url, max_output_tokens=24)
    completion = model.complete(HELLO)
    *deltas, last = model.stream(HELLO)
    assert completion.text
    assert "".join(delta.text for delta in deltas) == completion.text
    assert last.completion is not None
    assert last.completion.text == completion.text
    assert completion.usage.input_tokens > 0
    assert last.completion.usage == completion.usage
    assert completion.usage.output_tokens <= 24


@pytest.mark.slow
def test_pipeline_answers_with_a_real_model(llama_url: str, folder: Path, tmp_path: Path) -> None:
    generator = GroundedGenerator(model=chat(llama_url, max_output_tokens=60), budget=1_000)
    with Pipeline(index=tmp_path / "index", generator=generator, k=3) as pipeline:
        pipeline.ingest(folder)
        answer = pipeline.ask("How long does a full battery last?")
        *events, last = pipeline.stream("How long does a full battery last?")
        text = {uri: pipeline.document(uri).text for uri in pipeline.open().document_store.uris()}
    assert isinstance(last, AnswerCompleted)  # the model may reply otherwise than before
    if not last.answer.reason:  # else the text that was streamed is withdrawn
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == last.answer.text
    for citation in (*answer.citations, *last.answer.citations):
        assert citation.verified
        assert text[citation.uri][citation.start : citation.end] == citation.quote
    if answer.status == "answered":
        assert any(sentence.is_supported for sentence in answer.sentences)
    assert answer.usage.input_tokens > 100


@pytest.mark.slow
def test_wrong_key_raises_an_auth_error_without_the_key(llama_url: str) -> None:
    with pytest.raises(ModelAuthError, match="refused the API key") as caught:
        chat(llama_url, key="sk-wrong-secret").complete(HELLO)
    assert "sk-wrong-secret" not in str(caught.value)


@pytest.mark.slow
def test_too_long_prompt_raises_a_model_error_of_a_real_server(llama_url: str) -> None:
    with pytest.raises(ModelError, match="HTTP 400"):
        chat(llama_url).complete([Message(role="user", content="word " * 6_000)])


def test_unreachable_server_is_named() -> None:
    with pytest.raises(ModelUnreachable, match=r"cannot reach http://127\.0\.0\.1:9/v1"):
        chat("http://127.0.0.1:9/v1").complete(HELLO)
    with pytest.raises(ModelUnreachable, match="cannot reach"):
        list(chat("http://127.0.0.1:9/v1").stream(HELLO))


def test_missing_key_error_names_the_variable() -> None:
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        OpenAIChat(model="gpt-4.1-mini").complete(HELLO)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ModelAuthError),
        (403, ModelAuthError),
        (404, ModelError),
        (429, ModelRateLimited),
        (500, ModelUnreachable),
    ],
)
def test_http_statuses_become_our_errors(
    scripted_server: Script, status: int, error: type[ModelError]
) -> None:
    scripted_server.replies = [(status, JSON, b'{"error": {"message": "because"}}')]
    with pytest.raises(error, match=r"127\.0\.0\.1"):
        chat(scripted_server.url).complete(HELLO)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_http_429_and_server_errors_are_retried(scripted_server: Script, status: int) -> None:
    scripted_server.replies = [
        (status, {**JSON, "Retry-After": "0.01"}, b"{}"),
        completion("hello"),
    ]
    assert chat(scripted_server.url, retries=1).complete(HELLO).text == "hello"
    assert len(scripted_server.requests) == 2


@pytest.mark.parametrize(
    "body", [b"", b"not json", b'{"choices": []}', b'{"id": 1', b"[]", b'{"choices": null}']
)
def test_unreadable_replies_raise_a_reply_error(scripted_server: Script, body: bytes) -> None:
    scripted_server.replies = [(200, JSON, body)]
    with pytest.raises(ModelReplyError):
        chat(scripted_server.url).complete(HELLO)


@pytest.mark.parametrize("content", [[5], 5, {"a": 1}])
def test_content_that_is_not_text_raises_a_reply_error(
    scripted_server: Script, content: object
) -> None:
    status, headers, body = completion("x")
    scripted_server.replies = [
        (status, headers, body.replace(b'"x"', json.dumps(content).encode()))
    ]
    with pytest.raises(ModelReplyError, match="is not text"):
        chat(scripted_server.url).complete(HELLO)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_key_quoted_by_the_server_is_redacted(scripted_server: Script, status: int) -> None:
    body = json.dumps({"error": {"message": f"bad request with Bearer {API_KEY}"}}).encode()
    scripted_server.replies = [(status, JSON, body)]
    with pytest.raises(ModelError, match=r"bad request with Bearer \*\*\*") as caught:
        chat(scripted_server.url).complete(HELLO)
    assert API_KEY not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":{"a":1}}',
        b"[" * 100_000,
        json.dumps({"choices": [], "error": "x" * 280 + API_KEY}).encode(),
    ],
)
def test_any_malformed_reply_raises_a_model_error_without_the_key(
    scripted_server: Script, body: bytes
) -> None:
    scripted_server.replies = [(200, JSON, body)]
    with pytest.raises(ModelError) as caught:
        chat(scripted_server.url).complete(HELLO)
    assert API_KEY[:6] not in str(caught.value)


def test_key_is_redacted_before_a_long_reason_is_shortened(scripted_server: Script) -> None:
    body = json.dumps({"error": {"message": "x" * 290 + API_KEY}}).encode()
    scripted_server.replies = [(400, JSON, body)]
    with pytest.raises(ModelError) as caught:
        chat(scripted_server.url).complete(HELLO)
    assert API_KEY[:6] not in str(caught.value)


def test_empty_reply_is_accepted(scripted_server: Script) -> None:
    scripted_server.replies = [completion("")]
    assert chat(scripted_server.url).complete(HELLO).text == ""


def test_incomplete_stream_raises_a_reply_error(scripted_server: Script) -> None:
    scripted_server.replies = [chunks("Hel", "lo", finished=False)]
    texts = []
    with pytest.raises(ModelReplyError, match="ended unexpectedly"):
        for delta in chat(scripted_server.url).stream(HELLO):
            texts.append(delta.text)
    assert texts == ["Hel", "lo"]


def test_malformed_stream_raises_a_reply_error(scripted_server: Script) -> None:
    scripted_server.replies = [(200, SSE, b"data: {half\n\n")]
    with pytest.raises(ModelReplyError):
        list(chat(scripted_server.url).stream(HELLO))


def test_chat_request_has_only_the_configured_parameters(scripted_server: Script) -> None:
    scripted_server.replies = [completion("x")]
    chat(scripted_server.url, max_output_tokens=7, temperature=None).complete(HELLO)
    assert scripted_server.requests == [
        {
            "model": "smollm2",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 7,
            "seed": 1,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_base_url_defaults_to_the_environment(
    scripted_server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", scripted_server.url)
    scripted_server.replies = [completion("x")]
    assert OpenAIChat(model="m").complete(HELLO).text == "x"


@pytest.mark.parametrize(
    ("url", "message"),
    [("localhost:80", "http://"), ("ftp://x", "http://"), ("http://me:pw@host/v1", "api_key")],
)
def test_invalid_base_urls_are_rejected(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OpenAIChat(model="m", base_url=url)


def test_password_in_a_url_is_not_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://me:sk-secret@127.0.0.1/v1"
    with pytest.raises(ValidationError) as invalid:
        OpenAIChat(model="m", base_url=url)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError) as refused:
        OpenAIChat(model="m").complete(HELLO)
    assert "sk-secret" not in str(invalid.value) + str(refused.value)


def test_tokens_are_counted_without_a_network() -> None:
    counted = OpenAIChat(model="m").count_tokens("The battery lasts 34 minutes.")
    assert 5 <= counted <= 12


def test_broken_connection_raises_model_unreachable(scripted_server: Script) -> None:
    status, headers, body = chunks("Hel", "lo", finished=False)
    scripted_server.replies = [(status, {**headers, "Content-Length": "100000"}, body)]
    with pytest.raises(ModelUnreachable, match="broke"):
        list(chat(scripted_server.url).stream(HELLO))


def test_timeout_raises_model_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ModelUnreachable, match=r"did not answer in 0\.1 s"):
            chat(url, timeout=0.1).complete(HELLO)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"},
        {"message": "request (6031 tokens) exceeds the available context size (4096 tokens)"},
        {"message": "too much", "type": "exceed_context_size_error"},
    ],
)
def test_too_long_prompt_raises_context_exceeded(
    scripted_server: Script, error: dict[str, str]
) -> None:
    scripted_server.replies = [(400, JSON, json.dumps({"error": error}).encode())]
    with pytest.raises(ModelContextExceeded):
        chat(scripted_server.url).complete(HELLO)


def test_refusal_has_its_own_finish_reason(scripted_server: Script) -> None:
    status, headers, body = completion("x")
    message = json.loads(body)
    message["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I won't."}
    scripted_server.replies = [(status, headers, json.dumps(message).encode())]
    refused = chat(scripted_server.url).complete(HELLO)
    assert (refused.text, refused.finish_reason) == ("I won't.", "refusal")


def test_temperature_is_not_sent_to_reasoning_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    request = OpenAIChat(model="gpt-5-mini", reasoning_effort="low")._build_chat_request(
        HELLO, None
    )
    assert "temperature" not in request and request["reasoning_effort"] == "low"
    assert "max_completion_tokens" in request
    assert OpenAIChat(model="gpt-4.1-mini")._build_chat_request(HELLO, None)["temperature"] == 0


class Person(BaseModel):
    name: str
    age: int | None = None


def test_schema_is_sent_in_strict_form(scripted_server: Script) -> None:
    scripted_server.replies = [completion('{"name": "Ada", "age": null}')]
    filled = fill(chat(scripted_server.url), HELLO, Person)
    assert filled == Person(name="Ada")
    sent = scripted_server.requests[0]["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"]) == ("Person", True)
    assert sent["schema"]["required"] == ["name", "age"]
    assert sent["schema"]["additionalProperties"] is False


@pytest.mark.slow
def test_real_model_follows_the_schema(llama_url: str) -> None:
    model = chat(llama_url, max_output_tokens=60)
    person = fill(model, [Message(role="user", content="A person, as JSON.")], Person)
    assert person.name


def test_context_window_of_other_servers_is_assumed_if_they_do_not_tell() -> None:
    dated = OpenAIChat(model="gpt-4o-mini-2024-07-18")
    assert dated.context_tokens == 128_000
    unknown = chat("http://127.0.0.1:1/v1", model="gpt-4o-mini")
    assert unknown.context_tokens == ASSUMED_CONTEXT_TOKENS
    assert chat("http://127.0.0.1:1/v1", context=512).context_tokens == 512


def test_configured_prices_determine_the_tracked_cost(scripted_server: Script) -> None:
    scripted_server.replies = [completion("a"), completion("b")]
    model = chat(scripted_server.url, input_price=2.0, output_price=10.0)
    with track_usage() as tracker:
        model.complete(HELLO)
        last = model.complete(HELLO)
    assert tracker.usage == Usage(input_tokens=10, output_tokens=4, cost_usd=6e-05, calls=2)
    assert last.usage.calls == 1


# -- the Responses API ---------------------------------------------------------------------


def response(text: str, **more: object) -> dict[str, object]:
    return {
        "id": "r",
        "object": "response",
        "created_at": 0,
        "model": "m",
        "status": "completed",
        "output": [
            {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    } | more


def events(*items: dict[str, object]) -> tuple[int, dict[str, str], bytes]:
    body = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in items)
    return 200, SSE, body.encode()


def delta(text: str) -> dict[str, object]:
    return {"type": "response.output_text.delta", "delta": text, "item_id": "m", "output_index": 0}


def responses(url: str, **options: object) -> OpenAIChat:
    return chat(url, **({"api": "responses", "seed": None} | options))


@pytest.mark.slow
def test_responses_api_works_with_a_real_server(llama_url: str) -> None:
    model = responses(llama_url, max_output_tokens=16)
    completion = model.complete(HELLO)
    *deltas, last = model.stream(HELLO)
    assert completion.text and completion.usage.input_tokens > 0
    assert "".join(delta.text for delta in deltas) == completion.text
    assert last.completion is not None and last.completion.text == completion.text


def test_responses_request_has_schema_and_is_not_stored(scripted_server: Script) -> None:
    scripted_server.replies = [(200, JSON, json.dumps(response('{"name": "Ada"}')).encode())]
    assert fill(responses(scripted_server.url), HELLO, Person).name == "Ada"
    sent = scripted_server.requests[0]
    assert sent["store"] is False
    assert sent["max_output_tokens"] == 1024
    assert sent["text"]["format"]["type"] == "json_schema"
    assert sent["input"] == [{"role": "user", "content": "Say hello."}]


def test_responses_api_streams(scripted_server: Script) -> None:
    completed = {"type": "response.completed", "response": response("Hello")}
    scripted_server.replies = [events(delta("Hel"), delta("lo"), completed)]
    *deltas, last = responses(scripted_server.url).stream(HELLO)
    assert [delta.text for delta in deltas] == ["Hel", "lo"]
    assert last.completion is not None
    assert (last.completion.text, last.completion.usage.output_tokens) == ("Hello", 2)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (None, "ended unexpectedly"),
        ({"type": "error", "message": f"no {API_KEY}", "code": "x", "param": None}, r"no \*\*\*"),
        (
            {
                "type": "response.failed",
                "response": response(
                    "", status="failed", error={"code": "server_error", "message": "oh"}
                ),
            },
            "oh",
        ),
    ],
)
def test_failed_responses_raise_a_reply_error_without_the_key(
    scripted_server: Script, last: dict[str, object] | None, message: str
) -> None:
    scripted_server.replies = [events(delta("Hel"), *([last] if last else []))]
    with pytest.raises(ModelReplyError, match=message) as caught:
        list(responses(scripted_server.url).stream(HELLO))
    assert API_KEY not in str(caught.value)


def test_responses_cut_off_by_the_token_limit_finish_with_length(scripted_server: Script) -> None:
    cut = response("Hel", status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    scripted_server.replies = [(200, JSON, json.dumps(cut).encode())]
    assert responses(scripted_server.url).complete(HELLO).finish_reason == "length"


def test_responses_api_rejects_a_seed() -> None:
    with pytest.raises(ValidationError, match="no seed"):
        OpenAIChat(model="m", api="responses", seed=1)


def test_azure_deployment_answers_and_needs_an_endpoint(scripted_server: Script) -> None:
    scripted_server.replies = [completion("hello")]
    model = AzureOpenAIChat(
        model="my-deployment",
        base_url=scripted_server.url.removesuffix("/v1"),
        api_key=SecretStr("k"),
        retries=0,
    )
    assert model.complete(HELLO).text == "hello"
    assert scripted_server.requests[0]["max_completion_tokens"] == 1024
    with pytest.raises(ConfigError, match="AZURE_OPENAI_ENDPOINT"):
        AzureOpenAIChat(model="d").complete(HELLO)
