"""Plans: what somebody intends, tries or is due to do did not happen yet."""

from __future__ import annotations

import re

from rag.text.function_words import find_function_words
from rag.text.tokenization import STOP_WORDS, stems, words

_INTENTION = re.compile(
    r"\b(?:(?:plan(?:s|ned|ning)?|intend(?:s|ed)?|hope[sd]?|want(?:s|ed)?|try|tries|tried|trying|aim(?:s|ed)?|"
    r"attempt(?:s|ed)?|propose[sd]?|wish(?:es|ed)?|seeks?|sought|due|scheduled|expected|supposed|set|"
    r"about|going)\sto|will|would|shall)\s(?:be\s|have\s)?(?P<verb>[a-z]+)",
    re.IGNORECASE,
)
_GERMAN_INTENTION = re.compile(
    r"\b(?:plant|planen|plante|planten|beabsichtigt|beabsichtigen|will|wollen|wollte|wollten|möchte|möchten|"
    r"soll|sollen|sollte|sollten|versucht|versuchte|versuchten|hofft|hoffen)\b",
    re.IGNORECASE,
)
_SCHEDULE = re.compile(
    r"\b(?:scheduled|planned|foreseen|geplant|vorgesehen|angesetzt|prévue?s?|previst[oa]s?)\b"
    r"|\b(?:set|due)\s(?:for|in|on)\b",
    re.IGNORECASE,
)
_PAST = re.compile(
    r"\b(?:was|were|has|have|had|did|wurde|wurden|hat|haben|hatte|hatten|war|waren|ist\s\w+\sworden|"
    r"fue|fueron|ha|han)\b",
    re.IGNORECASE,
)
_GERMAN_PAST = re.compile(
    r"\b(?:wurde|wurden|hat|haben|hatte|hatten|war|waren)\b|\b\w{2,}(?:te|ten)\b"
)
_HEDGE = re.compile(
    rf"{_INTENTION.pattern.replace('?P<verb>', '?:')}|{_SCHEDULE.pattern}"
    rf"|{_GERMAN_INTENTION.pattern}"
    r"|\b(?:plans?|intention|attempts?|(?-i:may)|might|could|expects?|wants?|pläne?|absicht)\b",
    re.IGNORECASE,
)
_IRREGULAR = {
    "sold": "sell", "bought": "buy", "built": "build", "left": "leave", "met": "meet",
    "paid": "pay", "sent": "send", "made": "make", "began": "begin", "took": "take",
    "gave": "give", "held": "hold", "won": "win", "lost": "lose", "went": "go", "ran": "run",
    "wrote": "write", "chose": "choose", "hired": "hire", "shut": "shut", "cut": "cut",
}  # fmt: skip


def did_not_happen(claim: str, sentence: str) -> bool:
    """Whether a claim says that something happened which is only planned in the sentence."""
    if _HEDGE.search(claim):
        return False
    is_past = _PAST.search(claim) is not None
    claim_words = words(claim)
    past_verbs = {stem for word in claim_words if word.endswith("ed") for stem in stems(word)}
    past_verbs |= {stem for w in claim_words if w in _IRREGULAR for stem in stems(_IRREGULAR[w])}
    for match in _INTENTION.finditer(sentence):
        if match["verb"].lower() in STOP_WORDS:
            continue  # "due to the storm"
        verb_stems = set(stems(match["verb"]))
        if verb_stems & past_verbs or (is_past and verb_stems & set(stems(claim))):
            return True
    if _SCHEDULE.search(sentence) and is_past:
        return not _PAST.search(sentence)
    return (
        find_function_words(claim).has_capitalized_nouns
        and bool(_GERMAN_INTENTION.search(sentence))
        and bool(_GERMAN_PAST.search(claim))
        and (_GERMAN_PAST.search(sentence) is None or " zu " in sentence)
    )
