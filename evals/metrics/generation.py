"""Generation metrics: support of the answer by its passages and its references."""

from __future__ import annotations

from collections.abc import Callable

from evals.metrics.base import Case, find_judgement_failure, metric
from evals.scores import Score, Unit


@metric("faithfulness", "generation", needs=("contexts",), usual=True)
def faithfulness(case: Case) -> Score:
    """Share of the answer's claims that the passages support.

    ``supported claims / claims``. A claim is a sentence. A repeated claim counts once; a sentence
    without a claim (a heading, a question, "I hope this helps!") does not count. A claim is judged
    by all passages together. Partial support does not count. A refusal, or an answer without a
    claim, is not applicable. The score fails if a claim could not be judged. If nothing was
    retrieved, the score is 0.

    Source: Es et al., "RAGAS" (2023), with a verifier instead of a prompt.
    """
    units = case.claim_units
    supported = sum(unit.verdict == "supported" for unit in units)
    return Score.ratio(supported, len(units), if_undefined=case.no_claims_reason, units=units)


@metric("answer_relevance", "generation", usual=True)
def answer_relevance(case: Case) -> Score:
    """Similarity of the question and the most similar sentence of the answer.

    Cosine of their vectors; a negative cosine counts as 0. The metric detects an answer to
    another question. It does not measure whether the answer is good. A refusal is not applicable.

    Source: Es et al., "RAGAS" (2023). There, a model generates questions from the answer, and these
    are compared with the question. This metric compares the answer itself and needs no model. See
    `relevance` for a judge's opinion.
    """
    if not case.claims:
        return Score.not_applicable(case.no_claims_reason)
    texts = [claim.claim for claim in case.claims]
    question = case.embedder.embed_query(case.sample.question)
    best = max(float(vector @ question) for vector in case.embedder.embed_documents(texts))
    return Score.of(min(1.0, max(0.0, best)))


@metric("hallucination", "generation", needs=("references", "contexts"), better="lower")
def hallucination(case: Case) -> Score:
    """Share of the answer's claims that neither the reference nor any passage supports.

    ``claims in neither / claims``. Lower is better. A refusal is not applicable.

    Source: Ru et al., "RAGChecker" (2024).
    """
    return _score_claim_share(case, lambda is_correct, passages: not is_correct and not passages)


@metric("self_knowledge", "generation", needs=("references", "contexts"))
def self_knowledge(case: Case) -> Score:
    """Share of the answer's claims that are correct, although no passage supports them.

    ``claims in the reference and in no passage / claims``: the model's own knowledge.

    Source: Ru et al., "RAGChecker" (2024).
    """
    return _score_claim_share(case, lambda is_correct, passages: is_correct and not passages)


@metric("noise_sensitivity", "generation", needs=("references", "contexts"), better="lower")
def noise_sensitivity(case: Case) -> Score:
    """Share of the answer's claims that are wrong and come from a passage.

    ``claims in a passage and not in the reference / claims``. Lower is better. It is the sum of
    `noise_sensitivity_relevant` and `noise_sensitivity_irrelevant`. References must be full
    sentences: a short reference ("2009") supports no claim, so every claim counts as wrong.

    Source: Ru et al., "RAGChecker" (2024).
    """
    return _score_claim_share(case, lambda is_correct, passages: not is_correct and bool(passages))


@metric(
    "noise_sensitivity_relevant", "generation", needs=("references", "contexts"), better="lower"
)
def noise_sensitivity_relevant(case: Case) -> Score:
    """Share of the answer's claims that are wrong and come from a relevant passage.

    A passage is relevant if it supports at least one claim of the reference. Lower is better.

    Source: Ru et al., "RAGChecker" (2024).
    """
    if failure := find_judgement_failure(case.reference_by_passage):
        return failure
    relevant = find_relevant_passages(case)
    return _score_claim_share(
        case, lambda is_correct, passages: not is_correct and bool(passages & relevant)
    )


@metric(
    "noise_sensitivity_irrelevant", "generation", needs=("references", "contexts"), better="lower"
)
def noise_sensitivity_irrelevant(case: Case) -> Score:
    """Share of the answer's claims that are wrong and come only from irrelevant passages.

    Lower is better.

    Source: Ru et al., "RAGChecker" (2024).
    """
    if failure := find_judgement_failure(case.reference_by_passage):
        return failure
    relevant = find_relevant_passages(case)
    return _score_claim_share(
        case,
        lambda is_correct, passages: not is_correct and bool(passages) and not passages & relevant,
    )


@metric("context_utilisation", "generation", needs=("references", "contexts"))
def context_utilisation(case: Case) -> Score:
    """Share of the supported claims of the reference that the answer also contains.

    ``claims in a passage and in the answer / claims in a passage``. Not applicable if the passages
    support no claim of the reference. A refusal contains no claim and scores 0.

    Source: Ru et al., "RAGChecker" (2024), context utilization.
    """
    by_passage, by_answer = case.reference_by_passage, case.reference_by_answer
    if failure := find_judgement_failure([*by_passage, *by_answer]):
        return failure
    available = [i for i, judgement in enumerate(by_passage) if case.is_supported(judgement)]
    used = sum(case.is_supported(by_answer[i]) for i in available)
    return Score.ratio(
        used, len(available), if_undefined="the passages support no claim of the reference"
    )


def find_relevant_passages(case: Case) -> set[int]:
    """Return the positions of the passages that support a claim of the reference."""
    return {
        position
        for judgement in case.reference_by_passage
        for position in case.list_supporting_passages(judgement)
    }


def _score_claim_share(case: Case, counts: Callable[[bool, set[int]], bool]) -> Score:
    """Score the share of the answer's claims for which `counts` is true.

    `counts` receives whether the references support the claim, and the positions of the passages
    that do; the positions are {-1} if only several passages together support it.
    """
    claims = case.claims
    by_passage, by_reference = case.answer_by_passage, case.answer_by_reference
    if failure := find_judgement_failure([*by_passage, *by_reference]):
        return failure
    units: list[Unit] = []
    counted = 0
    for claim, passage_judgement, reference_judgement in zip(
        claims, by_passage, by_reference, strict=True
    ):
        positions = set(case.list_supporting_passages(passage_judgement))
        if not positions and case.is_supported(passage_judgement):
            positions = {-1}
        is_counted = counts(case.is_supported(reference_judgement), positions)
        counted += is_counted
        unit = case.support_judge.unit(
            claim.claim, case.contexts, passage_judgement, claim.start, claim.end
        )
        units.append(unit.model_copy(update={"note": "counts" if is_counted else ""}))
    return Score.ratio(counted, len(claims), if_undefined=case.no_claims_reason, units=units)
