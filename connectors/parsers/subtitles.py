"""Subtitles: what is said, with the time at which it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import ClassVar

from connectors.base import Parser
from connectors.parsers.building import TextBuilder
from connectors.parsers.text import decode, name_of, require_text
from rag.errors import NoText, ParseError
from rag.types import Document, well_formed


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
        import pysubs2

        logging.getLogger("pysubs2").setLevel(logging.CRITICAL)
        text = decode(data)
        require_text(text)
        try:
            events = pysubs2.SSAFile.from_string(text).events
        except Exception as error:  # its own errors, and those of int() and re
            raise ParseError(f"no subtitles that can be read: {error}") from None
        built = TextBuilder()
        for event in events:
            said = well_formed(" ".join(event.plaintext.split()))
            if said and not event.is_comment:
                start = built.at
                built.line(f"{event.name}: {said}" if event.name else said)
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
