"""Ways to make one ranking of several."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.retrieval.fusion import NORMALIZATIONS, Fusion, add_aligned_scores, fuse, sort_by_score

FUSIONS = get_args(Fusion)
SCORES = st.dictionaries(
    st.integers(0, 20), st.integers(-1000, 1000).map(lambda n: n / 10), max_size=8
)


@pytest.mark.parametrize("fusion", FUSIONS)
@given(scores=SCORES)
def test_the_order_is_kept_within_zero_and_one(scores: dict[int, float], fusion: Fusion) -> None:
    scaled = NORMALIZATIONS[fusion](scores)
    assert scaled.keys() == scores.keys()
    assert all(0 <= value <= 1 for value in scaled.values())
    for a in scores:
        for b in scores:
            if scores[a] < scores[b]:
                assert scaled[a] <= scaled[b]


@pytest.mark.parametrize("fusion", FUSIONS)
@given(one=SCORES, other=SCORES)
def test_a_ranking_without_weight_changes_nothing(
    one: dict[int, float], other: dict[int, float], fusion: Fusion
) -> None:
    fused = fuse((one, other), (1.0, 0.0), fusion)
    assert fused.keys() == one.keys() | other.keys()
    assert list(fused.values()) == sorted(fused.values(), reverse=True)
    assert {row: fused[row] for row in one} == NORMALIZATIONS[fusion](one)


@given(
    rows=st.lists(st.integers(0, 50), unique=True, max_size=12),
    data=st.data(),
    weight=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_aligned_scores_are_fused_alike(
    rows: list[int], data: st.DataObject, weight: float
) -> None:
    values = st.lists(
        st.integers(-1000, 1000).map(lambda n: n / 7), min_size=len(rows), max_size=len(rows)
    )
    one, other = data.draw(values), data.draw(values)
    rankings = (dict(zip(rows, one, strict=True)), dict(zip(rows, other, strict=True)))
    weights = (weight, 1 - weight)
    totals = add_aligned_scores([np.array(one), np.array(other)], weights)
    fused = sort_by_score(rows, totals)
    assert list(fused.items()) == list(fuse(rankings, weights).items())


def test_numbers() -> None:
    dense, lexical = {1: 0.8, 2: 0.4, 3: -0.1}, {2: 12.0, 1: 3.0}
    assert fuse((dense, lexical), (0.5, 0.5)) == {2: 0.75, 1: 0.625, 3: 0.0}
    assert fuse((dense, lexical), (0.5, 0.5), "minmax")[1] == 0.5
    rrf = fuse((dense, lexical), (1, 1), "rrf")
    assert rrf == {1: 1 / 61 + 1 / 62, 2: 1 / 62 + 1 / 61, 3: 1 / 63}
    assert fuse(({1: 5.0}, {}), (1, 1), "distribution") == {1: 0.5}
    assert fuse(({}, {}), (1, 1)) == {}


def test_a_retriever_that_finds_all_alike_changes_nothing() -> None:
    alike = dict.fromkeys(range(5), 0.3)
    lexical = {3: 9.0, 1: 5.0, 2: 1.0}
    assert list(fuse((alike, lexical), (0.5, 0.5)))[:3] == [3, 1, 2]


def test_a_distribution_is_scaled_by_its_own_mean_and_deviation() -> None:
    scaled = NORMALIZATIONS["distribution"]({1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0})
    deviation = (5 / 4) ** 0.5
    expected = {row: 0.5 + (row - 2.5) / (6 * deviation) for row in (1, 2, 3, 4)}
    assert scaled == pytest.approx(expected)
    outlier = NORMALIZATIONS["distribution"](dict.fromkeys(range(99), 0.0) | {99: 1.0})
    assert outlier[99] == 1.0  # more than three deviations above the mean
