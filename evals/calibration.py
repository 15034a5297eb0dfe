"""How well a metric agrees with people, where its threshold belongs, and what that makes of a rate.

A labelled set is judged by the metric's backend, and compared with the labels. The threshold is the
one with the best balanced accuracy; what that is worth is measured by cross-validation, on rows
that the threshold was not chosen by. From labels and verdicts a corrected rate follows, with a
prediction-powered interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.datasets import numbered_lines
from evals.judges import SupportJudge
from evals.metrics import Case
from evals.metrics.correctness import f1_of_words, normal
from evals.samples import Sample, passages
from evals.scores import Score
from evals.statistics import Estimate, bootstrapped, wilson
from rag.errors import ConfigError, QueryError
from rag.generation.markers import without_markers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FOLDS = 10
_BINS = 10
_Z = 1.959963984540054
FEWEST = 10
"""Labels of each kind below which nothing can be said."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a person judged: a claim or an answer, what it was given from, and whether it is so.

    ``references`` are for metrics that compare with right answers, ``question`` for those that
    look at it.
    """

    text: str
    contexts: tuple[str, ...]
    label: bool
    references: tuple[str, ...] = ()
    question: str = ""
    whole: bool = True
    """Whether it is an answer, of which every claim must hold; a claim by itself otherwise."""


def load_labelled(path: Path) -> list[Labelled]:
    """Read JSON lines: ``{"answer" or "claim", "contexts": [...], "label": 0 or 1}``.

    ``references`` and ``question`` may stand beside. Raises `QueryError` that names the line.
    """
    found = [
        row
        for number, line in numbered_lines(path)
        if (row := _labelled(line, f"{path}, line {number}")) is not None
    ]
    if not found:
        raise QueryError(f"{path}: there is no label in it")
    return found


def _labelled(line: str, where: str) -> Labelled | None:
    """The row of a line; None where a person skipped it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise QueryError(f"{where}: not JSON: {error}") from None
    if not isinstance(record, Mapping):
        raise QueryError(f"{where}: not an object")
    if "label" in record and record["label"] is None:
        return None
    text = record.get("answer", record.get("claim"))
    if not isinstance(text, str):
        raise QueryError(f"{where}: there is neither an answer nor a claim in it")
    label = record.get("label")
    if isinstance(label, bool):
        label = int(label)
    if not isinstance(label, int | float) or label not in (0, 1):
        raise QueryError(f"{where}: the label is {json.dumps(label)}, not 0 or 1")
    given: dict[str, tuple[str, ...]] = {}
    for name in ("contexts", "references"):
        values = record.get(name, [])
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise QueryError(f"{where}: {name} is not a list of texts")
        given[name] = tuple(values)
    return Labelled(
        text=text,
        contexts=given["contexts"],
        label=bool(label),
        references=given["references"],
        question=str(record.get("question") or ""),
        whole="answer" in record,
    )


# -- scores that can be calibrated ---------------------------------------------------------


def _faithfulness(row: Labelled, backend: SupportJudge) -> float | None:
    """Mean support of the answer's claims; None where one could not be judged."""
    sample = Sample(
        id="",
        question=row.question,
        answer=row.text,
        contexts=passages(row.contexts),
        abstained=False,
    )
    case = Case(sample, backend)
    claims = [claim.claim for claim in case.claims] or [row.text]
    supports = [judged.support for judged in backend.judge(claims, row.contexts)]
    known = [support for support in supports if support is not None]
    return sum(known) / len(known) if len(known) == len(supports) else None


def _correctness(row: Labelled, backend: SupportJudge) -> float | None:
    """Mean support of the answer by its best reference."""
    if not row.references:
        return None
    found = backend.judge([row.text], row.references, apart=True)[0]
    return found.support


def _best_reference(row: Labelled, compare: Callable[[str, str], float]) -> float | None:
    if not row.references:
        return None
    said = normal(without_markers(row.text))
    return max(compare(said, normal(reference)) for reference in row.references)


def _token_f1(row: Labelled, backend: SupportJudge) -> float | None:
    return _best_reference(row, f1_of_words)


def _holds(row: Labelled, backend: SupportJudge) -> float | None:
    return _best_reference(row, lambda said, right: float(f" {right} " in f" {said} "))


def _relevance(row: Labelled, backend: SupportJudge) -> float | None:
    """Cosine of the question and the answer."""
    from rag.embedding import StaticEmbedder

    if not row.question:
        return None
    asked, given = StaticEmbedder().embed_documents([row.question, row.text])
    return float(max(0.0, asked @ given))


CALIBRATED: Mapping[str, Callable[[Labelled, SupportJudge], float | None]] = {
    "faithfulness": _faithfulness,
    "answer_correctness": _correctness,
    "token_f1": _token_f1,
    "holds_answer": _holds,
    "answer_relevance": _relevance,
}
"""Metrics that can be compared with people, and the graded score behind each."""


