"""Runs are resumed, not paid for twice, and say what failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from threading import Lock
from typing import ClassVar

import pytest
from pydantic import PrivateAttr

from evals.judges import JudgeBackend, backend
from evals.metrics import chosen
from evals.questions import Question
from evals.runs import estimate, read_run, run
from rag import GroundedGenerator, Pipeline, ScriptedChat
from rag.errors import ConfigError, ModelError, QueryError
from rag.llm.base import ChatModel, Completion, JsonSchema, Source
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
    _asked: list[str] = PrivateAttr(default_factory=list)
    _guard: Lock = PrivateAttr(default_factory=Lock)

    @property
    def asked(self) -> list[str]:
        return self._asked

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        text = messages[-1].content
        with self._guard:
            self._asked.append(text)
        if self.fails_for and self.fails_for in text:
            raise ModelError("the service is down")
        if schema is not None:
            found = [{"id": i, "verdict": "supported", "passages": [1]} for i in range(1, 9)]
            return Completion(json.dumps({"verdicts": found}), Usage(input_tokens=10))
        said = "A full battery lasts 34 minutes in calm air [1]."
        return Completion(said, Usage(input_tokens=1_000, output_tokens=100))


@pytest.fixture
def ingested(pipeline: Pipeline, folder: Path) -> Pipeline:
    pipeline.ingest(folder)
    return pipeline


def test_a_run_scores_every_question(ingested: Pipeline, tmp_path: Path) -> None:
    found = run(ingested, QUESTIONS, tmp_path / "run")
    assert [score.status for score in found.scores["faithfulness"]] == [
        "scored",
        "scored",
        "not_applicable",
    ]
    assert found.summaries["quote_accuracy"].estimate.value == 1.0  # type: ignore[union-attr]
    assert found.summaries["refusal_recall"].estimate.value == 1.0  # type: ignore[union-attr]
    assert found.summaries["passage_recall"].scored == 1
    again = read_run(tmp_path / "run")
    assert again.as_json() == found.as_json()
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == found.as_json()


def test_the_same_input_gives_the_same_bytes(ingested: Pipeline, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(ingested, QUESTIONS, tmp_path / name / "run", concurrency=3)
    for file in ("results.json", "report.html", "questions.jsonl", "run.json"):
        one, two = ((tmp_path / name / "run" / file).read_bytes() for name in ("one", "two"))
        assert one == two, file


def test_what_is_done_is_not_done_again(ingested: Pipeline, tmp_path: Path) -> None:
    chat = Counting()
    asking = ingested.model_copy(update={"generator": GroundedGenerator(model=chat)})
    with asking:
        judge = Counting()
        few, all_ = chosen(["faithfulness"]), chosen(["faithfulness", "citation_recall"])
        run(asking, QUESTIONS, tmp_path / "r", metrics=few, support=JudgeBackend(judge))
        answered, judged = len(chat.asked), len(judge.asked)
        assert answered == 3 and judged == 1  # the three answers are the same
        run(asking, QUESTIONS, tmp_path / "r", metrics=few, support=JudgeBackend(judge))
        assert (len(chat.asked), len(judge.asked)) == (answered, judged)
        run(asking, QUESTIONS, tmp_path / "r", metrics=all_, support=JudgeBackend(judge))
        assert len(chat.asked) == answered and len(judge.asked) > judged


def test_what_has_changed_is_done_again(ingested: Pipeline, tmp_path: Path, folder: Path) -> None:
    chat = Counting()
    generator = GroundedGenerator(model=chat)
    with ingested.model_copy(update={"generator": generator}) as one:
        run(one, QUESTIONS, tmp_path / "r")
        assert len(chat.asked) == 3
        (folder / "notes.txt").write_text("All is new.", encoding="utf-8")
        one.ingest(folder)
        run(one, QUESTIONS, tmp_path / "r")
        assert 3 <= len(chat.asked) <= 6  # the same prompts are in the cache
        before = len(chat.asked)
    other = generator.model_copy(update={"prompt": "concise"})
    with ingested.model_copy(update={"generator": other}) as two:
        run(two, QUESTIONS, tmp_path / "r")
        assert len(chat.asked) == before + 3


def test_failures_are_seen_and_tried_again(ingested: Pipeline, tmp_path: Path) -> None:
    failing = Counting(fails_for="Mongolia")
    with ingested.model_copy(update={"generator": GroundedGenerator(model=failing)}) as bad:
        found = run(bad, QUESTIONS, tmp_path / "r")
    assert found.failures == 1 and "the service is down" in found.items["capital"].error
    assert (
        found.scores["faithfulness"][2].status
        == found.scores["refusal_recall"][2].status
        == "failed"
    )
    assert found.scores["token_f1"][2].status == "not_applicable"  # it has no reference
    summary = found.summaries["faithfulness"]
    assert (summary.scored, summary.failed) == (2, 1)
    assert "the service is down" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    lines = (tmp_path / "r" / "items.jsonl").read_text(encoding="utf-8").count("\n")
    with ingested.model_copy(update={"generator": GroundedGenerator(model=failing)}) as bad:
        run(bad, QUESTIONS, tmp_path / "r")
    assert (tmp_path / "r" / "items.jsonl").read_text(encoding="utf-8").count("\n") == lines + 1


def test_a_budget_stops_a_run_that_goes_on_later(ingested: Pipeline, tmp_path: Path) -> None:
    chat = Counting(input_price=1.0, output_price=10.0)  # $.002 an answer
    with ingested.model_copy(update={"generator": GroundedGenerator(model=chat)}) as asking:
        found = run(asking, QUESTIONS, tmp_path / "r", budget=0.003, concurrency=1)
        assert len(chat.asked) == 2 and "1 questions were not asked" in found.stopped
        assert found.scores["faithfulness"][2].reason == "it was not asked"
        assert found.failures == 1
        found = run(asking, QUESTIONS, tmp_path / "r", budget=0.003, concurrency=1)
        assert len(chat.asked) == 3 and not found.stopped and not found.failures
    unknown = Counting()
    with (
        ingested.model_copy(update={"generator": GroundedGenerator(model=unknown)}) as asking,
        pytest.raises(ConfigError, match="price of 'counting' is not known"),
    ):
        run(asking, QUESTIONS, tmp_path / "s", budget=1.0)


def test_what_it_costs_is_said_before(ingested: Pipeline, tmp_path: Path) -> None:
    chat = Counting(input_price=1.0, output_price=10.0)
    asking = ingested.model_copy(update={"generator": GroundedGenerator(model=chat)})
    cost = estimate(asking, QUESTIONS, metrics=chosen(), support=backend())
    assert cost.calls == 3 and cost.usd is not None and 0 < cost.usd < 1
    assert "at most $" in str(cost)
    free = estimate(ingested, QUESTIONS, metrics=chosen(), support=backend())
    assert free.usd == 0 and "nothing to pay" in str(free)
    judged = estimate(ingested, QUESTIONS, metrics=chosen(), support=JudgeBackend(Counting()))
    assert judged.calls > 3 and judged.usd is None and "not known" in str(judged)


def test_a_folder_that_is_something_else_is_left_alone(
    ingested: Pipeline, tmp_path: Path, folder: Path
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ConfigError, match="not a run"):
        run(ingested, QUESTIONS, folder)
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == before
    run(ingested, QUESTIONS, tmp_path / "r")
    with pytest.raises(ConfigError, match="other questions"):
        run(ingested, QUESTIONS[:2], tmp_path / "r")
    with pytest.raises(QueryError, match="is not a run"):
        read_run(tmp_path / "nothing")


def test_scores_of_other_settings_are_not_this_runs(ingested: Pipeline, tmp_path: Path) -> None:
    class Stops(Exception):
        pass

    def stop(done: int, of: int) -> None:
        raise Stops

    run(ingested, QUESTIONS, tmp_path / "r")
    chat = Counting()
    with pytest.raises(Stops):
        run(
            ingested,
            QUESTIONS,
            tmp_path / "r",
            support=JudgeBackend(chat),
            progress=stop,
            concurrency=1,
        )
    found = read_run(tmp_path / "r")
    assert "llm judge" in str(found.settings["backend"])
    assert found.summaries["faithfulness"].failed >= 1


def test_what_was_paid_is_added_up(ingested: Pipeline, tmp_path: Path) -> None:
    judge = Counting(input_price=1.0, output_price=1.0)
    for _ in range(2):
        found = run(ingested, QUESTIONS, tmp_path / "r", judge=judge, metrics=["faithfulness"])
        assert found.usage.calls == len(judge.asked) == 2
    cost = estimate(
        ingested,
        QUESTIONS,
        metrics=chosen(["faithfulness"]),
        support=JudgeBackend(judge),
        judge=judge,
        folder=tmp_path / "r",
    )
    assert cost.questions == 0 and "all 3 questions are done" in str(cost)


def test_a_torn_line_is_cut_off(ingested: Pipeline, tmp_path: Path) -> None:
    found = run(ingested, QUESTIONS, tmp_path / "r")
    for name in ("items.jsonl", "scores.jsonl"):
        path = tmp_path / "r" / name
        path.write_bytes(path.read_bytes()[:-25])
    assert run(ingested, QUESTIONS, tmp_path / "r").as_json() == found.as_json()


def test_answers_of_others_are_scored_as_they_are(tmp_path: Path) -> None:
    given = [
        Question(
            id="1",
            question="How long does it fly?",
            answer="It flies for 34 minutes [1].",
            contexts=("It flies for 34 minutes.",),
            answers=("34 minutes",),
        )
    ]
    found = run(None, given, tmp_path / "r")
    assert found.summaries["citation_recall"].estimate.value == 1.0  # type: ignore[union-attr]
    with pytest.raises(QueryError, match="no answer to score"):
        run(None, QUESTIONS, tmp_path / "s")


KILLED = """
import os, sys
from pathlib import Path
from threading import Lock
from evals.questions import Question
from evals.runs import run
from rag import GroundedGenerator, Pipeline
from rag.llm.base import ChatModel, Completion
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


