"""Pages of a PDF whose characters PDFium puts on lines of their own.

Where each character is drawn by itself, PDFium may take a page for vertical text. The words and
lines are then read from the places of the characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from connectors.parsers.pdf_layout import CharacterBoxes, ComputedBoxes

_MIN_LINES = 20
_MAX_LINE = 5  # characters of a line, with the line end; other pages have longer ones
_SPACE = 0.12  # of the line height: the least gap between two words
_PITCH_SHARE = 0.6  # of the steps from character to character: they are equal in fixed pitch
_PITCH_SPACE = 1.5  # of such a step
_MAX_STEP = 3.0  # of the line height, within a line


class _Place(NamedTuple):
    """A character that is drawn: its offset in the text of the page, and its box."""

    offset: int
    x_min: float
    y_min: float
    x_max: float
    y_max: float


class _SelectedBoxes(ComputedBoxes):
    """The boxes of a text that has characters of a page; the index of an added space is -1."""

    def __init__(self, textpage: Any, indices: Sequence[int]) -> None:
        super().__init__(textpage)
        self._indices = indices
        self.count = len(indices)

    def get_box(self, index: int) -> tuple[float, float, float, float]:
        return super().get_box(self._indices[index])


def join_scattered_characters(
    text: str, textpage: Any, boxes: CharacterBoxes
) -> tuple[str, CharacterBoxes]:
    """Return the text of a page as words and lines, with its boxes.

    A page whose lines have more than a character or two is returned as it is.
    """
    if text.count("\n") < max(_MIN_LINES, len(text) / _MAX_LINE):
        return text, boxes
    places = [
        _Place(i, *boxes.get_box(i)) for i, character in enumerate(text) if not character.isspace()
    ]
    places = [place for place in places if place.x_max > place.x_min]
    joined: list[str] = []
    indices: list[int] = []
    for place, separator in zip(places, ["", *_find_separators(places)], strict=False):
        joined += [*separator, text[place.offset]]
        indices += [*[-1] * len(separator), place.offset]
    return "".join(joined), _SelectedBoxes(textpage, indices)


def _find_separators(places: Sequence[_Place]) -> Iterator[str]:
    """Yield what is between two characters: "", a space, or a line end."""
    steps = Counter(round(after.x_min - before.x_min, 1) for before, after in pairwise(places))
    pitch, count = steps.most_common(1)[0] if steps else (0.0, 0)
    is_fixed = count >= _PITCH_SHARE * len(places)
    for before, after in pairwise(places):
        height = max(after.y_max - after.y_min, 1)
        gap, step = after.x_min - before.x_max, after.x_min - before.x_min
        if (
            abs(after.y_min - before.y_min) > height / 2
            or not -height / 2 < gap < _MAX_STEP * height
        ):
            yield "\n"
        elif is_fixed:
            yield " " if step > _PITCH_SPACE * pitch else ""
        else:
            yield " " if gap > _SPACE * height else ""
