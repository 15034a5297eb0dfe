from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from rag import ExtractiveGenerator, GroundedGenerator, Pipeline, ScriptedChat
from rag.errors import ConfigError, ModelReplyError


class Part(BaseModel):
    material: str


class Drone(BaseModel):
    battery_minutes: int = Field(description="how long the battery lasts")
    charging: str | None = None
    propellers: list[Part] = []
    indoors: bool | None = None


def pipeline(folder: Path, tmp_path: Path, *replies: str) -> tuple[Pipeline, ScriptedChat]:
    chat = ScriptedChat(replies=replies)
    made = Pipeline(index=tmp_path / "index", generator=GroundedGenerator(model=chat))
    made.ingest(folder)
    return made, chat


def test_each_value_has_its_citations(folder: Path, tmp_path: Path) -> None:
    reply = '{"battery_minutes": 34, "charging": null, "propellers": [{"material": "nylon"}]}'
    made, chat = pipeline(folder, tmp_path, reply)
    found = made.extract("What are the facts of the Kite 4?", Drone)
    assert found.value == Drone(battery_minutes=34, propellers=[Part(material="nylon")])
    assert {path: evidence.status for path, evidence in found.fields.items()} == {
        "battery_minutes": "supported",
        "charging": "needs_none",
        "propellers.0.material": "supported",
        "indoors": "needs_none",
    }
    quotes = {path: [c.quote for c in e.citations] for path, e in found.fields.items()}
    assert quotes["battery_minutes"] == ["A full battery lasts 34 minutes in calm air."]
    assert quotes["propellers.0.material"] == ["The propellers are made of nylon."]
    for evidence in found.fields.values():
        for citation in evidence.citations:
            assert citation.verified
            text = made.document(citation.uri).text
            assert text[citation.start : citation.end] == citation.quote
    assert found.usage.calls == 1
    assert chat.schemas[0] == Drone.model_json_schema()
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_what_nobody_wrote_is_unsupported(folder: Path, tmp_path: Path) -> None:
    reply = '{"battery_minutes": 43, "charging": "in Peru", "propellers": [{"material": "gold"}]}'
    made, _ = pipeline(folder, tmp_path, reply)
    found = made.extract("What are the facts of the Kite 4?", Drone)
    assert set(found.unsupported) == {"battery_minutes", "charging", "propellers.0.material"}


def test_a_reply_that_does_not_fit_is_told(folder: Path, tmp_path: Path) -> None:
    made, _ = pipeline(folder, tmp_path, "no", '{"battery_minutes": "many"}')
    with pytest.raises(ModelReplyError, match="battery_minutes"):
        made.extract("What are the facts of the Kite 4?", Drone)


def test_it_needs_a_chat_model(folder: Path, tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "i", generator=ExtractiveGenerator()) as made:
        made.ingest(folder)
        with pytest.raises(ConfigError, match="'grounded'"):
            made.extract("x", Drone)
