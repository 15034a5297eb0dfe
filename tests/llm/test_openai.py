"""The chat path over real HTTP: a llama.cpp server, and one that misbehaves on purpose."""

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
from rag.llm import fill, track_usage
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
def test_completes_and_streams_the_same(llama_url: str) -> None:
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
def test_the_whole_way_with_a_real_model(llama_url: str, folder: Path, tmp_path: Path) -> None:
    generator = GroundedGenerator(model=chat(llama_url, max_output_tokens=60), budget=1_000)
    with Pipeline(index=tmp_path / "index", generator=generator, k=3) as pipeline:
        pipeline.ingest(folder)
        answer = pipeline.ask("How long does a full battery last?")
        *_, last = pipeline.stream("How long does a full battery last?")
        text = {uri: pipeline.document(uri).text for uri in pipeline.open().document_store.uris()}
    assert last.answer.status == answer.status  # type: ignore[union-attr]
    for citation in answer.citations:
        assert citation.verified
        assert text[citation.uri][citation.start : citation.end] == citation.quote
    if answer.status == "answered":
        assert any(sentence.is_supported for sentence in answer.sentences)
    assert answer.usage.input_tokens > 100


@pytest.mark.slow
def test_a_wrong_key_is_told_without_the_key(llama_url: str) -> None:
    with pytest.raises(ModelAuthError, match="refused the API key") as caught:
        chat(llama_url, key="sk-wrong-secret").complete(HELLO)
    assert "sk-wrong-secret" not in str(caught.value)


@pytest.mark.slow
def test_too_long_for_the_model_is_told(llama_url: str) -> None:
    with pytest.raises(ModelError, match="HTTP 400"):
        chat(llama_url).complete([Message(role="user", content="word " * 6_000)])


def test_no_server_is_told() -> None:
    with pytest.raises(ModelUnreachable, match=r"cannot reach http://127\.0\.0\.1:9/v1"):
        chat("http://127.0.0.1:9/v1").complete(HELLO)
    with pytest.raises(ModelUnreachable, match="cannot reach"):
        list(chat("http://127.0.0.1:9/v1").stream(HELLO))


def test_openai_needs_a_key() -> None:
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
def test_statuses(scripted_server: Script, status: int, error: type[ModelError]) -> None:
    scripted_server.replies = [(status, JSON, b'{"error": {"message": "because"}}')]
    with pytest.raises(error, match=r"127\.0\.0\.1"):
        chat(scripted_server.url).complete(HELLO)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_faults_are_tried_again(scripted_server: Script, status: int) -> None:
    scripted_server.replies = [
        (status, {**JSON, "Retry-After": "0.01"}, b"{}"),
        completion("hello"),
    ]
    assert chat(scripted_server.url, retries=1).complete(HELLO).text == "hello"
    assert len(scripted_server.requests) == 2


@pytest.mark.parametrize(
    "body", [b"", b"not json", b'{"choices": []}', b'{"id": 1', b"[]", b'{"choices": null}']
)
def test_replies_that_cannot_be_read(scripted_server: Script, body: bytes) -> None:
    scripted_server.replies = [(200, JSON, body)]
    with pytest.raises(ModelReplyError):
        chat(scripted_server.url).complete(HELLO)


@pytest.mark.parametrize("content", [["part"], 5, {"a": 1}])
def test_content_that_is_no_text(scripted_server: Script, content: object) -> None:
    status, headers, body = completion("x")
    scripted_server.replies = [
        (status, headers, body.replace(b'"x"', json.dumps(content).encode()))
    ]
    with pytest.raises(ModelReplyError, match="is not text"):
        chat(scripted_server.url).complete(HELLO)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_key_that_a_server_quotes_is_not_repeated(scripted_server: Script, status: int) -> None:
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
        json.dumps(
            {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": API_KEY}}
        ).encode(),
    ],
)
def test_any_reply_is_a_model_error_without_the_key(scripted_server: Script, body: bytes) -> None:
    scripted_server.replies = [(200, JSON, body)]
    with pytest.raises(ModelError) as caught:
        chat(scripted_server.url).complete(HELLO)
    assert API_KEY[:6] not in str(caught.value)


def test_a_key_at_the_end_of_a_long_reason_is_not_repeated(scripted_server: Script) -> None:
    body = json.dumps({"error": {"message": "x" * 290 + API_KEY}}).encode()
    scripted_server.replies = [(400, JSON, body)]
    with pytest.raises(ModelError) as caught:
        chat(scripted_server.url).complete(HELLO)
    assert API_KEY[:6] not in str(caught.value)


def test_an_empty_answer_is_one(scripted_server: Script) -> None:
    scripted_server.replies = [completion("")]
    assert chat(scripted_server.url).complete(HELLO).text == ""


def test_a_stream_that_breaks_off_is_told(scripted_server: Script) -> None:
    scripted_server.replies = [chunks("Hel", "lo", finished=False)]
    seen = []
    with pytest.raises(ModelReplyError, match="ended unexpectedly"):
        for delta in chat(scripted_server.url).stream(HELLO):
            seen.append(delta.text)
    assert seen == ["Hel", "lo"]


def test_a_stream_of_nonsense_is_told(scripted_server: Script) -> None:
    scripted_server.replies = [(200, SSE, b"data: {half\n\n")]
    with pytest.raises(ModelReplyError):
        list(chat(scripted_server.url).stream(HELLO))


def test_what_is_sent(scripted_server: Script) -> None:
    scripted_server.replies = [completion("x")]
    chat(scripted_server.url, max_output_tokens=7, temperature=None).complete(HELLO)
    assert scripted_server.requests == [
        {
            "model": "smollm2",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 7,
            "seed": 1,
        }
    ]


