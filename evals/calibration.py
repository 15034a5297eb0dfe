"""Calibration: agreement of a metric with people, the best threshold, and corrected rates.

A metric scores labelled rows, and its scores are compared with the labels. The threshold is the one
with the best balanced accuracy. Its quality is measured by cross-validation, on rows that the
threshold was not chosen on. Labels and verdicts together give a corrected rate with a
prediction-powered interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.agreement import (
    apply_platt,
    auroc,
    balanced_accuracy,
    best_threshold,
    calibration_error,
    f1,
    fit_platt,
    kappa,
    tnr,
    tpr,
)
from evals.datasets import numbered_lines
from evals.judges import SupportJudge
from evals.metrics import Case
from evals.metrics.correctness import compute_word_f1, normalise_answer
from evals.samples import Sample, passages
from evals.scores import Score
from evals.statistics import NORMAL_QUANTILE_95, Estimate, bootstrap, wilson
from rag.errors import ConfigError, QueryError
from rag.generation.markers import strip_markers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Agreement = Callable[[NDArray[np.bool_], NDArray[np.bool_]], float]

_FOLDS = 10
_BINS = 10
MIN_LABELS_PER_KIND = 10
"""The fewest labels of each kind, 0 and 1, that a calibration needs."""


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A claim or an answer, its passages, and a person's label.

    ``label`` is true if the person judged the text to be supported, or correct. ``references`` are
    for metrics that compare with correct answers, ``question`` for metrics that use it.
    """

    text: str
    contexts: tuple[str, ...]
    label: bool
    references: tuple[str, ...] = ()
    question: str = ""
    is_answer: bool = True
    """Whether ``text`` is an answer, whose claims must all be supported; else it is one claim."""


def load_labelled(path: Path) -> list[LabelledRow]:
    """Read JSON lines: ``{"answer" or "claim", "contexts": [...], "label": 0 or 1}``.

    ``references`` and ``question`` are optional; a row whose label is null is skipped. Raises
    `QueryError` with the line number for an invalid line, or without any label.
    """
    rows = [
        row
        for number, line in numbered_lines(path)
        if (row := _parse_labelled_row(line, f"{path}, line {number}")) is not None
    ]
    if not rows:
        raise QueryError(f"{path} contains no label")
    return rows


def _parse_labelled_row(line: str, location: str) -> LabelledRow | None:
    """Parse one line; return None if its label is null, which means that it was skipped."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise QueryError(f"{location}: not JSON: {error}") from None
    if not isinstance(record, Mapping):
        raise QueryError(f"{location}: not an object")
    if "label" in record and record["label"] is None:
        return None
    text = record.get("answer", record.get("claim"))
    if not isinstance(text, str):
        raise QueryError(f"{location}: it has neither an answer nor a claim")
    label = record.get("label")
    if isinstance(label, bool):
        label = int(label)
    if not isinstance(label, int | float) or label not in (0, 1):
        raise QueryError(f"{location}: the label is {json.dumps(label)}, not 0 or 1")
    texts: dict[str, tuple[str, ...]] = {}
    for name in ("contexts", "references"):
        values = record.get(name, [])
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise QueryError(f"{location}: {name} is not a list of strings")
        texts[name] = tuple(values)
    return LabelledRow(
        text=text,
        contexts=texts["contexts"],
        label=bool(label),
        references=texts["references"],
        question=str(record.get("question") or ""),
        is_answer="answer" in record,
    )


# -- scores that can be calibrated ---------------------------------------------------------


def _score_faithfulness(row: LabelledRow, judge: SupportJudge) -> float | None:
    """Return the mean support of the answer's claims; None if one could not be judged."""
    sample = Sample(
        id="",
        question=row.question,
        answer=row.text,
        contexts=passages(row.contexts),
        abstained=False,
    )
    case = Case(sample, judge)
    claims = [claim.claim for claim in case.claims] or [row.text]
    supports = [judgement.support for judgement in judge.judge(claims, row.contexts)]
    valid_supports = [support for support in supports if support is not None]
    if len(valid_supports) < len(supports):
        return None
    return sum(valid_supports) / len(valid_supports)


def _score_correctness(row: LabelledRow, judge: SupportJudge) -> float | None:
    """Return the support of the answer by its references; None without references."""
    if not row.references:
        return None
    return judge.judge([row.text], row.references, per_passage=True)[0].support


