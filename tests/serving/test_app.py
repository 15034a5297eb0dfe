from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from rag import GroundedGenerator, Pipeline, ScriptedChat
from rag.errors import ModelRateLimited
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


# -- questions -----------------------------------------------------------------------------


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


def test_ask_without_an_index_returns_not_found(keyed_server: Server) -> None:
    key = keyed_server.bearer("a")
    response = keyed_server.client.post("/ask", json={"question": "x"}, headers=key)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "nothing_ingested")
    assert keyed_server.client.get("/documents", headers=key).json()["total"] == 0


# -- documents -----------------------------------------------------------------------------


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


# -- access -------------------------------------------------------------------------------


def test_a_key_gives_access_to_its_own_namespace_only(keyed_server: Server) -> None:
    acme_key = keyed_server.bearer("one", "acme")
    globex_key = keyed_server.bearer("other", "globex")
    keyed_server.upload("a.md", b"# Plan\n\nThe secret colour of Acme is teal.", acme_key)
    keyed_server.upload("b.md", b"# Plan\n\nThe secret colour of Globex is vermilion.", globex_key)
    question = {"question": "What is the secret colour?"}
    acme_answer = keyed_server.client.post("/ask", json=question, headers=acme_key).json()
    globex_answer = keyed_server.client.post("/ask", json=question, headers=globex_key).json()
    assert "teal" in acme_answer["text"] and "vermilion" in globex_answer["text"]
    assert "teal" not in json.dumps(globex_answer)
    assert "vermilion" not in json.dumps(acme_answer)
    forged = {
        **globex_key, "X-Namespace": "acme", "namespace": "acme", "X-Citewell-Namespace": "acme"
    }  # fmt: skip
    for params in ({}, {"namespace": "acme"}):
        for body in (question, {**question, "namespace": "acme"}, {**question, "index": "../acme"}):
            response = keyed_server.client.post("/ask", json=body, headers=forged, params=params)
            assert "teal" not in response.text
    match_all = {"op": "exists", "field": "uri"}
    hits = keyed_server.client.post(
        "/search", json={"query": "secret colour", "where": match_all}, headers=forged
    )
    assert "teal" not in hits.text
    for uri in ("upload:///a.md", "../namespaces/acme/uploads", "file:///etc/passwd"):
        response = keyed_server.client.get(
            "/documents/source", params={"uri": uri}, headers=globex_key
        )
        assert response.status_code == 404
    job_id = keyed_server.client.get("/jobs", headers=acme_key).json()["jobs"][0]["id"]
    assert keyed_server.client.get(f"/jobs/{job_id}", headers=globex_key).status_code == 404


def test_every_route_but_health_requires_a_key(keyed_server: Server) -> None:
    paths = keyed_server.client.get("/openapi.json").json()["paths"]
    public_paths = {"/healthz"}
    for path, methods in paths.items():
        for method in methods:
            for headers in (
                {},
                {"Authorization": "Bearer cw-wrong"},
                {"Authorization": "Basic eDp5"},
            ):
                url = path.replace("{id}", "x").replace("{model}", "x")
                response = keyed_server.client.request(
                    method.upper(), url, headers=headers, json={}
                )
                if path in public_paths:
                    assert response.status_code == 200
                else:
                    assert response.status_code == 401, (method, path, response.text)
                    assert response.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_is_refused_at_once_and_only_hashes_are_stored(keyed_server: Server) -> None:
    key = keyed_server.bearer("a")
    assert keyed_server.client.get("/documents", headers=key).status_code == 200
    assert keyed_server.keys is not None
    secret = key["Authorization"].removeprefix("Bearer ")
    assert secret.encode() not in keyed_server.keys.path.read_bytes()
    assert keyed_server.keys.path.stat().st_mode & 0o077 == 0
    assert keyed_server.keys.revoke("a")
    assert keyed_server.client.get("/documents", headers=key).status_code == 401


def test_other_origins_and_other_host_names_are_refused(server: Server) -> None:
    foreign_origin = {"Origin": "https://evil.example"}
    assert (
        server.client.post("/ask", json={"question": "x"}, headers=foreign_origin).status_code
        == 403
    )
    response = server.client.post(
        "/documents", files={"files": ("a.txt", b"x")}, headers=foreign_origin
    )
    assert response.status_code == 403
    assert server.client.get("/documents", headers={"Host": "evil.example"}).status_code == 403
    own_origin = {"Origin": server.url}
    assert server.client.post("/search", json={"query": "x"}, headers=own_origin).status_code == 200
    assert (
        "access-control-allow-origin"
        not in server.client.get("/documents", headers=own_origin).headers
    )
    assert (
        server.client.options(
            "/ask", headers={**foreign_origin, "Access-Control-Request-Method": "POST"}
        ).status_code
        == 403
    )


