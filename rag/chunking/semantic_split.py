"""Splits of a text at its largest breaks: paragraph, sentence, line, clause, word.

Text with spaces is split by semchunk. It knows neither the sentence ends of all scripts nor text
without spaces between words, so the text of other scripts is split here.
"""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum
from typing import NamedTuple

from rag.call_context import check_limits
from rag.text.sentences import Span

# Letters of scripts without spaces between words, or with sentence ends that semchunk ignores:
# Armenian, Arabic, Indic, Thai, Lao, Tibetan, Burmese, Ethiopic, Khmer, Chinese, Japanese.
_OTHER_SCRIPT = re.compile(
    "[\u0530-\u058f\u0600-\u06ff\u0900-\u0fff\u1000-\u109f\u1200-\u137f\u1780-\u17ff"
    "\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_MIN_OTHER_SCRIPT_SHARE = 0.02  # of the characters; with fewer, the text is split by semchunk
_CLOSING = "\"'”’»)\\]」』）】》〉］｝〕"
_STOPS = ".!?…。！？｡।॥؟۔։።፧፨།༎။។៕"
_SPACE = r"\s\u200b"  # Khmer and Thai texts can have zero-width spaces between words
_BREAK_PATTERN = re.compile(
    rf"""(?P<space>[{_SPACE}]++)
       | (?P<sentence>(?:[。！？｡।॥؟۔։።፧፨།༎။។៕]|(?<!\d)．(?!\d)|…(?![…\s,.，、]))++[{_CLOSING}]*+
           (?![{_SPACE}{_STOPS}．]))
       | (?P<clause>(?:[、；،؛፣፤၊]|(?<!\d)[，：]|[，：](?!\d))(?![{_SPACE}{_CLOSING}]))
       | (?P<syllable>་)""",
    re.VERBOSE,
)
_NOT_SPACE = re.compile(r"\S")
_ENDS_WITH_STOP = re.compile(rf"(?:[{_STOPS}]|(?<!\d)．)[{_CLOSING}]{{0,4}}$")
_ENDS_WITH_CLAUSE = re.compile(rf"[,;:、，；：،؛፣፤၊–—][{_CLOSING}]{{0,4}}$")
_OVERLAP_PATTERN = re.compile(
    rf"""\s++
       | (?P<sentence>[。！？｡।॥؟۔։።፧፨།༎။។៕]++[{_CLOSING}]*+(?![\s{_STOPS}]))
       | [、；](?!\s) | (?<!\d)[，](?!\s)""",
    re.VERBOSE,
)
_SENTENCE_STOPS = frozenset(_STOPS)
_END_CHARACTERS = 8  # before white space that are searched for the end of a sentence

# Scripts without spaces; between their characters a text can be cut if it has no other break.
_UNSPACED_CHARACTER = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f"
    "\U00020000-\U0003ffff]"
)
_KATAKANA = re.compile("[\u30a0-\u30ff\uff66-\uff9f]")
# Not at the beginning of a line: closing punctuation, small kana, Thai and Lao following vowels.
_NOT_AT_START = frozenset(
    "、。，．；：！？｡」』）】》〉］｝〕…ー々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶะาำๅๆฯະາຳໆ"
)
# Not at the end of a line: opening punctuation, Thai and Lao leading vowels.
_NOT_AT_END = frozenset("「『（【《〈［｛〔“‘([เแโใไເແໂໃໄ")


class _Rank(IntEnum):
    """The breaks of a text, the largest first."""

    PARAGRAPH = 0
    SENTENCE = 1
    LINE = 2
    CLAUSE = 3
    WORD = 4


# A span has at least this share of the target, unless it contains no smaller break.
_MIN_SHARES = {
    _Rank.PARAGRAPH: 0.5,
    _Rank.SENTENCE: 0.25,
    _Rank.LINE: 0.25,
    _Rank.CLAUSE: 0.25,
    _Rank.WORD: 0.25,
}


class _Break(NamedTuple):
    rank: _Rank
    position: int


def split_semantically(text: str, start: int, end: int, target_characters: int) -> list[Span]:
    """Return spans of at most `target_characters` that cover all text but white space.

    A span ends at the largest break that fits. Words, numbers and part numbers are divided only
    if they are longer than the target.
    """
    piece = text[start:end]
    if not piece.strip():
        return []
    if len(piece) <= target_characters:
        return [strip_span(text, start, end)]
    if _is_other_script(piece):
        return _split_at_breaks(text, start, end, target_characters)
    from semchunk import chunk

    try:
        # With memoize, semchunk would keep every text in memory.
        _, offsets = chunk(piece, target_characters, _count_characters, offsets=True, memoize=False)
    except RecursionError:  # text of ever longer runs of breaks
        return _split_at_breaks(text, start, end, target_characters)
    return [strip_span(text, start + a, start + b) for a, b in offsets if piece[a:b].strip()]


