"""Subtitles: what is said, with the time at which it is."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.text import decode, name_of, require_text
from connectors.parsers.text_builder import TextBuilder
from rag.errors import NoText, ParseError
from rag.types import Document, well_formed

_SPEAKER = re.compile(r"<v(?:\.[^\s>]{0,100})?[ \t]([^>]{1,100})>")
_TAG = re.compile(r"</?(?:[bciuv]|ruby|rt|lang|font)(?:[.\s][^<>]{0,200})?>|<[\d:.]{5,20}>", re.I)


def _read(text: str) -> list[Any]:
    import pysubs2

    try:  # with their tags, as these name who speaks
        return list(pysubs2.SSAFile.from_string(text, keep_html_tags=True).events)
    except TypeError:  # a format that has none
        return list(pysubs2.SSAFile.from_string(text).events)


class SubtitleParser(Parser):
    """SubRip, WebVTT and Advanced SubStation: a line for each subtitle, with a mark of its time."""

    name: ClassVar[str] = "subtitles"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/x-subrip": (".srt",),
        "text/vtt": (".vtt",),
        "text/x-ssa": (".ass", ".ssa"),
    }
    library: ClassVar[str] = "pysubs2"
    keeps: ClassVar[str] = "the words, the second at which each subtitle begins"
    drops: ClassVar[str] = "styles, positions, comments"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        logging.getLogger("pysubs2").setLevel(logging.CRITICAL)
        text = decode(data)
        require_text(text)
        try:
            events = _read(text)
        except MemoryError:
            raise
        except Exception as error:  # its own errors, and those of int() and re
            raise ParseError(f"no subtitles that can be read: {error}") from None
        built = TextBuilder()
        for event in events:
            speaker = _SPEAKER.search(event.text)
            name = event.name or (speaker.group(1) if speaker else "")
            said = html.unescape(_TAG.sub("", event.plaintext))
            said = well_formed(" ".join(said.split()))
            if said and not event.is_comment:
                start = built.at
                built.line(f"{name.strip()}: {said}" if name.strip() else said)
                built.mark("time", max(0, event.start) / 1000, start, built.at - 1)
        if not built.at:
            raise NoText("subtitles without any text")
        return Document(
            uri=uri,
            text=built.text,
            title=name_of(uri),
            mime=mime or "text/vtt",
            metadata={"seconds": max(event.end for event in events) / 1000},
            marks=tuple(built.marks),
        )
