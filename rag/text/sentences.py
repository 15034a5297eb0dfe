"""Sentence splitting, shared by chunking, generation and evaluation."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple


class Span(NamedTuple):
    """The span ``[start, end)`` of a text, in code points."""

    start: int
    end: int


_ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof sr jr st vs etc eg ie cf al fig figs no nos vol pp p ed eds inc ltd corp co
    llc dept est approx jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri
    sat sun u.s u.k e.g i.e a.m p.m ph.d sec eq ch art para gen col sgt capt lt hon rev""".split()
)

# A sentence ends at a full stop of a script without spaces; or at . ! ? with closing quotation
# marks or brackets and citation markers, before white space; or at a blank line; or before a line
# that begins a list item, heading, table row or quotation of Markdown.
# The possessive quantifiers and the look-behind keep the time linear on repeated characters.
_BOUNDARY = re.compile(
    r"""(?P<cjk>(?<![。！？｡])[。！？｡]++[」』”’）)\]]*+(?:\s*+\[\d[\d,;\s–-]*+\])*+)
      | (?P<stop>(?<![.!?…।؟])[.!?…।؟]++["'”’»)\]]*+
          (?:(?:\s*+\[\d[\d,;\s–-]*+\])++|(?=\s|\Z)))
      | (?P<line>\n(?:[ \t\r]*+\n)++
          | (?<=\n)(?=[ \t]*+(?:[-*+•◦▪]|\d{1,3}[.)]|\#{1,6}|>|\|)[ \t\|]))
      | (?P<short>\n)(?=[ \t]*+[^\W_a-z])""",
    re.VERBOSE,
)
_MIN_FULL_LINE_SHARE = 0.6  # of the longest line; a shorter line may end a sentence
_MAX_SHORT_LINE_CHARACTERS = 50  # a line up to this length may end a sentence
_LAST_WORD = re.compile(r"([^\W\d_](?:[\w.]*\w)?)\.$")
_LIST_NUMBER = re.compile(r"\s*+\d{1,3}\.")


def sentences(text: str, *, wrapped: bool = True) -> list[Span]:
    """Return the spans of the sentences of `text`, in order, without surrounding white space.

    Citation markers that follow a full stop belong to the sentence before them. Abbreviations,
    initials and list numbers do not end a sentence. Since the lines of a PDF can break anywhere, a
    line break ends a sentence only before a paragraph, list item, heading or table row, or between
    a short line and one that begins with a capital. If the text is not `wrapped`, every line counts
    as short; then a boundary depends on no more than the next word.
    """
    spans: list[Span] = []
    start = 0
    full_line_length = (
        max(_MAX_SHORT_LINE_CHARACTERS, _MIN_FULL_LINE_SHARE * max(map(len, text.split("\n"))))
        if wrapped
        else math.inf
    )
    for boundary in _BOUNDARY.finditer(text):
        end = boundary.end()
        if boundary.lastgroup == "stop" and not _ends_sentence(text, start, boundary):
            continue
        if boundary.lastgroup == "short" and end - text.rfind("\n", 0, end - 1) > full_line_length:
            continue
        _append_stripped(spans, text, start, end)
        start = end
    _append_stripped(spans, text, start, len(text))
    return spans


@lru_cache(maxsize=2_048)
def sentence_spans(text: str) -> tuple[Span, ...]:
    """Return `sentences` of a text, from a cache."""
    return tuple(sentences(text))


def _append_stripped(spans: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    if stripped := piece.strip():
        stripped_start = start + len(piece) - len(piece.lstrip())
        spans.append(Span(stripped_start, stripped_start + len(stripped)))


def _ends_sentence(text: str, start: int, boundary: re.Match[str]) -> bool:
    if boundary.group("stop") != ".":
        return True
    text_before = text[max(start, boundary.start() - 40) : boundary.end()]
    if _LIST_NUMBER.fullmatch(text, start, boundary.end()):
        return False
    if (word := _LAST_WORD.search(text_before)) is None:
        return True
    text_after = text[boundary.end() : boundary.end() + 40].lstrip()
    lowercase_word = word.group(1).lower()
    if len(lowercase_word) == 1 and lowercase_word != "i":  # an initial
        return False
    return lowercase_word not in _ABBREVIATIONS or (
        lowercase_word in {"etc", "inc", "co"} and text_after[:1].isupper()
    )
