from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from rag import GroundedGenerator, Pipeline, ScriptedChat
from rag.errors import ModelRateLimited
from rag.serving import Options
from tests.conftest import HANDBOOK, ROOT
from tests.serving.conftest import Server, running

QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


# -- questions -----------------------------------------------------------------------------


def test_ask_and_its_stream_say_the_same(server: Server) -> None:
    whole = server.client.post("/ask", json={"question": QUESTION}).json()
    assert whole["status"] == "answered"
    told = events(server.client.post("/ask", json={"question": QUESTION, "stream": True}).text)
    assert [name for name, _ in told] == ["text", "citation", "sentence", "done"]
    assert told[0][1]["text"] == whole["text"]
    assert told[-1][1]["answer"]["citations"] == whole["citations"]


def test_conversations_are_kept_listed_and_forgotten(server: Server) -> None:
    client = server.client
    for question in ("How long does the battery last?", "And how long does charging take?"):
        answer = client.post("/ask", json={"question": question, "conversation": "a/b ?"}).json()
    assert "90 minutes" in answer["text"]
    (listed,) = client.get("/conversations").json()["conversations"]
    assert (listed["name"], listed["turns"]) == ("a/b ?", 2)
    turns = client.get("/conversation", params={"name": "a/b ?"}).json()["turns"]
    assert turns[1]["answer"]["text"] == answer["text"]
    assert client.delete("/conversation", params={"name": "a/b ?"}).json() == {"deleted": 2}
    assert client.delete("/conversation", params={"name": "a/b ?"}).status_code == 404
    assert client.get("/conversations").json()["conversations"] == []


def test_search_takes_a_filter(server: Server) -> None:
    found = server.client.post("/search", json={"query": "propellers", "k": 1}).json()["hits"]
    assert len(found) == 1 and "propeller" in found[0]["chunk"]["text"]
    where = {"field": "title", "op": "==", "value": "notes.txt"}
    found = server.client.post("/search", json={"query": "propellers", "where": where}).json()[
        "hits"
    ]
    assert {hit["chunk"]["title"] for hit in found} == {"notes.txt"}
    wrong = server.client.post("/search", json={"query": "x", "where": {"field": "a", "op": "~"}})
    assert wrong.status_code == 400 and wrong.json()["error"]["type"] == "invalid_request_error"


def test_failures_are_told_and_tell_nothing_of_this_machine(
    pipeline: Pipeline, folder: Path
) -> None:
    class Busy(ScriptedChat):
        def _complete(self, messages: Any, **_: Any) -> Any:
            raise ModelRateLimited("https://secret.example says: key sk-123 is over its limit")

        def _stream(self, messages: Any, **_: Any) -> Any:
            yield from ()
            raise RuntimeError(f"bug in {folder}")

    pipeline.ingest(folder)
    generator = GroundedGenerator(model=Busy(replies=("x",)))
    with running(pipeline.model_copy(update={"generator": generator})) as server:
        asked = server.client.post("/ask", json={"question": QUESTION})
        assert asked.status_code == 500
        assert asked.json()["error"]["message"] == "something went wrong: see the log"
        streamed = server.client.post("/ask", json={"question": QUESTION, "stream": True})
        assert "secret" not in streamed.text and str(folder) not in streamed.text


def test_nothing_ingested_is_said_plainly(keyed: Server) -> None:
    key = keyed.bearer("a")
    asked = keyed.client.post("/ask", json={"question": "x"}, headers=key)
    assert (asked.status_code, asked.json()["error"]["code"]) == (404, "nothing_ingested")
    assert keyed.client.get("/documents", headers=key).json()["total"] == 0


# -- documents -----------------------------------------------------------------------------


def test_a_page_of_a_pdf_is_drawn_with_its_words_marked(keyed: Server) -> None:
    from PIL import Image

    key = keyed.bearer("a")
    pdf = (ROOT / "pipelines/sample/annual-report-2025.pdf").read_bytes()
    keyed.upload("report.pdf", pdf, key)
    asked = {"question": "How many visitors came in 2025?"}
    (cited,) = keyed.client.post("/ask", json=asked, headers=key).json()["citations"]
    span = {"uri": cited["uri"], "start": cited["start"], "end": cited["end"]}
    source = keyed.client.get("/documents/source", params=span, headers=key).json()
    assert source["page"] == cited["page"] == 1 and source["pictures"]
    drawn = keyed.client.get("/documents/page", params={**span, "number": 1}, headers=key)
    assert drawn.headers["content-type"] == "image/png"
    assert 0.2 < float(drawn.headers["citewell-marked-at"]) < 0.4
    import io

    picture = np.asarray(Image.open(io.BytesIO(drawn.content)))
    assert ((picture[..., 2] < 120) & (picture[..., 0] > 200)).sum() > 1_000  # yellow
    plain = keyed.client.get(
        "/documents/page", params={"uri": cited["uri"], "number": 2}, headers=key
    )
    assert plain.status_code == 200 and "citewell-marked-at" not in plain.headers
    for number, status in ((99, 404), (0, 422)):
        asked_for = {"uri": cited["uri"], "number": number}
        assert (
            keyed.client.get("/documents/page", params=asked_for, headers=key).status_code == status
        )


