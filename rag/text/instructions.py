"""Instructions in a question: "Answer in USD millions" is nothing to search for.

The words are English and German.
"""

from __future__ import annotations

import re
from typing import NamedTuple

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
_PLACE = re.compile(
    r"""\b(?:in|within|from|of|on|to|using|with|and)\s(?:the|our|your)\s(
    (?:(?!(?:in|on|of|from|within|the)\b)[\w&'’-]+\s){0,4}?
    (?:statements?|sheets?|reports?|tables?|sections?|chapters?|accounts?|lists?|appendix|annex
    |policy|polic(?:y|ies)|handbook|manual|contract|agreement|minutes|guidelines?|notes?)\b
    (?:\sof\s(?:the\s)?(?!your\b)\w+(?:\sflows?\b|\sposition\b|\sincome\b)?)?
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_PLACE_FIRST = re.compile(
    r"^(?:by|using|considering|based\son|basing|according\sto|in\sagreement\swith|from|with|given"
    r"|looking\sat|relying\son|drawing)\b[^,?.!]{0,120}"
    r"\b(?:information|data|details|figures|numbers|line\sitems)\b[^,?.!]{0,120},\s*",
    re.IGNORECASE,
)
_FORMER_NAME = re.compile(
    r"\s\((?:(?:formerly|previously|then|now|also)\s(?:known\sas|called)|formerly|now)\s"
    r"(?=[A-Z])[^()]{1,60}\)"
)
_AMOUNT_OF = re.compile(
    r"^what\s(?P<verb>is|was|were|are)\sthe\s(?:total\s|exact\s|overall\s)?"
    r"(?:amount|sum|value|figure|size)\sof\b",
    re.IGNORECASE,
)
_MAX_CHARACTERS = 2_000  # of a question that is looked at


class QuestionParts(NamedTuple):
    """A question without instructions, and the parts of documents that they name.

    The instruction "Use the data in the balance sheet." names the balance sheet.
    """

    text: str
    named_parts: tuple[str, ...] = ()

    @property
    def searched_text(self) -> str:
        """The text to search with, the named parts of documents in brackets behind the question."""
        return f"{self.text} ({', '.join(self.named_parts)})" if self.named_parts else self.text

    @property
    def answered_text(self) -> str:
        """The text to answer, without former names: either of two names may be in a source.

        "What is the amount of" is "how much is": no source repeats it.
        """
        return _AMOUNT_OF.sub(r"How much \g<verb>", _FORMER_NAME.sub("", self.text))


def split_instructions(question: str) -> QuestionParts:
    """Divide a question from what it says about the form and the place of its answer.

    Whole sentences are removed, the sentence or clause that introduces the question, and units in
    brackets. A text of instructions only is returned unchanged.
    """
    if len(question) > _MAX_CHARACTERS:
        return QuestionParts(question)
    introduction = _LEAD_IN.match(question)
    removed = [introduction[0]] if introduction else []
    text = question[introduction.end() :] if introduction else question
    parts = [text[span.start : span.end] for span in sentences(text)]
    instructions = [part for part in parts if _INSTRUCTION.match(part)]
    if instructions:
        removed += instructions
        text = " ".join(part for part in parts if part not in instructions)
    clause = _PLACE_FIRST.match(text)
    if clause and _PLACE.search(clause[0]) and not any(map(str.isdigit, clause[0])):
        removed.append(clause[0])
        text = text[clause.end() :]
    text = _UNIT.sub("", text).strip()
    if not text:
        return QuestionParts(question)
    named_parts = dict.fromkeys(name for part in removed for name in _PLACE.findall(part))
    return QuestionParts(text, tuple(named_parts))