def test_the_base_url_comes_from_the_environment(
    scripted_server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", scripted_server.url)
    scripted_server.replies = [completion("x")]
    assert OpenAIChat(model="m").complete(HELLO).text == "x"


@pytest.mark.parametrize(
    ("url", "message"),
    [("localhost:80", "http://"), ("ftp://x", "http://"), ("http://me:pw@host/v1", "api_key")],
)
def test_urls(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OpenAIChat(model="m", base_url=url)


def test_a_password_in_a_url_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_connection_that_breaks_is_told(scripted_server: Script) -> None:
    status, headers, body = chunks("Hel", "lo", finished=False)
    scripted_server.replies = [(status, {**headers, "Content-Length": "100000"}, body)]
    with pytest.raises(ModelUnreachable, match="broke"):
        list(chat(scripted_server.url).stream(HELLO))


def test_a_server_that_says_nothing_is_told() -> None:
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
def test_too_long_a_prompt_is_an_error_of_its_own(
    scripted_server: Script, error: dict[str, str]
) -> None:
    scripted_server.replies = [(400, JSON, json.dumps({"error": error}).encode())]
    with pytest.raises(ModelContextExceeded):
        chat(scripted_server.url).complete(HELLO)


def test_a_refusal_says_so(scripted_server: Script) -> None:
    status, headers, body = completion("x")
    message = json.loads(body)
    message["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I won't."}
    scripted_server.replies = [(status, headers, json.dumps(message).encode())]
    refused = chat(scripted_server.url).complete(HELLO)
    assert (refused.text, refused.finish_reason) == ("I won't.", "refusal")


def test_models_that_reason_are_sent_no_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_schema_is_sent_strictly(scripted_server: Script) -> None:
    scripted_server.replies = [completion('{"name": "Ada", "age": null}')]
    filled = fill(chat(scripted_server.url), HELLO, Person)
    assert filled == Person(name="Ada")
    sent = scripted_server.requests[0]["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"]) == ("Person", True)
    assert sent["schema"]["required"] == ["name", "age"]
    assert sent["schema"]["additionalProperties"] is False


@pytest.mark.slow
def test_a_real_model_keeps_to_a_schema(llama_url: str) -> None:
    model = chat(llama_url, max_output_tokens=60)
    person = fill(model, [Message(role="user", content="A person, as JSON.")], Person)
    assert person.name


def test_prices_and_contexts_are_of_openai_itself_only() -> None:
    dated = OpenAIChat(model="gpt-4o-mini-2024-07-18")
    assert dated.context_tokens == 128_000
    assert chat("http://127.0.0.1:1/v1", model="gpt-4o-mini").context_tokens is None
    assert chat("http://127.0.0.1:1/v1", context=512).context_tokens == 512


def test_what_is_said_to_cost_is_added_up(scripted_server: Script) -> None:
    scripted_server.replies = [completion("a"), completion("b")]
    model = chat(scripted_server.url, input_price=2.0, output_price=10.0)
    with track_usage() as meter:
        model.complete(HELLO)
        last = model.complete(HELLO)
    assert meter.usage == Usage(input_tokens=10, output_tokens=4, cost_usd=6e-05, calls=2)
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


def events(*found: dict[str, object]) -> tuple[int, dict[str, str], bytes]:
    body = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in found)
    return 200, SSE, body.encode()


def delta(text: str) -> dict[str, object]:
    return {"type": "response.output_text.delta", "delta": text, "item_id": "m", "output_index": 0}


def responses(url: str, **options: object) -> OpenAIChat:
    return chat(url, **({"api": "responses", "seed": None} | options))


@pytest.mark.slow
def test_responses_of_a_real_server(llama_url: str) -> None:
    model = responses(llama_url, max_output_tokens=16)
    completion = model.complete(HELLO)
    *deltas, last = model.stream(HELLO)
    assert completion.text and completion.usage.input_tokens > 0
    assert "".join(delta.text for delta in deltas) == completion.text
    assert last.completion is not None and last.completion.text == completion.text


def test_what_is_sent_to_responses(scripted_server: Script) -> None:
    scripted_server.replies = [(200, JSON, json.dumps(response('{"name": "Ada"}')).encode())]
    assert fill(responses(scripted_server.url), HELLO, Person).name == "Ada"
    sent = scripted_server.requests[0]
    assert sent["store"] is False
    assert sent["max_output_tokens"] == 1024
    assert sent["text"]["format"]["type"] == "json_schema"
    assert sent["input"] == [{"role": "user", "content": "Say hello."}]


def test_responses_stream(scripted_server: Script) -> None:
    completed = {"type": "response.completed", "response": response("Hello")}
    scripted_server.replies = [events(delta("Hel"), delta("lo"), completed)]
    *deltas, last = responses(scripted_server.url).stream(HELLO)
    assert [each.text for each in deltas] == ["Hel", "lo"]
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
def test_responses_that_fail(
    scripted_server: Script, last: dict[str, object] | None, message: str
) -> None:
    scripted_server.replies = [events(delta("Hel"), *([last] if last else []))]
    with pytest.raises(ModelReplyError, match=message) as caught:
        list(responses(scripted_server.url).stream(HELLO))
    assert API_KEY not in str(caught.value)


def test_responses_that_are_cut_off_say_so(scripted_server: Script) -> None:
    cut = response("Hel", status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    scripted_server.replies = [(200, JSON, json.dumps(cut).encode())]
    assert responses(scripted_server.url).complete(HELLO).finish_reason == "length"


def test_responses_have_no_seed() -> None:
    with pytest.raises(ValidationError, match="no seed"):
        OpenAIChat(model="m", api="responses", seed=1)


def test_azure(scripted_server: Script) -> None:
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
