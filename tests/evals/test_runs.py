"""Runs are resumed, not paid for twice, and say what failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import ClassVar

import pytest
from pydantic import PrivateAttr

from evals.judges import LlmJudge, make_judge
from evals.metrics import choose_metrics
from evals.questions import Question
from evals.runs import estimate, read_run, run
from rag import GroundedGenerator, Pipeline, ScriptedChat
from rag.errors import ConfigError, ModelError, QueryError
from rag.llm.base import ChatModel, JsonSchema
from rag.llm.completion import Completion, Source
from rag.types import Message, Usage

QUESTIONS = [
    Question(
        id="battery",
        question="How long does the battery last?",
        answers=("34 minutes",),
        answerable=True,
        gold=("handbook.md",),
    ),
    Question(id="material", question="What are the propellers made of?", answers=("nylon",)),
    Question(id="capital", question="What is the capital of Mongolia?", answerable=False),
]


class Counting(ChatModel):
    """Answers, counts how often, and fails for what it is told to fail for."""

    name: ClassVar[str] = "counting"

    fails_for: str = ""
    _questions_seen: list[str] = PrivateAttr(default_factory=list)
    _guard: Lock = PrivateAttr(default_factory=Lock)

    @property
    def questions_seen(self) -> list[str]:
        return self._questions_seen

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        text = messages[-1].content
        with self._guard:
            self._questions_seen.append(text)
        if self.fails_for and self.fails_for in text:
            raise ModelError("the service is down")
        if schema is not None:
            verdicts = [{"id": i, "verdict": "supported", "passages": [1]} for i in range(1, 9)]
            return Completion(json.dumps({"verdicts": verdicts}), Usage(input_tokens=10))
        reply = "A full battery lasts 34 minutes in calm air [1]."
        return Completion(reply, Usage(input_tokens=1_000, output_tokens=100))


@pytest.fixture
def ingested_pipeline(pipeline: Pipeline, folder: Path) -> Pipeline:
    pipeline.ingest(folder)
    return pipeline


def test_a_run_scores_every_question(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    result = run(ingested_pipeline, QUESTIONS, tmp_path / "run")
    assert [score.status for score in result.scores["faithfulness"]] == [
        "scored",
        "scored",
        "not_applicable",
    ]
    assert result.summaries["quote_accuracy"].estimate.value == 1.0  # type: ignore[union-attr]
    assert result.summaries["refusal_recall"].estimate.value == 1.0  # type: ignore[union-attr]
    assert result.summaries["passage_recall"].scored == 1
    again = read_run(tmp_path / "run")
    assert again.as_json() == result.as_json()
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == result.as_json()


def test_the_same_input_gives_the_same_bytes(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(ingested_pipeline, QUESTIONS, tmp_path / name / "run", concurrency=3)
    for file in ("results.json", "report.html", "questions.jsonl", "run.json"):
        first_bytes, second_bytes = (
            (tmp_path / name / "run" / file).read_bytes() for name in ("one", "two")
        )
        assert first_bytes == second_bytes, file


def test_what_is_done_is_not_done_again(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    chat = Counting()
    asking = ingested_pipeline.model_copy(update={"generator": GroundedGenerator(model=chat)})
    with asking:
        judge = Counting()
        few, all_ = (
            choose_metrics(["faithfulness"]),
            choose_metrics(["faithfulness", "citation_recall"]),
        )
        run(asking, QUESTIONS, tmp_path / "r", metrics=few, support=LlmJudge(judge))
        answered, judged = len(chat.questions_seen), len(judge.questions_seen)
        assert answered == 3 and judged  # the answers are the same, their passages are not
        run(asking, QUESTIONS, tmp_path / "r", metrics=few, support=LlmJudge(judge))
        assert (len(chat.questions_seen), len(judge.questions_seen)) == (answered, judged)
        run(asking, QUESTIONS, tmp_path / "r", metrics=all_, support=LlmJudge(judge))
        assert len(chat.questions_seen) == answered and len(judge.questions_seen) > judged


def test_what_has_changed_is_done_again(
    ingested_pipeline: Pipeline, tmp_path: Path, folder: Path
) -> None:
    chat = Counting()
    generator = GroundedGenerator(model=chat)
    with ingested_pipeline.model_copy(update={"generator": generator}) as first_pipeline:
        run(first_pipeline, QUESTIONS, tmp_path / "r")
        assert len(chat.questions_seen) == 3
        (folder / "notes.txt").write_text("All is new.", encoding="utf-8")
        first_pipeline.ingest(folder)
        run(first_pipeline, QUESTIONS, tmp_path / "r")
        assert 3 <= len(chat.questions_seen) <= 6  # the same prompts are in the cache
        before = len(chat.questions_seen)
    changed_generator = generator.model_copy(update={"prompt": "concise"})
    with ingested_pipeline.model_copy(update={"generator": changed_generator}) as two:
        run(two, QUESTIONS, tmp_path / "r")
        assert len(chat.questions_seen) == before + 3


def test_failures_are_seen_and_tried_again(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    failing = Counting(fails_for="Mongolia")
    with ingested_pipeline.model_copy(
        update={"generator": GroundedGenerator(model=failing)}
    ) as bad:
        result = run(bad, QUESTIONS, tmp_path / "r")
    assert result.failures == 1 and "the service is down" in result.items["capital"].error
    assert (
        result.scores["faithfulness"][2].status
        == result.scores["refusal_recall"][2].status
        == "failed"
    )
    assert result.scores["token_f1"][2].status == "not_applicable"  # it has no reference
    summary = result.summaries["faithfulness"]
    assert (summary.scored, summary.failed) == (2, 1)
    assert "the service is down" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    lines = (tmp_path / "r" / "items.jsonl").read_text(encoding="utf-8").count("\n")
    with ingested_pipeline.model_copy(
        update={"generator": GroundedGenerator(model=failing)}
    ) as bad:
        run(bad, QUESTIONS, tmp_path / "r")
    assert (tmp_path / "r" / "items.jsonl").read_text(encoding="utf-8").count("\n") == lines + 1


def test_a_budget_stops_a_run_that_goes_on_later(
    ingested_pipeline: Pipeline, tmp_path: Path
) -> None:
    chat = Counting(input_price=1.0, output_price=10.0)  # $.002 an answer
    with ingested_pipeline.model_copy(
        update={"generator": GroundedGenerator(model=chat)}
    ) as asking:
        result = run(asking, QUESTIONS, tmp_path / "r", budget=0.003, concurrency=1)
        assert len(chat.questions_seen) == 2 and "1 questions were not asked" in result.stopped
        assert result.scores["faithfulness"][2].reason == "it was not asked"
        assert result.failures == 1
        result = run(asking, QUESTIONS, tmp_path / "r", budget=0.003, concurrency=1)
        assert len(chat.questions_seen) == 3 and not result.stopped and not result.failures
    unknown = Counting()
    with (
        ingested_pipeline.model_copy(
            update={"generator": GroundedGenerator(model=unknown)}
        ) as asking,
        pytest.raises(ConfigError, match="price of 'counting' is unknown"),
    ):
        run(asking, QUESTIONS, tmp_path / "s", budget=1.0)


def test_what_it_costs_is_said_before(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    chat = Counting(input_price=1.0, output_price=10.0)
    asking = ingested_pipeline.model_copy(update={"generator": GroundedGenerator(model=chat)})
    cost = estimate(asking, QUESTIONS, metrics=choose_metrics(), support=make_judge())
    assert cost.calls == 3 and cost.usd is not None and 0 < cost.usd < 1
    assert "at most $" in str(cost)
    free = estimate(ingested_pipeline, QUESTIONS, metrics=choose_metrics(), support=make_judge())
    assert free.usd == 0 and "Cost: $0" in str(free)
    judged = estimate(
        ingested_pipeline, QUESTIONS, metrics=choose_metrics(), support=LlmJudge(Counting())
    )
    assert judged.calls > 3 and judged.usd is None and "Cost: unknown" in str(judged)


def test_a_folder_that_is_something_else_is_left_alone(
    ingested_pipeline: Pipeline, tmp_path: Path, folder: Path
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ConfigError, match="not a run"):
        run(ingested_pipeline, QUESTIONS, folder)
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == before
    run(ingested_pipeline, QUESTIONS, tmp_path / "r")
    with pytest.raises(ConfigError, match="other questions"):
        run(ingested_pipeline, QUESTIONS[:2], tmp_path / "r")
    with pytest.raises(QueryError, match="is not a run"):
        read_run(tmp_path / "nothing")


def test_scores_of_other_settings_are_not_this_runs(
    ingested_pipeline: Pipeline, tmp_path: Path
) -> None:
    class Stops(Exception):
        pass

    def stop(done: int, of: int) -> None:
        raise Stops

    run(ingested_pipeline, QUESTIONS, tmp_path / "r")
    chat = Counting()
    with pytest.raises(Stops):
        run(
            ingested_pipeline,
            QUESTIONS,
            tmp_path / "r",
            support=LlmJudge(chat),
            progress=stop,
            concurrency=1,
        )
    result = read_run(tmp_path / "r")
    assert "llm judge" in str(result.settings["backend"])
    assert result.summaries["faithfulness"].failed >= 1


def test_what_was_paid_is_added_up(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    judge = Counting(input_price=1.0, output_price=1.0)
    for _ in range(2):
        result = run(
            ingested_pipeline, QUESTIONS, tmp_path / "r", judge=judge, metrics=["faithfulness"]
        )
        assert result.usage.calls == len(judge.questions_seen) == 2
    cost = estimate(
        ingested_pipeline,
        QUESTIONS,
        metrics=choose_metrics(["faithfulness"]),
        support=LlmJudge(judge),
        judge=judge,
        folder=tmp_path / "r",
    )
    assert cost.questions == 0 and "All 3 questions are done" in str(cost)


def test_a_torn_line_is_cut_off(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    result = run(ingested_pipeline, QUESTIONS, tmp_path / "r")
    for name in ("items.jsonl", "scores.jsonl"):
        path = tmp_path / "r" / name
        path.write_bytes(path.read_bytes()[:-25])
    assert run(ingested_pipeline, QUESTIONS, tmp_path / "r").as_json() == result.as_json()


def test_answers_of_others_are_scored_as_they_are(tmp_path: Path) -> None:
    questions = [
        Question(
            id="1",
            question="How long does it fly?",
            answer="It flies for 34 minutes [1].",
            contexts=("It flies for 34 minutes.",),
            answers=("34 minutes",),
        )
    ]
    result = run(None, questions, tmp_path / "r")
    assert result.summaries["citation_recall"].estimate.value == 1.0  # type: ignore[union-attr]
    with pytest.raises(QueryError, match="no answer to score"):
        run(None, QUESTIONS, tmp_path / "s")


KILLED = """
import os, sys
from pathlib import Path
from threading import Lock
from evals.questions import Question
from evals.runs import run
from rag import GroundedGenerator, Pipeline
from rag.llm.base import ChatModel
from rag.llm.completion import Completion
from rag.types import Usage

