from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag import Pipeline
from rag.serving import Options
from tests.serving.conftest import Server, serve_pipeline


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


@pytest.mark.parametrize(
    ("site", "mode", "code"),
    [
        ("cross-site", "no-cors", 403),  # <img src="http://localhost:8000/documents">
        ("same-site", "no-cors", 403),  # of a page on another port
        ("cross-site", "navigate", 200),  # a link
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ],
)
def test_other_sites_cannot_embed_replies(server: Server, site: str, mode: str, code: int) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    assert server.client.get("/documents", headers=headers).status_code == code


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


def test_a_damaged_key_store_is_an_error_in_the_usual_format(keyed_server: Server) -> None:
    assert keyed_server.keys is not None
    keyed_server.bearer("a")
    keyed_server.keys.path.write_bytes(b"not a database, but as long as one: " * 200)
    response = keyed_server.client.get("/documents", headers={"Authorization": "Bearer cw-x"})
    assert response.status_code == 500 and response.json()["error"]["code"] == "unusable"
    assert "content-security-policy" in response.headers
    keyed_server.keys.path.write_bytes(b"")  # as after a power failure during creation
    assert keyed_server.keys.keys() == []
