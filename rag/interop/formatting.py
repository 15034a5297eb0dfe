"""An answer as a model is told it."""

from __future__ import annotations

from rag.types import Answer


def as_told(answer: Answer) -> str:
    """The text, then each citation with its quote: what an agent reads of an answer."""
    lines = [answer.text]
    if answer.status == "abstained":
        lines.append(f"({answer.reason})")
    for cited in sorted(answer.citations, key=lambda c: (c.marker, c.start)):
        lines.append(f'[{cited.marker}] {cited.title or cited.uri} ({cited.uri}): "{cited.quote}"')
    return "\n".join(lines)
