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
mindestens: nicht weniger als|minimal|nicht unter|wenigstens
forbidden: not allowed|not permitted|prohibited|banned|verboten|nicht erlaubt|nicht gestattet|\
may not
excluded: not covered|not cover|not included|not include
km/h: kilometres per hour|kilometers per hour|kilometres an hour|kilometers an hour|kph|kmh
allowed: permitted|not forbidden|not prohibited|erlaubt|gestattet
closed: not open|shut
plan to: plans to|planned to|intends to|intend to|intended to|is planning to|are planning to
scheduled for: planned for|is due in|is due on|set for
company: firm|corporation
employees: workers|staff members|members of staff|staff|personnel
receive: receives|received|obtain|obtains|obtained
Unternehmen: Firma
Mitarbeiter: Angestellten|Angestellte|Beschäftigten|Beschäftigte|Mitarbeitende|Mitarbeitenden
erhalten: bekommen|erhielten|bekamen
erhält: bekommt|erhielt|bekam
abgelehnt: nicht angenommen|nicht genehmigt
angenommen: zustimmt|zustimmte|zustimmten|zustimmen|zugestimmt|annimmt|annahm|annehmen
monatlich: pro Monat|jeden Monat
jährlich: pro Jahr|jedes Jahr
wöchentlich: pro Woche|jede Woche
täglich: pro Tag|jeden Tag
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
need not pay for|not have to pay|not pay when|not pay if
activated: turned on|switched on
deactivated: turned off|switched off
begin: begins|began|begun|start|starts|started|commences|commenced
end: ends|ended|finish|finishes|finished|concludes
buy: buys|bought|purchase|purchases|purchased
"""
_FORMS = {
    wording.lower(): line.partition(": ")[0]
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
_SEPARABLE_VERB = re.compile(
    r"\b(?P<reject>lehn(?:t|te|ten|en))\s(?P<rejected>[^.;,]{1,80}?)\sab\b"
    r"|\b(?:stimm(?:t|te|ten|en))\s(?P<accepted>[^.;,]{1,80}?)\szu\b"
    r"|\b(?:nahm|nahmen|nimmt|nehmen)\s(?P<taken>[^.;,]{1,80}?)\san\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:(?P<past>declined|refused|forgot|neglected|omitted|failed)|declines|refuses|forgets|neglects|omits|"
    r"fails)\sto\b",
    re.IGNORECASE,
)
_EQUATIVE = re.compile(
    r"(?P<first>\b[A-Z][^.;,]{1,60}?)\s(?:(?:does|do|did)\snot\s(?P<verb>[a-z]+)|(?P<be>is|are|was|were)\snot)"
    r"\s(?:as|so)\s(?P<adjective>[a-z]+)\sas\s(?P<second>[^.;,]{1,60})"
)
_COMPARATIVES = {
    "good": "better",
    "well": "better",
    "bad": "worse",
    "far": "further",
}
_MAX_SHORT_ADJECTIVE = 6  # "longer", but "more expensive"
_FAILURE = re.compile(
    r"\b(?:vergaß|vergaßen|versäumte|versäumten|weigerte sich|weigerten sich|unterließ|unterließen)"
    r"(?:\ses)?,?\s(?P<rest>[^.;]{1,100}?)\s?\bzu\s(?P<verb>[^\W\d_]+)",
    re.IGNORECASE,
)
_GERMAN_RATE = re.compile(
    r"\b(?:im (?P<month>Monat)|im (?P<year>Jahr)|in der (?P<week>Woche)|am (?P<day>Tag))"
    r"(?=\s*(?:[.,;)]|$))"
)
_GERMAN_RATES = {"month": "monatlich", "year": "jährlich", "week": "wöchentlich", "day": "täglich"}
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
    text = _REFUSAL.sub(lambda m: "did not" if m["past"] else "does not", text)
    text = _EQUATIVE.sub(_write_comparative, text)
    text = _SEPARABLE_VERB.sub(_write_separable, text)
    text = _FAILURE.sub(r"\g<rest> nicht \g<verb>", text)
    text = _GERMAN_RATE.sub(lambda m: _GERMAN_RATES[m.lastgroup or "year"], text)
    text = _NOTHING_ALLOWED.sub(r"\1is forbidden", text)
    unified = _WORDING.sub(lambda match: _FORMS[match[0].lower()], text)
    return _EXPLETIVE.sub("cannot ", unified)


def _write_separable(match: re.Match[str]) -> str:
    """Return "den Antrag abgelehnt" for "lehnte den Antrag ab"."""
    if match["reject"]:
        return f"{match['rejected']} abgelehnt"
    return f"{match['accepted'] or match['taken']} angenommen"


def _write_comparative(match: re.Match[str]) -> str:
    """Return "B lasts longer than A" for "A does not last as long as B"."""
    adjective = match["adjective"]
    if adjective in _COMPARATIVES:
        comparative = _COMPARATIVES[adjective]
    elif len(adjective) <= _MAX_SHORT_ADJECTIVE:
        comparative = f"{_double_end(adjective)}er"
    else:
        comparative = f"more {adjective}"
    verb = f"{match['verb']}s" if match["verb"] else match["be"]
    return f"{match['second']} {verb} {comparative} than {match['first']}"


def _double_end(adjective: str) -> str:
    """Return what stands before "er": "bigg", "heavi", "larg"."""
    if adjective.endswith("y"):
        return f"{adjective[:-1]}i"
    if re.fullmatch(r"[^aeiou]+[aeiou][bdgmnpt]", adjective):
        return adjective + adjective[-1]
    return adjective.removesuffix("e")
