"""Citation markers in a draft: where they stand, and which passages they name."""

from __future__ import annotations

import re
from collections.abc import Callable

# [1], [1, 2], [1-3], [^1] and 【1†source】; no year, and nothing within `code`.
_MARKER = re.compile(
    r"\s?(?:\[\^?(\d{1,3}(?:\s*+[-–,;]\s*+\d{1,3})*+)\](?!\()|【(\d{1,3})(?:†[^】\n]{0,80})?】)"
)
_WITH_ZERO = re.compile(r"(?<!\d)0(?!\d)")
_IDENTIFIER = re.compile(r"\w[._]\w+\Z")  # sys.argv[2]
_NUMBERED_LINK = re.compile(r"(?<!!)\[(\^?\d{1,3})\]\([^\s()]*+\)")
INLINE_CODE = re.compile(r"(?<!`)(`++).{1,500}?(?<!`)\1(?!`)")
_LONGEST_RANGE = 50


def marked_numbers(marker: str) -> list[int]:
    """Numbers in what stands between brackets: ``1``, ``1, 2`` or ``1-3``; in order, each once."""
    numbers: list[int] = []
    for part in re.split(r"[,;]", marker):
        found = [int(number) for number in re.findall(r"\d+", part)]
        if len(found) == 2 and found[0] <= found[1]:
            found = list(range(found[0], min(found[1], found[0] + _LONGEST_RANGE) + 1))
        numbers += found
    return list(dict.fromkeys(numbers))


def unlinked(text: str) -> str:
    """Markers that were written as links, ``[1](https://...)``, as markers."""
    return outside_code(text, lambda part: _NUMBERED_LINK.sub(r"[\1]", part))


def without_markers(text: str) -> str:
    """The text without its markers; what only looks like one stays."""
    return outside_code(
        text,
        lambda part: _MARKER.sub(lambda m: m.group() if _is_none(m, part) else "", part),
    )


def kept_markers(text: str, keep: Callable[[list[int]], list[int]]) -> str:
    """The text with only the numbers in its markers that `keep` returns of each."""

    def kept(marker: re.Match[str], part: str) -> str:
        if _is_none(marker, part):
            return marker.group()
        numbers = marked_numbers(marker.group(1) or marker.group(2))
        left = keep(numbers)
        if left == numbers:
            return marker.group()
        space = " " if marker.group()[0].isspace() else ""
        return f"{space}[{', '.join(map(str, left))}]" if left else ""

    return outside_code(text, lambda part: _MARKER.sub(lambda m: kept(m, part), part))


def numbers_in(text: str) -> list[int]:
    """All numbers that the text's markers name, in order, each once."""
    found: list[int] = []

    def take(numbers: list[int]) -> list[int]:
        found.extend(numbers)
        return numbers

    kept_markers(text, take)
    return list(dict.fromkeys(found))


def marked(sentence: str, number: int) -> str:
    """Put a marker behind a sentence, or into the last cell of a table's row."""
    if sentence.endswith("|") and sentence.count("|") > 1:
        return f"{sentence[:-1].rstrip()} [{number}] |"
    return f"{sentence} [{number}]"


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """`change` applied to what stands outside of `code`."""
    if "`" not in text:
        return change(text)
    parts: list[str] = []
    at = 0
    for code in INLINE_CODE.finditer(text):
        parts += [change(text[at : code.start()]), code.group()]
        at = code.end()
    return "".join([*parts, change(text[at:])])


def _is_none(marker: re.Match[str], text: str) -> bool:
    """Whether it is no passage's number: what a link is called, an index, or an interval."""
    numbers = marker.group(1)
    if numbers is None:
        return False
    before = text[max(0, marker.start() - 100) : marker.start()]
    if text.startswith(":", marker.end()) and not before.rpartition("\n")[2].strip(" >"):
        return True
    if numbers != "0" and _WITH_ZERO.search(numbers):  # [0, 10]; passages count from 1
        return True
    if not marker.group().startswith("["):
        return False
    return before[-1:].isalnum() if numbers == "0" else bool(_IDENTIFIER.search(before))
