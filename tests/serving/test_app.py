from __future__ import annotations

import errno
import io
import json
import re
import socket
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rag import GroundedGenerator, Pipeline, ScriptedChat
from rag.errors import (
    ModelError,
    ModelRateLimited,
    ModelUnreachable,
    RagError,
    RagIndexError,
)
from rag.serving import Options
from tests.conftest import HANDBOOK, ROOT
from tests.serving.conftest import QUESTION, Server, serve_pipeline


def parse_events(text: str) -> list[tuple[str, Any]]:
    """Return the names and data of server-sent events."""
    events = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events


def test_ask_streams_the_answer_that_it_returns_as_json(server: Server) -> None:
    answer = server.client.post("/ask", json={"question": QUESTION}).json()
    assert answer["status"] == "answered"
    response = server.client.post("/ask", json={"question": QUESTION, "stream": True})
    events = parse_events(response.text)
    assert [name for name, _ in events] == ["text", "citation", "sentence", "done"]
    assert events[0][1]["text"] == answer["text"]
    assert events[-1][1]["answer"]["citations"] == answer["citations"]


def test_conversations_are_stored_listed_and_deleted(server: Server) -> None:
    client = server.client
    for question in ("How long does the battery last?", "And how long does charging take?"):
        answer = client.post("/ask", json={"question": question, "conversation": "a/b ?"}).json()
    assert "90 minutes" in answer["text"]
    (entry,) = client.get("/conversations").json()["conversations"]
    assert (entry["name"], entry["turns"]) == ("a/b ?", 2)
    turns = client.get("/conversation", params={"name": "a/b ?"}).json()["turns"]
    assert turns[1]["answer"]["text"] == answer["text"]
    assert client.delete("/conversation", params={"name": "a/b ?"}).json() == {"deleted": 2}
    assert client.delete("/conversation", params={"name": "a/b ?"}).status_code == 404
    assert client.get("/conversations").json()["conversations"] == []


def test_search_takes_a_filter(server: Server) -> None:
    hits = server.client.post("/search", json={"query": "propellers", "k": 1}).json()["hits"]
    assert len(hits) == 1 and "propeller" in hits[0]["chunk"]["text"]
    where = {"field": "title", "op": "==", "value": "notes.txt"}
    response = server.client.post("/search", json={"query": "propellers", "where": where})
    assert {hit["chunk"]["title"] for hit in response.json()["hits"]} == {"notes.txt"}
    unknown_operator = {"query": "x", "where": {"field": "a", "op": "~"}}
    response = server.client.post("/search", json=unknown_operator)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_search_and_ask_apply_the_filter_of_the_api_description(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    front_matter_by_name = {
        "english": "lang: en\nyear: 2001",
        "recent": "lang: fr\nyear: 2024",
        "old": "lang: fr\nyear: 2001",
        "draft": "lang: en\nyear: 2024\ndraft: true",
    }
    for name, front_matter in front_matter_by_name.items():
        text = f"---\ntitle: {name}\n{front_matter}\n---\n\nThe {name} kettle holds two litres.\n"
        (docs / f"{name}.md").write_text(text, encoding="utf-8")
    pipeline.ingest(docs)
    with serve_pipeline(pipeline) as server:
        schemas = server.client.get("/openapi.json").json()["components"]["schemas"]
        for path, schema, body in (
            ("/search", "Search", {"query": "kettle litres", "k": 10}),
            ("/ask", "Question", {"question": "How many litres does the kettle hold?"}),
        ):
            field = schemas[schema]["properties"]["where"]
            assert all(key in field["description"] for key in ('"and"', '"or"', '"not"'))
            (where,) = field["examples"]
            response = server.client.post(path, json={**body, "where": where})
            assert response.status_code == 200, response.text
            titles = {hit["chunk"]["title"] for hit in response.json()["hits"]}
            assert titles == {"english", "recent"}


def test_error_messages_reveal_nothing_about_the_machine(pipeline: Pipeline, folder: Path) -> None:
    class FailingChat(ScriptedChat):
        def _complete(self, messages: Any, **_: Any) -> Any:
            raise ModelRateLimited("https://secret.example says: key sk-123 is over its limit")

        def _stream(self, messages: Any, **_: Any) -> Any:
            yield from ()
            raise RuntimeError(f"bug in {folder}")

    pipeline.ingest(folder)
    generator = GroundedGenerator(model=FailingChat(replies=("x",)))
    with serve_pipeline(pipeline.model_copy(update={"generator": generator})) as server:
        response = server.client.post("/ask", json={"question": QUESTION})
        assert response.status_code == 500
        assert response.json()["error"]["message"] == "internal error: see the server log"
        stream = server.client.post("/ask", json={"question": QUESTION, "stream": True})
        assert "secret" not in stream.text and str(folder) not in stream.text


@pytest.mark.parametrize(
    ("error", "status", "delay"),
    [
        (ModelRateLimited("x", retry_after=42.1), 429, "43"),
        (ModelRateLimited("x", retry_after=0.0), 429, "1"),
        (ModelRateLimited("x"), 429, "10"),
        (ModelUnreachable("x", retry_after=120.0), 503, "120"),
        (ModelUnreachable("x"), 503, "5"),
        (ModelError("x", retry_after=3.0), 502, None),
    ],
)
def test_client_is_asked_to_wait_as_long_as_the_model(
    error: ModelError, status: int, delay: str | None
) -> None:
    from rag.serving.errors import to_api_error

    response = to_api_error(error).response()
    assert (response.status_code, response.headers.get("retry-after")) == (status, delay)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/secret/uploads"),
        sqlite3.OperationalError("database or disk is full"),
        RagIndexError.disk_full("/secret/index"),
    ],
)
def test_a_full_disk_is_named(error: Exception) -> None:
    from rag.serving.errors import to_api_error

    wrapped = RagError("the conversation cannot be written")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        api_error = to_api_error(raised)
        assert (api_error.status, api_error.code) == (507, "disk_full")
        assert "/secret" not in str(api_error.response().body)
    assert to_api_error(ModelError("the disk is full")).status == 502


