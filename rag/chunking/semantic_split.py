"""Splits of a text at its largest breaks: paragraph, line, sentence, clause, word."""

from __future__ import annotations

import re

from rag.text.sentences import Span

_BREAK_PATTERN = re.compile(r"(?<=[.!?。！？])\s+|\n\s*|\s+")


def split_semantically(text: str, start: int, end: int, target_characters: int) -> list[Span]:
    """Return spans of at most `target_characters` that cover all text but white space."""
    from semchunk import chunk

    if end - start <= target_characters:
        return [strip_span(text, start, end)] if not text[start:end].isspace() else []
    try:
        # `len` counts characters; with memoize, semchunk would keep every text in memory.
        _, offsets = chunk(text[start:end], target_characters, len, offsets=True, memoize=False)
    except RecursionError:  # text of ever longer runs of breaks: cut at fixed lengths
        offsets = [
            (i, min(i + target_characters, end - start))
            for i in range(0, end - start, target_characters)
        ]
    return [
        strip_span(text, start + a, start + b)
        for a, b in offsets
        if text[start + a : start + b].strip()
    ]


def find_overlap_start(text: str, earliest_start: int, start: int, overlap_characters: int) -> int:
    """Return where the overlap starts: at a sentence, line or word before `start`.

    It is at most `overlap_characters` before `start`, and not before `earliest_start`. Returns
    `start` if there is no break in this range.
    """
    window_start = max(earliest_start, start - overlap_characters)
    best_starts: dict[int, int] = {}
    for gap in _BREAK_PATTERN.finditer(text, window_start, start):
        if gap.end() >= start:
            break
        rank = 0 if gap.start() and text[gap.start() - 1] in ".!?。！？" else 1
        rank = 0 if "\n" in gap.group() else rank
        best_starts.setdefault(rank, gap.end())
    return best_starts.get(0, best_starts.get(1, start))


def strip_span(text: str, start: int, end: int) -> Span:
    """Return the span ``[start, end)`` of `text` without white space at its ends."""
    piece = text[start:end]
    span_start = start + len(piece) - len(piece.lstrip())
    return Span(span_start, span_start + len(piece.strip()))
