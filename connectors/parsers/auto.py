"""The default parser: looks at a file's first bytes and name, and asks the right one."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from connectors.base import Container, FailedPart, Parser, part_uri
from connectors.parsers.archives import ArchiveParser, is_tar
from connectors.parsers.code import CodeParser
from connectors.parsers.epub import EpubParser
from connectors.parsers.html import HtmlParser
from connectors.parsers.mail import EmailParser, MboxParser
from connectors.parsers.markdown import MarkdownParser
from connectors.parsers.notebook import NotebookParser
from connectors.parsers.office import DocxParser, OdtParser, PptxParser, RtfParser
from connectors.parsers.pdf import PdfParser
from connectors.parsers.picture import PictureParser
from connectors.parsers.records import JsonLinesParser, SheetParser, TableParser
from connectors.parsers.rst import RstParser
from connectors.parsers.structured import JsonParser, XmlParser, YamlParser
from connectors.parsers.subtitles import SubtitleParser
from connectors.parsers.text import TextParser, name_of
from rag.errors import EncryptedDocument, NoText, ParseError, SourceError, UnsupportedFormat
from rag.types import Document

_PLAIN = frozenset(("", "text/plain", "application/octet-stream", "binary/octet-stream"))
_ALIASES = {
    "application/xhtml+xml": "text/html",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-pdf": "application/pdf",
    "application/x-yaml": "application/yaml",
    "text/yaml": "application/yaml",
    "text/xml": "application/xml",
    "application/rss+xml": "application/xml",
    "application/atom+xml": "application/xml",
    "text/rtf": "application/rtf",
    "text/x-markdown": "text/markdown",
    "application/x-ndjson": "application/jsonl",
    "application/csv": "text/csv",
    "text/javascript": "text/x-javascript",
    "application/javascript": "text/x-javascript",
    "image/jpg": "image/jpeg",
}
# First bytes of formats that are no text. Those without a media type have no parser here.
_SIGNATURES = (
    (b"\x89PNG", "image/png", "a PNG picture"),
    (b"\xff\xd8\xff", "image/jpeg", "a JPEG picture"),
    (b"GIF8", "image/gif", "a GIF picture"),
    (b"II*\0", "image/tiff", "a TIFF picture"),
    (b"MM\0*", "image/tiff", "a TIFF picture"),
    (b"BM", "image/bmp", "a bitmap"),
    (b"\x1f\x8b", "application/gzip", "a gzip archive"),
    (b"BZh", "application/x-bzip2", "a bzip2 archive"),
    (b"\xfd7zXZ", "application/x-xz", "an xz archive"),
    (b"{\\rtf", "application/rtf", "an RTF document"),
    (b"7z\xbc\xaf", "", "a 7z archive"),
    (b"Rar!", "", "a RAR archive"),
    (b"\x7fELF", "", "a program"),
    (b"MZ", "", "a Windows program"),
    (b"SQLite format 3", "", "an SQLite database"),
    (b"OggS", "", "an Ogg sound or film"),
    (b"ID3", "", "an MP3 sound"),
    (b"fLaC", "", "a FLAC sound"),
    (b"\x1aE\xdf\xa3", "", "a Matroska or WebM film"),
)
_OLE = b"\xd0\xcf\x11\xe0"
_HTML = re.compile(
    rb"\s*+(?:<\?xml[^>]*+>\s*+)?+(?:<!--.*?-->\s*+)*+<(?:!doctype\s+html|html)\b", re.I | re.S
)


class AutoParser(Parser):
    """Picks the parser by what the bytes are, then by what the source or its name says.

    A field for each family of formats; ``others`` come first, for the formats they name. Archives
    and mails are unpacked, up to ``depth`` of them in one another, and every file in them is a
    document of its own, with the uri of what it was in as ``part_of``.
    """

    name: ClassVar[str] = "auto"

    text: Parser = TextParser()
    markdown: Parser = MarkdownParser()
    rst: Parser = RstParser()
    html: Parser = HtmlParser()
    pdf: Parser = PdfParser()
    docx: Parser = DocxParser()
    pptx: Parser = PptxParser()
    sheet: Parser = SheetParser()
    odt: Parser = OdtParser()
    rtf: Parser = RtfParser()
    epub: Parser = EpubParser()
    table: Parser = TableParser()
    jsonl: Parser = JsonLinesParser()
    json_data: Parser = JsonParser()
    yaml: Parser = YamlParser()
    xml: Parser = XmlParser()
    email: Parser = EmailParser()
    mbox: Parser = MboxParser()
    notebook: Parser = NotebookParser()
    code: Parser = CodeParser()
    subtitles: Parser = SubtitleParser()
    picture: Parser = PictureParser()
    archive: Parser = ArchiveParser()
    others: tuple[Parser, ...] = ()
    depth: int = Field(4, ge=0, le=20)

    _parsers: dict[str, Parser] = PrivateAttr(default_factory=dict)
    _suffixes: dict[str, str] = PrivateAttr(default_factory=dict)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` with the parser for its format; not what is packed in it."""
        kind = self.guess(data, uri=uri, mime=mime)
        return self.parser_of(kind).parse(data, uri=uri, mime=kind)

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """Parse `data`, and all that is packed in it."""
        yield from self._documents(data, uri, mime, self.depth)

    def _documents(
        self, data: bytes, uri: str, mime: str | None, depth: int
    ) -> Iterator[Document | FailedPart]:
        kind = self.guess(data, uri=uri, mime=mime)
        parser = self.parser_of(kind)
        if not isinstance(parser, Container):
            yield from parser.documents(data, uri=uri, mime=kind)
            return
        if type(parser).parse is not Container.parse:
            yield _own(parser, data, uri, kind)
        names: Counter[str] = Counter()
        given: set[str] = set()
        for part in parser.unpack(data, uri=uri):
            if isinstance(part, FailedPart):
                yield part
                continue
            below = part_uri(uri, part.name)
            base = below
            while below in given:  # several files of one name
                names[base] += 1
                below = f"{base}~{names[base] + 1}"
            given.add(below)
            try:
                if not depth:
                    raise ParseError(f"more than {self.depth} archives in one another (depth)")
                for found in self._documents(part.read(), below, part.mime, depth - 1):
                    yield _within(uri, found)
            except SourceError as error:
                yield FailedPart(below, error)

    def parser_of(self, mime: str) -> Parser:
        """The parser for a media type; that for text where no other reads it."""
        return self._parsers.get(mime, self.text)

    def guess(self, data: bytes, *, uri: str, mime: str | None) -> str:
        """Media type of `data`. Raises `UnsupportedFormat` for formats that no parser reads."""
        head = data[:1024]
        if head.lstrip().startswith(b"%PDF-"):
            return "application/pdf"
        suffix = PurePosixPath(name_of(uri)).suffix.lower()
        said = (mime or "").split(";")[0].strip().lower()
        said = _ALIASES.get(said, said)
        if packed := _packed(data, head):
            packed = packed if packed in self._parsers else "application/zip"
            # A parser of somebody else's may know such files better, by name.
            return packed if packed != "application/zip" else self._by_suffix(suffix, packed)
        for signature, kind, what in _SIGNATURES:
            if head.startswith(signature) and _is_binary(head):
                if not kind:
                    raise UnsupportedFormat(f"{what}, which no parser reads")
                return kind
        if said in _PLAIN or said not in self._parsers:
            said = self._by_suffix(suffix, said)
        if said in _PLAIN or (said not in self._parsers and not suffix):
            if _HTML.match(head):
                return "text/html"
            if head.startswith(b"<?xml"):
                return "application/xml"
            return "text/plain"
        return said

    def _by_suffix(self, suffix: str, default: str) -> str:
        return self._suffixes.get(suffix, default)

    @property
    def all(self) -> tuple[Parser, ...]:
        """Every parser that is asked, the first for a format being the one that reads it."""
        named = [name for name in type(self).model_fields if name not in ("others", "depth")]
        return (*self.others, *(getattr(self, name) for name in named))

    def model_post_init(self, context: Any, /) -> None:
        """Look up once which parser is for what."""
        for parser in reversed(self.all):
            for mime, suffixes in parser.formats.items():
                self._parsers[mime] = parser
                self._suffixes.update(dict.fromkeys(suffixes, mime))


