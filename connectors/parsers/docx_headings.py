"""Bold lines of Word documents that act as headings without a heading style."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from connectors.parsers.docx_blocks import Block, Paragraph, Run, iterate_paragraphs

MAX_HEADING_CHARACTERS = 200  # a longer paragraph in a heading style is text
_MAX_BOLD_HEADING_CHARACTERS = 100
_MAX_LEVEL = 6
_MAX_RANK = 3  # of a bold line below the heading before it
_NUMBER = re.compile(
    r"""(?x)
    (?: (?P<decimal> \d{1,3} (?:\.\d{1,3})+ ) \.? | (?P<first> \d{1,3} | [A-Z] | [IVXL]{1,6} ) \. )
      \s+ (?=[^\W\d_])(?![a-zß-öø-ÿ])
    | §{1,2}\s*\d
    | (?i: article | artikel | artículo | articolo | artigo | section | sektion | chapter | kapitel
         | chapitre | capítulo | capitolo | clause | schedule | annex | anhang | appendix | part
         | teil | abschnitt | título | titre )
      \s+ (?: \d{1,4} | [IVXLC]{1,6} | [A-Z] ) \b (?!\s+[a-zß-öø-ÿ])
    | 第 \s* [\d〇一二三四五六七八九十百]{1,4} \s* [章节節条條編部]
    """
)
_SENTENCE_END = re.compile(r"[.!?;,。！？；，…]\W*$")
_CALLOUT = re.compile(r"[^\W\d]+\s*[:：]\s*\S")
_AMOUNT = re.compile(r"(?<!\d)(?<!\d[.,])\d[\d.,]*+\s*+(?:(?:%|[€$£¥]|[^\W\d]{1,6})\s*+)?$")
_YEAR = re.compile(r"(?:19|20)\d\d\s*$")


class _Line(NamedTuple):
    """A bold line: its size, and the depth of its number (0 for none)."""

    half_points: int
    depth: int


def join_titles(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks; the lines of a title that are paragraphs of their own become one."""
    joined: list[Block] = []
    last: Paragraph | None = None
    for block in blocks:
        if not isinstance(block, Paragraph) or not block.is_title:
            last = last if isinstance(block, Paragraph) and not block.runs else None
        elif last is not None and block.text.strip():
            last.runs += [Run(" "), *block.runs]
            continue
        elif block.text.strip():
            last = block
        joined.append(block)
    return joined


def set_heading_levels(blocks: Sequence[Block]) -> None:
    """Set the levels of titles, and of the bold lines outside of tables that act as headings.

    A bold line is a heading if it is larger than most of
    the text or begins with the number of a section, or, in a document without other headings, if
    it stands alone above longer text.
    """
    has_headings = False
    sizes: Counter[int] = Counter()
    for paragraph in iterate_paragraphs(blocks):
        if paragraph.is_title and paragraph.level is None:
            paragraph.level = 1
        text = paragraph.text
        if len(text) > MAX_HEADING_CHARACTERS or not text.strip():
            paragraph.level = None
        has_headings |= paragraph.level is not None and not paragraph.is_title
        for run in paragraph.runs:
            sizes[run.format.half_points] += len(run.text)
    sizes.pop(0, None)
    body_size = max(sizes, key=lambda size: (sizes[size], -size), default=0)
    filled = [b for b in blocks if not isinstance(b, Paragraph) or b.text.strip()]
    lines = {i: line for i, block in enumerate(filled) if (line := _read_bold_line(block))}
    heading_lines = {
        i: line
        for i, line in lines.items()
        if line.half_points > body_size
        or _has_section_number(filled, i, line)
        or (not has_headings and _is_alone(filled, i, lines))
    }
    _set_bold_levels(filled, heading_lines)


