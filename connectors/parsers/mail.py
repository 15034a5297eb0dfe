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
from connectors.parsers.embedded_data import log_embedded_data, remove_embedded_data
from connectors.parsers.encoding_detection import detect_wide_encoding
from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.mail_alternatives import extract_html_words, has_more_tables, is_stub
from connectors.parsers.mail_charsets import decode_part, decode_raw_header
from connectors.parsers.mail_quotes import find_quotes_and_signatures
from connectors.parsers.markdown_tables import find_table_marks
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.signed_data import SIGNED_TYPES, read_signed_content
from connectors.parsers.text import decode
from connectors.parsers.text_builder import TextBuilder
from connectors.parsers.titles import choose_title
from connectors.parsers.tnef import TNEF_TYPES, TnefContent, read_tnef
from rag.errors import EncryptedDocument, NoText, ParseError, SourceError
from rag.types import Document, flatten_metadata, to_well_formed

_HEADERS_IN_TEXT = ("From", "To", "Cc", "Date", "Subject")
_MESSAGE_TYPES = ("message/rfc822", "message/global")
_REPORT_TYPES = ("message/delivery-status", "message/disposition-notification")
_RAW_FILE_NAME = re.compile(r"""(?i)\b(?:file)?name\s*=\s*(?:"([^"]+)"|([^\s;"]+))""")
_SIGNATURE_TYPES = ("application/pgp-signature", "application/pkcs7-signature")


class EmailParser(Container):
    """A message: its headers, one per line, then its text; attachments are its parts.

    If a message has a plain text and an HTML version, the plain text is kept, unless it lacks much
    of the HTML version. Quoted messages and the signature are sections of their own. Charsets that
    are missing, unknown or wrong are guessed. Signed messages are read without a check of the
    signature, and the files in ``winmail.dat`` are attachments. Inline pictures and similar parts
    of the text are not attachments.
    """

    name: ClassVar[str] = "email"
    revision: ClassVar[int] = 7
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"message/rfc822": (".eml", ".mht")}
    library: ClassVar[str] = "email (Python)"
    keeps: ClassVar[str] = (
        "headers in the text and as metadata, text, tables, attachments as documents; quoted "
        "messages and signatures as sections"
    )
    drops: ClassVar[str] = (
        "inline pictures, digital signatures, the HTML version if there is a usable plain text"
    )

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse the message without its attachments. The title is the subject or the file name."""
        message = _parse_message(data)
        builder, log = TextBuilder(), OmissionLog()
        contents = _collect_contents(message, log)
        for name in _HEADERS_IN_TEXT:
            if value := _read_header(message, name):
                builder.write_line(f"{name}: {value}")
        if not builder.offset and not message.items():
            raise ParseError("not an e-mail: it has no headers")
        for text in contents.texts:
            _write_body(builder, text)
        if not builder.text.strip():
            raise NoText("the message contains no text")
        title = _read_header(message, "Subject")
        return Document(
            uri=uri,
            text=builder.text,
            title=choose_title(heading=title, uri=uri),
            mime=mime or "message/rfc822",
            metadata=_build_metadata(message, contents.file_names),
            marks=(*builder.marks, *find_table_marks(builder.text)),
            coverage=log.measure(builder.text, contents.source_texts),
        )

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the attachments and the attached messages."""
        contents = _collect_contents(_parse_message(data), OmissionLog())
        for number, part in enumerate(contents.files, start=1):
            name = _read_file_name(part) or f"attachment-{number}{_guess_suffix(part)}"
            kind = part.get_content_type()
            yield Part(name, partial(_read_bytes, part), kind)
        for tnef in contents.tnef:
            yield from tnef.parts


def _write_body(builder: TextBuilder, text: str) -> None:
    """Write a body, with marks for the quoted messages and the signature in it."""
    text = text.strip("\n")
    builder.write_paragraph(text)
    start = builder.offset - len(text) - 1
    for block in find_quotes_and_signatures(text):
        builder.mark("heading", (block.title,), start + block.start, start + block.end)


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
    is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff") or detect_wide_encoding(data)
    if is_utf16:  # saved by a text editor
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
    kind = message.get_content_type()
    if kind == "multipart/encrypted":
        raise EncryptedDocument("an encrypted e-mail")
    if kind in SIGNED_TYPES:
        return _parse_message(_unwrap_signed_message(message))
    return message