def test_pages_of_a_file_that_has_changed_since_are_not_drawn(
    pipeline: Pipeline, folder: Path
) -> None:
    path = folder / "report.pdf"
    path.write_bytes((ROOT / "pipelines/sample/annual-report-2025.pdf").read_bytes())
    pipeline.ingest(folder)
    with running(pipeline) as server:
        params: dict[str, Any] = {"uri": path.as_uri(), "number": 1}
        assert server.client.get("/documents/page", params=params).status_code == 200
        path.write_bytes(b"%PDF-1.4 another one, that nobody may see")
        assert server.client.get("/documents/page", params=params).status_code == 404
        assert (
            server.client.get("/documents/source", params={"uri": path.as_uri()}).json()["pictures"]
            is False
        )


# -- who may -------------------------------------------------------------------------------


def test_a_key_opens_its_namespace_and_no_other(keyed: Server) -> None:
    one, other = keyed.bearer("one", "acme"), keyed.bearer("other", "globex")
    keyed.upload("a.md", b"# Plan\n\nThe secret colour of Acme is teal.", one)
    keyed.upload("b.md", b"# Plan\n\nThe secret colour of Globex is vermilion.", other)
    question = {"question": "What is the secret colour?"}
    mine = keyed.client.post("/ask", json=question, headers=one).json()
    theirs = keyed.client.post("/ask", json=question, headers=other).json()
    assert "teal" in mine["text"] and "vermilion" in theirs["text"]
    assert "teal" not in json.dumps(theirs) and "vermilion" not in json.dumps(mine)
    forged = {
        **other, "X-Namespace": "acme", "namespace": "acme", "X-Citewell-Namespace": "acme"
    }  # fmt: skip
    for params in ({}, {"namespace": "acme"}):
        for body in (question, {**question, "namespace": "acme"}, {**question, "index": "../acme"}):
            said = keyed.client.post("/ask", json=body, headers=forged, params=params)
            assert "teal" not in said.text
    everything = {"op": "exists", "field": "uri"}
    hits = keyed.client.post(
        "/search", json={"query": "secret colour", "where": everything}, headers=forged
    )
    assert "teal" not in hits.text
    for uri in ("upload:///a.md", "../namespaces/acme/uploads", "file:///etc/passwd"):
        found = keyed.client.get("/documents/source", params={"uri": uri}, headers=other)
        assert found.status_code == 404
    job = keyed.client.get("/jobs", headers=one).json()["jobs"][0]["id"]
    assert keyed.client.get(f"/jobs/{job}", headers=other).status_code == 404


def test_without_a_key_nothing_is_told(keyed: Server) -> None:
    paths = keyed.client.get("/openapi.json").json()["paths"]
    open_to_all = {"/healthz"}
    for path, methods in paths.items():
        for method in methods:
            for headers in (
                {},
                {"Authorization": "Bearer cw-wrong"},
                {"Authorization": "Basic eDp5"},
            ):
                url = path.replace("{id}", "x").replace("{model}", "x")
                answered = keyed.client.request(method.upper(), url, headers=headers, json={})
                if path in open_to_all:
                    assert answered.status_code == 200
                else:
                    assert answered.status_code == 401, (method, path, answered.text)
                    assert answered.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_is_refused_at_once_and_keys_are_not_stored(keyed: Server) -> None:
    key = keyed.bearer("a")
    assert keyed.client.get("/documents", headers=key).status_code == 200
    assert keyed.keys is not None
    secret = key["Authorization"].removeprefix("Bearer ")
    assert secret.encode() not in keyed.keys.path.read_bytes()
    assert keyed.keys.path.stat().st_mode & 0o077 == 0
    assert keyed.keys.revoke("a")
    assert keyed.client.get("/documents", headers=key).status_code == 401


