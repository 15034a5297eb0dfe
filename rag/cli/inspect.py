"""``rag inspect``: an index and its searches, looked at in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from rag.cli.options import index_option, make_pipeline, namespace_option, pipeline_option
from rag.errors import MissingExtra
from rag.tracing import Span
from rag.types import Hit


@click.command(name="inspect")
@index_option
@namespace_option
@pipeline_option
def inspect_command(index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Look at the index: documents and their chunks, failures, and what a question finds.

    A question is shown with the ranking of every stage side by side, the answer, and exactly what
    the chat model was sent.
    """
    try:
        from rag.cli.inspect_app import InspectApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise MissingExtra.of("inspect", "rag inspect") from None

    with make_pipeline(pipeline, index, namespace) as opened:
        opened.open()
        InspectApp(opened).run()


class Stage(NamedTuple):
    """A ranking: what made it, and its hits with their scores, best first."""

    name: str
    hits: tuple[tuple[Hit, float], ...]


def stages(spans: Sequence[Span]) -> list[Stage]:
    """The rankings of a search, in the order they were made.

    Of each retrieval, those of its halves (dense, lexical) first, as far as their hits came
    through, then its own; then that of each reranker and other postprocessor.
    """
    found: list[Stage] = []
    for span in spans:
        if "hits" in span.data:
            hits: tuple[Hit, ...] = span.data["hits"]
            name = span.name.partition(" ")[2]
            if span.operation == "retrieval":
                found += [half for half in _halves(hits) if half.name != name]
            found.append(Stage(name, tuple((hit, hit.score) for hit in hits)))
        found += stages(span.children)
    return found


def _halves(hits: Sequence[Hit]) -> list[Stage]:
    names = dict.fromkeys(name for hit in hits for name in hit.stage_scores)
    return [
        Stage(
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


def sent(spans: Sequence[Span]) -> list[Span]:
    """The calls of chat models, in their order, whatever stage they are within."""
    found = []
    for span in spans:
        if span.operation == "chat":
            found.append(span)
        found += sent(span.children)
    return found
