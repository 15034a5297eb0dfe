"""Kinds of questions that one sentence cannot answer: lists, comparisons, calculations, summaries.

The words are English, German, French and Spanish. Every other question asks for a fact.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_MAX_CHARACTERS = 300  # of a question that is looked at
QuestionKind = Literal["fact", "list", "comparison", "calculation", "summary", "files"]

_FILES = re.compile(
    r"^\W*(?:in\s)?(?:(?:which|what)\s(?:of\s(?:the|our|my)\s)?(?:files?|documents?|mails?|pages?)|"
    r"welchen?\s(?:dateien?|dokumenten?)|quels\s(?:fichiers|documents)|qué\s(?:archivos|documentos))"
    r"(?:\s(?:do|does|can\si\sfind|is|are|wird|werden|est|se))?"
    r"(?:\s(?P<verb>mentions?|contains?|names?|refers?\sto|deals?\swith|talks?\sabout|about|"
    r"erwähn\w+|nenn\w+|enthalten|enthält|mentionnent|parlent\sd[eu]|mencionan|hablan\sde))?"
    r"\s(?P<topic>.+?)(?P<end>\s(?:mentioned|named|described|discussed|erwähnt|genannt))?\W*$",
    re.IGNORECASE,
)
_SUMMARY = re.compile(
    r"^\W*(?:(?:can\syou\s|could\syou\s|please\s)*(?:summari[sz]e|sum\sup|outline)\s|"
    r"(?:can\syou\s)?(?:give|show|write)\s(?:me\s|us\s)?(?:a|an)\s(?:short\s|brief\s)?"
    r"(?:summary|overview|outline)\s(?:of|on|about)\s|"
    r"(?:summary|overview|outline)\s(?:of|on)\s|"
    r"what\s(?:is|are|was|were)\s(?:the\s)?(?:(?:key|main|central|most\simportant)\s"
    r"(?:points|messages?|takeaways?|contents?|topics?|findings|agenda)|gist|essence)\s(?:of|in|from)\s|"
    r"was\s(?:sind|waren)\sdie\s(?:wichtigsten|zentralen)\s(?:punkte|aussagen|themen|inhalte)\s"
    r"(?:von|des|der|im|in)\s|what\s(?:is|are)\s(?=.{2,80}\sabout\W*$)|what\sdoes\s(?=.{2,80}\s(?:cover|deal\swith)\W*$)|"
    r"(?:fasse?|gib)\s(?=.*(?:zusammen|überblick))|worum\sgeht\ses\s(?:in|im|bei)\s|"
    r"zusammenfassung\s(?:von|des|der)\s|résume[zr]?\s|resume\s|resumen\sde\s|de\squoi\sparle\s)"
    r"(?P<topic>.+?)(?:\sabout|\scover|\sdeal\swith|\szusammen)?\W*$",
    re.IGNORECASE,
)
_LIST = re.compile(
    r"^\W*(?:(?:please\s)?(?:list|name|enumerate|show(?:\sme)?)\s(?:me\s)?"
    r"(?:all\s(?:of\s)?|every\s|each\s|the\s|our\s)*|"
    r"which\s(?=[\w-]+[^suiSUI\W]s\s)|"
    r"which\s(?=(?:[\w-]+\s){1,2}[\w-]+[^suiSUI\W]s\s(?:are|do|did|were|have|can|should|must)\s)|"
    r"what\sare\s(?:all\s)?(?:the\s|our\s|my\s)?|"
    r"what\s(?=(?:[\w-]+\s)?[\w-]+[^suiSUI\W]s\s(?:are|do|did|were|have|can|should|must|need|may)\s)|"
    r"who\sare\s(?:all\s)?(?:the\s|our\s)?|"
    r"(?:nenne|liste)\s(?:mir\s)?(?:alle\s|die\s)*|welche\s(?=[\w-]+(?:en|er|n|s|e)\b)|"
    r"quels\s|quelles\s|liste[rz]?\s(?:tous\s|toutes\s)?(?:les\s)?|qué\s(?=[\w-]+s\b)|"
    r"cuáles\sson\s(?:los\s|las\s))"
    r"(?P<topic>.+?)\W*$",
    re.IGNORECASE,
)
_NOT_A_LIST = re.compile(
    r"^\W*(?:which|what)\s(?:\w+\s)?(?:was|is|has|does|days?\sis)\b", re.IGNORECASE
)
_SIDES = (
    r"(?P<a>.{1,60}?)\s(?:and|with|to|und|mit|et|avec|y|con|versus|vs\.?|or|oder)\s(?P<b>.{1,60}?)"
)
_COMPARISONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^\W*(?:please\s)?(?:compare|vergleiche?|comparez?|compara)\s(?P<topic>(?:the\s)?[\w\s-]{{1,40}}?"
        rf"\s(?:of|for|in|von|de)\s)?(?:the\s|die\s|den\s|das\s)?{_SIDES}\W*$",
        rf"^.*?\b(?:differences?|unterschied)\b(?P<topic>\s(?:in|of)\s.{{1,40}}?)?\s"
        rf"(?:between|zwischen)\s(?:the\s|der\s|dem\s|den\s)?{_SIDES}\W*$",
        r"^(?P<topic>.{0,60}?)\b(?P<a>[^\W\d_]?[\w-]+(?:\s[\w-]+)?)\s(?:versus|vs\.?)\s(?P<b>[\w\s-]{1,60}?)\W*$",
        r"^\W*which\s(?:one\s)?(?:is|has|costs|weighs|lasts|takes)\s(?P<topic>.{1,40}?)\W\s?"
        r"(?:the\s)?(?P<a>[\w\s.-]{1,60}?)\sor\s(?:the\s)?(?P<b>[\w\s.-]{1,60}?)\W*$",
        r"^\W*(?:is|are|does|do)\s(?:the\s)?(?P<a>[\w\s.-]{1,60}?)\s(?P<topic>[\w\s-]{3,40}?)\sthan\s"
        r"(?:the\s)?(?P<b>[\w\s.-]{1,60}?)\W*$",
        r"^\W*how\s(?:do|does)\s(?:the\s)?(?P<a>[\w\s.-]{1,60}?)\s(?:and|compare\s(?:to|with))\s(?:the\s)?"
        r"(?P<b>[\w\s.-]{1,60}?)(?:\sdiffer)?(?P<topic>\s(?:in|on)\s.{1,40})?\W*$",
    )
)
_ATTRIBUTE = re.compile(
    r"(?P<topic>[\w\s-]{1,40}?)\s(?:of|for|in|von|de|für)\s(?P<name>.+)", re.IGNORECASE
)
_ARTICLE = re.compile(r"^(?:the|a|an|der|die|das|dem|den|le|la|les|el|los|las)\s", re.IGNORECASE)


_DEFINITIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:is|are)\s(?:defined|calculated|computed)\s(?:as|by\sdividing)\b:?\s*(?P<formula>.+)",
        r"\b(?:define|calculate|compute)\s.{2,80}?\s(?:as|using|from|by\sdividing)\b:?\s*(?P<formula>.+)",
        r"\b(?:ist|sind)\s(?:definiert|berechnet)\sals\b:?\s*(?P<formula>.+)",
        r"\bberechnet\ssich\s(?:als|aus)\b:?\s*(?P<formula>.+)",
    )
)
_OPERATOR = re.compile(
    r"[*/+×÷=();:,]|\s[-–−]\s|\b(?:divided\sby|multiplied\sby|dividing|times|plus|minus|less|over|by|and|"
    r"geteilt\sdurch|mal|und|durch|abzüglich|zuzüglich)\b",
    re.IGNORECASE,
)
_NOT_OF_QUANTITY = re.compile(
    r"\b(?:between|from|for|in|of\sthe|at\sthe|zwischen|aus|im)\s.*$|\b(?:the|(?-i:an?)|its|their|average|mean|"
    r"change\sin|unadjusted|(?:FY\s?)?(?:19|20)\d\d|der|die|das|durchschnittlichen?)\b",
    re.IGNORECASE,
)
_MIN_QUANTITIES, _MAX_QUANTITIES = 2, 6


class AskedFor(NamedTuple):
    """What a question asks for: its kind, what it is about, and the sides or quantities it names.

    The sides are those of a comparison, or the quantities of a calculation.
    """

    kind: QuestionKind
    topic: str = ""
    sides: tuple[str, ...] = ()


def find_question_kind(question: str) -> AskedFor:
    """Return what a question asks for."""
    if len(question) > _MAX_CHARACTERS:
        return AskedFor("fact", question)
    if (match := _FILES.match(question)) and (match["verb"] or match["end"]):
        return AskedFor("files", match["topic"])
    if quantities := _find_quantities(question):
        return AskedFor("calculation", question, quantities)
    for pattern in _COMPARISONS:
        if match := pattern.match(question):
            topic, first = (match["topic"] or "").strip(), match["a"].strip()
            while (attribute := _ATTRIBUTE.match(first)) and not _ATTRIBUTE.match(match["b"]):
                topic, first = f"{topic} {attribute['topic']}".strip(), attribute["name"]
            sides = tuple(_ARTICLE.sub("", side.strip()) for side in (first, match["b"]))
            return AskedFor("comparison", topic, sides)
    if match := _SUMMARY.match(question):
        return AskedFor("summary", match["topic"])
    if (match := _LIST.match(question)) and not _NOT_A_LIST.match(question):
        return AskedFor("list", match["topic"])
    return AskedFor("fact", question)


def _find_quantities(question: str) -> tuple[str, ...]:
    """Return the quantities in the definition of what is asked for; () if there are less than two.

    "A is defined as total current assets divided by total current liabilities."
    """
    match = next(filter(None, (p.search(question) for p in _DEFINITIONS)), None)
    if match is None:
        return ()
    formula = re.split(r"[.?!](?:\s|$)", match["formula"])[0]
    parts = (_NOT_OF_QUANTITY.sub(" ", part) for part in _OPERATOR.split(formula))
    names = dict.fromkeys(" ".join(part.split()) for part in parts)
    quantities = tuple(name for name in names if any(map(str.isalpha, name)))
    return quantities if _MIN_QUANTITIES <= len(quantities) <= _MAX_QUANTITIES else ()
