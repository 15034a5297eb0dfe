"""Subtitles: the spoken text, with marks for the time."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.text import decode, extract_file_name, require_text
from connectors.parsers.text_builder import TextBuilder
from rag.errors import NoText, ParseError
from rag.types import Document, to_well_formed

_SPEAKER = re.compile(r"<v(?:\.[^\s>]{0,100})?[ \t]([^>]{1,100})>")
_INNER_TIME = re.compile(r"<\d\d:\d\d(?::\d\d)?[.,]\d{3}>")  # of each word of a caption
_SPACE = re.compile(r" ")
_MIN_REPEATED_WORDS = 3
_MAX_ROLLED_WORDS = 40
_TAG = re.compile(r"</?(?:[bciuv]|ruby|rt|lang|font)(?:[.\s][^<>]{0,200})?>|<[\d:.]{5,20}>", re.I)


def _read_events(text: str) -> list[Any]:
    import pysubs2

    try:  # keep the tags: they name the speaker
        return list(pysubs2.SSAFile.from_string(text, keep_html_tags=True).events)
    except TypeError:  # a format without tags
        return list(pysubs2.SSAFile.from_string(text).events)


def _remove_repeated_line(words: str, previous: str) -> str:
    """Return the new words of a caption that begins with those of the one before, as it rolls up.

    Two equal captions of a few words may be meant: "No. No."
    """
    if len(previous.split()) < _MIN_REPEATED_WORDS or not words:
        return words
    for start in [0, *(match.end() for match in _SPACE.finditer(previous))][:_MAX_ROLLED_WORDS]:
        repeated = previous[start:]
        if len(repeated.split()) < _MIN_REPEATED_WORDS:
            return words
        if words == repeated or words.startswith(f"{repeated} "):
            return words[len(repeated) :].strip()
    return words


class SubtitleParser(Parser):
    """SubRip, WebVTT and Advanced SubStation: a line and a time mark for each subtitle."""

    name: ClassVar[str] = "subtitles"
    revision: ClassVar[int] = 2
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/x-subrip": (".srt",),
        "text/vtt": (".vtt",),
        "text/x-ssa": (".ass", ".ssa"),
    }
    library: ClassVar[str] = "pysubs2"
    extra: ClassVar[str] = "formats"
    packages: ClassVar[tuple[str, ...]] = ("pysubs2",)
    keeps: ClassVar[str] = "the words, the start of each subtitle in seconds"
    drops: ClassVar[str] = "styles, positions, comments"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        self.require()
        logging.getLogger("pysubs2").setLevel(logging.CRITICAL)
        text = decode(data)
        require_text(text)
        try:
            events = _read_events(_INNER_TIME.sub("", text))
        except MemoryError:
            raise
        except Exception as error:  # pysubs2 also lets errors of int() and re through
            raise ParseError(f"the subtitles cannot be read: {error}") from None
        builder = TextBuilder()
        previous = ""
        for event in events:
            speaker = _SPEAKER.search(event.text)
            name = event.name or (speaker.group(1) if speaker else "")
            words = html.unescape(_TAG.sub("", event.plaintext))
            words = to_well_formed(" ".join(words.split()))
            words, previous = _remove_repeated_line(words, previous), words
            if words and not event.is_comment:
                start = builder.offset
                builder.write_line(f"{name.strip()}: {words}" if name.strip() else words)
                builder.mark("time", max(0, event.start) / 1000, start, builder.offset - 1)
        if not builder.offset:
            raise NoText("the subtitles contain no text")
        return Document(
            uri=uri,
            text=builder.text,
            title=extract_file_name(uri),
            mime=mime or "text/vtt",
            metadata={"seconds": max(event.end for event in events) / 1000},
            marks=tuple(builder.marks),
        )
