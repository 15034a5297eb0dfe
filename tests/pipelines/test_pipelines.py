import runpy
import sys
from pathlib import Path

import pytest

from pipelines import quickstart
from rag import GroundedGenerator, OpenAIChat, Pipeline
from tests.conftest import API_KEY


def test_quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = quickstart.main(tmp_path / "index")
    assert [answer.status for answer in answers] == ["answered"] * 3
    cited = {c.uri.rpartition("/")[2]: c for answer in answers for c in answer.citations}
    assert {"instruments.md", "annual-report-2025.pdf", "visitors.html"} <= set(cited)
    assert cited["annual-report-2025.pdf"].page == 2
    assert all(c.verified for c in cited.values())
    out = capsys.readouterr().out
    assert "annual-report-2025.pdf, page 2" in out
    assert "NOT VERIFIED" not in out
    again = quickstart.main(tmp_path / "index")
    assert [a.text for a in again] == [a.text for a in answers]
    assert "4 unchanged" in capsys.readouterr().out


def test_the_quickstart_writes_out_the_defaults() -> None:
    ours = quickstart.pipeline
    assert (ours.chunker, ours.embedder, ours.retriever) == (
        Pipeline().chunker,
        Pipeline().embedder,
        Pipeline().retriever,
    )


@pytest.mark.slow
def test_openai_grounded(
    llama_url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", llama_url)
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    monkeypatch.setenv("RAG_MODEL", "smollm2")
    monkeypatch.delitem(sys.modules, "pipelines.openai_grounded", raising=False)
    made = runpy.run_module("pipelines.openai_grounded")["pipeline"]
    assert isinstance(made.generator, GroundedGenerator)
    assert isinstance(made.generator.model, OpenAIChat)
    short = made.generator.model.model_copy(update={"max_output_tokens": 40})
    generator = made.generator.model_copy(update={"model": short})
    with made.model_copy(update={"index": tmp_path / "index", "generator": generator}) as pipeline:
        pipeline.ingest(folder)
        answer = pipeline.ask("What are the propellers made of?")
    assert answer.usage.output_tokens > 0
    assert all(citation.verified for citation in answer.citations)
