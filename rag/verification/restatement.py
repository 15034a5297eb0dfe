"""Restatement: claim and passage in one writing, before their words are compared.

Measures, dates, decimal commas, names of columns and "unless" are written in one form, and a
question that is answered by yes or no becomes a statement.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rag.verification.clock_times import unify_clock_times
from rag.verification.equal_dates import number_dates
from rag.verification.equal_measures import restate_measures
from rag.verification.number_normalization import MONTH_NAMES
from rag.verification.references import write_out

_YES_OR_NO = re.compile(
    r"(?P<question>[^?]{3,300})\?\s*(?:(?P<no>no|nein|non)|yes|ja|oui|sí)\b[\s.,!]*", re.IGNORECASE
)
_YES_OR_NO_WITH_SENTENCE = re.compile(
    r"[^?]{3,300}\?\s*(?:no|nein|non|yes|ja|oui|sí)\b[\s.,!]+(?=\w+\s\w)", re.IGNORECASE
)
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+|\d+),(\d\d?)(?![\d,]|\.\d)")
_CURRENCY_IN_FRONT = re.compile(
    r"\b(?P<currency>EUR|USD|GBP|CHF|NOK|SEK|DKK)\s?(?P<amount>\d[\d.,]*\d|\d)(?!\s(?:thousand|million|billion|bn|mn))"
)
_UNIT_IN_LABEL = re.compile(
    r"\s?\((?:in\s)?(?P<unit>€|\$|£|%|°C|EUR|USD|GBP|CHF|euros?|dollars?|km|m|cm|mm|m²|ha|kg|g|t|l|ml|h|min|hours?"
    r"|minutes?|days?|weeks?|months?|years?|Tage|Stunden|Monate|Jahre|[kMG]?W|[kM]Wh|[MGT]B|mAh|V|A|bar|ct)\)"
    r"(?P<value>:\s[-−–]?\d[\d.,]*)(?=\s*(?:[;\n|]|$))"
)
_MONTH_AND_YEAR = re.compile(r"(?<![\d/.,-])(0?[1-9]|1[0-2])/((?:19|20)\d\d)(?![\d/-])")
_UNLESS = re.compile(r"\bunless\b|\b(?:es sei denn,?(?: dass)?|außer wenn)(?!\w)", re.IGNORECASE)
_PERMISSION = re.compile(
    r"(?:(?:may|can)\s(?:(?:the|our|my)\s)?\w+|(?:am|are|is)\s(?:\w+\s){1,3}(?:allowed|permitted)\sto"
    r"|(?:darf|kann)\s(?:ich|man)|(?:dürfen|können)\swir)\s",
    re.IGNORECASE,
)


def restate(claim: str, passage: str) -> tuple[str, str]:
    """Return both texts with equal measures, dates and names of columns in the same writing.

    A question that is answered by yes or no becomes a statement.
    """
    claim, passage = unify_clock_times(_simplify(claim), write_out(_simplify(passage)))
    if answer := _YES_OR_NO.fullmatch(claim):
        question = answer["question"]
        if permission := _PERMISSION.match(question):
            rest = question[permission.end() :]
            claim = f"{rest} is {'forbidden' if answer['no'] else 'allowed'}."
        else:
            claim = f"not {question}." if answer["no"] else f"{question}."
    elif answer := _YES_OR_NO_WITH_SENTENCE.match(claim):
        claim = claim[answer.end() :]
    return number_dates(restate_measures(claim, passage), passage)


@lru_cache(maxsize=4_096)
def _simplify(text: str) -> str:
    """Return a text with numbers such as 1284.50 for 1.284,50, and "if not" for "unless".

    The unit of a label stands behind the value ("Price (EUR): 65"), and 06/2026 is June 2026.
    """
    text = text.replace("_", " ")
    text = _CURRENCY_IN_FRONT.sub(r"\g<amount> \g<currency>", text)
    if "(" in text:
        text = _UNIT_IN_LABEL.sub(r"\g<value> \g<unit>", text)
    if "/" in text:
        text = _MONTH_AND_YEAR.sub(lambda m: f"{MONTH_NAMES[int(m[1]) - 1]} {m[2]}", text)
    if "," in text:
        text = _DECIMAL_COMMA.sub(lambda m: f"{m[1].replace('.', '')}.{m[2]}", text)
    if not any(word in text for word in ("nless", "sei denn", "ßer wenn")):
        return text
    return _UNLESS.sub(lambda m: "if not" if m[0].lower() == "unless" else "wenn nicht", text)
