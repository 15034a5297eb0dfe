"""Links and images in answers: to cited sources only.

A document may ask for a link or an image that carries what was said to somebody else's server. An
image is fetched as soon as it is shown, so none may stay that is not a cited source. Links that can
be told are taken out, leaving their words; whatever else might become one in some renderer of
Markdown loses what holds it together: ``](`` is written ``] (``, and ``]:`` is written ``] :``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rag.generation.markers import INLINE_CODE

REMOVED = "(link removed)"

_TARGET = (
    r"\(\s*+<?([^()\s<>]*+(?:\([^()\s]*+\)[^()\s<>]*+)*+)>?"
    r"(?:\s++[\"'(][^\n]{0,200}?[\"')])?\s*+\)"
)
_LINK = re.compile(r"(!?)\[((?:[^\[\]\n]|\[[^\[\]\n]*+\]){0,500})\]" + _TARGET)
_IMAGE_BY_NAME = re.compile(r"!\[([^\[\]\n]{0,500})\](?!\()(?:\[[^\[\]\n]{0,200}\])?")
_DEFINITION = re.compile(r"^[ >]{0,3}\[[^\]\n]{1,200}\]:[ \t]*<?((?:[\w+.-]+:|//)\S*).*$", re.M)
_URL = re.compile(
    r"<?(?:(?<![A-Za-z0-9+.-])[a-z][a-z0-9+.-]{1,20}://|(?<![A-Za-z0-9])www\.(?=\w)"
    r"|(?<![A-Za-z0-9:/])//(?=[\w-]+\.\w))"
    r"(?:[^\s<>\"'`|\](){}]++|\([^\s()<>`]*+\))++>?",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_TAG_THAT_LOADS = re.compile(
    r"<(?=[a-z!/?][^<>]{0,2000}?(?:src|href|style|data|action|poster|background|\bon\w+)\s*=)", re.I
)
_NAMED = re.compile(r"\]:")
_OWN_MARKER = re.compile(r"[^\s>\[][^\n]*\[\d{1,3}\Z")
_TRAILING = ".,;:!?*_"
_SUSPECT = re.compile(r"[<!]|\]\s*[(:]|//|www\.", re.IGNORECASE)
_MOST_NESTED = 8

LINK_LIKE = re.compile(r"(?<!\S)\S*?(?://|www\.)", re.IGNORECASE)
"""A word that may be a link, or the beginning of one."""

Known = Callable[[str], bool]


def without_links(text: str, cited: Known, quoted: Known) -> str:
    """The text with links to `cited` addresses only, and no markup of HTML.

    A link elsewhere leaves its words, an image its description. A bare address stays, as code that
    nothing makes a link of, where it stands in the sources (`quoted`); any other is removed. Code
    between backticks keeps its words, but nothing in it holds together as a link either, since
    renderers do not agree on what is code.
    """
    if not _SUSPECT.search(text):
        return text
    parts: list[str] = []
    at = 0
    for code in INLINE_CODE.finditer(text):
        parts += [_safe(text[at : code.start()], cited, quoted), disarmed(code.group())]
        at = code.end()
    return "".join([*parts, _safe(text[at:], cited, quoted)])


def disarmed(code: str) -> str:
    """Code in which no link and no image holds together, whoever takes it for text."""
    return _TAG_THAT_LOADS.sub("\u2039", code).replace("](", "] (").replace("]:", "] :")


def _safe(part: str, cited: Known, quoted: Known) -> str:
    for _ in range(_MOST_NESTED):  # there may be a link in a link's words
        before = part
        part = _LINK.sub(lambda m: m.group() if cited(m.group(3)) else m.group(2), part)
        if part == before:
            break
    part = _IMAGE_BY_NAME.sub(lambda m: m.group(1), part)
    part = _DEFINITION.sub(lambda m: m.group() if cited(m.group(1)) else "", part)
    pieces: list[str] = []
    at = 0
    for kept in _LINK.finditer(part):
        if not cited(kept.group(3)):
            continue
        words = _plain(kept.group(2), cited, quoted).replace("[", "(").replace("]", ")")
        pieces.append(_plain(part[at : kept.start()], cited, quoted))
        pieces.append(f"{kept.group(1)}[{words}]({kept.group(3)})")
        at = kept.end()
    return "".join([*pieces, _plain(part[at:], cited, quoted)])


def _plain(part: str, cited: Known, quoted: Known) -> str:
    """Text in which nothing is a link: neither an address, nor a tag, nor brackets."""

    def address(match: re.Match[str]) -> str:
        found = match.group().strip("<>")
        url = found.rstrip(_TRAILING)
        if cited(url):
            return match.group() if not match.group().startswith("<") else found
        return (f"`{url}`" if quoted(url) else REMOVED) + found[len(url) :]

    part = _TAG.sub("\u2039", _URL.sub(address, part)).replace("](", "] (")
    return _NAMED.sub(lambda m: m.group() if _OWN_MARKER.search(part[: m.start()]) else "] :", part)
