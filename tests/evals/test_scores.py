"""Scores say why they are none, and a mean never hides what failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.scores import Score, Unit, summarised

SCORES = st.one_of(
    st.floats(0, 1).map(Score.of),
    st.just(Score.failed("the judge said nothing")),
    st.just(Score.not_applicable("it is a refusal")),
)


@given(st.lists(SCORES, max_size=25))
def test_failing_more_never_raises_the_lower_bound(scores: list[Score]) -> None:
    before = summarised("m", scores)
    assert before.scored + before.not_applicable + before.failed == before.n == len(scores)
    if before.estimate is None:
        bounds = (before.low_bound, before.high_bound)
        assert bounds == ((0.0, 1.0) if before.failed else (None, None))
        return
    assert before.low_bound is not None and before.high_bound is not None
    assert before.low_bound <= before.estimate.value + 1e-9
    assert before.high_bound >= before.estimate.value - 1e-9
    after = summarised("m", [*scores, Score.failed("again")])
    assert after.low_bound is not None and after.low_bound <= before.low_bound + 1e-9
    assert after.estimate == before.estimate


def test_what_is_printed_says_how_many() -> None:
    scores = [Score.of(1.0), Score.of(0.5), Score.failed("x"), Score.not_applicable("y")]
    said = str(summarised("faithfulness", scores))
    assert said.startswith("0.750  [") and "2 scored of 4" in said
    assert "1 not applicable" in said and "1 failed: 0.500 to 0.833" in said


def test_nothing_scored_is_no_number() -> None:
    found = summarised("m", [Score.failed("x")] * 3)
    assert found.estimate is None and found.as_json()["value"] is None
    assert str(found).split(maxsplit=1) == ["-", "0 scored of 3 (3 failed: 0.000 to 1.000)"]


def test_a_ratio_with_a_claim_that_could_not_be_judged_is_no_number() -> None:
    units = [Unit(claim="a", support=1.0, verdict="supported"), Unit(claim="b", verdict="failed")]
    score = Score.ratio(1, 2, none="", units=units)
    assert (score.status, score.value) == ("failed", None) and "1 of 2" in score.reason


def test_pooled_scores_are_added_before_they_are_divided() -> None:
    scores = [Score.ratio(9, 10, none=""), Score.ratio(0, 1, none="")]
    assert summarised("m", scores, pooled=True).estimate.value == pytest.approx(9 / 11)  # type: ignore[union-attr]
    assert summarised("m", scores).estimate.value == pytest.approx(0.45)  # type: ignore[union-attr]
    failing = summarised("m", [*scores, Score.failed("x")], pooled=True)
    assert failing.low_bound == pytest.approx(9 / 16.5)
    assert failing.high_bound == pytest.approx(14.5 / 16.5)


def test_repeats_vary_within_an_answer() -> None:
    units = [
        Unit(claim="a", support=0.5, verdict="partly", spread=0.25),
        Unit(claim="b", support=1.0, verdict="supported"),
    ]
    score = Score.ratio(1, 2, none="", units=units)
    assert score.spread == pytest.approx(0.25 / 4)
    assert summarised("m", [score, Score.of(1.0)]).spread == pytest.approx(0.25 / 8)
