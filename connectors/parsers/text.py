"""Plain text in any encoding."""

from __future__ import annotations

import codecs
import posixpath
import re
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from connectors.base import Parser
from connectors.parsers.embedded_data import log_embedded_data, remove_embedded_data
from connectors.parsers.encoding_detection import (
    decode_iso_2022,
    decode_with_guess,
    detect_wide_encoding,
    guess_encoding,
)
from connectors.parsers.invisible_characters import remove_invisible_characters
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.plain_headings import find_plain_headings
from connectors.parsers.terminal_codes import remove_terminal_codes
from connectors.parsers.text_builder import build_heading_marks
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
_SHORT_BYTES = 1_000  # so few invalid bytes have to be no more than half of the others
_MIN_UTF8_LINES = 2
_NULS = re.compile("\0{8,}")  # in a log, after the power failed
_SAMPLE_LENGTH = 100_000  # characters of a file that are examined
_CONTROL_CHARACTERS = dict.fromkeys([*range(9), 11, *range(14, 32), 127])


class TextParser(Parser):
    """Text as written; the encoding is that of the byte order mark, UTF-8, or guessed."""

    name: ClassVar[str] = "text"
    revision: ClassVar[int] = 5
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"text/plain": (".txt", ".text", ".log")}
    library: ClassVar[str] = "chardet"
    keeps: ClassVar[str] = "the text as written, in any encoding; headings"
    drops: ClassVar[str] = (
        "data in base64, codes that control a terminal, overwritten progress lines"
    )

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Decode `data`. The title is the heading of the whole text, or else the file name."""
        text, sizes = remove_embedded_data(remove_terminal_codes(decode(data)))
        require_text(text)
        log = OmissionLog()
        log_embedded_data(log, sizes)
        file_name = extract_file_name(uri)
        headings = [] if file_name.lower().endswith(".log") else find_plain_headings(text)
        titles = [heading.text for heading in headings if heading.level == 1]
        return Document(
            uri=uri,
            text=text,
            title=titles[0] if len(titles) == 1 else file_name,
            mime=mime or "text/plain",
            marks=build_heading_marks(headings, len(text)),
            coverage=log.count_unchanged(text),
        )


def decode(data: bytes) -> str:
    """Decode the bytes of a text file, without soft hyphens and other characters without width.

    Raises `UnsupportedFormat` for a binary file.
    """
    return remove_invisible_characters(_decode(data))


def _decode(data: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return to_well_formed(data[len(mark) :].decode(encoding, errors="replace"))
    if (wide_encoding := detect_wide_encoding(data)) is not None:
        return to_well_formed(data.decode(wide_encoding, errors="replace"))
    if (text := decode_iso_2022(data)) is not None:
        return text
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = _decode_damaged_utf8(data) or _decode_lines(data) or decode_with_guess(data)
    text = _NULS.sub("", text)
    if text.translate(_CONTROL_CHARACTERS) != text and _is_binary(remove_terminal_codes(text)):
        raise UnsupportedFormat("a binary file, not text")
    return text


def _decode_damaged_utf8(data: bytes) -> str | None:
    """Decode UTF-8 with few invalid bytes, each replaced by U+FFFD; None if there are many."""
    text = data.decode("utf-8", errors="replace")
    invalid_count = text.count("\ufffd")
    valid_count = sum(character > "\x7f" for character in text) - invalid_count
    is_short = len(data) <= _SHORT_BYTES and valid_count > 1 and valid_count >= 2 * invalid_count
    return text if valid_count > 20 * invalid_count or is_short else None


def _decode_lines(data: bytes) -> str | None:
    """Decode a file, such as a log, in which some lines are UTF-8 and others are not."""
    lines = data.split(b"\n")
    is_utf8 = [_is_utf8(line) for line in lines]
    other_lines = [line for line, is_valid in zip(lines, is_utf8, strict=True) if not is_valid]
    utf8_count = sum(
        not line.isascii() for line, is_valid in zip(lines, is_utf8, strict=True) if is_valid
    )
    if utf8_count < _MIN_UTF8_LINES or utf8_count < len(other_lines) / 2:
        return None
    encoding = guess_encoding(b"\n".join(other_lines))
    return to_well_formed(
        "\n".join(
            line.decode("utf-8" if is_valid else encoding, errors="replace")
            for line, is_valid in zip(lines, is_utf8, strict=True)
        )
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_binary(text: str) -> bool:
    sample = text[:_SAMPLE_LENGTH]
    control_count = len(sample) - len(sample.translate(_CONTROL_CHARACTERS))
    return control_count > 0.05 * len(sample)


def require_text(text: str) -> None:
    """Raise `NoText` if `text` contains only white space."""
    if not text.strip():
        raise NoText("the file is empty" if not text else "the file contains only white space")


def extract_file_name(uri: str) -> str:
    """Return the decoded file name of a uri; the uri if it has none."""
    return unquote(posixpath.basename(urlsplit(uri).path.rstrip("/"))) or uri
