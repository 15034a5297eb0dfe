from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters

from rag import Pipeline
from rag.serving.keys import KeyStore
from rag.serving.mcp import DocumentServer, mcp_app
from tests.serving.conftest import listening

QUESTION = "How long does a full battery last?"


@pytest.fixture
def filled(pipeline: Pipeline, folder: Path) -> Pipeline:
    pipeline.ingest(folder)
    return pipeline


async def test_the_sdks_client_over_stdio(folder: Path, tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("rag"))
    server = StdioServerParameters(
        command=command, args=["mcp", "--index", str(tmp_path / "i"), "--root", str(folder)]
    )
    async with Client(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"search", "ask", "read_source", "ingest"}
        assert tools["ask"].annotations is not None and tools["ask"].annotations.read_only_hint
        empty = await client.call_tool("ask", {"question": QUESTION})
        assert empty.is_error and "nothing has been ingested" in empty.content[0].text  # type: ignore[union-attr]
        done = await client.call_tool("ingest", {"path": str(folder)})
        assert done.structured_content == {
            "added": 2, "updated": 0, "unchanged": 0, "deleted": 0, "failed": []
        }  # fmt: skip
        answer: Any = (await client.call_tool("ask", {"question": QUESTION})).structured_content
        (cited,) = answer["citations"]
        assert cited["verified"] and "34 minutes" in cited["quote"]
        span = {name: cited[name] for name in ("uri", "start", "end")}
        read: Any = (await client.call_tool("read_source", span)).structured_content
        assert read["text"] == cited["quote"]
        resources = (await client.list_resources()).resources
        assert {str(each.uri).rpartition("/")[2] for each in resources} == {
            "handbook.md",
            "notes.txt",
        }
        text = await client.read_resource(str(resources[0].uri))
        assert "Kite 4" in text.contents[0].text  # type: ignore[union-attr]


async def test_the_tools_in_process(filled: Pipeline) -> None:
    async with Client(DocumentServer(filled)) as client:
        assert "ingest" not in {tool.name for tool in (await client.list_tools()).tools}
        found: Any = (
            await client.call_tool("search", {"query": "propellers", "k": 1})
        ).structured_content
        (passage,) = found["passages"]
        text = filled.document(passage["uri"]).text
        assert text[passage["start"] : passage["end"]] == passage["text"]
        only = {"query": "kite", "where": {"field": "title", "op": "==", "value": "notes.txt"}}
        found = (await client.call_tool("search", only)).structured_content
        assert {each["title"] for each in found["passages"]} == {"notes.txt"}
        none: Any = (
            await client.call_tool("ask", {"question": "Who wrote Faust?"})
        ).structured_content
        assert none["status"] == "abstained" and none["reason"]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search", {"query": ""}, "empty"),
        ("search", {"query": "x", "k": 10_000}, "k is from"),
        ("search", {"query": "x", "where": {"field": "a", "op": "~"}}, "op"),
        ("read_source", {"uri": "file:///etc/passwd"}, "no document"),
        ("read_source", {"uri": "x", "start": "a"}, "start"),
        ("ask", {}, "question"),
    ],
)
async def test_wrong_calls_are_told(
    filled: Pipeline, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with Client(DocumentServer(filled)) as client:
        result = await client.call_tool(tool, arguments)
        assert result.is_error and said in result.content[0].text  # type: ignore[union-attr]


async def test_a_span_that_is_none_is_told(filled: Pipeline) -> None:
    uri = filled.open().document_store.uris()[0]
    async with Client(DocumentServer(filled)) as client:
        for start, end in ((5, 2), (-1, 3), (10**9, None)):
            result = await client.call_tool("read_source", {"uri": uri, "start": start, "end": end})
            assert result.is_error
        with pytest.raises(Exception, match="no document"):
            await client.read_resource("file:///etc/passwd")


async def test_ingest_stays_below_its_roots(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "a.txt").write_text("The code is 1234.")
    (folder / "way").symlink_to(outside)
    async with Client(DocumentServer(pipeline, roots=[folder])) as client:
        for path in (
            str(outside), "..", "../secret", "way", f"{folder}/../secret", "/", "/etc/passwd",
            outside.as_uri(), "https://example.org/", "git+file:///x", "\0", "~",
        ):  # fmt: skip
            result = await client.call_tool("ingest", {"path": path})
            assert result.is_error, path
        assert not (await client.call_tool("ingest", {"path": "notes.txt"})).is_error
        assert not (await client.call_tool("ingest", {"path": "."})).is_error
        found: Any = (await client.call_tool("search", {"query": "code 1234"})).structured_content
        assert "1234" not in str(found)


async def test_progress_of_an_ingest_is_told(pipeline: Pipeline, folder: Path) -> None:
    told: list[tuple[float, float | None]] = []

    async def noted(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    async with Client(DocumentServer(pipeline, roots=[folder])) as client:
        await client.call_tool("ingest", {"path": "."}, progress_callback=noted)
    assert told and told[-1][0] == 2


async def test_http_wants_a_key_of_its_namespace(filled: Pipeline) -> None:
    from mcp.client.streamable_http import streamable_http_client

    keys = KeyStore(filled.index / "keys.sqlite")
    mine, other = keys.add("mine"), keys.add("other", "elsewhere")
    with listening(mcp_app(DocumentServer(filled), keys=keys)) as address:
        url = f"{address}/mcp"
        for headers in ({}, {"Authorization": f"Bearer {other}"}, {"Authorization": "Bearer x"}):
            refused = httpx.post(url, json={}, headers=headers)
            assert refused.status_code == 401
        with_key = httpx.AsyncClient(headers={"Authorization": f"Bearer {mine}"})
        async with with_key, Client(streamable_http_client(url, http_client=with_key)) as client:
            answer: Any = (await client.call_tool("ask", {"question": QUESTION})).structured_content
            assert answer["citations"][0]["verified"]


async def test_http_answers_under_its_own_name_only(filled: Pipeline) -> None:
    with listening(mcp_app(DocumentServer(filled))) as address:
        url = f"{address}/mcp"
        async with Client(url) as client:
            assert (await client.list_tools()).tools
        accepts = {"Accept": "application/json, text/event-stream"}
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        for wrong in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            sent = httpx.post(url, json=ping, headers={**accepts, **wrong})
            assert sent.status_code in (403, 421)


def test_it_is_not_open_to_other_machines_without_a_key(
    rag: Callable[..., Any], folder: Path
) -> None:
    rag("ingest", str(folder))
    for command in (["mcp", "--http"], ["serve"]):
        ran = rag(*command, "--host", "0.0.0.0", "--port", "1")
        assert ran.code == 2 and "rag keys add" in ran.err
