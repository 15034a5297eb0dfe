"""Parts that a claim may add to what a passage says: "because of a leak", "and scans documents"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from rag.text.function_words import find_stop_words
from rag.text.tokenization import words

_PREPOSITIONS = (
    r"because\sof|due\sto|by|in|at|with|for|from|on|under|wegen|durch|von|mit|im|bei|aus|nach|für|am|zum|"
    r"zur|à|chez|par|avec|pour|dans|con|para|desde"
)
_DETERMINERS = (
    r"a|an|the|his|her|its|their|our|your|einem|einer|eines|einen|dem|der|den|des|un|une|le|la|les|"
    r"el|los|las"
)
_ADJUNCT = re.compile(
    rf"\b(?:{_PREPOSITIONS})\s(?:(?:{_DETERMINERS})\s)?(?P<part>[^\W\d_][\w-]*)(?=[\s.,;]|$)",
    re.IGNORECASE,
)
_CONJUNCT = re.compile(r"\s(?:and|und|et|y)\s(?P<part>[^.;,]{3,80})(?=[.;,]|$)", re.IGNORECASE)
_IDIOMS = frozenset(
    """charge case addition total order general fact detail particular person time times least most
    all minimum maximum first last once passage passages source sources document documents text
    context excerpt section table page ausnahme fall allem insgesamt mindestens höchstens quelle
    quellen dokument abschnitt tabelle seite""".split()
)
_MAX_CLAIM_CHARACTERS = 300


@lru_cache(maxsize=2_048)
def list_added_parts(claim: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Return the adjuncts and the last conjuncts of a claim, each with the rest of the claim.

    Both are words without stop words, in lower case.
    """
    return tuple(_iterate_parts(claim)) if len(claim) <= _MAX_CLAIM_CHARACTERS else ()


def _iterate_parts(claim: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    stop_words = find_stop_words(claim) | _IDIOMS
    for pattern in (_ADJUNCT, _CONJUNCT):
        for match in pattern.finditer(claim):
            start, end = match.span("part")
            part = tuple(w for w in words(match["part"]) if w not in stop_words)
            rest_words = words(f"{claim[:start]} {claim[end:]}")
            rest = tuple(word for word in rest_words if word not in stop_words)
            if part and rest and not any(word[0].isdigit() for word in part):
                yield part, rest
