"""E-mail: messages with their headers, and attachments as separate documents."""

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
from connectors.parsers.markdown_tables import find_table_marks
from connectors.parsers.text import decode
from connectors.parsers.text_builder import TextBuilder
from connectors.parsers.titles import choose_title
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, flatten_metadata, to_well_formed

_HEADERS_IN_TEXT = ("From", "To", "Cc", "Date", "Subject")
_ENCRYPTED_TYPES = ("application/pkcs7-mime", "application/x-pkcs7-mime", "multipart/encrypted")
_MESSAGE_TYPES = ("message/rfc822", "message/global")
_REPORT_TYPES = ("message/delivery-status", "message/disposition-notification")
_SIGNATURE_TYPES = ("application/pgp-signature", "application/pkcs7-signature")


class EmailParser(Container):
    """A message: its headers, one per line, then its text; attachments are its parts.

    If a message has a plain text and an HTML version, the plain text is kept. Inline pictures and
    similar parts of the text are not attachments.
    """

    name: ClassVar[str] = "email"
    revision: ClassVar[int] = 3
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"message/rfc822": (".eml", ".mht")}
    library: ClassVar[str] = "email (Python)"
    keeps: ClassVar[str] = (
        "headers in the text and as metadata, text, tables, attachments as documents"
    )
    drops: ClassVar[str] = "inline pictures, signatures"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse the message without its attachments. The title is the subject or the file name."""
        message = _parse_message(data)
        builder = TextBuilder()
        for name in _HEADERS_IN_TEXT:
            if value := _read_header(message, name):
                builder.write_line(f"{name}: {value}")
        texts, files = _collect_contents(message)
        if not builder.offset and not message.items():
            raise ParseError("not an e-mail: it has no headers")
        for text in texts:
            builder.write_paragraph(text)
        if not builder.text.strip():
            raise NoText("the message contains no text")
        title = _read_header(message, "Subject")
        return Document(
            uri=uri,
            text=builder.text,
            title=choose_title(heading=title, uri=uri),
            mime=mime or "message/rfc822",
            metadata=_build_metadata(message, files),
            marks=find_table_marks(builder.text),
        )

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the attachments and the attached messages."""
        _, files = _collect_contents(_parse_message(data))
        for number, part in enumerate(files, start=1):
            name = _read_file_name(part) or f"attachment-{number}{_guess_suffix(part)}"
            kind = part.get_content_type()
            yield Part(name, partial(_read_bytes, part), kind)


