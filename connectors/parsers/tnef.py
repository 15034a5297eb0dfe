"""TNEF (winmail.dat): the files that Outlook packs into one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

from connectors.base import Container, FailedPart, Part
from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.mail_charsets import decode_stated
from connectors.parsers.markdown_tables import find_table_marks
from connectors.parsers.text import extract_file_name
from rag.errors import NoText, ParseError
from rag.types import Document, to_well_formed

TNEF_TYPES = ("application/ms-tnef", "application/vnd.ms-tnef")
TNEF_PREFIX = b"\x78\x9f\x3e\x22"


class TnefContent(NamedTuple):
    """The text of a message in TNEF, and the files in it."""

    text: str
    parts: list[Part]


class TnefParser(Container):
    """``winmail.dat``: the text of the message, and its attachments as documents."""

    name: ClassVar[str] = "tnef"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {TNEF_TYPES[0]: (), TNEF_TYPES[1]: ()}
    library: ClassVar[str] = "tnefparse"
    keeps: ClassVar[str] = "text, attachments as documents"
    drops: ClassVar[str] = "properties of Outlook"
    extra: ClassVar[str] = "legacy"
    packages: ClassVar[tuple[str, ...]] = ("tnefparse",)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse the message without its attachments. The title is the file name."""
        text = read_tnef(data).text
        if not text.strip():
            raise NoText("the message contains no text outside of its attachments")
        return Document(
            uri=uri,
            text=text,
            title=extract_file_name(uri),
            mime=mime or TNEF_TYPES[0],
            marks=find_table_marks(text),
        )

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the attachments."""
        yield from read_tnef(data).parts


def read_tnef(data: bytes) -> TnefContent:
    """Read TNEF. Raises `ParseError` if it is damaged, and `ParserNotInstalled`."""
    TnefParser().require()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tnefparse
    _check_end(data)
    logging.getLogger("tnefparse").setLevel(logging.CRITICAL)
    try:
        message = tnefparse.TNEF(data, do_checksum=False)
        text = _read_text(message)
        parts = [
            _make_part(attachment, number)
            for number, attachment in enumerate(message.attachments, start=1)
            if getattr(attachment, "data", None)
        ]
    except MemoryError:
        raise
    except Exception as error:  # the library raises many types for damaged data
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ParseError(f"a damaged winmail.dat: {reason}") from None
    return TnefContent(text, parts)


def _check_end(data: bytes) -> None:
    """Raise `ParseError` if the last object is not complete."""
    position = 6
    while position + 9 <= len(data):
        position += 11 + int.from_bytes(data[position + 5 : position + 9], "little")
    if position > len(data):
        raise ParseError("a damaged winmail.dat: it is cut off")


def _read_text(message: Any) -> str:
    body, markup = message.body, message.htmlbody
    if text := _decode(body):
        return text
    return to_markdown(_decode(markup)) if markup else ""


def _decode(value: Any) -> str:
    text = decode_stated(value, None) if isinstance(value, bytes) else str(value or "")
    return to_well_formed(text.replace("\r\n", "\n").replace("\0", "")).strip()


def _make_part(attachment: Any, number: int) -> Part:
    name = _decode(attachment.long_filename() or "") or f"attachment-{number}"
    name = " ".join(name.replace("/", "_").replace("\\", "_").split())[:200]
    if getattr(attachment, "embed", None) is not None:  # a message in the message
        return Part(name, partial(bytes, attachment.data), TNEF_TYPES[0])
    return Part(name, partial(bytes, attachment.data), None)
