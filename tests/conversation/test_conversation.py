"""Conversations: storage, follow-up questions, history and evidence."""

import json
import sqlite3
import threading
from pathlib import Path

import anyio
import numpy as np
import pytest

from rag import (
    Answer,
    AnswerCompleted,
    CondenseStep,
    Conversation,
    GroundedGenerator,
    Pipeline,
    ScriptedChat,
    TextDelta,
    TransformStep,
)
from rag.conversation import ConversationStore, Turn
from rag.errors import IndexDamaged, IndexNotFound, ModelReplyError, QueryError, RagIndexError

BATTERY = "How long does the battery last?"


@pytest.fixture
def ingested_pipeline(pipeline: Pipeline, folder: Path) -> Pipeline:
    pipeline.ingest(folder)
    return pipeline


def make_grounded_pipeline(
    tmp_path: Path, folder: Path, *replies: str
) -> tuple[Pipeline, ScriptedChat]:
    chat = ScriptedChat(replies=replies)
    pipeline = Pipeline(index=tmp_path / "index", generator=GroundedGenerator(model=chat))
    pipeline.ingest(folder)
    return pipeline, chat


def test_follow_up_is_condensed_without_a_model(ingested_pipeline: Pipeline) -> None:
    conversation = ingested_pipeline.chat("kite")
    conversation.ask(BATTERY)
    answer = conversation.ask("And how long does charging it take?")
    assert "Charging takes 90 minutes." in answer.text
    first, second = conversation.turns
    assert (first.number, first.question, first.standalone) == (1, BATTERY, BATTERY)
    assert second.standalone == "And how long does charging it take? (battery)"
    assert second.answer == answer
    assert answer.trace[0].name == "condense"


def test_conversation_is_saved_under_its_name(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    answer = ingested_pipeline.chat("kite").ask(BATTERY)
    with Pipeline(index=tmp_path / "index") as reopened:
        assert [turn.answer for turn in reopened.chat("kite").turns] == [answer]
        assert reopened.chat("other").turns == []
        assert [c.name for c in reopened.conversations.conversations()] == ["kite"]
        reopened.chat("kite").reset()
        assert reopened.chat("kite").turns == []


def test_chat_without_a_name_starts_a_new_conversation(ingested_pipeline: Pipeline) -> None:
    first, second = ingested_pipeline.chat(), ingested_pipeline.chat()
    assert first.name != second.name
    first.ask(BATTERY)
    assert second.turns == []


def test_turn_that_version_0_1_saved_is_read(ingested_pipeline: Pipeline, tmp_path: Path) -> None:
    conversation = ingested_pipeline.chat("kite")
    conversation.ask(BATTERY)
    old_steps = [
        {"name": "condense", "seconds": 0.1, "detail": {"question": "q", "condenser": "c"}},
        {"name": "decompose", "seconds": 0.2, "detail": {"queries": ["q"]}},
    ]
    with sqlite3.connect(conversation._store.path) as connection:
        connection.execute(
            "UPDATE turns SET answer = json_set(answer, '$.trace', json(?))",
            (json.dumps(old_steps),),
        )
    (turn,) = ingested_pipeline.chat("kite").turns
    assert turn.answer.trace == (
        CondenseStep(name="condense", seconds=0.1, question="q", condenser="c"),
        TransformStep(name="transform", seconds=0.2, transform="decompose", queries=("q",)),
    )


def test_namespaces_have_separate_conversations(ingested_pipeline: Pipeline, folder: Path) -> None:
    ingested_pipeline.chat("kite").ask(BATTERY)
    with ingested_pipeline.with_namespace("team") as team:
        team.ingest(folder)
        assert team.chat("kite").turns == []
        assert team.conversations.conversations() == []


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 500])
def test_invalid_names_are_rejected(ingested_pipeline: Pipeline, name: str) -> None:
    with pytest.raises(QueryError, match="not a valid name"):
        ingested_pipeline.chat(name)