class MboxParser(Container):
    """A mailbox in one file: each message and each attachment becomes a document."""

    name: ClassVar[str] = "mbox"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/mbox": (".mbox", ".mbx")}
    library: ClassVar[str] = "email (Python)"
    keeps: ClassVar[str] = "each message as a document, named by its Message-ID"
    drops: ClassVar[str] = "flags"
    has_file_names: ClassVar[bool] = False  # names are Message-IDs

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the messages."""
        is_empty = True
        for number, message in enumerate(split_mbox(data), start=1):
            is_empty = False
            name = name_message(message, number)
            yield Part(name, partial(bytes, message), "message/rfc822")
        if is_empty:
            raise NoText("the mailbox contains no messages")


_MESSAGE_START = re.compile(
    rb"\AFrom [^\n]{0,300}\n"
    rb"|(?:(?<=\n\n)|(?<=\r\n\r\n))From \S[^\n]{0,300}\n(?=[!-9;-~]{1,100}:)"
)
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.M)


def split_mbox(data: bytes | mmap.mmap) -> Iterator[bytes]:
    """Yield the messages of an mbox.

    A message starts with a line "From SENDER" that follows a blank line and is followed by a
    header. Any other line that starts with "From" is text. The quoting of such lines
    (">From") is removed.
    """
    starts = [(match.start(), match.end()) for match in _MESSAGE_START.finditer(data)]
    for (_, start), (end, _) in pairwise([*starts, (len(data), 0)]):
        yield _QUOTED_FROM.sub(rb"\1", bytes(data[start:end]).rstrip(b"\r\n")) + b"\n"


def name_message(data: bytes, number: int) -> str:
    """Return a name for a message in a mailbox: its Message-ID, otherwise its number."""
    head = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0]
    match = re.search(rb"(?im)^message-id:\s*<?([^>\s]{1,200})", head)
    return match.group(1).decode(errors="replace") if match else f"message-{number}"


def _parse_message(data: bytes) -> EmailMessage:
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
    except Exception as error:  # the header parsers of the email package raise many types
        raise ParseError(f"a damaged e-mail: {error}") from None
    assert isinstance(message, EmailMessage)
    if message.get_content_type() in _ENCRYPTED_TYPES:
        raise EncryptedDocument("an encrypted e-mail")
    return message


def _read_header(message: Message[Any, Any], name: str) -> str:
    try:
        value = message.get(name)
        return to_well_formed(" ".join(str(value).split())) if value is not None else ""
    except MemoryError:
        raise
    except Exception:  # a header that cannot be parsed is left out
        return ""


def _build_metadata(message: EmailMessage, files: Sequence[Message[Any, Any]]) -> dict[str, Any]:
    names = [_read_file_name(part) or part.get_content_type() for part in files]
    fields = {
        "from": _read_header(message, "From"),
        "to": _read_header(message, "To"),
        "cc": _read_header(message, "Cc"),
        "subject": _read_header(message, "Subject"),
        "message_id": _read_header(message, "Message-ID").strip("<> "),
        "in_reply_to": _read_header(message, "In-Reply-To").strip("<> "),
        "date": _normalize_date(_read_header(message, "Date")),
        "attachments": names,
    }
    return flatten_metadata({key: value for key, value in fields.items() if value})


def _normalize_date(text: str) -> str:
    """Return the date in ISO 8601; a date that cannot be parsed is returned unchanged."""
    try:
        return parsedate_to_datetime(text).isoformat()
    except (TypeError, ValueError, IndexError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return text


def _collect_contents(message: Message[Any, Any]) -> tuple[list[str], list[Message[Any, Any]]]:
    """Return the texts of a message, in order, and the files in it.

    Of several alternatives, the plain text is read, unless it is empty. A text with a file name
    is a file. An inline picture is neither a text nor a file.
    """
    texts: list[str] = []
    files: list[Message[Any, Any]] = []
    stack: list[tuple[Message[Any, Any], bool]] = [(message, True)]
    while stack:
        part, is_read = stack.pop()
        kind = part.get_content_type()
        inner = (
            [p for p in part.get_payload() if isinstance(p, Message)] if part.is_multipart() else []
        )
        if kind == "multipart/alternative":
            alternative = _choose_alternative(inner)
            stack += [(p, is_read and p is alternative) for p in reversed(inner)]
        elif kind in _MESSAGE_TYPES and part is not message:
            files.append(part)
        elif inner and kind in _REPORT_TYPES:  # a report of a mail server, written as header fields
            texts += ["\n".join(f"{k}: {v}" for p in inner for k, v in p.items())]
        elif part.is_multipart():
            stack += [(p, is_read) for p in reversed(inner)]
        elif kind in ("text/plain", "text/html") and not _is_file(part):
            if is_read:
                text = _decode_text(part)
                texts.append(to_markdown(text) if kind == "text/html" else text)
        elif kind not in _SIGNATURE_TYPES and not _is_inline_image(part, kind):
            files.append(part)
    return [text for text in texts if text.strip()], files


def _choose_alternative(alternatives: list[Message[Any, Any]]) -> Message[Any, Any] | None:
    """Return the plain text if it is not empty, otherwise the richest readable alternative."""
    for part in alternatives:
        if part.get_content_type() == "text/plain" and _decode_text(part).strip():
            return part
    rich_parts = [
        part
        for part in alternatives
        if part.get_content_type() == "text/html" or part.get_content_maintype() == "multipart"
    ]
    return rich_parts[-1] if rich_parts else None


def _is_file(part: Message[Any, Any]) -> bool:
    return part.get_content_disposition() == "attachment" or bool(_read_file_name(part))


def _is_inline_image(part: Message[Any, Any], kind: str) -> bool:
    return kind.startswith("image/") and part.get_content_disposition() != "attachment"


def _decode_text(part: Message[Any, Any]) -> str:
    data = _read_bytes(part)
    if not data:
        return ""
    charset = part.get_content_charset()
    try:
        text = data.decode(charset) if charset else decode(data)
    except (LookupError, UnicodeDecodeError, ParseError):
        text = data.decode("utf-8", errors="replace")
    return to_well_formed(text.replace("\r\n", "\n").replace("\0", "")).strip("\n")


def _read_bytes(part: Message[Any, Any]) -> bytes:
    """Return the bytes of an attached file or message."""
    if part.is_multipart():
        inner = part.get_payload()
        if isinstance(inner, list) and inner and isinstance(inner[0], Message):
            return inner[0].as_bytes(policy=email.policy.SMTP.clone(refold_source="none"))
        return b""
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else str(part.get_payload()).encode(errors="replace")


def _read_file_name(part: Message[Any, Any]) -> str:
    try:
        name = part.get_filename() or ""
    except MemoryError:
        raise
    except Exception:
        return ""
    return to_well_formed(" ".join(name.replace("/", "_").split()))[:200]


def _guess_suffix(part: Message[Any, Any]) -> str:
    if part.get_content_type() == "message/rfc822":
        return ".eml"
    return mimetypes.guess_extension(part.get_content_type()) or ""
