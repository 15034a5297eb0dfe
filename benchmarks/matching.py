"""Learn the coefficients that the verifier `matching` ships, and measure them on unseen sets.

    python -m benchmarks.matching ../shared/data/labelled MINILM --unseen   # leave one set out
    python -m benchmarks.matching ../shared/data/labelled MINILM --own      # learn from half a set
    python -m benchmarks.matching ../shared/data/labelled MINILM --write    # write the coefficients

MINILM is a folder with all-MiniLM-L6-v2 in ONNX (``model.onnx``, ``tokenizer.json``). Each set of
human judgements (`benchmarks.labelled.SUPPORT`) is scored by the lexical verifier, and by
``matching`` with coefficients that were learned on the other sets (``--unseen``), or on the other
half of the same set, with other passages (``--own``, what `rag train verifier` gives).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled import SUPPORT
from evals.agreement import auroc
from evals.calibration import LabelledRow
from rag import LexicalVerifier
from rag.embedding import MiniLMEmbedder
from rag.embedding.base import Side
from rag.training import LabelledClaim, train_matching_verifier
from rag.training.verifier import (
    divide_rows,
    fit_blend,
    make_examples,
    predict_unseen,
    to_head,
    train_network,
)
from rag.verification.matching import COEFFICIENTS_FILE, MatchingVerifier, save_coefficients

MIN_ROWS = 300  # of a set that is divided


def to_claims(rows: Sequence[LabelledRow], group: str) -> list[LabelledClaim]:
    return [LabelledClaim(r.text, "\n\n".join(r.contexts), r.label, group) for r in rows]


def measure(name: str, rows: Sequence[LabelledClaim], verifier: MatchingVerifier) -> list[float]:
    """Print and return the AUROC of the lexical verifier and of `verifier` on rows."""
    labels = np.array([row.is_supported for row in rows])
    pairs = [(row.claim, row.passage) for row in rows]
    scores = [LexicalVerifier().scores(pairs), verifier.scores(pairs)]
    aurocs = [auroc(labels, s.astype(float)) for s in scores]
    print_line(name, len(rows), aurocs)
    return aurocs


def print_line(name: str, n: int, aurocs: Sequence[float]) -> None:
    print(f"| {name} | {n:,} | {aurocs[0]:.3f} | {aurocs[1]:.3f} | {aurocs[1] - aurocs[0]:+.3f} |")


class CachedMiniLM(MiniLMEmbedder):
    """Keeps the vectors of all tokens: 3 GB."""

    name: ClassVar[str] = "minilm-cached"
    vectors: ClassVar[dict[str, NDArray[np.float32]]] = {}

    def embed_tokens(self, texts: Sequence[str], side: Side) -> list[NDArray[np.float32]]:
        missing = [text for text in texts if text not in self.vectors]
        self.vectors.update(zip(missing, super().embed_tokens(missing, side), strict=True))
        return [self.vectors[text] for text in texts]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("minilm", type=Path)
    for name in ("--unseen", "--own", "--write"):
        options.add_argument(name, action="store_true")
    arguments = options.parse_args()
    embedder = CachedMiniLM(folder=arguments.minilm)
    sets = {
        name: to_claims(list(read(arguments.data / name)), name) for name, read in SUPPORT.items()
    }
    if arguments.unseen or arguments.write:
        measure_unseen(sets, embedder, write=arguments.write)
    if arguments.own:
        print("learned from the other half of the set")
        measure_all(
            {name: divide(claims) for name, claims in sets.items() if len(claims) >= MIN_ROWS},
            embedder,
        )


def measure_unseen(
    sets: dict[str, list[LabelledClaim]], embedder: MiniLMEmbedder, *, write: bool
) -> None:
    """Print the AUROC on each set of what was learned on the others; write what all sets give."""
    rows = [row for claims in sets.values() for row in claims]
    examples = make_examples(rows, embedder, LexicalVerifier())
    names = np.array([row.group for row in rows])
    labels = np.array([row.is_supported for row in rows])
    lexical = np.array([example.log_odds for example in examples])
    matches = predict_unseen(examples, np.unique(names, return_inverse=True)[1])
    print("learned from the other sets\n| set | rows | lexical | matching | difference |")
    print("|---|---|---|---|---|")
    aurocs = []
    for name in sets:
        is_other = names != name
        others = [example for example, is_one in zip(examples, is_other, strict=True) if is_one]
        lexical_weight, match_weight, _ = fit_blend(others, matches[is_other])
        tested = ~is_other
        blended = lexical_weight * lexical[tested] + match_weight * matches[tested]
        aurocs.append([auroc(labels[tested], scores) for scores in (lexical[tested], blended)])
        print_line(name, int(tested.sum()), aurocs[-1])
    print_line("mean", len(rows), list(np.mean(aurocs, axis=0)))
    if write:
        head = to_head(train_network(examples, 0), fit_blend(examples, matches))
        save_coefficients(
            head,
            COEFFICIENTS_FILE,
            learned_by="python -m benchmarks.matching LABELLED MINILM --write",
            learned_from=", ".join(f"{name} ({len(claims):,})" for name, claims in sets.items()),
        )
        print(f"blend: {head.blend_weights}, {COEFFICIENTS_FILE.stat().st_size:,} bytes")


def divide(claims: list[LabelledClaim]) -> tuple[list[LabelledClaim], list[LabelledClaim]]:
    """Return two halves that have no claim and no passage in common."""
    divisions = divide_rows(claims, 2)
    first, second = (
        [claim for claim, division in zip(claims, divisions, strict=True) if division == i]
        for i in range(2)
    )
    return first, second


def measure_all(
    divisions: dict[str, tuple[list[LabelledClaim], list[LabelledClaim]]], embedder: MiniLMEmbedder
) -> None:
    """Learn from the first rows of each division, and print the AUROC on the second."""
    print("| set | rows | lexical | matching | difference |\n|---|---|---|---|---|")
    aurocs = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (rows, tested) in divisions.items():
            path = Path(folder) / f"{name}.json"
            save_coefficients(train_matching_verifier(rows, embedder=embedder, folds=2), path)
            verifier = MatchingVerifier(embedder=embedder, coefficients=path)
            aurocs.append(measure(name, tested, verifier))
    print_line("mean", 0, list(np.mean(aurocs, axis=0)))


if __name__ == "__main__":
    main()
