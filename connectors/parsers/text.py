"""Plain text in any encoding."""

from __future__ import annotations

import codecs
import posixpath
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from connectors.base import Parser
from rag.errors import NoText, UnsupportedFormat
from rag.types import Document, well_formed

# The longer ones first: UTF-32's little-endian mark begins with UTF-16's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What text is found in, the commonest first: it wins where the guess is a tie. Left to choose among
# all there are, the guess is often an encoding of old Macintoshes.
_ENCODINGS = (
    *("cp1252", "cp932", "gb18030", "cp1251", "cp949", "cp1250", "big5", "koi8_r", "euc_jp"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "iso2022_jp"),
    *("utf_16_le", "utf_16_be"),
)
_SAMPLE = 100_000  # bytes the encoding is guessed from
_CONTROLS = dict.fromkeys([*range(9), 11, *range(14, 32), 127])


class TextParser(Parser):
    """Text as it stands; the encoding is told by its mark, is UTF-8, or is guessed."""

    name: ClassVar[str] = "text"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"text/plain": (".txt", ".text", ".log")}
    library: ClassVar[str] = "charset-normalizer"
    keeps: ClassVar[str] = "the text as written, in any encoding"
    drops: ClassVar[str] = "nothing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Decode `data`. The file's name is the title."""
        text = decode(data)
        require_text(text)
        return Document(uri=uri, text=text, title=name_of(uri), mime=mime or "text/plain")


def decode(data: bytes) -> str:
    """Decode bytes that should be text. Raises `UnsupportedFormat` where they are not."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return well_formed(data[len(mark) :].decode(encoding, errors="replace"))
    if (wide := _wide_ascii(data)) is not None:
        return well_formed(data.decode(wide, errors="replace"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = _nearly_utf8(data) or _guess(data)
    if text.translate(_CONTROLS) != text and _looks_binary(text):
        raise UnsupportedFormat("a binary file, not text")
    return text


def _wide_ascii(data: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of plain text is zero."""
    sample = data[:1_000]
    if len(sample) < 8 or len(data) % 2:
        return None
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.7 * half and not even:
        return "utf-16-le"
    return "utf-16-be" if even > 0.7 * half and not odd else None


def _nearly_utf8(data: bytes) -> str | None:
    """UTF-8 with a few bytes gone wrong, which U+FFFD then stands for."""
    text = data.decode("utf-8", errors="replace")
    wrong = text.count("\ufffd")
    right = sum(character > "\x7f" for character in text) - wrong
    return text if right > 20 * wrong else None


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    # A sample may end within a character: then one that ends a byte or more earlier does not.
    cuts = [len(data)] if len(data) <= _SAMPLE else range(_SAMPLE - 3, _SAMPLE + 1)
    isolated = list(_ENCODINGS)
    matches = [m for cut in cuts for m in from_bytes(data[:cut], cp_isolation=isolated)]
    if not matches:
        raise UnsupportedFormat("not text in any known encoding (a binary file?)")
    best = min(matches, key=lambda m: (m.chaos, -m.coherence, _ENCODINGS.index(m.encoding)))
    return well_formed(data.decode(best.encoding, errors="replace"))


def _looks_binary(text: str) -> bool:
    sample = text[:_SAMPLE]
    controls = len(sample) - len(sample.translate(_CONTROLS))
    return controls > 0.05 * len(sample)


def require_text(text: str) -> None:
    """Raise `NoText` where `text` has nothing but white space."""
    if not text.strip():
        raise NoText("the file is empty" if not text else "the file holds only white space")


def name_of(uri: str) -> str:
    """File name in a uri, as people write it."""
    return unquote(posixpath.basename(urlsplit(uri).path.rstrip("/"))) or uri