def _set_bold_levels(blocks: Sequence[Block], lines: Mapping[int, _Line]) -> None:
    """Set the levels of the bold lines that are headings.

    One that is as large as the headings in a style gets their level. Others are below the heading
    before them, in the order of their sizes and the depths of their numbers.
    """
    sizes: dict[int, int] = {}
    for block in blocks:
        if isinstance(block, Paragraph) and block.level is not None and not block.is_title:
            size = max((run.format.half_points for run in block.runs), default=0)
            sizes[block.level] = max(sizes.get(block.level, 0), size)
    keys = sorted({_make_rank_key(line) for line in lines.values()})
    ranks = {key: min(rank, _MAX_RANK) for rank, key in enumerate(keys, 1)}
    outer_level = 0
    for i, block in enumerate(blocks):
        if not isinstance(block, Paragraph):
            continue
        if i in lines:
            equal = (n for n, size in sorted(sizes.items()) if size <= lines[i].half_points)
            below = min(outer_level + ranks[_make_rank_key(lines[i])], _MAX_LEVEL)
            block.level = min(next(equal, below), below)
        elif block.level is not None and not block.is_title:
            outer_level = block.level


def _make_rank_key(line: _Line) -> tuple[int, int]:
    return -line.half_points, max(line.depth, 1)


def _read_bold_line(block: Block) -> _Line | None:
    """Return the size and depth of a short bold line that is not a sentence; None for others."""
    if not isinstance(block, Paragraph) or block.level is not None:
        return None
    text = block.text.strip()
    if not 1 < len(text) <= _MAX_BOLD_HEADING_CHARACTERS or "\n" in text:
        return None
    number = _NUMBER.match(text)
    if "\t" in text[number.end() if number else 0 :]:
        return None
    if not any(map(str.isalpha, text)) or _SENTENCE_END.search(text) or _CALLOUT.match(text):
        return None
    visible = [run for run in block.runs if run.text.strip()]
    if not all(run.format.is_shown_bold for run in visible):
        return None
    if block.label and (block.label.is_bullet or not block.label.is_decimal):
        return None
    return _Line(min(run.format.half_points for run in visible), _read_depth(block, text))


def _read_depth(paragraph: Paragraph, text: str) -> int:
    if paragraph.label:
        return len(re.findall(r"\d+", paragraph.label.text))
    match = _NUMBER.match(text)
    if match is None:
        return 0
    return match.group("decimal").count(".") + 1 if match.group("decimal") else 1


def _has_section_number(blocks: Sequence[Block], i: int, line: _Line) -> bool:
    """Whether a bold line begins with the number of a section, and is no item of a list."""
    block = blocks[i]
    assert isinstance(block, Paragraph)
    if not line.depth:
        return False
    neighbours = [blocks[j] for j in (i - 1, i + 1) if 0 <= j < len(blocks)]
    if block.label is None:
        return not any(_is_numbered_text(neighbour) for neighbour in neighbours)
    after = blocks[i + 1] if i + 1 < len(blocks) else None
    if not isinstance(after, Paragraph) or after.label is None:
        return after is not None
    return not after.label.is_bullet and after.label.level > block.label.level


def _is_numbered_text(block: Block) -> bool:
    """Whether a block is an item of a list whose numbers are typed, and not bold."""
    if not isinstance(block, Paragraph) or not _NUMBER.match(block.text.strip()):
        return False
    return not all(run.format.is_shown_bold for run in block.runs if run.text.strip())


def _is_alone(blocks: Sequence[Block], i: int, lines: dict[int, _Line]) -> bool:
    """Whether a bold line without an amount stands between text and longer text."""
    block = blocks[i]
    after = blocks[i + 1] if i + 1 < len(blocks) else None
    if not isinstance(block, Paragraph) or not isinstance(after, Paragraph) or block.label:
        return False
    text = block.text.strip()
    if i - 1 in lines or i + 1 in lines or (_AMOUNT.search(text) and not _YEAR.search(text)):
        return False
    is_bold = all(run.format.is_shown_bold for run in after.runs if run.text.strip())
    return not is_bold and len(after.text.strip()) > len(text)
