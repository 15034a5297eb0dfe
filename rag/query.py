"""A search query as data."""

from __future__ import annotations

from dataclasses import dataclass

from rag.filters import Filter
from rag.types.base import to_well_formed


@dataclass(frozen=True, slots=True)
class Query:
    """A query: its text, the terms it takes over from an earlier question, its filter and weight.

    ``carried_terms`` are words that a follow-up question needs and does not have: "And how long
    does charging it take?" has ``("battery",)``. ``filter`` selects documents, in addition to the
    filter of the search. ``weight`` is the weight of its hits relative to those of other queries.
    ``is_filter_optional`` says that the filter is a guess: without a hit, the search is made again
    without it. ``notes`` say what a reader should know about the query.
    """

    text: str
    carried_terms: tuple[str, ...] = ()
    filter: Filter | None = None
    weight: float = 1.0
    is_filter_optional: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Replace lone surrogates, which no model and no store can encode."""
        object.__setattr__(self, "text", to_well_formed(self.text))
        object.__setattr__(
            self, "carried_terms", tuple(to_well_formed(term) for term in self.carried_terms)
        )

    @classmethod
    def of(cls, question: str | Query) -> Query:
        """Return a question as a query; a query is returned unchanged."""
        return cls(question) if isinstance(question, str) else question

    def __str__(self) -> str:
        """Return the text to search with, and to show: carried terms follow in brackets."""
        return f"{self.text} ({' '.join(self.carried_terms)})" if self.carried_terms else self.text