def _score_best_reference(row: LabelledRow, compare: Callable[[str, str], float]) -> float | None:
    if not row.references:
        return None
    answer = normalise_answer(strip_markers(row.text))
    return max(compare(answer, normalise_answer(reference)) for reference in row.references)


def _score_token_f1(row: LabelledRow, judge: SupportJudge) -> float | None:
    return _score_best_reference(row, compute_word_f1)


def _score_containment(row: LabelledRow, judge: SupportJudge) -> float | None:
    return _score_best_reference(
        row, lambda answer, reference: float(f" {reference} " in f" {answer} ")
    )


def _score_relevance(row: LabelledRow, judge: SupportJudge) -> float | None:
    """Return the cosine of the question and the answer; None without a question."""
    from rag.embedding import StaticEmbedder

    if not row.question:
        return None
    question, answer = StaticEmbedder().embed_documents([row.question, row.text])
    return float(max(0.0, question @ answer))


CALIBRATED: Mapping[str, Callable[[LabelledRow, SupportJudge], float | None]] = {
    "faithfulness": _score_faithfulness,
    "answer_correctness": _score_correctness,
    "token_f1": _score_token_f1,
    "holds_answer": _score_containment,
    "answer_relevance": _score_relevance,
}
"""The metrics that can be calibrated, each with the function that scores a row (0..1)."""


