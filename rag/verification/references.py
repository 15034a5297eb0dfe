"""What a passage leaves out: "the former", "the blue one", the verb of "Ms Cole exports".

It is written out, before a claim is compared with the passage.
"""

from __future__ import annotations

import re
from functools import lru_cache

_DETERMINER = r"(?:the|a|an|our|its|their|each|every)"
_NOUN_PHRASE = re.compile(
    rf"\b{_DETERMINER}\s[\w-]+\s(?!(?:is|are|was|were|has|have|had)\b)(?P<noun>[\w-]+)(?!\s{_DETERMINER}\b)\b",
    re.IGNORECASE,
)
_ONE = re.compile(r"\b(?P<start>(?:the|a|an)\s(?!other\b)[\w-]+)\sones?\b(?!\s(?:of|another)\b)")
_TWO_THINGS = re.compile(
    rf"\b(?:(?:{_DETERMINER}|ein|eine|einen|der|die|das|den)\s)?(?P<first>[\w-]+(?:\s[\w-]+)?)\s"
    rf"(?:and|und)\s(?:(?:{_DETERMINER}|ein|eine|einen|der|die|das|den)\s)?"
    r"(?P<second>[\w-]+(?:\s[\w-]+)?)[.;]\s*$",
    re.IGNORECASE,
)
_PREPOSITION = re.compile(r"^.*\b(?:in|at|of|from|to|with|for|by|von|mit|aus|an)\s", re.IGNORECASE)
_VERB = (
    r"(?:is|are|was|were|has|have|had|must|may|can|will|wird|werden|ist|sind|hat|haben|muss|"
    r"[a-z]{2,20}[st])"
)
_FORMER = re.compile(
    rf"\b(?:the\sformer|erstere[rs]?)\s(?P<verb>{_VERB})(?=\s)(?P<rest>[^.;]{{0,100}}?)"
    r"[,;]?\s(?:and\s|while\s|und\s|während\s)?(?:the\slatter|letztere[rs]?)\s(?P<last>[^.;]{1,200})",
    re.IGNORECASE,
)
_PERSON = r"(?:Mr|Ms|Mrs|Miss|Dr|Herr|Frau|Mme|M)\.?\s[A-ZÄÖÜ][\w-]+"
_PEOPLE = re.compile(  # "Mr Shaw handles imports, Ms Cole exports."
    rf"(?P<first>{_PERSON})\s(?P<verb>[a-zäöü]+)\s(?P<object>[^,.;\d]{{1,60}}),?\s(?:and\s|und\s)?"
    rf"(?P<second>{_PERSON})\s(?P<rest>[\wäöü-]+(?:\s[\wäöü-]+)?)(?=\.)"
)
_LEAD_IN = re.compile(
    r"(?<=\w\x20)(?P<verb>not|to|may|must|can|cannot|should|nicht|dürfen|müssen|können|zu):\s*(?:[-*•]\s+)?(?=\S)",
    re.IGNORECASE,
)


@lru_cache(maxsize=2_048)
def write_out(passage: str) -> str:
    """Return a passage with nouns for "the former", "the latter" and "the blue one".

    The lead-in of an item, "Visitors must not: take pictures", becomes a part of its sentence.
    """
    if ":" in passage:
        passage = _LEAD_IN.sub(r"\g<verb> ", passage)
    if " one" in passage:
        passage = _ONE.sub(lambda match: _name_noun(match, passage), passage)
    if "former" in passage.lower() or "erstere" in passage.lower():
        passage = _FORMER.sub(lambda match: _name_things(match, passage), passage)
    return _PEOPLE.sub(r"\g<first> \g<verb> \g<object>; \g<second> \g<verb> \g<rest>", passage)


def _name_noun(match: re.Match[str], passage: str) -> str:
    """Return "the blue model" for "the blue one" behind "the red model costs 90 euros"."""
    sentence_start = max(passage.rfind(sign, 0, match.start()) for sign in ".!?\n") + 1
    first = _NOUN_PHRASE.search(passage, sentence_start, match.start())
    return f"{match['start']} {first['noun']}" if first else match.group()


def _name_things(match: re.Match[str], passage: str) -> str:
    """Return "the bus is red; the trailer is blue" for "the former is red, the latter blue"."""
    sentence_start = max(passage.rfind(sign, 0, match.start()) for sign in ".!?;\n")
    things = _TWO_THINGS.search(passage[: sentence_start + 1])
    if things is None:
        return match.group()
    first, second = (_PREPOSITION.sub("", things[name]) for name in ("first", "second"))
    verb, last = match["verb"], match["last"]
    has_verb = re.match(rf"{_VERB}\s", last) is not None
    article = "the " if match.group().lower().startswith("the") else ""
    if not has_verb:
        last = f"{verb} {last}"
    return f"{article.capitalize()}{first} {verb}{match['rest']}; {article}{second} {last}"
