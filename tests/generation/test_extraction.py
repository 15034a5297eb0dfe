"""Extraction of pydantic models with citations for each field."""

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


def make_pipeline(folder: Path, tmp_path: Path, *replies: str) -> tuple[Pipeline, ScriptedChat]:
    chat = ScriptedChat(replies=replies)
    pipeline = Pipeline(index=tmp_path / "index", generator=GroundedGenerator(model=chat))
    pipeline.ingest(folder)
    return pipeline, chat


def test_each_value_has_citations(folder: Path, tmp_path: Path) -> None:
    reply = '{"battery_minutes": 34, "charging": null, "propellers": [{"material": "nylon"}]}'
    pipeline, chat = make_pipeline(folder, tmp_path, reply)
    extraction = pipeline.extract("What are the facts of the Kite 4?", Drone)
    assert extraction.value == Drone(battery_minutes=34, propellers=[Part(material="nylon")])
    assert {path: evidence.status for path, evidence in extraction.fields.items()} == {
        "battery_minutes": "supported",
        "charging": "needs_none",
        "propellers.0.material": "supported",
        "indoors": "needs_none",
    }
    quotes = {path: [c.quote for c in e.citations] for path, e in extraction.fields.items()}
    assert quotes["battery_minutes"] == ["A full battery lasts 34 minutes in calm air."]
    assert quotes["propellers.0.material"] == ["The propellers are made of nylon."]
    for evidence in extraction.fields.values():
        for citation in evidence.citations:
            assert citation.verified
            text = pipeline.document(citation.uri).text
            assert text[citation.start : citation.end] == citation.quote
    assert extraction.usage.calls == 1
    assert chat.schemas[0] == Drone.model_json_schema()
    assert type(extraction).model_validate_json(extraction.model_dump_json()) == extraction


def test_values_that_no_passage_has_are_unsupported(folder: Path, tmp_path: Path) -> None:
    reply = '{"battery_minutes": 43, "charging": "in Peru", "propellers": [{"material": "gold"}]}'
    pipeline, _ = make_pipeline(folder, tmp_path, reply)
    extraction = pipeline.extract("What are the facts of the Kite 4?", Drone)
    assert set(extraction.unsupported) == {"battery_minutes", "charging", "propellers.0.material"}


def test_reply_that_does_not_fit_the_model_is_an_error(folder: Path, tmp_path: Path) -> None:
    pipeline, _ = make_pipeline(folder, tmp_path, "no", '{"battery_minutes": "many"}')
    with pytest.raises(ModelReplyError, match="battery_minutes"):
        pipeline.extract("What are the facts of the Kite 4?", Drone)


def test_extraction_needs_a_chat_model(folder: Path, tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "i", generator=ExtractiveGenerator()) as pipeline:
        pipeline.ingest(folder)
        with pytest.raises(ConfigError, match="'grounded'"):
            pipeline.extract("x", Drone)


class PricedDrone(BaseModel):
    name: str
    price: str


class Catalogue(BaseModel):
    drones: list[PricedDrone]


@pytest.mark.parametrize(("price", "is_supported"), [("300 euros", True), ("400 euros", False)])
def test_value_of_another_item_is_unsupported(
    tmp_path: Path, price: str, is_supported: bool
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "prices.md").write_text(
        "The price of the Falcon is 300 euros.\n\nThe price of the Heron is 400 euros.\n"
    )
    reply = f'{{"drones": [{{"name": "Falcon", "price": "{price}"}}]}}'
    pipeline, _ = make_pipeline(tmp_path / "docs", tmp_path, reply)
    extraction = pipeline.extract("What do the drones cost?", Catalogue)
    assert (extraction.fields["drones.0.price"].status == "supported") is is_supported


def test_a_value_that_stands_in_a_heading_only_is_found(tmp_path: Path) -> None:
    class Invoice(BaseModel):
        number: str

    path = tmp_path / "a.md"
    path.write_text("# Invoice 2025-17\n\nThe total is 480 euros.\n")
    generator = GroundedGenerator(model=ScriptedChat(replies=('{"number": "2025-17"}',)))
    with Pipeline(index=tmp_path / "index", generator=generator) as pipeline:
        pipeline.ingest(path)
        evidence = pipeline.extract("the invoice", Invoice).fields["number"]
    assert evidence.status != "unsupported"
    assert [citation.quote for citation in evidence.citations] == ["Invoice 2025-17"]
