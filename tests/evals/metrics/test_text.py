"""ROUGE equals rouge_score, BLEU and chrF equal sacrebleu."""

from __future__ import annotations

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF  # type: ignore[attr-defined]

from evals.judges import make_judge
from evals.metrics import Case, all_metrics
from evals.metrics.text import bleu, chrf, longest_common_subsequence, rouge_l, rouge_n
from evals.samples import Sample

WORDS = (
    "the battery lasts minutes flying drones weather schools charging charged relational it is "
    "lying studies conditional runs running 34 90 a of under"
).split()


def draw_texts(seed: int, count: int = 40) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 25))) + "." for _ in range(count)]


def test_rouge_equals_rouge_score() -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for text, reference in zip(draw_texts(1), draw_texts(2), strict=True):
        expected = scorer.score(reference, text)
        for name, rouge in (
            ("rouge1", rouge_n(text, reference, 1)),
            ("rouge2", rouge_n(text, reference, 2)),
            ("rougeL", rouge_l(text, reference)),
        ):
            assert tuple(rouge) == pytest.approx(tuple(expected[name]), abs=1e-9), (text, reference)


def test_rouge_of_empty_texts_is_zero() -> None:
    assert tuple(rouge_n("", "a b", 1)) == (0, 0, 0)
    assert tuple(rouge_l("a", "")) == (0, 0, 0)
    assert tuple(rouge_n("one", "one", 2)) == (0, 0, 0)


def test_longest_common_subsequence_equals_dynamic_programming() -> None:
    draw = random.Random(4)
    for _ in range(200):
        first, second = (draw.choices("abcd", k=draw.randint(0, 12)) for _ in range(2))
        table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
        for i, a in enumerate(first):
            for j, b in enumerate(second):
                table[i + 1][j + 1] = (
                    table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
                )
        assert longest_common_subsequence(first, second) == table[-1][-1]


def test_bleu_and_chrf_equal_sacrebleu() -> None:
    texts, first, second = draw_texts(5), draw_texts(6), draw_texts(7)
    references = [[a, b] for a, b in zip(first, second, strict=True)]
    bleu_score = bleu(texts, references)
    expected_bleu = BLEU()
    assert bleu_score.value == pytest.approx(
        expected_bleu.corpus_score(texts, [first, second]).score
    )
    assert bleu_score.signature == str(expected_bleu.get_signature())
    assert "version:" in bleu_score.signature
    chrf_score = chrf(texts, references)
    assert chrf_score.value == pytest.approx(CHRF().corpus_score(texts, [first, second]).score)
    assert "chrF" in chrf_score.signature or "nc:6" in chrf_score.signature


def test_texts_can_have_different_numbers_of_references() -> None:
    assert bleu(["a b c d e"], [["a b c d e", "x"]]).value == pytest.approx(100)
    assert bleu(["a b c d e", "f"], [["a b c d e", "x"], ["f"]]).value > 50
    with pytest.raises(ValueError, match="no reference"):
        bleu(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="no text"):
        chrf([], [])


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge_1", "rouge_l", "exact_match", "token_f1"])
def test_text_equal_to_a_reference_scores_1_and_a_refusal_0(name: str) -> None:
    text = "The battery lasts 34 minutes in calm air."
    metric, support = all_metrics()[name], make_judge("lexical")
    correct = Sample(id="1", question="?", answer=f"{text[:-1]} [1].", references=("No.", text))
    assert metric.score(Case(correct, support)).value == pytest.approx(1.0)
    refusal = Sample(id="1", question="?", answer="I don't know.", references=(text,))
    assert metric.score(Case(refusal, support)).value == 0
