"""The default parser: detects the format of a file and calls the parser for it."""

from __future__ import annotations

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, PrivateAttr

from connectors.base import (
    Container,
    FailedPart,
    Parser,
    attach_uri,
    part_uri,
    set_title_and_metadata,
)
from connectors.file_names import explain_skip
from connectors.parsers.archives import ArchiveParser
from connectors.parsers.code import CodeParser
from connectors.parsers.detection import (
    OFFICE_MIMES,
    detect_binary_format,
    detect_exported_text,
    detect_text_format,
    is_zip,
)
from connectors.parsers.epub import EpubParser
from connectors.parsers.html import HtmlParser
from connectors.parsers.legacy import LegacyOfficeParser
from connectors.parsers.mail import EmailParser, MboxParser
from connectors.parsers.markdown import MarkdownParser
from connectors.parsers.msg import MsgParser
from connectors.parsers.notebook import NotebookParser
from connectors.parsers.office import DocxParser, OdtParser, PptxParser, RtfParser
from connectors.parsers.pdf import PdfParser
from connectors.parsers.picture import PictureParser
from connectors.parsers.records import JsonLinesParser, TableParser
from connectors.parsers.rst import RstParser
from connectors.parsers.signed_data import SignedFileParser
from connectors.parsers.structured import JsonParser, XmlParser, YamlParser
from connectors.parsers.subtitles import SubtitleParser
from connectors.parsers.text import TextParser, extract_file_name
from connectors.parsers.tnef import TnefParser
from connectors.parsers.workbooks import SheetParser
from rag.component import component_class, registered_names
from rag.errors import (
    ConfigError,
    NoText,
    ParseError,
    SourceError,
    SourceSkipped,
    UnsupportedFormat,
)
from rag.types import Document

_UNSPECIFIC_MIMES = frozenset(("", "text/plain", "application/octet-stream", "binary/octet-stream"))
_MIME_ALIASES = {
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
    "application/vnd.ms-tnef": "application/ms-tnef",
    "application/x-pkcs7-mime": "application/pkcs7-mime",
}


class _FormatTable(NamedTuple):
    """Which parser reads which media type."""

    parsers: dict[str, Parser]  # by media type
    mimes: dict[str, str]  # by suffix of the file name
    registered: tuple[Parser, ...]  # those of other packages that read a media type here
    registered_names: frozenset[str]  # of all parsers that were registered when it was built
    added_mimes: frozenset[str]  # media types read by a registered parser or one of `others`


class AutoParser(Parser):
    """Calls the parser for a file's format.

    The format is detected from the first bytes; if these do not show it, from the media type that
    the source declares, then from the suffix of the name. There is a field for each family of
    formats. The parsers in ``others`` have priority over these for the media types in their
    ``formats``. A registered parser of another package (entry point ``citewell.parser``, or
    `rag.register`) reads, with its default settings, the media types that neither ``others`` nor a
    field reads; list a parser that has required settings in ``others``.

    Archives and e-mails are unpacked, up to ``depth`` levels deep. Each file in them becomes a
    separate document whose metadata field ``part_of`` is the uri of the archive or e-mail.
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
    msg: Parser = MsgParser()
    tnef: Parser = TnefParser()
    signed: Parser = SignedFileParser()
    legacy_office: Parser = LegacyOfficeParser()
    notebook: Parser = NotebookParser()
    code: Parser = CodeParser()
    subtitles: Parser = SubtitleParser()
    picture: Parser = PictureParser()
    archive: Parser = ArchiveParser()
    others: tuple[Parser, ...] = ()
    depth: int = Field(4, ge=0, le=20)

    _table: _FormatTable | None = PrivateAttr(default=None)

    @property
    def fingerprint(self) -> str:
        """See `Component.fingerprint`; it covers the registered parsers of other packages."""
        fingerprint = super().fingerprint
        registered = self._formats.registered
        if not registered:
            return fingerprint
        parts = [fingerprint, *(parser.fingerprint for parser in registered)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` with the parser for its format, without the files packed in it."""
        with attach_uri(uri):
            detected = self.guess(data, uri=uri, mime=mime)
            return self.parser_of(detected).parse(data, uri=uri, mime=detected)

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """Parse `data` and all files packed in it."""
        with attach_uri(uri):
            yield from self._parse_all(data, uri, mime, self.depth)

    def _parse_all(
        self, data: bytes, uri: str, mime: str | None, depth: int
    ) -> Iterator[Document | FailedPart]:
        detected = self.guess(data, uri=uri, mime=mime)
        parser = self.parser_of(detected)
        if not isinstance(parser, Container):
            yield from parser.documents(data, uri=uri, mime=detected)
            return
        if type(parser).parse is not Container.parse:
            yield _parse_container(parser, data, uri, detected)
        name_counts: Counter[str] = Counter()
        used_uris: set[str] = set()
        for part in parser.unpack(data, uri=uri):
            if isinstance(part, FailedPart):
                yield part
                continue
            child_uri = first_uri = part_uri(uri, part.name)
            while child_uri in used_uris:  # several files have the same name
                name_counts[first_uri] += 1
                child_uri = f"{first_uri}~{name_counts[first_uri] + 1}"
            used_uris.add(child_uri)
            try:
                if parser.has_file_names and (
                    reason := explain_skip(posixpath.basename(part.name))
                ):
                    raise SourceSkipped(reason)
                if not depth:
                    raise ParseError(f"archives are nested more than {self.depth} deep (depth)")
                side_file = part.read_side_file() if part.read_side_file else None
                for result in self._parse_all(part.read(), child_uri, part.mime, depth - 1):
                    if side_file is not None and isinstance(result, Document):
                        result = set_title_and_metadata(result, *side_file, uri=child_uri)
                    yield _add_container_uri(uri, result)
            except SourceError as error:
                yield FailedPart(child_uri, error)

    def parser_of(self, mime: str) -> Parser:
        """Return the parser for a media type; the text parser if no other parser reads it."""
        return self._formats.parsers.get(mime, self.text)

    def guess(self, data: bytes, *, uri: str, mime: str | None) -> str:
        """Return the media type of `data`.

        Raises `UnsupportedFormat` for a format that no parser reads, and `EncryptedDocument`.
        """
        formats = self._formats
        suffix = PurePosixPath(extract_file_name(uri)).suffix.lower()
        declared = (mime or "").split(";")[0].strip().lower()
        declared = _MIME_ALIASES.get(declared, declared)
        added = next(
            (m for m in (declared, formats.mimes.get(suffix, "")) if m in formats.added_mimes), ""
        )
        try:
            detected = detect_binary_format(data)
        except UnsupportedFormat:
            if not added:
                raise
            return added
        if is_zip(data) and (detected == "application/zip" or detected not in formats.parsers):
            return added or formats.mimes.get(suffix, "application/zip")
        if detected:
            return detected
        if declared in _UNSPECIFIC_MIMES or declared not in formats.parsers:
            declared = formats.mimes.get(suffix, declared)
        if declared in (*OFFICE_MIMES, "application/xml") and (
            text_mime := detect_exported_text(data, declared)
        ):
            return text_mime
        is_unknown = declared not in formats.parsers and not suffix
        return detect_text_format(data) if declared in _UNSPECIFIC_MIMES or is_unknown else declared

    @property
    def all(self) -> tuple[Parser, ...]:
        """All parsers that this one calls; the first that declares a media type reads it."""
        return (*self.others, *self._field_parsers, *self._formats.registered)

    @property
    def _field_parsers(self) -> tuple[Parser, ...]:
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(value for value in values if isinstance(value, Parser))

    @property
    def _formats(self) -> _FormatTable:
        """Table of formats, built on first use.

        Other packages import this one, so their parsers cannot be loaded while it is imported. It
        is built again if a parser was registered since.
        """
        table = self._table
        if table is None or not table.registered_names.issuperset(registered_names("parser")):
            table = self._table = _build_format_table(self.others, self._field_parsers)
        return table

    def __getstate__(self) -> dict[Any, Any]:
        """Build the table: parsers that this process registered are not in other processes."""
        _ = self._formats
        return super().__getstate__()


