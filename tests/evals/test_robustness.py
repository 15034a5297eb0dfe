"""RGB's protocol, with generators whose behaviour is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from evals.questions import Question
from evals.robustness import collect_robustness_items, robustness
from rag import ExtractiveGenerator, Pipeline
from rag.errors import ModelError, QueryError
from rag.generation import Generator
from rag.types import NO_ANSWER, Answer, Hit, Message

QUESTIONS = [
    Question(
        id="k", question="How long does the Kite fly?", answers=("34 minutes",), gold=("kite.md",)
    ),
    Question(
        id="r", question="How long does the Rover run?", answers=("52 hours",), gold=("rover.md",)
    ),
    Question(id="x", question="Who?", answers=("nobody",), gold=("gone.md",)),
]


@pytest.fixture
def ingested_pipeline(pipeline: Pipeline, tmp_path: Path) -> Pipeline:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "kite.md").write_text("The Kite flies for 34 minutes.", encoding="utf-8")
    (folder / "rover.md").write_text("The Rover runs for 52 hours.", encoding="utf-8")
    for i in range(4):
        (folder / f"noise{i}.md").write_text(f"The Buoy number {i} floats well.", encoding="utf-8")
    pipeline.ingest(folder)
    return pipeline


class Parrot(Generator):
    """Says all that it is shown."""

    name: ClassVar[str] = "parrot"

    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        return Answer(text=" ".join(hit.chunk.text for hit in hits), status="answered")


class Mute(Generator):
    """Refuses whatever it is asked."""

    name: ClassVar[str] = "mute"

    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        return Answer(text=NO_ANSWER, status="abstained")


class Broken(Generator):
    """Fails."""

    name: ClassVar[str] = "broken"

    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        raise ModelError("out of order")


def test_the_passages_are_those_that_answer_and_those_that_do_not(
    ingested_pipeline: Pipeline,
) -> None:
    items = collect_robustness_items(ingested_pipeline, QUESTIONS)
    assert [item.question.id for item in items] == ["k", "r"]
    for item in items:
        assert all(item.question.answers[0] in chunk.text for chunk in item.positive)
        assert item.negative and not any("34" in c.text and "52" in c.text for c in item.negative)
    assert [item.wrong for item in items] == ["52 hours", "34 minutes"]
    with pytest.raises(QueryError, match="no question"):
        collect_robustness_items(ingested_pipeline, QUESTIONS[2:])


def test_who_says_all_is_right_and_repeats_every_lie(ingested_pipeline: Pipeline) -> None:
    result = robustness(Parrot(), collect_robustness_items(ingested_pipeline, QUESTIONS))
    assert [s.estimate.value for _, s in result.noise if s.estimate] == [1.0] * len(result.noise)
    assert result.rejection.estimate and result.rejection.estimate.value == 0
    assert result.repeated.estimate and result.repeated.estimate.value == 1.0
    assert result.right.estimate and result.right.estimate.value == 0
    assert result.as_json()["counterfactual_repeated"]["value"] == 1.0


def test_who_says_nothing_is_never_right_and_never_lies(ingested_pipeline: Pipeline) -> None:
    result = robustness(Mute(), collect_robustness_items(ingested_pipeline, QUESTIONS))
    assert all(s.estimate and s.estimate.value == 0 for _, s in result.noise)
    assert result.rejection.estimate and result.rejection.estimate.value == 1.0
    assert result.repeated.estimate and result.repeated.estimate.value == 0


def test_a_call_that_fails_is_no_wrong_answer(ingested_pipeline: Pipeline) -> None:
    result = robustness(Broken(), collect_robustness_items(ingested_pipeline, QUESTIONS))
    assert all(s.estimate is None and s.failed == 2 for _, s in result.noise)


def test_noise_that_is_not_there_is_not_applicable(ingested_pipeline: Pipeline) -> None:
    items = collect_robustness_items(ingested_pipeline, QUESTIONS)
    result = robustness(ExtractiveGenerator(), items, passages=50, noise=(0.0, 0.9))
    assert result.noise[1][1].not_applicable == 2
    for wrong in ({"noise": (1.0,)}, {"passages": 0}):
        with pytest.raises(QueryError):
            robustness(Mute(), items, **wrong)  # type: ignore[arg-type]
    with pytest.raises(QueryError):
        robustness(Mute(), [])
