"""Outlook messages (.msg), which are read as e-mails."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import HeaderParser
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, ClassVar

from connectors.base import Container, FailedPart, Part
from connectors.parsers.mail import EmailParser
from connectors.parsers.mail_charsets import decode_stated
from connectors.parsers.rtf_compression import decompress_rtf
from rag.errors import EncryptedDocument, ParseError
from rag.types import Document, to_well_formed

MSG_TYPE = "application/vnd.ms-outlook"
_MAX_DEPTH = 8  # of messages in messages
_HEADERS = ("From", "To", "Cc", "Date", "Subject", "Message-ID", "In-Reply-To")
_UTF8_POLICY = SMTP.clone(utf8=True, refold_source="none")
# Properties ([MS-OXPROPS]) by their numbers.
_SUBJECT, _HEADER_TEXT, _BODY, _HTML, _RTF = "0037", "007D", "1000", "1013", "1009"
_SENDER_NAME, _SENDER_ADDRESS, _SENDER_SMTP = "0C1A", "0C1F", "5D01"
_SHOWN_TO, _SHOWN_CC, _MESSAGE_ID, _IN_REPLY_TO = "0E04", "0E03", "1035", "1042"
_SENT, _DELIVERED, _CODEPAGE, _HTML_CODEPAGE = 0x0039, 0x0E06, 0x3FFD, 0x3FDE
_NAME, _SMTP_ADDRESS, _ADDRESS, _RECIPIENT_KIND = "3001", "39FE", "3003", 0x0C15
_DATA, _LONG_NAME, _SHORT_NAME, _MIME, _CONTENT_ID = "3701", "3707", "3704", "370E", "3712"


class MsgParser(Container):
    """An Outlook message: headers, text, and attachments as documents, as in an e-mail."""

    name: ClassVar[str] = "msg"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {MSG_TYPE: (".msg", ".oft")}
    library: ClassVar[str] = "olefile"
    keeps: ClassVar[str] = "headers in the text and as metadata, text, attachments as documents"
    drops: ClassVar[str] = "inline pictures, properties of Outlook"
    extra: ClassVar[str] = "legacy"
    packages: ClassVar[tuple[str, ...]] = ("olefile",)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse the message without its attachments. The title is the subject or the file name."""
        self.require()
        return EmailParser().parse(_convert_to_mail(data), uri=uri, mime=mime or MSG_TYPE)

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the attachments and the attached messages."""
        self.require()
        yield from EmailParser().unpack(_convert_to_mail(data), uri=uri)


def _convert_to_mail(data: bytes) -> bytes:
    """Return the message as an e-mail (RFC 5322). Raises `ParseError`."""
    import olefile

    try:
        with olefile.OleFileIO(io.BytesIO(data)) as file:
            message = _Storage(file, ()).build_message(_MAX_DEPTH)
            return message.as_bytes(policy=_UTF8_POLICY)
    except (EncryptedDocument, MemoryError):
        raise
    except Exception as error:  # olefile and email raise many types for damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ParseError(f"a damaged Outlook message: {reason}") from None


class _Storage:
    """A folder of an OLE file with the properties of a message, recipient or attachment."""

    def __init__(self, file: Any, path: tuple[str, ...]) -> None:
        self._file = file
        self._path = path
        self._streams: dict[str, str] = {}  # by the number of the property and its type
        self.folders: list[str] = []
        for entry in file.listdir(streams=True, storages=True):
            if len(entry) != len(path) + 1 or tuple(entry[:-1]) != path:
                continue
            match = re.fullmatch(r"__substg1\.0_([0-9A-F]{4})([0-9A-F]{4})", entry[-1], re.I)
            if match:
                self._streams[match.group(1).upper() + match.group(2).upper()] = entry[-1]
            else:
                self.folders.append(entry[-1])
        self._numbers = self._read_numbers()

    def _read_numbers(self) -> dict[int, int]:
        """Return the properties with values of up to 8 bytes."""
        name = "__properties_version1.0"
        if name not in self.folders:
            return {}
        data = self._file.openstream([*self._path, name]).read()
        numbers: dict[int, int] = {}
        for start in range(len(data) % 16, len(data) - 15, 16):  # after a header of 8, 24 or 32
            tag = int.from_bytes(data[start : start + 4], "little")
            numbers.setdefault(tag >> 16, int.from_bytes(data[start + 8 : start + 16], "little"))
        return numbers

    def read_bytes(self, number: str, kind: str = "0102") -> bytes:
        """Return a binary property; b"" if the message does not have it."""
        name = self._streams.get(number + kind)
        is_stream = name and self._file.get_type([*self._path, name]) == 2
        return bytes(self._file.openstream([*self._path, name]).read()) if is_stream else b""

    def read_text(self, number: str) -> str:
        """Return a text property; "" if the message does not have it."""
        text = self.read_bytes(number, "001F").decode("utf-16-le", errors="replace")
        if not text and (data := self.read_bytes(number, "001E")):
            codepage = self._numbers.get(_CODEPAGE, 0) & 0xFFFF_FFFF
            text = decode_stated(data, _name_charset(codepage))
        return to_well_formed(text.replace("\0", "").replace("\r\n", "\n"))

    def read_moment(self, number: int) -> datetime | None:
        """Return a time, which is stored as the number of 100 ns since 1601."""
        ticks = self._numbers.get(number, 0)
        if not 0 < ticks < 2_650_467_744_000_000_000:
            return None
        return datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)

    def open(self, name: str) -> _Storage:
        """Return a folder in this one."""
        return _Storage(self._file, (*self._path, name))

    def build_message(self, depth: int) -> EmailMessage:
        """Return the message in this folder, with its attachments."""
        message = EmailMessage(policy=_UTF8_POLICY)
        for name, value in self._read_headers().items():
            if value:
                message._headers.append((name, value))  # type: ignore[attr-defined]
        body, markup = self.read_text(_BODY), self._read_html()
        if body.strip() or not markup.strip():
            message.set_content(body)
        if markup.strip():
            if body.strip():
                message.add_alternative(markup, subtype="html")
            else:
                message.set_content(markup, subtype="html")
        if not body.strip() and not markup.strip() and (rtf := self.read_bytes(_RTF)):
            _attach(message, decompress_rtf(rtf), "application/rtf", "message.rtf")
        for folder in self.folders:
            if folder.lower().startswith("__attach_version1.0"):
                self.open(folder).attach_to(message, markup, depth)
        return message

    def _read_headers(self) -> dict[str, str]:
        stated = HeaderParser().parsestr(self.read_text(_HEADER_TEXT).strip())
        if stated.get_content_type() == "multipart/encrypted":
            raise EncryptedDocument("an encrypted e-mail")
        recipients = self._read_recipients()
        sender = _join_address(
            self.read_text(_SENDER_NAME),
            self.read_text(_SENDER_SMTP) or self.read_text(_SENDER_ADDRESS),
        )
        moment = self.read_moment(_SENT) or self.read_moment(_DELIVERED)
        headers = {
            "From": sender,
            "To": recipients[1] or self.read_text(_SHOWN_TO),
            "Cc": recipients[2] or self.read_text(_SHOWN_CC),
            "Date": format_datetime(moment) if moment else "",
            "Subject": self.read_text(_SUBJECT),
            "Message-ID": self.read_text(_MESSAGE_ID),
            "In-Reply-To": self.read_text(_IN_REPLY_TO),
        }
        values = {name: headers[name] or str(stated.get(name) or "") for name in _HEADERS}
        return {name: " ".join(value.split())[:10_000] for name, value in values.items()}

    def _read_recipients(self) -> dict[int, str]:
        """Return the recipients by kind: 1 for those in To, 2 in Cc, 3 in Bcc."""
        recipients: dict[int, list[str]] = {1: [], 2: [], 3: []}
        for folder in self.folders:
            if folder.lower().startswith("__recip_version1.0"):
                storage = self.open(folder)
                kind = storage._numbers.get(_RECIPIENT_KIND, 1) & 0xFF
                address = storage.read_text(_SMTP_ADDRESS) or storage.read_text(_ADDRESS)
                recipient = _join_address(storage.read_text(_NAME), address)
                recipients.get(kind, []).append(recipient)
        return {kind: ", ".join(filter(None, names)) for kind, names in recipients.items()}

    def _read_html(self) -> str:
        data = self.read_bytes(_HTML)
        if not data:
            return self.read_text(_HTML)
        codepage = self._numbers.get(_HTML_CODEPAGE, 0) & 0xFFFF_FFFF
        return decode_stated(data, _name_charset(codepage)).replace("\0", "")

    def attach_to(self, message: EmailMessage, markup: str, depth: int) -> None:
        """Attach the file or message in this folder, unless it is a picture of the `markup`."""
        content_id = self.read_text(_CONTENT_ID).strip()
        if content_id and f"cid:{content_id}" in markup:
            return
        name = self.read_text(_LONG_NAME) or self.read_text(_SHORT_NAME) or self.read_text(_NAME)
        name = " ".join(name.split())
        embedded = self._streams.get(_DATA + "000D")
        if embedded and depth:
            inner = self.open(embedded).build_message(depth - 1)
            file_name = name if name.lower().endswith(".eml") else f"{name or 'message'}.eml"
            _attach(message, inner.as_bytes(policy=_UTF8_POLICY), "message/rfc822", file_name)
        elif data := self.read_bytes(_DATA):
            _attach(message, data, self.read_text(_MIME), name)


def _attach(message: EmailMessage, data: bytes, kind: str, name: str) -> None:
    """Attach a file. A message is attached as a file, too, so that its bytes stay as they are."""
    maintype, _, subtype = kind.strip().lower().partition("/")
    is_valid = re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind.strip()) and maintype != "multipart"
    part = EmailMessage(policy=_UTF8_POLICY)
    if not is_valid or maintype in ("message", "text"):
        maintype, subtype = "application", "octet-stream"
    part.set_content(
        data, maintype=maintype, subtype=subtype, disposition="attachment", filename=name or None
    )
    if message.get_content_type() != "multipart/mixed":
        message.make_mixed()
    message.attach(part)


def _join_address(name: str, address: str) -> str:
    if "@" not in address or address == name:
        return name or address
    shown_name = f'"{name}"' if re.search(r"[,;:<>@()\[\]]", name) else name
    return f"{shown_name} <{address}>" if name else address


def _name_charset(codepage: int) -> str | None:
    if codepage in (0, 1200):
        return None
    known_names = {65001: "utf-8", 20127: "ascii", 20866: "koi8-r", 21866: "koi8-u"}
    known_names |= {28590 + n: f"iso-8859-{n}" for n in range(1, 16)}
    known_names |= {50220: "iso-2022-jp", 50222: "iso-2022-jp", 51932: "euc-jp", 51949: "euc-kr"}
    return known_names.get(codepage, f"cp{codepage}")