# -- agreement -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """How well a metric agrees with people on ``n`` labels.

    ``auroc`` needs no threshold. ``balanced_accuracy``, ``f1``, ``kappa`` (Cohen's), ``tpr`` and
    ``tnr`` are at thresholds chosen on other rows (ten folds), so that they hold for new ones.
    ``threshold`` is chosen on all of them. ``at_default`` is the balanced accuracy at the threshold
    that the backend came with. ``reliability`` has for each tenth of the scores its rows, mean
    score, and share of positive labels. ``rectifier`` is what corrects a rate: see `corrected`.
    """

    metric: str
    backend: str
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
    rectifier: tuple[float, float]
    unit: str = "answer"
    scores: tuple[float, ...] = field(default=(), repr=False)
    labels: tuple[bool, ...] = field(default=(), repr=False)

    def as_json(self) -> dict[str, Any]:
        """As plain data; every number that is estimated with its interval."""
        found: dict[str, Any] = {
            "metric": self.metric,
            "backend": self.backend,
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
            found[name] = estimate.value
            found[f"{name}_interval"] = [estimate.low, estimate.high]
        found["default_threshold"] = self.default_threshold
        found["reliability"] = [
            {"n": n, "score": score, "share": share} for n, score, share in self.reliability
        ]
        found["rectifier"] = {"mean": self.rectifier[0], "standard_error": self.rectifier[1]}
        return found


def calibrate(
    rows: Sequence[Labelled],
    metric: str,
    backend: SupportJudge,
    *,
    progress: Callable[[int, int], None] | None = None,
    resamples: int = 1_000,
) -> Calibration:
    """Judge every row with `backend` and compare with the labels. Same rows, same numbers.

    Raises `ConfigError` for a metric that cannot be calibrated, or too few labels of a kind.
    """
    import numpy as np

    if metric not in CALIBRATED:
        raise ConfigError(f"{metric} cannot be calibrated: choose of {', '.join(CALIBRATED)}")
    scores: list[float] = []
    labels: list[bool] = []
    for done, row in enumerate(rows, start=1):
        score = CALIBRATED[metric](row, backend)
        if score is not None:
            scores.append(score)
            labels.append(row.label)
        if progress:
            progress(done, len(rows))
    failed = len(rows) - len(scores)
    kinds = (sum(labels), len(labels) - sum(labels))
    if min(kinds) < FEWEST:
        lost = f"; {failed:,} rows could not be judged" if failed else ""
        raise ConfigError(
            f"{kinds[0]:,} rows labelled 1 and {kinds[1]:,} labelled 0: at least {FEWEST} of each "
            f"are needed{lost}"
        )
    s, y = np.array(scores), np.array(labels)
    said = _cross_validated(s, y)
    threshold = best_threshold(y, s)
    at_default = s >= backend.threshold
    positive = s >= threshold

    def of(
        measure: Callable[[NDArray[np.bool_], NDArray[np.bool_]], float],
        verdicts: NDArray[np.bool_],
    ) -> Estimate:
        found = bootstrapped(lambda i: measure(y[i], verdicts[i]), len(y), resamples=resamples)
        if found.low == found.high and measure in (tpr, tnr, balanced_accuracy):
            return wilson(found.value, min(kinds))  # all told right, or wrong: that is no proof
        return found

    errors = y.astype(float) - positive.astype(float)
    return Calibration(
        metric=metric,
        backend=backend.description,
        fingerprint=backend.fingerprint,
        n=len(scores),
        positives=kinds[0],
        failed=failed,
        auroc=bootstrapped(lambda i: auroc(y[i], s[i]), len(y), resamples=resamples),
        balanced_accuracy=of(balanced_accuracy, said),
        f1=of(f1, said),
        kappa=of(kappa, said),
        tpr=of(tpr, said),
        tnr=of(tnr, said),
        threshold=bootstrapped(
            lambda i: best_threshold(y[i], s[i]), len(y), resamples=min(200, resamples)
        ),
        default_threshold=backend.threshold,
        at_default=of(balanced_accuracy, at_default),
        reliability=tuple(_reliability(y, s)),
        rectifier=(float(errors.mean()), float(errors.std(ddof=1) / math.sqrt(len(errors)))),
        unit="answer" if any(row.whole for row in rows) else "claim",
        scores=tuple(scores),
        labels=tuple(labels),
    )


def _cross_validated(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Verdicts by thresholds that were chosen on the other folds."""
    import numpy as np

    order = np.random.default_rng(0).permutation(len(labels))
    said = np.zeros(len(labels), dtype=bool)
    for fold in range(_FOLDS):
        held_out = order[fold::_FOLDS]
        rest = np.setdiff1d(order, held_out)
        if labels[rest].any() and not labels[rest].all():
            said[held_out] = scores[held_out] >= best_threshold(labels[rest], scores[rest])
    return said


def best_threshold(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """The threshold with the best balanced accuracy; between two scores, in the middle."""
    import numpy as np

    order = np.argsort(scores, kind="stable")
    s, y = scores[order], labels[order]
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return math.nan
    below_positive = np.concatenate([[0], np.cumsum(y)])
    below_negative = np.concatenate([[0], np.cumsum(~y)])
    gain = (positives - below_positive) / positives + below_negative / negatives
    places = np.concatenate([[True], s[1:] > s[:-1], [True]])
    gain = np.where(places, gain, -1.0)
    at = int(np.argmax(gain))
    if at == 0:
        return float(s[0])
    if at == len(s):
        return float(np.nextafter(s[-1], np.inf))
    return float((s[at - 1] + s[at]) / 2)


def auroc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Chance that a positive scores above a negative (Mann-Whitney, ties half); or NaN."""
    import numpy as np

    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def tpr(labels: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """Share of the positives that are told."""
    return float(said[labels].mean()) if labels.any() else math.nan


def tnr(labels: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """Share of the negatives that are told."""
    return float((~said[~labels]).mean()) if not labels.all() else math.nan


def balanced_accuracy(labels: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """Mean of `tpr` and `tnr`."""
    return (tpr(labels, said) + tnr(labels, said)) / 2


def f1(labels: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall of the positives."""
    both = int(labels.sum()) + int(said.sum())
    return 2 * int((labels & said).sum()) / both if both else math.nan


def kappa(labels: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """Agreement beyond chance (Cohen, 1960)."""
    agreed = float((labels == said).mean())
    share, told = float(labels.mean()), float(said.mean())
    chance = share * told + (1 - share) * (1 - told)
    return (agreed - chance) / (1 - chance) if chance < 1 else math.nan


def _reliability(
    labels: NDArray[np.bool_], scores: NDArray[np.float64]
) -> Iterator[tuple[int, float, float]]:
    import numpy as np

    bins = np.clip((scores * _BINS).astype(int), 0, _BINS - 1)
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            yield int(inside.sum()), float(scores[inside].mean()), float(labels[inside].mean())


# -- correction ----------------------------------------------------------------------------


def corrected(
    verdicts: Sequence[Sequence[float]], rectifier: tuple[float, float], *, labels: int = 0
) -> dict[str, Any]:
    """The rate as people would judge it: that of the verdicts, plus their mean error on the labels.

    `verdicts` are 0 or 1, those of one answer together (its claims, or the one of the answer);
    `rectifier` is the mean of label minus verdict on the labelled rows, and its standard error. The
    interval is the prediction-powered one for a mean (Angelopoulos et al., 2023), with the answers
    as clusters, cut to 0..1. It holds as far as the labelled rows are like those of the run.
    """
    groups = [list(each) for each in verdicts if len(each)]
    n = sum(map(len, groups))
    if not n:
        raise ConfigError("there is no verdict to correct")
    mean = sum(map(sum, groups)) / n
    # one answer more of each kind: so few that are all alike prove nothing
    size = n / len(groups)
    padded = [*((sum(each), len(each)) for each in groups), (0.0, size), (size, size)]
    under = sum(part[1] for part in padded)
    centre = sum(part[0] for part in padded) / under
    variance = sum((top - centre * count) ** 2 for top, count in padded) / under**2
    half = _Z * math.sqrt(variance + rectifier[1] ** 2)
    value = mean + rectifier[0]
    return {
        "uncorrected": mean,
        "value": min(1.0, max(0.0, value)),
        "low": min(1.0, max(0.0, value - half)),
        "high": min(1.0, max(0.0, value + half)),
        "n": n,
        "labels": labels,
    }


def verdicts_of(scores: Sequence[Score], calibration: Mapping[str, Any]) -> list[list[float]]:
    """What a calibrated metric says of each answer of a run, by the calibration's threshold.

    Its claims, each 0 or 1, where claims were labelled; the answer, where answers were. Raises
    `ConfigError` for a metric whose scores in a run are not what was calibrated.
    """
    name, threshold = calibration["metric"], calibration["threshold"]
    scored = [score for score in scores if score.value is not None]
    if name == "faithfulness":
        supports = [[u.support for u in s.units if u.support is not None] for s in scored]
        if calibration["unit"] == "claim":
            return [[float(each >= threshold) for each in group] for group in supports]
        return [[float(sum(group) / len(group) >= threshold)] for group in supports if group]
    if name in ("token_f1", "holds_answer", "answer_relevance"):
        return [[float((score.value or 0.0) >= threshold)] for score in scored]
    raise ConfigError(f"rates of {name} cannot be corrected: calibrate faithfulness, or token_f1")


def read_calibration(path: Path) -> dict[str, Any]:
    """What `rag eval calibrate --out` wrote. Raises `QueryError`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rectifier = (float(found["rectifier"]["mean"]), float(found["rectifier"]["standard_error"]))
        return {
            "metric": str(found["metric"]),
            "unit": str(found["unit"]),
            "auroc_low": float(found["auroc_interval"][0]),
            "threshold": float(found["threshold"]),
            "fingerprint": str(found["fingerprint"]),
            "rectifier": rectifier,
            "n": int(found["n"]),
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise QueryError(f"{path} is not a calibration: {error}") from None
