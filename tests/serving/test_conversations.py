"""Conversations on the server: search, rename, export, feedback; settings and formulas."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import AnswerCompleted, ConfigError, Pipeline
from rag.serving import Options
from tests.serving.conftest import QUESTION, Server, serve_pipeline


def ask(server: Server, question: str, conversation: str) -> None:
    body = {"question": question, "conversation": conversation}
    assert server.client.post("/ask", json=body).status_code == 200


def list_names(server: Server, search: str = "") -> list[str]:
    reply = server.client.get("/conversations", params={"search": search}).json()
    return sorted(entry["name"] for entry in reply["conversations"])


def test_conversations_are_searched_in_names_questions_and_answers(server: Server) -> None:
    ask(server, "How long does the battery last?", "first")
    ask(server, "What are the propellers made of?", "Zweite Übersicht")
    assert list_names(server) == ["Zweite Übersicht", "first"]
    assert list_names(server, "34 MINUTES") == ["first"]
    assert list_names(server, "propellers made") == ["Zweite Übersicht"]
    assert list_names(server, "übersicht") == ["Zweite Übersicht"]
    assert list_names(server, "%") == []


def test_a_conversation_is_renamed_with_its_feedback(server: Server) -> None:
    ask(server, QUESTION, "old")
    ask(server, QUESTION, "taken")
    client = server.client
    opinion = {"number": 1, "rating": "up", "comment": "right"}
    assert client.post("/feedback", params={"name": "old"}, json=opinion).status_code == 200
    renamed = client.patch("/conversation", params={"name": "old"}, json={"name": "new"})
    assert renamed.json() == {"name": "new"}
    assert list_names(server) == ["new", "taken"]
    (turn,) = client.get("/conversation", params={"name": "new"}).json()["turns"]
    assert (turn["rating"], turn["comment"]) == ("up", "right")
    for name, new_name, status in (("new", "taken", 400), ("none", "x", 404)):
        reply = client.patch("/conversation", params={"name": name}, json={"name": new_name})
        assert reply.status_code == status
    assert list_names(server) == ["new", "taken"]


def test_the_last_turns_are_deleted_with_their_feedback(server: Server) -> None:
    for _ in range(3):
        ask(server, QUESTION, "c")
    client = server.client
    for number in (1, 2):
        opinion = {"number": number, "rating": "down"}
        client.post("/feedback", params={"name": "c"}, json=opinion)
    deleted = client.delete("/conversation", params={"name": "c", "first": 2})
    assert deleted.json() == {"deleted": 2}
    assert len(client.get("/conversation", params={"name": "c"}).json()["turns"]) == 1
    (feedback,) = client.get("/feedback").json()["feedback"]
    assert feedback["number"] == 1 and feedback["question"] == QUESTION
    no_turn = client.post("/feedback", params={"name": "c"}, json={"number": 2, "rating": "up"})
    assert no_turn.status_code == 404


def test_a_store_of_an_earlier_version_takes_feedback(
    pipeline: Pipeline, folder: Path, server: Server
) -> None:
    ask(server, QUESTION, "c")
    with pipeline.conversations._database.transaction(write=True) as connection:
        connection.execute("DROP TABLE feedback")
    assert server.client.get("/feedback").json() == {"feedback": []}
    opinion = {"number": 1, "rating": "up"}
    reply = server.client.post("/feedback", params={"name": "c"}, json=opinion)
    assert reply.status_code == 200
    assert len(server.client.get("/feedback").json()["feedback"]) == 1


def test_settings_name_what_may_be_chosen_and_no_secret(pipeline: Pipeline, folder: Path) -> None:
    (folder / "a.md").write_text("---\nyear: 2025\n---\n# A\n\nText of A.\n")
    pipeline.ingest(folder)
    with serve_pipeline(pipeline, options=Options(models=("none",))) as server:
        reply = server.client.get("/settings")
        settings = reply.json()
        assert settings["models"] == ["none"] and settings["k"] == 8
        assert "year" in settings["fields"]
        assert (settings["model"], settings["generator"]) == ("", "extractive")
        assert str(pipeline.index) not in reply.text


def test_a_pipeline_with_another_model_shares_the_open_index(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    shared = pipeline.share(k=1)
    assert shared.open() is pipeline.open()
    assert len(shared.search("battery")) == 1
    shared.close()
    assert pipeline.ask(QUESTION).status == "answered"
    with pytest.raises(ConfigError, match="namespace"):
        pipeline.share(namespace="other")


def test_formulas_are_mathml(server: Server) -> None:
    reply = server.client.get("/math", params={"tex": r"\frac{a}{b}"})
    assert reply.headers["content-type"] == "application/mathml+xml"
    assert "<mfrac>" in reply.text
    bad = server.client.get("/math", params={"tex": r"\frac{"})
    assert bad.status_code in (200, 400)
    for tex in (
        "<script>alert(1)</script>",
        r"\text{<script>alert(1)</script>}",
        r"\href{javascript:alert(1)}{x}",
        r"\class{evil}{x}",
    ):
        hostile = server.client.get("/math", params={"tex": tex}).text
        assert "<script" not in hostile and "javascript:" not in hostile, tex
        assert "class=" not in hostile and "style=" not in hostile


@pytest.mark.parametrize("name", ["   ", "a\nb", "a\0", "\x1b[31mred", "\u202ex", "x" * 201])
def test_a_conversation_gets_no_name_that_it_could_not_begin_with(
    server: Server, name: str
) -> None:
    ask(server, QUESTION, "c")
    reply = server.client.patch("/conversation", params={"name": "c"}, json={"name": name})
    assert reply.status_code in (400, 422)
    assert list_names(server) == ["c"]


def test_a_replaced_turn_goes_only_when_the_new_answer_is_complete(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    conversation = pipeline.chat("c")
    for question in ("battery", "propellers", "charging"):
        conversation.ask(question)

    def questions() -> list[str]:
        return [turn.question for turn in pipeline.conversations.turns("c")]

    events = conversation.stream("What is the Kite 4?", replaces=2)
    next(events)
    events.close()  # as when the client stops
    assert questions() == ["battery", "propellers", "charging"]
    *_, completed = conversation.stream("What is the Kite 4?", replaces=2)
    assert isinstance(completed, AnswerCompleted) and completed.turn == 2
    assert questions() == ["battery", "What is the Kite 4?"]


def test_a_conversation_that_is_deleted_while_it_answers_stays_deleted(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    conversation = pipeline.chat("c")
    conversation.ask("battery")
    events = conversation.stream("propellers")
    next(events)
    pipeline.conversations.delete("c")
    *_, completed = events
    assert isinstance(completed, AnswerCompleted) and completed.turn is None
    assert pipeline.conversations.turns("c") == []
