"""Clients of the providers' own APIs, on a server that speaks them and misbehaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from rag import (
    AnswerCompleted,
    AnthropicChat,
    ChatModel,
    CohereChat,
    GeminiChat,
    GroundedGenerator,
    Message,
    OllamaChat,
    OpenAIChat,
)
from rag.embedding.cohere import CohereEmbedder
from rag.embedding.openai import OpenAIEmbedder
from rag.errors import (
    MissingKey,
    ModelAuthError,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
    RagError,
)
from rag.generation import Generator
from rag.llm import NativeCitation, Source, fill
from rag.llm.completion import Completion
from rag.postprocessing.cohere import CohereReranker
from rag.providers.context_length import OLLAMA_CONTEXT_TOKENS
from rag.providers.dialects import forget_refusals
from rag.testing import SHAPES, ModelServer, Shape
from rag.testing.model_server import REPLY, THOUGHT
from tests.conftest import API_KEY, Script
from tests.generation.samples import HITS, QUESTION, make_hit
from tests.llm.test_misbehaving_servers import CALLS, MESSAGES, complete, stream, stream_async

SOURCES = [Source("Battery", "It lasts 34 minutes."), Source("Price", "It costs 9 euros.")]
HELLO = [Message(role="system", content="Be short."), Message(role="user", content="How long?")]
JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream"}


def make_model(api: str, url: str, **options: Any) -> Any:
    root = url.removesuffix("/v1")
    key = SecretStr(API_KEY)
    fields: dict[str, Any] = {"base_url": root, "api_key": key, "retries": 0, "timeout": 20}
    fields |= options
    if api == "anthropic":
        return AnthropicChat(**fields)
    if api == "gemini":
        return GeminiChat(**fields)
    if api == "ollama":
        return OllamaChat(**({"model": "m", "context": 4096} | fields))
    if api == "cohere":
        return CohereChat(**fields)
    return OpenAIChat(**({"model": "m"} | fields | {"base_url": url, "api": "responses"}))


APIS = ("anthropic", "gemini", "ollama", "responses", "cohere")
every_api = pytest.mark.parametrize("api", APIS)
every_call = pytest.mark.parametrize("call", CALLS)


@pytest.fixture(autouse=True)
def _know_no_server() -> Iterator[None]:
    yield
    forget_refusals()


def is_for_every_api(name: str, shape: Shape) -> bool:
    """Whether a shape is about no parameter and no field of Chat Completions only."""
    about_formats = ("DONE", "JSON in place", "JSON lines", "error line", "middle of a stream")
    refuses_other = shape.expects == "answer" and shape.refuses and name not in _REFUSED
    return not (shape.edit or refuses_other or any(part in name for part in about_formats))


_REFUSED = ("temperature", "temperature, status 422")


ANSWERS = {n: s for n, s in SHAPES.items() if s.expects == "answer" and is_for_every_api(n, s)}
ERRORS = {n: s for n, s in SHAPES.items() if s.expects == "error" and is_for_every_api(n, s)}
# Cohere's client reads bytes itself, and refuses these.
_NOT_READ_BY_COHERE = {
    "byte order mark",
    "CR",
    "no empty lines",
    "empty data",
    "comments",
    "no empty line at the end",
}
_ANSWERS_OF = [
    (api, name, CALLS[(i + j) % len(CALLS)])
    for i, api in enumerate(APIS)
    for j, name in enumerate(ANSWERS)
    if api != "cohere" or name not in _NOT_READ_BY_COHERE | set(_REFUSED)
]
_ERRORS_OF = [
    (api, name, CALLS[(i + j) % len(CALLS)])
    for i, api in enumerate(APIS)
    for j, name in enumerate(ERRORS)
]


@every_api
@every_call
def test_every_call_gives_the_reply(call: Callable[[Any], Completion], api: str) -> None:
    with ModelServer() as server:
        assert call(make_model(api, server.url)).text == REPLY


@pytest.mark.parametrize(("api", "name", "call"), _ANSWERS_OF)
def test_the_answer_arrives(name: str, call: Callable[[Any], Completion], api: str) -> None:
    with ModelServer(ANSWERS[name]) as server:
        completion = call(make_model(api, server.url, retries=1))
    assert completion.text == REPLY
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (10, 5)
    assert completion.finish_reason == "stop"
    if THOUGHT in ANSWERS[name].text:
        assert THOUGHT in completion.thoughts


@pytest.mark.parametrize(("api", "name", "call"), _ERRORS_OF)
def test_there_is_one_clear_error(name: str, call: Callable[[Any], Completion], api: str) -> None:
    with ModelServer(ERRORS[name]) as server, pytest.raises(ModelError) as caught:
        call(make_model(api, server.url))
    message = str(caught.value)
    assert len(message) > 20 and "\n" not in message and API_KEY not in message


class Facts(BaseModel):
    minutes: int


@every_api
@pytest.mark.parametrize("live", [False, True])
def test_the_answer_of_a_pipeline_is_cited(api: str, live: bool) -> None:
    with ModelServer() as server:
        model = make_model(api, server.url)
        generator: Generator = GroundedGenerator(model=model, fallback=None)
        if live:
            *_, last = generator.stream(QUESTION, HITS)
            assert isinstance(last, AnswerCompleted)
            answer = last.answer
        else:
            answer = generator.answer(QUESTION, HITS)
    assert answer.text == REPLY
    assert [sentence.status for sentence in answer.sentences] == ["supported"]


@pytest.mark.parametrize("api", [api for api in APIS if api != "anthropic"])
def test_structured_replies_arrive(api: str) -> None:
    with ModelServer(Shape(text='{"minutes": 34}')) as server:
        assert fill(make_model(api, server.url), MESSAGES, Facts) == Facts(minutes=34)


@every_api
def test_a_reply_that_is_too_long_is_an_error(api: str) -> None:
    with ModelServer(Shape(text="word " * 21_000)) as server:
        model = make_model(api, server.url, max_output_tokens=1)
        for call in (complete, stream_async):
            with pytest.raises(ModelError, match=r"more than (100,064|4,004,000) "):
                call(model)
        padding = b": " + b"x" * 5_000_000 + b"\n\n"
        server.shape = Shape(encode=(lambda body, is_stream: padding + body,))
        for call in (stream, stream_async) if api != "cohere" else ():
            with pytest.raises(ModelError, match=r"a reply of more than 4,004,000 bytes"):
                call(model)


# -- Anthropic ---------------------------------------------------------------------------------


def anthropic(server: Script, **options: Any) -> AnthropicChat:
    model = make_model("anthropic", server.url, **options)
    assert isinstance(model, AnthropicChat)
    return model


def make_message(*blocks: dict[str, Any], **more: Any) -> tuple[int, dict[str, str], bytes]:
    usage = {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 4}
    body = {"type": "message", "content": list(blocks), "stop_reason": "end_turn", "usage": usage}
    return 200, JSON, json.dumps(body | more).encode()


def make_events(*events: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    body = "".join(f"event: {e.get('type')}\ndata: {json.dumps(e)}\n\n" for e in events)
    return 200, SSE, body.encode()


def cite(number: Any, **more: Any) -> dict[str, Any]:
    span = {"start_char_index": 0, "end_char_index": 5, "cited_text": "It la"}
    return {"type": "char_location", "document_index": number} | span | more


def test_anthropic_is_sent_documents_and_its_citations_are_converted(
    scripted_server: Script,
) -> None:
    scripted_server.replies = [
        make_message(
            {"type": "text", "text": "It lasts 34 minutes."},
            {"type": "text", "text": " It costs 9 euros.", "citations": [cite(1), cite(1)]},
            {"type": "text", "text": " Nice.", "citations": [cite(9), cite(None), cite("0")]},
        )
    ]
    completion = anthropic(scripted_server).complete(HELLO, sources=SOURCES)
    assert completion.text == "It lasts 34 minutes. It costs 9 euros. Nice."
    assert completion.citations == (NativeCitation(20, 38, (1,)),)
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (10, 4)
    sent = scripted_server.requests[0]
    documents = sent["messages"][0]["content"]
    assert documents[1] == {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "It costs 9 euros."},
        "title": "Price",
        "citations": {"enabled": True},
    }
    assert documents[-1] == {"type": "text", "text": "How long?"}
    assert (sent["system"], sent["temperature"], sent["max_tokens"]) == ("Be short.", 0.0, 1024)


def test_anthropic_streams_the_same_citations(scripted_server: Script) -> None:
    def delta(index: int, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": fields}

    scripted_server.replies = [
        make_events(
            {"type": "message_start", "message": {"usage": {"input_tokens": 10}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
            delta(0, type="thinking_delta", thinking="Hm."),
            delta(0, type="signature_delta", signature="x"),
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text"}},
            delta(1, type="text_delta", text="It lasts "),
            delta(1, type="text_delta", text="34 minutes."),
            delta(1, type="citations_delta", citation=cite(0)),
            {"type": "content_block_stop", "index": 1},
            {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": None},
            {"type": "message_stop"},
        )
    ]
    *deltas, last = anthropic(scripted_server).stream(HELLO, sources=SOURCES)
    assert [delta.text for delta in deltas] == ["It lasts ", "34 minutes."]
    completion = last.completion
    assert completion is not None
    assert completion.citations == (NativeCitation(0, 20, (0,)),)
    assert (completion.thoughts, completion.finish_reason) == ("Hm.", "length")


@pytest.mark.parametrize("live", [False, True])
def test_anthropics_citations_become_exact_spans(live: bool, scripted_server: Script) -> None:
    first, second = "A full battery lasts 34 minutes.", " Rockets are cheap."
    blocks = [
        {"type": "text", "text": first, "citations": [cite(1)]},
        {"type": "text", "text": second, "citations": [cite(0)]},
    ]
    events = [
        {"type": "content_block_start", "index": i, "content_block": block}
        for i, block in enumerate(blocks)
    ]
    stops = [{"type": "content_block_stop", "index": i} for i in range(2)]
    interleaved = [event for pair in zip(events, stops, strict=True) for event in pair]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    scripted_server.replies = [make_events(*interleaved, end) if live else make_message(*blocks)]
    hits = [
        make_hit("a", 0, "It costs 9 euros."),
        make_hit("b", 7, "Oh. The battery lasts 34 minutes."),
    ]
    generator = GroundedGenerator(model=anthropic(scripted_server))
    if live:
        *_, last = generator.stream("How long does the battery last?", hits)
        assert isinstance(last, AnswerCompleted)
        answer = last.answer
    else:
        answer = generator.answer("How long does the battery last?", hits)
    [citation] = answer.citations
    assert (citation.start, citation.quote) == (11, "The battery lasts 34 minutes.")
    assert citation.method == "native"
    assert [s.status for s in answer.sentences] == ["supported", "unsupported"]
    assert "passages" not in scripted_server.requests[0]["messages"][-1]["content"][-1]["text"]


def test_anthropic_without_documents_reads_passages_in_the_prompt(scripted_server: Script) -> None:
    scripted_server.replies = [make_message({"type": "text", "text": REPLY})]
    model = anthropic(scripted_server, native_citations=False)
    answer = GroundedGenerator(model=model).answer(QUESTION, HITS)
    assert answer.text == REPLY
    content = scripted_server.requests[0]["messages"][-1]["content"]
    assert isinstance(content, str) and HITS[0].chunk.text in content


@pytest.mark.parametrize("live", [False, True])
def test_a_schema_is_the_input_of_a_tool(live: bool, scripted_server: Script) -> None:
    tool = {"type": "tool_use", "id": "t", "name": "Facts", "input": {"minutes": 34}}
    pieces = [
        {"type": "input_json_delta", "partial_json": piece} for piece in ("", '{"min', 'utes":34}')
    ]
    scripted_server.replies = [
        make_events(
            {"type": "content_block_start", "index": 0, "content_block": tool | {"input": {}}},
            *({"type": "content_block_delta", "index": 0, "delta": piece} for piece in pieces),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        )
        if live
        else make_message({"type": "text", "text": ""}, tool, stop_reason="tool_use")
    ]
    model = anthropic(scripted_server, thinking_tokens=2048)
    schema = Facts.model_json_schema()
    if live:
        *_, last = model.stream(HELLO, schema=schema)
        text = last.completion.text if last.completion else ""
    else:
        text = model.complete(HELLO, schema=schema).text
    assert json.loads(text) == {"minutes": 34}
    sent = scripted_server.requests[0]
    assert sent["tool_choice"] == {"type": "tool", "name": sent["tools"][0]["name"]}
    assert sent["tools"][0]["input_schema"]["properties"]["minutes"]["type"] == "integer"
    assert "thinking" not in sent  # a forced tool and thoughts exclude each other


def test_anthropic_refuses(scripted_server: Script) -> None:
    scripted_server.replies = [
        make_message({"type": "text", "text": "I cannot."}, stop_reason="refusal")
    ]
    assert anthropic(scripted_server).complete(HELLO).finish_reason == "refusal"


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (401, "authentication_error", "invalid x-api-key", ModelAuthError),
        (429, "rate_limit_error", "slow down", ModelRateLimited),
        (529, "overloaded_error", "Overloaded", ModelUnreachable),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens", ModelContextExceeded),
        (413, "request_too_large", "Request exceeds the maximum size", ModelError),
    ],
)
def test_errors_of_anthropic(
    status: int, kind: str, message: str, expected: type[Exception], scripted_server: Script
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": message}}
    scripted_server.replies = [(status, JSON, json.dumps(error).encode())]
    with pytest.raises(expected) as caught:
        anthropic(scripted_server).complete(HELLO)
    assert API_KEY not in str(caught.value)


def test_an_error_in_the_middle_of_anthropics_stream(scripted_server: Script) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}
    scripted_server.replies = [make_events(start, error)]
    with pytest.raises(ModelReplyError, match="Overloaded"):
        list(anthropic(scripted_server).stream(HELLO))


def test_thoughts_of_anthropic_need_room_and_no_temperature(scripted_server: Script) -> None:
    scripted_server.replies = [
        make_message(
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "redacted_thinking", "data": "y"},
            {"type": "text", "text": REPLY},
        )
    ]
    completion = anthropic(scripted_server, thinking_tokens=2048).complete(HELLO)
    assert (completion.text, completion.thoughts) == (REPLY, "Hm.")
    sent = scripted_server.requests[0]
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert sent["max_tokens"] == 3072 and "temperature" not in sent


# -- Gemini ------------------------------------------------------------------------------------


def gemini(server: Script, **options: Any) -> GeminiChat:
    model = make_model("gemini", server.url, **options)
    assert isinstance(model, GeminiChat)
    return model


def make_candidate(text: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    candidate = {"content": {"parts": [{"text": text}]}, "finishReason": "STOP"} | more
    return 200, JSON, json.dumps({"candidates": [candidate]}).encode()


def test_geminis_grounding_names_passages(scripted_server: Script) -> None:
    text = "Größe: 3 m. It costs 9 euros. Says the web."
    start = len("Größe: 3 m. ".encode())
    end = start + len("It costs 9 euros.")
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://example.com", "title": "example.com"}},
            {"retrievedContext": {"uri": "u", "title": "other", "text": "It costs\n9 euros."}},
            {"retrievedContext": {"title": "Battery"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": start, "endIndex": end}, "groundingChunkIndices": [1, 7]},
            {"segment": {"endIndex": start - 1}, "groundingChunkIndices": [2]},
            {"segment": {"startIndex": end, "endIndex": 99}, "groundingChunkIndices": [0]},
            {"segment": {}, "groundingChunkIndices": ["x"]},
        ],
    }
    scripted_server.replies = [make_candidate(text, groundingMetadata=grounding)]
    completion = gemini(scripted_server).complete(HELLO, sources=SOURCES)
    first = text.index("It costs")
    assert completion.citations == (
        NativeCitation(first, first + 17, (1,)),
        NativeCitation(0, first - 1, (0,)),
    )


def test_requests_of_gemini(scripted_server: Script) -> None:
    scripted_server.replies = [make_candidate('{"minutes": 3}'), make_candidate("yes")]
    model = gemini(scripted_server, seed=3, thinking_budget=0, tools=({"google_search": {}},))
    history = [
        *HELLO,
        Message(role="assistant", content="34"),
        Message(role="user", content="a"),
        Message(role="user", content="b"),
    ]
    model.complete(history, schema=Facts.model_json_schema())
    model.complete(history)
    with_schema, without = scripted_server.requests
    assert [turn["role"] for turn in with_schema["contents"]] == ["user", "model", "user"]
    assert with_schema["contents"][-1]["parts"] == [{"text": "a\n\nb"}]
    assert with_schema["systemInstruction"] == {"parts": [{"text": "Be short."}]}
    config = with_schema["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["minutes"]["type"] == "integer"
    assert (config["seed"], config["thinkingConfig"]) == (3, {"thinkingBudget": 0})
    assert "tools" not in with_schema and without["tools"] == [{"google_search": {}}]


def test_thoughts_of_gemini_are_kept_apart(scripted_server: Script) -> None:
    parts = [{"text": "Hm.", "thought": True}, {"text": "It lasts "}, {"text": "34 minutes."}]
    reply = make_candidate("", content={"parts": parts})
    scripted_server.replies = [reply]
    completion = gemini(scripted_server).complete(HELLO)
    assert (completion.text, completion.thoughts) == ("It lasts 34 minutes.", "Hm.")
    assert completion.usage.is_estimated


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "refused to read"),
        ({"candidates": [{"finishReason": "SAFETY"}]}, "filter stopped"),
        ({"candidates": [{"finishReason": "RECITATION", "content": {}}]}, "filter stopped"),
        ({"candidates": []}, "ended unexpectedly"),
        ({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}, "overloaded"),
    ],
)
def test_refusals_of_gemini_are_errors(
    body: dict[str, Any], message: str, scripted_server: Script
) -> None:
    scripted_server.replies = [(200, JSON, json.dumps(body).encode())]
    with pytest.raises(ModelReplyError, match=message):
        gemini(scripted_server).complete(HELLO)


def test_an_invalid_key_of_gemini_is_status_400(scripted_server: Script) -> None:
    error = {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
    }
    scripted_server.replies = [(400, JSON, json.dumps({"error": error}).encode())]
    with pytest.raises(ModelAuthError, match="GEMINI_API_KEY"):
        gemini(scripted_server).complete(HELLO)


def test_an_array_in_place_of_a_stream_of_gemini(scripted_server: Script) -> None:
    pieces = [
        {"candidates": [{"content": {"parts": [{"text": "It lasts "}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "34."}]}, "finishReason": "STOP"}]},
    ]
    scripted_server.replies = [(200, JSON, json.dumps(pieces, indent=2).encode())]
    assert gemini(scripted_server).complete(HELLO).text == "It lasts 34."


# -- Ollama ------------------------------------------------------------------------------------


class OllamaServer(ModelServer):
    """Ollama with one model, whose window is larger than what is asked for."""

    def answer(self, request: dict[str, Any], path: str) -> tuple[int, str, bytes]:
        if path == "/api/show":
            description = {"model_info": {"qwen2.context_length": 32768}, "parameters": "stop x"}
            return 200, JSON["Content-Type"], json.dumps(description).encode()
        return super().answer(request, path)

    def answer_get(self, path: str) -> tuple[int, str, bytes]:
        if path == "/api/tags":
            return 200, JSON["Content-Type"], b'{"models": [{"name": "qwen3:4b"}]}'
        return super().answer_get(path)


def test_ollama_is_asked_for_a_window_that_holds_the_prompt() -> None:
    with OllamaServer() as server:
        model = make_model("ollama", server.url, context=None, seed=2, think=False)
        model.complete(HELLO, schema=Facts.model_json_schema())
    sent = server.requests[0]
    assert sent["options"] == {
        "num_ctx": OLLAMA_CONTEXT_TOKENS,
        "num_predict": 1024,
        "temperature": 0.0,
        "seed": 2,
    }
    assert sent["format"]["properties"]["minutes"]["type"] == "integer"
    assert (sent["think"], sent["messages"][0]["role"]) == (False, "system")
    assert model.context_tokens == OLLAMA_CONTEXT_TOKENS


@pytest.mark.parametrize("path", ["", "/v1", "/api", "/v1/chat/completions", "/"])
def test_any_address_of_ollama_works(path: str) -> None:
    with OllamaServer() as server:
        url = server.url.removesuffix("/v1") + path
        assert make_model("ollama", "", base_url=url).complete(HELLO).text == REPLY


def test_a_model_that_is_not_pulled_names_the_command_and_the_others() -> None:
    shape = Shape(status=404, refuses=(lambda _: "model 'm' not found",))
    with OllamaServer(shape) as server, pytest.raises(ModelError) as caught:
        make_model("ollama", server.url).complete(HELLO)
    assert "ollama pull m" in str(caught.value)
    assert "it has qwen3:4b" in str(caught.value)


def test_thoughts_of_ollama_are_kept_apart(scripted_server: Script) -> None:
    lines = [
        {"message": {"content": "", "thinking": "Hm."}, "done": False},
        {"message": {"content": "34 minutes."}, "done": False},
        {"message": {"content": ""}, "done": True, "done_reason": "length"},
    ]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    scripted_server.replies = [(200, {"Content-Type": "application/x-ndjson"}, body)]
    *_, last = make_model("ollama", scripted_server.url).stream(HELLO)
    assert last.completion is not None
    assert last.completion[0] == "34 minutes."
    assert (last.completion.thoughts, last.completion.finish_reason) == ("Hm.", "length")


def test_an_error_in_the_middle_of_ollamas_stream(scripted_server: Script) -> None:
    body = b'{"message": {"content": "It"}, "done": false}\n{"error": "out of memory"}\n'
    scripted_server.replies = [(200, JSON, body)]
    with pytest.raises(ModelReplyError, match="out of memory"):
        list(make_model("ollama", scripted_server.url).stream(HELLO))


@pytest.mark.parametrize("api", ["anthropic", "gemini"])
def test_a_key_is_needed(api: str) -> None:
    variable = {"anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}[api]
    with pytest.raises(MissingKey, match=variable):
        make_model(api, "http://127.0.0.1:1/v1", api_key=None).complete(HELLO)


def test_a_redirect_is_not_followed_with_the_key(scripted_server: Script) -> None:
    elsewhere = {"Location": "http://127.0.0.1:9/", "Content-Type": "text/plain"}
    scripted_server.replies = [(302, elsewhere, b"")]
    with pytest.raises(ModelError, match="302"):
        anthropic(scripted_server).complete(HELLO)


@pytest.mark.parametrize("status", [302, 307, 308])
@pytest.mark.parametrize("provider", [OpenAIChat, CohereChat, OpenAIEmbedder])
def test_no_prompt_follows_a_redirect(scripted_server: Script, provider: Any, status: int) -> None:
    with ModelServer() as elsewhere:
        scripted_server.replies = [(status, {"Location": f"{elsewhere.url}/chat/completions"}, b"")]
        model = provider(model="m", base_url=scripted_server.url, api_key=SecretStr("k"), retries=0)
        with pytest.raises(ModelError, match=str(status)):
            model.complete(HELLO) if hasattr(model, "complete") else model.embed_documents(["a"])
        assert not elsewhere.requests


def test_a_cancelled_call_closes_its_connection() -> None:
    with ModelServer() as server:
        model = make_model("anthropic", server.url)

        async def stop_after_one() -> str:
            async with aclosing(model.astream(HELLO)) as deltas:
                async for delta in deltas:
                    return str(delta.text)
            return ""

        assert asyncio.run(stop_after_one())


def test_models_have_prices_unless_the_server_is_another() -> None:
    assert AnthropicChat(model="claude-sonnet-4-5-20250929").prices == (3.0, 15.0)
    assert AnthropicChat(model="claude-sonnet-4-5", base_url="http://h").prices is None
    assert GeminiChat().context_tokens == 1_048_576
    assert isinstance(OllamaChat(model="m"), ChatModel)


# -- shapes that a review found ----------------------------------------------------------------


def response_events(*events: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return 200, SSE, "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()


TEXT_PART = {"type": "message", "content": [{"type": "text", "text": "It lasts."}]}


@pytest.mark.parametrize(
    "reply",
    [
        response_events({"type": "response.completed", "response": {"output": [TEXT_PART]}}),
        response_events(
            {"type": "response.output_text.done", "text": "It lasts."},
            {"type": "response.completed", "response": {"output": []}},
        ),
        (200, JSON, json.dumps({"object": "response", "output": [TEXT_PART]}).encode()),
    ],
)
def test_the_text_of_a_response_streams_however_late_it_comes(
    reply: tuple[int, dict[str, str], bytes], scripted_server: Script
) -> None:
    scripted_server.replies = [reply]
    assert stream(make_model("responses", scripted_server.url)).text == "It lasts."


def test_a_refusal_without_words_is_a_refusal(scripted_server: Script) -> None:
    part = {"type": "message", "content": [{"type": "refusal", "refusal": None}]}
    body = json.dumps({"object": "response", "output": [part]}).encode()
    scripted_server.replies = [(200, JSON, body)]
    completion = make_model("responses", scripted_server.url).complete(HELLO)
    assert (completion.text, completion.finish_reason) == ("no reason given", "refusal")


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("anthropic", {"type": "message", "content": REPLY, "stop_reason": "end_turn"}),
        ("anthropic", {"content": [{"type": "text", "text": REPLY}], "stop_reason": "end_turn"}),
        ("ollama", {"message": REPLY, "done": True}),
        (
            "gemini",
            {"candidates": [{"content": {"parts": {"text": REPLY}}, "finishReason": "STOP"}]},
        ),
    ],
)
def test_texts_in_place_of_lists_are_read(
    api: str, body: dict[str, Any], scripted_server: Script
) -> None:
    scripted_server.replies = [(200, JSON, json.dumps(body).encode())]
    assert make_model(api, scripted_server.url).complete(HELLO).text == REPLY


@pytest.mark.parametrize(
    "grounding",
    [
        {"groundingSupports": 5, "groundingChunks": 5},
        {"groundingSupports": [{"groundingChunkIndices": 5}], "groundingChunks": [3]},
        {
            "groundingSupports": [{"segment": 3, "groundingChunkIndices": [0]}],
            "groundingChunks": [{"retrievedContext": {"title": ["x"], "uri": {}}}],
        },
    ],
)
def test_malformed_grounding_is_ignored(grounding: Any, scripted_server: Script) -> None:
    scripted_server.replies = [make_candidate(REPLY, groundingMetadata=grounding)]
    completion = gemini(scripted_server).complete(HELLO, sources=SOURCES)
    assert (completion.text, completion.citations) == (REPLY, ())


def test_a_stream_of_gemini_may_be_an_array(scripted_server: Script) -> None:
    pieces = [
        {"candidates": [{"content": {"parts": [{"text": "It lasts "}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "34."}]}, "finishReason": "STOP"}]},
    ]
    scripted_server.replies = [(200, JSON, json.dumps(pieces, indent=2).encode())]
    assert stream(gemini(scripted_server)).text == "It lasts 34."


@pytest.mark.parametrize(
    ("api", "path"),
    [
        ("anthropic", "/v1/messages"),
        ("anthropic", "/v1/"),
        ("gemini", "/v1beta/models"),
        ("gemini", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("gemini", "/v1beta"),
        ("ollama", "/api/chat"),
        ("ollama", "/api/generate"),
    ],
)
def test_the_address_of_a_call_is_a_base_url(api: str, path: str) -> None:
    with ModelServer() as server:
        model = make_model(api, "", base_url=server.url.removesuffix("/v1") + path)
        assert model.complete(HELLO).text == REPLY


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b'{"error": "model requires more system memory"}', "more system memory"),
        (403, b'{"error": {"message": "the API is disabled"}}', "the API is disabled"),
        (422, b'{"detail": "no such field"}', "no such field"),
        (400, b"plain words", "plain words"),
        (404, b"<html>", "is base_url right"),
        (429, b'{"error": {"message": "tokens per day"}}', "tokens per day"),
    ],
)
def test_the_reason_of_the_server_is_said(
    status: int, body: bytes, said: str, scripted_server: Script
) -> None:
    scripted_server.replies = [(status, JSON, body)]
    with pytest.raises(ModelError, match=said):
        anthropic(scripted_server).complete(HELLO)


def test_a_delay_of_google_is_obeyed(scripted_server: Script) -> None:
    details = [{"@type": "x"}, {"@type": "type.googleapis.com/RetryInfo", "retryDelay": "0.5s"}]
    error = {"code": 429, "message": "slow down", "details": details}
    scripted_server.replies = [(429, JSON, json.dumps({"error": error}).encode())]
    with pytest.raises(ModelRateLimited) as caught:
        gemini(scripted_server).complete(HELLO)
    assert caught.value.retry_after == 0.5


@pytest.mark.parametrize("api", ["ollama", "anthropic"])
def test_only_what_a_request_can_do_without_is_learned(
    api: str, caplog: pytest.LogCaptureFixture
) -> None:
    reason = "invalid system prompt: unexpected seed" if api == "anthropic" else "bad temperature"
    with ModelServer(Shape(refuses=(lambda _: reason,))) as server:
        with pytest.raises(ModelError, match="refused the request"):
            make_model(api, server.url).complete(HELLO)
    assert len(server.requests) == 1 and not caplog.records


def test_the_first_count_of_a_stream_is_no_usage(scripted_server: Script) -> None:
    text = "word " * 150
    scripted_server.replies = [
        make_events(
            {
                "type": "message_start",
                "message": {"usage": {"input_tokens": 9, "output_tokens": 1}},
            },
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        )
    ]
    usage = stream(anthropic(scripted_server)).usage
    assert usage.is_estimated and usage.input_tokens == 9 and usage.output_tokens > 100


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "two words"])
def test_an_impossible_key_is_said(key: str, scripted_server: Script) -> None:
    with pytest.raises(ModelAuthError, match="characters that no key has"):
        anthropic(scripted_server, api_key=SecretStr(key)).complete(HELLO)


def test_two_ways_to_one_server_know_its_window_apart() -> None:
    with OllamaServer() as server:
        url = server.url.removesuffix("/v1")
        ollama_tokens = make_model("ollama", url, context=None).context_tokens
        openai_tokens = OpenAIChat(model="m", base_url=url).context_tokens
    assert (ollama_tokens, openai_tokens) == (OLLAMA_CONTEXT_TOKENS, 8192)


# -- every client, and several habits at once --------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    api=st.sampled_from([api for api in APIS if api != "cohere"]),
    names=st.lists(st.sampled_from(list(ANSWERS)), min_size=2, max_size=4, unique=True),
    call=st.sampled_from(CALLS),
)
def test_answers_arrive_from_servers_with_several_habits(
    api: str, names: list[str], call: Callable[[Any], Completion]
) -> None:
    shape = Shape()
    for name in sorted(names, key=list(SHAPES).index):
        shape = shape.combine(SHAPES[name])
    try:
        with ModelServer(shape) as server:
            assert call(make_model(api, server.url, retries=1)).text == REPLY
    except ModelError as error:  # two shapes may contradict each other; never in silence
        assert len(str(error)) > 20
    finally:
        forget_refusals()


TEXTS = ["a", "bbb", "cc"]


def embed_with_cohere(url: str, retries: int = 0) -> list[int]:
    embedder = CohereEmbedder.model_validate(
        {"base_url": url, "api_key": API_KEY, "retries": retries, "dimensions": 3, "timeout": 20}
    )
    vectors = embedder.embed_documents(TEXTS)
    return [round(float(vector[0] / vector[1])) for vector in vectors]


def rerank_with_cohere(url: str, retries: int = 0) -> list[int]:
    reranker = CohereReranker.model_validate(
        {"base_url": url, "api_key": API_KEY, "retries": retries, "timeout": 20}
    )
    return [round(4 * score) for score in reranker.score("q", TEXTS)]


@pytest.mark.parametrize("use", [embed_with_cohere, rerank_with_cohere])
@pytest.mark.parametrize("name", [n for n in ANSWERS if n not in _REFUSED])
def test_coheres_vectors_and_scores_arrive(name: str, use: Callable[..., list[int]]) -> None:
    with ModelServer(ANSWERS[name]) as server:
        lengths = use(server.url.removesuffix("/v1"), retries=1)
    assert lengths == [len(text) for text in TEXTS]


@pytest.mark.parametrize("use", [embed_with_cohere, rerank_with_cohere])
@pytest.mark.parametrize("name", ERRORS)
def test_coheres_failures_are_one_clear_error(name: str, use: Callable[..., list[int]]) -> None:
    with ModelServer(ERRORS[name]) as server, pytest.raises(RagError) as caught:
        use(server.url.removesuffix("/v1"))
    assert len(str(caught.value)) > 20 and API_KEY not in str(caught.value)
