"""Raised figures of a PDF page: the text of "10⁶" is "106", and its type tells the exponent."""

from __future__ import annotations

import re

from connectors.parsers.pdf_layout import CharacterBoxes

_SUPERSCRIPTS = str.maketrans("0123456789+-−–", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻")
# Behind a letter, also with a punctuation mark, and exponents of ten. To look at every number of a
# page would take too long.
_CANDIDATE = re.compile(
    r"(?=[-−–+\d])(?:(?<=[^\W\d_])|(?<=[^\W\d_][.,;:)\]”’\"%])|(?<=\b10))"
    r"[-−–+]?\d{1,3}(?:,\d{1,2}){0,3}(?![.,]?\d)(?![^\W\d_])"
)
_MAX_SIZE_SHARE = 0.85  # of the height of the character before
_MIN_RISE = 0.15  # of that height


def write_superscripts(text: str, boxes: CharacterBoxes) -> str:
    """Return the text of a page, of the same length, with superscript characters for raised ones.

    They are exponents of ten, those of units, and the numbers of footnotes behind words.
    """
    pieces: list[str] = []
    end = 0
    for match in _CANDIDATE.finditer(text):
        start, stop = match.span()
        if _is_raised(boxes, start - 1, stop - 1) and _is_raised(boxes, start - 1, start):
            pieces += [text[end:start], match[0].translate(_SUPERSCRIPTS)]
            end = stop
    return "".join([*pieces, text[end:]]) if pieces else text


def _is_raised(boxes: CharacterBoxes, base: int, index: int) -> bool:
    _, low, _, high = boxes.get_box(base)
    _, bottom, _, top = boxes.get_box(index)
    height = high - low
    return 0 < top - bottom < _MAX_SIZE_SHARE * height and bottom - low > _MIN_RISE * height
