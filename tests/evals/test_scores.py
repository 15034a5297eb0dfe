"""Scores state why they have no value, and summaries never hide failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.scores import Score, Unit, summarise_scores

SCORES = st.one_of(
    st.floats(0, 1).map(Score.of),
    st.just(Score.failure("the judge gave no verdict")),
    st.just(Score.not_applicable("it is a refusal")),
)


@given(st.lists(SCORES, max_size=25))
def test_more_failures_never_raise_the_lower_bound(scores: list[Score]) -> None:
    before = summarise_scores("m", scores)
    assert before.scored + before.not_applicable + before.failed == before.n == len(scores)
    if before.estimate is None:
        bounds = (before.low_bound, before.high_bound)
        assert bounds == ((0.0, 1.0) if before.failed else (None, None))
        return
    assert before.low_bound is not None and before.high_bound is not None
    assert before.low_bound <= before.estimate.value + 1e-9
    assert before.high_bound >= before.estimate.value - 1e-9
    after = summarise_scores("m", [*scores, Score.failure("again")])
    assert after.low_bound is not None and after.low_bound <= before.low_bound + 1e-9
    assert after.estimate == before.estimate


def test_summary_text_counts_scored_and_failed() -> None:
    scores = [Score.of(1.0), Score.of(0.5), Score.failure("x"), Score.not_applicable("y")]
    text = str(summarise_scores("faithfulness", scores))
    assert text.startswith("0.750  [") and "2 scored of 4" in text
    assert "1 not applicable" in text and "1 failed: 0.500 to 0.833" in text


def test_summary_without_scored_answers_has_no_value() -> None:
    summary = summarise_scores("m", [Score.failure("x")] * 3)
    assert summary.estimate is None and summary.as_json()["value"] is None
    assert str(summary).split(maxsplit=1) == ["-", "0 scored of 3 (3 failed: 0.000 to 1.000)"]


def test_ratio_with_a_failed_claim_fails() -> None:
    units = [Unit(claim="a", support=1.0, verdict="supported"), Unit(claim="b", verdict="failed")]
    score = Score.ratio(1, 2, if_undefined="", units=units)
    assert (score.status, score.value) == ("failed", None) and "1 of 2" in score.reason


def test_pooled_scores_sum_before_the_division() -> None:
    scores = [Score.ratio(9, 10, if_undefined=""), Score.ratio(0, 1, if_undefined="")]
    assert summarise_scores("m", scores, pooled=True).estimate.value == pytest.approx(9 / 11)  # type: ignore[union-attr]
    assert summarise_scores("m", scores).estimate.value == pytest.approx(0.45)  # type: ignore[union-attr]
    with_failure = summarise_scores("m", [*scores, Score.failure("x")], pooled=True)
    assert with_failure.low_bound == pytest.approx(9 / 16.5)
    assert with_failure.high_bound == pytest.approx(14.5 / 16.5)


def test_spread_is_the_variance_of_a_judges_repeats() -> None:
    units = [
        Unit(claim="a", support=0.5, verdict="partly", spread=0.25),
        Unit(claim="b", support=1.0, verdict="supported"),
    ]
    score = Score.ratio(1, 2, if_undefined="", units=units)
    assert score.spread == pytest.approx(0.25 / 4)
    assert summarise_scores("m", [score, Score.of(1.0)]).spread == pytest.approx(0.25 / 8)
