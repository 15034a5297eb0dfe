"""Citation markers such as ``[1]``: parsing, removing, filtering and adding them.

For wrong or missing markers see `rag.generation.marker_repair`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# [1], [1, 2], [1-3], [^1] and 【1†source】, but no year.
_MARKER = re.compile(
    r"\s?(?:\[\^?(\d{1,3}(?:\s*+[-–,;]\s*+\d{1,3})*+)\](?!\()|【(\d{1,3})(?:†[^】\n]{0,80})?】)"
)
_ZERO = re.compile(r"(?<!\d)0(?!\d)")
_IDENTIFIER = re.compile(r"\w\.\w++\Z|(?<!\w)(?=\w+_\w)\w++\Z")  # sys.argv[2]
_NUMBERED_LINK = re.compile(r"(?<!!)\[(\^?\d{1,3})\]\([^\s()]*+\)")
INLINE_CODE = re.compile(r"(?<![`\\])(`++).{1,500}?(?<!`)\1(?!`)")
_MAX_RANGE_SPAN = 50
_SOURCE_MARKER = re.compile(
    r"(?<![:=(\[{]\s)(?<![:=(\[{])(?<!(?<!\]),)(?<!(?<!\]),\s)"  # also after another: [1],[2]
    r"\\?\[\^?(\d{1,3}(?:\s?[-–,;]\s?\d{1,3})*)\\?\](?!\(|:(?=\S)|\[(?!\^?\d))"
)
_CODE = re.compile(r"[={}]|\w\((?!s\))")  # in a line: an assignment, a block, a call
_NOTE = re.compile("⁽[⁰¹²³⁴⁵⁶⁷⁸⁹,;–\\s-]{1,20}⁾")
_TO_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def parse_marker_numbers(marker: str) -> list[int]:
    """Return the distinct numbers between a marker's brackets: ``1``, ``1, 2`` or ``1-3``."""
    numbers: list[int] = []
    for part in re.split(r"[,;]", marker):
        part_numbers = [int(number) for number in re.findall(r"\d+", part)]
        if len(part_numbers) == 2 and part_numbers[0] <= part_numbers[1]:
            part_numbers = list(
                range(part_numbers[0], min(part_numbers[1], part_numbers[0] + _MAX_RANGE_SPAN) + 1)
            )
        numbers += part_numbers
    return list(dict.fromkeys(numbers))


def unlink_markers(text: str) -> str:
    """Return the text with markers instead of links such as ``[1](https://...)``."""
    return apply_outside_code(text, lambda part: _NUMBERED_LINK.sub(r"[\1]", part))


def strip_markers(text: str) -> str:
    """Return the text without its markers and notes; what only looks like a marker stays."""
    return apply_outside_code(
        _NOTE.sub("", text),
        lambda part: _MARKER.sub(lambda m: m.group() if _is_not_a_marker(m, part) else "", part),
    )


def show_as_notes(text: str) -> str:
    """Return the text of a source with its own markers as notes: "1874[3]" is "1874⁽³⁾".

    So they cannot be taken for citations of an answer. Indices and lists of code stay.
    """
    if "[" not in text:
        return text

    def rewrite(marker: re.Match[str], line: str) -> str:
        if _IDENTIFIER.search(line[: marker.start()]):
            return marker.group()
        return f"⁽{marker[1].translate(_TO_SUPERSCRIPTS)}⁾"

    def rewrite_line(line: str) -> str:
        if _CODE.search(line):
            return line
        return _SOURCE_MARKER.sub(lambda marker: rewrite(marker, line), line)

    return "\n".join(apply_outside_code(line, rewrite_line) for line in text.split("\n"))


def filter_markers(text: str, keep: Callable[[list[int]], list[int]]) -> str:
    """Return the text with only the numbers in each marker that `keep` returns for it."""

    def rewrite_marker(marker: re.Match[str], part: str) -> str:
        if _is_not_a_marker(marker, part):
            return marker.group()
        numbers = parse_marker_numbers(marker.group(1) or marker.group(2))
        kept_numbers = keep(numbers)
        if kept_numbers == numbers:
            return marker.group()
        space = " " if marker.group()[0].isspace() else ""
        return f"{space}[{', '.join(map(str, kept_numbers))}]" if kept_numbers else ""

    return apply_outside_code(
        text, lambda part: _MARKER.sub(lambda m: rewrite_marker(m, part), part)
    )


def find_marker_numbers(text: str) -> list[int]:
    """Return all numbers in the text's markers, in order, without duplicates."""
    all_numbers: list[int] = []

    def collect(numbers: list[int]) -> list[int]:
        all_numbers.extend(numbers)
        return numbers

    filter_markers(text, collect)
    return list(dict.fromkeys(all_numbers))


def append_marker(sentence: str, number: int) -> str:
    """Append a marker to a sentence, or to the last cell of a table row."""
    if sentence.endswith("|") and sentence.count("|") > 1:
        return f"{sentence[:-1].rstrip()} [{number}] |"
    return f"{sentence} [{number}]"


def apply_outside_code(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the text outside of inline code."""
    if "`" not in text:
        return change(text)
    parts: list[str] = []
    code_end = 0
    for code in INLINE_CODE.finditer(text):
        parts += [change(text[code_end : code.start()]), code.group()]
        code_end = code.end()
    return "".join([*parts, change(text[code_end:])])


def _is_not_a_marker(marker: re.Match[str], text: str) -> bool:
    """Whether a match is the label of a link, an array index, or an interval."""
    numbers = marker.group(1)
    if numbers is None:
        return False
    text_before = text[max(0, marker.start() - 100) : marker.start()]
    if text.startswith(":", marker.end()) and not text_before.rpartition("\n")[2].strip(" >"):
        return True
    if numbers != "0" and _ZERO.search(numbers):  # [0, 10]; passages count from 1
        return True
    if not marker.group().startswith("["):
        return False
    return text_before[-1:].isalnum() if numbers == "0" else bool(_IDENTIFIER.search(text_before))