def test_other_sites_and_other_names_are_refused(server: Server) -> None:
    evil = {"Origin": "https://evil.example"}
    assert server.client.post("/ask", json={"question": "x"}, headers=evil).status_code == 403
    sent = server.client.post("/documents", files={"files": ("a.txt", b"x")}, headers=evil)
    assert sent.status_code == 403
    assert server.client.get("/documents", headers={"Host": "evil.example"}).status_code == 403
    own = {"Origin": server.url}
    assert server.client.post("/search", json={"query": "x"}, headers=own).status_code == 200
    assert "access-control-allow-origin" not in server.client.get("/documents", headers=own).headers
    assert (
        server.client.options(
            "/ask", headers={**evil, "Access-Control-Request-Method": "POST"}
        ).status_code
        == 403
    )


def test_origins_that_are_allowed_may_ask(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    with running(pipeline, options=Options(origins=("https://app.example",))) as server:
        allowed = {"Origin": "https://app.example"}
        found = server.client.get("/documents", headers=allowed)
        assert found.headers["access-control-allow-origin"] == "https://app.example"
        other = server.client.get("/documents", headers={"Origin": "https://evil.example"})
        assert other.status_code == 403 and "access-control-allow-origin" not in other.headers


def test_every_response_has_its_headers(server: Server) -> None:
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


# -- how much ------------------------------------------------------------------------------


def test_bodies_that_are_too_large_are_refused_whatever_they_say(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    options = Options(body_bytes=2_000, upload_bytes=5_000)
    with running(pipeline, options=options) as server:
        long = {"question": "x" * 3_000}
        told = server.client.post("/ask", json=long)
        assert told.status_code == 413 and told.json()["error"]["code"] == "too_large"

        def untold() -> Any:
            for _ in range(100):
                yield b"x" * 1_000

        headers = {"content-type": "application/json"}
        chunked = server.client.post("/ask", content=untold(), headers=headers)
        assert chunked.status_code == 413
        sent = server.client.post("/documents", files={"files": ("a.txt", b"x" * 6_000)})
        assert sent.status_code == 413
        assert (
            server.client.post("/documents", files={"files": ("a.txt", b"x" * 3_000)}).status_code
            == 202
        )


def test_too_many_requests_are_told_when_to_come_again(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    with running(pipeline, options=Options(rate=60, burst=3)) as server:
        statuses = [server.client.get("/documents").status_code for _ in range(5)]
        assert statuses[:3] == [200, 200, 200] and 429 in statuses
        refused = server.client.get("/documents")
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert server.client.get("/healthz").status_code == 200


# -- running -------------------------------------------------------------------------------


def test_metrics_count_and_name_nobody(keyed: Server) -> None:
    key = keyed.bearer("mallory", "acme")
    keyed.upload("a.md", HANDBOOK.encode(), key)
    keyed.client.post("/ask", json={"question": QUESTION}, headers=key)
    assert keyed.client.get("/metrics", headers=key).status_code == 403
    told = keyed.client.get("/metrics", headers=keyed.bearer("operator")).text
    assert 'citewell_answers_total{status="answered"} 1.0' in told
    assert 'citewell_requests_total{route="/ask",status="200"} 1.0' in told
    assert "citewell_request_seconds_bucket" in told and "citewell_running 0.0" in told
    assert "acme" not in told and "mallory" not in told


def test_a_client_that_hangs_up_stops_the_model(pipeline: Pipeline, folder: Path) -> None:
    begun, closed = threading.Event(), threading.Event()
    pipeline.ingest(folder)

    class Endless(ScriptedChat):
        def _stream(self, messages: Any, **_: Any) -> Any:
            from rag.llm import Delta

            begun.set()
            try:
                while True:
                    yield Delta("word ")
            finally:
                closed.set()

    generator = GroundedGenerator(model=Endless(replies=("x",)))
    with running(pipeline.model_copy(update={"generator": generator})) as server:
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
            begun.clear()
            closed.clear()
            sent = json.dumps(body).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall(head.encode() + sent)
                assert begun.wait(120), body
            assert closed.wait(120), body
        service = server.app.state.service
        told = server.client.get("/metrics").text
        assert "citewell_running 0.0" in told and "citewell_waiting 0.0" in told
        assert all(tenant.users <= 1 for tenant in service.tenants._known.values())


def test_idle_namespaces_are_closed_and_open_again(keyed: Server) -> None:
    keyed.app.state.service.tenants._most = 2
    keys = [keyed.bearer(f"k{i}", f"n{i}") for i in range(4)]
    for i, key in enumerate(keys):
        keyed.upload("a.md", f"The number of this one is {i}{i}{i}.".encode(), key)
    assert keyed.app.state.service.tenants.open_count <= 3
    for i, key in enumerate(keys):
        said = keyed.client.post(
            "/ask", json={"question": "What is the number of this one?"}, headers=key
        )
        assert f"{i}{i}{i}" in said.json()["text"]
    assert keyed.app.state.service.tenants.open_count <= 3


def test_the_pages_own_files_are_there_and_name_no_other_host() -> None:
    import re

    for path in (ROOT / "rag/serving/page").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert "innerHTML" not in text and "eval(" not in text


# -- found by others -----------------------------------------------------------------------


def test_strangers_are_refused_before_their_body_is_read(keyed: Server) -> None:
    host, port = keyed.url.removeprefix("http://").split(":")
    head = f"POST /documents HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 90000000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())  # and nothing of the body
        assert b"401" in connection.recv(100)
    wrong = keyed.client.post("/ask", content=b"{bad", headers={"Content-Type": "application/json"})
    assert wrong.status_code == 401


def test_no_header_passes_by_the_rate_limit(rag: Any, tmp_path: Path, folder: Path) -> None:
    """As `rag serve` runs it, which is not how these tests do."""
    import subprocess
    import sys

    command = [str(Path(sys.executable).with_name("rag")), "serve", "--index", str(tmp_path / "i")]
    rag("ingest", str(folder), "--index", str(tmp_path / "i"))
    rag("keys", "add", "a", "--index", str(tmp_path / "i"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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


def test_a_port_in_use_is_said_plainly(rag: Any, server: Server, folder: Path) -> None:
    rag("ingest", str(folder))
    ran = rag("serve", "--port", server.url.rpartition(":")[2])
    assert ran.code == 2 and "cannot listen on 127.0.0.1" in ran.err


async def test_a_stream_that_has_begun_is_not_turned_away(pipeline: Pipeline) -> None:
    import anyio

    from rag.serving.errors import ApiError
    from rag.serving.service import Service

    service = Service(pipeline, None, Options(concurrency=1, waiting=1))

    async def items() -> Any:
        yield 1
        yield 2

    old = service.events(items())
    assert await anext(old) == 1
    async with anyio.create_task_group() as group:
        async with service.slot():
            waiting = service.events(items())
            group.start_soon(anext, waiting)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ApiError, match="waiting"):
                async with service.slot():
                    pass
            found: list[Any] = []

            async def rest() -> None:
                found.append(await anext(old))

            group.start_soon(rest)
            await anyio.wait_all_tasks_blocked()
    assert found == [2]
    await old.aclose()  # type: ignore[attr-defined]
    await waiting.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("begins", [True, False])
async def test_a_stream_is_closed_before_its_lease_is_over(begins: bool) -> None:
    from rag.serving.service import ClosingResponse

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
        if not begins or message["type"] == "http.response.body":
            raise OSError("the client is gone")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    items = source()
    assert await anext(items) == "x"
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET"}
    with pytest.raises(Exception):  # noqa: B017
        await ClosingResponse(body(items), items)(scope, receive, send)
    assert closed == (["body", "source"] if begins else ["source"])


def test_chat_clients_in_browsers_may_ask_where_they_are_allowed(
    pipeline: Pipeline, folder: Path
) -> None:
    from rag.errors import ConfigError
    from rag.serving import create_app

    pipeline.ingest(folder)
    with running(pipeline, options=Options(origins=("https://app.example",))) as server:
        asked = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
        }
        allowed = server.client.options("/v1/chat/completions", headers=asked)
        assert allowed.status_code == 200
        assert "x-stainless-os" in allowed.headers["access-control-allow-headers"]
    with pytest.raises(ConfigError, match="API key"):
        create_app(pipeline, options=Options(origins=("*",)))


def test_a_key_that_is_added_later_closes_the_server(pipeline: Pipeline, folder: Path) -> None:
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


def test_below_a_prefix_it_is_the_same(pipeline: Pipeline, folder: Path) -> None:
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from rag.serving import create_app

    pipeline.ingest(folder)
    outer = FastAPI()
    outer.mount("/docs-of-ours", create_app(pipeline, options=Options(body_bytes=1_000)))
    with TestClient(outer) as client:
        assert client.get("/docs-of-ours/healthz").status_code == 200
        sent = client.post("/docs-of-ours/documents", files={"files": ("a.txt", b"x" * 3_000)})
        assert sent.status_code == 202
        assert client.post("/docs-of-ours/ask", json={"question": "x" * 2_000}).status_code == 413


def test_keys_that_cannot_be_read_are_told_like_any_error(keyed: Server) -> None:
    assert keyed.keys is not None
    keyed.bearer("a")
    keyed.keys.path.write_bytes(b"no database, but as long as one: " * 200)
    asked = keyed.client.get("/documents", headers={"Authorization": "Bearer cw-x"})
    assert asked.status_code == 500 and asked.json()["error"]["code"] == "unusable"
    assert "content-security-policy" in asked.headers
    keyed.keys.path.write_bytes(b"")  # made, and then the power went
    assert keyed.keys.keys() == []
