"""Sentences, as several rooms must see them the same way; for words see `rag.text.tokenization`."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple


class Span(NamedTuple):
    """A stretch ``[start, end)`` of a text, in code points."""

    start: int
    end: int


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
_NUMBERED = re.compile(r"\s*+\d{1,3}\.")


def sentences(text: str, *, wrapped: bool = True) -> list[Span]:
    """Spans of the sentences of `text`, without the white space around them, in order.

    Citation markers that follow a full stop belong to the sentence before them. Abbreviations,
    initials and list numbers do not end a sentence. Since the lines of a PDF are broken anywhere,
    a line break ends one only where a paragraph, list item, heading or table row begins, or
    behind a line that stops short, before one that begins with a capital. Where text is not
    `wrapped`, every line stops short; then nothing hangs on what is more than a word further on.
    """
    spans: list[Span] = []
    start = 0
    full = max(_SHORT_LINE, _FULL_LINE * max(map(len, text.split("\n")))) if wrapped else math.inf
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


@lru_cache(maxsize=2_048)
def sentence_spans(text: str) -> tuple[Span, ...]:
    """`sentences` of a text that is looked at more than once."""
    return tuple(sentences(text))


def _append_stripped(spans: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    if stripped := piece.strip():
        left = start + len(piece) - len(piece.lstrip())
        spans.append(Span(left, left + len(stripped)))


def _ends_sentence(text: str, start: int, boundary: re.Match[str]) -> bool:
    if boundary.group("stop") != ".":
        return True
    before = text[max(start, boundary.start() - 40) : boundary.end()]
    if _NUMBERED.fullmatch(text, start, boundary.end()):
        return False
    if (word := _LAST_WORD.search(before)) is None:
        return True
    after = text[boundary.end() : boundary.end() + 40].lstrip()
    lower = word.group(1).lower()
    if len(lower) == 1 and lower != "i":  # an initial
        return False
    return lower not in _ABBREVIATIONS or (lower in {"etc", "inc", "co"} and after[:1].isupper())
