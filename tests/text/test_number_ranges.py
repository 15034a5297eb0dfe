"""Ranges of numbers in rows and sentences."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.number_ranges import NumberRange, Quantity, find_quantities, find_ranges


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20–60 km", (20, 60, "km")),
        ("10 km to 20 km", (10, 20, "km")),
        ("between 20 and 60 guests", (20, 60, "guest")),
        ("from 5 to 9 kg", (5, 9, "kg")),
        ("von 5 bis 9 kg", (5, 9, "kg")),
        ("up to 2.20 metres", (-math.inf, 2.2, "metr")),
        ("bis zu 20 km", (-math.inf, 20, "km")),
        ("≤ 5 kg", (-math.inf, 5, "kg")),
        ("over 60 km", (60, math.inf, "km")),
        ("ab 10 Stück", (10, math.inf, "stück")),
        ("Distance (km): 20–60", (20, 60, "")),
    ],
)
def test_a_range_and_its_unit(text: str, expected: tuple[float, float, str]) -> None:
    assert find_ranges(text) == [NumberRange(*expected)]


@pytest.mark.parametrize(
    "text", ["2024-05-03", "+47 900 11 238", "1,234.5 km", "from 60 to 20 km", "P-7", ""]
)
def test_dates_phones_and_identifiers_are_no_ranges(text: str) -> None:
    assert find_ranges(text) == []


def test_quantities_have_a_unit() -> None:
    assert find_quantities("What is the fee for 45 km and 3 in 2024?") == [Quantity(45, "km")]


@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999))
def test_a_range_contains_the_numbers_between_its_ends(low: int, high: int, number: int) -> None:
    ranges = find_ranges(f"{low} to {high} km")
    assert any(r.contains(Quantity(number, "km")) for r in ranges) == (low <= number <= high)
