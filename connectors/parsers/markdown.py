"""Markdown: the text as written, headings as marks, front matter as metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.building import heading_path_marks
from connectors.parsers.text import decode, name_of, require_text
from rag.types import Document, Mark, flat_metadata

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_OTHER_BLOCK = re.compile(r"\s{4}|\t|\s*(?:[-*+>|]|\d+[.)])")
_LONGEST_FRONT_MATTER = 20_000  # characters; some YAML takes quadratic time
_LONGEST_LINE = 1_000  # characters looked at, so that no line can take long
_LONGEST_HEADING = 200  # characters; a longer paragraph above "---" is one, with a rule below it
_INLINE = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|(?<!\w)[*_`]+|[*_`]+(?!\w)")


class MarkdownParser(Parser):
    """Markdown's own text, with the heading path marked; YAML front matter becomes metadata."""

    name: ClassVar[str] = "markdown"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/markdown": (".md", ".markdown", ".mdx", ".qmd", ".rmd"),
    }
    library: ClassVar[str] = "PyYAML (front matter)"
    keeps: ClassVar[str] = "the text as written, headings, front matter as metadata"
    drops: ClassVar[str] = "nothing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the front matter's, the first heading or the file name."""
        text = decode(data)
        require_text(text)
        metadata: dict[str, Any] = {}
        if (
            (front := _FRONT_MATTER.match(text))
            and len(front.group(1)) <= _LONGEST_FRONT_MATTER
            and (found := _yaml_mapping(front.group(1)))
        ):
            metadata, text = flat_metadata(found), text[front.end() :]
            require_text(text)
        marks = heading_marks(text)
        first = next((mark.value[0] for mark in marks if isinstance(mark.value, tuple)), "")
        title = metadata.pop("title", "")
        title = (title if isinstance(title, str) else "") or first or name_of(uri)
        return Document(
            uri=uri,
            text=text,
            title=title[:_LONGEST_HEADING],
            mime=mime or "text/markdown",
            metadata=metadata,
            marks=marks,
        )


def _yaml_mapping(text: str) -> dict[Any, Any] | None:
    import yaml

    class WithoutAliases(yaml.SafeLoader):
        """An alias of an alias of an alias writes a library's worth of text in a few lines."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias")
            return super().compose_node(parent, index)

    try:
        loaded = yaml.load(text, WithoutAliases)
    except Exception:  # PyYAML lets anything out; then it is no front matter, and stays
        return None
    return loaded if isinstance(loaded, dict) else None


def heading_marks(text: str) -> tuple[Mark, ...]:
    """Heading path of every stretch of Markdown below a heading, up to the next one."""
    return heading_path_marks(_headings(text), len(text))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Offset, level and text of each heading; fenced code has none."""
    fence, comment = "", False
    block = ""  # what the line stands in: a "paragraph", or "other" (list, quotation, table)
    paragraph = (0, "")  # where it starts and its text, which "===" or "---" would underline
    at = 0
    for line in text.splitlines(keepends=True):
        start, at = at, at + len(line)
        bare = line.rstrip("\r\n")[:_LONGEST_LINE]  # what is longer is no heading or fence
        if fence:
            closing = _FENCE.match(bare)
            if closing and closing.group(1).startswith(fence) and not closing.group(2).strip():
                fence = ""
        elif comment or bare.lstrip().startswith("<!--"):
            comment = "-->" not in bare
        elif not bare.strip():
            block = ""
        elif opening := _FENCE.match(bare):
            fence, block = opening.group(1), ""
        elif heading := _ATX.match(bare):
            block = ""
            if 0 < len(title := _plain(heading.group(2) or "")) <= _LONGEST_HEADING:
                yield start, len(heading.group(1)), title
        elif block == "paragraph" and (underline := _SETEXT.match(bare)):
            block = ""
            title = _plain(paragraph[1])
            if 0 < len(title) <= _LONGEST_HEADING:
                yield paragraph[0], 1 if underline.group(1).startswith("=") else 2, title
        elif block == "paragraph":
            paragraph = (paragraph[0], f"{paragraph[1]} {bare.strip()}")
            if len(paragraph[1]) > 2 * _LONGEST_HEADING:
                block = "other"
        elif not block:
            block = "other" if _OTHER_BLOCK.match(bare) else "paragraph"
            paragraph = (start, bare.strip())


def _plain(heading: str) -> str:
    return _INLINE.sub(lambda match: match.group(1) or "", heading).strip()
