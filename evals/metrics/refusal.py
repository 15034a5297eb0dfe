"""Refusal metrics: whether unanswerable questions, and only these, are refused."""

from __future__ import annotations

from evals.metrics.base import Case, metric
from evals.scores import Score


@metric("refusal_precision", "refusal", needs=("answerable",), pooled=True, usual=True)
def refusal_precision(case: Case) -> Score:
    """Share of refusals whose question cannot be answered from the sources.

    ``correct refusals / refusals``, over all questions. A question that was answered does
    not count.

    Source: Rajpurkar et al., "Know What You Don't Know" (2018).
    """
    if not case.sample.is_refusal:
        return Score.not_applicable("it is not a refusal")
    return Score.ratio(not case.sample.answerable, 1, if_undefined="")


@metric(
    "refusal_recall",
    "refusal",
    needs=("answerable",),
    pooled=True,
    usual=True,
    unanswerable_only=True,
)
def refusal_recall(case: Case) -> Score:
    """Share of unanswerable questions that are refused.

    ``correct refusals / unanswerable questions``; RGB calls it negative rejection. Not applicable
    to a question that can be answered.

    Source: Chen et al., "Benchmarking LLMs in RAG" (RGB, 2023).
    """
    return Score.ratio(case.sample.is_refusal, 1, if_undefined="")


@metric("refusal_f1", "refusal", needs=("answerable",), pooled=True)
def refusal_f1(case: Case) -> Score:
    """Harmonic mean of `refusal_precision` and `refusal_recall`, over all questions.

    ``2 correct refusals / (refusals + unanswerable questions)``. Not applicable if an answerable
    question is answered.
    """
    refused, unanswerable = case.sample.is_refusal, not case.sample.answerable
    return Score.ratio(
        2 * (refused and unanswerable),
        refused + unanswerable,
        if_undefined="the question can be answered, and was answered",
    )


@metric("answer_rate", "refusal", pooled=True)
def answer_rate(case: Case) -> Score:
    """Share of questions that are answered instead of refused, whether correctly or not."""
    return Score.ratio(not case.sample.is_refusal, 1, if_undefined="")
