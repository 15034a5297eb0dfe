"""Characters of a PDF that cannot be read: fonts without a Unicode map; and ligatures."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, NamedTuple

from connectors.parsers.pdf_layout import Line

UNREADABLE = "\ufffd"
MAX_UNREADABLE_SHARE = 0.2  # of the characters of a page; above it, its text is not used
_SAMPLED_CHARACTER = 80  # every 80th character of a page is checked, and the first of each line
_MIN_JUDGED_LETTERS = 8  # fewer letters do not show whether they are words
_MIN_COMMON_SHARE = 0.55  # of the letters of a text in Latin script
_MIN_SYMBOLS = 10  # different ones, in a text of symbols only
_MIN_JUDGED_CHARACTERS = 100
_COMMON_LETTERS = frozenset("etaoinsrlhETAOINSRLH")
_LINE_END = re.compile(r"\n")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
_GLYPH_NUMBER = re.compile(r"\(cid:\d{1,6}\)")
_PRIVATE_USE = re.compile(r"[\ue000-\uf8ff]")
_RARE = re.compile("[\ufb00-\ufb06\u2060]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_SPACE = re.compile(r"\s+")
# Bullets of the fonts Symbol and Wingdings, which have their own places for them.
_SYMBOLS = str.maketrans({0xF0B7: "•", 0xF0A7: "▪", 0xF0A8: "▪", 0xF0D8: "‣", 0xF06F: "◦"})
_LIGATURES = str.maketrans(
    {
        0xFB00: "ff",
        0xFB01: "fi",
        0xFB02: "fl",
        0xFB03: "ffi",
        0xFB04: "ffl",
        0xFB05: "st",
        0xFB06: "st",
        0x2060: "",
    }
)


class ReadableText(NamedTuple):
    """The text of a page with U+FFFD for each character that cannot be read."""

    text: str
    unreadable: str  # the characters that are replaced
    share: float  # of the characters that are not white space


def replace_unreadable(text: str, textpage: Any) -> ReadableText:
    """Return the text of a page, of the same length, with its unreadable characters replaced."""
    if _PRIVATE_USE.search(text):
        text = text.translate(_SYMBOLS)
    readable = _CONTROL.sub(UNREADABLE, text)
    if "(cid:" in text:
        readable = _GLYPH_NUMBER.sub(lambda match: UNREADABLE * len(match[0]), readable)
    if not text.isascii():
        readable = _replace_unassigned(readable)
    if len(text) == textpage.count_chars():
        readable = _replace_unmapped(readable, textpage)
    if _has_only_symbols(readable):
        readable = re.sub(r"\S", UNREADABLE, readable)
    count = readable.count(UNREADABLE)
    if not count:
        return ReadableText(readable, "", 0.0)
    characters = len(_SPACE.sub("", readable))
    replaced = "".join(
        old if new == UNREADABLE else " " for old, new in zip(text, readable, strict=True)
    )
    return ReadableText(readable, " ".join(replaced.split()), count / characters)


def align_with_boxes(text: str) -> str:
    """Return the text of a page with as many characters as it has UTF-16 code units.

    PDFium counts these. A word joiner follows each character of two code units; it is removed by
    `clean_characters`.
    """
    return text if text.isascii() else _ASTRAL.sub("\\g<0>\u2060", text)


def _replace_unassigned(text: str) -> str:
    """Replace characters without a meaning in Unicode, and private ones where they prevail."""
    unassigned = {c for c in set(text) if unicodedata.category(c) == "Cn" and c != "\ufffe"}
    for character in unassigned:
        text = text.replace(character, UNREADABLE)
    private_count = len(_PRIVATE_USE.findall(text))
    if private_count and private_count > MAX_UNREADABLE_SHARE * len(_SPACE.sub("", text)):
        text = _PRIVATE_USE.sub(UNREADABLE, text)
    return text


def _replace_unmapped(text: str, textpage: Any) -> str:
    """Replace characters that their font does not map to Unicode, unless they read as words."""
    import pypdfium2.raw as pdfium

    has_error, raw = pdfium.FPDFText_HasUnicodeMapError, textpage.raw
    line_starts = [match.end() for match in _LINE_END.finditer(text, 0, len(text) - 1)]
    samples = (0, *line_starts, *range(_SAMPLED_CHARACTER, len(text), _SAMPLED_CHARACTER))
    if not any(has_error(raw, i) == 1 for i in samples):
        return text
    unmapped = [not c.isspace() and has_error(raw, i) == 1 for i, c in enumerate(text)]
    if _reads_as_words("".join(c for c, error in zip(text, unmapped, strict=True) if error)):
        return text
    return "".join(
        UNREADABLE if error and c != "\ufffe" else c
        for c, error in zip(text, unmapped, strict=True)
    )


def _reads_as_words(text: str) -> bool:
    """Whether characters that were mapped by guess are letters and digits of a language."""
    if UNREADABLE in text:
        return False
    letters = [c for c in text if c.isalpha()]
    if len(letters) < _MIN_JUDGED_LETTERS:
        return text.isascii()
    common = sum(c in _COMMON_LETTERS for c in letters)
    return text.isascii() and common >= _MIN_COMMON_SHARE * len(letters)


def _has_only_symbols(text: str) -> bool:
    """Whether a page has symbols in place of letters: a font with an order of its own."""
    sample = text[:_MIN_JUDGED_CHARACTERS]
    if 2 * sum(map(str.isalnum, sample)) > len(sample):
        return False
    characters = _SPACE.sub("", text)
    if len(characters) < _MIN_JUDGED_CHARACTERS:
        return False
    words = sum(c.isalnum() for c in characters)
    symbols = {c for c in characters if c.isascii() and not c.isalnum()}
    return words < 0.4 * len(characters) and len(symbols) >= _MIN_SYMBOLS


def drop_unreadable_lines(lines: list[Line]) -> list[Line]:
    """Return the lines without those of which most characters cannot be read."""
    return [
        line
        for line in lines
        if 2 * line.text.count(UNREADABLE) <= len(_SPACE.sub("", line.text))
        or UNREADABLE not in line.text
    ]


def clean_characters(text: str) -> str:
    """Return a text with letters for ligatures, and without runs of unreadable characters."""
    if text.isascii():
        return text
    if _RARE.search(text):
        text = text.translate(_LIGATURES)
    if UNREADABLE in text:
        text = _UNREADABLE_TOKEN.sub("", text).strip()
    return text


# A character that cannot be read within a word stays as U+FFFD: it shows that one is missing.
_UNREADABLE_TOKEN = re.compile(
    rf"(?<![^\W\d_]){UNREADABLE}+ ?|{UNREADABLE}+(?![^\W\d_{UNREADABLE}])"
)