asked, guard = Path(sys.argv[2]), Lock()

class Paid(ChatModel):
    name = "paid"

    def _complete(self, messages, *, schema, sources):
        with guard:
            with asked.open("a") as file:
                file.write(messages[-1].content.rpartition("Question: ")[2] + "\\n")
            if asked.read_text().count("\\n") == int(sys.argv[3]):
                os.kill(os.getpid(), 9)
        return Completion("A full battery lasts 34 minutes in calm air [1].", Usage(input_tokens=9))

questions = [Question(id=str(i), question=f"How long does battery number {i} last?")
             for i in range(8)]
with Pipeline(index=Path(sys.argv[1]), generator=GroundedGenerator(model=Paid())) as pipeline:
    result = run(pipeline, questions, Path(sys.argv[1]).parent / "run", concurrency=1)
    print(result.summaries["faithfulness"].scored, result.failures)
"""


def test_a_killed_run_goes_on_without_paying_twice(
    ingested_pipeline: Pipeline, tmp_path: Path
) -> None:
    ingested_pipeline.close()
    script, log_file = tmp_path / "killed.py", tmp_path / "asked.txt"
    script.write_text(KILLED, encoding="utf-8")

    def go(dies_at: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                str(script),
                str(ingested_pipeline.index),
                str(log_file),
                str(dies_at),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    assert go(4).returncode == -signal.SIGKILL
    assert len(log_file.read_text().splitlines()) == 4
    done = go(0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8", "0"]
    paid = log_file.read_text().splitlines()
    # the call under way when it died was never answered, and is the only one made again
    assert len(paid) == 9 and len(set(paid)) == 8
    assert len(go(0).stdout.split()) == 2 and len(log_file.read_text().splitlines()) == 9


def test_a_judge_that_needs_no_key_may_be_scripted(
    ingested_pipeline: Pipeline, tmp_path: Path
) -> None:
    reply = json.dumps({"reason": "clear", "grade": 4})
    result = run(
        ingested_pipeline,
        QUESTIONS[:1],
        tmp_path / "r",
        metrics=choose_metrics(["fluency"]),
        judge=ScriptedChat(replies=(reply,)),
    )
    assert result.scores["fluency"][0].value == 0.75


def test_two_runs_do_not_write_into_one_folder(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "r").mkdir()
    lock = FileLock(tmp_path / "r" / ".lock")
    with lock, pytest.raises(ConfigError, match="another process"):
        run(ingested_pipeline, QUESTIONS, tmp_path / "r")


class Unsound(ChatModel):
    """Breaks as a bug would, or lacks its key."""

    name: ClassVar[str] = "unsound"

    keyless: bool = False

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        if self.keyless:
            raise ConfigError("there is no key")
        raise ZeroDivisionError("oh")


def test_a_bug_costs_a_question_and_a_missing_key_the_run(
    ingested_pipeline: Pipeline, tmp_path: Path
) -> None:
    with ingested_pipeline.model_copy(
        update={"generator": GroundedGenerator(model=Unsound())}
    ) as broken:
        result = run(broken, QUESTIONS, tmp_path / "r")
        assert "unexpected ZeroDivisionError" in result.items["battery"].error
        assert result.failures == 3
    with (
        ingested_pipeline.model_copy(
            update={"generator": GroundedGenerator(model=Unsound(keyless=True))}
        ) as keyless,
        pytest.raises(ConfigError, match="there is no key"),
    ):
        run(keyless, QUESTIONS, tmp_path / "s")


def test_a_pipeline_of_another_frameworks_parts_is_evaluated(tmp_path: Path, folder: Path) -> None:
    from langchain_core.embeddings import DeterministicFakeEmbedding

    theirs = DeterministicFakeEmbedding(size=8)
    with Pipeline(index=tmp_path / "i", embedder=theirs) as pipeline:  # type: ignore[arg-type]
        pipeline.ingest(folder)
        run(pipeline, QUESTIONS[:1], tmp_path / "run")
    run_files_text = "".join(
        p.read_text(encoding="utf-8") for p in (tmp_path / "run").glob("*.json*")
    )
    assert "DeterministicFakeEmbedding" in run_files_text
