"""Removing what programs write to control a terminal: colours, overstrikes, progress lines."""

from __future__ import annotations

import re
from itertools import pairwise

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]{0,100}[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links
    r"|\x1b[ -/]+[0-~]"  # character sets
    r"|\x1b[0-~]"  # single commands, and the starts of sequences that are cut off
)
_SHIFTS = re.compile(r"[\x0e\x0f\x07]")
_ERASED_BEFORE = re.compile(r"\x1b\[[012]?K")  # at the start of what is written next
_ERASED_AFTER = re.compile(r"\x1b\[[12]K\Z")
_WORD = re.compile(r"(?<![^\W_])[^\W\d_]+")  # not the unit after a number
_PROGRESS = re.compile(r"[\d%|/\\#=.█]")


def remove_terminal_codes(text: str) -> str:
    r"""Return `text` as a terminal shows it, without escape sequences.

    Of an overstruck character, as in ``x\bx`` for bold and ``_\bx`` for underlined, the character
    is kept; of a line that a program writes again and again, as progress bars, the last state.
    """
    if "\r" in text and "\n" in text:
        text = "\n".join(map(_remove_overwritten_states, text.split("\n")))
    if "\x1b" in text:
        text = _SHIFTS.sub("", _ESCAPE_SEQUENCE.sub("", text))
    if "\b" in text:
        text = "\n".join(map(_apply_backspaces, text.split("\n")))
    return text


def _remove_overwritten_states(line: str) -> str:
    """Return a line without the states that a carriage return and similar text overwrite.

    In other text, a carriage return is the end of a line.
    """
    body = line.rstrip("\r")
    if "\r" not in body:
        return line
    states = [state for state in body.split("\r") if state]
    kept_states = [
        state for state, following in pairwise(states) if not _is_overwritten(state, following)
    ]
    return "\r".join([*kept_states, *states[-1:]]) + line[len(body) :]


def _is_overwritten(state: str, following: str) -> bool:
    if _ERASED_BEFORE.match(following) or _ERASED_AFTER.search(state):
        return True
    is_progress = _PROGRESS.search(state) and _PROGRESS.search(following)
    return bool(is_progress) and _list_words(state) == _list_words(following)


def _list_words(state: str) -> list[str]:
    return _WORD.findall(_ESCAPE_SEQUENCE.sub("", state))


def _apply_backspaces(line: str) -> str:
    if "\b" not in line:
        return line
    cells: list[str] = []
    column = 0
    for character in line:
        if character == "\b":
            column = max(0, column - 1)
            continue
        if column == len(cells):
            cells.append(character)
        elif character != "_":  # an underline below the character that is there
            cells[column] = character
        column += 1
    return "".join(cells)
