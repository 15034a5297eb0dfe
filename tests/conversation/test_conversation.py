"""Conversations: kept, understood, and never in the way of each other."""

import sqlite3
import threading
from pathlib import Path

import anyio
import numpy as np
import pytest

from rag import (
    Answer,
    AnswerCompleted,
    Conversation,
    GroundedGenerator,
    Pipeline,
    ScriptedChat,
    TextDelta,
)
from rag.conversation import ConversationStore
from rag.errors import IndexDamaged, IndexNotFound, ModelReplyError, QueryError, RagIndexError

BATTERY = "How long does the battery last?"


@pytest.fixture
def ingested(pipeline: Pipeline, folder: Path) -> Pipeline:
    pipeline.ingest(folder)
    return pipeline


def grounded(tmp_path: Path, folder: Path, *replies: str) -> tuple[Pipeline, ScriptedChat]:
    chat = ScriptedChat(replies=replies)
    made = Pipeline(index=tmp_path / "index", generator=GroundedGenerator(model=chat))
    made.ingest(folder)
    return made, chat


def test_a_follow_up_is_understood_without_a_model(ingested: Pipeline) -> None:
    conversation = ingested.chat("kite")
    conversation.ask(BATTERY)
    answer = conversation.ask("And how long does charging it take?")
    assert "Charging takes 90 minutes." in answer.text
    first, second = conversation.turns
    assert (first.number, first.question, first.standalone) == (1, BATTERY, BATTERY)
    assert second.standalone == "And how long does charging it take? (battery)"
    assert second.answer == answer
    assert answer.trace[0].name == "condense"


def test_it_is_kept_under_its_name(ingested: Pipeline, tmp_path: Path) -> None:
    answer = ingested.chat("kite").ask(BATTERY)
    with Pipeline(index=tmp_path / "index") as again:
        assert [turn.answer for turn in again.chat("kite").turns] == [answer]
        assert again.chat("other").turns == []
        assert [c.name for c in again.conversations.conversations()] == ["kite"]
        again.chat("kite").reset()
        assert again.chat("kite").turns == []


def test_without_a_name_a_new_one_begins(ingested: Pipeline) -> None:
    one, other = ingested.chat(), ingested.chat()
    assert one.name != other.name
    one.ask(BATTERY)
    assert other.turns == []


def test_namespaces_know_nothing_of_each_other_s(ingested: Pipeline, folder: Path) -> None:
    ingested.chat("kite").ask(BATTERY)
    with ingested.with_namespace("team") as team:
        team.ingest(folder)
        assert team.chat("kite").turns == []
        assert team.conversations.conversations() == []


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 500])
def test_names_that_are_none(ingested: Pipeline, name: str) -> None:
    with pytest.raises(QueryError, match="no name for a conversation"):
        ingested.chat(name)


def test_there_is_none_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound):
        Pipeline(index=tmp_path / "nowhere").chat("x")


def test_streams_and_async(ingested: Pipeline) -> None:
    conversation = ingested.chat("kite")
    *events, last = conversation.stream(BATTERY)
    assert isinstance(last, AnswerCompleted)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == last.answer.text

    async def ask() -> Answer:
        return await conversation.aask("And how long does charging it take?")

    assert anyio.run(ask).status == "answered"
    assert len(conversation.turns) == 2


def test_a_turn_that_fails_or_is_left_is_not_kept(tmp_path: Path, folder: Path) -> None:
    made, _ = grounded(tmp_path, folder, "A full battery lasts 34 minutes [1].")
    conversation = made.chat("kite")
    events = conversation.stream(BATTERY)
    next(events)
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(ModelReplyError):
        conversation.ask(BATTERY)
    assert conversation.turns == []


