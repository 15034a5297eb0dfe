"""Contrasts: "in the garden, but not in the hall" denies what it says of the hall only."""

from __future__ import annotations

import re
from functools import lru_cache

from rag.text.tokenization import content_stems

_MAX_EXCEPTION_WORDS = 8
_CONTRAST = re.compile(
    r",?\s(?:but not|aber nicht|and not|und nicht|mais pas)\s"
    r"|,\s(?P<except>except(?: for)?|außer|ausgenommen)\s"
    r"|,\s(?P<only>(?:but )?only|but|sondern|nur|mais)\s",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|never|nicht|niemals)\b\s?|n['’]t\b|\b(?P<article>k)(?=eine?[nmrs]?\b)", re.IGNORECASE
)


@lru_cache(maxsize=2_048)
def select_side(claim: str, sentence: str) -> str:
    """Return what a sentence with a contrast says of the side that a claim is about.

    "May be left in the cellar, but not in the hall" is "not may be left in the cellar in the hall"
    for a claim about the hall, and "may be left in the cellar" for others. Behind "only", it is the
    other way round.
    """
    contrast = _CONTRAST.search(sentence)
    if contrast is None:
        return sentence
    before, exception = sentence[: contrast.start()], sentence[contrast.end() :].rstrip(" .")
    is_negated = _NEGATION.search(before) is not None
    exception_stems = set(content_stems(exception))
    if len(exception.split()) > _MAX_EXCEPTION_WORDS or not exception_stems:
        return sentence
    if contrast["only"] and not is_negated:
        return sentence
    if not exception_stems <= set(content_stems(claim)):
        return sentence if contrast["except"] else f"{before}."
    if is_negated:
        return f"{_NEGATION.sub('', before)} {exception}."
    return f"not {before} {exception}."