def test_chat_requires_an_index(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound):
        Pipeline(index=tmp_path / "nowhere").chat("x")


def test_stream_and_async_ask(ingested_pipeline: Pipeline) -> None:
    conversation = ingested_pipeline.chat("kite")
    *events, last = conversation.stream(BATTERY)
    assert isinstance(last, AnswerCompleted)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == last.answer.text

    async def ask() -> Answer:
        return await conversation.aask("And how long does charging it take?")

    assert anyio.run(ask).status == "answered"
    assert len(conversation.turns) == 2


def test_failed_and_closed_turns_are_not_saved(tmp_path: Path, folder: Path) -> None:
    pipeline, _ = make_grounded_pipeline(tmp_path, folder, "A full battery lasts 34 minutes [1].")
    conversation = pipeline.chat("kite")
    events = conversation.stream(BATTERY)
    next(events)
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(ModelReplyError):
        conversation.ask(BATTERY)
    assert conversation.turns == []


def test_model_receives_the_latest_turns_and_the_original_question(
    tmp_path: Path, folder: Path
) -> None:
    pipeline, chat = make_grounded_pipeline(
        tmp_path, folder, "A full battery lasts 34 minutes [1].", "Charging takes 90 minutes [1]."
    )
    conversation = pipeline.chat("kite")
    conversation.ask(BATTERY)
    answer = conversation.ask("And charging it?")
    prompt = chat.requests[1][-1].content
    assert f"user: {BATTERY}\nassistant: A full battery lasts 34 minutes." in prompt
    assert prompt.endswith("Question: And charging it?")  # the model reads the history itself
    assert answer.trace[0].question == "And charging it? (battery)"


def test_similar_earlier_turns_are_recalled_when_not_all_fit(ingested_pipeline: Pipeline) -> None:
    conversation = ingested_pipeline.chat("kite", history_tokens=130)
    conversation.ask("What are the propellers made of?")
    for i in range(6):
        conversation.ask(f"What is the capital of country number {i}, and of its neighbours?")
    selected_turns = conversation._select_turns(
        "How often are the nylon propellers replaced?", conversation.turns
    )
    numbers = [turn.number for turn in selected_turns]
    assert numbers[0] == 1 and numbers[-1] == 7 and len(numbers) < 7
    assert numbers == sorted(numbers)
    unrelated_turns = conversation._select_turns("Which capital?", conversation.turns)
    assert unrelated_turns[0].number != 1


def test_question_of_a_turn_over_the_budget_is_sent_alone(tmp_path: Path, folder: Path) -> None:
    pipeline, chat = make_grounded_pipeline(
        tmp_path, folder, "A full battery lasts 34 minutes [1].", "Yes.", "Yes."
    )
    conversation = pipeline.chat("kite", history_tokens=10)
    conversation.ask(BATTERY)
    conversation.ask("And charging it?")
    prompt = chat.requests[1][-1].content
    assert f"user: {BATTERY}" in prompt and "assistant:" not in prompt
    pipeline.chat("kite", history_tokens=1).ask("And charging it?")
    assert "The conversation so far" not in chat.requests[2][-1].content


def test_evidence_of_earlier_turns_is_added_to_the_hits(
    ingested_pipeline: Pipeline, folder: Path
) -> None:
    conversation = ingested_pipeline.chat("kite")
    citation = conversation.ask(BATTERY).citations[0]
    narrow = ingested_pipeline.model_copy(update={"k": 1})
    answer = narrow.ask("What was lost over the lake on 3 May?", evidence=[citation])
    assert [hit.stage_scores.keys() for hit in answer.hits][1] == {"earlier"}
    assert answer.hits[1].chunk.start <= citation.start < answer.hits[1].chunk.end
    # Evidence is not added outside the filter, twice, or after a change of its document.
    where = {"uri": (folder / "notes.txt").as_uri()}
    assert len(narrow.ask("Lost over the lake?", evidence=[citation], where=where).hits) == 1
    hits = ingested_pipeline.ask(BATTERY, evidence=[citation]).hits
    assert len(hits) == len(ingested_pipeline.ask(BATTERY).hits)
    (folder / "handbook.md").write_text("# All new\n\nNothing of the old handbook is left here.")
    ingested_pipeline.ingest(folder)
    assert len(narrow.ask("What was lost over the lake?", evidence=[citation]).hits) == 1
    narrow.close()


