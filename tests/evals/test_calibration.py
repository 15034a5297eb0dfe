"""Agreement with people: the numbers of scikit-learn, and intervals that hold."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from evals.calibration import (
    Labelled,
    auroc,
    balanced_accuracy,
    best_threshold,
    calibrate,
    corrected,
    f1,
    kappa,
    load_labelled,
    read_calibration,
    verdicts_of,
)
from evals.judges import backend
from evals.scores import Score, Unit
from rag.errors import ConfigError, QueryError


def drawn(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    random_ = np.random.default_rng(seed)
    labels = random_.random(n) < 0.4
    scores = np.round(np.clip(random_.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)  # with ties
    return labels, scores


@pytest.mark.parametrize("seed", range(8))
def test_agreement_is_scikit_learns(seed: int) -> None:
    labels, scores = drawn(seed)
    said = scores >= 0.5
    assert auroc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores))
    assert balanced_accuracy(labels, said) == pytest.approx(
        sk.balanced_accuracy_score(labels, said)
    )
    assert f1(labels, said) == pytest.approx(sk.f1_score(labels, said))
    assert kappa(labels, said) == pytest.approx(sk.cohen_kappa_score(labels, said))


@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_is_better_than_the_best(seed: int) -> None:
    labels, scores = drawn(seed)
    best = balanced_accuracy(labels, scores >= best_threshold(labels, scores))
    for threshold in np.linspace(-0.1, 1.1, 241):
        assert balanced_accuracy(labels, scores >= threshold) <= best + 1e-12


def rows(n: int = 120) -> list[Labelled]:
    draw = random.Random(1)
    found = []
    for _ in range(n):
        minutes, label = draw.randint(10, 99), draw.random() < 0.5
        said = minutes if label else minutes + draw.randint(1, 9)
        found.append(
            Labelled(
                f"The battery lasts {said} minutes.",
                (f"A full battery lasts {minutes} minutes in calm air.", "Snow is white."),
                label,
            )
        )
    return found


def test_calibration_finds_what_is_there() -> None:
    found = calibrate(rows(), "faithfulness", backend("lexical"), resamples=200)
    assert found.n == 120 and found.auroc.value > 0.99
    assert found.balanced_accuracy.value > 0.95 and found.kappa.value > 0.9
    assert found.auroc.low <= found.auroc.value <= found.auroc.high
    assert sum(n for n, *_ in found.reliability) == 120
    plain = found.as_json()
    assert plain["auroc"] == found.auroc.value and len(plain["threshold_interval"]) == 2
    assert calibrate(rows(), "faithfulness", backend("lexical"), resamples=200) == found


def test_a_metric_that_knows_nothing_is_said_to() -> None:
    draw = random.Random(2)
    noise = [
        Labelled(f"Number {draw.randint(1, 9)}.", ("Snow.",), draw.random() < 0.5)
        for _ in range(200)
    ]
    found = calibrate(noise, "faithfulness", backend("lexical"), resamples=200)
    assert found.auroc.low < 0.5 < found.auroc.high
    assert found.balanced_accuracy.value < 0.6  # of a threshold chosen on other rows


def test_what_cannot_be_calibrated() -> None:
    with pytest.raises(ConfigError, match="at least 10 of each"):
        calibrate([Labelled("a", ("a",), True)] * 50, "faithfulness", backend("lexical"))
    with pytest.raises(ConfigError, match="choose of"):
        calibrate(rows(), "map", backend("lexical"))


def test_corrected_rates_cover_what_people_would_say() -> None:
    random_ = np.random.default_rng(0)

    def judged(n: int) -> tuple[np.ndarray, np.ndarray]:
        people = random_.random(n) < 0.6
        return people, people ^ (random_.random(n) < np.where(people, 0.3, 0.1))

    covered = 0
    for _ in range(1_000):
        people, said = judged(150)
        errors = people.astype(float) - said
        rectifier = (float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(len(errors))))
        _, verdicts = judged(400)
        found = corrected([[float(v)] for v in verdicts], rectifier)
        covered += found["low"] <= 0.6 <= found["high"]
        assert abs(found["uncorrected"] - 0.46) < 0.12  # what it would be without
    assert 0.925 <= covered / 1_000 <= 0.975


def test_few_verdicts_that_are_alike_are_no_certainty() -> None:
    found = corrected([[1.0]] * 5, (0.05, 0.01))
    assert found["value"] == 1.0 and found["low"] < 0.9


def test_a_rate_of_claims_and_one_of_answers() -> None:
    def score(*supports: float) -> Score:
        return Score.of(0.5, units=[Unit(claim="c", support=s) for s in supports])

    scores = [score(0.9, 0.1), score(0.8), Score.failed("x")]
    known = {"metric": "faithfulness", "threshold": 0.5, "unit": "claim"}
    assert verdicts_of(scores, known) == [[1.0, 0.0], [1.0]]
    assert verdicts_of(scores, known | {"unit": "answer"}) == [[1.0], [1.0]]
    assert verdicts_of([Score.of(0.2), Score.of(0.6)], known | {"metric": "token_f1"}) == [
        [0.0],
        [1.0],
    ]
    with pytest.raises(ConfigError, match="cannot be corrected"):
        verdicts_of(scores, known | {"metric": "answer_correctness"})


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
def test_lines_that_are_no_labels(tmp_path: Path, line: str) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text('{"claim": "a", "contexts": ["b"], "label": 1}\n' + line, encoding="utf-8")
    with pytest.raises(QueryError, match="line 2"):
        load_labelled(path)


def test_what_a_person_skipped_is_no_label(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text(
        '{"id": "1", "label": null}\n{"answer": "a", "contexts": "b", "label": true}\n',
        encoding="utf-8",
    )
    assert load_labelled(path) == [Labelled("a", ("b",), True)]


def test_a_file_that_is_no_calibration(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"metric": "faithfulness"}), encoding="utf-8")
    with pytest.raises(QueryError, match="not a calibration"):
        read_calibration(path)


@pytest.mark.data
def test_the_lexical_backend_beats_the_baselines(data: Path) -> None:
    from benchmarks.labelled import SUPPORT
    from benchmarks.verification import BASELINES, auroc_of

    rows_ = {name: list(read(data / "labelled" / name)) for name, read in SUPPORT.items()}
    ours = {name: auroc_of(each, "faithfulness") for name, each in rows_.items()}
    floors = {
        baseline: {name: auroc_of(each, baseline) for name, each in rows_.items()}
        for baseline in BASELINES
    }
    best = max(sum(found.values()) / len(found) for found in floors.values())
    assert sum(ours.values()) / len(ours) >= best + 0.015
    for name, value in ours.items():
        assert value >= max(found[name] for found in floors.values()) - 0.03, name
