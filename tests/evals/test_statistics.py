"""Intervals have their nominal coverage, and tests their nominal error rate."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.statistics import compare_means, estimate_mean, estimate_ratio, holm

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(VALUES)
def test_interval_contains_the_mean(values: list[float]) -> None:
    estimate = estimate_mean(values, resamples=300)
    assert estimate.value == pytest.approx(sum(values) / len(values))
    assert 0 <= estimate.low <= estimate.value + 1e-9 <= estimate.high + 2e-9 <= 1 + 3e-9
    assert estimate == estimate_mean(values, resamples=300)


def test_interval_of_a_mean_has_95_percent_coverage() -> None:
    draw = random.Random(1)
    covered = 0
    for _ in range(300):
        sample = [draw.random() ** 2 for _ in range(80)]  # the mean is 1/3
        estimate = estimate_mean(sample, resamples=400)
        covered += estimate.low <= 1 / 3 <= estimate.high
    assert 0.90 <= covered / 300 <= 0.985


def test_p_is_rarely_low_without_a_difference() -> None:
    draw = random.Random(2)
    significant = 0
    for _ in range(300):
        first = [draw.random() for _ in range(30)]
        second = [draw.random() for _ in range(30)]
        significant += compare_means(first, second, resamples=300).p <= 0.05
    assert significant / 300 <= 0.09


def test_constant_difference_is_significant() -> None:
    draw = random.Random(3)
    first = [draw.random() for _ in range(100)]
    second = [value + 0.1 for value in first]
    difference = compare_means(first, second)
    assert difference.estimate.value == pytest.approx(0.1)
    assert difference.p < 0.001
    assert compare_means(second, first).estimate.value == pytest.approx(-0.1)


def test_empty_and_equal_values_have_no_difference() -> None:
    assert estimate_mean([]).value == 0.0
    assert compare_means([0.5] * 9, [0.5] * 9).p == 1.0
    assert compare_means([], []).p == 1.0
    with pytest.raises(ValueError, match="need the same questions"):
        compare_means([1.0], [])


def test_few_equal_values_have_wide_intervals() -> None:
    assert estimate_mean([1.0] * 5).low == pytest.approx(0.5655, abs=1e-4)  # Wilson's, of 5 in 5
    assert estimate_mean([0.5] * 4).low < 0.5 < estimate_mean([0.5] * 4).high
    assert estimate_mean([1.0] * 500).low > 0.99
    assert estimate_mean([0.0, 1.0] * 50).low == pytest.approx(0.4038, abs=1e-4)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_interval_of_a_share_covers_with_20_values(share: float) -> None:
    draw = random.Random(3)
    covered = 0
    for _ in range(400):
        estimate = estimate_mean([float(draw.random() < share) for _ in range(20)])
        covered += estimate.low <= share <= estimate.high
    assert covered / 400 >= 0.92


def test_ratio_divides_sums_and_resamples_whole_answers() -> None:
    parts = [(9.0, 10.0), (0.0, 1.0), (1.0, 1.0), (5.0, 8.0)]
    estimate = estimate_ratio(parts)
    assert estimate.value == pytest.approx(15 / 20)
    assert estimate.low < estimate.value < estimate.high
    assert estimate_ratio([(1.0, 1.0)] * 6).low < 0.7
    assert estimate_ratio([]).value == 0


def test_interval_covers_with_20_values_that_are_mostly_1() -> None:
    assert estimate_mean([1.0, 1.0, 0.95]).low < 0.7
    draw = random.Random(5)
    covered = 0
    for _ in range(300):
        sample = [1.0 if draw.random() < 0.9 else draw.choice([0.5, 0.6, 0.8]) for _ in range(20)]
        estimate = estimate_mean(sample, resamples=400)
        covered += estimate.low <= 0.9 + 0.1 * 1.9 / 3 <= estimate.high
    assert covered / 300 >= 0.93


def test_holm_corrects_for_the_number_of_comparisons() -> None:
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert list(corrected) == ["a", "b", "c"]
    assert holm({"x": 0.7, "y": 0.9}) == pytest.approx({"x": 1.0, "y": 1.0})


def test_difference_counts_wins_ties_and_losses() -> None:
    difference = compare_means([0.0, 0.5, 1.0, 0.25], [1.0, 0.5, 0.5, 1.0])
    assert (difference.wins, difference.ties, difference.losses) == (2, 1, 1)
    assert difference.detectable is None  # of so few questions
    no_difference = compare_means([0.3] * 8, [0.3] * 8)
    assert (no_difference.p, no_difference.estimate.value, no_difference.ties) == (1.0, 0.0, 8)
    assert compare_means([], []).p == 1.0


def test_p_is_never_zero() -> None:
    difference = compare_means([0.0] * 40, [1.0] * 40, resamples=999)
    assert difference.p == pytest.approx(1 / 1000)  # (b + 1) / (m + 1)


@pytest.mark.parametrize("values", [[0.0], [1.0], [0.0, 1.0], [0.0] * 2])
def test_so_few_questions_detect_nothing(values: list[float]) -> None:
    assert compare_means([0.0] * len(values), values).detectable is None


def test_equal_scores_of_many_questions_detect_a_small_difference() -> None:
    few, many = ([0.5] * n for n in (20, 500))
    for_few = compare_means(few, few).detectable
    for_many = compare_means(many, many).detectable
    assert for_few is not None and for_many is not None
    assert 0 < for_many < for_few < 1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_what_is_detected_is_a_possible_difference(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    detectable = compare_means(list(first), list(second)).detectable
    assert detectable is None or 0 < detectable <= 1
