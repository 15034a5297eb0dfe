"""Draft segmentation: fences, table heads, and how much of an unfinished draft cannot change."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.generation.foreign_markers import OPEN_MARKER, may_be_lead_in
from rag.generation.links import POSSIBLE_LINK
from rag.text.sentences import Span

CODE_FENCE = re.compile(r"^[ >]{0,8}+(`{3,}+(?![^\n]*`)|~{3,}+)[^\n]*+\n", re.M)
"""The line that opens fenced code; group 1 is the fence."""

_TABLE_RULE = re.compile(r"\|?\s*+:?-{2,}+[\s:|-]*+$")
_LOOKAHEAD_CHARACTERS = 24  # after a full stop, to tell a sentence's end from an abbreviation
# Checking a sentence does not change the text before the first of these characters.
_UNCHANGING_TEXT = re.compile(r"[^\[【!<`~|\\({^$⁰¹²³⁴-⁹]*+")
_CHARACTER_OF_UNSPACED_SCRIPT = re.compile("[\u0e01-\u0eff\u3041-\u30ff\u3400-\u9fff]")


def compile_closing_fence(fence: str) -> re.Pattern[str]:
    """Compile the pattern of the line that closes code opened with `fence`."""
    return re.compile(rf"^[ >]{{0,8}}+{fence}[`~]*+[ \t\r]*+$", re.M)


def is_table_head(text: str, prose: str, spans: Sequence[Span], index: int) -> bool:
    """Whether the sentence `text` at `index` is a table's head: the next line is its rule."""
    first_line, _, following = text.partition("\n")
    if "|" not in first_line:
        return False
    if (
        not following
        and index + 1 < len(spans)
        and prose[spans[index].end : spans[index + 1].start].count("\n") == 1
    ):
        following = prose[spans[index + 1].start : spans[index + 1].end]
    return bool(_TABLE_RULE.match(following.partition("\n")[0]))


def count_settled_sentences(prose: str, spans: Sequence[Span]) -> int:
    """Count the leading sentences that cannot change, whatever text follows `prose`."""
    last_line = prose.rfind("\n") + 1
    open_code = prose.find("`", last_line)
    count = 0
    for span in spans[:-1]:
        following = prose[span.end :].lstrip()
        is_settled = "\n" in following
        if not is_settled and "|" not in prose[span.start : span.end]:
            # A line of - : | could still make the sentence a table's head.
            is_settled = len(following) >= _LOOKAHEAD_CHARACTERS and following[0] not in "-:|"
        if not is_settled or OPEN_MARKER.match(following) or 0 <= open_code < span.end:
            break
        count += 1
    return count


def measure_safe_prefix(sentence: str) -> int:
    """Return the length of the sentence's beginning that checking cannot change.

    It ends with a whole word.
    """
    if may_be_lead_in(sentence):
        return 0
    unchanging = _UNCHANGING_TEXT.match(sentence)
    prefix = sentence[: unchanging.end()] if unchanging else ""
    if link := POSSIBLE_LINK.search(prefix):
        prefix = prefix[: link.start()]
    end = len(prefix)
    while end and not prefix[end - 1].isspace():
        end -= 1
        if _CHARACTER_OF_UNSPACED_SCRIPT.match(prefix[end]) and end < len(prefix) - 1:
            end += 1
            break
    safe = prefix[:end].rstrip()
    return len(safe) if re.search(r"\w", safe) else 0
