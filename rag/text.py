"""Words and sentences: the little that several rooms must see the same way."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple


class Span(NamedTuple):
    """A stretch ``[start, end)`` of a text, in code points."""

    start: int
    end: int


# Scripts written without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSEGMENTED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)


def segment(text: str) -> str:
    """Write runs of scripts that do not separate words as overlapping pairs of characters.

    The lexical index and its queries both pass through here, so that 東京都 is found by 東京.
    """
    return text if text.isascii() else _UNSEGMENTED.sub(_pairs, text)


def _pairs(run: re.Match[str]) -> str:
    characters = run.group()
    pairs = [characters[i : i + 2] for i in range(len(characters) - 1)] or [characters]
    return f" {' '.join(pairs)} "


WORD_PATTERN = r"[\p{L}\p{M}\p{N}_]+"
"""A word, for tantivy's regular expressions: combining marks belong to their letter."""


@lru_cache(maxsize=1)
def analyzer() -> Any:
    """Return the `tantivy.TextAnalyzer` of the lexical index: words, lower case, stemmed."""
    import tantivy

    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(WORD_PATTERN))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def stems(text: str) -> list[str]:
    """Words of `text`, lower-cased and stemmed, in order, as the lexical index holds them."""
    words: list[str] = analyzer().analyze(segment(text))
    return words


STOP_WORDS = frozenset(
    """a about above after again against all also am an and any are as at be because been before
    being below between both but by can could did do does doing down during each few for
    from further had has have having he her here hers herself him himself his how i if in
    into is it its itself just me might more most must my myself no nor not now of off on
    once only or other our ours ourselves out over own same shall she should so some such
    than that the their theirs them themselves then there these they this those through to
    too under until up upon us very was we were what when where which while who whom whose
    why will with would you your yours yourself yourselves s t d ll m re ve don doesn didn
    isn aren wasn weren tell know please many much""".split()
)
"""English words that say nothing of what a sentence is about."""


@lru_cache(maxsize=1)
def _stop_stems() -> frozenset[str]:
    return frozenset(stems(" ".join(STOP_WORDS))) | STOP_WORDS


def content_stems(text: str) -> list[str]:
    """`stems` without the stop words; with them, where nothing else is left."""
    all_stems = stems(text)
    stop = _stop_stems()
    return [stem for stem in all_stems if stem not in stop] or all_stems


_ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof sr jr st vs etc eg ie cf al fig figs no nos vol pp p ed eds inc ltd corp co
    llc dept est approx jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri
    sat sun u.s u.k e.g i.e a.m p.m ph.d sec eq ch art para gen col sgt capt lt hon rev""".split()
)

# An end of sentence: a full stop of an unsegmented script; or . ! ? with what closes it and the
# citation markers behind it, then white space; or a blank line; or a line that begins an item,
# heading, row or quotation of Markdown.
# The possessive quantifiers and the look-behind keep it linear on runs of anything.
_BOUNDARY = re.compile(
    r"""(?P<cjk>(?<![。！？｡])[。！？｡]++[」』”’）)\]]*+(?:\s*+\[\d[\d,;\s–-]*+\])*+)
      | (?P<stop>(?<![.!?…।؟])[.!?…।؟]++["'”’»)\]]*+
          (?:(?:\s*+\[\d[\d,;\s–-]*+\])++|(?=\s|\Z)))
      | (?P<line>\n(?:[ \t\r]*+\n)++
          | (?<=\n)(?=[ \t]*+(?:[-*+•◦▪]|\d{1,3}[.)]|\#{1,6}|>|\|)[ \t\|]))
      | (?P<short>\n)(?=[ \t]*+[^\W_a-z])""",
    re.VERBOSE,
)
_FULL_LINE = 0.6  # share of the longest line below which a line stops short
_SHORT_LINE = 50  # characters up to which any line stops short
_LAST_WORD = re.compile(r"([^\W\d_](?:[\w.]*\w)?)\.$")
_NUMBERED = re.compile(r"\s*\d{1,3}\.$")


def sentences(text: str) -> list[Span]:
    """Spans of the sentences of `text`, without the white space around them, in order.

    Citation markers that follow a full stop belong to the sentence before them. Abbreviations,
    initials and list numbers do not end a sentence. Since the lines of a PDF are broken anywhere,
    a line break ends one only where a paragraph, list item, heading or table row begins, or
    behind a line that stops short, before one that begins with a capital.
    """
    spans: list[Span] = []
    start = 0
    full = max(_SHORT_LINE, _FULL_LINE * max(map(len, text.split("\n"))))
    for boundary in _BOUNDARY.finditer(text):
        end = boundary.end()
        if boundary.lastgroup == "stop" and not _ends_sentence(text, start, boundary):
            continue
        if boundary.lastgroup == "short" and end - text.rfind("\n", 0, end - 1) > full:
            continue
        _append_stripped(spans, text, start, end)
        start = end
    _append_stripped(spans, text, start, len(text))
    return spans


def _append_stripped(spans: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    if stripped := piece.strip():
        left = start + len(piece) - len(piece.lstrip())
        spans.append(Span(left, left + len(stripped)))


def _ends_sentence(text: str, start: int, boundary: re.Match[str]) -> bool:
    if boundary.group("stop") != ".":
        return True
    before = text[max(start, boundary.start() - 40) : boundary.end()]
    if boundary.end() - start < 10 and _NUMBERED.fullmatch(text[start : boundary.end()]):
        return False
    if (word := _LAST_WORD.search(before)) is None:
        return True
    after = text[boundary.end() : boundary.end() + 40].lstrip()
    lower = word.group(1).lower()
    if len(lower) == 1 and lower != "i":  # an initial
        return False
    return lower not in _ABBREVIATIONS or (lower in {"etc", "inc", "co"} and after[:1].isupper())
