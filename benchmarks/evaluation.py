"""Throughput of the lexical support judge, in answers per second on one core.

    python -m benchmarks.evaluation

It judges 1,000 answers of five sentences, each with five passages of its own of about 90 words, so
no answer is in a cache. The sentences consist of words of ``docs/``, drawn with their frequencies
and a fixed seed, with numbers and names. The floor is the share of the words of each sentence that
the passages contain.
"""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

from evals.judges import make_judge
from evals.metrics import Case, all_metrics
from evals.samples import Sample, passages

ANSWERS, SENTENCES, PASSAGES = 1_000, 5, 5


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sample_list = list(samples())
    support = make_judge("lexical")
    measure_metrics("faithfulness", sample_list[:20], support)  # warm-up: loads the data
    floor = overlap(sample_list)
    print("| | answers a second | beside word overlap |\n|---|---|---|")
    print(f"| word overlap | {ANSWERS / floor:,.0f} | 1 |")
    for names in (("faithfulness",), ("faithfulness", "citation_recall", "citation_precision")):
        seconds = measure_metrics(",".join(names), list(samples(len(names))), support)
        rate = ANSWERS / seconds
        print(f"| {', '.join(names)} | {rate:,.0f} | {floor / seconds:.3f} |")


def measure_metrics(names: str, sample_list: list[Sample], support: object) -> float:
    metrics = [all_metrics()[name] for name in names.split(",")]
    started = time.perf_counter()
    for sample in sample_list:
        case = Case(sample, support)  # type: ignore[arg-type]
        for metric in metrics:
            metric.score(case)
    return time.perf_counter() - started


def overlap(made: list[Sample]) -> float:
    started = time.perf_counter()
    for sample in made:
        context_words = set(re.findall(r"\w+", " ".join(p.text for p in sample.contexts).lower()))
        for sentence in sample.answer.split(". "):
            sentence_words = re.findall(r"\w+", sentence.lower())
            sum(word in context_words for word in sentence_words)
    return time.perf_counter() - started


def samples(seed: int = 0):  # type: ignore[no-untyped-def]
    draw = random.Random(seed)
    pages = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
    text = " ".join(page.read_text(encoding="utf-8") for page in pages)
    words = re.findall(r"\b[a-z]{2,}\b", text)  # with repetitions, to keep the frequencies

    def sentence() -> str:
        chosen_words = draw.choices(words, k=draw.randint(12, 22))
        if draw.random() < 0.3:
            chosen_words[draw.randrange(len(chosen_words))] = str(draw.randint(10, 2_000))
        if draw.random() < 0.4:
            chosen_words[-2] = chosen_words[-2].title()
        return f"{' '.join(chosen_words).capitalize()}."

    for number in range(ANSWERS):
        contexts = [[sentence() for _ in range(5)] for _ in range(PASSAGES)]
        sentences = []
        for _ in range(SENTENCES):
            passage_number = draw.randrange(PASSAGES)
            copied = draw.choice(contexts[passage_number])[:-1]
            if draw.random() < 0.5:
                copied = copied.replace(draw.choice(copied.split()), draw.choice(words), 1)
            sentences.append(f"{copied} [{passage_number + 1}].")
        yield Sample(
            id=str(number),
            question=sentence(),
            answer=" ".join(sentences),
            contexts=passages([" ".join(words_of_passage) for words_of_passage in contexts]),
        )


if __name__ == "__main__":
    main()
