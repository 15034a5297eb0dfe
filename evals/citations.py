"""Check of an answer's citations against the text of their sources."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rag import Answer, Citation, Document


@dataclass(frozen=True, slots=True)
class QuoteAccuracy:
    """The number of citations checked, and the citations that are wrong.

    ``wrong_quotes`` are citations whose quote differs from the source text; ``wrong_locations`` are
    citations with a correct quote and a wrong source location.
    """

    citations: int
    wrong_quotes: tuple[Citation, ...]
    wrong_locations: tuple[Citation, ...]

    @property
    def value(self) -> float | None:
        """Share of citations whose quote is verbatim (0..1); None without citations."""
        return 1 - len(self.wrong_quotes) / self.citations if self.citations else None


def quote_accuracy(answer: Answer, sources: Iterable[Document]) -> QuoteAccuracy:
    """Compare every citation of `answer` with the text and the source locations of its source.

    A citation of a uri that is not among `sources` counts as a wrong quote.
    """
    by_uri = {document.uri: document for document in sources}
    wrong_quotes, wrong_locations = [], []
    for citation in answer.citations:
        source = by_uri.get(citation.uri)
        if source is None or source.text[citation.start : citation.end] != citation.quote:
            wrong_quotes.append(citation)
        elif source.location_at(citation.start) != citation.location:
            wrong_locations.append(citation)
    return QuoteAccuracy(len(answer.citations), tuple(wrong_quotes), tuple(wrong_locations))
