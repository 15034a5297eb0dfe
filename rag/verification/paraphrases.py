"""Paraphrases: wordings that mean the same, in one form, before a claim is compared.

"No more than 10" is "at most 10", "not allowed" is "forbidden": without this, a claim in other
words seems to deny what it repeats.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TABLE = """\
at most: no more than|not more than|not over|not above|not be more than|not be over|not be above|\
not exceed|not exceeding|maximum of|a maximum of|up to a maximum of
at least: no less than|not less than|no fewer than|not fewer than|not below|not under|\
not be less than|not be below|not be under|minimum of|a minimum of
CHF: swiss francs|swiss franc|schweizer franken|sfr
höchstens: nicht mehr als|maximal|nicht über
mindestens: nicht weniger als|minimal|nicht unter
forbidden: not allowed|not permitted|prohibited|banned|verboten|nicht erlaubt|nicht gestattet|\
may not
excluded: not covered|not cover|not included|not include
km/h: kilometres per hour|kilometers per hour|kilometres an hour|kilometers an hour|kph|kmh
allowed: permitted|not forbidden|not prohibited|erlaubt|gestattet
closed: not open|shut
must: has to|have to|had to|is required to|are required to|is obliged to|are obliged to
cannot: can not|can't|is not possible to|is impossible to|is unable to|are unable to
available: in stock
unavailable: out of stock|not in stock|not available|sold out
broken: out of order|out of service|defective
yearly: annual|annually|per year|every year|each year|per annum
monthly: per month|every month|each month
weekly: per week|every week|each week
daily: per day|every day|each day
rise: rises|rose|risen|rising|increase|increases|increased|increasing|grow|grows|grew|grown|went up
fall: falls|fell|fallen|falling|decrease|decreases|decreased|decline|declines|declined|went down
free: free of charge|at no cost|at no charge|costs nothing|not pay for|not have to pay for|\
need not pay for|not pay|not have to pay
activated: turned on|switched on
deactivated: turned off|switched off
begin: begins|began|begun|start|starts|started|commences|commenced
end: ends|ended|finish|finishes|finished|concludes
buy: buys|bought|purchase|purchases|purchased
"""
_FORMS = {
    wording: line.partition(": ")[0]
    for line in _TABLE.splitlines()
    for wording in line.partition(": ")[2].split("|")
}
_WORDING = re.compile(
    rf"(?<![\w-])(?:{'|'.join(sorted(map(re.escape, _FORMS), key=len, reverse=True))})(?![\w-])",
    re.IGNORECASE,
)
_NOTHING_ALLOWED = re.compile(
    r"\bno ((?:[\w-]+ ){1,3}?)(?:(?:is|are) )?(?:allowed|permitted)\b", re.IGNORECASE
)
_CONTRACTION = re.compile(r"\b(\w{1,10})n't\b", re.IGNORECASE)
_CONTRACTIONS = {"can't": "cannot", "won't": "will not", "shan't": "shall not"}
_EXPLETIVE = re.compile(r"\bit cannot ", re.IGNORECASE)


@lru_cache(maxsize=8_192)
def unify_wordings(text: str) -> str:
    """Return a text with one wording for each meaning that the table of this module has."""
    if "n't" in text or "n’t" in text:
        text = _CONTRACTION.sub(
            lambda match: _CONTRACTIONS.get(match[0].lower(), f"{match[1]} not"),
            text.replace("’", "'"),
        )
    text = _NOTHING_ALLOWED.sub(r"\1is forbidden", text)
    unified = _WORDING.sub(lambda match: _FORMS[match[0].lower()], text)
    return _EXPLETIVE.sub("cannot ", unified)
