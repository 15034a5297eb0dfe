"""Quotes in place of a draft that the passages do not support."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from rag import ExtractiveGenerator, GroundedGenerator, Pipeline, ScriptedChat
from rag.cli import cli
from rag.types import NO_ANSWER, CheckStep, ExtractStep
from tests.generation.samples import HITS, QUESTION, UNSUPPORTED, run_generator

FALLBACK = ExtractiveGenerator(answerability=0.5)
with_and_without_streaming = pytest.mark.parametrize("live", [False, True])


@with_and_without_streaming
@pytest.mark.parametrize(
    "draft", [UNSUPPORTED, "I do not know.", NO_ANSWER, "The minutes are [1]."]
)
def test_a_rejected_draft_is_replaced_by_quotes(draft: str, live: bool) -> None:
    answer, _ = run_generator(draft, live=live, fallback=FALLBACK)
    quoted = ExtractiveGenerator().answer(QUESTION, HITS)
    assert (answer.status, answer.text) == ("answered", quoted.text)
    assert answer.citations == quoted.citations
    assert answer.usage.calls == 1
    (check,) = [step for step in answer.trace if isinstance(step, CheckStep)]
    assert check.draft == draft
    assert isinstance(answer.trace[-1], ExtractStep)
    assert "draft" in answer.reason or "no answer" in answer.reason


def test_a_supported_draft_is_not_replaced() -> None:
    answer, _ = run_generator("The battery lasts 34 minutes [1].", fallback=FALLBACK)
    assert answer.reason == ""
    assert not any(isinstance(step, ExtractStep) for step in answer.trace)


def test_a_fallback_that_is_not_sure_leaves_the_abstention() -> None:
    unsure = ExtractiveGenerator(answerability=1.0)
    answer, _ = run_generator(UNSUPPORTED, fallback=unsure)
    assert (answer.status, answer.text) == ("abstained", NO_ANSWER)


def test_abstain_means_abstain() -> None:
    answer, _ = run_generator(UNSUPPORTED, fallback=FALLBACK, unsupported="abstain")
    assert answer.status == "abstained"


def test_the_fallback_is_a_part_of_the_configuration() -> None:
    chat = ScriptedChat(replies=("x",))
    assert GroundedGenerator(model=chat).config()["fallback"]["type"] == "extractive"
    without = GroundedGenerator(model=chat, fallback=None)
    assert without.config()["fallback"] is None
    assert without.fingerprint != GroundedGenerator(model=chat).fingerprint


def test_the_terminal_says_that_the_sources_are_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "kite.md").write_text("The battery lasts 34 minutes.")
    reply = "Llamas swim."
    (tmp_path / "p.yaml").write_text(
        f"generator: {{type: grounded, model: {{type: scripted, replies: ['{reply}', '{reply}']}}}}"
    )
    with Pipeline() as pipeline:
        pipeline.ingest("docs")
    for options in ([], ["--stream"]):
        question = ["ask", "How long does the battery last?", "-p", "p.yaml", *options]
        output = CliRunner().invoke(cli, question).output
        assert "The battery lasts 34 minutes. [1]" in output
        assert "(quoted from the sources, since no sentence of the model's draft" in output
        assert ("(withdrawn)" in output) == bool(options)