def _own(parser: Container, data: bytes, uri: str, mime: str) -> Document | FailedPart:
    """What a mail says itself; that there is nothing does not hide its attachments."""
    try:
        return parser.parse(data, uri=uri, mime=mime)
    except NoText as error:
        if not any(True for _ in parser.unpack(data, uri=uri)):
            raise
        return FailedPart(uri, error)


def _within(uri: str, found: Document | FailedPart) -> Document | FailedPart:
    if isinstance(found, FailedPart) or "part_of" in found.metadata:
        return found
    return found.model_copy(update={"metadata": {**found.metadata, "part_of": uri}})


def _packed(data: bytes, head: bytes) -> str:
    """Media type of what is a ZIP archive, a TAR or an OLE file inside; "" for all others."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zipped(data)
    if is_tar(head):
        return "application/x-tar"
    return _ole(data) if head.startswith(_OLE) else ""


_IN_ZIP = (
    ("word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
)


def _zipped(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                return archive.read("mimetype").decode("ascii").strip().removesuffix("-template")
    except MemoryError:
        raise
    except Exception:  # damaged: the parser of archives says how
        return "application/zip"
    if "[Content_Types].xml" in names:
        for folder, mime in _IN_ZIP:
            if any(name.startswith(folder) for name in names):
                return mime
    return "application/zip"


def _ole(data: bytes) -> str:
    """Old Office files, and those under a password, are filed in the same way."""
    if _holds(data, "EncryptedPackage"):
        raise EncryptedDocument("protected by a password: save a copy without one")
    for stream, what in (
        ("WordDocument", "an old Word document (.doc): save it as .docx"),
        ("PowerPoint Document", "an old PowerPoint presentation (.ppt): save it as .pptx"),
        ("__substg1.0_", "an Outlook message (.msg): save it as .eml"),
    ):
        if _holds(data, stream):
            raise UnsupportedFormat(what)
    if _holds(data, "Workbook\0") or _holds(data, "Book\0"):
        return "application/vnd.ms-excel"
    raise UnsupportedFormat("an old Office document, which no parser reads")


def _holds(data: bytes, stream: str) -> bool:
    return stream.encode("utf-16-le") in data


def _is_binary(head: bytes) -> bool:
    """Whether more than the signature says so: prose may begin with "MZ" or "ID3" as well."""
    return (
        head.startswith(b"{\\rtf")
        or any(byte < 9 or 13 < byte < 32 for byte in head)
        or any(byte > 126 for byte in head[:64])
    )
