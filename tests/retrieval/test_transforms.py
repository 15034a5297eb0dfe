"""Query transforms: what is retrieved by, and what the model is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from rag import GroundedGenerator, Hit, Message, Pipeline, ScriptedChat
from rag.component import build
from rag.errors import ModelReplyError
from rag.index import Index
from rag.postprocessing import ScoreThreshold
from rag.retrieval import (
    CarryOver,
    Decompose,
    HyDE,
    LexicalRetriever,
    MultiQuery,
    Query,
    QueryTransform,
    Rewrite,
    StepBack,
)
from rag.types import NO_ANSWER

HISTORY = [
    Message(role="user", content="What is the drone's battery?"),
    Message(role="assistant", content="A lithium pack."),
]


def chat(*replies: str) -> ScriptedChat:
    return ScriptedChat(replies=replies)


def test_rewriting_needs_a_conversation() -> None:
    model = chat('"How long does the battery of the drone last?"\nSecond line')
    rewrite = Rewrite(model=model)
    assert rewrite.transform("And how long does it last?", []) == [
        Query("And how long does it last?")
    ]
    assert not model.requests
    (query,) = rewrite.transform("And how long does it last?", HISTORY)
    assert query.text == "How long does the battery of the drone last?"
    assert "A lithium pack." in model.requests[0][-1].content


@pytest.mark.parametrize(
    ("transform", "reply", "texts"),
    [
        (
            MultiQuery,
            "1. One way?\n- Another way?\n\n* A third?\nA fourth?",
            ["q", "One way?", "Another way?", "A third?"],
        ),
        (StepBack, "A general one?\nMore", ["q", "A general one?"]),
        (Decompose, "Part one?\nPart two?", ["q", "Part one?", "Part two?"]),
        (HyDE, "A passage.", ["q", "q\nA passage."]),
        (MultiQuery, "", ["q"]),
    ],
)
def test_the_question_stays_and_others_join(
    transform: type[QueryTransform], reply: str, texts: list[str]
) -> None:
    instance = transform(model=chat(reply))  # type: ignore[call-arg]
    queries = instance.transform("q", [])
    assert [query.text for query in queries] == texts
    assert queries[0].weight == 1
    assert build("transform", instance.config()) == instance


@pytest.mark.parametrize(
    "line", ["3.5 mm jack", "2.0 release date?", "-5 degrees", 'Who wrote "Foo Bar"', "**Q:** a"]
)
def test_a_line_keeps_what_is_its_own(line: str) -> None:
    queries = MultiQuery(model=chat(f"1. {line}\n- {line}\n  {line}")).transform("q", [])
    assert [query.text for query in queries[1:]] == [line] * 3


def test_a_rewritten_question_is_what_refiners_read(tmp_path: Path, folder: Path) -> None:
    questions_read: list[str] = []

    class Listening(ScoreThreshold):
        name: ClassVar[str] = "listening"

        def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
            questions_read.append(query)
            return list(hits)

    with Pipeline(
        index=tmp_path / "i",
        transforms=(Rewrite(model=chat("How long does the battery last?")),),
        postprocessors=(Listening(share=0),),
    ) as pipeline:
        pipeline.ingest(folder)
        pipeline.search("And it?", history=HISTORY)
    assert questions_read == ["How long does the battery last?"]


def test_queries_are_fused(tmp_path: Path) -> None:
    for name, text in {"a": "alpha only", "b": "beta only", "c": "alpha and beta"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    model = chat("beta", "beta")
    with Pipeline(
        index=tmp_path / "i",
        transforms=(Decompose(model=model, weight=0.5),),
        retriever=LexicalRetriever(),
    ) as pipeline:
        pipeline.ingest(*sorted(tmp_path.glob("*.txt")))
        hits = pipeline.search("alpha")
        assert [Path(hit.chunk.uri).stem for hit in hits] == ["c", "a", "b"]
        assert all(0 < hit.score <= 1 for hit in hits)
        answer = pipeline.ask("alpha")
        step = answer.trace[0]
        assert (step.transform, step.queries) == ("decompose", ("alpha", "beta"))


def test_fused_scores_do_not_depend_on_how_many_are_asked_for(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.txt").write_text("alpha " * (i + 1) + "beta " * (12 - i))
    transforms = (Decompose(model=chat(*["beta"] * 3)),)
    with Pipeline(
        index=tmp_path / "i", transforms=transforms, retriever=LexicalRetriever()
    ) as pipeline:
        pipeline.ingest(*sorted(tmp_path.glob("*.txt")))
        many, few, single = (pipeline.search("alpha", k=k) for k in (12, 3, 1))
        assert many[:3] == few
        assert many[:1] == single


def test_transforms_follow_each_other_with_the_conversation(tmp_path: Path, folder: Path) -> None:
    model = chat("How long does the battery last?", "battery life\nflight time")
    with Pipeline(
        index=tmp_path / "i", transforms=(Rewrite(model=model), MultiQuery(model=model))
    ) as pipeline:
        pipeline.ingest(folder)
        hits = pipeline.search("And it?", history=HISTORY)
        assert "battery" in hits[0].chunk.text.lower()
        assert "How long does the battery last?" in model.requests[1][-1].content
        with pytest.raises(ModelReplyError):
            pipeline.search("And it?", history=HISTORY)


# -- without a model -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "before", "understood"),
    [
        ("And how long does charging it take?", "How long does the battery last?", "battery"),
        ("What about the propellers?", "How heavy is the Kite 4?", "Kite 4"),
        ("Why?", "Did the pump of model 3 change?", "pump model 3"),
        ("Is it covered?", "What does the warranty of the P-40 say?", "warranty P-40"),
    ],
)
def test_carry_over(question: str, before: str, understood: str) -> None:
    history = [Message(role="user", content=before), Message(role="assistant", content="So.")]
    (query,) = CarryOver().transform(question, history)
    assert query == Query(question, carried_terms=tuple(understood.split()))
    assert str(query) == f"{question} ({understood})"


def test_carry_over_goes_back_to_the_question_before_as_it_was_understood() -> None:
    history = [
        Message(role="user", content="How long does the battery last?"),
        Message(role="assistant", content="34 minutes."),
        Message(role="user", content="And in the cold?"),
        Message(role="assistant", content="20 minutes."),
    ]
    assert CarryOver().transform("Why is that?", history) == [
        Query("Why is that?", carried_terms=("battery", "last", "cold"))
    ]


def test_carry_over_skips_a_question_without_an_answer() -> None:
    history = [
        Message(role="user", content="How long does the battery last?"),
        Message(role="assistant", content="34 minutes."),
        Message(role="user", content="Who designed the propellers?"),
        Message.model_validate_json(json.dumps({"role": "assistant", "content": NO_ANSWER})),
    ]
    assert CarryOver().transform("Why is that?", history) == [
        Query("Why is that?", carried_terms=("battery",))
    ]


@pytest.mark.parametrize(
    "question", ["How heavy is the drone with both cameras?", "Wie schwer ist die Drohne gesamt?"]
)
def test_carry_over_leaves_what_stands_by_itself(question: str) -> None:
    history = [Message(role="user", content="How long does the battery last?")]
    assert CarryOver().transform(question, history) == [Query(question)]
    assert CarryOver().transform("And it?", []) == [Query("And it?")]


def test_a_condensed_question_is_searched_and_answered(tmp_path: Path, folder: Path) -> None:
    rewriting = chat("How long does charging the battery take?")
    answering = chat("Charging takes 90 minutes [1].")
    pipeline = Pipeline(
        index=tmp_path / "i",
        condenser=Rewrite(model=rewriting),
        generator=GroundedGenerator(model=answering),
    )
    with pipeline:
        pipeline.ingest(folder)
        answer = pipeline.ask("And charging?", history=HISTORY)
    assert answering.requests[0][-1].content.endswith("How long does charging the battery take?")
    assert answer.trace[0].name == "condense"
    assert answer.usage.calls == 2  # the rewriting counts as well
