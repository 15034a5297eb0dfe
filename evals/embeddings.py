"""Evaluation of embedders: similarity, classification, clustering, determinism and bias."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.datasets import numbered_lines
from evals.statistics import Estimate, bootstrap
from rag.embedding import Embedder
from rag.errors import QueryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two texts, and the similarity that people gave them, on any scale."""

    first: str
    second: str
    score: float


@dataclass(frozen=True, slots=True)
class StsResult:
    """The correlation of cosine, Manhattan and Euclidean similarity with people's scores.

    Distances are negated, so that higher means more similar.
    """

    n: int
    pearson: Mapping[str, Estimate]
    spearman: Mapping[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "n": self.n,
            "pearson": {name: e.as_json() for name, e in self.pearson.items()},
            "spearman": {name: e.as_json() for name, e in self.spearman.items()},
        }


def load_sentence_pairs(path: Path) -> list[SentencePair]:
    """Read JSON lines ``{"sentence1", "sentence2", "score"}``. Raises `QueryError`."""
    rows = _read_rows(path, "two sentences and a score", ("sentence1", "sentence2", "score"))
    pairs = [SentencePair(str(first), str(second), float(score)) for first, second, score in rows]
    if len(pairs) < 3:
        raise QueryError(f"{path}: {len(pairs)} pairs are too few to correlate")
    return pairs


def _read_rows(path: Path, what: str, keys: tuple[str, ...]) -> Iterator[list[Any]]:
    """Yield the values of `keys` in each line; a score must be a number."""
    for number, line in numbered_lines(path):
        try:
            row = json.loads(line)
            values = [row[key] for key in keys]
            if "score" in row:
                float(row["score"])
        except (ValueError, KeyError, TypeError) as error:
            raise QueryError(f"{path}, line {number}: not {what}") from error
        yield values


def sts(embedder: Embedder, pairs: Sequence[SentencePair], *, resamples: int = 1_000) -> StsResult:
    """Return the correlation with people's scores on semantic textual similarity (STS).

    Raises `QueryError` for fewer than three pairs. Source: Cer et al., "SemEval-2017 Task 1".
    """
    import numpy as np

    if len(pairs) < 3:
        raise QueryError(f"{len(pairs)} pairs are too few to correlate")
    first_vectors = embedder.embed_documents([pair.first for pair in pairs])
    second_vectors = embedder.embed_documents([pair.second for pair in pairs])
    human_scores = np.array([pair.score for pair in pairs], dtype=np.float64)
    similarities = {
        "cosine": _cosines(first_vectors, second_vectors),
        "manhattan": -np.abs(first_vectors - second_vectors).sum(axis=1, dtype=np.float64),
        "euclidean": -np.sqrt(
            ((first_vectors - second_vectors).astype(np.float64) ** 2).sum(axis=1)
        ),
    }
    n = len(pairs)

    def of(values: Any, measure: Any) -> Estimate:
        return bootstrap(lambda i: measure(values[i], human_scores[i]), n, resamples=resamples)

    return StsResult(
        n,
        {name: of(values, pearson) for name, values in similarities.items()},
        {name: of(values, spearman) for name, values in similarities.items()},
    )


def pearson(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Pearson's correlation; NaN if one of the two has no variance."""
    import numpy as np

    a, b = first - first.mean(), second - second.mean()
    under = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / under) if under else math.nan


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's correlation of ranks; ties have their mean rank."""
    return pearson(_ranks(first), _ranks(second))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _cosines(first: Vectors, second: Vectors) -> NDArray[np.float64]:
    import numpy as np

    a, b = first.astype(np.float64), second.astype(np.float64)
    norm_products = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / np.maximum(norm_products, 1e-12)
    return cosines


# -- classification and clustering ---------------------------------------------------------


