"""Retrieval metrics of one answer, by gold documents and by the claims of the reference."""

from __future__ import annotations

from collections.abc import Callable

from evals import ranking_metrics
from evals.metrics.base import Case, find_judgement_failure, metric
from evals.metrics.generation import find_relevant_passages
from evals.questions import is_gold
from evals.scores import Score


@metric("context_precision", "context", needs=("references", "contexts"))
def context_precision(case: Case) -> Score:
    """Share of passages that support at least one claim of the reference.

    Source: Ru et al., "RAGChecker" (2024).
    """
    if failure := find_judgement_failure(case.reference_by_passage):
        return failure
    return Score.ratio(
        len(find_relevant_passages(case)), len(case.contexts), if_undefined="no passage"
    )


@metric("context_recall", "context", needs=("references", "contexts"))
def context_recall(case: Case) -> Score:
    """Share of the reference's claims that all passages together support.

    Source: Ru et al., "RAGChecker" (2024), claim recall; Es et al., "RAGAS" (2023).
    """
    units = [
        case.support_judge.unit(claim, case.contexts, judgement)
        for claim, judgement in zip(case.reference_claims, case.reference_by_passage, strict=True)
    ]
    supported = sum(unit.verdict == "supported" for unit in units)
    return Score.ratio(
        supported, len(units), if_undefined="the reference claims nothing", units=units
    )


@metric("passage_precision", "context", needs=("gold", "contexts"))
def passage_precision(case: Case) -> Score:
    """Share of passages from a gold document. Not applicable if the passages have no uris."""
    uris = [passage.uri for passage in case.sample.contexts]
    if not any(uris):
        return Score.not_applicable("the passages have no uris")
    return Score.ratio(sum(map(_make_gold_check(case), uris)), len(uris), if_undefined="")


@metric("passage_recall", "context", needs=("gold", "contexts"), usual=True)
def passage_recall(case: Case) -> Score:
    """Share of gold documents from which a passage was retrieved.

    Not applicable if the passages have no uris.
    """
    uris = [passage.uri for passage in case.sample.contexts]
    if not any(uris):
        return Score.not_applicable("the passages have no uris")
    hits = sum(any(is_gold(uri, gold) for uri in uris) for gold in case.sample.gold)
    return Score.ratio(hits, len(case.sample.gold), if_undefined="")


def _make_gold_check(case: Case) -> Callable[[str], bool]:
    return lambda uri: any(is_gold(uri, gold) for gold in case.sample.gold)


def _rank_retrieved(case: Case) -> tuple[list[str], dict[str, int]]:
    """Return the ranking of retrieved documents, and the gold documents as judgements.

    A retrieved document that is gold has the name of the gold document.
    """
    judgements = dict.fromkeys(case.sample.gold, 1)
    names: list[str] = []
    for uri in case.sample.retrieved or ():
        name = next((gold for gold in case.sample.gold if is_gold(uri, gold)), uri)
        if name not in names:
            names.append(name)
    return names, judgements


def _register_retrieval_metric(
    name: str, summary: str, measure: Callable[[list[str], dict[str, int]], float]
) -> None:
    """Register a ranking metric of the documents that were retrieved for an answer."""

    def score(case: Case) -> Score:
        if case.sample.retrieved is None:
            return Score.not_applicable("the retrieved documents are unknown")
        return Score.of(measure(*_rank_retrieved(case)))

    score.__doc__ = (
        f"{summary}\n\nComputed on the documents retrieved for the answer; see "
        "`evals.ranking_metrics`."
    )
    score.__qualname__ = f"retrieval_{name}"
    metric(name, "retrieval", needs=("gold",))(score)


_register_retrieval_metric(
    "ndcg@10",
    "Normalised discounted cumulative gain (nDCG) of the first ten documents.",
    lambda ranking, judgements: ranking_metrics.ndcg(ranking, judgements, 10),
)
_register_retrieval_metric("map", "Mean average precision.", ranking_metrics.average_precision)
_register_retrieval_metric(
    "mrr@10",
    "Reciprocal rank of the first gold document among the first ten.",
    lambda ranking, judgements: ranking_metrics.reciprocal_rank(ranking, judgements, 10),
)
_register_retrieval_metric(
    "recall@10",
    "Share of all gold documents that are among the first ten retrieved documents.",
    lambda ranking, judgements: ranking_metrics.recall(ranking, judgements, 10),
)
_register_retrieval_metric(
    "precision@10",
    "Share of the first ten retrieved documents that are gold documents.",
    lambda ranking, judgements: ranking_metrics.precision(ranking, judgements, 10),
)
