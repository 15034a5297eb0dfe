"""A real model of 135M parameters, in this process."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from rag import GroundedGenerator, LlamaCppChat, Message, Pipeline
from rag.errors import ConfigError, ModelContextExceeded
from rag.llm import fill, track_usage

HELLO = [Message(role="user", content="Say hello.")]


@pytest.fixture(scope="module")
def model(model_file: Path) -> LlamaCppChat:
    return LlamaCppChat(path=model_file, context=1_024, max_output_tokens=24)


@pytest.mark.slow
def test_complete_and_stream_return_the_same_text(model: LlamaCppChat) -> None:
    with track_usage() as tracker:
        completion = model.complete(HELLO)
        *deltas, last = model.stream(HELLO)
    assert completion.text and completion.usage.output_tokens <= 24
    assert "".join(delta.text for delta in deltas) == completion.text
    assert last.completion is not None and last.completion.text == completion.text
    assert (tracker.usage.calls, tracker.usage.cost_usd) == (2, 0.0)


@pytest.mark.slow
def test_model_answers_again_after_a_stream_was_closed_early(model: LlamaCppChat) -> None:
    full_text = model.complete(HELLO).text
    deltas = model.stream(HELLO)
    next(deltas)
    deltas.close()  # type: ignore[attr-defined]
    assert model.complete(HELLO).text == full_text


@pytest.mark.slow
def test_reply_matches_the_schema(model: LlamaCppChat) -> None:
    class Animal(BaseModel):
        legs: int

    assert fill(model, [Message(role="user", content="A dog, as JSON.")], Animal).legs >= 0


@pytest.mark.slow
def test_too_long_prompt_raises_context_exceeded(model: LlamaCppChat) -> None:
    with pytest.raises(ModelContextExceeded, match="context size"):
        model.complete([Message(role="user", content="word " * 3_000)])


@pytest.mark.slow
def test_passages_are_packed_into_the_context_window(model: LlamaCppChat, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for i in range(12):
        text = f"Tower {i} is {20 + i} metres high. " + "It stands by the sea. " * 30
        (tmp_path / "docs" / f"{i}.txt").write_text(text)
    generator = GroundedGenerator(model=model)
    with Pipeline(index=tmp_path / "i", generator=generator, k=12) as pipeline:
        pipeline.ingest(tmp_path / "docs")
        answer = pipeline.ask("How high is tower 3?")
    step = next(step for step in answer.trace if step.name == "generate")
    assert 0 < step.passages < 12
    assert step.left_out == 12 - step.passages
    assert all(citation.verified for citation in answer.citations)


def test_invalid_model_files_raise_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the model"):
        LlamaCppChat(path=tmp_path / "nowhere.gguf").complete(HELLO)
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ConfigError, match="not a GGUF file"):
        LlamaCppChat(path=tmp_path / "text.gguf").complete(HELLO)
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + b"\3\0\0\0" + b"\0" * 64)
    with pytest.raises(ConfigError, match="is the file complete"):
        LlamaCppChat(path=tmp_path / "cut.gguf").complete(HELLO)