def _build_format_table(
    others: tuple[Parser, ...], field_parsers: tuple[Parser, ...]
) -> _FormatTable:
    names = frozenset(registered_names("parser"))
    parsers: dict[str, Parser] = {}
    mimes: dict[str, str] = {}

    def add(parser: Parser, formats: Mapping[str, tuple[str, ...]]) -> None:
        for mime, suffixes in formats.items():
            parsers.setdefault(mime, parser)
            for suffix in suffixes:
                mimes.setdefault(suffix, mime)

    for parser in (*others, *field_parsers):
        add(parser, parser.formats)
    added_mimes = {mime for parser in others for mime in parser.formats}
    registered = []
    for parser in _make_registered_parsers():
        new_formats = {m: suffixes for m, suffixes in parser.formats.items() if m not in parsers}
        if new_formats:
            add(parser, new_formats)
            added_mimes |= set(new_formats)
            registered.append(parser)
    return _FormatTable(parsers, mimes, tuple(registered), names, frozenset(added_mimes))


def _make_registered_parsers() -> Iterator[Parser]:
    """Make the parsers that other packages register, in the order of their names.

    Parsers with required settings are skipped. Raises `ConfigError` for a parser that cannot be
    loaded.
    """
    field_classes = {type(field.default) for field in AutoParser.model_fields.values()}
    for name in registered_names("parser"):
        try:
            parser_class = component_class("parser", name)
        except (ConfigError, MemoryError):
            raise
        except Exception as error:  # whatever the other package raises when it is imported
            raise ConfigError(
                f"the registered parser {name!r} cannot be loaded; fix or uninstall the package "
                f"that registers it ({type(error).__name__}: {error})"
            ) from error
        if parser_class in field_classes or issubclass(parser_class, AutoParser):
            continue
        if not any(field.is_required() for field in parser_class.model_fields.values()):
            parser = parser_class.from_config({})
            assert isinstance(parser, Parser)
            yield parser


def _parse_container(parser: Container, data: bytes, uri: str, mime: str) -> Document | FailedPart:
    """Parse the text of an e-mail itself; without text, its attachments are still parsed."""
    try:
        return parser.parse(data, uri=uri, mime=mime)
    except NoText as error:
        if not any(True for _ in parser.unpack(data, uri=uri)):
            raise
        return FailedPart(uri, error)


def _add_container_uri(uri: str, result: Document | FailedPart) -> Document | FailedPart:
    if isinstance(result, FailedPart) or "part_of" in result.metadata:
        return result
    return result.model_copy(update={"metadata": {**result.metadata, "part_of": uri}})
