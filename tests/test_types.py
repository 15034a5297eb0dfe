import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rag.types import (
    Answer,
    Chunk,
    Citation,
    CustomStep,
    Document,
    Hit,
    Mark,
    Sentence,
    StageScore,
    Usage,
    flatten_metadata,
    format_location,
)

ANY_TEXT = st.text(st.characters())  # lone surrogates included


def test_data_types_are_frozen() -> None:
    document = Document(uri="a", text="b")
    with pytest.raises(ValidationError):
        document.text = "c"  # type: ignore[misc]


@given(ANY_TEXT)
def test_any_text_becomes_storable_and_keeps_its_length(text: str) -> None:
    document = Document(uri="u", text=text)
    assert len(document.text) == len(text)
    document.text.encode("utf-8")


def test_answer_survives_a_json_round_trip() -> None:
    chunk = Chunk(
        id="1",
        uri="u",
        start=0,
        end=3,
        text="abc",
        headings=("A", "B"),
        metadata={"n": 1, "l": (1, "x")},
    )
    answer = Answer(
        text="abc [1]",
        status="answered",
        sentences=(Sentence(start=0, end=7, citations=(0,), support=0.5, status="partly"),),
        citations=(Citation(marker=1, uri="u", start=0, end=3, quote="abc", page=2),),
        hits=(Hit(chunk=chunk, score=0.5, stage_scores={"dense": StageScore(rank=1, score=0.9)}),),
        usage=Usage(input_tokens=1),
        trace=(CustomStep(name="s", seconds=0.1, detail={"a": [1]}),),
    )
    assert Answer.model_validate_json(answer.model_dump_json()) == answer


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**63, {"a": 1}, None, [[1]]])
def test_metadata_rejects_values_that_stores_cannot_represent(value: object) -> None:
    with pytest.raises(ValidationError):
        Document(uri="u", text="t", metadata={"key": value})  # type: ignore[dict-item]


def test_metadata_keeps_types_apart() -> None:
    document = Document(uri="u", text="t", metadata={"i": 1, "f": 1.0, "b": True, "s": "1"})
    assert [type(v) for v in document.metadata.values()] == [int, float, bool, str]


def test_flatten_metadata_keeps_all_values() -> None:
    import datetime

    raw = {
        "a": {"b": 1, "c": {"d": "x"}},
        "when": datetime.date(2025, 1, 2),
        "none": None,
        "empty": [],
        "list": [1, None, "x"],
        "nan": math.nan,
        "huge": 2**70,
        3: "three",
    }
    assert flatten_metadata(raw) == {
        "a.b": 1,
        "a.c.d": "x",
        "when": "2025-01-02",
        "list": (1, "x"),
        "nan": "nan",
        "huge": str(2**70),
        "3": "three",
    }
    Document(uri="u", text="t", metadata=flatten_metadata(raw))


def test_marks_must_lie_inside_the_text() -> None:
    with pytest.raises(ValidationError, match="mark ends at 9, text at 3"):
        Document(uri="u", text="abc", marks=(Mark(start=0, end=9, kind="page", value=1),))
    with pytest.raises(ValidationError, match="before it starts"):
        Mark(start=2, end=1, kind="page", value=1)


def test_source_locations_follow_the_marks() -> None:
    marks = (
        Mark(start=0, end=3, kind="page", value=1),
        Mark(start=3, end=3, kind="page", value=2),
        Mark(start=3, end=6, kind="page", value=3),
    )
    document = Document(uri="u", text="abcdef", marks=marks)
    pages = [document.location_at(i).get("page") for i in (0, 2, 3, 5, 6)]
    assert pages == [1, 1, 3, 3, None]
    rows = tuple(Mark(start=i, end=i + 1, kind="row", value=i) for i in (1, 2, 4))
    document = Document(uri="u", text="abcdef", marks=(*rows, *marks))
    assert document.location_at(2) == {"page": 1, "row": 2}
    assert document.location_at(3, 6) == {"page": 3, "row": 4}  # it begins before the row
    assert document.location_at(3) == {"page": 3}
    assert format_location({"sheet": "Costs", "row": 4}) == "sheet Costs, row 4"
    assert format_location({"time": 3723.5}) == "at 1:02:03"


@pytest.mark.parametrize(
    ("kind", "value"),
    [("page", "3"), ("sheet", 3), ("heading", "Title"), ("time", "1:00")],
)
def test_mark_rejects_a_value_of_the_wrong_type(kind: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Mark(start=0, end=1, kind=kind, value=value)


def test_page_is_in_the_json_and_is_accepted_back() -> None:
    citation = Citation(marker=1, uri="u", start=0, end=1, quote="a", location={"page": 7})
    dumped = citation.model_dump(mode="json")
    assert (dumped["page"], dumped["location"]) == (7, {"page": 7})
    assert Citation.model_validate_json(citation.model_dump_json()) == citation
    assert Citation(marker=1, uri="u", start=0, end=1, quote="a", page=7) == citation


@pytest.mark.parametrize(
    "change",
    [
        {"uri": "v"},
        {"text": "other"},
        {"title": "T"},
        {"mime": "text/html"},
        {"metadata": {"a": 2}},
        {"marks": (Mark(start=0, end=1, kind="page", value=1),)},
    ],
)
def test_digest_changes_with_every_field(change: dict[str, object]) -> None:
    document = Document(uri="u", text="text", metadata={"a": 1})
    assert document.digest == document.model_copy().digest
    assert document.digest != document.model_copy(update=change).digest
