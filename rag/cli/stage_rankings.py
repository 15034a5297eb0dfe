"""The rankings and chat calls in the spans of a question, for ``rag inspect``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rag.tracing import Span
from rag.types import Hit


class StageRanking(NamedTuple):
    """Ranking of one stage: the stage's name, and hits with their scores, best first."""

    name: str
    hits: tuple[tuple[Hit, float], ...]


def collect_rankings(spans: Sequence[Span]) -> list[StageRanking]:
    """Return the rankings of a search in the order they were computed.

    A hybrid retrieval yields the rankings of its stages (dense, lexical), limited to the hits that
    it returned, then its own. Each reranker and other postprocessor yields one more.
    """
    rankings: list[StageRanking] = []
    for span in spans:
        if "hits" in span.data:
            hits: tuple[Hit, ...] = span.data["hits"]
            name = span.name.partition(" ")[2]
            if span.operation == "retrieval":
                rankings += [stage for stage in _split_by_stage(hits) if stage.name != name]
            rankings.append(StageRanking(name, tuple((hit, hit.score) for hit in hits)))
        rankings += collect_rankings(span.children)
    return rankings


def _split_by_stage(hits: Sequence[Hit]) -> list[StageRanking]:
    names = dict.fromkeys(name for hit in hits for name in hit.stage_scores)
    return [
        StageRanking(
            name,
            tuple(
                (hit, hit.stage_scores[name].score)
                for hit in sorted(
                    (hit for hit in hits if name in hit.stage_scores),
                    key=lambda h: h.stage_scores[name].rank,
                )
            ),
        )
        for name in names
    ]


def collect_chat_calls(spans: Sequence[Span]) -> list[Span]:
    """Return the spans of all chat model calls in their order, at any depth."""
    chat_calls: list[Span] = []
    for span in spans:
        if span.operation == "chat":
            chat_calls.append(span)
        chat_calls += collect_chat_calls(span.children)
    return chat_calls
