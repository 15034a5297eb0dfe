"""Detection of a changed number or name in a copied sentence, by the lexical support judge.

    python -m benchmarks.swaps ../shared/data/retrieval/squad2/corpus.jsonl

In each of 300 sentences of the corpus, one number is changed, or one name is replaced by a name of
another document or of the same document. Each sentence is judged with five documents as contexts,
one of them its own. ``noticed`` is the share of pairs in which the original sentence is supported
and the changed one is not.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

from evals.judges import make_judge
from rag.text.sentences import sentences

PAIRS = 300
NUMBER = re.compile(r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?(?![\w-])")
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}\b")


def main(corpus: Path) -> None:
    texts = [json.loads(line)["text"] for line in corpus.read_text("utf-8").splitlines()]
    names = sorted({name for text in texts for name in NAME.findall(text)})
    support = make_judge("lexical")
    print("| changed | pairs | supported before | noticed |\n|---|---|---|---|")
    for kind, change in {
        "a number": number,
        "a name, for another document's": lambda text, sentence, draw: name(sentence, names, draw),
        "a name, for another of its document": lambda text, sentence, draw: name(
            sentence, sorted(set(NAME.findall(text)) - set(NAME.findall(sentence))), draw
        ),
    }.items():
        sentence_pairs = list(pairs(texts, change))
        before = noticed = 0
        for good, bad, contexts in sentence_pairs:
            good_judgement, bad_judgement = support.judge([good, bad], contexts)
            is_supported = (good_judgement.support or 0) >= support.threshold
            before += is_supported
            noticed += is_supported and (bad_judgement.support or 0) < support.threshold
        count = len(sentence_pairs)
        print(f"| {kind} | {count} | {before / count:.1%} | {noticed / count:.1%} |")


def pairs(texts: list[str], change: Callable[[str, str, random.Random], str | None]):  # type: ignore[no-untyped-def]
    draw = random.Random(3)
    pair_count = 0
    while pair_count < PAIRS:
        text = draw.choice(texts)
        spans = sentences(text)
        start, end = draw.choice(spans) if spans else (0, 0)
        sentence = text[start:end]
        if 40 < len(sentence) < 300 and (changed := change(text, sentence, draw)):
            contexts = [*draw.sample(texts, 4), text]
            draw.shuffle(contexts)
            pair_count += 1
            yield sentence, changed, contexts


def number(text: str, sentence: str, draw: random.Random) -> str | None:
    matches = list(NUMBER.finditer(sentence))
    if not matches:
        return None
    match = draw.choice(matches)
    new = str(int(float(match.group().replace(",", ""))) + draw.choice([1, 3, 7, 10]))
    return sentence[: match.start()] + new + sentence[match.end() :]


def name(sentence: str, names: list[str], draw: random.Random) -> str | None:
    matches = list(NAME.finditer(sentence))
    if not matches or not names:
        return None
    match = draw.choice(matches)
    new = draw.choice(names)
    if new == match.group():
        return None
    return sentence[: match.start()] + new + sentence[match.end() :]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
