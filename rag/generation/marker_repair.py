"""Marker repair: the fallback when a citation marker is wrong or missing.

A sentence first gets quotes from the passages that its markers name. If these do not support it,
it gets the quote of any other passage that does; such a citation has the method ``attribution``.
Then markers of passages that do not support the sentence are removed, and missing ones are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from rag.generation.markers import append_marker, filter_markers, find_marker_numbers
from rag.generation.passages import Passage
from rag.generation.quotes import Quote, find_best_quote
from rag.verification import Verifier

_SUFFICIENT_SUPPORT_SHARE = 0.95  # a quote is omitted if the others keep this share of the support


def find_supporting_quotes(
    claim: str,
    marked_numbers: Sequence[int],
    passages: Sequence[Passage],
    verifier: Verifier,
    question: str,
) -> tuple[list[Quote], float]:
    """Return the quotes that support the claim, and their support (0..1).

    The marked passages come first. If their support is below the verifier's threshold, the best
    quote of all passages replaces them, provided that it reaches the threshold (or, if no marked
    passage gives partial support, at least partial support).
    """
    marked_quotes = [
        quote
        for number in marked_numbers
        if (quote := find_best_quote(claim, [passages[number - 1]], verifier, question)) is not None
    ]
    quotes = [quote for quote in marked_quotes if quote.support >= verifier.partial]
    support = max((quote.support for quote in quotes), default=0.0)
    if len(marked_quotes) > 1:
        quotes, support = _combine_quotes(claim, marked_quotes, (quotes, support), verifier)
    if support < verifier.threshold:
        fallback = find_best_quote(claim, passages, verifier, question)
        required_support = verifier.threshold if quotes else verifier.partial
        if fallback is not None and fallback.support >= required_support:
            quotes, support = [fallback], fallback.support
    return quotes, min(1.0, support)


def _combine_quotes(
    claim: str,
    quotes: list[Quote],
    separate: tuple[list[Quote], float],
    verifier: Verifier,
) -> tuple[list[Quote], float]:
    """Return the quotes that support the claim together, if that is more than `separate`.

    A quote that adds nothing, or is about another name, is omitted (citation precision: Gao et al.,
    2023).
    """

    def score_together(joined: Sequence[Quote]) -> float:
        premise = "\n".join(quote.passage.premise(quote.span) for quote in joined)
        return float(verifier.scores([(claim, premise)])[0])

    quotes = [quote for quote in quotes if quote.names_agree]
    if len(quotes) < 2:
        return separate
    support = score_together(quotes)
    if support < verifier.partial or separate[1] >= _SUFFICIENT_SUPPORT_SHARE * support:
        return separate
    needed = list(quotes)
    for quote in sorted(quotes, key=lambda quote: quote.support):
        remaining = [kept_quote for kept_quote in needed if kept_quote is not quote]
        if remaining and score_together(remaining) >= _SUFFICIENT_SUPPORT_SHARE * support:
            needed = remaining
    return needed, support


def drop_wrong_markers(sentence: str, supporting: Set[int]) -> tuple[str, list[int]]:
    """Remove marker numbers that are not `supporting`.

    Returns the new sentence and all numbers that its markers had.
    """
    marked_numbers = find_marker_numbers(sentence)
    sentence = filter_markers(
        sentence, lambda numbers: [number for number in numbers if number in supporting]
    )
    return sentence, marked_numbers


def add_missing_markers(sentence: str, missing: Iterable[int]) -> str:
    """Add a marker for each of the `missing` passage numbers."""
    for number in missing:
        sentence = append_marker(sentence, number)
    return sentence
