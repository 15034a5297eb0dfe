"""Choosing between the plain text and the HTML version of an e-mail."""

from __future__ import annotations

import html
import re

from connectors.parsers.omissions import list_words

_MIN_COVERED_SHARE = 0.5  # of the words of the HTML version that the plain text has
_FEW_WORDS = 20
_MAX_NOTICE_WORDS = 80
_MAX_NOTICE_SHARE = 0.7  # of the words of the HTML version
_NO_TEXT = re.compile(r"<(style|script|head|title)\b|<!--", re.I)
_CELL = re.compile(r"<t[dh]\b[^<>]*+>((?:(?!<t[dh]\b).){0,2000}?)</t[dh]\s*+>", re.I | re.S)
_TAG = re.compile(r"<[^<>]*>")
_URL = re.compile(r"(?:https?://|www\.|mailto:)\S+")
_NOTICE = re.compile(
    r"""(?ix)
    \bhtml\b.{0,40}\b(?:version|format|e-?mail|mail|message|nachricht|fähig|support|anzeigen)
    | (?:see|view|read|display|support|anzeigen|darstell\w{0,9}|enable)\b.{0,60}\bhtml\b
    | (?:view|read|open).{0,40}\b(?:web\s?browser|browser|online)\b
    | (?:im|in\ ihrem)\ browser\b | dans\ (?:votre|un)\ navigateur | en\ (?:su|el)\ navegador
    | nel\ (?:tuo\ )?browser | no\ admite\ html | ne\ (?:supporte|prend)\ pas.{0,30}\bhtml
    """
)


def extract_html_words(markup: str) -> str:
    """Return the visible text of HTML, without its structure."""
    return " ".join(html.unescape(_TAG.sub(" ", _remove_invisible(markup))).split())


def _remove_invisible(markup: str) -> str:
    """Return HTML without comments and the elements that are not shown."""
    parts: list[str] = []
    end = 0
    unclosed: set[str] = set()
    while opening := _NO_TEXT.search(markup, end):
        name = (opening[1] or "").lower()
        closing = None
        if name not in unclosed:
            pattern = rf"</{name}\s*+>" if name else "-->"
            closing = re.compile(pattern, re.I).search(markup, opening.end())
        if closing is None:
            unclosed.add(name)
            parts.append(markup[end : opening.end()])
            end = opening.end()
            continue
        parts += [markup[end : opening.start()], " "]
        end = closing.end()
    return "".join([*parts, markup[end:]])


def is_stub(plain_text: str, html_text: str) -> bool:
    """Return whether the plain text of a mail lacks much of its HTML version.

    `html_text` is the visible text of the latter. Addresses of links do not count as words.
    """
    plain_words = set(list_words(_URL.sub(" ", plain_text)))
    html_words = set(list_words(_URL.sub(" ", html_text)))
    is_notice = _NOTICE.search(plain_text) is not None
    is_short = len(plain_words) < _FEW_WORDS
    covered_count = len(plain_words & html_words)
    if is_notice and is_short and covered_count <= len(plain_words) / 2:
        return bool(html_words)
    if is_notice and len(plain_words) <= min(
        _MAX_NOTICE_WORDS, _MAX_NOTICE_SHARE * len(html_words)
    ):
        return True
    if is_short and len(html_words) >= max(2 * len(plain_words), len(plain_words) + 10):
        return True
    return len(html_words) >= _FEW_WORDS and covered_count < _MIN_COVERED_SHARE * len(html_words)


def has_more_tables(plain_text: str, markup: str) -> bool:
    """Return whether the HTML version has a table with numbers that the plain text lacks."""
    if "<table" not in markup.lower():
        return False
    plain_words = set(list_words(plain_text))
    cells = (extract_html_words(cell) for cell in _CELL.findall(markup))
    numbers = {word for cell in cells for word in list_words(cell) if word.isdigit()}
    return len(numbers - plain_words) > 1
