"""Only: "Only managers may book the room" is more than "Managers may book the room"."""

from __future__ import annotations

import re

from rag.text.function_words import find_stop_words
from rag.text.tokenization import stems, words

_ONLY = (
    r"only|solely|exclusively|nur|ausschließlich|lediglich|seulement|uniquement|solamente|únicamente|"
    r"sólo"
)
_ADDED_ONLY = re.compile(
    rf"^\W*(?:{_ONLY})\s(?!\d)"
    rf"|\b(?:{_ONLY})\s(?:by|for|on|at|in|with|to|if|when|after|before|from|until|am|an|im|in|mit|bei|für|"
    r"von|wenn|nach|durch)\b",
    re.IGNORECASE,
)
_LIMITATION = re.compile(
    rf"\b(?:{_ONLY}|just|merely|alone|allein|bloß|limited|restricted|reserved|except|other|else|"
    r"no|not|nobody|none|never|without|must|unless|nicht|kein\w*|niemand|außer|beschränkt|vorbehalten|ne|"
    r"first|sole|single|einzige\w*)\b|n['’]t\b",
    re.IGNORECASE,
)
_ONLY_SUBJECT = re.compile(
    rf"^\W*(?:{_ONLY})\s(?P<subject>[^.,;]{{1,60}}?)\s(?P<verb>may|can|must|are|is|have|has|will|do|does|"
    r"dürfen|darf|können|kann|müssen|muss|sind|ist|haben|hat)\s(?P<rest>[^.;]+)",
    re.IGNORECASE,
)
_MIN_SHARE = 0.6  # of the words behind the verb that a claim has


def adds_only(claim: str, sentence: str) -> bool:
    """Whether a claim limits to one thing what the sentence says of it without a limit."""
    return _ADDED_ONLY.search(claim) is not None and _LIMITATION.search(sentence) is None


def is_outside_only(claim: str, sentence: str) -> bool:
    """Whether a claim says of others what the sentence says only of its subject.

    "Only licensed drivers may drive the forklift." denies that trainees may.
    """
    limited = _ONLY_SUBJECT.match(sentence)
    if limited is None or _LIMITATION.search(claim):
        return False
    claim_stems = _list_stems(claim)
    subject_stems, rest_stems = _list_stems(limited["subject"]), _list_stems(limited["rest"])
    return (
        bool(rest_stems)
        and len(rest_stems & claim_stems) >= _MIN_SHARE * len(rest_stems)
        and not subject_stems & claim_stems
        and bool(claim_stems - rest_stems)
    )


def _list_stems(text: str) -> set[str]:
    stop_words = find_stop_words(text)
    return set(stems(" ".join(word for word in words(text) if word not in stop_words)))
