"""What an ingest keeps when the embedding server stops answering in the middle."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from rag import ModelRateLimited, Pipeline
from rag.embedding.openai import OpenAIEmbedder
from rag.providers import retries
from rag.testing import ModelServer


class PaidServer(ModelServer):
    """Embeds texts until its quota is used up, then answers HTTP 429."""

    def __init__(self, quota: int) -> None:
        super().__init__()
        self.quota = quota
        self.embedded: list[str] = []

    def answer(self, request: dict[str, Any], path: str) -> tuple[int, str, bytes]:
        texts = request["input"]
        if len(self.embedded) + len(texts) > self.quota:
            error = {"error": {"message": "quota used up"}}
            return 429, "application/json", json.dumps(error).encode()
        self.embedded += texts
        return super().answer(request, path)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02}.txt").write_text(f"Note {i}: the tide was {i} metres.\n" * (i % 3 + 1))
    return folder


def open_pipeline(path: Path, server: ModelServer, concurrency: int) -> Pipeline:
    embedder = OpenAIEmbedder(
        model="m", base_url=server.url, retries=0, dimensions=3, batch=4, concurrency=concurrency
    )
    return Pipeline(index=path, embedder=embedder)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_was_embedded_before_a_429_is_not_paid_again(
    tmp_path: Path, many: Path, concurrency: int
) -> None:
    with PaidServer(quota=22) as server, open_pipeline(tmp_path / "i", server, concurrency) as p:
        with pytest.raises(ModelRateLimited, match="the same command goes on"):
            p.ingest(many)
        assert 17 <= len(server.embedded) <= 22  # whole requests of 4, and the probe
        server.quota = 1_000
        report = p.ingest(many)
        assert report.added == 40 and not report.failed
        notes = [text for text in server.embedded if "Note" in text]
        assert len(notes) == len(set(notes)) == 40
        assert p.stats().documents == 40


def test_a_long_wait_is_said_with_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)
    replies = [ModelRateLimited("Server limits the rate", retry_after=30), None]

    def call() -> str:
        if error := replies.pop(0):
            raise error
        return "done"

    with caplog.at_level(logging.WARNING):
        assert retries.call_with_retries(call, 1) == "done"
    [record] = caplog.records
    assert "waiting 30 s, until " in record.getMessage()
