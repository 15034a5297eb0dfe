"""Correctness metrics, which compare the answer with reference answers; a refusal scores 0."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

from evals.metrics.base import Case, find_judgement_failure, metric
from evals.scores import Score
from evals.statistics import harmonic_mean
from rag.generation.markers import strip_markers


@metric("answer_correctness", "generation", needs=("references",))
def answer_correctness(case: Case) -> Score:
    """F1 of the precision and the recall of the answer's claims, compared with the references.

    ``2 P R / (P + R)``. P is the share of the answer's claims that a reference supports. R is the
    share of the first reference's claims that the answer supports (`completeness`). The score is 0
    for a refusal of an answerable question, and for an answer that claims nothing. References
    should be sentences: for short ones ("1960"), use `token_f1` and `holds_answer`.

    Source: Ru et al., "RAGChecker" (2024), overall F1.
    """
    if case.sample.is_refusal or not case.claims:
        return Score.ratio(0, 1, if_undefined="")
    by_reference, by_answer = case.answer_by_reference, case.reference_by_answer
    if failure := find_judgement_failure([*by_reference, *by_answer]):
        return failure
    precision = sum(map(case.is_supported, by_reference)) / len(by_reference)
    recall = sum(map(case.is_supported, by_answer)) / len(by_answer) if by_answer else 0.0
    return Score.of(harmonic_mean(precision, recall))


@metric("completeness", "generation", needs=("references",))
def completeness(case: Case) -> Score:
    """Share of the first reference's claims that the answer supports; 0 for a refusal.

    Source: Ru et al., "RAGChecker" (2024), recall.
    """
    judgements = case.reference_by_answer
    if failure := find_judgement_failure(judgements):
        return failure
    return Score.ratio(
        sum(map(case.is_supported, judgements)),
        len(judgements),
        if_undefined="the reference claims nothing",
    )


@metric("exact_match", "text", needs=("references",), usual=True)
def exact_match(case: Case) -> Score:
    """Whether the answer equals a reference, ignoring case, punctuation and articles.

    1 or 0; 0 for a refusal. Citation markers are removed.

    Source: Rajpurkar et al., "SQuAD" (2016).
    """
    return score_best_reference(
        case, lambda answer, reference: float(answer == reference), normalise_answer
    )


@metric("token_f1", "text", needs=("references",), usual=True)
def token_f1(case: Case) -> Score:
    """F1 of the words shared by the answer and a reference; the best reference counts.

    Words are normalised as in `exact_match`, and a word that occurs twice counts twice. 0 for a
    refusal.

    Source: Rajpurkar et al., "SQuAD" (2016).
    """
    return score_best_reference(case, compute_word_f1, normalise_answer)


@metric("holds_answer", "text", needs=("references",), usual=True)
def holds_answer(case: Case) -> Score:
    """Whether the answer contains a reference, normalised as in `exact_match`.

    1 or 0; 0 for a refusal. Use it for short references and long answers.

    Source: Chen et al., "Benchmarking LLMs in RAG" (RGB, 2023), accuracy.
    """
    return score_best_reference(
        case,
        lambda answer, reference: float(bool(reference) and f" {reference} " in f" {answer} "),
        normalise_answer,
    )


def score_best_reference(
    case: Case,
    compare: Callable[[str, str], float],
    normalise: Callable[[str], str] = str,
) -> Score:
    """Return the best ``compare(answer, reference)`` over the references; 0 for a refusal.

    Citation markers are removed from the answer, then both texts are normalised.
    """
    if case.sample.is_refusal:
        return Score.of(0.0)
    answer = normalise(strip_markers(case.sample.answer))
    return Score.of(
        max(compare(answer, normalise(reference)) for reference in case.sample.references)
    )


_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Return the text in lower case, without punctuation, articles and repeated spaces.

    Same as ``normalize_answer`` of SQuAD's evaluation script.
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def compute_word_f1(answer: str, reference: str) -> float:
    """Return F1 of the words of two normalised texts; 1 if both are empty."""
    answer_words, reference_words = answer.split(), reference.split()
    if not answer_words or not reference_words:
        return float(answer_words == reference_words)
    shared = sum((Counter(answer_words) & Counter(reference_words)).values())
    return 2 * shared / (len(answer_words) + len(reference_words))
