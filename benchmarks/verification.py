"""How well the lexical verifier agrees with people, beside plain word overlap.

    python benchmarks/verification.py ../shared/data/labelled

Prints, per set, the AUROC of both against the human labels, and for the verifier the threshold
with the best mean balanced accuracy over the sets that its default is calibrated on.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rag.verification import LexicalVerifier

Pair = tuple[str, str, bool]  # claim, evidence, supported
CALIBRATED_ON = ("attributionbench", "wice", "lfqa")


def main(folder: Path) -> None:
    verifier = LexicalVerifier()
    readers = {
        "attributionbench": attributionbench,
        "wice": wice,
        "lfqa": lfqa,
        "begin": begin,
        "healthver": healthver,
        "scifact": scifact,
        "bump": bump,
    }
    scored = {}
    print(f"{'set':18}{'pairs':>7}{'overlap':>9}{'verifier':>9}   AUROC against people")
    for name, reader in readers.items():
        pairs = list(reader(folder / name))
        labels = np.array([supported for _, _, supported in pairs])
        overlap = np.array([containment(claim, evidence) for claim, evidence, _ in pairs])
        scores = np.array([float(verifier.scores([(c, e)])[0]) for c, e, _ in pairs])
        scored[name] = (labels, scores)
        print(f"{name:18}{len(pairs):7}{auroc(labels, overlap):9.3f}{auroc(labels, scores):9.3f}")
    best = max(
        (np.mean([balanced(*scored[name], t) for name in CALIBRATED_ON]), t)
        for t in np.arange(0.30, 0.96, 0.05).round(2)
    )
    print(f"\nbest threshold on {', '.join(CALIBRATED_ON)}: {best[1]} ({best[0]:.3f} balanced)")
    partly = [list(read(folder / name, part=True)) for name, read in PARTLY.items()]
    judged = [
        (
            np.array([label for *_, label in pairs]),
            np.array([float(verifier.scores([(c, e)])[0]) for c, e, _ in pairs]),
        )
        for pairs in partly
    ]
    best = max(
        (np.mean([balanced(labels, scores, t) for labels, scores in judged]), t)
        for t in np.arange(0.20, 0.96, 0.05).round(2)
    )
    print(f"best for support in part on {', '.join(PARTLY)}: {best[1]} ({best[0]:.3f} balanced)")
    for name, (labels, scores) in scored.items():
        print(
            f"{name:18} balanced accuracy at {verifier.threshold}: "
            f"{balanced(labels, scores, verifier.threshold):.3f}"
        )


def containment(claim: str, evidence: str) -> float:
    """Share of the claim's lower-cased words that the evidence has: the floor."""
    words = re.findall(r"\w+", claim.lower())
    held = set(re.findall(r"\w+", evidence.lower()))
    return sum(word in held for word in words) / max(1, len(words))


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Chance that a supported pair scores higher than another (Mann-Whitney; ties half)."""
    order = np.argsort(scores, kind="stable")
    _, inverse, counts = np.unique(scores[order], return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = np.empty(len(scores))
    ranks[order] = (last - (counts - 1) / 2)[inverse]
    positives = int(labels.sum())
    negatives = len(labels) - positives
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def balanced(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """Mean of the shares of supported and of unsupported pairs that are told right."""
    said = scores >= threshold
    return float((said[labels].mean() + (~said[~labels]).mean()) / 2)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def attributionbench(folder: Path) -> Iterator[Pair]:
    for row in rows(folder / "dev.jsonl"):
        yield row["claim"], "\n".join(row["contexts"]), row["label"] == 1


def wice(folder: Path, *, part: bool = False) -> Iterator[Pair]:
    """With `part`, what is supported in part counts as supported."""
    for row in rows(folder / "claims.dev.jsonl"):
        yield row["claim"], "\n".join(row["evidence_sentences"]), _counts(row["label"], part)


def _counts(label: str | None, part: bool) -> bool:
    return label == "supported" or (part and str(label).startswith("partial"))


def lfqa(folder: Path, *, part: bool = False) -> Iterator[Pair]:
    documents = {
        row["docs_key"]: "\n".join(text_of(doc) for doc in row["docs"])
        for row in rows(folder / "docs.jsonl")
    }
    for row in rows(folder / "sentences.jsonl"):
        if evidence := documents.get(row["docs_key"]):
            yield row["sentence"], evidence, _counts(row["majority"], part)


def text_of(doc: dict) -> str:
    return f"{doc.get('title', '')}\n{doc.get('text') or ''}"


def begin(folder: Path) -> Iterator[Pair]:
    for path in sorted(folder.glob("*.jsonl")):
        for row in rows(path):
            yield row["answer"], "\n".join(row["contexts"]), row["label"] == "Fully attributable"


def healthver(folder: Path) -> Iterator[Pair]:
    for row in rows(folder / "dev.jsonl"):
        yield row["claim"], "\n".join(row["contexts"]), row["label"] == "Supports"


def scifact(folder: Path) -> Iterator[Pair]:
    for row in rows(folder / "claims.jsonl"):
        yield row["claim"], " ".join(row["sentences"]), row["label"] == "SUPPORT"


def bump(folder: Path) -> Iterator[Pair]:
    for row in rows(folder / "pairs.jsonl"):
        yield row["answer_faithful"], "\n".join(row["contexts"]), True
        yield row["answer_unfaithful"], "\n".join(row["contexts"]), False


PARTLY = {"wice": wice, "lfqa": lfqa}

if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/labelled"))
