"""Learn the weights of the extractive generator's scorer, and measure them.

    python -m benchmarks.answer_scorer ../shared/data            # leave one set out
    python -m benchmarks.answer_scorer ../shared/data --write    # and write the weights
    python -m benchmarks.answer_scorer ../shared/data --minilm MINILM --write   # with MiniLM, too

MINILM is a folder with all-MiniLM-L6-v2 in ONNX. With it, the features have the cosine of MiniLM,
and the weights for it are written beside the others, on the same scale of probabilities.

The sets are questions to `benchmarks/data/office-folder.tar.xz`, to the folder ``everyday`` of the
data, to passages of SQuAD 2 and TAT-QA (EACH of each kind, default 300), and questions about other
subjects to passages of SQuAD 2 (``foreign``). A sentence is right if it holds a reference answer,
and is from the right file. For SQuAD 2 and TAT-QA, each question is also asked without the passages
that hold its answer.

The weights are those of a logistic regression on all sentences; each set counts as much as the
others, the office folders more (WEIGHTS). "first" is the share of answerable questions whose best
sentence is right, "any" the share with a right one among the best three, and "auroc" tells
questions whose three best sentences hold the answer from others. Each set is measured with the
weights that the other sets give.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from benchmarks.office_folder import ARCHIVE
from rag import ExtractiveGenerator, Hit, Pipeline
from rag.embedding import MiniLMEmbedder
from rag.generation.answer_scorer import (
    FEATURES,
    SENTENCE_FEATURES,
    compute_feature_matrix,
)
from rag.generation.context_packing import pack
from rag.generation.question_spelling import respell_question
from rag.generation.relevance import list_features, score_features
from rag.query import Query
from rag.text.tokens import count_tokens

WEIGHTS = {"office": 2.0, "everyday": 3.0, "foreign": 2.0}
REGULARIZATION = 20.0  # of standardized weights, for 1,000 sentences in each set
GENERATORS = [ExtractiveGenerator()]  # the one that the features are those of
FILE = Path(__file__).resolve().parent.parent / "rag" / "generation" / "answer_scorer.json"
TOP = 3


@dataclass
class Example:
    """The sentences of one question: their features, and which of them are right."""

    features: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    answerable: bool


@dataclass
class Model:
    """Weights of the features and an intercept."""

    weights: NDArray[np.float64]
    intercept: float

    def score(self, example: Example) -> NDArray[np.float64]:
        """Return the log odds of each sentence."""
        scores: NDArray[np.float64] = example.features @ self.weights + self.intercept
        return scores


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("--minilm", type=Path)
    options.add_argument("--write", action="store_true")
    arguments = options.parse_args()
    if arguments.minilm:
        GENERATORS[0] = ExtractiveGenerator(
            sentence_embedder=MiniLMEmbedder(folder=arguments.minilm)
        )
    with tempfile.TemporaryDirectory() as work:
        sets = {name: list(examples) for name, examples in read_sets(arguments.data, Path(work))}
    columns = f"{'questions':>10}{'first':>8}{'any':>8}{'auroc':>8}"
    print(f"{'tested on':12}{columns}   hand-made score: first, any")
    by_hand = Model(np.eye(len(list_feature_names()))[FEATURES.index("score")], 0.0)
    for name in sets:
        if not any(example.answerable for example in sets[name]):
            continue
        model = fit({other: examples for other, examples in sets.items() if other != name})
        first, any_, auroc = measure(model, sets[name])
        hand = measure(by_hand, sets[name])
        print(
            f"{name:12}{len(sets[name]):>10}{first:>8.3f}{any_:>8.3f}{auroc:>8.3f}"
            f"{hand[0]:>12.3f}{hand[1]:>8.3f}"
        )
    if arguments.write:
        write(sets)


def read_sets(data: Path, work: Path) -> Iterator[tuple[str, Iterator[Example]]]:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(work, filter="data")
    yield "office", read_office_folder(work / "folder", work / "questions.jsonl", work / "office")
    everyday = data / "everyday"
    yield (
        "everyday",
        read_office_folder(everyday / "docs", everyday / "questions.jsonl", work / "e"),
    )
    os.environ.setdefault("EACH", "300")
    from benchmarks.answers import SETS  # reads EACH

    for name in ("squad2", "tatqa", "foreign"):
        yield name, read_passages(SETS[name](data, work))


def read_office_folder(folder: Path, questions: Path, index: Path) -> Iterator[Example]:
    with Pipeline(index=index) as pipeline:
        pipeline.ingest(folder)
        for line in questions.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if isinstance(row["question"], str):
                answers = row.get("answer", row.get("answers")) or []
                files = row.get("file") or ([row["source"]] if row.get("source") else [])
                hits = pipeline.search(row["question"], k=8)
                yield make_example(row["question"], hits, answers, files)


def read_passages(questions: Iterator[Any]) -> Iterator[Example]:
    from benchmarks.answers import remove_gold_passages

    for question in questions:
        references = question.references if question.answerable else []
        yield make_example(question.text, question.hits, references, [])
        without = remove_gold_passages(question)
        if references and without and len(without) < len(question.hits):
            yield make_example(question.text, without, [], [])


def make_example(
    question: str, hits: Sequence[Hit], answers: Sequence[str], files: Sequence[str]
) -> Example:
    (generator,) = GENERATORS
    passages = pack(hits, generator.budget, count_tokens).passages
    query = respell_question(Query.of(question), passages, generator.embedder)
    features = list_features(query, passages, generator.embedder)
    candidates = score_features(query, features)
    matrix = np.zeros((0, len(list_feature_names())))
    if features:
        embedders = generator.embedder, generator.sentence_embedder
        matrix = compute_feature_matrix(query, features, candidates, *embedders)
    is_right = [
        holds_answer(candidate.text, answers)
        and (not files or unquote(candidate.passage.uri).split("!/")[0].endswith(tuple(files)))
        for candidate in candidates
    ]
    return Example(matrix, np.array(is_right, dtype=bool), bool(answers))


def list_feature_names() -> tuple[str, ...]:
    with_sentences = GENERATORS[0].sentence_embedder is not None
    return (*FEATURES, *SENTENCE_FEATURES) if with_sentences else FEATURES


def holds_answer(text: str, answers: Sequence[str]) -> bool:
    return any(
        re.search(rf"(?<![\w.,]){re.escape(normalize(answer))}(?!\w)", normalize(text))
        for answer in answers
    )


def normalize(text: str) -> str:
    return " ".join(text.lower().replace("’", "'").replace("–", "-").split())


def fit(sets: dict[str, list[Example]]) -> Model:
    """Fit a logistic regression with a ridge penalty on standardized features."""
    matrices, labels, weights = [], [], []
    for name, examples in sets.items():
        filled = [example for example in examples if len(example.is_right)]
        for example in filled:
            count = len(example.is_right)
            matrices.append(example.features)
            labels.append(example.is_right)
            weights.append(np.full(count, WEIGHTS.get(name, 1.0) / len(filled) / count))
    features, is_right, weight = map(np.concatenate, (matrices, labels, weights))
    weight *= 1000 * len(sets) / weight.sum()
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-9
    weights_, intercept = _fit_logistic(
        (features - mean) / deviation, is_right.astype(float), weight, REGULARIZATION
    )
    scaled = weights_ / deviation
    return Model(scaled, float(intercept - scaled @ mean))


def _fit_logistic(
    features: NDArray[np.float64],
    labels: NDArray[np.float64],
    weights: NDArray[np.float64],
    penalty: float,
) -> tuple[NDArray[np.float64], float]:
    """Newton's method; the intercept has no penalty."""
    design = np.column_stack([features, np.ones(len(features))])
    ridge = np.diag([penalty] * features.shape[1] + [0.0])
    solution = np.zeros(design.shape[1])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-design @ solution))
        gradient = design.T @ (weights * (labels - probability)) - ridge @ solution
        curvature = (design * (weights * probability * (1 - probability))[:, None]).T @ design
        step = np.linalg.solve(curvature + ridge, gradient)
        solution += step
        if np.abs(step).max() < 1e-8:
            break
    return solution[:-1], float(solution[-1])


