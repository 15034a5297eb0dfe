import runpy
import sys
from pathlib import Path

import pytest

from pipelines import quickstart, two_step_search
from rag import GroundedGenerator, OpenAIChat, Pipeline
from tests.conftest import API_KEY


def test_quickstart_answers_with_verified_citations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = quickstart.main(tmp_path / "index")
    assert [answer.status for answer in answers] == ["answered"] * 3
    citation_of_file = {c.uri.rpartition("/")[2]: c for answer in answers for c in answer.citations}
    assert {"instruments.md", "annual-report-2025.pdf", "visitors.html"} <= set(citation_of_file)
    assert citation_of_file["annual-report-2025.pdf"].page == 2
    assert all(c.verified for c in citation_of_file.values())
    out = capsys.readouterr().out
    assert "annual-report-2025.pdf, page 2" in out
    assert "NOT VERIFIED" not in out
    second_answers = quickstart.main(tmp_path / "index")
    assert [a.text for a in second_answers] == [a.text for a in answers]
    assert "4 unchanged" in capsys.readouterr().out


def test_quickstart_states_the_defaults() -> None:
    explicit = quickstart.pipeline
    assert (explicit.chunker, explicit.embedder, explicit.retriever) == (
        Pipeline().chunker,
        Pipeline().embedder,
        Pipeline().retriever,
    )


@pytest.mark.slow
def test_openai_grounded_answers_with_verified_citations(
    llama_url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", llama_url)
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    monkeypatch.setenv("RAG_MODEL", "smollm2")
    monkeypatch.delitem(sys.modules, "pipelines.openai_grounded", raising=False)
    module_pipeline = runpy.run_module("pipelines.openai_grounded")["pipeline"]
    assert isinstance(module_pipeline.generator, GroundedGenerator)
    assert isinstance(module_pipeline.generator.model, OpenAIChat)
    short = module_pipeline.generator.model.model_copy(update={"max_output_tokens": 40})
    generator = module_pipeline.generator.model_copy(update={"model": short})
    with module_pipeline.model_copy(
        update={"index": tmp_path / "index", "generator": generator}
    ) as pipeline:
        pipeline.ingest(folder)
        answer = pipeline.ask("What are the propellers made of?")
    assert answer.usage.output_tokens > 0
    assert all(citation.verified for citation in answer.citations)


def test_two_step_search_verifies_the_citations_of_both_steps(tmp_path: Path) -> None:
    answer = two_step_search.main(tmp_path / "index")
    assert "every 15 seconds" in answer.text
    assert answer.citations and all(citation.verified for citation in answer.citations)
    uris = {citation.uri.rpartition("/")[2] for citation in answer.citations}
    assert "instruments.md" in uris
    program = Path(two_step_search.__file__).read_text(encoding="utf-8")
    assert len(program.splitlines()) < 40
