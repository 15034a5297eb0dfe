"""Markdown: the text as written, headings as marks, front matter as metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from connectors.base import Parser
from connectors.parsers.markdown_tables import (
    find_line_starts,
    list_table_marks,
    make_block_parser,
)
from connectors.parsers.text import decode, require_text
from connectors.parsers.text_builder import build_heading_marks
from connectors.parsers.titles import (
    MAX_TITLE_CHARACTERS,
    choose_title,
    find_title_heading,
    is_title,
)
from connectors.parsers.yaml_loader import make_yaml_loader
from rag.types import Document, Mark, flatten_metadata

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_MAX_FRONT_MATTER_CHARACTERS = 20_000  # PyYAML needs quadratic time for some input
_MAX_HEADING_CHARACTERS = (
    200  # characters; a longer paragraph above "---" is one, with a rule below it
)
_INLINE = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|(?<!\w)[*_`]+|[*_`]+(?!\w)")


class MarkdownParser(Parser):
    """The Markdown as written, with heading paths marked; front matter becomes metadata."""

    name: ClassVar[str] = "markdown"
    revision: ClassVar[int] = 3
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/markdown": (".md", ".markdown", ".mdx", ".qmd", ".rmd"),
    }
    library: ClassVar[str] = "markdown-it-py, PyYAML"
    keeps: ClassVar[str] = "the text as written, headings, tables, front matter as metadata"
    drops: ClassVar[str] = "nothing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is from the front matter, the first heading or the file name."""
        text = decode(data)
        require_text(text)
        metadata: dict[str, Any] = {}
        if (
            (front_matter := _FRONT_MATTER.match(text))
            and len(front_matter.group(1)) <= _MAX_FRONT_MATTER_CHARACTERS
            and (mapping := _load_yaml_mapping(front_matter.group(1)))
        ):
            metadata, text = flatten_metadata(mapping), text[front_matter.end() :]
            require_text(text)
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
        )


def _load_yaml_mapping(text: str) -> dict[Any, Any] | None:
    import yaml

    try:
        value = yaml.load(text, make_yaml_loader())
    except MemoryError:
        raise
    except Exception:  # PyYAML raises many types; then the text stays as it is
        return None
    return value if isinstance(value, dict) else None


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
    return _INLINE.sub(lambda match: match.group(1) or "", heading).strip()
