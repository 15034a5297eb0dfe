"""Data sets of human judgements, as pairs of a claim and its contexts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evals.calibration import LabelledRow

CALIBRATED_ON = ("attributionbench", "wice", "lfqa")


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def attributionbench(folder: Path) -> Iterator[LabelledRow]:
    for row in rows(folder / "dev.jsonl"):
        yield LabelledRow(row["claim"], tuple(row["contexts"]), row["label"] == 1)


def wice(folder: Path, *, part: bool = False) -> Iterator[LabelledRow]:
    """Yield the claims of WiCE; with `part`, partial support counts as support."""
    for row in rows(folder / "claims.dev.jsonl"):
        evidence = "\n".join(row["evidence_sentences"])
        yield LabelledRow(row["claim"], (evidence,), _counts(row["label"], part))


def lfqa(folder: Path, *, part: bool = False) -> Iterator[LabelledRow]:
    documents = {
        row["docs_key"]: tuple(text_of(doc) for doc in row["docs"])
        for row in rows(folder / "docs.jsonl")
    }
    for row in rows(folder / "sentences.jsonl"):
        if evidence := documents.get(row["docs_key"]):
            yield LabelledRow(row["sentence"], evidence, _counts(row["majority"], part))


def _counts(label: str | None, part: bool) -> bool:
    return label == "supported" or (part and str(label).startswith("partial"))


def text_of(doc: dict[str, Any]) -> str:
    return f"{doc.get('title', '')}\n{doc.get('text') or ''}"


def begin(folder: Path) -> Iterator[LabelledRow]:
    for path in sorted(folder.glob("*.jsonl")):
        for row in rows(path):
            yield LabelledRow(
                row["answer"], tuple(row["contexts"]), row["label"] == "Fully attributable"
            )


def qags(folder: Path) -> Iterator[LabelledRow]:
    for row in rows(folder / "cnndm.jsonl"):
        yield LabelledRow(row["answer"], tuple(row["contexts"]), row["label"] == 1)


def bump(folder: Path) -> Iterator[LabelledRow]:
    for row in rows(folder / "pairs.jsonl"):
        yield LabelledRow(row["answer_faithful"], tuple(row["contexts"]), True)
        yield LabelledRow(row["answer_unfaithful"], tuple(row["contexts"]), False)


def healthver(folder: Path) -> Iterator[LabelledRow]:
    for row in rows(folder / "dev.jsonl"):
        yield LabelledRow(row["claim"], tuple(row["contexts"]), row["label"] == "Supports")


def scifact(folder: Path) -> Iterator[LabelledRow]:
    for row in rows(folder / "claims.jsonl"):
        yield LabelledRow(row["claim"], (" ".join(row["sentences"]),), row["label"] == "SUPPORT")


def rte(folder: Path) -> Iterator[LabelledRow]:
    for path in sorted(folder.glob("*.jsonl")):
        for row in rows(path):
            yield LabelledRow(row["hypothesis"], (row["premise"],), row["label"] == 1)


def evouna(folder: Path) -> Iterator[LabelledRow]:
    """Yield answers with references, labelled as correct or not."""
    for row in rows(folder / "TQ.jsonl"):
        if not row.get("improper_question"):
            yield LabelledRow(
                row["answer"],
                (),
                row["label"] == 1,
                references=tuple(row["references"]),
                question=row["question"],
            )


def trecqa(folder: Path) -> Iterator[LabelledRow]:
    """Yield sentences, labelled by whether they answer the question."""
    for path in sorted(folder.glob("*.jsonl")):
        for row in rows(path):
            yield LabelledRow(row["sentence"], (), row["label"] == 1, question=row["question"])


Reader = Callable[[Path], Iterator[LabelledRow]]

SUPPORT: dict[str, Reader] = {
    "attributionbench": attributionbench,
    "lfqa": lfqa,
    "begin": begin,
    "wice": wice,
    "qags": qags,
    "bump": bump,
    "healthver": healthver,
    "scifact": scifact,
    "rte": rte,
}
"""Sets that label whether a claim or an answer is supported by its contexts."""

OTHERS: dict[str, tuple[str, Reader]] = {
    "evouna: answer_correctness": ("answer_correctness", evouna),
    "evouna: token_f1": ("token_f1", evouna),
    "evouna: holds_answer": ("holds_answer", evouna),
    "trecqa: answer_relevance": ("answer_relevance", trecqa),
}
"""Sets for other metrics, each with its metric."""