def classification(
    embedder: Embedder,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    neighbours: int = 5,
    folds: int = 5,
) -> dict[str, Estimate]:
    """Return accuracy and macro F1 of a k-nearest-neighbour classifier, cross-validated.

    The `neighbours` nearest texts vote, weighted by 1 + cosine. Raises `QueryError` for fewer than
    two classes, or fewer texts than folds or than neighbours + 1. Source: the k-NN protocol of
    Muennighoff et al., "MTEB" (2023).
    """
    import numpy as np

    names = sorted(set(labels))
    if len(texts) != len(labels) or len(names) < 2 or len(texts) < max(folds, neighbours + 1):
        raise QueryError(
            f"{len(texts)} texts with {len(labels)} labels of {len(names)} classes cannot be told "
            "apart"
        )
    vectors = _normalize(embedder.embed_documents(list(texts)))
    y = np.array([names.index(label) for label in labels])
    order = np.random.default_rng(0).permutation(len(y))
    predicted = np.zeros(len(y), dtype=int)
    for fold in range(folds):
        test_rows = order[fold::folds]
        train_rows = np.setdiff1d(order, test_rows)
        cosines = vectors[test_rows] @ vectors[train_rows].T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
        for row, test_row in enumerate(test_rows):
            weights = np.bincount(
                y[train_rows][nearest[row]],
                weights=1 + cosines[row, nearest[row]],
                minlength=len(names),
            )
            predicted[test_row] = int(weights.argmax())

    def macro(i: NDArray[np.int64]) -> float:
        scores = []
        for label in np.unique(y[i]):
            true_positives = int(((y[i] == label) & (predicted[i] == label)).sum())
            label_total = int((y[i] == label).sum() + (predicted[i] == label).sum())
            scores.append(2 * true_positives / label_total)
        return float(np.mean(scores))

    return {
        "accuracy": bootstrap(lambda i: float((y[i] == predicted[i]).mean()), len(y)),
        "macro_f1": bootstrap(macro, len(y), resamples=500),
    }


def clustering(
    embedder: Embedder, texts: Sequence[str], labels: Sequence[str], *, seed: int = 0
) -> float:
    """Return the V-measure (0..1) of k-means with as many clusters as there are labels.

    The best of ten starts, drawn with `seed`, counts. Raises `QueryError` for fewer than two
    labels. Source: Rosenberg and Hirschberg (2007); the protocol of "MTEB" (2023).
    """
    import numpy as np

    names = sorted(set(labels))
    if len(texts) != len(labels) or len(names) < 2:
        raise QueryError(f"{len(texts)} texts of {len(names)} labels cannot be clustered")
    vectors = _normalize(embedder.embed_documents(list(texts))).astype(np.float64)
    random = np.random.default_rng(seed)
    best: tuple[float, NDArray[np.int64]] | None = None
    for _ in range(10):
        candidate = _k_means(vectors, len(names), random)
        if best is None or candidate[0] < best[0]:
            best = candidate
    assert best is not None
    return v_measure([names.index(label) for label in labels], best[1].tolist())


def _k_means(
    vectors: NDArray[np.float64], k: int, random: np.random.Generator
) -> tuple[float, NDArray[np.int64]]:
    """Cluster by Lloyd's algorithm with k-means++ seeding.

    Returns the sum of squared distances, and the cluster of each vector.
    """
    import numpy as np

    centres = vectors[[int(random.integers(len(vectors)))]]
    while len(centres) < k:
        far = _squared_distances(vectors, centres).min(axis=1)
        total = far.sum()
        share = far / total if total > 0 else np.full(len(far), 1 / len(far))
        centres = np.vstack([centres, vectors[int(random.choice(len(vectors), p=share))]])
    clusters = np.zeros(len(vectors), dtype=np.int64)
    for _ in range(100):
        nearest = _squared_distances(vectors, centres).argmin(axis=1)
        if (nearest == clusters).all() and _:
            break
        clusters = nearest
        for number in range(k):
            if (inside := clusters == number).any():
                centres[number] = vectors[inside].mean(axis=0)
    distances = _squared_distances(vectors, centres)
    return float(distances[np.arange(len(vectors)), clusters].sum()), clusters


