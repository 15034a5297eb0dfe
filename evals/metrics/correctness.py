"""Is the answer right, by reference answers? Refusing what can be answered is wrong."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

from evals.metrics.base import Case, metric, unjudged
from evals.scores import Score
from evals.statistics import harmonic_mean
from rag.generation.markers import without_markers


@metric("answer_correctness", "generation", needs=("references",))
def answer_correctness(case: Case) -> Score:
    """F1 of claims: those of the answer that the reference supports, and the other way about.

    ``2 P R / (P + R)``; P is the share of the answer's claims that a reference supports, R the
    share of the first reference's claims that the answer supports (`completeness`). A refusal of
    a question that has an answer is 0, and so is an answer that claims nothing. References should
    be sentences: where they are short ("1960"), `token_f1` and `holds_answer` say more.

    Source: Ru et al., "RAGChecker" (2024), overall F1.
    """
    if case.sample.refused or not case.claims:
        return Score.ratio(0, 1, none="")
    right, made = case.answer_by_reference, case.reference_by_answer
    if failed := unjudged([*right, *made]):
        return failed
    precision = sum(map(case.holds, right)) / len(right)
    recall = sum(map(case.holds, made)) / len(made) if made else 0.0
    return Score.of(harmonic_mean(precision, recall))


@metric("completeness", "generation", needs=("references",))
def completeness(case: Case) -> Score:
    """Share of the first reference's claims that the answer supports; 0 for a refusal.

    Source: Ru et al., "RAGChecker" (2024), recall.
    """
    made = case.reference_by_answer
    if failed := unjudged(made):
        return failed
    return Score.ratio(sum(map(case.holds, made)), len(made), none="the reference claims nothing")


@metric("exact_match", "text", needs=("references",), usual=True)
def exact_match(case: Case) -> Score:
    """Whether the answer is one of the references, but for case, punctuation and articles.

    1 or 0; 0 for a refusal. Markers are left out.

    Source: Rajpurkar et al., "SQuAD" (2016).
    """
    return _best(case, lambda said, right: float(said == right))


@metric("token_f1", "text", needs=("references",), usual=True)
def token_f1(case: Case) -> Score:
    """F1 of the words that the answer and a reference have in common, the best of them.

    Words as in `exact_match`, each as often as it stands there. 0 for a refusal.

    Source: Rajpurkar et al., "SQuAD" (2016).
    """
    return _best(case, f1_of_words)


@metric("holds_answer", "text", needs=("references",), usual=True)
def holds_answer(case: Case) -> Score:
    """Whether a reference stands in the answer, word for word as in `exact_match`.

    For short references and long answers. 0 for a refusal.

    Source: Chen et al., "Benchmarking LLMs in RAG" (RGB, 2023), accuracy.
    """
    return _best(case, lambda said, right: float(bool(right) and f" {right} " in f" {said} "))


def _best(case: Case, compare: Callable[[str, str], float]) -> Score:
    if case.sample.refused:
        return Score.of(0.0)
    said = normal(without_markers(case.sample.answer))
    return Score.of(max(compare(said, normal(right)) for right in case.sample.references))


_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal(text: str) -> str:
    """Lower case, without punctuation and articles, one space between words; as SQuAD's script."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def f1_of_words(said: str, right: str) -> float:
    """F1 of the words of two normal texts; 1 for two without any."""
    one, other = said.split(), right.split()
    if not one or not other:
        return float(one == other)
    common = sum((Counter(one) & Counter(other)).values())
    return 2 * common / (len(one) + len(other))
