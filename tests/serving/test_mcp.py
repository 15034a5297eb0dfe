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
from tests.serving.conftest import QUESTION, serve_app


@pytest.fixture
def filled_pipeline(pipeline: Pipeline, folder: Path) -> Pipeline:
    pipeline.ingest(folder)
    return pipeline


async def test_the_official_client_uses_all_tools_over_stdio(folder: Path, tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("rag"))
    server = StdioServerParameters(
        command=command, args=["mcp", "--index", str(tmp_path / "i"), "--root", str(folder)]
    )
    async with Client(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"search", "ask", "read_source", "ingest"}
        assert tools["ask"].annotations is not None and tools["ask"].annotations.read_only_hint
        refusal = await client.call_tool("ask", {"question": QUESTION})
        assert refusal.is_error and "nothing has been ingested" in refusal.content[0].text  # type: ignore[union-attr]
        report = await client.call_tool("ingest", {"path": str(folder)})
        assert report.structured_content == {
            "added": 2, "updated": 0, "unchanged": 0, "deleted": 0, "failed": []
        }  # fmt: skip
        answer: Any = (await client.call_tool("ask", {"question": QUESTION})).structured_content
        (citation,) = answer["citations"]
        assert citation["verified"] and "34 minutes" in citation["quote"]
        span = {name: citation[name] for name in ("uri", "start", "end")}
        source: Any = (await client.call_tool("read_source", span)).structured_content
        assert source["text"] == citation["quote"]
        resources = (await client.list_resources()).resources
        assert {str(resource.uri).rpartition("/")[2] for resource in resources} == {
            "handbook.md",
            "notes.txt",
        }
        text = await client.read_resource(str(resources[0].uri))
        assert "Kite 4" in text.contents[0].text  # type: ignore[union-attr]


async def test_search_filters_and_ask_abstains(filled_pipeline: Pipeline) -> None:
    async with Client(DocumentServer(filled_pipeline)) as client:
        assert "ingest" not in {tool.name for tool in (await client.list_tools()).tools}
        result: Any = (
            await client.call_tool("search", {"query": "propellers", "k": 1})
        ).structured_content
        (passage,) = result["passages"]
        text = filled_pipeline.document(passage["uri"]).text
        assert text[passage["start"] : passage["end"]] == passage["text"]
        query = {"query": "kite", "where": {"field": "title", "op": "==", "value": "notes.txt"}}
        result = (await client.call_tool("search", query)).structured_content
        assert {passage["title"] for passage in result["passages"]} == {"notes.txt"}
        answer: Any = (
            await client.call_tool("ask", {"question": "Who wrote Faust?"})
        ).structured_content
        assert answer["status"] == "abstained" and answer["reason"]


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search", {"query": ""}, "empty"),
        ("search", {"query": "x", "k": 10_000}, "k must be from"),
        ("search", {"query": "x", "where": {"field": "a", "op": "~"}}, "op"),
        ("read_source", {"uri": "file:///etc/passwd"}, "no document"),
        ("read_source", {"uri": "x", "start": "a"}, "start"),
        ("ask", {}, "question"),
    ],
)
async def test_wrong_arguments_are_reported_as_tool_errors(
    filled_pipeline: Pipeline, tool: str, arguments: dict[str, Any], message: str
) -> None:
    async with Client(DocumentServer(filled_pipeline)) as client:
        result = await client.call_tool(tool, arguments)
        assert result.is_error and message in result.content[0].text  # type: ignore[union-attr]


async def test_invalid_spans_are_reported_as_tool_errors(filled_pipeline: Pipeline) -> None:
    uri = filled_pipeline.open().document_store.uris()[0]
    async with Client(DocumentServer(filled_pipeline)) as client:
        for start, end in ((5, 2), (-1, 3), (10**9, None)):
            result = await client.call_tool("read_source", {"uri": uri, "start": start, "end": end})
            assert result.is_error
        with pytest.raises(Exception, match="no document"):
            await client.read_resource("file:///etc/passwd")


async def test_ingest_reads_only_below_its_roots(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "a.txt").write_text("The code is 1234.")
    (folder / "link").symlink_to(outside)
    async with Client(DocumentServer(pipeline, roots=[folder])) as client:
        for path in (
            str(outside), "..", "../secret", "link", f"{folder}/../secret", "/", "/etc/passwd",
            outside.as_uri(), "https://example.org/", "git+file:///x", "\0", "~",
        ):  # fmt: skip
            result = await client.call_tool("ingest", {"path": path})
            assert result.is_error, path
        assert not (await client.call_tool("ingest", {"path": "notes.txt"})).is_error
        assert not (await client.call_tool("ingest", {"path": "."})).is_error
        result = await client.call_tool("search", {"query": "code 1234"})
        assert "1234" not in str(result.structured_content)


async def test_ingest_reports_its_progress(pipeline: Pipeline, folder: Path) -> None:
    reports: list[tuple[float, float | None]] = []

    async def record_progress(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total))

    async with Client(DocumentServer(pipeline, roots=[folder])) as client:
        await client.call_tool("ingest", {"path": "."}, progress_callback=record_progress)
    assert reports and reports[-1][0] == 2


async def test_http_requires_a_key_of_the_namespace(filled_pipeline: Pipeline) -> None:
    from mcp.client.streamable_http import streamable_http_client

    keys = KeyStore(filled_pipeline.index / "keys.sqlite")
    key, foreign_key = keys.add("mine"), keys.add("other", "elsewhere")
    with serve_app(mcp_app(DocumentServer(filled_pipeline), keys=keys)) as address:
        url = f"{address}/mcp"
        for headers in (
            {},
            {"Authorization": f"Bearer {foreign_key}"},
            {"Authorization": "Bearer x"},
        ):
            response = httpx.post(url, json={}, headers=headers)
            assert response.status_code == 401
        http_client = httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"})
        async with (
            http_client,
            Client(streamable_http_client(url, http_client=http_client)) as client,
        ):
            answer: Any = (await client.call_tool("ask", {"question": QUESTION})).structured_content
            assert answer["citations"][0]["verified"]


async def test_http_refuses_other_host_names_and_origins(filled_pipeline: Pipeline) -> None:
    with serve_app(mcp_app(DocumentServer(filled_pipeline))) as address:
        url = f"{address}/mcp"
        async with Client(url) as client:
            assert (await client.list_tools()).tools
        accept_headers = {"Accept": "application/json, text/event-stream"}
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        foreign: list[dict[str, str]] = [
            {"Host": "evil.example"},
            {"Origin": "https://evil.example"},
            {"Origin": "http://localhost:1"},  # another program of this machine
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        ]
        for foreign_headers in foreign:
            response = httpx.post(url, json=ping, headers={**accept_headers, **foreign_headers})
            assert response.status_code in (403, 421)
        own = httpx.post(url, json=ping, headers={**accept_headers, "Origin": address})
        assert own.status_code not in (403, 421)


def test_other_hosts_than_loopback_require_a_key(rag: Callable[..., Any], folder: Path) -> None:
    rag("ingest", str(folder))
    for command in (["mcp", "--http"], ["serve"]):
        result = rag(*command, "--host", "0.0.0.0", "--port", "1")
        assert result.code == 2 and "rag keys add" in result.err
