"""Are the quotes really where the citations say they are?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rag import Answer, Citation, Document


@dataclass(frozen=True, slots=True)
class QuoteAccuracy:
    """Citations, and those whose quote or place is not what the source says.

    ``wrong_quotes`` and ``wrong_places`` hold the citations themselves, so that they can be
    looked at.
    """

    citations: int
    wrong_quotes: tuple[Citation, ...]
    wrong_places: tuple[Citation, ...]

    @property
    def value(self) -> float | None:
        """Share of citations whose quote is verbatim (0..1); None where there are none."""
        return 1 - len(self.wrong_quotes) / self.citations if self.citations else None


def quote_accuracy(answer: Answer, sources: Iterable[Document]) -> QuoteAccuracy:
    """Compare every citation of `answer` with the text and marks of its source.

    A citation of a uri that is not among `sources` counts as a wrong quote.
    """
    by_uri = {document.uri: document for document in sources}
    wrong_quotes, wrong_places = [], []
    for citation in answer.citations:
        source = by_uri.get(citation.uri)
        if source is None or source.text[citation.start : citation.end] != citation.quote:
            wrong_quotes.append(citation)
        elif source.location_at(citation.start) != citation.location:
            wrong_places.append(citation)
    return QuoteAccuracy(len(answer.citations), tuple(wrong_quotes), tuple(wrong_places))
