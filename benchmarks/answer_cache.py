"""How well the answer cache recognizes the same question in other words, and how often it errs.

    python -m benchmarks.answer_cache [../shared/data/qa/squad2.jsonl]

`question_pairs.jsonl` has 150 pairs that ask the same, and 250 that only look alike: another year,
name, unit, role, condition and so on. With a question set, all pairs of questions about the same
document that have different answers are compared, too. For comparison: what a threshold on the
cosine alone would do.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rag import StaticEmbedder
from rag.answers import mean_the_same

PAIRS = Path(__file__).with_name("question_pairs.jsonl")
COSINES = (0.9, 0.95, 0.98)


def main() -> None:
    """Print the table."""
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    same = [(pair["a"], pair["b"]) for pair in pairs if pair["same"]]
    sets = {
        "same question": same,
        "look alike": [(pair["a"], pair["b"]) for pair in pairs if not pair["same"]],
    }
    for path in map(Path, sys.argv[1:]):
        sets[f"other question ({path.stem})"] = _read_other_questions(path)
    print(f"{'':30}{'pairs':>7}{'cache':>9}" + "".join(f"{f'cos>={c}':>10}" for c in COSINES))
    for name, questions in sets.items():
        counts = [sum(mean_the_same(a, b) for a, b in questions)]
        cosines = _cosines(questions)
        counts += [sum(cosine >= limit for cosine in cosines) for limit in COSINES]
        others = "".join(f"{count:>10}" for count in counts[1:])
        print(f"{name:30}{len(questions):>7}{counts[0]:>9}{others}")


def _cosines(pairs: Sequence[tuple[str, str]]) -> list[float]:
    embedder = StaticEmbedder()
    left = embedder.embed_queries([a for a, _ in pairs])
    right = embedder.embed_queries([b for _, b in pairs])
    return [float(cosine) for cosine in (left * right).sum(axis=1)]


def _read_other_questions(path: Path) -> list[tuple[str, str]]:
    """Return the pairs of questions about one document that have no answer in common."""
    by_document: dict[str, list[dict[str, list[str]]]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for document in row.get("gold", ()):
            by_document[document].append(row)
    return [
        (str(a["question"]), str(b["question"]))
        for rows in by_document.values()
        for a, b in itertools.combinations(rows, 2)
        if not {*a["answers"]} & {*b["answers"]}
    ]


if __name__ == "__main__":
    main()