def test_transcript_has_every_quote_with_its_location(ingested_pipeline: Pipeline) -> None:
    conversation = ingested_pipeline.chat("kite")
    citation = conversation.ask(BATTERY).citations[0]
    conversation.ask("What is the capital of Mongolia?")
    text = conversation.transcript()
    assert f"## {BATTERY}" in text
    assert f'characters {citation.start}-{citation.end}: "{citation.quote}"' in text
    assert 'they do not mention "capital"' in text


# -- the store -----------------------------------------------------------------------------

ANSWER = Answer(text="x", status="abstained")
VECTOR = np.ones(3, dtype=np.float32)


def test_concurrent_writers_lose_no_turn(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "c.sqlite")

    def write() -> None:
        for _ in range(5):
            store.add("c", "q", "q", ANSWER, VECTOR, "e")

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [turn.number for turn in store.turns("c")] == list(range(1, 31))
    assert store.vectors("c", "e")[7].tolist() == [1, 1, 1]
    assert store.vectors("c", "another") == {}
    assert store.delete("c") == 30
    assert store.delete("c") == 0


def test_reading_creates_no_file(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "c.sqlite")
    assert (store.turns("c"), store.conversations(), store.vectors("c", "e")) == ([], [], {})
    assert not store.path.exists()


def test_damaged_files_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_text("not a database, but long enough to be read as the header of one" * 20)
    with pytest.raises(IndexDamaged, match="conversations only"):
        ConversationStore(path).turns("c")
    path.unlink()
    store = ConversationStore(path)
    store.add("c", "q", "q", ANSWER, VECTOR, "e")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE turns SET answer = '{}'")
    with pytest.raises(IndexDamaged, match="rag conversations delete"):
        store.turns("c")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(RagIndexError, match="another version"):
        store.turns("c")


def test_conversation_accepts_any_pipeline_and_store(
    ingested_pipeline: Pipeline, tmp_path: Path
) -> None:
    conversation = Conversation(ingested_pipeline, ConversationStore(tmp_path / "mine.sqlite"), "x")
    assert conversation.ask(BATTERY).status == "answered"
    assert (tmp_path / "mine.sqlite").exists()


def add_turn(store: ConversationStore, name: str, *, must_exist: bool = True) -> Turn | None:
    answer = Answer(text="Yes.", status="answered")
    vector = np.ones(3, dtype=np.float32)
    return store.add(name, "Is it?", "Is it?", answer, vector, "e", must_exist=must_exist)


def test_the_answer_to_a_conversation_that_is_renamed_meanwhile_is_kept(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "conversations.sqlite")
    add_turn(store, "a", must_exist=False)
    store.rename("a", "b")
    store.rename("b", "c")
    turn = add_turn(store, "a")
    assert turn is not None and turn.number == 2
    assert [(info.name, info.turns) for info in store.conversations()] == [("c", 2)]
    add_turn(store, "a", must_exist=False)  # a new conversation under the old name
    add_turn(store, "a")
    assert {info.name: info.turns for info in store.conversations()} == {"a": 2, "c": 2}
    store.rename("c", "b")
    store.rename("b", "c")  # there and back again
    assert add_turn(store, "b") is not None
    store.delete("c")
    assert add_turn(store, "b") is None
    assert {info.name: info.turns for info in store.conversations()} == {"a": 2}
