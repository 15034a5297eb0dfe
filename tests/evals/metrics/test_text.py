"""ROUGE, BLEU and chrF are those of the programs that everybody compares with."""

from __future__ import annotations

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF  # type: ignore[attr-defined]

from evals.judges import backend
from evals.metrics import Case, all_metrics
from evals.metrics.text import bleu, chrf, longest_common_subsequence, rouge_l, rouge_n
from evals.samples import Sample

WORDS = (
    "the battery lasts minutes flying drones weather schools charging charged relational it is "
    "lying studies conditional runs running 34 90 a of under"
).split()


def texts(seed: int, count: int = 40) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 25))) + "." for _ in range(count)]


def test_rouge_is_googles() -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for said, reference in zip(texts(1), texts(2), strict=True):
        wanted = scorer.score(reference, said)
        for name, found in (
            ("rouge1", rouge_n(said, reference, 1)),
            ("rouge2", rouge_n(said, reference, 2)),
            ("rougeL", rouge_l(said, reference)),
        ):
            assert tuple(found) == pytest.approx(tuple(wanted[name]), abs=1e-9), (said, reference)


def test_rouge_of_nothing() -> None:
    assert tuple(rouge_n("", "a b", 1)) == (0, 0, 0)
    assert tuple(rouge_l("a", "")) == (0, 0, 0)
    assert tuple(rouge_n("one", "one", 2)) == (0, 0, 0)


def test_the_longest_common_subsequence_is_the_slow_ones() -> None:
    draw = random.Random(4)
    for _ in range(200):
        one, other = (draw.choices("abcd", k=draw.randint(0, 12)) for _ in range(2))
        table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
        for i, a in enumerate(one):
            for j, b in enumerate(other):
                table[i + 1][j + 1] = (
                    table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
                )
        assert longest_common_subsequence(one, other) == table[-1][-1]


def test_bleu_and_chrf_are_sacrebleus() -> None:
    said, first, second = texts(5), texts(6), texts(7)
    references = [[a, b] for a, b in zip(first, second, strict=True)]
    found = bleu(said, references)
    wanted = BLEU()
    assert found.value == pytest.approx(wanted.corpus_score(said, [first, second]).score)
    assert found.signature == str(wanted.get_signature()) and "version:" in found.signature
    other = chrf(said, references)
    assert other.value == pytest.approx(CHRF().corpus_score(said, [first, second]).score)
    assert "chrF" in other.signature or "nc:6" in other.signature


def test_texts_may_have_references_of_different_number() -> None:
    assert bleu(["a b c d e"], [["a b c d e", "x"]]).value == pytest.approx(100)
    assert bleu(["a b c d e", "f"], [["a b c d e", "x"], ["f"]]).value > 50
    with pytest.raises(ValueError, match="no reference"):
        bleu(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="no text"):
        chrf([], [])


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge_1", "rouge_l", "exact_match", "token_f1"])
def test_the_same_words_score_1_and_a_refusal_0(name: str) -> None:
    text = "The battery lasts 34 minutes in calm air."
    metric, support = all_metrics()[name], backend("lexical")
    right = Sample(id="1", question="?", answer=f"{text[:-1]} [1].", references=("No.", text))
    assert metric.score(Case(right, support)).value == pytest.approx(1.0)
    refused = Sample(id="1", question="?", answer="I don't know.", references=(text,))
    assert metric.score(Case(refused, support)).value == 0
