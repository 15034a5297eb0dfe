"""The chat path over real HTTP: a llama.cpp server, and one that misbehaves on purpose."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from rag import GroundedGenerator, Message, OpenAIChat, Pipeline
from rag.errors import (
    ConfigError,
    MissingKey,
    ModelAuthError,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
)
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
    whole = model.complete(HELLO)
    *deltas, last = model.stream(HELLO)
    assert whole.text
    assert "".join(delta.text for delta in deltas) == whole.text
    assert last.completion is not None
    assert last.completion.text == whole.text
    assert whole.usage.input_tokens > 0
    assert last.completion.usage == whole.usage
    assert whole.usage.output_tokens <= 24


@pytest.mark.slow
def test_the_whole_way_with_a_real_model(llama_url: str, folder: Path, tmp_path: Path) -> None:
    generator = GroundedGenerator(model=chat(llama_url, max_output_tokens=60), budget=1_000)
    with Pipeline(index=tmp_path / "index", generator=generator, k=3) as pipeline:
        pipeline.ingest(folder)
        answer = pipeline.ask("How long does a full battery last?")
        *_, last = pipeline.stream("How long does a full battery last?")
        text = {uri: pipeline.document(uri).text for uri in pipeline.open().library.uris()}
    assert last.answer.status == answer.status  # type: ignore[union-attr]
    for citation in answer.citations:
        assert citation.verified
        assert text[citation.uri][citation.start : citation.end] == citation.quote
    if answer.status == "answered":
        assert any(sentence.supported for sentence in answer.sentences)
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
    with pytest.raises(ModelReplyError, match="other than text"):
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
    with pytest.raises(ModelReplyError, match="broke off in the middle"):
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
