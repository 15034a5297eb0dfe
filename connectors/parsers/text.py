"""Plain text in any encoding."""

from __future__ import annotations

import codecs
import posixpath
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from connectors.base import Parser
from rag.errors import NoText, UnsupportedFormat
from rag.types import Document, to_well_formed

# Longer marks first: the UTF-32 little-endian mark starts with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Common encodings, the most common first: it wins a tie. Given all encodings, charset-normalizer
# often guesses one of old Macintosh computers.
_ENCODINGS = (
    *("cp1252", "cp932", "gb18030", "cp1251", "cp949", "cp1250", "big5", "koi8_r", "euc_jp"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "iso2022_jp"),
    *("utf_16_le", "utf_16_be"),
)
_SAMPLE_LENGTH = 100_000  # bytes or characters of a file that are examined
_INVISIBLE_CHARACTERS = dict.fromkeys([0xAD, 0x200B, 0x2060, 0xFEFF])
_CONTROL_CHARACTERS = dict.fromkeys([*range(9), 11, *range(14, 32), 127])


class TextParser(Parser):
    """Text as written; the encoding is that of the byte order mark, UTF-8, or guessed."""

    name: ClassVar[str] = "text"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"text/plain": (".txt", ".text", ".log")}
    library: ClassVar[str] = "charset-normalizer"
    keeps: ClassVar[str] = "the text as written, in any encoding"
    drops: ClassVar[str] = "nothing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Decode `data`. The title is the file name."""
        text = decode(data)
        require_text(text)
        return Document(uri=uri, text=text, title=extract_file_name(uri), mime=mime or "text/plain")


def decode(data: bytes) -> str:
    """Decode the bytes of a text file. Raises `UnsupportedFormat` for a binary file."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return to_well_formed(data[len(mark) :].decode(encoding, errors="replace"))
    if (utf16 := _detect_utf16(data)) is not None:
        return to_well_formed(data.decode(utf16, errors="replace"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = _decode_damaged_utf8(data) or _decode_by_guess(data)
    if text.translate(_CONTROL_CHARACTERS) != text and _is_binary(text):
        raise UnsupportedFormat("a binary file, not text")
    return text


def _detect_utf16(data: bytes) -> str | None:
    """Return the kind of UTF-16 without a byte order mark; None for other encodings.

    In UTF-16 every other byte of ASCII text is zero.
    """
    sample = data[:1_000]
    if len(sample) < 8 or len(data) % 2:
        return None
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.7 * half and not even:
        return "utf-16-le"
    return "utf-16-be" if even > 0.7 * half and not odd else None


def _decode_damaged_utf8(data: bytes) -> str | None:
    """Decode UTF-8 with few invalid bytes, each replaced by U+FFFD; None if there are many."""
    text = data.decode("utf-8", errors="replace")
    invalid_count = text.count("\ufffd")
    valid_count = sum(character > "\x7f" for character in text) - invalid_count
    return text if valid_count > 20 * invalid_count else None


def _decode_by_guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    # A sample may end inside a character; then a sample that is a few bytes shorter does not.
    sample_sizes = (
        [len(data)]
        if len(data) <= _SAMPLE_LENGTH
        else range(_SAMPLE_LENGTH - 3, _SAMPLE_LENGTH + 1)
    )
    isolated = list(_ENCODINGS)
    matches = [
        m
        for sample_size in sample_sizes
        for m in from_bytes(data[:sample_size], cp_isolation=isolated)
    ]
    if not matches:
        raise UnsupportedFormat("not text in any known encoding (a binary file?)")
    best_match = min(matches, key=lambda m: (m.chaos, -m.coherence, _ENCODINGS.index(m.encoding)))
    return to_well_formed(data.decode(best_match.encoding, errors="replace"))


def _is_binary(text: str) -> bool:
    sample = text[:_SAMPLE_LENGTH]
    control_count = len(sample) - len(sample.translate(_CONTROL_CHARACTERS))
    return control_count > 0.05 * len(sample)


def remove_invisible_characters(text: str) -> str:
    """Remove soft hyphens and other characters without width, which divide words in silence."""
    return text if text.isascii() else text.translate(_INVISIBLE_CHARACTERS)


def require_text(text: str) -> None:
    """Raise `NoText` if `text` contains only white space."""
    if not text.strip():
        raise NoText("the file is empty" if not text else "the file contains only white space")


def extract_file_name(uri: str) -> str:
    """Return the decoded file name of a uri; the uri if it has none."""
    return unquote(posixpath.basename(urlsplit(uri).path.rstrip("/"))) or uri
