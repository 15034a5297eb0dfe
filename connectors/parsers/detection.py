"""Detecting a file's media type from its bytes."""

from __future__ import annotations

import io
import re
import zipfile
from typing import NamedTuple

from connectors.parsers.archives import is_tar
from connectors.parsers.xml_workbooks import is_xml_workbook
from rag.errors import EncryptedDocument, UnsupportedFormat

HEAD_BYTES = 1024
"""Bytes at the start of a file that show its format."""


class _Signature(NamedTuple):
    prefix: bytes
    mime: str  # "" for formats that no parser of this package reads
    description: str


_SIGNATURES = (
    _Signature(b"\x89PNG", "image/png", "a PNG picture"),
    _Signature(b"\xff\xd8\xff", "image/jpeg", "a JPEG picture"),
    _Signature(b"GIF8", "image/gif", "a GIF picture"),
    _Signature(b"II*\0", "image/tiff", "a TIFF picture"),
    _Signature(b"MM\0*", "image/tiff", "a TIFF picture"),
    _Signature(b"BM", "image/bmp", "a bitmap"),
    _Signature(b"\x1f\x8b", "application/gzip", "a gzip archive"),
    _Signature(b"BZh", "application/x-bzip2", "a bzip2 archive"),
    _Signature(b"\xfd7zXZ", "application/x-xz", "an xz archive"),
    _Signature(b"{\\rtf", "application/rtf", "an RTF document"),
    _Signature(b"\x78\x9f\x3e\x22", "application/ms-tnef", "Outlook data (TNEF)"),
    _Signature(b"7z\xbc\xaf", "", "a 7z archive"),
    _Signature(b"Rar!", "", "a RAR archive"),
    _Signature(b"\x7fELF", "", "a program"),
    _Signature(b"MZ", "", "a Windows program"),
    _Signature(b"SQLite format 3", "", "an SQLite database"),
    _Signature(b"OggS", "", "an Ogg audio or video file"),
    _Signature(b"ID3", "", "an MP3 audio file"),
    _Signature(b"fLaC", "", "a FLAC audio file"),
    _Signature(b"\x1aE\xdf\xa3", "", "a Matroska or WebM video"),
)
_ZIP_PREFIXES = (b"PK\x03\x04", b"PK\x05\x06")
_OLE_PREFIX = b"\xd0\xcf\x11\xe0"
_OLE_STREAMS = (  # a message may have an attached document, whose streams are inside it
    ("__substg1.0_", "application/vnd.ms-outlook"),
    ("WordDocument", "application/msword"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("Workbook\0", "application/vnd.ms-excel"),
    ("Book\0", "application/vnd.ms-excel"),
)
_OFFICE_FOLDERS = (
    ("word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
)
OFFICE_MIMES = frozenset(
    (*(mime for _, mime in _OLE_STREAMS), *(mime for _, mime in _OFFICE_FOLDERS))
)
"""Media types of Office, also of what web programs export under the names of its files."""

_HTML_START = re.compile(
    rb"\s*+(?:<\?xml[^>]*+>\s*+)?+(?:<!--.*?-->\s*+)*+<(?:!doctype\s+html|html)\b", re.I | re.S
)


def detect_binary_format(data: bytes) -> str:
    """Return the media type that the first bytes of a binary file show; "" if they show none.

    A ZIP archive is looked into: the media type is that of the office document or book it is, or
    whatever its member ``mimetype`` says. Raises `UnsupportedFormat` for a known format that no
    parser of this package reads, and `EncryptedDocument` for an encrypted office document.
    """
    head = data[:HEAD_BYTES]
    if head.lstrip().startswith(b"%PDF-"):
        return "application/pdf"
    if is_zip(data):
        return _detect_zip_format(data)
    if is_tar(head):
        return "application/x-tar"
    if head.startswith(_OLE_PREFIX):
        return _detect_ole_format(data)
    for signature in _SIGNATURES:
        if head.startswith(signature.prefix) and _is_binary(head):
            if not signature.mime:
                raise UnsupportedFormat(f"{signature.description}, which no parser reads")
            return signature.mime
    return ""


def detect_text_format(data: bytes) -> str:
    """Return the media type of text whose source and name do not show it."""
    head = data[:HEAD_BYTES]
    if _HTML_START.match(head):
        return "text/html"
    return "application/xml" if head.startswith(b"<?xml") else "text/plain"


def detect_exported_text(data: bytes, declared: str) -> str:
    """Return the media type of text that has the name of an Office file; "" for anything else.

    Banks and web programs export tables as HTML, CSV or XML under the name of a workbook.
    """
    head = data[:HEAD_BYTES]
    if is_xml_workbook(data):
        return "application/vnd.ms-excel"
    if declared not in OFFICE_MIMES:
        return ""
    is_wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not head.strip() or (not is_wide and any(byte < 9 or 13 < byte < 32 for byte in head)):
        return ""
    if re.search(rb"(?i)<(?:html|table|head|body)\b", head.replace(b"\0", b"")):
        return "text/html"
    if head.lstrip().startswith(b"<?xml"):
        return "application/xml"
    if "excel" not in declared and "spreadsheet" not in declared:
        return "text/plain"
    return "text/csv" if re.search(rb"[,;\t|]", head) else ""


def is_zip(data: bytes) -> bool:
    """Return whether `data` starts like a ZIP archive."""
    return data.startswith(_ZIP_PREFIXES)


def _detect_zip_format(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                return archive.read("mimetype").decode("ascii").strip().removesuffix("-template")
    except MemoryError:
        raise
    except Exception:  # damaged: the archive parser reports the problem
        return "application/zip"
    if "[Content_Types].xml" in names:
        for folder, mime in _OFFICE_FOLDERS:
            if any(name.startswith(folder) for name in names):
                return mime
    return "application/zip"


def _detect_ole_format(data: bytes) -> str:
    """Return the media type of an OLE file: old Office files and encrypted new ones use OLE."""
    if _has_stream(data, "EncryptedPackage"):
        raise EncryptedDocument("protected by a password: save a copy without one")
    for stream, mime in _OLE_STREAMS:
        if _has_stream(data, stream):
            return mime
    raise UnsupportedFormat("an old Office document, which no parser reads")


def _has_stream(data: bytes, stream: str) -> bool:
    return stream.encode("utf-16-le") in data


def _is_binary(head: bytes) -> bool:
    """Return whether the bytes after a signature are binary: text may also start with "MZ"."""
    return (
        head.startswith(b"{\\rtf")
        or any(byte < 9 or 13 < byte < 32 for byte in head)
        or any(byte > 126 for byte in head[:64])
    )
