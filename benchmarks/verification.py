"""Agreement of each metric and support judge with people, on every labelled set.

    python -m benchmarks.verification ../shared/data/labelled
        [--nli MODEL] [--judge NAME:MODEL] [--each N] [--weights]

Prints the tables of ``docs/metrics.md``. AUROC is the probability that a supported claim has a
higher score than an unsupported one. The baselines are: the share of the words of the claim, and of
its word pairs, that the contexts contain; the longest common subsequence divided by the length of
the claim (ROUGE-L precision); the cosine of static vectors. The lexical judge has one setting for
all sets. ``--nli`` adds an NLI model (a folder, or a name on the hub) and ``--judge`` a chat model
(``openai:gpt-4.1-mini``), each on at most ``--each`` rows per set (400). ``--weights`` prints the
results of the verifier's weights on sets that they were not chosen on: for each set, the weights
with the best mean AUROC on the other sets.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.labelled import CALIBRATED_ON, OTHERS, SUPPORT, lfqa, rows, wice
from evals.agreement import auroc, balanced_accuracy, best_threshold
from evals.calibration import CALIBRATED, LabelledRow
from evals.embeddings import load_sentence_pairs, sts
from evals.judges import SupportJudge, VerifierJudge, make_judge
from evals.metrics.text import longest_common_subsequence
from rag import LexicalVerifier, StaticEmbedder
from rag.cli.eval_options import load_chat_model

Score = Callable[[LabelledRow], float]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def token_containment(row: LabelledRow) -> float:
    claim_words, context_words = words(row.text), set(words("\n".join(row.contexts)))
    return sum(word in context_words for word in claim_words) / max(1, len(claim_words))


def bigram_containment(row: LabelledRow) -> float:
    claim_words, context_words = words(row.text), words("\n".join(row.contexts))
    pairs, context_bigrams = list(pairwise(claim_words)), set(pairwise(context_words))
    return sum(pair in context_bigrams for pair in pairs) / max(1, len(pairs))


def rouge_l_precision(row: LabelledRow) -> float:
    claim_words = words(row.text)
    there = words("\n".join(row.contexts))
    return longest_common_subsequence(claim_words, there) / max(1, len(claim_words))


def cosine(row: LabelledRow) -> float:
    claim_vector, context_vector = StaticEmbedder().embed_documents(
        [row.text, "\n".join(row.contexts)]
    )
    return float(claim_vector @ context_vector)


BASELINES: dict[str, Score] = {
    "tokens": token_containment,
    "bigrams": bigram_containment,
    "ROUGE-L": rouge_l_precision,
    "cosine": cosine,
}


def scores(
    found: Sequence[LabelledRow], metric: str, support: SupportJudge | None = None
) -> np.ndarray:
    """Return the scores of a metric or a baseline; a failed score counts as 0."""
    if metric in BASELINES:
        return np.array([BASELINES[metric](row) for row in found])
    support = support or make_judge("lexical")
    return np.array([CALIBRATED[metric](row, support) or 0.0 for row in found])


def auroc_of(found: Sequence[LabelledRow], metric: str) -> float:
    return auroc(np.array([row.label for row in found]), scores(found, metric))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("data", type=Path, nargs="?", default=Path("../shared/data/labelled"))
    options.add_argument("--nli")
    options.add_argument("--judge")
    options.add_argument("--each", type=int, default=400)
    options.add_argument("--weights", action="store_true")
    arguments = options.parse_args()
    data: Path = arguments.data
    sets = {name: list(read(data / name)) for name, read in SUPPORT.items()}
    if arguments.weights:
        weights(sets)
        return
    judged = {name: scores(rows_of_set, "faithfulness") for name, rows_of_set in sets.items()}
    support_table(sets, judged)
    thresholds(data, sets, judged)
    failures(data)
    others(data)
    if arguments.nli:
        compare_backends(
            sets, judged, arguments.nli, make_judge("nli", nli=arguments.nli), arguments.each
        )
    if arguments.judge:
        compare_backends(
            sets,
            judged,
            arguments.judge,
            make_judge(model=load_chat_model(arguments.judge)),
            arguments.each,
        )


def support_table(sets: dict[str, list[LabelledRow]], judged: dict[str, np.ndarray]) -> None:
    print("AUROC of faithfulness by the lexical backend, beside baselines; balanced accuracy at")
    print("its threshold, and at one chosen on the set by cross-validation\n")
    names = [*BASELINES, "lexical"]
    print(f"| set | rows | {' | '.join(names)} | balanced at .4 | balanced, own threshold |")
    print("|---|---|" + "---|" * (len(names) + 2))
    supports: dict[str, list[float]] = defaultdict(list)
    for name, rows_of_set in sets.items():
        labels = np.array([row.label for row in rows_of_set])
        for column in names:
            values = judged[name] if column == "lexical" else scores(rows_of_set, column)
            supports[column].append(auroc(labels, values))
        threshold = LexicalVerifier().threshold
        supports["balanced"].append(balanced_accuracy(labels, judged[name] >= threshold))
        supports["own"].append(balanced_accuracy(labels, cross_validated(labels, judged[name])))
        print(line(name, len(rows_of_set), [supports[c][-1] for c in (*names, "balanced", "own")]))
    means = [float(np.mean(supports[column])) for column in (*names, "balanced", "own")]
    print(line("mean", sum(map(len, sets.values())), means))
    best = max(BASELINES, key=lambda name: np.mean(supports[name]))
    gap = np.mean(supports["lexical"]) - np.mean(supports[best])
    worst = min(
        (supports["lexical"][i] - max(supports[b][i] for b in BASELINES), name)
        for i, name in enumerate(sets)
    )
    print(f"\nlexical above {best}, the best baseline, in the mean: {gap:+.3f}")
    print(
        f"lexical against the best baseline of each set, at worst: {worst[0]:+.3f} ({worst[1]})\n"
    )


def line(name: str, n: int, values: Sequence[float]) -> str:
    cells = " | ".join(f"{value:.3f}".lstrip("0") for value in values)
    return f"| {name} | {n:,} | {cells} |"


def cross_validated(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    order = np.random.default_rng(0).permutation(len(labels))
    predicted = np.zeros(len(labels), dtype=bool)
    for fold in range(10):
        test_rows = order[fold::10]
        rest = np.setdiff1d(order, test_rows)
        predicted[test_rows] = values[test_rows] >= best_threshold(labels[rest], values[rest])
    return predicted


def thresholds(
    data: Path, sets: dict[str, list[LabelledRow]], judged: dict[str, np.ndarray]
) -> None:
    """Print the best values for the two thresholds of the lexical verifier."""
    steps = np.arange(0.2, 0.96, 0.05).round(2)
    calibration_sets = [
        (np.array([row.label for row in sets[name]]), judged[name]) for name in CALIBRATED_ON
    ]
    best = max(
        (np.mean([balanced_accuracy(y, s >= t) for y, s in calibration_sets]), t) for t in steps
    )
    print(f"best threshold on {', '.join(CALIBRATED_ON)}: {best[1]} ({best[0]:.3f} balanced)")
    part = []
    for name, read in {"wice": wice, "lfqa": lfqa}.items():
        rows_of_set = list(read(data / name, part=True))
        part.append((np.array([row.label for row in rows_of_set]), judged[name]))
    best = max((np.mean([balanced_accuracy(y, s >= t) for y, s in part]), t) for t in steps)
    print(f"best for support in part on wice, lfqa: {best[1]} ({best[0]:.3f} balanced)\n")


def failures(data: Path) -> None:
    """Print the limits of the lexical judge: refuted claims, and small edits by type."""
    print("Where words are not enough: AUROC of supported against what else people said\n")
    print("| supported against | rows | lexical |\n|---|---|---|")
    for set_, file, positive, context in (
        ("healthver", "dev.jsonl", "Supports", "contexts"),
        ("scifact", "claims.jsonl", "SUPPORT", "sentences"),
    ):
        all_rows = list(rows(data / set_ / file))
        for label in sorted({row["label"] for row in all_rows} - {positive}):
            part = [
                LabelledRow(row["claim"], (" ".join(row[context]),), row["label"] == positive)
                for row in all_rows
                if row["label"] in (positive, label)
            ]
            print(line(f"{set_}: {label.lower()}", len(part), [auroc_of(part, "faithfulness")]))
    kinds: dict[str, list[bool]] = defaultdict(list)
    support = make_judge("lexical")
    for row in rows(data / "bump" / "pairs.jsonl"):
        contexts = tuple(row["contexts"])
        right, wrong = scores(
            [
                LabelledRow(row["answer_faithful"], contexts, True),
                LabelledRow(row["answer_unfaithful"], contexts, False),
            ],
            "faithfulness",
            support,
        )
        kinds[row["error_type"]].append(bool(right > wrong))
    print("\nBUMP, minimal edits of summaries: share of pairs in which the faithful one is above\n")
    print("| error | pairs | lexical |\n|---|---|---|")
    for kind, outcomes in sorted(kinds.items(), key=lambda item: -np.mean(item[1])):
        print(line(kind, len(outcomes), [float(np.mean(outcomes))]))
    print()


def others(data: Path) -> None:
    """Print the agreement of the other metrics with people."""
    print("Other metrics: AUROC (for STS Spearman's correlation)\n")
    print("| set: metric | rows | agreement |\n|---|---|---|")
    for name, (metric, read) in OTHERS.items():
        rows_of_set = list(read(data / name.partition(":")[0]))
        print(line(name, len(rows_of_set), [auroc_of(rows_of_set, metric)]))
    pairs = [
        LabelledRow(row["sentence1"], (row["sentence2"],), row["label"] == 1)
        for path in sorted((data / "mrpc").glob("*.jsonl"))
        for row in rows(path)
    ]
    print(line("mrpc: cosine", len(pairs), [auroc_of(pairs, "cosine")]))
    for path in sorted((data / "stsb").glob("*.dev.jsonl")):
        found_ = sts(StaticEmbedder(), load_sentence_pairs(path), resamples=10)
        name = f"stsb {path.name.partition('.')[0]}: cosine"
        print(line(name, found_.n, [found_.spearman["cosine"].value]))
    print()


def weights(sets: dict[str, list[LabelledRow]]) -> None:
    """Print the AUROC of the three shares, weighted by weights chosen on the other sets."""
    alone = [
        VerifierJudge(LexicalVerifier(order=order, similarity=similarity))
        for order, similarity in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))  # words, order, similarity
    ]
    steps = [(i / 20, j / 20) for i in range(21) for j in range(21 - i)]
    mixed = {
        (order, similarity): (1 - order - similarity, order, similarity)
        for order, similarity in steps
    }
    scores_by_set: dict[str, dict[tuple[float, float], float]] = {}
    for name, rows_of_set in sets.items():
        labels = np.array([row.label for row in rows_of_set])
        shares = np.array([scores(rows_of_set, "faithfulness", support) for support in alone])
        scores_by_set[name] = {
            key: auroc(labels, np.array(parts) @ shares) for key, parts in mixed.items()
        }
    print("| left out | order | similarity | AUROC of it |\n|---|---|---|---|")
    held_out_scores: list[float] = []
    for name in sets:
        rest = [other_set for other_set in sets if other_set != name]
        best = max(
            steps, key=lambda key: np.mean([scores_by_set[other_set][key] for other_set in rest])
        )
        held_out_scores.append(scores_by_set[name][best])
        print(line(name, 0, [*best, held_out_scores[-1]]).replace("| 0 |", "|"))
    print(f"mean of the sets left out: {np.mean(held_out_scores):.3f}")
    best = max(steps, key=lambda key: np.mean([scores_by_set[name][key] for name in sets]))
    mean_score = np.mean([scores_by_set[name][best] for name in sets])
    print(f"best on all: order {best[0]}, similarity {best[1]} ({mean_score:.3f})")


def compare_backends(
    sets: dict[str, list[LabelledRow]],
    judged: dict[str, np.ndarray],
    model: str,
    support: SupportJudge,
    each: int,
) -> None:
    """Compare another judge with the lexical one, and both together; failed scores count as 0."""
    print(f"What {model} adds: AUROC on at most {each} rows of each set\n")
    print(f"| set | rows | lexical | {support.name} | both, in the mean |\n|---|---|---|---|---|")
    columns: dict[str, list[float]] = defaultdict(list)
    for name, rows_of_set in sets.items():
        sampled = np.random.default_rng(0).permutation(len(rows_of_set))[:each]
        part = [rows_of_set[i] for i in sampled]
        labels = np.array([row.label for row in part])
        lexical_scores, backend_scores = (
            judged[name][sampled],
            scores(part, "faithfulness", support),
        )
        rank_sums = ranks(lexical_scores) + ranks(backend_scores)
        found_ = [auroc(labels, values) for values in (lexical_scores, backend_scores, rank_sums)]
        for column, value in zip(("lexical", "other", "both"), found_, strict=True):
            columns[column].append(value)
        print(line(name, len(part), found_), flush=True)
    means = [float(np.mean(columns[c])) for c in ("lexical", "other", "both")]
    print(line("mean", len(sets), means))


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable") / max(1, len(values))


if __name__ == "__main__":
    main()
