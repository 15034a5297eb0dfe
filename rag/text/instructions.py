"""Instructions in a question: "Answer in USD millions" is nothing to search for.

The words are English and German.
"""

from __future__ import annotations

import re

from rag.text.sentences import sentences

_INSTRUCTION = re.compile(
    r"""\W*(?:please\s|bitte\s|and\s|then\s)*(?:
    (?:answer|respond|reply)\s(?:me\s|briefly|shortly|in\s|with\s|using\s|only\s|as\s|the\s(?:following\s)?question)
    |(?:give|provide|write|keep|make|format|state|express|present)\s(?:a|an|the|your|me\sa|me\sthe|it|this)?\s?
     (?:short\s|brief\s|detailed\s|final\s|complete\s)*(?:response|answer|reply|result|it\s(?:short|brief)|short\b|brief\b)
    |round\s(?:your|the|it|to)\b
    |(?:base|address|approach|justify|support|explain)\s(?:your|the\squestion)\b
    |calculate\swhat\swas\sasked\b
    |assume\s(?:that\s)?you\sare\b|imagine\s(?:that\s)?you\sare\b|act\sas\b|you\sare\san?\s(?:\w+\s){0,4}(?:analyst|assistant|expert)\b
    |be\s(?:brief|concise|short|precise|specific)\b
    |use\s(?:bullet|at\smost|no\smore|only|full\ssentences|markdown|plain)
    |do\snot\s(?:use|guess|make|invent|add|include)\b|don['’]t\s(?:guess|make|invent)\b
    |if\s.{3,120}?,?\s(?:then\s)?(?:please\s)?
     (?:state\sthat|say\s(?:so|that)|explain\swhy|(?:answer|reply|respond)\swith|write\s["'“])
    |(?:we|i)\s(?:need|want)\sto\scalculate\b|(?:please\s)?help\s(?:us|me)\scompute\b
    |think\sstep\sby\sstep\b|take\sa\sdeep\sbreath\b|cite\s(?:your|the|all)\b|thanks?\b|thank\syou\b
    |antworte\b|antworten\ssie\b|fasse\sdich\b|runde\b|gib\sdie\santwort\b|nenne\sdie\squelle
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_LEAD_IN = re.compile(
    r"^.{0,300}?\b(?:following\squestion|(?:here['’]?s|here\sis|this\sis)\s(?:the|my|our)\squestion|"
    r"folgende\sfrage)[^:?]{0,80}:\s*",
    re.IGNORECASE | re.DOTALL,
)
_UNIT = re.compile(
    r"(?<!\s)\s*+\((?:please\s)?(?:(?:answer\s|expressed\s|stated\s|given\s|rounded\s)?(?:in|to|as)\s)"
    r"(?:an?\s|the\s)?(?:us\s?[d$]|usd|eur|gbp|\$|€|£|%|units?\b|percent|millions?|billions?|thousands?|"
    r"dollars?|euros?|one\b|two\b|decimal|words?\b|tons?\b|tonnes?\b|kg\b|km\b|days?\b|years?\b)"
    r"[^()]{0,80}\)",
    re.IGNORECASE,
)
_MAX_CHARACTERS = 2_000  # of a question that is looked at


def remove_instructions(question: str) -> str:
    """Return a question without what it says about the form of its answer.

    Whole sentences are removed, the sentence that introduces the question, and units in brackets.
    A text of instructions only is returned unchanged.
    """
    if len(question) > _MAX_CHARACTERS:
        return question
    text = _LEAD_IN.sub("", question)
    parts = [text[span.start : span.end] for span in sentences(text)]
    kept_parts = [part for part in parts if not _INSTRUCTION.match(part)]
    if len(kept_parts) < len(parts):
        text = " ".join(kept_parts)
    text = _UNIT.sub("", text).strip()
    return text or question
