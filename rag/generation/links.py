"""Links and images in answers: to cited sources only.

A document may ask for a link or an image that carries what was said to somebody else's server. An
image is fetched as soon as it is shown, so none may stay that is not a cited source.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rag.generation.markers import outside_code

REMOVED = "(link removed)"

_TARGET = (
    r"\(\s*<?([^()\s<>]*(?:\([^()\s]*\)[^()\s<>]*)*)>?"
    r"(?:\s+[\"'(][^\n]{0,200}?[\"')])?\s*\)"
)
_LINK = re.compile(r"!?\[((?:[^\[\]\n]|\[[^\[\]\n]*\]){0,500})\]" + _TARGET)
_IMAGE_BY_NAME = re.compile(r"!\[([^\[\]\n]{0,500})\](?!\()(?:\[[^\[\]\n]{0,200}\])?")
_DEFINITION = re.compile(r"^[ >]{0,3}\[[^\]\n]{1,200}\]:[ \t]*<?((?:[\w+.-]+:|//)\S*).*$", re.M)
_URL = re.compile(
    r"<?(?:\b[a-z][a-z0-9+.-]{1,20}://|\bwww\.(?=\w)|(?<![\w:/])//(?=[\w-]+\.\w))"
    r"(?:[^\s<>\"'`|\](){}]++|\([^\s()<>`]*+\))++>?",
    re.IGNORECASE,
)
_SUSPECT = re.compile(r"[<!]|\](?:\s*[(:])|//|www\.", re.IGNORECASE)
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_TRAILING = ".,;:!?*_"

LINK_LIKE = re.compile(r"\S*(?:://|www\.|//[\w-]+\.)", re.IGNORECASE)
"""A word that may be a link, or the beginning of one."""

Known = Callable[[str], bool]


def without_links(text: str, cited: Known, quoted: Known) -> str:
    """The text with links to `cited` addresses only, and no markup of HTML.

    A link elsewhere leaves its words, an image its description. A bare address stays, as code that
    nothing makes a link of, where it stands in the sources (`quoted`); any other is removed. What
    stands in code already is left as it is.
    """
    if not _SUSPECT.search(text):
        return text
    return outside_code(text, lambda part: _safe(part, cited, quoted))


def _safe(part: str, cited: Known, quoted: Known) -> str:
    before = ""
    while before != part:  # there may be a link in a link's words
        before = part
        part = _LINK.sub(lambda m: m.group() if cited(m.group(2)) else m.group(1), part)
    part = _IMAGE_BY_NAME.sub(lambda m: m.group(1), part)
    part = _DEFINITION.sub(lambda m: m.group() if cited(m.group(1)) else "", part)
    pieces: list[str] = []
    at = 0
    for kept in _LINK.finditer(part):  # those to cited sources
        pieces += [_plain(part[at : kept.start()], cited, quoted), kept.group()]
        at = kept.end()
    return "".join([*pieces, _plain(part[at:], cited, quoted)])


def _plain(part: str, cited: Known, quoted: Known) -> str:
    """Text without links of Markdown: addresses by themselves, and tags."""

    def address(match: re.Match[str]) -> str:
        found = match.group().strip("<>")
        url = found.rstrip(_TRAILING)
        if cited(url):
            return match.group()
        return (f"`{url}`" if quoted(url) else REMOVED) + found[len(url) :]

    part = _URL.sub(address, part)
    return _TAG.sub("\u2039", part)