def test_a_killed_run_goes_on_without_paying_twice(ingested: Pipeline, tmp_path: Path) -> None:
    ingested.close()
    script, asked = tmp_path / "killed.py", tmp_path / "asked.txt"
    script.write_text(KILLED, encoding="utf-8")

    def go(dies_at: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(script), str(ingested.index), str(asked), str(dies_at)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    assert go(4).returncode == -signal.SIGKILL
    assert len(asked.read_text().splitlines()) == 4
    done = go(0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8", "0"]
    paid = asked.read_text().splitlines()
    # the call under way when it died was never answered, and is the only one made again
    assert len(paid) == 9 and len(set(paid)) == 8
    assert len(go(0).stdout.split()) == 2 and len(asked.read_text().splitlines()) == 9


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.said: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_the_report_shows_everything_and_runs_nothing(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    given = [
        Question(
            id=evil,
            question=f"What is {evil}?",
            answer=f"It flies for 34 minutes [1]. It has {evil} 77 golden horns from Peru.",
            contexts=(f"It flies for 34 minutes. {evil}",),
            answers=(evil,),
            gold=(evil,),
        )
    ]
    run(None, given, tmp_path / "<b>r", metrics=chosen(["all"]))
    page = (tmp_path / "<b>r" / "report.html").read_text(encoding="utf-8")
    parsed = _Texts()
    parsed.feed(page)
    assert not {"script", "img", "link", "iframe", "b>r"} & set(parsed.tags)
    assert (
        parsed.links == [] and "url(" not in page and "http" not in page.replace("http-equiv", "")
    )
    text = "".join(parsed.said)
    assert "alert(1)" in text and "It flies for 34 minutes" in text
    assert 'class="s supported"' in page and 'class="s unsupported"' in page
    assert "faithfulness" in text and "0.500" in text


def test_a_judge_that_needs_no_key_may_be_scripted(ingested: Pipeline, tmp_path: Path) -> None:
    reply = json.dumps({"reason": "clear", "grade": 4})
    found = run(
        ingested,
        QUESTIONS[:1],
        tmp_path / "r",
        metrics=chosen(["fluency"]),
        judge=ScriptedChat(replies=(reply,)),
    )
    assert found.scores["fluency"][0].value == 0.75


def test_two_runs_do_not_write_into_one_folder(ingested: Pipeline, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "r").mkdir()
    lock = FileLock(tmp_path / "r" / ".lock")
    with lock, pytest.raises(ConfigError, match="another process"):
        run(ingested, QUESTIONS, tmp_path / "r")


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
    ingested: Pipeline, tmp_path: Path
) -> None:
    with ingested.model_copy(update={"generator": GroundedGenerator(model=Unsound())}) as broken:
        found = run(broken, QUESTIONS, tmp_path / "r")
        assert "unexpected ZeroDivisionError" in found.items["battery"].error
        assert found.failures == 3
    with (
        ingested.model_copy(
            update={"generator": GroundedGenerator(model=Unsound(keyless=True))}
        ) as keyless,
        pytest.raises(ConfigError, match="there is no key"),
    ):
        run(keyless, QUESTIONS, tmp_path / "s")


def test_a_pipeline_of_another_frameworks_parts_is_evaluated(tmp_path: Path, folder: Path) -> None:
    from langchain_core.embeddings import DeterministicFakeEmbedding

    theirs = DeterministicFakeEmbedding(size=8)
    with Pipeline(index=tmp_path / "i", embedder=theirs) as made:  # type: ignore[arg-type]
        made.ingest(folder)
        run(made, QUESTIONS[:1], tmp_path / "run")
    written = "".join(p.read_text(encoding="utf-8") for p in (tmp_path / "run").glob("*.json*"))
    assert "DeterministicFakeEmbedding" in written
