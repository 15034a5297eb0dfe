"""Intervals and tests: they cover what they say they do."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.statistics import compared, estimated, estimated_ratio, holm

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(VALUES)
def test_the_mean_is_within_its_interval(values: list[float]) -> None:
    found = estimated(values, resamples=300)
    assert found.value == pytest.approx(sum(values) / len(values))
    assert 0 <= found.low <= found.value + 1e-9 <= found.high + 2e-9 <= 1 + 3e-9
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


def test_few_that_are_all_alike_prove_nothing() -> None:
    assert estimated([1.0] * 5).low == pytest.approx(0.5655, abs=1e-4)  # Wilson's, of 5 in 5
    assert estimated([0.5] * 4).low < 0.5 < estimated([0.5] * 4).high
    assert estimated([1.0] * 500).low > 0.99
    assert estimated([0.0, 1.0] * 50).low == pytest.approx(0.4038, abs=1e-4)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_intervals_of_shares_cover_with_few(share: float) -> None:
    draw = random.Random(3)
    covered = 0
    for _ in range(400):
        found = estimated([float(draw.random() < share) for _ in range(20)])
        covered += found.low <= share <= found.high
    assert covered / 400 >= 0.92


def test_a_ratio_is_resampled_by_whole_answers() -> None:
    parts = [(9.0, 10.0), (0.0, 1.0), (1.0, 1.0), (5.0, 8.0)]
    found = estimated_ratio(parts)
    assert found.value == pytest.approx(15 / 20)
    assert found.low < found.value < found.high
    assert estimated_ratio([(1.0, 1.0)] * 6).low < 0.7
    assert estimated_ratio([]).value == 0


def test_few_values_have_wide_intervals_and_more_cover() -> None:
    assert estimated([1.0, 1.0, 0.95]).low < 0.7
    draw = random.Random(5)
    covered = 0
    for _ in range(300):
        sample = [1.0 if draw.random() < 0.9 else draw.choice([0.5, 0.6, 0.8]) for _ in range(20)]
        found = estimated(sample, resamples=400)
        covered += found.low <= 0.9 + 0.1 * 1.9 / 3 <= found.high
    assert covered / 300 >= 0.93


def test_holm_corrects_for_how_many_there_are() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert list(found) == ["a", "b", "c"]
    assert holm({"x": 0.7, "y": 0.9}) == pytest.approx({"x": 1.0, "y": 1.0})


def test_what_a_difference_says() -> None:
    found = compared([0.0, 0.5, 1.0, 0.25], [1.0, 0.5, 0.5, 1.0])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.detectable > 0
    alike = compared([0.3] * 8, [0.3] * 8)
    assert (alike.p, alike.estimate.value, alike.ties) == (1.0, 0.0, 8)
    assert compared([], []).p == 1.0


def test_p_is_never_nothing() -> None:
    found = compared([0.0] * 40, [1.0] * 40, resamples=999)
    assert found.p == pytest.approx(1 / 1000)  # (b + 1) / (m + 1)
