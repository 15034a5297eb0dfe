"""Linked clauses: "A because B" is no "B because A", and "A before B" is "B after A"."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from rag.text.function_words import find_stop_words
from rag.text.tokenization import stems, words

_MAX_CHARACTERS = 400
_MIN_SHARE = 0.6  # of the words of a clause that another clause has, too
_KINDS = {
    "cause": (
        "because|due to|owing to|weil|denn|wegen|parce que|porque",
        "so|therefore|thus|hence|which is why|deshalb|daher|sodass|donc|por eso",
    ),
    "time": (
        "after|as soon as|nach|nachdem|sobald|après|después de",
        "before|vor|bevor|ehe|avant|antes de",
    ),
    "condition": (
        "if|when|provided that|in case|wenn|falls|sofern|si",
        "",
    ),
}
_LINK = re.compile(
    r"(?:^|[\s,;])(?:"
    + "|".join(
        rf"(?P<{kind}_first>{subordinate})" + (rf"|(?P<{kind}_last>{main})" if main else "")
        for kind, (subordinate, main) in _KINDS.items()
    )
    + r")(?=[\s,])",
    re.IGNORECASE,
)


class _Link(NamedTuple):
    """Two clauses: the first is the cause, the condition, or what happens earlier."""

    kind: str
    first: frozenset[str]
    last: frozenset[str]
    is_first_in_front: bool


def compare_links(claim: str, sentence: str) -> Literal["same", "exchanged"] | None:
    """Return whether both link the same two clauses, in the same way or the other way round.

    In the same way, they are only looked at if the clauses stand in another order.
    """
    if max(len(claim), len(sentence)) > _MAX_CHARACTERS:
        return None
    claimed, stated = _find_link(claim), _find_link(sentence)
    if claimed is None or stated is None or claimed.kind != stated.kind:
        return None
    straight = _is_alike(claimed.first, stated.first) and _is_alike(claimed.last, stated.last)
    crossed = _is_alike(claimed.first, stated.last) and _is_alike(claimed.last, stated.first)
    if straight == crossed or (straight and claimed.is_first_in_front == stated.is_first_in_front):
        return None
    return "same" if straight else "exchanged"


@lru_cache(maxsize=2_048)
def _find_link(text: str) -> _Link | None:
    """Return the clauses of a text with one link; None if it has none, or several."""
    links = list(_LINK.finditer(text))
    if len(links) != 1:
        return None
    kind, _, position = (links[0].lastgroup or "").partition("_")
    before, after = text[: links[0].start()], text[links[0].end() :]
    is_fronted = not before.strip()  # "Because it rained, ..."
    if is_fronted:
        after, comma, before = after.partition(",")
        if not comma:
            return None
    first, last = (after, before) if position == "first" else (before, after)
    is_first_in_front = (position == "first") == is_fronted
    link = _Link(kind, _list_stems(first), _list_stems(last), is_first_in_front)
    return link if link.first - link.last and link.last - link.first else None


def _list_stems(text: str) -> frozenset[str]:
    stop_words = find_stop_words(text)
    return frozenset(stems(" ".join(word for word in words(text) if word not in stop_words)))


def _is_alike(claimed: frozenset[str], stated: frozenset[str]) -> bool:
    shorter = min(len(claimed), len(stated))
    return bool(shorter) and len(claimed & stated) >= _MIN_SHARE * shorter
