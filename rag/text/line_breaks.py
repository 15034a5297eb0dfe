"""Line breaks: which lines of a text begin a new sentence, and which continue wrapped text.

A text is wrapped if its lines end where the next word does not fit any more. This is found out for
each paragraph, since the paragraphs and columns of a text can have different widths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from rag.text.word_lists import CONTINUED_WORDS, SENTENCE_STARTERS, ends_with_abbreviation

_MIN_WRAPPED_COLUMNS = 25  # narrower lines are lines of an address, a table or a verse
_TOLERANCE = 0.15  # of the width: lines of proportional fonts have different lengths
_TABLE_GAP_COLUMNS = 3
_WINDOW_LINES = 4  # the width is measured over this number of lines in each direction
_MIN_LINES = 3  # fewer lines do not show the width if there are more in the other direction
_MAX_WORD_COLUMNS = 30  # a longer word, such as an address, can be wider than the paragraph
_MAX_KEY_CHARACTERS = 30
_MIN_LINES_OF_LIST = 5  # so many lines that all begin with a capital are not wrapped text

_QUOTE = re.compile(r"(?:[ \t]{0,3}>)++")
BULLETS = "-*+•◦▪▫‣●○■□·–—➢✓"
_BULLET = re.compile(rf"[{re.escape(BULLETS)}][ \t]")
_NUMBER = re.compile(r"\(?(?:(\d{1,3})[.)]|([a-z])\))[ \t]")
_HEADING = re.compile(r"#{1,6}[ \t]")
_RULE = re.compile(r"[-=_*~+]{3,}$")
_KEY = re.compile(
    rf"\*{{0,2}}(?:[^\W_a-z][\w ./()-]{{0,{_MAX_KEY_CHARACTERS}}}|[a-z][\w.-]{{0,30}}):\*{{0,2}}\s"
)
_TABLE_GAP = re.compile(rf"\S(?:[ ]{{{_TABLE_GAP_COLUMNS},}}+|[ ]*+\t)")
_ADDRESS = re.compile(r"\w+://|www\.|[\w.+-]++@\w")
_LONG_WORD = re.compile(rf"\S{{{_MAX_WORD_COLUMNS + 1},}}")
_WIDE_CHARACTER = re.compile("[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]")
_FIRST_CHARACTER = re.compile(r"[\"'“”„«‚‘’(*_+€$£§¿¡]{0,3}(\w)")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_LAST_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]++)$")
_SENTENCE_END = re.compile(
    r"[.!?…。！？｡।॥؟۔։።។။།][\"'”’»)\]]{0,4}(?:\s{0,2}\[\d[\d,;\s–-]{0,40}\]){0,9}$"
)
_SENTENCE_END_WITHIN = re.compile(r"[^\W\d_]{5}[.!?][\"'”’»)]?\s++[^\W\da-z_]")
_END_CHARACTERS = 80  # of a line that are searched for a sentence end

Opening = Literal["lower", "upper", "digit", "uncased", "address", "other"]


class _Line(NamedTuple):
    """A line without its quotation marks (``>``) and white space."""

    start: int  # offset of the line in the text, with quotation marks
    text: str
    quote_depth: int
    indent: int
    columns: int
    paragraph_columns: int  # without long words, which can be wider than the paragraph
    first_word_columns: int
    opening: Opening
    ends_sentence: bool


def find_sentence_lines(text: str) -> set[int]:
    """Return the offsets of the lines of a wrapped text that begin a new sentence.

    These are the lines after a blank line, list items, headings, rows of tables, and lines of
    text that is not wrapped, such as verses and addresses.
    """
    sentence_lines: set[int] = set()
    block: list[_Line] = []
    start = 0
    for raw_line in text.split("\n"):
        line = _read_line(raw_line, start)
        start += len(raw_line) + 1
        if line is None or (block and _is_separate(block[-1], line)):
            sentence_lines.update(_find_lines_of_block(block))
            block = []
        if line is not None:
            block.append(line)
    sentence_lines.update(_find_lines_of_block(block))
    return sentence_lines


def _read_line(raw_line: str, start: int) -> _Line | None:
    """Return the facts of a line; None if it is blank."""
    quote = _QUOTE.match(raw_line)
    content = raw_line[quote.end() :] if quote else raw_line
    text = content.strip()
    if not text:
        return None
    columns = len(raw_line.rstrip())
    first_word_columns = text.find(" ") if " " in text else len(text)
    paragraph_columns = columns
    if columns > _MAX_WORD_COLUMNS:
        paragraph_columns -= sum(map(len, _LONG_WORD.findall(text)))
    if not text.isascii() and (wide_count := len(_WIDE_CHARACTER.findall(text))):
        columns += wide_count
        paragraph_columns = columns
        if _WIDE_CHARACTER.match(text):
            first_word_columns = 2
    return _Line(
        start=start,
        text=text,
        quote_depth=quote.group().count(">") if quote else 0,
        indent=len(content) - len(content.lstrip()),
        columns=columns,
        paragraph_columns=paragraph_columns,
        first_word_columns=first_word_columns,
        opening=_classify_opening(text),
        ends_sentence=not text[-1].isalnum() and _ends_sentence(text[-_END_CHARACTERS:]),
    )


def _ends_sentence(end: str) -> bool:
    return _SENTENCE_END.search(end) is not None and not ends_with_abbreviation(end, "")


def _classify_opening(text: str) -> Opening:
    """Return what kind of character begins the first word."""
    first = _FIRST_CHARACTER.match(text)
    if first is None:
        return "other"
    character = first.group(1)
    if character.islower():
        return "address" if _ADDRESS.match(text) else "lower"
    if character.isdigit():
        return "digit"
    return "upper" if character.isupper() else "uncased" if character.isalpha() else "other"


def _is_separate(line: _Line, next_line: _Line) -> bool:
    """Whether the next line cannot continue the paragraph of `line`, whatever their lengths."""
    if next_line.quote_depth != line.quote_depth:
        return next_line.quote_depth > line.quote_depth or next_line.opening != "lower"
    return (
        next_line.text[0] == "|"
        or line.text[0] == "|"
        or _HEADING.match(next_line.text) is not None
        or _HEADING.match(line.text) is not None
        or _RULE.match(line.text) is not None
    )


def _find_lines_of_block(block: Sequence[_Line]) -> list[int]:
    """Return the offsets of the lines of a block without blank lines that begin a sentence."""
    if not block:
        return []
    spare_columns = _measure_spare_columns(block)
    item_starts = [0, *_find_items(block, spare_columns), len(block)]
    lines = []
    for start, end in pairwise(item_starts):
        lines.append(block[start].start)
        if end - start > 1:
            item = block[start:end]
            is_item = _find_marker(item[0]) is not None
            lines += [item[i].start for i in _find_sentence_starts(item, is_item)]
    return lines


def _measure_spare_columns(block: Sequence[_Line]) -> list[int]:
    """Return for each line but the last how many columns remain if the next word is added.

    It is negative if the next word does not fit into the width of the paragraph.
    """
    widths = [line.paragraph_columns for line in block]
    last = len(widths) - 1
    spare_columns = []
    for i in range(last):
        width_before = max(widths[max(0, i + 1 - _WINDOW_LINES) : i + 1])
        width_after = max(widths[i : i + 1 + _WINDOW_LINES])
        has_lines_before, has_lines_after = i >= _MIN_LINES - 1, last - i >= _MIN_LINES - 1
        if has_lines_before == has_lines_after:
            width = (min if has_lines_before else max)(width_before, width_after)
        else:
            width = width_before if has_lines_before else width_after
        spare_columns.append(width - block[i].columns - 1 - block[i + 1].first_word_columns)
    return spare_columns


def _ends_early(line: _Line, spare_columns: int) -> bool:
    """Whether the next word would have fitted into the line, by more than the tolerance."""
    return spare_columns >= 0 and spare_columns > _TOLERANCE * (line.columns + spare_columns)


def _find_marker(line: _Line) -> tuple[str, int] | None:
    """Return the kind and number of the list marker that begins a line."""
    if _BULLET.match(line.text):
        return "-" if line.text[0] in "-–—·" else "•", 0
    if number := _NUMBER.match(line.text):
        digits, letter = number.groups()
        return ("1", int(digits)) if digits else ("a", ord(letter) - ord("a") + 1)
    return None


def _find_items(block: Sequence[_Line], spare_columns: Sequence[int]) -> list[int]:
    """Return the indices of the lines, but the first, that begin a list item.

    A number or a dash at the beginning of a line can belong to the sentence of the line before.
    """
    markers = {i: marker for i, line in enumerate(block) if (marker := _find_marker(line))}
    dash_count = sum(kind == "-" for kind, _ in markers.values())
    all_markers = set(markers.values())
    items: set[int] = set()
    pending: dict[tuple[str, int], int] = {}  # next markers of series that may be lists
    expected: set[tuple[str, int]] = set()  # next markers of lists
    for i, (kind, number) in markers.items():
        next_marker = (kind, number + 1)
        is_item = (
            i == 0
            or kind == "•"
            or (kind == "-" and (dash_count > 1 or block[i].text[2:3].isupper()))
            or (kind, number) in expected
            or (number == 1 and next_marker in all_markers)
            or _can_precede_item(block[i - 1], spare_columns[i - 1])
        )
        if is_item:
            items.add(i)
            expected.add(next_marker)
            if (earlier := pending.pop((kind, number), None)) is not None:
                items.add(earlier)
        elif kind in "1a":
            pending[next_marker] = i
    return sorted(items - {0})


def _can_precede_item(line: _Line, spare_columns: int) -> bool:
    """Whether a list item may follow the line: it is complete, or ended early."""
    if line.ends_sentence or line.text[-1] in ":;":
        return True
    return not _is_continued(line) and _ends_early(line, spare_columns)


def _is_continued(line: _Line) -> bool:
    """Whether the last word of the line shows that its sentence continues on the next line."""
    end = line.text[-_END_CHARACTERS:]
    if end[-1] == "-":
        return end[-2:-1].isalnum()
    if end[-1] == ".":
        return ends_with_abbreviation(end, "")
    word = _LAST_WORD.search(end[-20:])
    return word is not None and word.group(1) in CONTINUED_WORDS and end.count(" ") >= 2


def _begins_with_starter(line: _Line) -> bool:
    """Whether the line begins with a capitalized word that begins sentences."""
    word = _FIRST_WORD.match(line.text)
    return (
        line.opening == "upper" and word is not None and word.group().lower() in SENTENCE_STARTERS
    )


def _find_sentence_starts(lines: Sequence[_Line], is_item: bool) -> list[int]:
    """Return the indices of the lines of a paragraph or list item that begin a sentence."""
    spare_columns = _measure_spare_columns(lines)
    are_separate = _are_separate_lines(lines, spare_columns, is_item)
    has_lowercase = any(line.opening == "lower" for line in lines[1:])
    is_narrow = max(line.columns for line in lines) < _MIN_WRAPPED_COLUMNS
    starts = []
    for i, (line, next_line) in enumerate(pairwise(lines)):
        begins_with_starter = _begins_with_starter(next_line)
        is_unproven = not has_lowercase or " " not in line.text
        ends_early = _ends_early(line, spare_columns[i])
        is_hanging = is_item and next_line.indent > lines[0].indent
        if _are_pair_of_rows(line, next_line):
            is_start = True
        elif next_line.opening in ("lower", "other"):
            is_start = False
        elif next_line.opening == "address":
            is_start = are_separate
        elif _is_continued(line):
            is_start = begins_with_starter and is_unproven and line.text[-1] != "."
        elif is_hanging:
            is_start = ends_early and next_line.opening != "digit"
        else:
            is_start = (
                are_separate
                or ends_early
                or is_narrow
                or (begins_with_starter and (spare_columns[i] >= 0 or is_unproven))
            )
        if is_start:
            starts.append(i + 1)
    return starts


def _are_pair_of_rows(line: _Line, next_line: _Line) -> bool:
    """Whether both lines are rows of a table without rules, or keys with their values."""
    if _KEY.match(line.text) and _KEY.match(next_line.text):
        return True
    return bool(_TABLE_GAP.search(line.text) and _TABLE_GAP.search(next_line.text))


def _are_separate_lines(
    lines: Sequence[_Line], spare_columns: Sequence[int], is_item: bool
) -> bool:
    """Whether the lines are those of a verse, an address or a list, although they may be full.

    In wrapped text some line begins within a sentence with a lowercase letter, or a line has the
    end of a sentence in its middle.
    """
    first = int(len(lines) > 2 and _ends_early(lines[0], spare_columns[0]))  # a heading
    open_indices = [i for i in range(first, len(lines) - 1) if not lines[i].ends_sentence]
    openings = {lines[i + 1].opening for i in open_indices}
    if not open_indices or openings & {"lower", "uncased"}:
        return False
    if any(_SENTENCE_END_WITHIN.search(line.text) for line in lines):
        return False
    if not lines[-1].ends_sentence and not is_item and (len(lines) > 2 or "upper" in openings):
        return True
    if len(open_indices) == 1:
        return False
    return (
        len(open_indices) >= _MIN_LINES_OF_LIST - 1
        or any(_begins_with_starter(lines[i + 1]) for i in open_indices)
        or any(_ends_early(lines[i], spare_columns[i]) for i in open_indices)
    )
