"""Markdown: the text as written, headings as marks, front matter as metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from connectors.base import Parser
from connectors.parsers.embedded_data import log_embedded_data, remove_embedded_data
from connectors.parsers.front_matter import split_front_matter
from connectors.parsers.markdown_tables import (
    INLINE_MARKUP,
    find_line_starts,
    list_table_marks,
    make_block_parser,
)
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.text import decode, require_text
from connectors.parsers.text_builder import build_heading_marks
from connectors.parsers.titles import (
    MAX_TITLE_CHARACTERS,
    choose_title,
    find_title_heading,
    is_title,
)
from rag.types import Document, Mark

if TYPE_CHECKING:
    from markdown_it.token import Token

_MAX_HEADING_CHARACTERS = (
    200  # characters; a longer paragraph above "---" is one, with a rule below it
)
_ATTRIBUTES = re.compile(r"(?<!\s)\s*+\{(?:[#.:][^{}]*+|-|[\w-]++=[^{}]*+)\}\s*+\Z")  # {#id .class}


class MarkdownParser(Parser):
    """The Markdown as written, with heading paths marked; front matter becomes metadata."""

    name: ClassVar[str] = "markdown"
    revision: ClassVar[int] = 6
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/markdown": (".md", ".markdown", ".mdx", ".qmd", ".rmd"),
    }
    library: ClassVar[str] = "markdown-it-py, PyYAML"
    keeps: ClassVar[str] = "the text as written, headings, tables, front matter as metadata"
    drops: ClassVar[str] = "data in base64"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is from the front matter, the first heading or the file name."""
        text, sizes = remove_embedded_data(decode(data))
        require_text(text)
        metadata, text = split_front_matter(text)
        require_text(text)
        log = OmissionLog()
        log_embedded_data(log, sizes)
        marks = find_structure_marks(text)
        title = metadata.pop("title", "")  # a person wrote it: it may be the name of the file
        if not (isinstance(title, str) and is_title(title)):
            title = choose_title(title, heading=find_title_heading(text, marks), uri=uri)
        return Document(
            uri=uri,
            text=text,
            title=title.strip()[:MAX_TITLE_CHARACTERS],
            mime=mime or "text/markdown",
            metadata=metadata,
            marks=marks,
            coverage=log.count_unchanged(text),
        )


def find_structure_marks(text: str) -> tuple[Mark, ...]:
    """Return the marks of the headings, of the tables and of their rows."""
    tokens, line_starts = make_block_parser().parse(text), find_line_starts(text)
    headings = build_heading_marks(_list_headings(tokens, line_starts), len(text))
    return (*headings, *list_table_marks(text, tokens, line_starts))


def find_heading_marks(text: str) -> tuple[Mark, ...]:
    """Return a mark with the heading path for each section, up to the next heading."""
    tokens = make_block_parser().parse(text)
    return build_heading_marks(_list_headings(tokens, find_line_starts(text)), len(text))


def get_first_heading(marks: Sequence[Mark]) -> str:
    """Return the outermost heading of the first section; "" if there are no headings."""
    return next((mark.value[0] for mark in marks if isinstance(mark.value, tuple)), "")


def _list_headings(
    tokens: Sequence[Token], line_starts: Sequence[int]
) -> Iterator[tuple[int, int, str]]:
    """Yield offset, level and text of each heading outside of lists and quotations."""
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            title = _strip_inline_markup(
                " ".join(inline.content[: 2 * _MAX_HEADING_CHARACTERS].split())
            )
            if 0 < len(title) <= _MAX_HEADING_CHARACTERS:
                yield line_starts[opening.map[0]], int(opening.tag[1:]), title


def _strip_inline_markup(heading: str) -> str:
    heading = _ATTRIBUTES.sub("", heading)
    return INLINE_MARKUP.sub(lambda match: match.group(1) or "", heading).strip()
