"""Which sentences of an answer claim something that a source must support, and what they claim."""

from __future__ import annotations

import re

_HEADING = re.compile(r"\s*(?:#{1,6}\s|(?:[-*_]\s*){3,}$|\|?[\s:|-]+\|?$)")
_LEAD_IN = re.compile(r"[:：][*_]*$")
_QUESTION = re.compile(r"[?？؟][\"'”’»)*_]*$")
_COURTESY = re.compile(
    r"\W*(?:"
    r"(?:i\s+|we\s+)?hope\s+(?:this|that|it)\b[^.!]{0,40}"
    r"|(?:please\s+)?(?:let\s+(?:me|us)\s+know|feel\s+free\s+to\s+(?:ask|reach))\b[^.!]{0,120}"
    r"|if\s+you\s+(?:have|need)\s+(?:any\s+|some\s+)?(?:more|other|further|additional|questions?"
    r"|anything)\b[^.!]{0,120}"
    r"|(?:many\s+)?thank(?:s|\s+you)\b[^.!]{0,60}"
    r"|you(?:['’]re|\s+are)\s+(?:very\s+)?welcome|(?:sure|certainly|of\s+course|absolutely|okay)"
    r"|(?:that(?:['’]s|\s+is)\s+a\s+)?(?:good|great|excellent|interesting)\s+question"
    r"|(?:i(?:['’]m|\s+am)\s+)?(?:happy|glad)\s+to\s+help[^.!]{0,40}"
    r"|(?:this|the)\s+(?:answer|information|summary|response)\s+(?:above\s+)?is\s+based\s+(?:only\s+)?"
    r"on\s+the\s+(?:\w+\s+){0,3}(?:passages?|sources?|documents?|context|text|information)"
    r"(?:\s+(?:above|provided|given|you\s+\w+))?"
    r"|(?:here|below)\s+(?:is|are)\s+(?:the|a|an|my|your|what)\s+(?:\w+\s+){0,3}"
    r"(?:answers?|summary|overview|list|information|i\s+found|details|results?|response)"
    r"(?:\s+to\s+your\s+question)?"
    r"|(?:(?:in\s+)?(?:summary|conclusion|short)|to\s+(?:sum\s+up|summari[sz]e|conclude))"
    r")\W*\Z",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"\W*(?:(?:sorry\W+|unfortunately\W+)?(?:i|we)(?:['’]m|\s+am)?\s+"
    r"(?:do\s*n[o']?t|don’t|cannot|can['’]?t|could\s+not|couldn['’]t|not\s+able\s+to|unable\s+to)\s+"
    r"(?:know|find|answer|determine|help|assist|provide|tell)"
    r"|(?:there\s+is\s+)?no\s+(?:information|answer|mention)\b"
    r"|not\s+(?:found|mentioned|stated|given|specified)\s+in\b"
    r"|(?:the\s+)?(?:provided\s+|given\s+)?(?:passages?|sources?|documents?|context|text)\s+"
    r"(?:do(?:es)?\s*n[o']t|don’t|doesn’t|do(?:es)?\s+not)\s+"
    r"(?:contain|mention|provide|say|hold|include|answer|specify|give))",
    re.IGNORECASE,
)
"""How a sentence begins that says that there is no answer."""
_ADMISSION = re.compile(  # "The passages do not say why, but ...": what follows is the claim
    rf"(?:{REFUSAL.pattern})[^.;\n]{{0,200}}?[,;]\s*(?:but|however|though)\s+", re.IGNORECASE
)
_ANSWER_IS = re.compile(
    r"(?:the\s+)?answer(?:\s+to\s+(?:the|this|that|your)\s+question)?\s+is\s*:?\s+(?:that\s+)?",
    re.IGNORECASE,
)


def claims_nothing(sentence: str) -> bool:
    """Whether it is a heading, a rule, a question, "Here is the list:" or mere courtesy."""
    return bool(
        _HEADING.match(sentence)
        or _LEAD_IN.search(sentence)
        or _QUESTION.search(sentence)
        or _COURTESY.match(sentence)
    )


def admitted(sentence: str) -> str:
    """What a sentence says behind "The passages do not mention it, but" or "The answer is"."""
    for opening in (_ADMISSION, _ANSWER_IS):
        if match := opening.match(sentence):
            return sentence[match.end() :]
    return sentence