def _count_characters(piece: str) -> int:
    check_limits()  # a large text takes many seconds
    return len(piece)


def _is_other_script(piece: str) -> bool:
    """Whether the text has sentence ends or words that semchunk does not find."""
    min_count = _MIN_OTHER_SCRIPT_SHARE * len(piece)
    # Each letter of these scripts has more bytes than one; bytes are counted faster than letters.
    if len(piece.encode("utf-8", "surrogatepass")) - len(piece) <= min_count:
        return False
    return len(_OTHER_SCRIPT.findall(piece)) > min_count


def _split_at_breaks(text: str, start: int, end: int, target_characters: int) -> list[Span]:
    spans = []
    while (first := _NOT_SPACE.search(text, start, end)) is not None:
        check_limits()
        start = first.start()
        is_last = end - start <= target_characters
        cut = end if is_last else _find_cut(text, start, start + target_characters)
        spans.append(strip_span(text, start, cut))
        start = cut
    return spans


def _find_cut(text: str, start: int, limit: int) -> int:
    """Return the end of the span that begins at `start`: the largest break up to `limit`."""
    breaks = _find_breaks(text, start, limit)
    target_characters = limit - start
    last_positions = {found.rank: found.position for found in breaks}
    for rank, min_share in _MIN_SHARES.items():
        position = last_positions.get(rank)
        if position is not None and position - start >= min_share * target_characters:
            return position
    for is_strict in (True, False):
        for position in range(limit, start + target_characters // 2, -1):
            if _can_cut_between_characters(text, position, is_strict):
                return position
    if last_positions:
        return max(last_positions.values())
    position = limit
    while position - 1 > start and unicodedata.combining(text[position]):
        position -= 1
    return position if position - 1 > start else limit


def _find_breaks(text: str, start: int, limit: int) -> list[_Break]:
    """Return the breaks after which a span that begins at `start` can end, in order."""
    breaks = []
    for gap in _BREAK_PATTERN.finditer(text, start, limit + 1):
        kind = gap.lastgroup
        if kind != "space":
            rank = {"sentence": _Rank.SENTENCE, "clause": _Rank.CLAUSE}.get(kind or "", _Rank.WORD)
            if start < gap.end() <= limit:
                breaks.append(_Break(rank, gap.end()))
            continue
        if gap.start() == start:
            continue
        end = text[max(start, gap.start() - _END_CHARACTERS) : gap.start()]
        newline_count = gap.group().count("\n")
        if newline_count > 1:
            rank = _Rank.PARAGRAPH
        elif _ENDS_WITH_STOP.search(end):
            rank = _Rank.SENTENCE
        elif newline_count:
            rank = _Rank.LINE
        else:
            rank = _Rank.CLAUSE if _ENDS_WITH_CLAUSE.search(end) else _Rank.WORD
        # A zero-width space is no white space for `str.strip`.
        is_zero_width = gap.group().strip() and gap.end() <= limit
        breaks.append(_Break(rank, gap.end() if is_zero_width else gap.start()))
    return breaks


def _can_cut_between_characters(text: str, position: int, is_strict: bool) -> bool:
    """Whether text without spaces can be cut before `position`.

    Strictly, no number is cut from its unit and no word in katakana is divided.
    """
    before, after = text[position - 1], text[position]
    if after in _NOT_AT_START or before in _NOT_AT_END or unicodedata.category(after)[0] == "M":
        return False
    if not (_UNSPACED_CHARACTER.match(before) or _UNSPACED_CHARACTER.match(after)):
        return False
    if not is_strict:
        return True
    if before.isdecimal() or (_KATAKANA.match(before) and _KATAKANA.match(after)):
        return False
    return not (before.isascii() and not before.isalnum())  # "XR-|型"


def find_overlap_start(text: str, earliest_start: int, start: int, overlap_characters: int) -> int:
    """Return where the overlap starts: at a sentence, line, clause or word before `start`.

    It is at most `overlap_characters` before `start`, and not before `earliest_start`. Returns
    `start` if there is no break in this range.
    """
    window_start = max(earliest_start, start - overlap_characters)
    best_starts: dict[int, int] = {}
    for gap in _OVERLAP_PATTERN.finditer(text, window_start, start):
        if gap.end() >= start:
            break
        is_sentence_end = (
            gap.lastgroup == "sentence"
            or "\n" in gap.group()
            or (gap.start() > 0 and text[gap.start() - 1] in _SENTENCE_STOPS)
        )
        best_starts.setdefault(0 if is_sentence_end else 1, gap.end())
    return best_starts.get(0, best_starts.get(1, start))


def strip_span(text: str, start: int, end: int) -> Span:
    """Return the span ``[start, end)`` of `text` without white space at its ends."""
    piece = text[start:end]
    span_start = start + len(piece) - len(piece.lstrip())
    return Span(span_start, span_start + len(piece.strip()))
