"""Old Office files: Word documents (.doc) and PowerPoint presentations (.ppt)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.embedded_data import log_embedded_data, remove_embedded_data
from connectors.parsers.mail_charsets import decode_stated
from connectors.parsers.markdown import find_structure_marks
from connectors.parsers.markdown_tables import format_table
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.titles import choose_title, find_title_heading
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, flatten_metadata, to_well_formed

WORD_TYPE = "application/msword"
POWERPOINT_TYPE = "application/vnd.ms-powerpoint"
_ENCRYPTED_FLAG = 0x0100  # of the flags at offset 10 of the stream WordDocument ([MS-DOC] 2.5.2)
_FIELD_CODE = re.compile(
    r'\b(?:HYPERLINK|INCLUDEPICTURE|TOC|PAGEREF|REF)(?:[ \t]+(?:\\\w|"[^"\n]{0,2000}"|_\w+))+[ \t]*'
)
_HEADING = re.compile(r"^(#{1,6}) +(.+)$", re.M)
_LONE_BULLET = re.compile(r"^([•·▪◦‣])[ \t]*\n(?=\S)", re.M)
_MARKDOWN_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


class LegacyOfficeParser(Parser):
    """Word 97-2003 and PowerPoint 97-2003: text, headings and tables."""

    name: ClassVar[str] = "legacy-office"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        WORD_TYPE: (".doc", ".dot"),
        POWERPOINT_TYPE: (".ppt", ".pps", ".pot"),
    }
    library: ClassVar[str] = "kreuzberg"
    keeps: ClassVar[str] = "text, headings, tables, notes, title, author, dates"
    drops: ClassVar[str] = "pictures, the numbers of slides, headers, comments"
    extra: ClassVar[str] = "legacy"
    packages: ClassVar[tuple[str, ...]] = ("kreuzberg", "olefile")

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is that of the properties, a heading or the file name."""
        self.require()
        properties = _read_properties(data)
        kind = POWERPOINT_TYPE if mime == POWERPOINT_TYPE else WORD_TYPE
        plain_text, notes = _extract(data, kind, "plain")
        if not plain_text.strip():
            raise NoText("the document contains no text")
        headings = _HEADING.findall(_extract(data, kind, "markdown")[0])
        text, sizes = remove_embedded_data(_format_text(plain_text, headings, notes))
        log = OmissionLog()
        log_embedded_data(log, sizes)
        marks = find_structure_marks(text)
        heading = find_title_heading(text, marks)
        return Document(
            uri=uri,
            text=text,
            title=choose_title(properties.pop("title", ""), heading=heading, uri=uri),
            mime=mime or kind,
            metadata=flatten_metadata(properties),
            marks=marks,
            coverage=log.measure(text, [_FIELD_CODE.sub("", plain_text)]),
        )


def _extract(data: bytes, kind: str, output_format: str) -> tuple[str, list[str]]:
    """Return the text of a file, and the notes of its slides."""
    import kreuzberg

    config = kreuzberg.ExtractionConfig(use_cache=False, output_format=output_format)
    try:
        result = kreuzberg.extract_bytes_sync(data, kind, config=config)
    except MemoryError:
        raise
    except Exception as error:
        raise ParseError(_describe(error)) from None
    except BaseException as error:  # a panic of the library in Rust is not an Exception
        if type(error).__name__ != "PanicException":
            raise
        raise ParseError(_describe(error)) from None
    notes = result.metadata.get("speaker_notes") or []
    return to_well_formed(result.content.replace("\0", "")), [str(note) for note in notes]


def _describe(error: BaseException) -> str:
    return f"a damaged Office document: {' '.join(str(error).split())[:200]}"


def _format_text(text: str, headings: list[tuple[str, str]], notes: list[str]) -> str:
    """Return Markdown: lines as written, with the signs of headings, and tables."""
    levels = {_MARKDOWN_ESCAPE.sub(r"\1", title).strip(): signs for signs, title in headings}
    blocks: list[str] = []
    for line in _FIELD_CODE.sub("", text).split("\n"):
        if rows := _read_table(line):
            blocks.append(f"\n{format_table(rows, None, '')}\n")
        elif signs := levels.pop(line.strip(), ""):
            blocks.append(f"\n{signs} {line.strip()}\n")
        else:
            blocks.append(line.rstrip())
    content = "\n".join(blocks)
    words = set(content.split())
    blocks += [f"\n{note.strip()}" for note in notes if not words.issuperset(note.split())]
    text = _LONE_BULLET.sub(r"\1 ", "\n".join(blocks))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _read_table(line: str) -> list[list[str]]:
    """Return the rows of a table; [] for other lines.

    Its cells end in tabs, and so does each row: a table of two columns and two rows is
    ``a TAB b TAB TAB c TAB d TAB TAB``.
    """
    cells = [" ".join(cell.split()) for cell in line.rstrip("\r\n ").split("\t")]
    if len(cells) < 4 or cells[-1]:
        return []
    cells.pop()
    for width in range(1, len(cells)):
        if len(cells) % (width + 1) == 0 and not any(cells[width :: width + 1]):
            rows = [cells[i : i + width] for i in range(0, len(cells), width + 1)]
            return rows if any(map(any, rows)) else []
    return []


def _read_properties(data: bytes) -> dict[str, Any]:
    """Return title, author and dates. Raises `ParseError` and `EncryptedDocument`."""
    import olefile

    try:
        with olefile.OleFileIO(io.BytesIO(data)) as file:
            if file.exists("WordDocument"):
                flags = file.openstream("WordDocument").read(12)[10:12]
                if int.from_bytes(flags, "little") & _ENCRYPTED_FLAG:
                    raise EncryptedDocument("protected by a password: save a copy without one")
            if file.exists("EncryptedSummary"):
                raise EncryptedDocument("protected by a password: save a copy without one")
            properties = file.get_metadata()
    except (EncryptedDocument, MemoryError):
        raise
    except Exception as error:  # olefile raises many types for damaged files
        raise ParseError(_describe(error)) from None
    codepage = f"cp{properties.codepage & 0xFFFF}" if properties.codepage else None

    def read(value: Any) -> str:
        text = decode_stated(value, codepage) if isinstance(value, bytes) else str(value or "")
        return " ".join(to_well_formed(text.replace("\0", "")).split())

    fields = {
        "title": read(properties.title),
        "author": read(properties.author),
        "subject": read(properties.subject),
        "created": _read_day(properties.create_time),
        "modified": _read_day(properties.last_saved_time),
    }
    return {name: value for name, value in fields.items() if value}


def _read_day(moment: Any) -> str:
    """Return a date; "" for a missing one, which Office writes as the year 1601."""
    is_set = isinstance(moment, datetime) and moment.year > 1970
    return moment.date().isoformat() if is_set else ""
