"""Sentence splitting, shared by chunking, generation and evaluation."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rag.text.line_breaks import find_sentence_lines
from rag.text.word_lists import ORDINAL_DATE, SENTENCE_STARTERS, ends_with_abbreviation


class Span(NamedTuple):
    """The span ``[start, end)`` of a text, in code points."""

    start: int
    end: int


# A sentence ends at a full stop of a script without spaces; or at . ! ? with closing quotation
# marks or brackets and citation markers, before white space; or at a blank line; or before a line
# that begins a list item, heading, table row or quotation of Markdown.
# The possessive quantifiers and the look-behind keep the time linear on repeated characters.
_STOPS = r"""(?P<cjk>(?<![。！？｡])(?:[。！？｡]++|(?<!\d)．(?!\d))[」』”’）)\]]*+
          (?:\s*+\[\d[\d,;\s–-]*+\])*+)
      | (?P<stop>(?<![.!?…।॥؟۔։።။។])[.!?…।॥؟۔։።။។]++["'”’»)\]]*+
          (?:(?:\s*+\[\d[\d,;\s–-]*+\])++|(?=\s|\Z)))"""
_BOUNDARY = re.compile(
    _STOPS
    + r"""
      | (?P<line>\n(?:[ \t\r]*+\n)++
          | (?<=\n)(?=[ \t]*+(?:[-*+•◦▪]|\d{1,3}[.)]|\#{1,6}|>|\|)[ \t\|])
          | \n(?=[ \t]*+[^\W_a-z]))""",
    re.VERBOSE,
)
_BOUNDARY_OF_WRAPPED_TEXT = re.compile(_STOPS + r"| (?P<wrapped_line>\n)", re.VERBOSE)
_GERMAN_ORDINAL = re.compile(
    r"\b(?:am|vom|zum|zur|dem|den|der|die|das|im|des|beim|ab|jede[mnrs]?|ihre[mnrs]?|seine[mnrs]?)\s"
    r"\d{1,2}\Z",
    re.IGNORECASE,
)
_SECTION_SIGN = re.compile(r"\s*§")
_DOTTED = re.compile(r"\w\.\w\Z")  # "28 U.S.C. § 586"
_NEXT_WORD = re.compile(r"\s+([^\W\d_]+)")
_CAPITAL = re.compile(r"\W{0,5}+[^\W_a-zß-öø-ÿ]")
_SMALL_LETTER = re.compile(r"[ \t]{1,3}[a-zß-öø-ÿ]")
_UNIT = re.compile(r"\d\s?(?:[gtmlhsVWAKN]|[kmcd][glmWV])\Z")
_LIST_NUMBER = re.compile(r"\s*+\d{1,3}\.")


def sentences(text: str, *, wrapped: bool = True) -> list[Span]:
    """Return the spans of the sentences of `text`, in order, without surrounding white space.

    Citation markers that follow a full stop belong to the sentence before them. Abbreviations,
    initials and list numbers do not end a sentence. A line break ends one before a paragraph, list
    item, heading or table row, and where the text is not wrapped (`rag.text.line_breaks`). If the
    text is not `wrapped`, every line that begins with a capital or a digit begins a sentence; then
    a boundary depends on no more than the next word.
    """
    spans: list[Span] = []
    start = 0
    sentence_lines = find_sentence_lines(text) if wrapped and "\n" in text else set()
    for boundary in (_BOUNDARY_OF_WRAPPED_TEXT if wrapped else _BOUNDARY).finditer(text):
        end = boundary.end()
        if boundary.lastgroup == "stop" and not _ends_sentence(text, start, boundary):
            continue
        if boundary.lastgroup == "wrapped_line" and end not in sentence_lines:
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


def _is_ordinal(text: str, boundary: re.Match[str]) -> bool:
    """Whether the full stop belongs to a number: "3. Mai", "bis zum 3. Werktag"."""
    if ORDINAL_DATE.match(text, boundary.end()):
        return True
    before = text[max(0, boundary.start() - 20) : boundary.start()]
    following = _NEXT_WORD.match(text, boundary.end())
    return (
        _GERMAN_ORDINAL.search(before) is not None
        and following is not None
        and following[1].lower() not in SENTENCE_STARTERS
    )


def _ends_sentence(text: str, start: int, boundary: re.Match[str]) -> bool:
    if boundary.group("stop") != ".":
        return True
    if _LIST_NUMBER.fullmatch(text, start, boundary.end()):
        return False
    if text[boundary.start() - 1 : boundary.start()].isdigit() and _is_ordinal(text, boundary):
        return False
    if _SECTION_SIGN.match(text, boundary.end()) and _DOTTED.search(
        text[max(start, boundary.start() - 20) : boundary.start()]
    ):
        return False
    if _CAPITAL.match(text, start) and _SMALL_LETTER.match(text, boundary.end()):
        return False  # an abbreviation: "ser. no. 12"
    if _UNIT.search(text[max(start, boundary.start() - 10) : boundary.start()]):
        return True  # "It weighs 5 t. The ramp is wet." has no initial
    return not ends_with_abbreviation(
        text[max(start, boundary.start() - 40) : boundary.end()],
        text[boundary.end() : boundary.end() + 40].lstrip(),
    )
