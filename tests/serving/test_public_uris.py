"""Clients see no path of the server, and can use what they see."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import Pipeline
from rag.serving.public_uris import PublicUris
from tests.serving.conftest import QUESTION, Server, serve_pipeline


@pytest.mark.parametrize(
    ("uris", "public"),
    [
        (["file:///srv/team/docs/a.md"], ["file:///docs/a.md"]),
        (
            ["file:///srv/team/docs/a.md", "file:///srv/team/docs/b/c%20d.md!/x"],
            ["file:///docs/a.md", "file:///docs/b/c%20d.md!/x"],
        ),
        (
            ["file:///home/ann/docs/a.md", "file:///srv/docs/b.md", "file:///srv/x/c.md"],
            ["file:///docs/a.md", "file:///docs-2/b.md", "file:///x/c.md"],
        ),
        (["file:///a.md"], ["file:///a.md"]),
        (["file:///C:/Users/ann/docs/a.md"], ["file:///docs/a.md"]),
        (["upload:///a.md", "https://a.example/b"], ["upload:///a.md", "https://a.example/b"]),
    ],
)
def test_the_common_folder_is_hidden(uris: list[str], public: list[str]) -> None:
    public_uris = PublicUris(uris)
    assert [public_uris.hide(uri) for uri in uris] == public
    assert [public_uris.resolve(uri) for uri in public] == uris
    assert [public_uris.resolve(uri) for uri in uris] == uris


NAMES = st.sampled_from(["docs", "a", "b c", "ä", "docs-2", "x"])


@given(st.lists(st.lists(NAMES, min_size=1, max_size=5), min_size=1, max_size=8))
def test_each_document_has_one_public_spelling(paths: list[list[str]]) -> None:
    uris = sorted({Path("/", *parts, "file.md").as_uri() for parts in paths})
    public_uris = PublicUris(uris)
    public = [public_uris.hide(uri) for uri in uris]
    assert len(set(public)) == len(uris)
    assert [public_uris.resolve(uri) for uri in public] == uris


def test_a_spelling_from_before_another_folder_was_indexed_is_understood() -> None:
    public_uris = PublicUris(["file:///srv/team/docs/a.md", "file:///srv/team/mail/b.eml"])
    assert public_uris.hide("file:///srv/team/docs/a.md") == "file:///team/docs/a.md"
    assert public_uris.resolve("file:///docs/a.md") == "file:///srv/team/docs/a.md"


@pytest.fixture
def hiding_server(pipeline: Pipeline, folder: Path) -> Server:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    pipeline.ingest(folder)
    with serve_pipeline(pipeline) as server:
        yield server  # type: ignore[misc]


def test_no_reply_has_a_path_of_the_server(hiding_server: Server, tmp_path: Path) -> None:
    client = hiding_server.client
    body = {"question": QUESTION, "conversation": "c"}
    replies: list[httpx.Response] = [
        client.post("/ask", json=body),
        client.post("/ask", json={**body, "stream": True}),
        client.post("/search", json={"query": "battery"}),
        client.get("/documents"),
        client.get("/conversation", params={"name": "c"}),
        client.get("/conversation/export", params={"name": "c"}),
        client.get("/conversation/export", params={"name": "c", "format": "json"}),
        client.get("/settings"),
        client.post(
            "/v1/chat/completions",
            json={"model": "citewell", "messages": [{"role": "user", "content": QUESTION}]},
        ),
        client.post("/v1/responses", json={"model": "citewell", "input": QUESTION}),
        client.post("/v1/responses", json={"model": "citewell", "input": QUESTION, "stream": True}),
    ]
    for reply in replies:
        assert reply.status_code == 200, reply.text
        assert str(tmp_path) not in reply.text, reply.request.url
    uri = replies[0].json()["citations"][0]["uri"]
    assert uri == "file:///docs/handbook.md"


def test_what_clients_see_can_be_used(hiding_server: Server, tmp_path: Path) -> None:
    client = hiding_server.client
    uri = {"uri": "file:///docs/handbook.md"}
    assert "34 minutes" in client.get("/documents/source", params=uri).json()["text"]
    facts = client.get("/documents/info", params=uri).json()
    assert facts["uri"] == uri["uri"] and "Battery" in facts["headings"]
    for where in (
        uri,
        {"field": "uri", "op": "startswith", "value": "file:///docs/hand"},
        {"and": [{"uri": ["file:///docs/handbook.md"]}]},
        {"uri": (tmp_path / "docs" / "handbook.md").as_uri()},
    ):
        hits = client.post("/search", json={"query": "kite", "where": where}).json()["hits"]
        assert {hit["chunk"]["uri"] for hit in hits} == {uri["uri"]}, json.dumps(where)
    assert client.delete("/documents", params=uri).json() == {"deleted": 1}
    assert client.get("/documents/source", params=uri).status_code == 404


def test_errors_name_a_document_as_the_client_did(hiding_server: Server, tmp_path: Path) -> None:
    for uri in ("nope.md", "../x", "~/x", "file:///docs/nope.md", "file:///docs/%", "x" * 3_000):
        for path in ("info", "source", "page"):
            parameters = {"uri": uri, "number": 1}
            reply = hiding_server.client.get(f"/documents/{path}", params=parameters)
            assert reply.status_code == 404
            for hidden in (str(tmp_path), str(Path.cwd()), str(Path.home())):
                assert hidden not in reply.text, (path, uri)


def test_filters_do_not_tell_the_path(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "kites.zip", "w") as archive:
        archive.writestr("inner.md", "# Inner\n\nThe inner battery lasts 5 minutes.\n")
    pipeline.ingest(folder)
    with serve_pipeline(pipeline) as server:

        def count(where: object) -> int:
            body = {"query": "battery", "where": where}
            return len(server.client.post("/search", json=body).json()["hits"])

        hidden = folder.as_uri()
        for field in ("uri", "part_of", "URI"):
            for op, value in (
                ("startswith", hidden[:9]),
                ("startswith", hidden),
                ("contains", str(folder.parent)),
                ("contains", f"{tmp_path.name}/"),
            ):
                assert count({"field": field, "op": op, "value": value}) == 0, (field, op, value)
        document = folder / "handbook.md"
        for path in (
            str(document),
            os.path.relpath(document),
            f"~/{os.path.relpath(document, Path.home())}",
        ):
            assert count({"uri": path}) == 0
            assert count({"field": "uri", "op": "startswith", "value": path}) == 0
        assert count({"field": "uri", "op": "startswith", "value": "file:///docs/"}) > 0
        assert count({"field": "uri", "op": "contains", "value": "/docs/"}) > 0
        assert count({"not": {"field": "uri", "op": "startswith", "value": hidden}}) > 0
        inner = {"field": "part_of", "op": "==", "value": "file:///docs/kites.zip"}
        assert count(inner) == 1
        reply = server.client.post("/search", json={"query": "inner battery"})
        assert "file:///docs/kites.zip" in reply.text and str(tmp_path) not in reply.text
