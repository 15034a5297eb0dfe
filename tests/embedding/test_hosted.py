"""Embedders over real HTTP, against a server that answers what it is told to."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from rag import Pipeline
from rag.embedding import AzureOpenAIEmbedder, CohereEmbedder, OpenAIEmbedder
from rag.errors import (
    ConfigError,
    EmbeddingError,
    MissingKey,
    ModelAuthError,
    ModelRateLimited,
    ModelUnreachable,
)
from tests.conftest import API_KEY, Script

JSON = {"Content-Type": "application/json"}
KEY = "sk-a-very-secret-key"


def vector(text: str) -> list[float]:
    return [float(len(text)), float(text.count("a")) + 1, 1.0, 0.5]


def embeddings(vectors: list[Any], indices: list[int] | None = None) -> Any:
    data = [
        {"object": "embedding", "index": i, "embedding": vector}
        for i, vector in zip(indices or range(len(vectors)), vectors, strict=True)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    body = {"object": "list", "model": "m", "data": data, "usage": usage}
    return 200, JSON, json.dumps(body).encode()


def openai(url: str, **options: Any) -> OpenAIEmbedder:
    return OpenAIEmbedder.model_validate(
        {"model": "m", "base_url": url, "api_key": SecretStr(KEY), "retries": 0, "concurrency": 1}
        | options
    )


def test_vectors_are_put_in_order(scripted_server: Script) -> None:
    texts = ["a yellow banana", "", "kiwi"]
    scripted_server.replies += [
        embeddings([vector("x")]),
        embeddings([vector("kiwi"), vector(texts[0])], [1, 0]),
    ]
    embedder = openai(scripted_server.url)
    vectors = embedder.embed_documents(texts)
    assert vectors.shape == (3, 4) and not vectors[1].any()
    assert np.allclose(vectors[0], np.array(vector(texts[0])) / np.linalg.norm(vector(texts[0])))
    assert scripted_server.requests[1]["input"] == [texts[0], "kiwi"]
    assert scripted_server.requests[1]["encoding_format"] == "float"
    assert "dimensions" not in scripted_server.requests[1]


def test_texts_are_asked_for_in_batches_with_their_prompts(scripted_server: Script) -> None:
    embedder = openai(
        scripted_server.url, dimensions=2, batch=2, document_prompt="passage: ", query_prompt="q: "
    )
    scripted_server.replies += [
        embeddings([vector("a"), vector("b")]),
        embeddings([vector("c")]),
        embeddings([vector("d")]),
    ]
    vectors = embedder.embed_documents(["aa bb", "b", "c"])
    assert vectors.shape == (3, 2)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    embedder.embed_query("d")
    inputs = [request["input"] for request in scripted_server.requests]
    assert sorted(map(len, inputs[:2])) == [1, 2]
    assert all(text.startswith("passage: ") for text in inputs[0] + inputs[1])
    assert inputs[2] == ["q: d"]


def test_a_request_is_tried_again_when_the_server_says(scripted_server: Script) -> None:
    scripted_server.replies += [
        (429, JSON | {"Retry-After": "0.01"}, b'{"error": {"message": "slow down"}}'),
        (503, JSON | {"Retry-After": "0.01"}, b"{}"),
        embeddings([vector("a")]),
    ]
    embedder = openai(scripted_server.url, retries=2, dimensions=4)
    assert embedder.embed_query("a").shape == (4,)
    assert len(scripted_server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        ((401, JSON, b'{"error": {"message": "bad key"}}'), ModelAuthError, "refused the API key"),
        ((429, JSON, b"{}"), ModelRateLimited, "limits the rate"),
        ((500, JSON, b"{}"), ModelUnreachable, "HTTP 500"),
        (
            (400, JSON, b'{"error": {"message": "too long for sk-a-very-secret-key"}}'),
            EmbeddingError,
            r"too long for \*\*\*",
        ),
        (embeddings([vector("a")], [3]), EmbeddingError, "`index` is not 0 to 0"),
        (embeddings([[1.0, 2.0]]), EmbeddingError, "2 values, not 4"),
    ],
)
def test_what_goes_wrong_is_told(
    scripted_server: Script, reply: Any, error: type[Exception], message: str
) -> None:
    scripted_server.replies.append(reply)
    with pytest.raises(error, match=message) as raised:
        openai(scripted_server.url, dimensions=4).embed_query("a")
    assert KEY not in str(raised.value)


def test_openai_is_asked_for_the_length_and_known(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = OpenAIEmbedder(api_key=SecretStr(KEY), dimensions=256)
    assert (embedder.dimension, embedder.max_tokens) == (256, 8191)
    assert embedder.usd_per_million_tokens == 0.02
    assert OpenAIEmbedder(model="text-embedding-3-large").dimension == 3072
    assert KEY not in Pipeline(embedder=embedder).to_yaml()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        OpenAIEmbedder().embed_query("a")


def test_azure(scripted_server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = base64.b64encode(np.array(vector("a"), dtype="<f4").tobytes()).decode()
    scripted_server.replies.append(embeddings([packed]))
    root = scripted_server.url.removesuffix("/v1")
    embedder = AzureOpenAIEmbedder(
        model="my-deployment", base_url=root, api_key=SecretStr(KEY), dimensions=4, retries=0
    )
    expected = np.array(vector("a")) / np.linalg.norm(vector("a"))
    assert np.allclose(embedder.embed_query("a"), expected)
    assert scripted_server.requests[0]["dimensions"] == 4
    with pytest.raises(MissingKey, match="AZURE_OPENAI_API_KEY"):
        AzureOpenAIEmbedder(base_url=root).embed_query("a")
    with pytest.raises(ConfigError, match="AZURE_OPENAI_ENDPOINT"):
        AzureOpenAIEmbedder(api_key=SecretStr(KEY)).embed_query("a")


def cohere(url: str, **options: Any) -> CohereEmbedder:
    return CohereEmbedder.model_validate(
        {"base_url": url.removesuffix("/v1"), "api_key": SecretStr(KEY), "retries": 0} | options
    )


def sent(vectors: list[list[float]], kind: str = "float") -> Any:
    body = {
        "id": "1",
        "embeddings": {kind: vectors},
        "texts": [],
        "response_type": "embeddings_by_type",
    }
    return 200, JSON, json.dumps(body).encode()


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_cohere_is_told_the_side(scripted_server: Script, precision: str) -> None:
    values = [[3.0, 4.0], [0.0, 2.0]] if precision == "float" else [[60, 80], [0, 127]]
    scripted_server.replies += [sent(values, precision), sent(values[:1], precision)]
    embedder = cohere(scripted_server.url, dimensions=2, precision=precision)
    vectors = embedder.embed_documents(["a", "b"])
    assert np.allclose(vectors, [[0.6, 0.8], [0, 1]])
    assert np.allclose(embedder.embed_query("q"), [0.6, 0.8])
    documents, query = scripted_server.requests
    assert (documents["input_type"], query["input_type"]) == ("search_document", "search_query")
    assert documents["embedding_types"] == [precision]
    assert documents["truncate"] == "NONE"
    assert documents["output_dimension"] == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ModelAuthError),
        (400, EmbeddingError),
        (429, ModelRateLimited),
        (502, ModelUnreachable),
    ],
)
def test_what_goes_wrong_with_cohere_is_told(
    scripted_server: Script, status: int, error: type[Exception]
) -> None:
    scripted_server.replies.append((status, JSON, json.dumps({"message": f"no {KEY}"}).encode()))
    with pytest.raises(error) as raised:
        cohere(scripted_server.url, dimensions=2).embed_query("a")
    assert KEY not in str(raised.value)


def test_cohere_without_a_key() -> None:
    assert CohereEmbedder().dimension == 1536
    with pytest.raises(MissingKey, match="COHERE_API_KEY"):
        CohereEmbedder().embed_query("a")


@pytest.mark.slow
def test_a_llama_cpp_server_through_the_pipeline(
    llama_embedding_url: str, folder: Path, tmp_path: Path
) -> None:
    embedder = OpenAIEmbedder(
        model="smollm2",
        base_url=llama_embedding_url,
        api_key=SecretStr(API_KEY),
        limit=400,
        batch=8,
    )
    with Pipeline(index=tmp_path / "i", embedder=embedder) as pipeline:
        report = pipeline.ingest(folder)
        assert report.added == 2 and not report.failed
        assert embedder.dimension == 576
        assert pipeline.search("battery", k=2)
