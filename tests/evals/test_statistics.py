"""Intervals and tests: they cover what they say they do."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.statistics import compared, estimated

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(VALUES)
def test_the_mean_is_within_its_interval(values: list[float]) -> None:
    found = estimated(values, resamples=300)
    assert found.value == pytest.approx(sum(values) / len(values))
    assert min(values) - 1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= max(values) + 1e-9
    assert found == estimated(values, resamples=300)


def test_intervals_cover_in_95_of_100() -> None:
    draw = random.Random(1)
    covered = 0
    for _ in range(300):
        sample = [draw.random() ** 2 for _ in range(80)]  # the mean is 1/3
        found = estimated(sample, resamples=400)
        covered += found.low <= 1 / 3 <= found.high
    assert 0.90 <= covered / 300 <= 0.985


def test_p_is_uniform_where_there_is_no_difference() -> None:
    draw = random.Random(2)
    low = 0
    for _ in range(300):
        one = [draw.random() for _ in range(30)]
        other = [draw.random() for _ in range(30)]
        low += compared(one, other, resamples=300).p <= 0.05
    assert low / 300 <= 0.09


def test_a_difference_is_found() -> None:
    draw = random.Random(3)
    one = [draw.random() for _ in range(100)]
    other = [value + 0.1 for value in one]
    found = compared(one, other)
    assert found.estimate.value == pytest.approx(0.1)
    assert found.p < 0.001
    assert compared(other, one).estimate.value == pytest.approx(-0.1)


def test_nothing_and_the_same() -> None:
    assert estimated([]).value == 0.0
    assert compared([0.5] * 9, [0.5] * 9).p == 1.0
    assert compared([], []).p == 1.0
    with pytest.raises(ValueError, match="must be the same"):
        compared([1.0], [])