def test_ask_without_an_index_returns_not_found(keyed_server: Server) -> None:
    key = keyed_server.bearer("a")
    response = keyed_server.client.post("/ask", json={"question": "x"}, headers=key)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "nothing_ingested")
    assert keyed_server.client.get("/documents", headers=key).json()["total"] == 0


def test_a_page_of_a_pdf_is_drawn_with_the_quote_highlighted(keyed_server: Server) -> None:
    key = keyed_server.bearer("a")
    pdf = (ROOT / "pipelines/sample/annual-report-2025.pdf").read_bytes()
    keyed_server.upload("report.pdf", pdf, key)
    body = {"question": "How many visitors came in 2025?"}
    answer = keyed_server.client.post("/ask", json=body, headers=key).json()
    (citation,) = answer["citations"]
    span = {name: citation[name] for name in ("uri", "start", "end")}
    source = keyed_server.client.get("/documents/source", params=span, headers=key).json()
    assert source["page"] == citation["page"] == 1 and source["pictures"]
    response = keyed_server.client.get("/documents/page", params={**span, "number": 1}, headers=key)
    assert response.headers["content-type"] == "image/png"
    assert 0.2 < float(response.headers["citewell-marked-at"]) < 0.4
    pixels = np.asarray(Image.open(io.BytesIO(response.content)))
    assert ((pixels[..., 2] < 120) & (pixels[..., 0] > 200)).sum() > 1_000  # yellow
    plain = keyed_server.client.get(
        "/documents/page", params={"uri": citation["uri"], "number": 2}, headers=key
    )
    assert plain.status_code == 200 and "citewell-marked-at" not in plain.headers
    for number, status in ((99, 404), (0, 422)):
        params = {"uri": citation["uri"], "number": number}
        assert (
            keyed_server.client.get("/documents/page", params=params, headers=key).status_code
            == status
        )


def test_pages_of_a_changed_file_are_not_drawn(pipeline: Pipeline, folder: Path) -> None:
    path = folder / "report.pdf"
    path.write_bytes((ROOT / "pipelines/sample/annual-report-2025.pdf").read_bytes())
    pipeline.ingest(folder)
    with serve_pipeline(pipeline) as server:
        params: dict[str, Any] = {"uri": path.as_uri(), "number": 1}
        assert server.client.get("/documents/page", params=params).status_code == 200
        path.write_bytes(b"%PDF-1.4 another file that must not be shown")
        assert server.client.get("/documents/page", params=params).status_code == 404
        assert (
            server.client.get("/documents/source", params={"uri": path.as_uri()}).json()["pictures"]
            is False
        )


def test_metrics_count_requests_without_naming_callers(keyed_server: Server) -> None:
    key = keyed_server.bearer("mallory", "acme")
    keyed_server.upload("a.md", HANDBOOK.encode(), key)
    keyed_server.client.post("/ask", json={"question": QUESTION}, headers=key)
    assert keyed_server.client.get("/metrics", headers=key).status_code == 403
    metrics = keyed_server.client.get("/metrics", headers=keyed_server.bearer("operator")).text
    assert 'citewell_answers_total{status="answered"} 1.0' in metrics
    assert 'citewell_requests_total{route="/ask",status="200"} 1.0' in metrics
    assert "citewell_request_seconds_bucket" in metrics and "citewell_running 0.0" in metrics
    assert "acme" not in metrics and "mallory" not in metrics


