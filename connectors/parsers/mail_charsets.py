"""Decoding the bodies and headers of e-mails, whose stated charsets are often wrong."""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
import re
from email.message import Message
from typing import Any

from connectors.parsers.text import decode
from rag.errors import ParseError
from rag.types import to_well_formed

# What programs write for charsets that Python knows by another name.
_ALIASES = {
    "iso-8859-8-i": "iso8859_8",
    "iso-8859-8-e": "iso8859_8",
    "iso-8859-6-i": "iso8859_6",
    "iso-8859-6-e": "iso8859_6",
    "unicode-1-1-utf-7": "utf-7",
    "unicode-1-1-utf-8": "utf-8",
    "utf8mb4": "utf-8",
    "x-sjis": "cp932",
    "x-euc-jp": "euc_jp",
    "x-gbk": "gb18030",
    "x-mac-roman": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-user-defined": "",
    "unicode": "",
}
# Encodings with more characters than the one that is stated, as browsers use them.
_SUPERSETS = {
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "big5": "cp950",
    "iso2022_jp": "iso2022_jp_ext",
    "tis-620": "cp874",
}
_WINDOWS_CHARSET = re.compile(r"(?:windows|cp|ibm|dos|x-cp)[-_ ]?(\d{3,4})")
_ISO_CHARSET = re.compile(r"iso[-_ ]?8859[-_ ]?(\d{1,2})")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.I)
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]{0,2000})\?=")
_ENCODED_WORDS = re.compile(rf"{_ENCODED_WORD.pattern}(?:\s+{_ENCODED_WORD.pattern})*")
_LETTER = re.compile(r"[^\W\d_]")
_C1_CONTROL = re.compile(r"[\x80-\x84\x86-\x9f]")
_MIN_LETTERS = 8  # of a text, to judge from them whether its charset is the stated one


def find_codec(charset: str | None) -> str:
    """Return the name of the codec for a charset that a mail states; "" if it is not known."""
    name = (charset or "").strip().strip("'\"").lower()
    if name in _ALIASES:
        return _ALIASES[name]
    candidates = [name, name.removeprefix("x-"), name.removeprefix("_")]
    candidates += [f"cp{match.group(1)}" for match in [_WINDOWS_CHARSET.search(name)] if match]
    candidates += [f"iso8859-{match.group(1)}" for match in [_ISO_CHARSET.search(name)] if match]
    candidates += [word for word in re.findall(r"[\w-]+", name)[:1] if word != name]
    for candidate in filter(None, candidates):
        try:
            info = codecs.lookup(candidate)
        except (LookupError, ValueError):
            continue
        is_text = getattr(info, "_is_text_encoding", True)
        if is_text and info.name not in ("idna", "punycode", "undefined"):
            return info.name
    return ""


def decode_part(part: Message[Any, Any], data: bytes) -> str:
    """Decode the body of a part: by its charset, that in its HTML, or a guess."""
    charset = part.get_content_charset()
    if part.get_content_type() == "text/html" and not find_codec(charset):
        match = _META_CHARSET.search(data[:4_096])
        charset = match.group(1).decode("ascii") if match else charset
    return decode_stated(data, charset)


def decode_stated(data: bytes, charset: str | None) -> str:
    """Decode `data` by the stated `charset`; by a guess if that is unknown or does not fit."""
    codec = find_codec(charset)
    text = _decode_plausibly(data, codec) if codec else None
    if text is None:
        try:
            text = decode(data)
        except ParseError:
            text = data.decode(codec or "utf-8", errors="replace")
    return to_well_formed(text)


def _decode_plausibly(data: bytes, codec: str) -> str | None:
    """Decode `data` by `codec`; None if it is not in that encoding.

    UTF-8 is recognised in whatever the mail states, because other text is hardly ever valid UTF-8.
    """
    if b"\x1b$" in data and not codec.startswith("iso2022"):
        return None
    if data.isascii() and b"\x1b" not in data and not codec.startswith(("utf-", "hz")):
        return data.decode("ascii")
    is_utf8 = _decode_strictly(data, "utf-8") is not None and not data.isascii()
    if is_utf8 and not codec.startswith("utf-"):
        return data.decode("utf-8")
    for name in (codec, _SUPERSETS.get(codec, "")):
        text = _decode_strictly(data, name) if name else None
        if text is not None and not _C1_CONTROL.search(text):
            return None if _is_mostly_accents(text) else text
    text = data.decode(codec, errors="replace")
    is_damaged_only = codec not in ("ascii", "utf-8") and "\ufffd" in text
    return text if is_damaged_only and text.count("\ufffd") < 0.02 * len(text) else None


def _decode_strictly(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except ValueError:
        return None


def _is_mostly_accents(text: str) -> bool:
    """Whether most letters are accented Latin ones: that is Cyrillic or Greek with Latin letters.

    Words of these scripts that are decoded as Latin look so.
    """
    letters = _LETTER.findall(text)
    accented_count = sum("\xc0" <= letter <= "\xff" for letter in letters)
    return len(letters) >= _MIN_LETTERS and accented_count > 0.6 * len(letters)


def decode_raw_header(value: str, charset: str | None = None) -> str | None:
    """Decode a header as it stands in the mail; None if the email package reads it correctly.

    It does not read bytes that are not ASCII, and encoded words with a charset that is not known
    or is not that of the word. `charset` is that of the body, in which raw headers often are.
    """
    is_raw = any("\udc80" <= character <= "\udcff" for character in value)
    if not is_raw and not any(map(_is_misread, _ENCODED_WORD.finditer(value))):
        return None
    if is_raw:
        data = value.encode("utf-8", errors="surrogateescape")
        codec = find_codec(charset)
        value = decode_stated(data, charset if codec != "ascii" else None)
    value = _ENCODED_WORDS.sub(_decode_words, value)
    return to_well_formed(" ".join(value.split()))


def _is_misread(match: re.Match[str]) -> bool:
    charset, data = match.group(1), _read_word(match)
    try:
        return data is None or data.decode(charset.partition("*")[0]) != decode_stated(
            data, charset.partition("*")[0]
        )
    except (LookupError, ValueError):
        return True


def _decode_words(match: re.Match[str]) -> str:
    """Decode adjacent encoded words; a character may be divided between two of the same charset."""
    pieces: list[tuple[str, bytes]] = []
    for word in _ENCODED_WORD.finditer(match.group()):
        charset, data = word.group(1).partition("*")[0].lower(), _read_word(word)
        if data is None:
            return match.group()
        if pieces and pieces[-1][0] == charset:
            pieces[-1] = (charset, pieces[-1][1] + data)
        else:
            pieces.append((charset, data))
    return "".join(decode_stated(data, charset) for charset, data in pieces)


def _read_word(match: re.Match[str]) -> bytes | None:
    kind, text = match.group(2).lower(), match.group(3)
    try:
        data = text.encode("ascii")
        if kind == "q":
            return quopri.decodestring(data, header=True)
        return base64.b64decode(data + b"=" * (-len(data) % 4))
    except (UnicodeEncodeError, binascii.Error, ValueError):
        return None
