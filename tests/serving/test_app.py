from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
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


# -- OpenAI's API --------------------------------------------------------------------------


def test_the_official_client_chats(server: Server, pipeline: Pipeline) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    assert [model.id for model in client.models.list()] == ["citewell"]
    assert client.models.retrieve("static").id == "static"
    assert client.models.retrieve("citewell").owned_by == "citewell"
    done = client.chat.completions.create(
        model="citewell", messages=[{"role": "user", "content": QUESTION}], temperature=0.2
    )
    message: Any = done.choices[0].message
    assert "34 minutes" in message.content and done.choices[0].finish_reason == "stop"
    (cited,) = message.citewell["citations"]
    text = pipeline.document(cited["uri"]).text
    assert text[cited["start"] : cited["end"]] == cited["quote"] and cited["verified"]


def test_the_official_client_streams(pipeline: Pipeline, folder: Path) -> None:
    model = ScriptedChat(replies=(REPLY,))
    pipeline.ingest(folder)
    made = pipeline.model_copy(update={"generator": GroundedGenerator(model=model)})
    with running(made) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
        stream = client.chat.completions.create(
            model="citewell",
            messages=[{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len([text for text in said if text]) > 3 and "".join(said) == REPLY
    last: Any = next(c for c in chunks if c.choices and c.choices[0].finish_reason == "stop")
    assert last.choices[0].delta.citewell["citations"][0]["verified"]
    assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens > 10


def test_a_conversation_of_a_chat_client_is_understood(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    done = client.chat.completions.create(
        model="citewell",
        messages=[
            {"role": "system", "content": "Speak like a pirate."},
            {"role": "user", "content": "How long does the battery last?"},
            {"role": "assistant", "content": "34 minutes."},
            {"role": "user", "content": "And how long does charging take?"},
        ],
    )
    assert "90 minutes" in (done.choices[0].message.content or "")


def test_what_openai_does_and_we_do_not_is_refused(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    asked: Any = [{"role": "user", "content": "x"}]
    for more in ({"n": 2}, {"response_format": {"type": "json_object"}}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="citewell", messages=asked, **more)  # type: ignore[call-overload]
    with pytest.raises(openai.NotFoundError, match="no model"):
        client.chat.completions.create(model="gpt-4o", messages=asked)
    picture: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    with pytest.raises(openai.BadRequestError, match="only text"):
        client.chat.completions.create(model="citewell", messages=picture)
    with pytest.raises(openai.BadRequestError, match="last message"):
        client.chat.completions.create(
            model="citewell", messages=[{"role": "assistant", "content": "x"}]
        )
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="citewell", messages=[])


def test_the_official_client_embeds(server: Server, pipeline: Pipeline) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    texts = ["a heron", "the pier"]
    expected = pipeline.embedder.embed_documents(texts)
    plain = client.embeddings.create(model="static", input=texts, encoding_format="float")
    assert np.allclose([each.embedding for each in plain.data], expected, atol=1e-6)
    usual = client.embeddings.create(model="static", input=texts[0])
    assert np.allclose(usual.data[0].embedding, expected[0], atol=1e-6)
    assert usual.usage.prompt_tokens > 0
    with pytest.raises(openai.BadRequestError, match="256 values"):
        client.embeddings.create(model="static", input="x", dimensions=3)
    tokens = client.embeddings.create(model="static", input=[[64, 568, 2298]])
    assert np.allclose(tokens.data[0].embedding, expected[0], atol=1e-6)


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


def test_an_upload_is_ingested_cited_replaced_and_deleted(keyed: Server) -> None:
    key = keyed.bearer("a", "acme")
    job = keyed.upload("Handbook of Ü.md", HANDBOOK.encode(), key)
    assert (job["state"], job["added"], job["failed"]) == ("done", 1, [])
    answer = keyed.client.post("/ask", json={"question": QUESTION}, headers=key).json()
    (cited,) = answer["citations"]
    assert cited["uri"].startswith("upload:///Handbook") and cited["verified"]
    span = {name: cited[name] for name in ("uri", "start", "end")}
    source = keyed.client.get("/documents/source", params=span, headers=key).json()
    shown = source["text"][cited["start"] - source["offset"] : cited["end"] - source["offset"]]
    assert shown == cited["quote"]
    job = keyed.upload("Handbook of Ü.md", HANDBOOK.replace("34", "35").encode(), key)
    assert job["updated"] == 1
    answer = keyed.client.post("/ask", json={"question": QUESTION}, headers=key).json()
    assert "35 minutes" in answer["text"]
    gone = keyed.client.delete("/documents", params={"uri": cited["uri"]}, headers=key)
    assert gone.json() == {"deleted": 1}
    assert keyed.client.get("/documents", headers=key).json()["total"] == 0
    assert (
        keyed.client.delete("/documents", params={"uri": cited["uri"]}, headers=key).status_code
        == 404
    )


def test_what_cannot_be_read_is_reported(keyed: Server) -> None:
    key = keyed.bearer("a")
    job = keyed.upload("broken.pdf", b"%PDF-1.4 no", key)
    assert job["state"] == "done" and "PDF" in job["failed"][0]["error"]
    failures = keyed.client.get("/documents", headers=key).json()["failures"]
    assert failures[0]["uri"] == "upload:///broken.pdf"
    assert (
        keyed.client.delete(
            "/documents", params={"uri": "upload:///broken.pdf"}, headers=key
        ).status_code
        == 200
    )
    assert keyed.client.get("/documents", headers=key).json()["failures"] == []


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


def test_uploads_of_a_namespace_have_a_bound(pipeline: Pipeline) -> None:
    with running(pipeline, options=Options(namespace_bytes=100, rate=1e9, burst=10**9)) as server:
        assert server.upload("a.txt", b"x" * 60)["state"] == "done"
        more = server.client.post("/documents", files={"files": ("b.txt", b"x" * 60)})
        assert (more.status_code, more.json()["error"]["code"]) == (413, "quota_exceeded")


def test_too_many_requests_are_told_when_to_come_again(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    with running(pipeline, options=Options(rate=60, burst=3)) as server:
        statuses = [server.client.get("/documents").status_code for _ in range(5)]
        assert statuses[:3] == [200, 200, 200] and 429 in statuses
        refused = server.client.get("/documents")
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.txt",
        "/etc/passwd",
        "..\\..\\evil.txt",
        "a/../../b.txt",
        "%2e%2e%2fevil.txt",
        "con\u202etxt.exe",
    ],
)
def test_names_of_files_lead_nowhere(server: Server, pipeline: Pipeline, name: str) -> None:
    before = {p for p in pipeline.index.parent.rglob("*") if pipeline.index not in p.parents}
    sent = server.client.post("/documents", files={"files": (name, b"Some words of text.")})
    assert sent.status_code in (202, 400)
    if sent.status_code == 202:
        (kept,) = sent.json()["files"]
        assert "/" not in kept and "\\" not in kept
    after = {p for p in pipeline.index.parent.rglob("*") if pipeline.index not in p.parents}
    assert after == before


def test_files_without_a_name_or_with_the_same_are_refused(server: Server) -> None:
    for files in (
        [("files", ("..", b"x"))],
        [("files", ("a.txt", b"x")), ("files", ("b/a.txt", b"y"))],
        [("files", ("n" * 300, b"x"))],
    ):
        refused = server.client.post("/documents", files=files)
        assert refused.status_code == 400, refused.text


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


def test_another_writer_is_told_apart(server: Server, pipeline: Pipeline) -> None:
    with pipeline.open().writing():
        gone = server.client.delete("/documents", params={"uri": "file:///x"})
        assert (gone.status_code, gone.json()["error"]["code"]) == (409, "index_locked")
        sent = server.client.post("/documents", files={"files": ("a.txt", b"x y z")}).json()
        while (job := server.client.get(f"/jobs/{sent['id']}").json())["state"] in (
            "waiting",
            "running",
        ):
            pass
        assert job["state"] == "failed" and "another process is writing" in job["error"]


def test_the_pages_own_files_are_there_and_name_no_other_host() -> None:
    import re

    for path in (ROOT / "rag/serving/page").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert "innerHTML" not in text and "eval(" not in text


def test_the_client_may_go_away_during_an_upload(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST /documents HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        'Content-Disposition: form-data; name="files"; filename="half.txt"\r\n\r\nhalf of it'
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
    assert server.client.get("/documents").json()["total"] == 2
    assert not httpx.get(f"{server.url}/jobs").json()["jobs"]


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


def test_one_name_at_once_has_one_whole_content(keyed: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    key = keyed.bearer("a")
    texts = [f"The number of this file is {i}{i}{i}{i}. ".encode() * (i + 1) * 50 for i in range(8)]

    def send(text: bytes) -> int:
        return httpx.post(
            f"{keyed.url}/documents", files={"files": ("a.txt", text)}, headers=key, timeout=60
        ).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(send, texts * 3)) == {202}
    jobs = keyed.client.get("/jobs", headers=key).json()["jobs"]
    while any(job["state"] in ("waiting", "running") for job in jobs):
        jobs = keyed.client.get("/jobs", headers=key).json()["jobs"]
    assert {job["state"] for job in jobs} == {"done"}
    source = keyed.client.get(
        "/documents/source", params={"uri": "upload:///a.txt"}, headers=key
    ).json()
    tenant = keyed.app.state.service.tenants._known[""]
    (upload,) = tenant.uploads.uploads()
    assert source["text"].encode() == tenant.uploads.read(upload.digest)
    assert len(list(tenant.uploads.folder.iterdir())) <= 1 + len(texts)  # until the next job


def test_what_was_accepted_is_ingested_after_a_restart(pipeline: Pipeline) -> None:
    from rag.serving.uploads import UploadStore

    with running(pipeline) as server:
        server.upload("a.txt", b"The heron is grey.")
    store = UploadStore(pipeline.index / "uploads")
    import io

    store.keep(
        [store.stage("b.txt", io.BytesIO(b"The kingfisher is blue."))]
    )  # and then the power went
    store.stage("c.txt", io.BytesIO(b"half of it"))
    with running(pipeline.model_copy()) as server:
        jobs = server.client.get("/jobs").json()["jobs"]
        assert [job["files"] for job in jobs] == [["b.txt"]]
        while (job := server.client.get(f"/jobs/{jobs[0]['id']}").json())["state"] in (
            "waiting",
            "running",
        ):
            pass
        assert job["added"] == 1
        assert server.client.get("/documents").json()["total"] == 2
    assert not list(store.folder.glob("*.partial"))


def test_a_part_of_an_upload_is_not_deleted_by_itself(server: Server) -> None:
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "One heron.")
        archive.writestr("b.txt", "Two herons.")
    server.upload("t.zip", out.getvalue())
    refused = server.client.delete("/documents", params={"uri": "upload:///t.zip!/a.txt"})
    assert refused.status_code == 400
    assert server.client.delete("/documents", params={"uri": "upload:///"}).json() == {"deleted": 2}
    folder = server.app.state.service.tenants._known[""].uploads.folder
    assert not list(folder.iterdir())


def test_uploads_that_are_refused_change_nothing(pipeline: Pipeline) -> None:
    with running(pipeline, options=Options(namespace_bytes=1_000, rate=1e9, burst=10**9)) as server:
        from concurrent.futures import ThreadPoolExecutor

        def send(i: int) -> int:
            files = {"files": (f"{i}.txt", b"word " * 120)}
            return httpx.post(f"{server.url}/documents", files=files, timeout=60).status_code

        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(send, range(8)))
        assert sorted(statuses) == [202] + [413] * 7
        again = server.client.post(
            "/documents", files={"files": (f"{statuses.index(202)}.txt", b"x" * 900)}
        )
        assert again.status_code == 202  # in place of what it replaces
        store = server.app.state.service.tenants._known[""].uploads
        assert sum(upload.size for upload in store.uploads()) == 900
        assert not list(store.folder.glob("*.partial"))


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


def test_jobs_are_told_after_their_namespace_was_closed(keyed: Server) -> None:
    keyed.app.state.service.tenants._most = 1
    keys = [keyed.bearer(f"k{i}", f"n{i}") for i in range(3)]
    job = keyed.upload("a.md", b"Some words.", keys[0])
    for key in keys[1:]:
        keyed.upload("a.md", b"Some words.", key)
    assert keyed.client.get(f"/jobs/{job['id']}", headers=keys[0]).json()["state"] == "done"


def test_what_chat_clients_send_besides_is_understood(server: Server) -> None:
    body = {
        "model": "citewell",
        "stream": None,
        "stream_options": None,
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": QUESTION},
            {"role": "system", "content": "Be brief."},
        ],
    }
    sent = server.client.post("/v1/chat/completions", json=body)
    assert (
        sent.status_code == 200 and "34 minutes" in sent.json()["choices"][0]["message"]["content"]
    )
    vectors = {"model": "static", "input": "x", "encoding_format": None, "dimensions": None}
    assert server.client.post("/v1/embeddings", json=vectors).status_code == 200
    assert (
        server.client.post(
            "/ask", content=b"{", headers={"Content-Type": "application/json"}
        ).json()["error"]["message"]
        == "the body is not JSON"
    )


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