def _squared_distances(
    vectors: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    import numpy as np

    distances: NDArray[np.float64] = np.maximum(
        (vectors**2).sum(axis=1)[:, None] - 2 * vectors @ centres.T + (centres**2).sum(axis=1), 0.0
    )
    return distances


def v_measure(labels: Sequence[int], clusters: Sequence[int]) -> float:
    """Return the harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg, 2007)."""
    from collections import Counter

    n = len(labels)

    def entropy(counts: Mapping[Any, int]) -> float:
        return -sum(c / n * math.log(c / n) for c in counts.values())

    label_counts, cluster_counts = Counter(labels), Counter(clusters)
    joint_counts = Counter(zip(labels, clusters, strict=True))
    mutual = entropy(label_counts) + entropy(cluster_counts) - entropy(joint_counts)
    homogeneity = mutual / entropy(label_counts) if entropy(label_counts) else 1.0
    completeness = mutual / entropy(cluster_counts) if entropy(cluster_counts) else 1.0
    total = homogeneity + completeness
    return max(0.0, min(1.0, 2 * homogeneity * completeness / total)) if total > 0 else 0.0


# -- determinism and geometry --------------------------------------------------------------


def determinism(
    embedder: Embedder,
    texts: Sequence[str],
    *,
    sizes: Sequence[int] = (1, 7, 64),
    others: Sequence[Embedder] = (),
) -> dict[str, float]:
    """Return the largest difference of a vector's value between runs, batch sizes and devices.

    0 means byte for byte equal. `others` are the same embedder on other devices. Raises
    `QueryError` without texts.
    """
    import numpy as np

    if not texts:
        raise QueryError("there is no text to embed")
    first = embedder.embed_documents(list(texts))

    def max_difference(vectors: Vectors) -> float:
        return float(np.abs(first.astype(np.float64) - vectors.astype(np.float64)).max())

    def embed_in_batches(size: int) -> Vectors:
        parts = [
            embedder.embed_documents(list(texts[i : i + size])) for i in range(0, len(texts), size)
        ]
        return np.concatenate(parts)

    differences = {
        "runs": max_difference(embedder.embed_documents(list(texts))),
        "batch_sizes": max(max_difference(embed_in_batches(size)) for size in sizes),
    }
    if others:
        differences["devices"] = max(
            max_difference(other_embedder.embed_documents(list(texts))) for other_embedder in others
        )
    return differences


def alignment(first: Vectors, second: Vectors, *, alpha: float = 2.0) -> float:
    """Return the mean distance, to the power of `alpha`, between the vectors of similar pairs.

    Lower is better. Source: Wang and Isola (2020).
    """
    import numpy as np

    a, b = _normalize(first).astype(np.float64), _normalize(second).astype(np.float64)
    return float((np.linalg.norm(a - b, axis=1) ** alpha).mean())


def uniformity(vectors: Vectors, *, t: float = 2.0) -> float:
    """Return the logarithm of the mean of exp(-t d²) over all pairs of vectors.

    It measures how evenly the vectors fill the sphere: lower is more even, 0 if all are equal.
    Raises `QueryError` for fewer than two vectors. Source: Wang and Isola (2020).
    """
    import numpy as np

    if len(vectors) < 2:
        raise QueryError("uniformity is of at least two vectors")
    unit = _normalize(vectors).astype(np.float64)
    squared = np.maximum(2 - 2 * unit @ unit.T, 0.0)
    pairs = squared[np.triu_indices(len(unit), 1)]
    return float(np.log(np.exp(-t * pairs).mean()))


# -- bias ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BiasResult:
    """The effect size of WEAT (-2..2; 0: no bias), and the p of its one-sided permutation test."""

    effect: float
    p: float

    def as_json(self) -> dict[str, float]:
        """Return the result as plain data."""
        return {"effect": self.effect, "p": self.p}


def word_bias(
    embedder: Embedder,
    targets: tuple[Sequence[str], Sequence[str]],
    attributes: tuple[Sequence[str], Sequence[str]],
    *,
    permutations: int = 5_000,
) -> BiasResult:
    """Run the Word Embedding Association Test: are the first targets nearer the first attributes?

    Both lists of targets must have the same length. p counts the sample itself: (b + 1) / (m + 1).
    Raises `QueryError` for lists of unequal length or empty lists. Source: Caliskan et al.,
    "Semantics derived automatically ..." (2017).
    """
    import numpy as np

    if any(not words for words in (*targets, *attributes)) or len(targets[0]) != len(targets[1]):
        raise QueryError("a probe has two lists of targets of one length, and two of attributes")
    x, y, a, b = (
        _normalize(embedder.embed_documents(list(words))).astype(np.float64)
        for words in (*targets, *attributes)
    )
    target_vectors = np.vstack([x, y])
    association = (target_vectors @ a.T).mean(axis=1) - (target_vectors @ b.T).mean(axis=1)
    deviation = float(association.std(ddof=1))
    n = len(x)
    gap = float(association[:n].mean() - association[n:].mean())
    effect = gap / deviation if deviation else 0.0
    random = np.random.default_rng(0)
    reached = 1
    for _ in range(permutations):
        permuted = random.permutation(association)
        reached += permuted[:n].mean() - permuted[n:].mean() >= gap - 1e-12
    return BiasResult(effect, reached / (permutations + 1))


PROBES: Mapping[
    str, tuple[tuple[Sequence[str], Sequence[str]], tuple[Sequence[str], Sequence[str]]]
]
PROBES = {
    "flowers and insects, pleasant": (
        (
            ("rose", "tulip", "daisy", "lily", "violet", "orchid"),
            ("wasp", "cockroach", "flea", "mosquito", "termite", "spider"),
        ),
        (
            ("love", "peace", "happy", "joy", "wonderful", "pleasure"),
            ("hatred", "murder", "awful", "agony", "horrible", "failure"),
        ),
    ),
    "men and women, career": (
        (
            ("John", "Paul", "Mike", "Kevin", "Steve", "Greg"),
            ("Amy", "Joan", "Lisa", "Sarah", "Diana", "Kate"),
        ),
        (
            ("executive", "management", "professional", "salary", "office", "career"),
            ("home", "parents", "children", "family", "marriage", "wedding"),
        ),
    ),
    "men and women, science": (
        (
            ("man", "boy", "father", "brother", "son", "uncle"),
            ("woman", "girl", "mother", "sister", "daughter", "aunt"),
        ),
        (
            ("science", "technology", "physics", "chemistry", "experiment", "astronomy"),
            ("poetry", "art", "dance", "literature", "novel", "drama"),
        ),
    ),
}
"""WEAT probes by name. The first should show a strong effect: it checks that the test works."""


def _normalize(vectors: Vectors) -> Vectors:
    import numpy as np

    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalized: Vectors = vectors / np.maximum(norms, 1e-12)
    return normalized


# -- report --------------------------------------------------------------------------------


def report(
    embedder: Embedder,
    *,
    pairs: Path | None = None,
    classes: Path | None = None,
    bias: bool = False,
) -> dict[str, Any]:
    """Compute every measure that the given files allow, as plain data.

    `pairs` is used for `sts` and alignment, `classes` (JSON lines ``{"text", "label"}``) for
    classification and clustering. Determinism and uniformity use the texts of both, or the words of
    `PROBES` without any; `bias` adds the probes. Raises `QueryError` for an invalid file.
    """
    results: dict[str, Any] = {"embedder": embedder.config()}
    texts: list[str] = []
    if pairs is not None:
        sentence_pairs = load_sentence_pairs(pairs)
        results["sts"] = sts(embedder, sentence_pairs).as_json()
        texts += [pair.first for pair in sentence_pairs]
        top = max(pair.score for pair in sentence_pairs)
        close = [pair for pair in sentence_pairs if pair.score >= 0.8 * top]
        results["alignment"] = alignment(
            embedder.embed_documents([pair.first for pair in close]),
            embedder.embed_documents([pair.second for pair in close]),
        )
    if classes is not None:
        rows = list(_read_rows(classes, "a text and a label", ("text", "label")))
        classified = [str(text) for text, _ in rows], [str(label) for _, label in rows]
        results["classification"] = {
            name: estimate.as_json()
            for name, estimate in classification(embedder, *classified).items()
        }
        results["clustering"] = {"v_measure": clustering(embedder, *classified)}
        texts += classified[0]
    texts = texts or [word for lists in PROBES.values() for words in lists[0] for word in words]
    sample = list(dict.fromkeys(texts))[:500]
    results["determinism"] = determinism(embedder, sample)
    results["uniformity"] = uniformity(embedder.embed_documents(sample))
    if bias:
        results["bias"] = {
            name: word_bias(embedder, *probe).as_json() for name, probe in PROBES.items()
        }
    return results


def format_lines(found: Mapping[str, Any], within: str = "") -> list[tuple[str, str]]:
    """Format a report as lines for people: the name and the value of each number."""
    out: list[tuple[str, str]] = []
    for name, value in found.items():
        label = f"{within} {name}".strip()
        if name == "embedder":
            out.append((name, str(value["type"])))
        elif isinstance(value, Mapping) and set(value) == {"value", "low", "high"}:
            out.append((label, f"{value['value']:.3f}  [{value['low']:.3f}, {value['high']:.3f}]"))
        elif isinstance(value, Mapping) and set(value) == {"effect", "p"}:
            out.append((label, f"{value['effect']:+.2f}  p = {value['p']:.4f}"))
        elif isinstance(value, Mapping):
            out += format_lines(value, label)
        else:
            out.append((label, f"{value:.3g}" if isinstance(value, float) else f"{value:,}"))
    return out