def test_allowed_origins_may_use_the_api(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    with serve_pipeline(pipeline, options=Options(origins=("https://app.example",))) as server:
        allowed = {"Origin": "https://app.example"}
        response = server.client.get("/documents", headers=allowed)
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        refusal = server.client.get("/documents", headers={"Origin": "https://evil.example"})
        assert refusal.status_code == 403
        assert "access-control-allow-origin" not in refusal.headers


def test_every_response_has_the_security_headers(server: Server) -> None:
    for path in (
        "/",
        "/docs",
        "/page/app.js",
        "/openapi.json",
        "/documents",
        "/nowhere",
        "/healthz",
    ):
        headers = server.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in headers or "uvicorn" not in headers["server"]


# -- limits ------------------------------------------------------------------------------


def test_too_large_bodies_are_refused_with_and_without_a_length(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    options = Options(body_bytes=2_000, upload_bytes=5_000)
    with serve_pipeline(pipeline, options=options) as server:
        response = server.client.post("/ask", json={"question": "x" * 3_000})
        assert response.status_code == 413 and response.json()["error"]["code"] == "too_large"

        def send_blocks() -> Any:
            for _ in range(100):
                yield b"x" * 1_000

        headers = {"content-type": "application/json"}
        response = server.client.post("/ask", content=send_blocks(), headers=headers)
        assert response.status_code == 413
        response = server.client.post("/documents", files={"files": ("a.txt", b"x" * 6_000)})
        assert response.status_code == 413
        assert (
            server.client.post("/documents", files={"files": ("a.txt", b"x" * 3_000)}).status_code
            == 202
        )


def test_rate_limited_responses_have_a_retry_after_header(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    with serve_pipeline(pipeline, options=Options(rate=60, burst=3)) as server:
        statuses = [server.client.get("/documents").status_code for _ in range(5)]
        assert statuses[:3] == [200, 200, 200] and 429 in statuses
        response = server.client.get("/documents")
        assert response.status_code == 429 and int(response.headers["retry-after"]) >= 1
        assert server.client.get("/healthz").status_code == 200


# -- operation -------------------------------------------------------------------------------


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
    for path in (ROOT / "rag/serving/page").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert "innerHTML" not in text and "eval(" not in text


# -- regressions -----------------------------------------------------------------------


def test_requests_without_a_key_are_refused_before_their_body_is_read(keyed_server: Server) -> None:
    host, port = keyed_server.url.removeprefix("http://").split(":")
    head = f"POST /documents HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 90000000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())  # without the body
        assert b"401" in connection.recv(100)
    response = keyed_server.client.post(
        "/ask", content=b"{bad", headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 401


def test_a_forwarded_address_does_not_evade_the_rate_limit(
    rag: Any, tmp_path: Path, folder: Path
) -> None:
    """`rag serve` configures uvicorn itself, so this test runs the command."""
    command = [str(Path(sys.executable).with_name("rag")), "serve", "--index", str(tmp_path / "i")]
    rag("ingest", str(folder), "--index", str(tmp_path / "i"))
    rag("keys", "add", "a", "--index", str(tmp_path / "i"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [*command, "--port", str(port), "--rate", "60"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert f":{port}/" in process.stderr.readline()
        try:
            url = f"http://127.0.0.1:{port}/documents"
            statuses = [
                httpx.get(url, headers={"X-Forwarded-For": f"10.0.0.{i}"}).status_code
                for i in range(30)
            ]
            assert 429 in statuses
        finally:
            process.terminate()
        assert process.wait(120) == 0


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


def test_preflight_requests_of_allowed_origins_are_answered(
    pipeline: Pipeline, folder: Path
) -> None:
    from rag.errors import ConfigError
    from rag.serving import create_app

    pipeline.ingest(folder)
    with serve_pipeline(pipeline, options=Options(origins=("https://app.example",))) as server:
        headers = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
        }
        response = server.client.options("/v1/chat/completions", headers=headers)
        assert response.status_code == 200
        assert "x-stainless-os" in response.headers["access-control-allow-headers"]
    with pytest.raises(ConfigError, match="API key"):
        create_app(pipeline, options=Options(origins=("*",)))


def test_a_key_added_later_is_required_from_then_on(pipeline: Pipeline, folder: Path) -> None:
    from rag.serving import KeyStore, create_app

    pipeline.ingest(folder)
    keys = KeyStore(pipeline.index / "keys.sqlite")
    from starlette.testclient import TestClient

    app = create_app(pipeline, keys=keys, open_until_keyed=True)
    with TestClient(app) as client:
        assert client.get("/documents").status_code == 200
        key = keys.add("me")
        assert client.get("/documents").status_code == 401
        assert (
            client.get("/documents", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        )


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


def test_a_damaged_key_store_is_an_error_in_the_usual_format(keyed_server: Server) -> None:
    assert keyed_server.keys is not None
    keyed_server.bearer("a")
    keyed_server.keys.path.write_bytes(b"not a database, but as long as one: " * 200)
    response = keyed_server.client.get("/documents", headers={"Authorization": "Bearer cw-x"})
    assert response.status_code == 500 and response.json()["error"]["code"] == "unusable"
    assert "content-security-policy" in response.headers
    keyed_server.keys.path.write_bytes(b"")  # as after a power failure during creation
    assert keyed_server.keys.keys() == []
