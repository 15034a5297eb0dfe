"""Was the right thing retrieved, by gold documents and by the reference's claims?"""

from __future__ import annotations

from collections.abc import Callable

from evals import ranking_metrics
from evals.metrics.base import Case, metric, unjudged
from evals.metrics.generation import relevant_passages
from evals.questions import is_gold
from evals.scores import Score


@metric("context_precision", "context", needs=("references", "contexts"))
def context_precision(case: Case) -> Score:
    """Share of the passages that support at least one claim of the reference.

    Source: Ru et al., "RAGChecker" (2024).
    """
    if failed := unjudged(case.reference_by_passage):
        return failed
    return Score.ratio(len(relevant_passages(case)), len(case.contexts), none="no passage")


@metric("context_recall", "context", needs=("references", "contexts"))
def context_recall(case: Case) -> Score:
    """Share of the reference's claims that the passages together support.

    Source: Ru et al., "RAGChecker" (2024), claim recall; Es et al., "RAGAS" (2023).
    """
    judged = case.reference_by_passage
    units = [
        case.backend.unit(claim, case.contexts, each)
        for claim, each in zip(case.reference_claims, judged, strict=True)
    ]
    held = sum(unit.verdict == "supported" for unit in units)
    return Score.ratio(held, len(units), none="the reference claims nothing", units=units)


@metric("passage_precision", "context", needs=("gold", "contexts"))
def passage_precision(case: Case) -> Score:
    """Share of the passages that are of a gold document. Not applicable without uris."""
    uris = [passage.uri for passage in case.sample.contexts]
    if not any(uris):
        return Score.not_applicable("the passages have no uris")
    return Score.ratio(sum(map(_gold_of(case), uris)), len(uris), none="")


@metric("passage_recall", "context", needs=("gold", "contexts"), usual=True)
def passage_recall(case: Case) -> Score:
    """Share of the gold documents that a passage is of. Not applicable without uris."""
    uris = [passage.uri for passage in case.sample.contexts]
    if not any(uris):
        return Score.not_applicable("the passages have no uris")
    found = sum(any(is_gold(uri, gold) for uri in uris) for gold in case.sample.gold)
    return Score.ratio(found, len(case.sample.gold), none="")


def _gold_of(case: Case) -> Callable[[str], bool]:
    return lambda uri: any(is_gold(uri, gold) for gold in case.sample.gold)


def _ranked(case: Case) -> tuple[list[str], dict[str, int]]:
    """The retrieved documents under the names of the gold ones, and these as judgements."""
    judged = dict.fromkeys(case.sample.gold, 1)
    names: list[str] = []
    for uri in case.sample.retrieved or ():
        name = next((gold for gold in case.sample.gold if is_gold(uri, gold)), uri)
        if name not in names:
            names.append(name)
    return names, judged


def _retrieval(
    name: str, about: str, measure: Callable[[list[str], dict[str, int]], float]
) -> None:
    def score(case: Case) -> Score:
        if case.sample.retrieved is None:
            return Score.not_applicable("it is not known what was retrieved")
        return Score.of(measure(*_ranked(case)))

    score.__doc__ = (
        f"{about}\n\nOf the documents retrieved for the answer; see `evals.ranking_metrics`."
    )
    score.__qualname__ = f"retrieval_{name}"
    metric(name, "retrieval", needs=("gold",))(score)


_retrieval(
    "ndcg@10",
    "Normalised discounted cumulative gain of the first ten documents.",
    lambda ranked, judged: ranking_metrics.ndcg(ranked, judged, 10),
)
_retrieval("map", "Mean average precision.", ranking_metrics.average_precision)
_retrieval(
    "mrr@10",
    "Reciprocal rank of the first gold document among the first ten.",
    lambda ranked, judged: ranking_metrics.reciprocal_rank(ranked, judged, 10),
)
_retrieval(
    "recall@10",
    "Share of the gold documents among the first ten.",
    lambda ranked, judged: ranking_metrics.recall(ranked, judged, 10),
)
_retrieval(
    "precision@10",
    "Share of the first ten documents that are gold.",
    lambda ranked, judged: ranking_metrics.precision(ranked, judged, 10),
)
