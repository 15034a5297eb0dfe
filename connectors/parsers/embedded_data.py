"""Removing data that is written as text: pictures and files in base64, keys, data URIs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from connectors.parsers.omissions import OmissionLog

_DIGITS = r"[A-Za-z0-9+/_-]"  # of base64, in both alphabets
_LINE_END = r"(?:\r?\n|(?:\\r)?\\n)"  # also as the escape of a string in JSON
_BASE64_LINES = rf"(?:{_LINE_END}[ \t>]*+{_DIGITS}{{40,}}+={{0,2}})*+"
_MIN_RUN_CHARACTERS = 400  # of base64 without a line end
_MIN_LINES = 6  # of base64 in lines of equal length
_MIN_URI_CHARACTERS = 40  # of the data of a URI; a shorter one may be an example in a text
_MAX_SVG_CHARACTERS = 50_000
_MAX_PEM_CHARACTERS = 100_000
_MAX_URL_CHARACTERS = 2_000

_URI_DATA = (
    r"data:(?:[\w.+-]++/[\w.+-]++)?+(?:;[\w.+=-]++(?<!;base64))*+;base64,"
    rf"(?:{_DIGITS}|%2[BbFf]|%3[Dd]|=){{{_MIN_URI_CHARACTERS},}}+{_BASE64_LINES}"
    r"|data:image/svg\+xml[^,\s]{0,60},\s?"
    rf"(?:%3[Cc]|<)svg\b(?:(?!data:).){{0,{_MAX_SVG_CHARACTERS}}}?"
    r"(?:%3[Cc]|<)(?:/|%2[Ff])svg(?:%3[Ee]|>)"
    r"|data:[\w.+-]++/[\w.+-]++(?:;[\w.+=-]++)*+,[^\s\"'<>()]{200,}+"
)
_DATA_URI = re.compile(_URI_DATA, re.S)
_LINK_DEFINITION = re.compile(
    rf"^ {{0,3}}\[[^\]\n]{{1,200}}\]:[ \t]*<?(?:{_URI_DATA})[^\n]*(?:\n|\Z)", re.M | re.S
)
_PEM = re.compile(
    r"-----BEGIN ([A-Z][A-Z0-9 ]{1,60})-----"
    rf"(?:(?!-----).){{0,{_MAX_PEM_CHARACTERS}}}+-----END \1-----",
    re.S,
)
_UUENCODED = re.compile(
    r"^begin [0-7]{3,4} [^\n]{1,200}\n(?:(?!end)[ -`]{1,62}\r?\n)*+end[ \t]*$", re.M
)
_RUN = re.compile(rf"(?<!{_DIGITS}){_DIGITS}{{{_MIN_RUN_CHARACTERS},}}+={{0,2}}")
_LINES = re.compile(
    rf"(?<!{_DIGITS}){_DIGITS}{{60,80}}(?:{_LINE_END}[ \t>]*+{_DIGITS}{{60,80}}(?!{_DIGITS}))"
    rf"{{{_MIN_LINES - 1},}}+(?:{_LINE_END}[ \t>]*+{_DIGITS}{{1,80}}={{0,2}}(?![^\s\"'\\<]))?"
)
_URL = re.compile(r"://[^\s\"'<>]*\Z")
_CLASSES = re.compile(r"[A-Z]+|[a-z]+|[0-9]+")
_ESCAPED_JSON = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:(/)|u00(2[bBfF]|3[dD]))")


def remove_embedded_data(text: str, *, only_uris: bool = False) -> tuple[str, list[int]]:
    """Return `text` without the data in it, and the size of each removed piece in bytes.

    Removed are data URIs and, unless `only_uris`, base64 (long runs and blocks of lines), PEM
    blocks and uuencoded files. A picture in Markdown keeps its alternative text.
    """
    sizes: list[int] = []

    def remove(match: re.Match[str]) -> str:
        sizes.append(len(match.group()) * 3 // 4)
        return ""

    def remove_base64(match: re.Match[str]) -> str:
        before = text[max(0, match.start() - _MAX_URL_CHARACTERS) : match.start()]
        return match.group() if _URL.search(before) or not _is_base64(match) else remove(match)

    if "data:" in text:
        text = _LINK_DEFINITION.sub(remove, text)
        text = _DATA_URI.sub(remove, text)
    if only_uris:
        return text, sizes
    if "-----BEGIN " in text:
        text = _PEM.sub(remove, text)
    if "begin " in text:
        text = _UUENCODED.sub(remove, text)
    for pattern in (_LINES, _RUN):
        text = pattern.sub(remove_base64, text)
    return text, sizes


def remove_embedded_data_of_json(text: str) -> tuple[str, list[int]]:
    """Return JSON without the data in its strings, and the size of each removed piece in bytes.

    Strings in which ``/``, ``+`` and ``=`` are written as escapes are found, too.
    """
    if "\\/" in text or "\\u00" in text:
        text = _ESCAPED_JSON.sub(_unescape, text)
    return remove_embedded_data(text)


def remove_embedded_data_of_markup(data: bytes) -> tuple[bytes, list[int]]:
    """Return XML or HTML without the data in it, and the size of each removed piece in bytes.

    The encoding does not matter, as long as it has ASCII characters as single bytes.
    """
    text, sizes = remove_embedded_data(data.decode("latin-1"))
    return (text.encode("latin-1") if sizes else data), sizes


def log_embedded_data(log: OmissionLog, sizes: Iterable[int]) -> None:
    """Record removed pieces of data, whose sizes are in bytes."""
    for size in sizes:
        log.add("picture", f"embedded picture of {max(1, round(size / 1000))} kB")


def _is_base64(match: re.Match[str]) -> bool:
    """Whether letters and digits change as often as in base64.

    They do not in hexadecimal numbers, sequences of bases, names and text without spaces.
    """
    text = re.sub(r"\\[rn]|[^A-Za-z0-9]", "", match.group())
    kinds = [run[0] for run in _CLASSES.findall(text)]
    uppercase, lowercase = sum(map(str.isupper, text)), sum(map(str.islower, text))
    digit_count = len(text) - uppercase - lowercase
    return (
        min(uppercase, lowercase) > 0.1 * len(text)
        and digit_count > 0.02 * len(text)
        and sum(1 for _ in pairwise(kinds)) > 0.3 * len(text)
    )


def _unescape(match: re.Match[str]) -> str:
    slash, code = match.group(2), match.group(3)
    return match.group(1) + (slash or chr(int(code, 16)))
