"""Query transforms: what is retrieved by, and what the model is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import Message, Pipeline, ScriptedChat
from rag.component import build
from rag.errors import ModelReplyError
from rag.retrieval import (
    Decompose,
    HyDE,
    LexicalRetriever,
    MultiQuery,
    Query,
    QueryTransform,
    Rewrite,
    StepBack,
)

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
    (found,) = rewrite.transform("And how long does it last?", HISTORY)
    assert found.text == "How long does the battery of the drone last?"
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
    made = transform(model=chat(reply))  # type: ignore[call-arg]
    found = made.transform("q", [])
    assert [query.text for query in found] == texts
    assert found[0].weight == 1
    assert build("transform", made.config()) == made


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
        assert (step.name, step.detail["queries"]) == ("decompose", ["alpha", "beta"])


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
