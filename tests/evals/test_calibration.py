"""Calibration: agreement equals scikit-learn's, and corrected rates have correct intervals."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from evals.agreement import (
    apply_platt,
    auroc,
    balanced_accuracy,
    best_threshold,
    calibration_error,
    f1,
    fit_platt,
    kappa,
)
from evals.calibration import (
    LabelledRow,
    calibrate,
    correct_rate,
    extract_verdicts,
    load_labelled,
    read_calibration,
)
from evals.judges import make_judge
from evals.scores import Score, Unit
from rag.errors import ConfigError, QueryError


def draw_scores(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.random(n) < 0.4
    scores = np.round(np.clip(generator.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)  # with ties
    return labels, scores


@pytest.mark.parametrize("seed", range(8))
def test_agreement_equals_scikit_learn(seed: int) -> None:
    labels, scores = draw_scores(seed)
    verdicts = scores >= 0.5
    assert auroc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores))
    assert balanced_accuracy(labels, verdicts) == pytest.approx(
        sk.balanced_accuracy_score(labels, verdicts)
    )
    assert f1(labels, verdicts) == pytest.approx(sk.f1_score(labels, verdicts))
    assert kappa(labels, verdicts) == pytest.approx(sk.cohen_kappa_score(labels, verdicts))


@pytest.mark.parametrize("seed", range(8))
def test_best_threshold_has_the_best_balanced_accuracy(seed: int) -> None:
    labels, scores = draw_scores(seed)
    best = balanced_accuracy(labels, scores >= best_threshold(labels, scores))
    for threshold in np.linspace(-0.1, 1.1, 241):
        assert balanced_accuracy(labels, scores >= threshold) <= best + 1e-12


def make_rows(n: int = 120) -> list[LabelledRow]:
    draw = random.Random(1)
    rows = []
    for _ in range(n):
        minutes, label = draw.randint(10, 99), draw.random() < 0.5
        claimed_minutes = minutes if label else minutes + draw.randint(1, 9)
        rows.append(
            LabelledRow(
                f"The battery lasts {claimed_minutes} minutes.",
                (f"A full battery lasts {minutes} minutes in calm air.", "Snow is white."),
                label,
            )
        )
    return rows


def test_calibration_of_a_good_metric() -> None:
    calibration = calibrate(make_rows(), "faithfulness", make_judge("lexical"), resamples=200)
    assert calibration.n == 120 and calibration.auroc.value > 0.99
    assert calibration.balanced_accuracy.value > 0.95 and calibration.kappa.value > 0.9
    assert calibration.auroc.low <= calibration.auroc.value <= calibration.auroc.high
    assert sum(n for n, *_ in calibration.reliability) == 120
    plain = calibration.as_json()
    assert plain["auroc"] == calibration.auroc.value and len(plain["threshold_interval"]) == 2
    assert (
        calibrate(make_rows(), "faithfulness", make_judge("lexical"), resamples=200) == calibration
    )


def test_calibration_of_a_useless_metric() -> None:
    draw = random.Random(2)
    noise = [
        LabelledRow(f"Number {draw.randint(1, 9)}.", ("Snow.",), draw.random() < 0.5)
        for _ in range(200)
    ]
    calibration = calibrate(noise, "faithfulness", make_judge("lexical"), resamples=200)
    assert calibration.auroc.low < 0.5 < calibration.auroc.high
    assert calibration.balanced_accuracy.value < 0.6  # of a threshold chosen on other rows


def test_calibrate_rejects_few_labels_and_other_metrics() -> None:
    with pytest.raises(ConfigError, match="at least 10 of each"):
        calibrate([LabelledRow("a", ("a",), True)] * 50, "faithfulness", make_judge("lexical"))
    with pytest.raises(ConfigError, match="use one of"):
        calibrate(make_rows(), "map", make_judge("lexical"))


def test_corrected_rates_have_95_percent_coverage() -> None:
    generator = np.random.default_rng(0)

    def draw_verdicts(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.random(n) < 0.6
        return labels, labels ^ (generator.random(n) < np.where(labels, 0.3, 0.1))

    covered = 0
    for _ in range(1_000):
        labels, labelled_verdicts = draw_verdicts(150)
        errors = labels.astype(float) - labelled_verdicts
        rectifier = (float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(len(errors))))
        _, verdicts = draw_verdicts(400)
        rate = correct_rate([[float(v)] for v in verdicts], rectifier)
        covered += rate["low"] <= 0.6 <= rate["high"]
        assert abs(rate["uncorrected"] - 0.46) < 0.12  # the biased rate
    assert 0.925 <= covered / 1_000 <= 0.975


def test_few_equal_verdicts_have_a_wide_interval() -> None:
    rate = correct_rate([[1.0]] * 5, (0.05, 0.01))
    assert rate["value"] == 1.0 and rate["low"] < 0.9


def test_verdicts_are_extracted_by_claim_or_by_answer() -> None:
    def make_score(*supports: float) -> Score:
        return Score.of(0.5, units=[Unit(claim="c", support=s) for s in supports])

    scores = [make_score(0.9, 0.1), make_score(0.8), Score.failure("x")]
    calibration = {"metric": "faithfulness", "threshold": 0.5, "unit": "claim"}
    assert extract_verdicts(scores, calibration) == [[1.0, 0.0], [1.0]]
    assert extract_verdicts(scores, calibration | {"unit": "answer"}) == [[1.0], [1.0]]
    assert extract_verdicts(
        [Score.of(0.2), Score.of(0.6)], calibration | {"metric": "token_f1"}
    ) == [
        [0.0],
        [1.0],
    ]
    with pytest.raises(ConfigError, match="cannot be corrected"):
        extract_verdicts(scores, calibration | {"metric": "answer_correctness"})


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"claim": "a", "contexts": ["b"]}',
        '{"claim": "a", "contexts": ["b"], "label": 2}',
        '{"claim": "a", "contexts": ["b"], "label": "yes"}',
        '{"claim": 3, "contexts": ["b"], "label": 1}',
        '{"claim": "a", "contexts": [3], "label": 1}',
    ],
)
def test_load_labelled_names_the_invalid_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text('{"claim": "a", "contexts": ["b"], "label": 1}\n' + line, encoding="utf-8")
    with pytest.raises(QueryError, match="line 2"):
        load_labelled(path)


def test_rows_with_a_null_label_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text(
        '{"id": "1", "label": null}\n{"answer": "a", "contexts": "b", "label": true}\n',
        encoding="utf-8",
    )
    assert load_labelled(path) == [LabelledRow("a", ("b",), True)]


def test_read_calibration_rejects_other_files(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"metric": "faithfulness"}), encoding="utf-8")
    with pytest.raises(QueryError, match="not a calibration"):
        read_calibration(path)


@pytest.mark.data
def test_lexical_judge_beats_the_baselines(data: Path) -> None:
    from benchmarks.labelled import SUPPORT
    from benchmarks.verification import BASELINES, auroc_of

    rows = {name: list(read(data / "labelled" / name)) for name, read in SUPPORT.items()}
    ours = {name: auroc_of(dataset_rows, "faithfulness") for name, dataset_rows in rows.items()}
    floors = {
        baseline: {name: auroc_of(dataset_rows, baseline) for name, dataset_rows in rows.items()}
        for baseline in BASELINES
    }
    best = max(sum(aurocs.values()) / len(aurocs) for aurocs in floors.values())
    assert sum(ours.values()) / len(ours) >= best + 0.015
    for name, value in ours.items():
        assert value >= max(aurocs[name] for aurocs in floors.values()) - 0.03, name


@given(st.floats(0.3, 3), st.floats(-2, 2), st.integers(0, 1_000))
@settings(max_examples=25)
def test_the_curve_that_made_the_labels_is_found(slope: float, intercept: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.uniform(0.02, 0.98, 4_000)
    probabilities = apply_platt(scores, (slope, intercept))
    labels = random.uniform(size=len(scores)) < probabilities
    if 100 < labels.sum() < len(labels) - 100:
        found = apply_platt(scores, fit_platt(labels, scores))
        assert np.abs(found - probabilities).mean() < 0.03
        assert calibration_error(labels, found) < 0.06


def test_scores_that_say_nothing_or_the_contrary_get_the_rate() -> None:
    scores = np.linspace(0.01, 0.99, 200)
    labels = scores < 0.3
    slope, intercept = fit_platt(labels, scores)
    assert slope == 0
    assert apply_platt(scores, (slope, intercept)) == pytest.approx(labels.mean(), abs=0.02)


def test_separable_scores_give_no_infinite_curve() -> None:
    scores = np.array([0.1] * 20 + [0.9] * 20)
    labels = scores > 0.5
    slope, intercept = fit_platt(labels, scores)
    assert 0 < slope < 10
    assert apply_platt(scores, (slope, intercept)).max() < 1


def test_the_calibration_error_is_the_gap_of_the_bins() -> None:
    labels = np.array([True, True, False, False])
    assert calibration_error(labels, np.array([0.95, 0.95, 0.05, 0.05])) == pytest.approx(0.05)
    assert calibration_error(labels, np.array([0.5, 0.5, 0.5, 0.5])) == 0
    assert calibration_error(~labels, np.array([0.9, 0.9, 0.1, 0.1])) == pytest.approx(0.9)
