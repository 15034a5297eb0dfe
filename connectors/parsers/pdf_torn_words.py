"""Words of a PDF that the spacing of its letters tears apart: "Balance Shee t"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from connectors.parsers.pdf_layout import Line

_MAX_END_LETTERS = 3  # of the second part
_MAX_ENDS = 50  # of the same two or three letters, in a document
_MIN_WHOLE_WORDS = 2  # in the document, without a space


def join_torn_words(pages: Sequence[Sequence[Line]]) -> None:
    """Join the two parts of a word if the document has the whole word, and each part only there.

    Of a second part that is a single letter, only the first part is asked for.
    """
    lines = [line for page in pages for line in page if not line.marks]
    counts = Counter(word for line in lines for word in line.text.lower().split())
    ends = {
        word
        for word, count in counts.items()
        if len(word) == 1 or (len(word) <= _MAX_END_LETTERS and count <= _MAX_ENDS)
    }
    pairs: Counter[tuple[str, str]] = Counter()
    lines_by_pair: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        for pair in pairwise(line.text.split()):
            if pair[1].lower() in ends and _may_be_torn(pair, counts):
                pairs[pair] += 1
                lines_by_pair.setdefault(pair, []).append(line)
    for (first, second), torn_lines in lines_by_pair.items():
        same = sum(n for pair, n in pairs.items() if pair[0].lower() == first.lower())
        if counts[first.lower()] == same and (
            len(second) == 1 or counts[second.lower()] == pairs[first, second]
        ):
            torn = re.compile(rf"(?<!\S){first}\s{second}(?!\S)")
            for line in torn_lines:
                line.text = torn.sub(first + second, line.text)


def _may_be_torn(pair: tuple[str, str], counts: Counter[str]) -> bool:
    first, second = pair
    return (
        first.isalpha()
        and second.isalpha()
        and (second.islower() or (first.isupper() and second.isupper()))
        and counts[f"{first}{second}".lower()] >= _MIN_WHOLE_WORDS
    )
