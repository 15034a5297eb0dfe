"""E-mail: messages with their headers, and their attachments as documents of their own."""

from __future__ import annotations

import email
import email.policy
import mailbox
import mimetypes
import re
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.message import EmailMessage, Message
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from connectors.base import Container, FailedPart, Part
from connectors.parsers.building import TextBuilder
from connectors.parsers.markup import to_markdown
from connectors.parsers.text import decode, name_of
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, flat_metadata, well_formed

_SHOWN = ("From", "To", "Cc", "Date", "Subject")
_ENCRYPTED = ("application/pkcs7-mime", "application/x-pkcs7-mime", "multipart/encrypted")
_SIGNATURES = ("application/pgp-signature", "application/pkcs7-signature")


class EmailParser(Container):
    """A message: its headers in lines, then its text; attachments are its parts.

    Of a message in plain text and HTML, the plain text is taken. Pictures and the like that
    stand within the text are no attachments.
    """

    name: ClassVar[str] = "email"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"message/rfc822": (".eml", ".mht")}
    library: ClassVar[str] = "email (Python)"
    keeps: ClassVar[str] = "headers in the text and as metadata, text, attachments as documents"
    drops: ClassVar[str] = "pictures within the text, signatures"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse the message itself. The title is its subject or the file name."""
        message = _message(data)
        built = TextBuilder()
        for name in _SHOWN:
            if value := _header(message, name):
                built.line(f"{name}: {value}")
        found = _metadata(message)
        if not built.at and not message.defects:
            raise ParseError("not an e-mail: it has no headers")
        built.paragraph(_body(message))
        if not built.text.strip():
            raise NoText("a message without any text")
        title = _header(message, "Subject")
        return Document(
            uri=uri,
            text=built.text,
            title=title[:200] or name_of(uri),
            mime=mime or "message/rfc822",
            metadata=found,
        )

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the attachments, and the messages in it."""
        message = _message(data)
        for number, part in enumerate(_attachments(message), start=1):
            name = _file_name(part) or f"attachment-{number}{_suffix(part)}"
            kind = part.get_content_type()
            yield Part(name, partial(_bytes, part), kind)


class MboxParser(Container):
    """A mailbox in one file: every message is a document, and its attachments are."""

    name: ClassVar[str] = "mbox"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/mbox": (".mbox", ".mbx")}
    library: ClassVar[str] = "mailbox (Python)"
    keeps: ClassVar[str] = "every message as a document, named by its Message-ID"
    drops: ClassVar[str] = "flags"

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the messages."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mbox"
            path.write_bytes(data)
            box = mailbox.mbox(path, create=False)
            try:
                for number, key in enumerate(box.iterkeys(), start=1):
                    message = box.get_bytes(key)
                    name = message_name(message, number)
                    yield Part(name, partial(bytes, message), "message/rfc822")
            finally:
                box.close()


def message_name(data: bytes, number: int) -> str:
    """Name of a message among others: its Message-ID, or its number."""
    head = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0]
    found = re.search(rb"(?im)^message-id:\s*<?([^>\s]{1,200})", head)
    return found.group(1).decode(errors="replace") if found else f"message-{number}"


def _message(data: bytes) -> EmailMessage:
    if not data.strip():
        raise NoText("the file is empty")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # saved as UTF-16 by a text editor
        data = decode(data).encode()
    elif data[:3] == b"\xef\xbb\xbf":
        data = data[3:]
    try:
        message = email.message_from_bytes(data, policy=email.policy.default)
    except Exception as error:  # the package lets out what its parsers of headers raise
        raise ParseError(f"a damaged e-mail: {error}") from None
    assert isinstance(message, EmailMessage)
    if message.get_content_type() in _ENCRYPTED:
        raise EncryptedDocument("an encrypted e-mail")
    return message


def _header(message: Message[Any, Any], name: str) -> str:
    try:
        value = message.get(name)
        return well_formed(" ".join(str(value).split())) if value is not None else ""
    except Exception:  # a header that cannot be parsed is left out
        return ""


def _metadata(message: EmailMessage) -> dict[str, Any]:
    names = [_file_name(part) or part.get_content_type() for part in _attachments(message)]
    found = {
        "from": _header(message, "From"),
        "to": _header(message, "To"),
        "cc": _header(message, "Cc"),
        "subject": _header(message, "Subject"),
        "message_id": _header(message, "Message-ID").strip("<> "),
        "in_reply_to": _header(message, "In-Reply-To").strip("<> "),
        "date": _date(_header(message, "Date")),
        "attachments": names,
    }
    return flat_metadata({key: value for key, value in found.items() if value})


def _date(text: str) -> str:
    """The date in ISO 8601, or as it is written."""
    try:
        return parsedate_to_datetime(text).isoformat()
    except (TypeError, ValueError, IndexError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return text


def _body(message: EmailMessage) -> str:
    try:
        part = message.get_body(preferencelist=("plain", "html"))
    except Exception:
        part = message
    if part is None:
        return ""
    text = _text(part)
    if part.get_content_type() == "text/html":
        return to_markdown(text)
    if text.strip() or part is message:
        return text
    html = message.get_body(preferencelist=("html",))
    return to_markdown(_text(html)) if html is not None else ""


def _text(part: Message[Any, Any]) -> str:
    data = _bytes(part)
    if not data:
        return ""
    charset = part.get_content_charset()
    try:
        text = data.decode(charset) if charset else decode(data)
    except (LookupError, UnicodeDecodeError, ParseError):
        text = data.decode("utf-8", errors="replace")
    return well_formed(text.replace("\r\n", "\n").replace("\0", "")).strip("\n")


def _bytes(part: Message[Any, Any]) -> bytes:
    if part.is_multipart():
        inner = part.get_payload()
        if isinstance(inner, list) and inner and isinstance(inner[0], Message):
            return inner[0].as_bytes(policy=email.policy.SMTP.clone(refold_source="none"))
        return b""
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else str(part.get_payload()).encode(errors="replace")


def _attachments(message: EmailMessage) -> list[Message[Any, Any]]:
    """Parts that are files or messages; not the text, nor what stands within it."""
    found: list[Message[Any, Any]] = []
    try:
        body = message.get_body(preferencelist=("plain", "html"))
        html = message.get_body(preferencelist=("html",))
    except Exception:
        body = html = None
    ahead: list[Message[Any, Any]] = [message]
    while ahead:
        part = ahead.pop()
        kind = part.get_content_type()
        if kind == "message/rfc822" and part is not message:
            found.append(part)
        elif part.is_multipart():
            inner = [p for p in part.get_payload() if isinstance(p, Message)]
            ahead += reversed(inner)
        elif part is not message and part is not body and part is not html:
            is_file = part.get_content_disposition() == "attachment"
            within = kind.startswith("image/") or kind in ("text/html", "text/plain")
            if kind not in _SIGNATURES and (is_file or (_file_name(part) and not within)):
                found.append(part)
    return found


def _file_name(part: Message[Any, Any]) -> str:
    try:
        name = part.get_filename() or ""
    except Exception:
        return ""
    return well_formed(" ".join(name.replace("/", "_").split()))[:200]


def _suffix(part: Message[Any, Any]) -> str:
    if part.get_content_type() == "message/rfc822":
        return ".eml"
    return mimetypes.guess_extension(part.get_content_type()) or ""
