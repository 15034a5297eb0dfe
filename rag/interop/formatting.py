"""The text form of an answer that agents read."""

from __future__ import annotations

from rag.types import Answer


def format_answer(answer: Answer) -> str:
    """Return the answer's text, followed by a line per citation with its quote.

    If the answer is abstained, the reason and the closest passages follow the text.
    """
    lines = [answer.text]
    if answer.status == "abstained":
        lines.append(f"({answer.reason})")
    for passage in answer.closest:
        source = f"{passage.title or passage.uri} ({passage.uri})"
        lines.append(f'close, but it {passage.reason}: {source}: "{passage.quote}"')
    for citation in sorted(answer.citations, key=lambda c: (c.marker, c.start)):
        source = f"{citation.title or citation.uri} ({citation.uri})"
        lines.append(f'[{citation.marker}] {source}: "{citation.quote}"')
    return "\n".join(lines)
