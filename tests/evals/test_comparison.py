"""Comparison of runs, and gates, which can be inconclusive."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from evals.comparison import (
    INCONCLUSIVE,
    PASSED,
    REGRESSED,
    TOO_MANY_FAILURES,
    check_gates,
    compare_runs,
    exit_code,
    parse_gates,
)
from evals.metrics import all_metrics
from evals.questions import Question
from evals.runs import RunResult
from evals.scores import Score
from rag.errors import ConfigError


def make_run(**scores: Sequence[float | None]) -> RunResult:
    """Make a run with these scores; None is a failed score."""
    n = len(next(iter(scores.values())))
    return RunResult(
        name="r",
        settings={},
        questions=[Question(id=str(i), question=f"Q{i}?") for i in range(n)],
        items={},
        scores={
            name: [Score.failure("x") if v is None else Score.of(v) for v in values]
            for name, values in scores.items()
        },
        metrics=[all_metrics()[name] for name in scores],
    )


def check_gate(run: RunResult, text: str, baseline: RunResult | None = None) -> int:
    return exit_code(check_gates(run, parse_gates([text]), baseline=baseline))


def test_comparison_uses_questions_scored_in_both_runs() -> None:
    a, b = (
        make_run(faithfulness=[1.0, 0.0, None, 0.5]),
        make_run(faithfulness=[1.0, 1.0, 1.0, None]),
    )
    (comparison,) = compare_runs(a, b)
    assert (comparison.n, comparison.common_questions) == (2, 4)
    assert (comparison.a, comparison.b) == (0.5, 1.0)
    assert comparison.difference.estimate.value == 0.5 and comparison.difference.wins == 1


def test_different_questions_with_the_same_id_are_not_compared() -> None:
    a, b = make_run(faithfulness=[1.0, 0.0]), make_run(faithfulness=[0.0, 0.0])
    b.questions = [Question(id="0", question="Another?"), b.questions[1]]
    (comparison,) = compare_runs(a, b)
    assert (comparison.common_questions, comparison.difference.losses) == (1, 0)
    b.questions = [Question(id="x", question="?"), Question(id="y", question="?")]
    with pytest.raises(ConfigError, match="no question in common"):
        compare_runs(a, b)
    with pytest.raises(ConfigError, match="no metric in common"):
        compare_runs(a, make_run(map=[1.0, 1.0]))


def test_p_is_corrected_for_the_number_of_metrics() -> None:
    draw = random.Random(0)
    values = [draw.random() for _ in range(60)]
    improved_values = [min(1.0, v + 0.1 * draw.random()) for v in values]
    names = ["faithfulness", "citation_recall", "token_f1", "map"]
    comparisons = compare_runs(
        make_run(**dict.fromkeys(names, values)),
        make_run(**{n: (improved_values if n == "map" else values) for n in names}),
    )
    by_name = {comparison.metric: comparison for comparison in comparisons}
    assert by_name["map"].p == pytest.approx(4 * by_name["map"].difference.p)
    assert by_name["map"].is_improvement and not by_name["token_f1"].is_improvement


def test_pooled_metrics_are_compared_by_ratios_of_sums() -> None:
    # A refuses exactly the unanswerable questions; B refuses every question
    answerable = [False] * 20 + [True] * 40

    def make_refusals(everything: bool) -> RunResult:
        metric = all_metrics()["refusal_precision"]
        scores = [
            Score.ratio(not is_answerable, 1, if_undefined="")
            if everything or not is_answerable
            else Score.not_applicable("it is not a refusal")
            for is_answerable in answerable
        ]
        run = make_run(faithfulness=[1.0] * len(answerable))
        run.scores, run.metrics = {"refusal_precision": scores}, [metric]
        return run

    good, bad = make_refusals(everything=False), make_refusals(everything=True)
    (comparison,) = compare_runs(good, bad)
    assert (comparison.a, comparison.b) == (1.0, pytest.approx(1 / 3))
    assert comparison.is_regression
    estimate = comparison.difference.estimate
    assert estimate.low < -2 / 3 < estimate.high < 0
    assert check_gate(bad, "refusal_precision>=baseline-0.02", baseline=good) == REGRESSED


def test_baseline_must_have_the_same_judge() -> None:
    run, baseline = make_run(faithfulness=[1.0] * 10), make_run(faithfulness=[1.0] * 10)
    baseline.settings = {"scoring": "another", "backend": "llm judge"}
    with pytest.raises(ConfigError, match="could come from the judges"):
        check_gate(run, "faithfulness>=0.5", baseline=baseline)


def test_gate_is_inconclusive_if_failures_could_change_the_result() -> None:
    values: list[float | None] = [1.0] * 100 + [None] * 8
    assert check_gate(make_run(faithfulness=values), "faithfulness>=0.95") == INCONCLUSIVE
    assert check_gate(make_run(faithfulness=values), "faithfulness>=0.9") == PASSED


def test_higher_values_are_a_regression_if_lower_is_better() -> None:
    (comparison,) = compare_runs(
        make_run(hallucination=[0.0] * 30), make_run(hallucination=[0.5] * 30)
    )
    assert comparison.is_regression and not comparison.is_improvement


@pytest.mark.parametrize(
    ("values", "text", "code"),
    [
        ([1.0] * 10, "faithfulness>=0.9", PASSED),  # every answer reaches the bar
        ([1.0] * 3, "faithfulness>=0.9", INCONCLUSIVE),  # fewer than five answers
        ([0.95] * 200, "faithfulness >= 0.9", PASSED),
        ([0.0, 1.0] * 30, "faithfulness>=0.9", REGRESSED),
        ([0.0, 1.0] * 30, "faithfulness>=0.5", INCONCLUSIVE),
        ([0.0, 1.0] * 30, "faithfulness>=0.2", PASSED),
        ([None] * 4 + [1.0] * 20, "faithfulness>=0.9", TOO_MANY_FAILURES),
        ([None] * 1 + [1.0] * 20, "faithfulness>=0.9", PASSED),
        ([None] * 20, "faithfulness>=0.9", TOO_MANY_FAILURES),
    ],
)
def test_gate_compares_the_interval_with_the_bar(
    values: list[float | None], text: str, code: int
) -> None:
    assert check_gate(make_run(faithfulness=values), text) == code


def test_gate_with_an_upper_limit() -> None:
    assert check_gate(make_run(hallucination=[0.0] * 20), "hallucination<=0.05") == PASSED
    assert check_gate(make_run(hallucination=[0.5, 0.6] * 20), "hallucination<=0.05") == REGRESSED


def test_gates_with_a_baseline() -> None:
    good, bad = make_run(faithfulness=[1.0] * 40), make_run(faithfulness=[1.0] * 20 + [0.5] * 20)
    assert check_gate(bad, "faithfulness>=0.5", baseline=good) == REGRESSED
    assert check_gate(good, "faithfulness>=0.5", baseline=bad) == PASSED
    assert check_gate(bad, "faithfulness>=baseline-0.05", baseline=good) == REGRESSED
    assert check_gate(good, "faithfulness>=baseline-0.05", baseline=good) == PASSED
    small_run = make_run(faithfulness=[1.0, 0.8, 0.2, 0.9])
    small_baseline = make_run(faithfulness=[0.8, 1.0, 0.1, 0.9])
    assert (
        check_gate(small_run, "faithfulness>=baseline-0.02", baseline=small_baseline)
        == INCONCLUSIVE
    )
    with pytest.raises(ConfigError, match="needs a --baseline"):
        check_gate(good, "faithfulness>=baseline-0.05")


def test_exit_code_prefers_a_regression() -> None:
    run = make_run(faithfulness=[0.0] * 30, citation_recall=[None] * 30, map=[0.0, 1.0] * 15)
    gates = parse_gates(["faithfulness>=0.9, citation_recall>=0.9", "map>=0.5"])
    results = check_gates(run, gates)
    assert [r.code for r in results] == [REGRESSED, TOO_MANY_FAILURES, INCONCLUSIVE]
    assert exit_code(results) == REGRESSED


@pytest.mark.parametrize(
    "text",
    [
        "faithfulness",
        "faithfulness>0.9",
        "faithfulness>=high",
        "faithfulness>=1.5",
        "faithfulness<=0.9",
        "hallucination>=0.1",
        "faithfullness>=0.9",
        "fluency>=0.5",
        "faithfulness>=__import__('os')",
    ],
)
def test_invalid_gates_are_rejected(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_gates([text])


def test_gate_on_a_metric_that_was_not_computed() -> None:
    with pytest.raises(ConfigError, match="not computed"):
        check_gate(make_run(map=[1.0] * 10), "faithfulness>=0.9")
