"""E-mail: messages with their headers, and their attachments as documents of their own."""

from __future__ import annotations

import email
import email.policy
import mimetypes
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage, Message
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

from connectors.base import Container, FailedPart, Part
from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.text import decode, name_of
from connectors.parsers.text_builder import TextBuilder
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, flat_metadata, well_formed

_SHOWN = ("From", "To", "Cc", "Date", "Subject")
_ENCRYPTED = ("application/pkcs7-mime", "application/x-pkcs7-mime", "multipart/encrypted")
_MESSAGES = ("message/rfc822", "message/global")
_REPORTS = ("message/delivery-status", "message/disposition-notification")
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
        texts, files = _contents(message)
        if not built.at and not message.items():
            raise ParseError("not an e-mail: it has no headers")
        for text in texts:
            built.paragraph(text)
        if not built.text.strip():
            raise NoText("a message without any text")
        title = _header(message, "Subject")
        return Document(
            uri=uri,
            text=built.text,
            title=title[:200] or name_of(uri),
            mime=mime or "message/rfc822",
            metadata=_metadata(message, files),
        )

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the attachments, and the messages in it."""
        _, files = _contents(_message(data))
        for number, part in enumerate(files, start=1):
            name = _file_name(part) or f"attachment-{number}{_suffix(part)}"
            kind = part.get_content_type()
            yield Part(name, partial(_bytes, part), kind)


class MboxParser(Container):
    """A mailbox in one file: every message is a document, and its attachments are."""

    name: ClassVar[str] = "mbox"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/mbox": (".mbox", ".mbx")}
    library: ClassVar[str] = "email (Python)"
    keeps: ClassVar[str] = "every message as a document, named by its Message-ID"
    drops: ClassVar[str] = "flags"

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the messages."""
        found = False
        for number, message in enumerate(split_mbox(data), start=1):
            found = True
            name = message_name(message, number)
            yield Part(name, partial(bytes, message), "message/rfc822")
        if not found:
            raise NoText("a mailbox without any message")


_FROM = re.compile(
    rb"\AFrom [^\n]{0,300}\n"
    rb"|(?:(?<=\n\n)|(?<=\r\n\r\n))From \S[^\n]{0,300}\n(?=[!-9;-~]{1,100}:)"
)
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.M)


def split_mbox(data: bytes | mmap.mmap) -> Iterator[bytes]:
    """The messages of an mbox.

    One begins behind a blank line with a line of From and a sender, and with a header below it;
    any other line that begins with From is text. What was quoted for the mailbox is as it was.
    """
    starts = [(found.start(), found.end()) for found in _FROM.finditer(data)]
    for (_, start), (end, _) in pairwise([*starts, (len(data), 0)]):
        yield _QUOTED_FROM.sub(rb"\1", bytes(data[start:end]).rstrip(b"\r\n")) + b"\n"


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
    except MemoryError:
        raise
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
    except MemoryError:
        raise
    except Exception:  # a header that cannot be parsed is left out
        return ""


def _metadata(message: EmailMessage, files: Sequence[Message[Any, Any]]) -> dict[str, Any]:
    names = [_file_name(part) or part.get_content_type() for part in files]
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


def _contents(message: Message[Any, Any]) -> tuple[list[str], list[Message[Any, Any]]]:
    """What is written in a message, in order, and the files in it.

    Of alternatives the plain one is read, unless there is nothing in it. Texts with a file name
    are files; pictures without one, or within the text, are neither.
    """
    texts: list[str] = []
    files: list[Message[Any, Any]] = []
    ahead: list[tuple[Message[Any, Any], bool]] = [(message, True)]
    while ahead:
        part, is_read = ahead.pop()
        kind = part.get_content_type()
        inner = (
            [p for p in part.get_payload() if isinstance(p, Message)] if part.is_multipart() else []
        )
        if kind == "multipart/alternative":
            chosen = _chosen(inner)
            ahead += [(p, is_read and p is chosen) for p in reversed(inner)]
        elif kind in _MESSAGES and part is not message:
            files.append(part)
        elif inner and kind in _REPORTS:  # of a server, in header fields
            texts += ["\n".join(f"{k}: {v}" for p in inner for k, v in p.items())]
        elif part.is_multipart():
            ahead += [(p, is_read) for p in reversed(inner)]
        elif kind in ("text/plain", "text/html") and not _is_file(part):
            if is_read:
                text = _text(part)
                texts.append(to_markdown(text) if kind == "text/html" else text)
        elif kind not in _SIGNATURES and not _is_within(part, kind):
            files.append(part)
    return [text for text in texts if text.strip()], files


def _chosen(alternatives: list[Message[Any, Any]]) -> Message[Any, Any] | None:
    """The plain text, where something is in it; else the richest that can be read."""
    for part in alternatives:
        if part.get_content_type() == "text/plain" and _text(part).strip():
            return part
    found = [
        part
        for part in alternatives
        if part.get_content_type() == "text/html" or part.get_content_maintype() == "multipart"
    ]
    return found[-1] if found else None


def _is_file(part: Message[Any, Any]) -> bool:
    return part.get_content_disposition() == "attachment" or bool(_file_name(part))


def _is_within(part: Message[Any, Any], kind: str) -> bool:
    return kind.startswith("image/") and part.get_content_disposition() != "attachment"


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
    """The file itself, or the message that a part is."""
    if part.is_multipart():
        inner = part.get_payload()
        if isinstance(inner, list) and inner and isinstance(inner[0], Message):
            return inner[0].as_bytes(policy=email.policy.SMTP.clone(refold_source="none"))
        return b""
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else str(part.get_payload()).encode(errors="replace")


def _file_name(part: Message[Any, Any]) -> str:
    try:
        name = part.get_filename() or ""
    except MemoryError:
        raise
    except Exception:
        return ""
    return well_formed(" ".join(name.replace("/", "_").split()))[:200]


def _suffix(part: Message[Any, Any]) -> str:
    if part.get_content_type() == "message/rfc822":
        return ".eml"
    return mimetypes.guess_extension(part.get_content_type()) or ""
