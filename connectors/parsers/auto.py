"""The default parser: looks at a file's name and first bytes and asks the right one."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import ClassVar

from connectors.base import Parser
from connectors.parsers.html import HtmlParser
from connectors.parsers.markdown import MarkdownParser
from connectors.parsers.pdf import PdfParser
from connectors.parsers.text import TextParser, name_of
from rag.errors import UnsupportedFormat
from rag.types import Document

_MIME_OF_SUFFIX = {
    ".htm": "text/html",
    ".html": "text/html",
    ".xhtml": "text/html",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".mdx": "text/markdown",
    ".pdf": "application/pdf",
}
# First bytes of formats that are no text and that no parser here reads, to name them in errors.
_SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive or Office document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"{\\rtf", "an RTF document"),
    (b"OggS", "an Ogg sound or film"),
    (b"ID3", "an MP3 sound"),
    (b"RIFF", "a RIFF sound, picture or film"),
)
_HTML = re.compile(
    rb"\s*+(?:<\?xml[^>]*+>\s*+)?+(?:<!--.*?-->\s*+)*+<(?:!doctype\s+html|html)\b", re.I | re.S
)


class AutoParser(Parser):
    """Picks the parser by what the bytes are, then by what the source or its name says."""

    name: ClassVar[str] = "auto"

    html: Parser = HtmlParser()
    markdown: Parser = MarkdownParser()
    pdf: Parser = PdfParser()
    text: Parser = TextParser()

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` with the parser for its format."""
        kind = guess_mime(data, uri=uri, mime=mime)
        parser = {
            "application/pdf": self.pdf,
            "text/html": self.html,
            "text/markdown": self.markdown,
        }.get(kind, self.text)
        return parser.parse(data, uri=uri, mime=kind)


def guess_mime(data: bytes, *, uri: str, mime: str | None) -> str:
    """Media type of `data`. Raises `UnsupportedFormat` for formats known not to be text."""
    head = data[:1024]
    if head.lstrip().startswith(b"%PDF-"):
        return "application/pdf"
    for signature, what in _SIGNATURES:
        if head.startswith(signature) and _is_binary(head):
            raise UnsupportedFormat(f"{what}, which no installed parser reads")
    suffix = PurePosixPath(name_of(uri)).suffix.lower()
    named = (mime or _MIME_OF_SUFFIX.get(suffix) or "").split(";")[0].strip().lower()
    if not named or named in ("text/plain", "application/octet-stream"):
        return "text/html" if _HTML.match(head) else "text/plain"
    return named


def _is_binary(head: bytes) -> bool:
    """Whether more than the signature says so: prose may begin with "MZ" or "ID3" as well."""
    return (
        head.startswith(b"{\\rtf")
        or any(byte < 9 or 13 < byte < 32 for byte in head)
        or any(byte > 126 for byte in head[:64])
    )
