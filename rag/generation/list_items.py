"""Lists in passages: which sentences are items, and which of them belong to one list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.generation.passages import Passage
from rag.text.line_breaks import BULLETS
from rag.text.sentences import Span

LIST_MARKER = re.compile(rf"(?:[{re.escape(BULLETS)}]|\(?\d{{1,3}}[.)]|\(?[a-z]\))\s+")
_LINE_INDENT = re.compile(r"[ \t]*+")


def is_list_item(passage: Passage, span: Span) -> bool:
    """Whether a list marker begins the line of a span, directly before it or as its first word."""
    line_start = passage.text.rfind("\n", 0, span.start) + 1
    indent = _LINE_INDENT.match(passage.text, line_start)
    marker_start = indent.end() if indent else line_start
    marker = LIST_MARKER.match(passage.text, marker_start)
    return marker is not None and span.start in (marker_start, marker.end())


def find_list(passage: Passage, span: Span) -> list[Span]:
    """Return the items of the list that a sentence is an item of or introduces, without markers.

    Of an item of several sentences, it is the first one. A paragraph, or a sentence that introduces
    something else, ends a list.
    """
    sentences = passage.sentences_beside(span)
    index = next((i for i, s in enumerate(sentences) if s.start <= span.start < s.end), None)
    if index is None:
        return []
    first = index if is_list_item(passage, sentences[index]) else index + 1
    if first == len(sentences) or not is_list_item(passage, sentences[first]):
        return []
    before = list(_iterate_items(passage, sentences, range(index, -1, -1)))
    after = list(_iterate_items(passage, sentences, range(first, len(sentences))))
    items = dict.fromkeys([*reversed(before), *after])
    return [_skip_marker(passage, item) for item in items]


def _iterate_items(
    passage: Passage, sentences: Sequence[Span], indices: Sequence[int]
) -> Iterator[Span]:
    """Yield the items among the sentences, in the order of `indices`, until the list ends."""
    for i in indices:
        if is_list_item(passage, sentences[i]):
            yield sentences[i]
        elif i and _ends_list(passage, sentences[i - 1], sentences[i]):
            return


def _ends_list(passage: Passage, previous: Span, sentence: Span) -> bool:
    """Whether a sentence that is no item is no part of the item above it, either."""
    gap = passage.text[previous.end : sentence.start]
    is_paragraph = gap.count("\n") > 1 and not gap.endswith((" ", "\t"))
    return is_paragraph or passage.text[sentence.start : sentence.end].endswith((":", "："))


def _skip_marker(passage: Passage, item: Span) -> Span:
    marker = LIST_MARKER.match(passage.text, item.start, item.end)
    return Span(marker.end(), item.end) if marker else item
