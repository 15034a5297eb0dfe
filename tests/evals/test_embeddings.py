"""What is said of an embedder is what scipy and scikit-learn say."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import v_measure_score

from evals.embeddings import (
    PROBES,
    SentencePair,
    alignment,
    classification,
    clustering,
    determinism,
    load_sentence_pairs,
    pearson,
    report,
    spearman,
    sts,
    uniformity,
    v_measure,
    word_bias,
)
from rag import StaticEmbedder
from rag.embedding import Embedder, KnownModel
from rag.errors import QueryError


class Careless(StaticEmbedder):
    """Depends on how many texts it is given at once."""

    name: ClassVar[str] = "careless"

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        return ()

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return super().embed_documents(texts) + np.float32(1e-3 * len(texts))


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.integers(0, 6, 40).astype(float)
    second = first + random.normal(0, 2, 40)
    assert pearson(first, second) == pytest.approx(stats.pearsonr(first, second).statistic)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert math.isnan(pearson(np.ones(5), np.arange(5.0)))


@pytest.mark.parametrize("seed", range(5))
def test_the_v_measure_is_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, clusters = random.integers(0, 4, 60).tolist(), random.integers(0, 5, 60).tolist()
    assert v_measure(labels, clusters) == pytest.approx(v_measure_score(labels, clusters))
    assert v_measure([0, 1], [1, 0]) == pytest.approx(1.0)
    assert v_measure([0, 0, 1, 1], [0, 0, 0, 0]) == 0


def test_sts(embedder: Embedder) -> None:
    pairs = [
        SentencePair("A man is dancing.", "A man dances.", 5.0),
        SentencePair("A man is dancing.", "A person is moving.", 3.0),
        SentencePair("A dog runs.", "A cat sleeps.", 1.0),
        SentencePair("Stocks fell on Monday.", "A man is dancing.", 0.0),
    ]
    result = sts(embedder, pairs, resamples=100)
    assert set(result.pearson) == set(result.spearman) == {"cosine", "manhattan", "euclidean"}
    assert all(estimate.value > 0.7 for estimate in result.spearman.values())
    with pytest.raises(QueryError, match="too few"):
        sts(embedder, pairs[:2])


FRUIT = [f"The {word} is ripe and sweet to eat." for word in "apple pear plum cherry mango".split()]
METAL = [f"The {word} is mined and melted." for word in "iron copper zinc nickel silver".split()]


def test_classes_and_clusters(embedder: Embedder) -> None:
    texts, labels = [*FRUIT, *METAL], ["fruit"] * 5 + ["metal"] * 5
    estimates = classification(embedder, texts, labels, neighbours=3)
    assert estimates["accuracy"].value >= 0.9 and estimates["macro_f1"].value >= 0.9
    assert clustering(embedder, texts, labels) == pytest.approx(1.0)
    with pytest.raises(QueryError):
        classification(embedder, texts, ["fruit"] * 10)
    with pytest.raises(QueryError):
        clustering(embedder, texts[:3], labels)


def test_determinism(embedder: Embedder) -> None:
    assert determinism(embedder, FRUIT) == {"runs": 0, "batch_sizes": 0}
    differences = determinism(Careless(), FRUIT, others=[embedder])
    assert (
        differences["runs"] == 0
        and differences["batch_sizes"] > 1e-3
        and differences["devices"] > 1e-3
    )


def test_alignment_and_uniformity() -> None:
    circle = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=np.float32)
    assert alignment(circle, circle) == 0
    assert alignment(circle, -circle) == pytest.approx(4.0)
    assert uniformity(np.ones((3, 2), dtype=np.float32)) == pytest.approx(0.0, abs=1e-6)
    # of six pairs four are at a right angle (d² = 2), two opposite (d² = 4)
    assert uniformity(circle) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))
    with pytest.raises(QueryError):
        uniformity(circle[:1])


def test_bias_probes(embedder: Embedder) -> None:
    targets, attributes = PROBES["flowers and insects, pleasant"]
    bias = word_bias(embedder, targets, attributes, permutations=500)
    assert bias.effect > 0.5 and bias.p < 0.05
    reversed_bias = word_bias(embedder, targets[::-1], attributes, permutations=500)
    assert reversed_bias.effect == pytest.approx(-bias.effect) and reversed_bias.p > 0.9
    with pytest.raises(QueryError):
        word_bias(embedder, (("a",), ("b", "c")), attributes)


def test_the_report_takes_files(embedder: Embedder, tmp_path: Path) -> None:
    pairs, classes = tmp_path / "sts.jsonl", tmp_path / "classes.jsonl"
    rows = [
        {"sentence1": a, "sentence2": b, "score": i}
        for i, (a, b) in enumerate(zip(FRUIT, METAL, strict=True))
    ]
    pairs.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    labelled = [{"text": t, "label": "f"} for t in FRUIT] + [
        {"text": t, "label": "m"} for t in METAL
    ]
    classes.write_text("\n".join(map(json.dumps, labelled)), encoding="utf-8")
    results = report(embedder, pairs=pairs, classes=classes, bias=True)
    assert set(results) == {
        "embedder",
        "sts",
        "alignment",
        "classification",
        "clustering",
        "determinism",
        "uniformity",
        "bias",
    }
    pairs.write_text('{"sentence1": "a"}', encoding="utf-8")
    with pytest.raises(QueryError, match="line 1"):
        load_sentence_pairs(pairs)