def _unwrap_signed_message(message: EmailMessage) -> bytes:
    """Return a message with the content that is packed into its signature."""
    headers = b"".join(
        f"{name}: {value}\n".encode("utf-8", errors="surrogateescape")
        for name, value in message.raw_items()
        if not name.lower().startswith(("content-", "mime-version"))
    )
    return headers + read_signed_content(_read_bytes(message))


def _read_header(message: Message[Any, Any], name: str) -> str:
    raw_value = next((v for n, v in message.raw_items() if n.lower() == name.lower()), None)
    if isinstance(raw_value, str):
        decoded = decode_raw_header(raw_value, _find_body_charset(message))
        if decoded is not None:
            return decoded
    try:
        value = message.get(name)
        return to_well_formed(" ".join(str(value).split())) if value is not None else ""
    except MemoryError:
        raise
    except Exception:  # a header that cannot be parsed is left out
        return ""


def _find_body_charset(message: Message[Any, Any]) -> str | None:
    parts = (part for part in message.walk() if part.get_content_maintype() == "text")
    return next((charset for part in parts if (charset := part.get_content_charset())), None)


def _build_metadata(message: EmailMessage, file_names: Sequence[str]) -> dict[str, Any]:
    fields = {
        "from": _read_header(message, "From"),
        "to": _read_header(message, "To"),
        "cc": _read_header(message, "Cc"),
        "subject": _read_header(message, "Subject"),
        "message_id": _read_header(message, "Message-ID").strip("<> "),
        "in_reply_to": _read_header(message, "In-Reply-To").strip("<> "),
        "date": _normalize_date(_read_header(message, "Date")),
        "attachments": list(file_names),
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


class _Contents:
    """The texts of a message, in order, and the files in it."""

    def __init__(self, log: OmissionLog) -> None:
        self.log = log
        self.texts: list[str] = []
        self.source_texts: list[str] = []  # with those that are not in the document
        self.files: list[Message[Any, Any]] = []
        self.tnef: list[TnefContent] = []

    @property
    def file_names(self) -> list[str]:
        names = [_read_file_name(part) or part.get_content_type() for part in self.files]
        return names + [part.name for tnef in self.tnef for part in tnef.parts]

    def add_text(self, text: str) -> None:
        text, sizes = remove_embedded_data(text)
        log_embedded_data(self.log, sizes)
        if text.strip():
            self.texts.append(text)
            self.source_texts.append(text)

    def add_file(self, part: Message[Any, Any]) -> None:
        """Add an attachment, or the files in it if it is a readable ``winmail.dat``."""
        if part.get_content_type() in TNEF_TYPES:
            try:
                self.tnef.append(read_tnef(_read_bytes(part)))
                return
            except SourceError:  # damaged, or the extra is missing: its own parser says so
                pass
        self.files.append(part)


def _collect_contents(message: Message[Any, Any], log: OmissionLog) -> _Contents:
    """Return the texts of a message, in order, and the files in it.

    A text with a file name is a file. An inline picture is neither a text nor a file.
    """
    contents = _Contents(log)
    stack: list[tuple[Message[Any, Any], bool]] = [(message, True)]
    while stack:
        part, is_read = stack.pop()
        kind = part.get_content_type()
        inner = (
            [p for p in part.get_payload() if isinstance(p, Message)] if part.is_multipart() else []
        )
        if kind == "multipart/alternative":
            alternative = _choose_alternative(inner)
            if is_read:
                _log_other_alternatives(inner, alternative, contents)
            stack += [(p, is_read and p is alternative) for p in reversed(inner)]
        elif kind in _MESSAGE_TYPES and part is not message:
            contents.files.append(part)
        elif inner and kind in _REPORT_TYPES:  # a report of a mail server, written as header fields
            contents.add_text("\n".join(f"{k}: {v}" for p in inner for k, v in p.items()))
        elif part.is_multipart():
            stack += [(p, is_read) for p in reversed(inner)]
        elif kind in ("text/plain", "text/html") and not _is_file(part):
            if is_read:
                text = _decode_text(part)
                is_html = kind == "text/html"
                contents.add_text(to_markdown(text, contents.log) if is_html else text)
        elif kind not in _SIGNATURE_TYPES and not _is_inline_image(part, kind):
            contents.add_file(part)
    if not contents.texts:
        for tnef in contents.tnef:
            contents.add_text(tnef.text)
    return contents


def _choose_alternative(alternatives: list[Message[Any, Any]]) -> Message[Any, Any] | None:
    """Return the plain text, unless it is a stub; otherwise the richest readable alternative."""
    rich_parts = [
        part
        for part in alternatives
        if part.get_content_type() == "text/html" or part.get_content_maintype() == "multipart"
    ]
    for part in alternatives:
        if part.get_content_type() != "text/plain":
            continue
        text = _decode_text(part)
        markup = _read_html(rich_parts[-1]) if rich_parts else ""
        is_poorer = is_stub(text, extract_html_words(markup)) or has_more_tables(text, markup)
        if text.strip() and not is_poorer:
            return part
    return rich_parts[-1] if rich_parts else None


def _read_html(part: Message[Any, Any]) -> str:
    """Return the HTML of a part, which may be packed with its pictures; "" if it has none."""
    html_parts = (p for p in part.walk() if p.get_content_type() == "text/html" and not _is_file(p))
    return next(map(_decode_text, html_parts), "")


def _log_other_alternatives(
    alternatives: Sequence[Message[Any, Any]],
    chosen: Message[Any, Any] | None,
    contents: _Contents,
) -> None:
    for part in alternatives:
        if part is chosen or chosen is None:
            continue
        if part.get_content_type() == "text/plain":
            name, text = "plain text version", _decode_text(part)
        else:
            name, text = "HTML version", extract_html_words(_read_html(part))
        if text.strip():
            contents.log.add("repeated", name, text)
            contents.source_texts.append(text)


def _is_file(part: Message[Any, Any]) -> bool:
    return part.get_content_disposition() == "attachment" or bool(_read_file_name(part))


def _is_inline_image(part: Message[Any, Any], kind: str) -> bool:
    return kind.startswith("image/") and part.get_content_disposition() != "attachment"


def _decode_text(part: Message[Any, Any]) -> str:
    data = _read_bytes(part)
    if not data:
        return ""
    text = decode_part(part, data)
    if str(part.get_param("format") or "").lower() == "flowed":
        text = _join_flowed_lines(text, str(part.get_param("delsp") or "").lower() == "yes")
    return to_well_formed(text.replace("\r\n", "\n").replace("\0", "")).strip("\n")


def _join_flowed_lines(text: str, deletes_spaces: bool) -> str:
    """Join the lines of ``format=flowed`` (RFC 3676): one that ends with a space continues."""
    lines: list[str] = []
    is_open = False
    for line in text.replace("\r\n", "\n").split("\n"):
        is_quoted = line.startswith(">")
        content = line.removeprefix(" ")
        if is_open and not is_quoted and not lines[-1].startswith(">"):
            lines[-1] = (lines[-1][:-1] if deletes_spaces else lines[-1]) + content
        else:
            lines.append(line if is_quoted else content)
        is_open = line.endswith(" ") and line != "-- " and not is_quoted
    return "\n".join(lines)


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
        name = _read_raw_file_name(part) or part.get_filename() or ""
        name = decode_raw_header(name) or name
    except MemoryError:
        raise
    except Exception:
        return ""
    return to_well_formed(" ".join(name.replace("/", "_").split()))[:200]


def _read_raw_file_name(part: Message[Any, Any]) -> str:
    """Return a file name with bytes that are not ASCII, which the email package does not read."""
    for header, value in part.raw_items():
        if header.lower() in ("content-disposition", "content-type") and isinstance(value, str):
            decoded = "" if value.isascii() else decode_raw_header(value)
            match = _RAW_FILE_NAME.search(decoded or "")
            if match:
                return match.group(1) or match.group(2)
    return ""


def _guess_suffix(part: Message[Any, Any]) -> str:
    if part.get_content_type() == "message/rfc822":
        return ".eml"
    return mimetypes.guess_extension(part.get_content_type()) or ""
