"""Comparing runs, and gates that say when they cannot say."""

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


def made(**scores: Sequence[float | None]) -> RunResult:
    """A run; None is a failure."""
    n = len(next(iter(scores.values())))
    return RunResult(
        name="r",
        settings={},
        questions=[Question(id=str(i), question=f"Q{i}?") for i in range(n)],
        items={},
        scores={
            name: [Score.failed("x") if v is None else Score.of(v) for v in values]
            for name, values in scores.items()
        },
        metrics=[all_metrics()[name] for name in scores],
    )


def gate(run: RunResult, text: str, baseline: RunResult | None = None, most: float = 0.1) -> int:
    return exit_code(check_gates(run, parse_gates([text]), baseline=baseline, most_failures=most))


def test_a_comparison_is_over_what_both_were_scored_on() -> None:
    a, b = made(faithfulness=[1.0, 0.0, None, 0.5]), made(faithfulness=[1.0, 1.0, 1.0, None])
    (found,) = compare_runs(a, b)
    assert (found.n, found.of, found.a, found.b) == (2, 4, 0.5, 1.0)
    assert found.difference.estimate.value == 0.5 and found.difference.wins == 1


def test_other_questions_under_the_same_id_are_not_compared() -> None:
    a, b = made(faithfulness=[1.0, 0.0]), made(faithfulness=[0.0, 0.0])
    b.questions = [Question(id="0", question="Another?"), b.questions[1]]
    (found,) = compare_runs(a, b)
    assert (found.of, found.difference.losses) == (1, 0)
    b.questions = [Question(id="x", question="?"), Question(id="y", question="?")]
    with pytest.raises(ConfigError, match="no question in common"):
        compare_runs(a, b)
    with pytest.raises(ConfigError, match="no metric in common"):
        compare_runs(a, made(map=[1.0, 1.0]))


def test_p_is_corrected_for_the_metrics() -> None:
    draw = random.Random(0)
    values = [draw.random() for _ in range(60)]
    better = [min(1.0, v + 0.1 * draw.random()) for v in values]
    names = ["faithfulness", "citation_recall", "token_f1", "map"]
    found = compare_runs(
        made(**dict.fromkeys(names, values)),
        made(**{n: (better if n == "map" else values) for n in names}),
    )
    by_name = {each.metric: each for each in found}
    assert by_name["map"].p == pytest.approx(4 * by_name["map"].difference.p)
    assert by_name["map"].improved and not by_name["token_f1"].improved


def test_pooled_metrics_are_compared_as_they_are_summed_up() -> None:
    # A refuses what cannot be answered, and nothing else; B refuses everything
    able = [False] * 20 + [True] * 40

    def refusing(everything: bool) -> RunResult:
        metric = all_metrics()["refusal_precision"]
        scores = [
            Score.ratio(not can, 1, none="")
            if everything or not can
            else Score.not_applicable("it is no refusal")
            for can in able
        ]
        run = made(faithfulness=[1.0] * len(able))
        run.scores, run.metrics = {"refusal_precision": scores}, [metric]
        return run

    good, bad = refusing(everything=False), refusing(everything=True)
    (found,) = compare_runs(good, bad)
    assert (found.a, found.b) == (1.0, pytest.approx(1 / 3)) and found.regressed
    assert found.difference.estimate.low < -2 / 3 < found.difference.estimate.high < 0
    assert gate(bad, "refusal_precision>=baseline-0.02", baseline=good) == REGRESSED


def test_runs_of_different_judges_are_no_baseline() -> None:
    one, other = made(faithfulness=[1.0] * 10), made(faithfulness=[1.0] * 10)
    other.settings = {"scoring": "another", "backend": "llm judge"}
    with pytest.raises(ConfigError, match="their difference is the judges"):
        gate(one, "faithfulness>=0.5", baseline=other)


def test_failures_that_could_undo_it_leave_a_gate_open() -> None:
    values: list[float | None] = [1.0] * 100 + [None] * 8
    assert gate(made(faithfulness=values), "faithfulness>=0.95") == INCONCLUSIVE
    assert gate(made(faithfulness=values), "faithfulness>=0.9") == PASSED


def test_lower_is_better_where_it_is() -> None:
    (found,) = compare_runs(made(hallucination=[0.0] * 30), made(hallucination=[0.5] * 30))
    assert found.regressed and not found.improved


@pytest.mark.parametrize(
    ("values", "text", "code"),
    [
        ([1.0] * 10, "faithfulness>=0.9", PASSED),  # every one reaches it
        ([1.0] * 3, "faithfulness>=0.9", INCONCLUSIVE),  # too few to say
        ([0.95] * 200, "faithfulness >= 0.9", PASSED),
        ([0.0, 1.0] * 30, "faithfulness>=0.9", REGRESSED),
        ([0.0, 1.0] * 30, "faithfulness>=0.5", INCONCLUSIVE),
        ([0.0, 1.0] * 30, "faithfulness>=0.2", PASSED),
        ([None] * 4 + [1.0] * 20, "faithfulness>=0.9", TOO_MANY_FAILURES),
        ([None] * 1 + [1.0] * 20, "faithfulness>=0.9", PASSED),
        ([None] * 20, "faithfulness>=0.9", TOO_MANY_FAILURES),
    ],
)
def test_gates(values: list[float | None], text: str, code: int) -> None:
    assert gate(made(faithfulness=values), text) == code


def test_gates_of_metrics_that_should_be_low() -> None:
    assert gate(made(hallucination=[0.0] * 20), "hallucination<=0.05") == PASSED
    assert gate(made(hallucination=[0.5, 0.6] * 20), "hallucination<=0.05") == REGRESSED


def test_a_baseline_finds_what_became_worse() -> None:
    good, bad = made(faithfulness=[1.0] * 40), made(faithfulness=[1.0] * 20 + [0.5] * 20)
    assert gate(bad, "faithfulness>=0.5", baseline=good) == REGRESSED
    assert gate(good, "faithfulness>=0.5", baseline=bad) == PASSED
    assert gate(bad, "faithfulness>=baseline-0.05", baseline=good) == REGRESSED
    assert gate(good, "faithfulness>=baseline-0.05", baseline=good) == PASSED
    few = made(faithfulness=[1.0, 0.8, 0.2, 0.9])
    other = made(faithfulness=[0.8, 1.0, 0.1, 0.9])
    assert gate(few, "faithfulness>=baseline-0.02", baseline=other) == INCONCLUSIVE
    with pytest.raises(ConfigError, match="needs a --baseline"):
        gate(good, "faithfulness>=baseline-0.05")


def test_a_regression_goes_before_what_is_not_known() -> None:
    run = made(faithfulness=[0.0] * 30, citation_recall=[None] * 30, map=[0.0, 1.0] * 15)
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
def test_what_is_no_gate(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_gates([text])


def test_a_gate_on_what_was_not_computed() -> None:
    with pytest.raises(ConfigError, match="not computed"):
        gate(made(map=[1.0] * 10), "faithfulness>=0.9")