def test_the_model_is_told_the_latest_turns_and_the_question_by_itself(
    tmp_path: Path, folder: Path
) -> None:
    made, chat = grounded(
        tmp_path, folder, "A full battery lasts 34 minutes [1].", "Charging takes 90 minutes [1]."
    )
    conversation = made.chat("kite")
    conversation.ask(BATTERY)
    answer = conversation.ask("And charging it?")
    prompt = chat.requests[1][-1].content
    assert f"user: {BATTERY}\nassistant: A full battery lasts 34 minutes." in prompt
    assert prompt.endswith("Question: And charging it?")  # it reads what came before
    assert answer.trace[0].detail["question"] == "And charging it? (battery)"


def test_earlier_turns_come_back_by_meaning_when_not_all_fit(ingested: Pipeline) -> None:
    conversation = ingested.chat("kite", history_tokens=130)
    conversation.ask("What are the propellers made of?")
    for i in range(6):
        conversation.ask(f"What is the capital of country number {i}, and of its neighbours?")
    remembered = conversation._remembered(
        "How often are the nylon propellers replaced?", conversation.turns
    )
    numbers = [turn.number for turn in remembered]
    assert numbers[0] == 1 and numbers[-1] == 7 and len(numbers) < 7
    assert numbers == sorted(numbers)
    other = conversation._remembered("Which capital?", conversation.turns)
    assert other[0].number != 1


def test_of_a_turn_beyond_the_budget_the_question_is_told(tmp_path: Path, folder: Path) -> None:
    made, chat = grounded(tmp_path, folder, "A full battery lasts 34 minutes [1].", "Yes.", "Yes.")
    conversation = made.chat("kite", history_tokens=10)
    conversation.ask(BATTERY)
    conversation.ask("And charging it?")
    prompt = chat.requests[1][-1].content
    assert f"user: {BATTERY}" in prompt and "assistant:" not in prompt
    made.chat("kite", history_tokens=1).ask("And charging it?")
    assert "The conversation so far" not in chat.requests[2][-1].content


def test_evidence_of_earlier_turns_is_at_hand(ingested: Pipeline, folder: Path) -> None:
    conversation = ingested.chat("kite")
    cited = conversation.ask(BATTERY).citations[0]
    narrow = ingested.model_copy(update={"k": 1})
    found = narrow.ask("What was lost over the lake on 3 May?", evidence=[cited])
    assert [hit.stage_scores.keys() for hit in found.hits][1] == {"earlier"}
    assert found.hits[1].chunk.start <= cited.start < found.hits[1].chunk.end
    # Not out of what is asked for, not twice, and not when it has changed.
    where = {"uri": (folder / "notes.txt").as_uri()}
    assert len(narrow.ask("Lost over the lake?", evidence=[cited], where=where).hits) == 1
    assert len(ingested.ask(BATTERY, evidence=[cited]).hits) == 2
    (folder / "handbook.md").write_text("# All new\n\nNothing of the old handbook is left here.")
    ingested.ingest(folder)
    assert len(narrow.ask("What was lost over the lake?", evidence=[cited]).hits) == 1
    narrow.close()


def test_a_transcript_has_every_quote_and_its_place(ingested: Pipeline) -> None:
    conversation = ingested.chat("kite")
    citation = conversation.ask(BATTERY).citations[0]
    conversation.ask("What is the capital of Mongolia?")
    text = conversation.transcript()
    assert f"## {BATTERY}" in text
    assert f'characters {citation.start}-{citation.end}: "{citation.quote}"' in text
    assert "below 0.85" in text


# -- the store -----------------------------------------------------------------------------

ANSWER = Answer(text="x", status="abstained")
VECTOR = np.ones(3, dtype=np.float32)


def test_many_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
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


def test_looking_makes_no_file(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path / "c.sqlite")
    assert (store.turns("c"), store.conversations(), store.vectors("c", "e")) == ([], [], {})
    assert not store.path.exists()


def test_damage_is_told(tmp_path: Path) -> None:
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


def test_any_pipeline_like_thing_will_do(ingested: Pipeline, tmp_path: Path) -> None:
    conversation = Conversation(ingested, ConversationStore(tmp_path / "mine.sqlite"), "x")
    assert conversation.ask(BATTERY).status == "answered"
    assert (tmp_path / "mine.sqlite").exists()
