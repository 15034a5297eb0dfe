"""Does the answer stay with its passages, and does it answer?"""

from __future__ import annotations

from collections.abc import Callable

from evals.metrics.base import Case, metric, unjudged
from evals.scores import Score, Unit


@metric("faithfulness", "generation", needs=("contexts",), usual=True)
def faithfulness(case: Case) -> Score:
    """Share of the answer's claims that the passages support.

    ``supported claims / claims``. A claim is a sentence; the same one twice counts once, and what
    claims nothing (a heading, a question, "I hope this helps!") does not count. Passages support
    a claim together. Support in part is no support. A refusal, and an answer without a claim,
    is not applicable; a claim that could not be judged makes the score fail. Where nothing was
    retrieved, nothing is supported.

    Source: Es et al., "RAGAS" (2023), with a verifier in the place of a prompt.
    """
    units = case.ledger
    supported = sum(unit.verdict == "supported" for unit in units)
    return Score.ratio(supported, len(units), none=_no_claims(case), units=units)


@metric("answer_relevance", "generation", usual=True)
def answer_relevance(case: Case) -> Score:
    """How alike the question and the sentence of the answer that is most like it are.

    Cosine of their vectors, below 0 taken for 0. It tells an answer to another question, not a
    good one from a bad one. A refusal is not applicable.

    Source: Es et al., "RAGAS" (2023) compare questions that a model makes up for the answer; this
    compares the answer, so that no model is needed. `relevance` asks a judge.
    """
    if not case.claims:
        return Score.not_applicable(_no_claims(case))
    texts = [claim.claim for claim in case.claims]
    asked = case.embedder.embed_query(case.sample.question)
    given = case.embedder.embed_documents(texts)
    best = max(float(vector @ asked) for vector in given)
    return Score.of(min(1.0, max(0.0, best)))


@metric("hallucination", "generation", needs=("references", "contexts"), better="lower")
def hallucination(case: Case) -> Score:
    """Share of the answer's claims that neither the reference nor any passage supports.

    ``claims in neither / claims``. Lower is better. A refusal is not applicable.

    Source: Ru et al., "RAGChecker" (2024).
    """
    return _share(case, lambda right, held: not right and not held)


@metric("self_knowledge", "generation", needs=("references", "contexts"))
def self_knowledge(case: Case) -> Score:
    """Share of the answer's claims that are right, though no passage supports them.

    ``claims in the reference and in no passage / claims``: what the model knew by itself.

    Source: Ru et al., "RAGChecker" (2024).
    """
    return _share(case, lambda right, held: right and not held)


@metric("noise_sensitivity", "generation", needs=("references", "contexts"), better="lower")
def noise_sensitivity(case: Case) -> Score:
    """Share of the answer's claims that are wrong and come from a passage.

    ``claims in a passage and not in the reference / claims``. Lower is better. The two parts that
    it is the sum of are `noise_sensitivity_relevant` and `noise_sensitivity_irrelevant`. References
    must be sentences: every claim is "wrong" beside "2009".

    Source: Ru et al., "RAGChecker" (2024).
    """
    return _share(case, lambda right, held: not right and bool(held))


@metric(
    "noise_sensitivity_relevant", "generation", needs=("references", "contexts"), better="lower"
)
def noise_sensitivity_relevant(case: Case) -> Score:
    """Share of the answer's claims that are wrong and come from a relevant passage.

    A passage is relevant that supports at least one claim of the reference. Lower is better.

    Source: Ru et al., "RAGChecker" (2024).
    """
    if failed := unjudged(case.reference_by_passage):
        return failed
    relevant = relevant_passages(case)
    return _share(case, lambda right, held: not right and bool(held & relevant))


@metric(
    "noise_sensitivity_irrelevant", "generation", needs=("references", "contexts"), better="lower"
)
def noise_sensitivity_irrelevant(case: Case) -> Score:
    """Share of the answer's claims that are wrong and come from irrelevant passages only.

    Lower is better.

    Source: Ru et al., "RAGChecker" (2024).
    """
    if failed := unjudged(case.reference_by_passage):
        return failed
    relevant = relevant_passages(case)
    return _share(case, lambda right, held: not right and bool(held) and not held & relevant)


@metric("context_utilisation", "generation", needs=("references", "contexts"))
def context_utilisation(case: Case) -> Score:
    """Of the reference's claims that the passages support, the share that the answer makes.

    Not applicable where the passages support none. A refusal makes none.

    Source: Ru et al., "RAGChecker" (2024), context utilization.
    """
    found, made = case.reference_by_passage, case.reference_by_answer
    if failed := unjudged([*found, *made]):
        return failed
    there = [i for i, judged in enumerate(found) if case.holds(judged)]
    used = sum(case.holds(made[i]) for i in there)
    return Score.ratio(used, len(there), none="the passages support no claim of the reference")


def relevant_passages(case: Case) -> set[int]:
    """Positions of the passages that support a claim of the reference."""
    return {place for judged in case.reference_by_passage for place in case.where(judged)}


def _share(case: Case, counts: Callable[[bool, set[int]], bool]) -> Score:
    """Share of the answer's claims that count, by whether they are right and where they stand."""
    claims = case.claims
    by_passage, by_reference = case.answer_by_passage, case.answer_by_reference
    if failed := unjudged([*by_passage, *by_reference]):
        return failed
    units: list[Unit] = []
    number = 0
    for claim, held, right in zip(claims, by_passage, by_reference, strict=True):
        places = set(case.where(held)) or ({-1} if case.holds(held) else set())
        is_so = counts(case.holds(right), places)
        number += is_so
        unit = case.backend.unit(claim.claim, case.contexts, held, claim.start, claim.end)
        units.append(unit.model_copy(update={"note": "counts" if is_so else ""}))
    return Score.ratio(number, len(claims), none=_no_claims(case), units=units)


def _no_claims(case: Case) -> str:
    return "it is a refusal" if case.sample.refused else "the answer claims nothing"