def test_a_disconnect_stops_the_model(pipeline: Pipeline, folder: Path) -> None:
    has_started, is_closed = threading.Event(), threading.Event()
    pipeline.ingest(folder)

    class EndlessChat(ScriptedChat):
        def _stream(self, messages: Any, **_: Any) -> Any:
            from rag.llm import Delta

            has_started.set()
            try:
                while True:
                    yield Delta("word ")
            finally:
                is_closed.set()

    generator = GroundedGenerator(model=EndlessChat(replies=("x",)))
    with serve_pipeline(pipeline.model_copy(update={"generator": generator})) as server:
        host, port = server.url.removeprefix("http://").split(":")
        for path, body in (
            ("/ask", {"question": QUESTION, "stream": True}),
            ("/ask", {"question": QUESTION}),
            (
                "/v1/chat/completions",
                {
                    "model": "citewell",
                    "stream": True,
                    "messages": [{"role": "user", "content": QUESTION}],
                },
            ),
            (
                "/v1/chat/completions",
                {"model": "citewell", "messages": [{"role": "user", "content": QUESTION}]},
            ),
        ):
            has_started.clear()
            is_closed.clear()
            content = json.dumps(body).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall(head.encode() + content)
                assert has_started.wait(120), body
            assert is_closed.wait(120), body
        service = server.app.state.service
        metrics = server.client.get("/metrics").text
        assert "citewell_running 0.0" in metrics and "citewell_waiting 0.0" in metrics
        assert all(tenant.users <= 1 for tenant in service.tenants._tenants.values())


def test_idle_namespaces_are_closed_and_opened_again_on_request(keyed_server: Server) -> None:
    keyed_server.app.state.service.tenants._max_open = 2
    keys = [keyed_server.bearer(f"k{i}", f"n{i}") for i in range(4)]
    for i, key in enumerate(keys):
        keyed_server.upload("a.md", f"The number of this one is {i}{i}{i}.".encode(), key)
    assert keyed_server.app.state.service.tenants.open_count <= 3
    for i, key in enumerate(keys):
        response = keyed_server.client.post(
            "/ask", json={"question": "What is the number of this one?"}, headers=key
        )
        assert f"{i}{i}{i}" in response.json()["text"]
    assert keyed_server.app.state.service.tenants.open_count <= 3


def test_page_files_load_nothing_from_other_hosts() -> None:
    for path in (p for p in (ROOT / "rag/serving/page").rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert "innerHTML" not in text and "eval(" not in text


def test_a_port_in_use_is_an_error_with_its_address(rag: Any, server: Server, folder: Path) -> None:
    rag("ingest", str(folder))
    result = rag("serve", "--port", server.url.rpartition(":")[2])
    assert result.code == 2 and "cannot listen on 127.0.0.1" in result.err


async def test_a_started_stream_is_not_refused_when_the_server_is_busy(pipeline: Pipeline) -> None:
    import anyio

    from rag.serving.errors import ApiError
    from rag.serving.service import Service

    service = Service(pipeline, None, Options(concurrency=1, waiting=1))

    async def items() -> Any:
        yield 1
        yield 2

    started_stream = service.iterate_in_slots(items())
    assert await anext(started_stream) == 1
    async with anyio.create_task_group() as group:
        async with service.slot():
            waiting_stream = service.iterate_in_slots(items())
            group.start_soon(anext, waiting_stream)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ApiError, match="waiting"):
                async with service.slot():
                    pass
            later_items: list[Any] = []

            async def read_next() -> None:
                later_items.append(await anext(started_stream))

            group.start_soon(read_next)
            await anyio.wait_all_tasks_blocked()
    assert later_items == [2]
    await started_stream.aclose()  # type: ignore[attr-defined]
    await waiting_stream.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("sends_body", [True, False])
async def test_a_stream_is_closed_when_its_response_ends(sends_body: bool) -> None:
    from rag.serving.streaming import EventStreamResponse

    closed: list[str] = []

    async def source() -> Any:
        try:
            while True:
                yield "x"
        finally:
            closed.append("source")

    async def body(items: Any) -> Any:
        try:
            async for item in items:
                yield item
        finally:
            closed.append("body")

    async def send(message: Any) -> None:
        if not sends_body or message["type"] == "http.response.body":
            raise OSError("the client has disconnected")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    items = source()
    assert await anext(items) == "x"
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET"}
    with pytest.raises(Exception):  # noqa: B017
        await EventStreamResponse(body(items), items)(scope, receive, send)
    assert closed == (["body", "source"] if sends_body else ["source"])


def test_an_app_mounted_below_a_prefix_works_the_same(pipeline: Pipeline, folder: Path) -> None:
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from rag.serving import create_app

    pipeline.ingest(folder)
    outer = FastAPI()
    outer.mount("/docs-of-ours", create_app(pipeline, options=Options(body_bytes=1_000)))
    with TestClient(outer) as client:
        assert client.get("/docs-of-ours/healthz").status_code == 200
        response = client.post("/docs-of-ours/documents", files={"files": ("a.txt", b"x" * 3_000)})
        assert response.status_code == 202
        assert client.post("/docs-of-ours/ask", json={"question": "x" * 2_000}).status_code == 413