def judge(model: Model, examples: Sequence[Example]) -> tuple[NDArray[np.float64], list[bool]]:
    """Return the best score of each question, and whether its best sentences hold the answer."""
    best, holds = [], []
    for example in examples:
        scores = model.score(example)
        order = np.argsort(-scores)
        best.append(scores[order[0]] if len(order) else -30.0)
        holds.append(bool(example.is_right[order[:TOP]].any()))
    return np.array(best), holds


def measure(model: Model, examples: Sequence[Example]) -> tuple[float, float, float]:
    first = [
        bool(len(e.is_right)) and bool(e.is_right[np.argmax(model.score(e))])
        for e in examples
        if e.answerable
    ]
    best, holds = judge(model, examples)
    any_ = sum(h for h, e in zip(holds, examples, strict=True) if e.answerable) / len(first)
    positive, negative = best[np.array(holds)], best[~np.array(holds)]
    auroc = float(np.mean(positive[:, None] > negative[None, :]))
    return sum(first) / len(first), any_, auroc


def write(sets: dict[str, list[Example]]) -> None:
    model = fit(sets)
    scores, labels, weights = [], [], []
    for examples in sets.values():
        best, holds = judge(model, examples)
        scores.append(best)
        labels.append(np.array(holds, dtype=float))
        weights.append(np.full(len(best), 100 / len(best)))
    column = np.concatenate(scores)[:, None]
    slope, intercept = _fit_logistic(column, np.concatenate(labels), np.concatenate(weights), 0.0)
    slope, intercept = float(slope[0]), float(intercept)
    data = json.loads(FILE.read_text(encoding="utf-8"))
    if GENERATORS[0].sentence_embedder is not None:
        known = data["answerability"]  # the scores get the scale that this line is for
        scale = slope / known["slope"]
        learned = data["with_sentence_embedder"] = {
            "made_by": "python -m benchmarks.answer_scorer DATA --minilm MINILM --write"
        }
        model = Model(
            model.weights * scale,
            model.intercept * scale + (intercept - known["intercept"]) / known["slope"],
        )
    else:
        learned = data
        learned["made_by"] = "python -m benchmarks.answer_scorer DATA --write"
        learned["answerability"] = {"slope": round(slope, 5), "intercept": round(intercept, 5)}
    learned["weights"] = {
        name: round(float(weight), 5)
        for name, weight in zip(list_feature_names(), model.weights, strict=True)
    }
    learned["intercept"] = round(model.intercept, 5)
    FILE.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    print(f"written to {FILE.name}")


if __name__ == "__main__":
    main()
