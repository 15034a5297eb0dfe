"""Types of values: columns of tables, YAML front matter, and dates of mails, in filters."""

import datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.parsers.auto import AutoParser
from connectors.parsers.records import Fields, TableParser
from connectors.parsers.typed_values import find_typed_columns, parse_typed_value
from rag import Document, F
from rag.types import flatten_metadata
from tests.connectors.parsing import parse, parse_parts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        (" -3.50 ", -3.5),
        ("0", 0),
        ("999999999999999", 999999999999999),
        ("TRUE", True),
        ("false", False),
        ("2025-01-02", datetime.date(2025, 1, 2)),
        ("2025-01-02T03:04Z", datetime.datetime(2025, 1, 2, 3, 4, tzinfo=datetime.UTC)),
        ("2025-01-02 03:04:05", datetime.datetime(2025, 1, 2, 3, 4, 5)),
    ],
)
def test_plain_forms_are_values(text: str, value: object) -> None:
    typed = parse_typed_value(text)
    assert (typed, type(typed)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        *("01234", "1,200.00", "1.2.3", "+49 30 123", "030-123", "1e5", "1_000", "٣", "12 "[::-1]),
        *("1000000000000000", "2025-02-30", "2025-1-2", "03/07/2024", "yes", "n/a", "", ".5", "5."),
    ],
)
def test_other_forms_stay_texts(text: str) -> None:
    expected = int(text) if text == " 21" else text
    assert parse_typed_value(text) == expected


@given(st.integers(-(10**15) + 1, 10**15 - 1) | st.dates() | st.booleans())
def test_written_values_are_read_back(value: object) -> None:
    typed = parse_typed_value(str(value))
    assert (typed, type(typed)) == (value, type(value))


def test_column_has_a_type_only_if_all_values_fit() -> None:
    rows = [
        dict(
            zip(("n", "mixed", "day", "flag", "zip", "version", "kinds", "none"), row, strict=True)
        )
        for row in (
            ("1", "1", "2024-01-02", "true", "01234", "1.9", "1", ""),
            ("2.5", "x", "2024-01-02T03:04", "FALSE", "12345", "1.10", "true", ""),
            ("", "3", "", "", "", "", "2024-01-01", ""),
        )
    ]
    assert find_typed_columns(rows) == {"n", "day", "flag"}


PUMPS = b"""id,title,year,price,built,sold,part
1,Pump A,2019,12.50,2019-05-01,true,007
2,Pump B,2021,8,2021-06-02,false,012
3,Pump C,2024,"1,200.00",2024-07-03,TRUE,100
"""


@pytest.mark.parametrize(
    ("where", "selected"),
    [
        (F("year") >= 2020, "BC"),
        (F("Year") == 2021, "B"),
        (F("year") == "2021", "B"),
        (F("price") < 10, "B"),
        (F("price") == 12.5, "A"),
        (F("price") == "1,200.00", "C"),
        (F("built") >= datetime.date(2021, 6, 2), "BC"),
        (F("built") < "2021-06-02", "A"),
        (F("built") == 2024, "C"),
        (F("sold") == True, "AC"),  # noqa: E712
        (F("sold") == "true", "AC"),
        (F("part") == "007", "A"),
        (F("part") == 7, ""),
        (F("part") == 100, "C"),
    ],
)
def test_filters_on_rows_of_a_table(where: object, selected: str) -> None:
    fields = Fields(text="{title}", title="title", key="id")
    parts = parse_parts(PUMPS, "a.csv", AutoParser(table=TableParser(per="row", fields=fields)))
    titles = [part.title for part in parts.values() if where.matches(part)]  # type: ignore[attr-defined]
    assert "".join(title[-1] for title in titles) == selected
    assert parts["!/2"].metadata == {
        "year": 2021,
        "price": "8",
        "built": "2021-06-02",
        "sold": False,
        "part": "012",
    }


def test_front_matter_is_yaml_1_2() -> None:
    text = """---
lang: no
on: yes
time: 12:30
octal: 0o17
decimal: 017
underscore: 1_000
day: 2025-01-02
moment: 2025-01-02 03:04:05 -8
no_day: 2025-13-02
exponent: 1e3
truth: True
nothing: ~
---
Text.
"""
    assert parse(text, "a.md").metadata == {
        "lang": "no",
        "on": "yes",
        "time": "12:30",
        "octal": 15,
        "decimal": 17,
        "underscore": "1_000",
        "day": "2025-01-02",
        "moment": "2025-01-02T03:04:05-08:00",
        "no_day": "2025-13-02",
        "exponent": 1000.0,
        "truth": True,
    }
    aliases = parse("---\na: &x 1\nb: *x\n---\nText.", "a.md")
    assert aliases.metadata == {"a": "&x 1", "b": "*x"}  # are not resolved


def test_date_of_a_mail_is_a_moment() -> None:
    mail = b"From: a@example.org\nDate: Tue, 4 Mar 2025 23:30:00 -0800\nSubject: Late\n\nReport.\n"
    document = parse(mail, "late.eml")
    assert (F("date") >= "2025-03-05T06:00:00+00:00").matches(document)
    assert (F("date") == "2025-03-05T07:30Z").matches(document)
    assert not (F("date") > "2025-03-05T07:30:00Z").matches(document)
    assert (F("date") == datetime.date(2025, 3, 5)).matches(document)


def test_scalars_of_numpy_and_decimals_are_numbers() -> None:
    raw = {
        "int": np.int64(3),
        "float": np.float32(0.1),
        "bool": np.bool_(True),
        "decimal": Decimal("1.50"),
        "whole": Decimal(2),
        "day": np.datetime64("2025-01-02"),
        "moment": np.datetime64("2025-01-02T03:04:05", "ns"),
        "list": (np.int8(1), Decimal("0.5")),
    }
    expected = {
        "int": 3,
        "float": 0.1,
        "bool": True,
        "decimal": 1.5,
        "whole": 2,
        "day": "2025-01-02",
        "moment": "2025-01-02T03:04:05",
        "list": (1, 0.5),
    }
    flat = flatten_metadata(raw | {"array": np.array([1, 2])})
    document = Document.model_validate({"uri": "u", "text": "t", "metadata": raw})
    for metadata in (flat, document.metadata):
        assert {name: metadata[name] for name in expected} == expected
        assert all(type(metadata[name]) is type(expected[name]) for name in expected)
    assert flat["array"] == (1, 2)
    assert (F("decimal") == Decimal("1.5")).matches(document)
    assert (F("int") > np.int32(2)).matches(document)
