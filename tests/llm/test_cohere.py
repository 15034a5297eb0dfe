"""Cohere's chat over HTTP, against a server that speaks its wire format (docs.cohere.com, v2)."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from rag import CohereChat, GroundedGenerator, Message, TextDelta
from rag.errors import (
    MissingKey,
    ModelAuthError,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
)
from rag.generation import AnswerCompleted
from rag.llm import NativeCitation, Source
from tests.conftest import API_KEY, Script
from tests.generation.samples import make_hit

HELLO = [Message(role="user", content="How long?")]
JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream"}
SOURCES = [Source("Battery", "It lasts 34 minutes."), Source("Price", "It costs 9 euros.")]


def chat(server: Script, **options: Any) -> CohereChat:
    url = server.url.removesuffix("/v1")
    return CohereChat(base_url=url, api_key=SecretStr(API_KEY), retries=0, **options)


def make_citation(start: int, end: int, *documents: str, **more: Any) -> dict[str, Any]:
    sources = [{"type": "document", "id": d, "document": {"id": d}} for d in documents]
    return {"start": start, "end": end, "text": "t", "sources": sources} | more


def stream(*events: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    body = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return 200, SSE, body.encode()


def make_stream(*texts: str, citations: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    start = {"message": {"content": {"type": "text", "text": ""}}}
    return [
        {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-start", "index": 0, "delta": start},
        *(
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": t}}}}
            for t in texts
        ),
        {"type": "content-end", "index": 0},
        *(
            {"type": "citation-start", "index": i, "delta": {"message": {"citations": c}}}
            for i, c in enumerate(citations)
        ),
    ]


END = {
    "type": "message-end",
    "delta": {
        "finish_reason": "COMPLETE",
        "usage": {"billed_units": {"input_tokens": 10, "output_tokens": 4}},
    },
}


def reply(text: str, *citations: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return stream(*make_stream(text, citations=citations), END)


def test_documents_are_sent_and_citations_are_converted(scripted_server: Script) -> None:
    scripted_server.replies = [reply("It lasts 34 minutes.", make_citation(9, 19, "0"))]
    completion = chat(scripted_server, seed=3).complete(HELLO, sources=SOURCES)
    assert completion.citations == (NativeCitation(9, 19, (0,)),)
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (10, 4)
    sent = scripted_server.requests[0]
    assert sent["documents"][1] == {
        "id": "1",
        "data": {"title": "Price", "text": "It costs 9 euros."},
    }
    assert (sent["seed"], sent["max_tokens"], sent["stream"]) == (3, 1024, True)


@pytest.mark.parametrize(
    "citation",
    [
        make_citation(9, 19, "7"),  # a document that was not sent
        make_citation(9, 190, "0"),  # beyond the text
        make_citation(-3, 4, "0"),
        make_citation(9, 9, "0"),
        {"start": 9, "end": 19, "text": "t", "sources": [{"type": "tool", "id": "0"}]},
        {"start": None, "end": None, "text": "t", "sources": []},
    ],
)
def test_invalid_citations_are_skipped(scripted_server: Script, citation: dict[str, Any]) -> None:
    scripted_server.replies = [reply("It lasts 34 minutes.", citation)]
    assert chat(scripted_server).complete(HELLO, sources=SOURCES).citations == ()


def test_stream_returns_the_same_text_citations_and_usage(scripted_server: Script) -> None:
    events = make_stream("It lasts ", "34 minutes.", citations=(make_citation(9, 19, "doc:0"),))
    scripted_server.replies = [stream(*events, END)]
    *deltas, last = chat(scripted_server).stream(HELLO, sources=SOURCES)
    assert [delta.text for delta in deltas] == ["It lasts ", "34 minutes."]
    assert last.completion is not None
    assert last.completion.text == "It lasts 34 minutes."
    assert last.completion.citations == (NativeCitation(9, 19, (0,)),)
    assert last.completion.usage.output_tokens == 4


@pytest.mark.parametrize("live", [False, True])
def test_native_citations_are_resolved_to_exact_spans(scripted_server: Script, live: bool) -> None:
    text = "A full battery lasts 34 minutes. Rockets are cheap."
    citations = (make_citation(21, 31, "1"), make_citation(33, 40, "0"))
    scripted_server.replies = [reply(text, *citations)]
    hits = [
        make_hit("a", 0, "It costs 9 euros."),
        make_hit("b", 7, "Oh. The battery lasts 34 minutes."),
    ]
    generator = GroundedGenerator(model=chat(scripted_server))
    if live:
        *events, last = generator.stream("How long?", hits)
        assert isinstance(last, AnswerCompleted)
        answer = last.answer
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == answer.text
    else:
        answer = generator.answer("How long?", hits)
    assert answer.text == "A full battery lasts 34 minutes. [2] Rockets are cheap."
    (citation,) = answer.citations
    assert (citation.uri, citation.start, citation.quote) == (
        "b",
        11,
        "The battery lasts 34 minutes.",
    )
    assert citation.method == "native"
    assert [s.status for s in answer.sentences] == ["supported", "unsupported"]
    sent = scripted_server.requests[0]
    assert "battery lasts" not in json.dumps(sent["messages"])  # the passages are documents
    assert len(sent["documents"]) == 2


def test_documents_are_not_sent_with_a_json_schema(scripted_server: Script) -> None:
    scripted_server.replies = [reply("{}")]
    schema = {"type": "object", "properties": {}}
    chat(scripted_server).complete(HELLO, schema=schema, sources=SOURCES)
    sent = scripted_server.requests[0]
    assert sent["response_format"] == {"type": "json_object", "json_schema": schema}
    assert "documents" not in sent


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"message": f"invalid key {API_KEY}"}, ModelAuthError),
        (429, {"message": "slow down"}, ModelRateLimited),
        (500, {"message": "oh"}, ModelUnreachable),
        (400, {"message": "too many tokens: 300000"}, ModelContextExceeded),
        (404, {"message": f"no model {API_KEY}"}, ModelError),
    ],
)
def test_http_statuses_become_our_errors_without_the_key(
    scripted_server: Script, status: int, body: dict[str, str], error: type[ModelError]
) -> None:
    scripted_server.replies = [(status, JSON, json.dumps(body).encode())] * 2
    with pytest.raises(error) as caught:
        chat(scripted_server).complete(HELLO)
    assert API_KEY not in str(caught.value)
    assert caught.value.status == status
    assert caught.value.model == "command-a-03-2025"
    with pytest.raises(error):
        list(chat(scripted_server).stream(HELLO))


def test_http_429_is_retried(scripted_server: Script) -> None:
    scripted_server.replies = [(429, {**JSON, "Retry-After": "0"}, b"{}"), reply("Yes.")]
    model = chat(scripted_server).model_copy(update={"retries": 1})
    assert model.complete(HELLO).text == "Yes."


@pytest.mark.parametrize(
    "body", [b"", b"{half", b"[]", b'{"message": null}', b'{"id": "1", "message": {"content": 5}}']
)
def test_unreadable_replies_raise_a_reply_error(scripted_server: Script, body: bytes) -> None:
    scripted_server.replies = [(200, JSON, body)]
    with pytest.raises(ModelReplyError):
        chat(scripted_server).complete(HELLO)


def test_empty_reply_is_accepted(scripted_server: Script) -> None:
    scripted_server.replies = [reply("")]
    assert chat(scripted_server).complete(HELLO).text == ""


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (make_stream("It "), "ended unexpectedly"),
        (
            [
                *make_stream("It "),
                {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "oh"}},
            ],
            "oh",
        ),
        (
            [*make_stream("It "), {"type": "message-end", "delta": {"finish_reason": "ERROR"}}],
            "failed",
        ),
    ],
)
def test_failed_and_incomplete_streams_raise_a_reply_error(
    scripted_server: Script, events: list[dict[str, Any]], message: str
) -> None:
    scripted_server.replies = [stream(*events)]
    with pytest.raises(ModelReplyError, match=message):
        list(chat(scripted_server).stream(HELLO))


def test_broken_connection_raises_a_model_error(scripted_server: Script) -> None:
    status, headers, body = stream(*make_stream("It "))
    scripted_server.replies = [(status, {**headers, "Content-Length": "100000"}, body)]
    with pytest.raises(ModelError, match="broke"):
        list(chat(scripted_server).stream(HELLO))


def test_missing_key_error_names_the_variable() -> None:
    with pytest.raises(MissingKey, match="COHERE_API_KEY"):
        CohereChat().complete(HELLO)


def test_context_window_is_known_only_at_cohere_itself(scripted_server: Script) -> None:
    assert CohereChat().context_tokens == 256_000
    assert chat(scripted_server).context_tokens is None
