"""Dates in other writings are the same date; another date is another number."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import LexicalVerifier
from rag.verification.equal_dates import number_dates

VERIFIER = LexicalVerifier()
WRITINGS = (
    "{d.day} {d:%B} {d.year}",
    "{d:%B} {d.day}, {d.year}",
    "{d:%Y-%m-%d}",
    "{d:%d.%m.%Y}",
    "{d.day}. {d:%B} {d.year}",
    "{d.day} {d:%b} {d.year}",
)
DAYS = st.dates(datetime.date(1990, 1, 1), datetime.date(2049, 12, 31))


@given(DAYS, st.sampled_from(WRITINGS), st.sampled_from(WRITINGS))
def test_a_date_has_the_same_number_in_each_writing(
    day: datetime.date, first: str, second: str
) -> None:
    claim, passage = first.format(d=day), second.format(d=day)
    numbers = number_dates(f"The fair opens on {claim}.", f"Opening: {passage}; stands: 90")
    assert numbers == (f"The fair opens on {day:%Y%m%d}.", f"Opening: {day:%Y%m%d}; stands: 90")


@given(DAYS, DAYS, st.sampled_from(WRITINGS), st.sampled_from(WRITINGS))
def test_another_day_has_another_number(
    day: datetime.date, other: datetime.date, first: str, second: str
) -> None:
    claim, passage = number_dates(first.format(d=day), second.format(d=other))
    assert (claim == passage) == (day == other)


@pytest.mark.parametrize(
    ("claim", "passage", "numbered_claim", "numbered_passage"),
    [
        ("in March 2025", "on 2025-03-01", "in 202503", "on 202503"),
        ("on 1 March", "on 2025-03-01", "on 301", "on 301"),
        ("in April 2025", "on 1 March 2025", "in 202504", "on 20250301"),
        ("on 3 February 2025", "on 03/02/2025", "on 20250203", "on 20250203"),
        ("on 2 March 2025", "on 03/02/2025", "on 20250302", "on 20250302"),
        ("on 1 March 2025", "on 1 March", "on 1 March 2025", "on 1 March"),
        ("on 1 March 2025", "in March 2025", "on 1 March 2025", "in March 2025"),
        ("in March 2025", "on 1 March", "in March 2025", "on 1 March"),
        ("12 people", "on 1 March", "12 people", "on 1 March"),
        ("on 1 March", "12 people", "on 1 March", "12 people"),
        ("", "", "", ""),
    ],
)
def test_numbers_of_dates(
    claim: str, passage: str, numbered_claim: str, numbered_passage: str
) -> None:
    assert number_dates(claim, passage) == (numbered_claim, numbered_passage)


PASSAGES = (
    "The fair starts on 1 March 2025.",
    "The fair starts on 2025-03-01.",
    "The fair starts on 01.03.2025.",
    "Fairs > Boats: Event: Fair; Starts: 2025-03-01; Stands: 90",
    "Fairs 2025: The fair starts on 1 March.",
)


def test_a_text_with_very_many_dates_stays_as_it_is() -> None:
    claim, passage = "on 1 March " * 201, "on 2025-03-01"
    assert number_dates(claim, passage) == (claim, passage)
    assert number_dates(passage, claim) == (passage, claim)


@pytest.mark.parametrize("passage", PASSAGES)
@pytest.mark.parametrize(
    "date", ["on 1 March 2025", "on March 1, 2025", "in March 2025", "on 1 March"]
)
def test_a_right_date_is_supported(passage: str, date: str) -> None:
    claim = f"The fair starts {date}."
    assert VERIFIER.scores([(claim, passage)])[0] >= VERIFIER.threshold
    assert not VERIFIER.contradicts(claim, passage)


@pytest.mark.parametrize("passage", PASSAGES)
@pytest.mark.parametrize("date", ["on 1 April 2025", "on 3 March 2025", "in April 2025"])
def test_a_wrong_date_is_contradicted(passage: str, date: str) -> None:
    claim = f"The fair starts {date}."
    assert VERIFIER.scores([(claim, passage)])[0] < VERIFIER.partial
    assert VERIFIER.contradicts(claim, passage)


@pytest.mark.parametrize("passage", PASSAGES)
def test_a_date_of_another_year_is_not_supported(passage: str) -> None:
    claim = "The fair starts on 1 March 2024."
    assert VERIFIER.scores([(claim, passage)])[0] < VERIFIER.threshold
