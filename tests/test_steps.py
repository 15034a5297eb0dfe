"""The steps of a trace: what each stage of a real pipeline records, and traces in JSON."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from rag import (
    Answer,
    CheckFieldsStep,
    CheckStep,
    CondenseStep,
    CustomStep,
    ExtractStep,
    FillStep,
    GenerateStep,
    Generator,
    GroundedGenerator,
    HybridRetriever,
    LexicalRetriever,
    LexicalVerifier,
    Message,
    Pipeline,
    PostprocessStep,
    PromptIdentity,
    Query,
    RepairStep,
    RetrieveStep,
    ScriptedChat,
    Step,
    TransformStep,
    VerifyStep,
)
from rag.cli.chat import explain_answer
from rag.cli.output import answer_notes
from rag.generation.base import abstention
from rag.postprocessing import MMR, LostInTheMiddle
from rag.retrieval.transforms import Decompose
from rag.serving.openai_api import _finish_reason
from rag.types import Hit, Trace
from rag.types.steps import BUILT_IN_STEP_NAMES
from tests.conftest import ROOT

QUESTION = "How long does the battery last?"
SUPPORTED = "A full battery lasts 34 minutes in calm air [1]."
UNSUPPORTED = "It was invented by llamas in Peru [1]."
HISTORY = [
    Message(role="user", content=QUESTION),
    Message(role="assistant", content="34 minutes."),
]
OLD_TRACES = json.loads((ROOT / "tests/fixtures/traces-0.1.json").read_text(encoding="utf-8"))

trace_adapter: TypeAdapter[tuple[Any, ...]] = TypeAdapter(Trace)


class Drone(BaseModel):
    battery_minutes: int
    inventor: str


class Translating(Generator):
    """A generator of a third party, with a stage of its own."""

    name: ClassVar[str] = "translating"

    def answer(
        self, question: str | Query, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Answer:
        step = CustomStep(name="translate", seconds=0.5, detail={"hits": 3, "to": ["de", None]})
        return abstention("no answer", hits, trace=(step,))


def ask_grounded(folder: Path, tmp_path: Path, *replies: str, **settings: Any) -> Answer:
    settings = {"fallback": None} | settings
    generator = GroundedGenerator(model=ScriptedChat(replies=replies), **settings)
    with Pipeline(index=tmp_path / "i", retriever=LexicalRetriever(), generator=generator) as p:
        p.ingest(folder)
        return p.ask(QUESTION)


def without_seconds(step: Step) -> Step:
    return step.model_copy(update={"seconds": 0.0})


@pytest.fixture
def searched(folder: Path, tmp_path: Path) -> Answer:
    """An answer to a follow-up question, with a transform and two postprocessors."""
    with Pipeline(
        index=tmp_path / "i",
        transforms=(Decompose(model=ScriptedChat(replies=("charging time",))),),
        postprocessors=(MMR(), LostInTheMiddle()),
        k=1,
    ) as pipeline:
        pipeline.ingest(folder)
        return pipeline.ask("And how long does charging it take?", history=HISTORY)


@pytest.fixture
def repaired(folder: Path, tmp_path: Path) -> Answer:
    draft = f"{SUPPORTED} {UNSUPPORTED}"
    return ask_grounded(folder, tmp_path, draft, draft, unsupported="repair")


def test_steps_of_a_search_and_of_the_extractive_generator(searched: Answer) -> None:
    condensed = "And how long does charging it take? (battery)"
    condense, transform, retrieve, mmr, reorder, extract, verify = searched.trace
    assert all(step.seconds > 0 for step in searched.trace)
    assert without_seconds(condense) == CondenseStep(
        name="condense", seconds=0, question=condensed, condenser="carry-over"
    )
    assert without_seconds(transform) == TransformStep(
        name="transform", seconds=0, transform="decompose", queries=(condensed, "charging time")
    )
    assert isinstance(retrieve, RetrieveStep)
    assert retrieve.retriever == HybridRetriever().config() and retrieve.hits > 1
    assert without_seconds(mmr) == PostprocessStep(
        name="postprocess", seconds=0, postprocessor="mmr", hits=1
    )
    assert isinstance(reorder, PostprocessStep)
    assert (reorder.postprocessor, reorder.hits) == ("lost-in-the-middle", 1)
    assert isinstance(extract, ExtractStep)
    assert (extract.name, extract.passages, extract.left_out) == ("extract", 1, 0)
    assert extract.candidates > 1 and 0.85 < extract.relevance <= 2
    count = len(searched.citations)
    assert count > 0
    assert without_seconds(verify) == VerifyStep(
        name="verify", seconds=0, citations=count, verified=count
    )


def test_steps_of_the_grounded_generator(folder: Path, tmp_path: Path) -> None:
    reply = f"{SUPPORTED} [See](https://evil.example) the nylon propellers, 50 hours [7]."
    retrieve, generate, check, verify = ask_grounded(folder, tmp_path, reply).trace
    assert isinstance(retrieve, RetrieveStep)
    assert retrieve.retriever["type"] == "lexical"
    assert isinstance(generate, GenerateStep)
    assert generate.prompt.name == "grounded" and len(generate.prompt.hash) == 16
    assert generate.passages == retrieve.hits and generate.left_out == 0
    assert generate.finish_reason == "stop"
    assert isinstance(check, CheckStep)
    assert check.verifier == LexicalVerifier().config()
    assert (check.sentences, check.dropped_markers, check.removed_links) == (2, 1, 1)
    assert check.dropped == () and check.draft == reply
    assert isinstance(verify, VerifyStep)
    assert verify.citations == verify.verified > 0


def test_draft_is_none_if_the_answer_has_its_text(folder: Path, tmp_path: Path) -> None:
    check = ask_grounded(folder, tmp_path, SUPPORTED).trace[2]
    assert isinstance(check, CheckStep)
    assert (check.sentences, check.supported, check.attributed, check.draft) == (1, 1, 0, None)
    check = ask_grounded(folder, tmp_path, "").trace[2]
    assert isinstance(check, CheckStep) and check.draft == ""


def test_citations_that_the_verifier_finds_are_attributed(folder: Path, tmp_path: Path) -> None:
    check = ask_grounded(folder, tmp_path, SUPPORTED.replace(" [1]", "")).trace[2]
    assert isinstance(check, CheckStep) and check.attributed == 1


def test_hits_over_the_budget_are_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "long.md").write_text("The battery lasts long. " * 60)
    _, generate, *_ = ask_grounded(folder, tmp_path, SUPPORTED, budget=64).trace
    assert isinstance(generate, GenerateStep)
    assert generate.passages == 1 and generate.left_out > 0


def test_a_repair_has_a_step_of_its_own(repaired: Answer) -> None:
    _, generate, repair, check, _ = repaired.trace
    assert isinstance(generate, GenerateStep) and isinstance(repair, RepairStep)
    assert repair.failing == (UNSUPPORTED.replace(" [1]", ""),)
    assert repair.prompt == generate.prompt and repair.passages == generate.passages
    assert isinstance(check, CheckStep)
    assert (check.supported, check.dropped) == (1, (UNSUPPORTED,))


def test_steps_of_an_extraction(folder: Path, tmp_path: Path) -> None:
    chat = ScriptedChat(replies=('{"battery_minutes": 34, "inventor": "Zorro"}',))
    with Pipeline(index=tmp_path / "i", generator=GroundedGenerator(model=chat)) as pipeline:
        pipeline.ingest(folder)
        extraction = pipeline.extract("the drone", Drone)
    retrieve, fill, check = extraction.trace
    assert isinstance(retrieve, RetrieveStep)
    assert without_seconds(fill) == FillStep(
        name="fill", seconds=0, passages=retrieve.hits, left_out=0
    )
    assert without_seconds(check) == CheckFieldsStep(
        name="check_fields", seconds=0, fields=2, supported=1
    )
    assert type(extraction).model_validate_json(extraction.model_dump_json()) == extraction


def test_labels_name_the_part_where_a_stage_can_have_several(searched: Answer) -> None:
    assert [step.label for step in searched.trace] == [
        "condense",
        "transform decompose",
        "retrieve",
        "postprocess mmr",
        "postprocess lost-in-the-middle",
        "extract",
        "verify",
    ]


@pytest.mark.parametrize("options", [{}, {"exclude_defaults": True}, {"exclude_unset": True}])
def test_trace_survives_json(searched: Answer, repaired: Answer, options: dict[str, bool]) -> None:
    for answer in (searched, repaired):
        text = answer.model_dump_json(**options)  # type: ignore[arg-type]
        for step in json.loads(text)["trace"]:
            assert step["name"] in BUILT_IN_STEP_NAMES
            assert step["seconds"] > 0 and "detail" not in step
        assert Answer.model_validate_json(text) == answer


def test_custom_step_of_a_third_party_survives(folder: Path, tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "i", generator=Translating()) as pipeline:
        pipeline.ingest(folder)
        answer = pipeline.ask(QUESTION)
    assert [step.name for step in answer.trace] == ["retrieve", "translate", "verify"]
    assert answer.trace[1] == CustomStep(
        name="translate", seconds=0.5, detail={"hits": 3, "to": ["de", None]}
    )
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
    only_hits = (CustomStep(name="mine", seconds=1, detail={"hits": 3}), answer.trace[0])
    assert trace_adapter.validate_json(trace_adapter.dump_json(only_hits)) == only_hits


@pytest.mark.parametrize("name", sorted(BUILT_IN_STEP_NAMES))
def test_custom_step_cannot_have_a_built_in_name(name: str) -> None:
    with pytest.raises(ValidationError, match="choose another name"):
        CustomStep(name=name, seconds=0.1)


def test_built_in_names() -> None:
    assert sorted(BUILT_IN_STEP_NAMES) == [
        *(
            "cache",
            "check",
            "check_fields",
            "condense",
            "extract",
            "fill",
            "generate",
            "postprocess",
        ),
        *("repair", "retrieve", "transform", "verify"),
    ]


def test_a_built_in_step_without_a_field_or_with_another_one_is_refused() -> None:
    step = {"name": "verify", "seconds": 0.1, "citations": 1, "verified": 1}
    assert trace_adapter.validate_python([step])[0].verified == 1
    for change in ({"verified": -1}, {"other": 1}, {"citations": None}):
        with pytest.raises(ValidationError):
            trace_adapter.validate_python([step | change])


def test_lone_surrogates_in_a_draft_are_replaced(folder: Path, tmp_path: Path) -> None:
    answer = ask_grounded(folder, tmp_path, f"{UNSUPPORTED} \ud800")
    assert answer.status == "abstained"
    assert "\ufffd" in answer.model_dump_json()


# -- readers of the steps ------------------------------------------------------------------


@pytest.mark.parametrize("step_type", [GenerateStep, RepairStep])
def test_a_reply_that_was_cut_off_is_reported(step_type: type[Step], repaired: Answer) -> None:
    assert _finish_reason(repaired) == "stop"
    assert not any("cut off" in note for note in answer_notes(repaired))
    trace = [
        step.model_copy(update={"finish_reason": "length"}) if type(step) is step_type else step
        for step in repaired.trace
    ]
    cut_off = repaired.model_copy(update={"trace": tuple(trace)})
    assert _finish_reason(cut_off) == "length"
    assert "the model's reply was cut off at its token limit" in answer_notes(cut_off)


def test_notes_say_what_was_removed(folder: Path, tmp_path: Path) -> None:
    draft = f"{SUPPORTED.replace('battery', '[battery](https://evil.example)')} {UNSUPPORTED}"
    answer = ask_grounded(folder, tmp_path, draft, unsupported="drop")
    notes = answer_notes(answer)
    assert "1 unsupported sentence removed" in notes
    assert "links or markup removed from 1 sentence" in notes
    assert not any("did not fit" in note for note in notes)


@pytest.mark.parametrize("step_type", [GenerateStep, ExtractStep])
def test_notes_count_the_passages_over_the_budget(
    step_type: type[Step], repaired: Answer, searched: Answer
) -> None:
    answer = repaired if step_type is GenerateStep else searched
    trace = [
        step.model_copy(update={"left_out": 1}) if type(step) is step_type else step
        for step in answer.trace
    ]
    note = f"1 of {len(answer.hits)} passages did not fit into the token budget"
    assert note not in answer_notes(answer)
    assert note in answer_notes(answer.model_copy(update={"trace": tuple(trace)}))


def test_chat_explains_an_answer(
    searched: Answer, repaired: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    explain_answer(searched)
    output = capsys.readouterr().out
    assert "understood as: And how long does charging it take? (battery)\n" in output
    assert re.search(r"^postprocess mmr: \d+ ms$", output, re.M) and "draft" not in output
    explain_answer(repaired.model_copy(update={"status": "abstained"}))
    assert f"the model's draft was: {SUPPORTED} {UNSUPPORTED}\n" in capsys.readouterr().out


# -- traces of version 0.1 -----------------------------------------------------------------


def test_old_trace_of_the_extractive_generator() -> None:
    condensed = "And charging? (battery)"
    assert trace_adapter.validate_python(OLD_TRACES["extractive"]) == (
        CondenseStep(name="condense", seconds=0.0002, question=condensed, condenser="carry-over"),
        TransformStep(
            name="transform",
            seconds=OLD_TRACES["extractive"][1]["seconds"],
            transform="decompose",
            queries=(condensed, "charging time"),
        ),
        RetrieveStep(
            name="retrieve",
            seconds=OLD_TRACES["extractive"][2]["seconds"],
            retriever=OLD_TRACES["extractive"][2]["detail"]["retriever"],
            hits=1,
        ),
        PostprocessStep(name="postprocess", seconds=0.0001, postprocessor="mmr", hits=1),
        ExtractStep(
            name="extract",
            seconds=OLD_TRACES["extractive"][4]["seconds"],
            passages=1,
            left_out=0,
            candidates=6,
            relevance=0.809,
        ),
        VerifyStep(name="verify", seconds=0.0001, citations=0, verified=0),
    )


def test_old_trace_of_the_grounded_generator() -> None:
    _, generate, repair, check, verify = trace_adapter.validate_python(OLD_TRACES["grounded"])
    assert isinstance(generate, GenerateStep)
    assert generate.prompt == PromptIdentity(name="grounded", version="2", hash="92444fe9de9d2a8a")
    assert isinstance(repair, RepairStep)
    assert repair.failing == ("It was invented by llamas in Peru.",)
    assert isinstance(check, CheckStep)
    assert (check.dropped, check.draft) == ((UNSUPPORTED,), f"{SUPPORTED} {UNSUPPORTED}")
    assert isinstance(verify, VerifyStep) and verify.verified == 1


def test_old_trace_without_a_draft() -> None:
    check = OLD_TRACES["grounded"][3]
    detail = {key: value for key, value in check["detail"].items() if key != "draft"}
    (step,) = trace_adapter.validate_python([check | {"detail": detail}])
    assert isinstance(step, CheckStep) and step.draft is None


def test_old_trace_of_an_extraction() -> None:
    _, fill, check = trace_adapter.validate_python(OLD_TRACES["extraction"])
    assert isinstance(fill, FillStep) and (fill.passages, fill.left_out) == (1, 0)
    assert isinstance(check, CheckFieldsStep) and (check.fields, check.supported) == (1, 1)


def test_old_steps_of_third_parties_become_custom_steps() -> None:
    old_trace = [
        {"name": "my-transform", "seconds": 1, "detail": {"queries": ["a"]}},
        *OLD_TRACES["extractive"][2:3],
        {"name": "my-reranker", "seconds": 2, "detail": {"hits": 4}},
        {"name": "summarize", "seconds": 3, "detail": {"model": "m"}},
        {"name": "generate", "seconds": 4, "detail": {"model": "m"}},
        {"name": "wait", "seconds": 5},
    ]
    trace = trace_adapter.validate_python(old_trace)
    assert (trace[0], *trace[2:]) == (
        TransformStep(name="transform", seconds=1, transform="my-transform", queries=("a",)),
        PostprocessStep(name="postprocess", seconds=2, postprocessor="my-reranker", hits=4),
        CustomStep(name="summarize", seconds=3, detail={"model": "m"}),
        CustomStep(name="custom.generate", seconds=4, detail={"model": "m"}),
        CustomStep(name="wait", seconds=5),
    )
    assert trace_adapter.validate_json(trace_adapter.dump_json(trace)) == trace


def test_old_answer_is_read_from_json() -> None:
    text = json.dumps({"text": "a", "status": "answered", "trace": OLD_TRACES["grounded"]})
    answer = Answer.model_validate_json(text)
    assert [step.name for step in answer.trace] == [
        *("retrieve", "generate", "repair", "check", "verify")
    ]


@pytest.mark.parametrize("trace", [None, "verify", 3, [3], [None], [{"detail": {}}]])
def test_what_is_no_trace_is_refused(trace: object) -> None:
    with pytest.raises(ValidationError):
        trace_adapter.validate_python(trace)