# -- agreement -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """The agreement of a metric with people on ``n`` labels.

    ``judge`` and ``fingerprint`` describe the support judge. ``auroc`` needs no threshold.
    ``balanced_accuracy``, ``f1``, ``kappa`` (Cohen's), ``tpr`` and ``tnr`` use thresholds chosen on
    other rows (ten folds), so that they are valid for new rows. ``threshold`` is chosen on all
    rows. ``at_default`` is the balanced accuracy at ``default_threshold``, which the support judge
    had. ``reliability`` has, for each tenth of the scores, the number of rows, the mean score, and
    the share of positive labels. ``rectifier`` corrects a rate: see `correct_rate`.
    """

    metric: str
    judge: str
    fingerprint: str
    n: int
    positives: int
    failed: int
    auroc: Estimate
    balanced_accuracy: Estimate
    f1: Estimate
    kappa: Estimate
    tpr: Estimate
    tnr: Estimate
    threshold: Estimate
    default_threshold: float
    at_default: Estimate
    reliability: tuple[tuple[int, float, float], ...]
    curve: tuple[float, float]
    calibration_error: float
    curve_error: float
    rectifier: tuple[float, float]
    unit: str = "answer"
    scores: tuple[float, ...] = field(default=(), repr=False)
    labels: tuple[bool, ...] = field(default=(), repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return the calibration as plain data; each estimate has its interval."""
        fields: dict[str, Any] = {
            "metric": self.metric,
            "backend": self.judge,
            "fingerprint": self.fingerprint,
            "n": self.n,
            "positives": self.positives,
            "failed": self.failed,
            "unit": self.unit,
        }
        for name in (
            "auroc",
            "balanced_accuracy",
            "f1",
            "kappa",
            "tpr",
            "tnr",
            "threshold",
            "at_default",
        ):
            estimate: Estimate = getattr(self, name)
            fields[name] = estimate.value
            fields[f"{name}_interval"] = [estimate.low, estimate.high]
        fields["default_threshold"] = self.default_threshold
        fields["reliability"] = [
            {"n": n, "score": score, "share": share} for n, score, share in self.reliability
        ]
        fields["curve"] = {"slope": self.curve[0], "intercept": self.curve[1]}
        fields["calibration_error"] = self.calibration_error
        fields["curve_error"] = self.curve_error
        fields["rectifier"] = {"mean": self.rectifier[0], "standard_error": self.rectifier[1]}
        return fields


def calibrate(
    rows: Sequence[LabelledRow],
    metric: str,
    judge: SupportJudge,
    *,
    progress: Callable[[int, int], None] | None = None,
    resamples: int = 1_000,
) -> Calibration:
    """Score every row with `judge` and compare the scores with the labels.

    The result is deterministic. `progress` is called with (rows done, rows). Raises `ConfigError`
    for a metric that cannot be calibrated, or for too few labels of a kind.
    """
    if metric not in CALIBRATED:
        raise ConfigError(f"{metric} cannot be calibrated; use one of {', '.join(CALIBRATED)}")
    scores, labels = _score_rows(rows, metric, judge, progress)
    n, positives, failed = len(scores), int(labels.sum()), len(rows) - len(scores)
    _require_labels(positives, n - positives, failed)
    verdicts = _cross_validate(scores, labels)
    threshold = best_threshold(labels, scores)
    errors = labels.astype(float) - (scores >= threshold).astype(float)

    def estimate(measure: _Agreement, verdicts: NDArray[np.bool_] = verdicts) -> Estimate:
        return _estimate_agreement(measure, labels, verdicts, resamples)

    return Calibration(
        metric=metric,
        judge=judge.description,
        fingerprint=judge.fingerprint,
        n=n,
        positives=positives,
        failed=failed,
        auroc=bootstrap(lambda i: auroc(labels[i], scores[i]), n, resamples=resamples),
        balanced_accuracy=estimate(balanced_accuracy),
        f1=estimate(f1),
        kappa=estimate(kappa),
        tpr=estimate(tpr),
        tnr=estimate(tnr),
        threshold=bootstrap(
            lambda i: best_threshold(labels[i], scores[i]), n, resamples=min(200, resamples)
        ),
        default_threshold=judge.threshold,
        at_default=estimate(balanced_accuracy, scores >= judge.threshold),
        reliability=tuple(_compute_reliability(labels, scores)),
        curve=fit_platt(labels, scores),
        calibration_error=calibration_error(labels, scores),
        curve_error=calibration_error(labels, _cross_validate_curve(scores, labels)),
        rectifier=(float(errors.mean()), float(errors.std(ddof=1) / math.sqrt(n))),
        unit="answer" if any(row.is_answer for row in rows) else "claim",
        scores=tuple(scores.tolist()),
        labels=tuple(labels.tolist()),
    )


def _require_labels(positives: int, negatives: int, failed: int) -> None:
    if min(positives, negatives) < MIN_LABELS_PER_KIND:
        failures = f"; {failed:,} rows could not be judged" if failed else ""
        raise ConfigError(
            f"{positives:,} rows labelled 1 and {negatives:,} labelled 0: at least "
            f"{MIN_LABELS_PER_KIND} of each are needed{failures}"
        )


def _score_rows(
    rows: Sequence[LabelledRow],
    metric: str,
    judge: SupportJudge,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the scores and the labels of the rows that could be scored."""
    import numpy as np

    scores: list[float] = []
    labels: list[bool] = []
    for done, row in enumerate(rows, start=1):
        score = CALIBRATED[metric](row, judge)
        if score is not None:
            scores.append(score)
            labels.append(row.label)
        if progress:
            progress(done, len(rows))
    return np.array(scores, dtype=np.float64), np.array(labels, dtype=np.bool_)


def _estimate_agreement(
    measure: _Agreement,
    labels: NDArray[np.bool_],
    verdicts: NDArray[np.bool_],
    resamples: int,
) -> Estimate:
    """Bootstrap `measure`; a bootstrap interval of length 0 is replaced by Wilson's.

    All verdicts right, or all wrong, leaves nothing to resample, but a few rows prove nothing.
    """
    n = len(labels)
    estimate = bootstrap(lambda i: measure(labels[i], verdicts[i]), n, resamples=resamples)
    if estimate.low == estimate.high and measure in (tpr, tnr, balanced_accuracy):
        positives = int(labels.sum())
        return wilson(estimate.value, min(positives, n - positives))
    return estimate


def _cross_validate(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the verdict of each row by a threshold that was chosen on the other folds."""
    import numpy as np

    order = np.random.default_rng(0).permutation(len(labels))
    verdicts = np.zeros(len(labels), dtype=bool)
    for fold in range(_FOLDS):
        test_rows = order[fold::_FOLDS]
        training_rows = np.setdiff1d(order, test_rows)
        training_labels = labels[training_rows]
        if training_labels.any() and not training_labels.all():
            threshold = best_threshold(training_labels, scores[training_rows])
            verdicts[test_rows] = scores[test_rows] >= threshold
    return verdicts


def _cross_validate_curve(
    scores: NDArray[np.float64], labels: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the probability of each row by a curve that was fitted on the other folds."""
    import numpy as np

    order = np.random.default_rng(0).permutation(len(labels))
    probabilities = scores.copy()
    for fold in range(_FOLDS):
        test_rows = order[fold::_FOLDS]
        training_rows = np.setdiff1d(order, test_rows)
        if labels[training_rows].any() and not labels[training_rows].all():
            curve = fit_platt(labels[training_rows], scores[training_rows])
            probabilities[test_rows] = apply_platt(scores[test_rows], curve)
    return probabilities


def _compute_reliability(
    labels: NDArray[np.bool_], scores: NDArray[np.float64]
) -> Iterator[tuple[int, float, float]]:
    """Yield for each bin of scores its row count, mean score, and share of positive labels."""
    import numpy as np

    bins = np.clip((scores * _BINS).astype(int), 0, _BINS - 1)
    for number in range(_BINS):
        is_in_bin = bins == number
        if is_in_bin.any():
            share = float(labels[is_in_bin].mean())
            yield int(is_in_bin.sum()), float(scores[is_in_bin].mean()), share


# -- correction ----------------------------------------------------------------------------


def correct_rate(
    verdicts: Sequence[Sequence[float]], rectifier: tuple[float, float], *, labels: int = 0
) -> dict[str, Any]:
    """Correct a rate to the one that people would give: verdicts plus their mean error on labels.

    `verdicts` are 0 or 1, grouped by answer (one per claim, or one for the answer). `rectifier` is
    the mean of label minus verdict on the labelled rows, and its standard error. `labels` is the
    number of labelled rows. The interval is the prediction-powered interval of a mean (Angelopoulos
    et al., 2023), with answers as clusters, clipped to 0..1. It is valid if the labelled rows
    resemble those of the run. Raises `ConfigError` without verdicts.
    """
    groups = [list(group) for group in verdicts if len(group)]
    n = sum(map(len, groups))
    if not n:
        raise ConfigError("there is no verdict to correct")
    mean = sum(map(sum, groups)) / n
    # one answer of each kind is added: a few equal verdicts do not prove a variance of 0
    mean_size = n / len(groups)
    clusters = [(float(sum(group)), float(len(group))) for group in groups]
    clusters += [(0.0, mean_size), (mean_size, mean_size)]
    total = sum(size for _, size in clusters)
    centre = sum(positives for positives, _ in clusters) / total
    variance = sum((positives - centre * size) ** 2 for positives, size in clusters) / total**2
    half_width = NORMAL_QUANTILE_95 * math.sqrt(variance + rectifier[1] ** 2)
    value = mean + rectifier[0]
    return {
        "uncorrected": mean,
        "value": min(1.0, max(0.0, value)),
        "low": min(1.0, max(0.0, value - half_width)),
        "high": min(1.0, max(0.0, value + half_width)),
        "n": n,
        "labels": labels,
    }


def extract_verdicts(scores: Sequence[Score], calibration: Mapping[str, Any]) -> list[list[float]]:
    """Return the verdicts (0 or 1) of each scored answer, by the threshold of `calibration`.

    An answer has one verdict per claim if claims were labelled, and one verdict if answers were.
    Raises `ConfigError` for a metric whose run scores differ from the calibrated scores.
    """
    name, threshold = calibration["metric"], calibration["threshold"]
    scored = [score for score in scores if score.value is not None]
    if name == "faithfulness":
        supports = [[u.support for u in s.units if u.support is not None] for s in scored]
        if calibration["unit"] == "claim":
            return [[float(support >= threshold) for support in group] for group in supports]
        return [[float(sum(group) / len(group) >= threshold)] for group in supports if group]
    if name in ("token_f1", "holds_answer", "answer_relevance"):
        return [[float((score.value or 0.0) >= threshold)] for score in scored]
    raise ConfigError(
        f"rates of {name} cannot be corrected; calibrate faithfulness, token_f1, holds_answer or "
        "answer_relevance"
    )


def read_calibration(path: Path) -> dict[str, Any]:
    """Read the file that ``rag eval calibrate --out`` wrote. Raises `QueryError`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        rectifier = record["rectifier"]
        return {
            "metric": str(record["metric"]),
            "unit": str(record["unit"]),
            "auroc_low": float(record["auroc_interval"][0]),
            "threshold": float(record["threshold"]),
            "fingerprint": str(record["fingerprint"]),
            "rectifier": (float(rectifier["mean"]), float(rectifier["standard_error"])),
            "n": int(record["n"]),
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise QueryError(f"{path} is not a calibration: {error}") from None
