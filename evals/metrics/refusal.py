"""Does it answer where it can, and refuse where it cannot? Refusals are told before all else."""

from __future__ import annotations

from evals.metrics.base import Case, metric
from evals.scores import Score


@metric("refusal_precision", "refusal", needs=("answerable",), pooled=True, usual=True)
def refusal_precision(case: Case) -> Score:
    """Share of the refusals that are of questions that cannot be answered.

    ``right refusals / refusals``, over all questions. Not applicable to an answer.

    Source: Rajpurkar et al., "Know What You Don't Know" (2018), for abstention as a class.
    """
    if not case.sample.refused:
        return Score.not_applicable("it is no refusal")
    return Score.ratio(not case.sample.answerable, 1, none="")


@metric(
    "refusal_recall",
    "refusal",
    needs=("answerable",),
    pooled=True,
    usual=True,
    unanswerable_only=True,
)
def refusal_recall(case: Case) -> Score:
    """Share of the questions that cannot be answered that are refused.

    ``right refusals / unanswerable questions``: RGB calls it negative rejection. Not applicable to
    a question that can be answered.

    Source: Chen et al., "Benchmarking LLMs in RAG" (RGB, 2023).
    """
    return Score.ratio(case.sample.refused, 1, none="")


@metric("refusal_f1", "refusal", needs=("answerable",), pooled=True)
def refusal_f1(case: Case) -> Score:
    """Harmonic mean of `refusal_precision` and `refusal_recall`, over all questions.

    ``2 right refusals / (refusals + unanswerable questions)``. A question that can be answered and
    is, says nothing of it.
    """
    refused, unanswerable = case.sample.refused, not case.sample.answerable
    return Score.ratio(
        2 * (refused and unanswerable),
        refused + unanswerable,
        none="the question can be answered, and is",
    )


@metric("answer_rate", "refusal", pooled=True)
def answer_rate(case: Case) -> Score:
    """Share of the questions that are answered rather than refused, rightly or not."""
    return Score.ratio(not case.sample.refused, 1, none="")
