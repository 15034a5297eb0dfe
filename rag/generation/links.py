"""Links and images in answers: only those to cited sources remain.

A document can try to inject a link or an image that sends the conversation to a foreign server. A
browser fetches an image as soon as it is displayed, so only images of cited sources may remain.
Recognized links are removed and leave their words. Text that some Markdown renderer could still
take for a link loses its syntax: ``](`` becomes ``] (``, and ``]:`` becomes ``] :``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rag.generation.markers import INLINE_CODE

LINK_PLACEHOLDER = "(link removed)"

_TARGET = (
    r"\(\s*+<?([^()\s<>]*+(?:\([^()\s]*+\)[^()\s<>]*+)*+)>?"
    r"(?:\s++[\"'(][^\n]{0,200}?[\"')])?\s*+\)"
)
_LINK = re.compile(r"(!?)\[((?:[^\[\]\n]|\[[^\[\]\n]*+\]){0,500})\]" + _TARGET)
_IMAGE_BY_NAME = re.compile(r"!\[([^\[\]]{0,500})\](?!\()(?:\[[^\[\]]{0,200}\])?")
_DEFINITION = re.compile(r"^[ >]{0,3}\[[^\]\n]{1,200}\]:[ \t]*<?((?:[\w+.-]+:|//)\S*).*$", re.M)
_URL = re.compile(
    r"<?(?:(?<![A-Za-z0-9+.-])[a-z][a-z0-9+.-]{1,20}://|(?<![A-Za-z0-9])www\.(?=\w)"
    r"|(?<![A-Za-z0-9:/])//(?=[\w-]+\.\w))"
    r"(?:[^\s<>\"'`|\](){}]++|\([^\s()<>`]*+\))++>?",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_LOADING_TAG = re.compile(
    r"<(?=[a-z!/?][^<>]{0,2000}?(?:src|href|style|data|action|poster|background|\bon\w+)\s*=)", re.I
)
_AUTOLINK = re.compile(r"<(?=[a-z][a-z0-9+.-]{1,31}:)", re.IGNORECASE)
_DEFINITION_COLON = re.compile(r"\]:")
_MARKER_START = re.compile(r"\[\d{1,3}\Z")
_LINE_MARKS = re.compile(r"(?:[\s>*+-]|\d{1,9}[.)](?=\s))*+")  # of quotations and lists
_TEXT = re.compile(r"\w")
_IMAGE_START = re.compile(r"!(?=\[)")
_TRAILING_PUNCTUATION = ".,;:!?*_"
_POSSIBLE_MARKUP = re.compile(r"[<!]|\]\s*[(:]|//|www\.", re.IGNORECASE)
_MAX_LINK_NESTING = 8

POSSIBLE_LINK = re.compile(r"(?<!\S)\S*?(?://|www\.)", re.IGNORECASE)
"""A word that may be a link or the beginning of one."""

UrlPredicate = Callable[[str], bool]


def remove_uncited_links(text: str, is_cited: UrlPredicate, is_quoted: UrlPredicate) -> str:
    """Return the text without HTML markup, and with links to cited addresses only.

    Any other link leaves its words, an image its description. A bare address that occurs in the
    sources (`is_quoted`) becomes inline code, which no renderer turns into a link; any other is
    removed. Code between backticks keeps its words, but its link syntax is broken as well, since
    renderers do not agree on what is code.
    """
    if not _POSSIBLE_MARKUP.search(text):
        return text
    parts: list[str] = []
    code_end = 0
    for code in INLINE_CODE.finditer(text):
        parts += [
            _clean_prose(text[code_end : code.start()], is_cited, is_quoted),
            break_link_syntax(code.group()),
        ]
        code_end = code.end()
    return "".join([*parts, _clean_prose(text[code_end:], is_cited, is_quoted)])


def remove_all_links(text: str) -> str:
    """Return a text that no source was cited for, without HTML markup, links and addresses."""
    return remove_uncited_links(text, _is_no_source, _is_no_source)


def _is_no_source(_: str) -> bool:
    return False


def break_link_syntax(code: str) -> str:
    """Return code in which no renderer finds a link or an image."""
    code = _AUTOLINK.sub("\u2039", _LOADING_TAG.sub("\u2039", code))
    return code.replace("](", "] (").replace("]:", "] :")


def _clean_prose(part: str, is_cited: UrlPredicate, is_quoted: UrlPredicate) -> str:
    """Return text without code spans with links to cited addresses only."""
    for _ in range(_MAX_LINK_NESTING):  # the words of a link can contain a link
        previous_part = part
        part = _LINK.sub(lambda m: m.group() if is_cited(m.group(3)) else m.group(2), part)
        if part == previous_part:
            break
    part = _IMAGE_BY_NAME.sub(lambda m: m.group(1), part)
    part = _DEFINITION.sub(lambda m: m.group() if is_cited(m.group(1)) else "", part)
    pieces: list[str] = []
    link_end = 0
    for link in _LINK.finditer(part):
        if not is_cited(link.group(3)):
            continue
        words = (
            _clean_text_between_links(link.group(2), is_cited, is_quoted)
            .replace("[", "(")
            .replace("]", ")")
        )
        pieces.append(_clean_text_between_links(part[link_end : link.start()], is_cited, is_quoted))
        pieces.append(f"{link.group(1)}[{words}]({link.group(3)})")
        link_end = link.end()
    return "".join([*pieces, _clean_text_between_links(part[link_end:], is_cited, is_quoted)])


def _clean_text_between_links(part: str, is_cited: UrlPredicate, is_quoted: UrlPredicate) -> str:
    """Return text without addresses, tags and brackets that could become links."""

    def replace_url(match: re.Match[str]) -> str:
        address = match.group().strip("<>")
        url = address.rstrip(_TRAILING_PUNCTUATION)
        if is_cited(url):
            return match.group() if not match.group().startswith("<") else address
        return (f"`{url}`" if is_quoted(url) else LINK_PLACEHOLDER) + address[len(url) :]

    part = _TAG.sub("\u2039", _URL.sub(replace_url, part)).replace("](", "] (")
    part = _IMAGE_START.sub("! ", part)
    return _DEFINITION_COLON.sub(
        lambda m: m.group() if _ends_with_marker(part, m.start()) else "] :", part
    )


def _ends_with_marker(text: str, position: int) -> bool:
    """Whether a citation marker in a line, not at its beginning, ends at the bracket there."""
    start = _MARKER_START.search(text, max(0, position - 4), position)
    if start is None:
        return False
    line_start = text.rfind("\n", 0, start.start()) + 1
    marks = _LINE_MARKS.match(text, line_start, start.start())
    return _TEXT.search(text, marks.end() if marks else line_start, start.start()) is not None
