"""Faithfulness cannot be raised by padding, and notices another number or name."""

from __future__ import annotations

import random
import re

import pytest

from evals.judges import make_judge
from evals.metrics import Case, all_metrics
from evals.samples import Sample, passages

PEOPLE = "Berg Stone Lopez Novak Okafor Tanaka Silva Weber Rossi Dubois".split()
PLACES = "Hamburg Lisbon Oslo Prague Turin Lyon Krakow Ghent Malmo Bilbao".split()
TEMPLATES = [
    "The {thing} was designed by Anna {person} in {place} and sold {number} times.",
    "In {year}, {place} ordered {number} pieces of the {thing} for its harbour.",
    "Professor {person} measured a range of {number} kilometres with the {thing}.",
    "The workshop in {place} repairs the {thing} within {number} days of delivery.",
    "According to {person}, the {thing} weighs {number} kilograms when it is loaded.",
    "Since {year} the factory at {place} has built the {thing} under director {person}.",
]
THINGS = [
    "weather drone",
    "cargo kite",
    "harbour robot",
    "solar pump",
    "rescue buoy",
    "snow plough",
]
FILLER = [
    "It needs little care and is liked for that.",
    "Spare parts can be ordered by telephone.",
    "Schools and clubs get it at a lower price.",
]


def facts(draw: random.Random) -> tuple[str, dict[str, str]]:
    values = {
        "thing": draw.choice(THINGS),
        "person": draw.choice(PEOPLE),
        "place": draw.choice(PLACES),
        "number": str(draw.randint(12, 980)),
        "year": str(draw.randint(1950, 2024)),
    }
    template = draw.choice(TEMPLATES)
    return template.format(**values), {k: v for k, v in values.items() if f"{{{k}}}" in template}


def pairs(count: int) -> list[tuple[str, str, list[str]]]:
    """A sentence of a passage, the same with one number or name swapped, and the passages."""
    draw = random.Random(7)
    sentence_pairs = []
    while len(sentence_pairs) < count:
        sentence, values = facts(draw)
        kind = draw.choice([k for k in values if k != "thing"])
        pool = {
            "person": PEOPLE,
            "place": PLACES,
            "number": [str(draw.randint(12, 980))],
            "year": [str(draw.randint(1950, 2024))],
        }[kind]
        new = draw.choice([value for value in pool if value != values[kind]] or ["7"])
        swapped = re.sub(rf"\b{values[kind]}\b", new, sentence)
        contexts = [" ".join([facts(draw)[0], draw.choice(FILLER)]) for _ in range(4)]
        contexts.insert(draw.randrange(5), " ".join([draw.choice(FILLER), sentence]))
        if swapped != sentence and swapped not in " ".join(contexts):
            sentence_pairs.append((sentence, swapped, contexts))
    return sentence_pairs


def faithfulness(answer: str, contexts: list[str]) -> float:
    sample = Sample(id="1", question="?", answer=answer, contexts=passages(contexts))
    value = all_metrics()["faithfulness"].score(Case(sample, make_judge("lexical"))).value
    assert value is not None
    return value


def test_another_number_or_name_is_noticed() -> None:
    sentence_pairs = pairs(240)
    detected = [
        faithfulness(bad, contexts) < faithfulness(good, contexts)
        for good, bad, contexts in sentence_pairs
    ]
    assert sum(detected) >= 0.95 * len(detected), [
        p[:2] for p, t in zip(sentence_pairs, detected, strict=True) if not t
    ]


def test_so_it_is_among_other_sentences() -> None:
    sentence_pairs = pairs(60)
    detected = []
    for (good, bad, contexts), (next_sentence, _, next_contexts) in zip(
        sentence_pairs, sentence_pairs[1:], strict=False
    ):
        all_contexts = contexts + next_contexts
        detected.append(
            faithfulness(f"{next_sentence} {bad}", all_contexts)
            < faithfulness(f"{next_sentence} {good}", all_contexts)
        )
    assert sum(detected) >= 0.95 * len(detected)


HARMLESS = [
    "I hope this helps!",
    "Let me know if you have any other questions.",
    "Thank you for your question.",
    "Here is what I found:",
    "This is a fascinating topic.",
    "It is always good to ask.",
    "## Summary",
    "Is there anything else you would like to know?",
    "There are many things to be said about this.",
]


@pytest.mark.parametrize("harmless", HARMLESS)
def test_padding_does_not_raise_it(harmless: str) -> None:
    for good, bad, contexts in pairs(12):
        mixed = f"{good} {bad}"
        assert faithfulness(f"{mixed} {harmless}", contexts) <= faithfulness(mixed, contexts)
        assert faithfulness(f"{harmless} {mixed}", contexts) <= faithfulness(mixed, contexts)
        assert faithfulness(f"{mixed} {good} {good}", contexts) <= faithfulness(mixed, contexts)
