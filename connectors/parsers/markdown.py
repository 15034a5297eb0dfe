"""Markdown: the text as written, headings as marks, front matter as metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from connectors.base import Parser
from connectors.parsers.text import decode, name_of, require_text
from connectors.parsers.text_builder import heading_path_marks
from rag.types import Document, Mark, flat_metadata

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_LINE_END = re.compile(r"\r\n|\n|\r")
_LONGEST_FRONT_MATTER = 20_000  # characters; some YAML takes quadratic time
_LONGEST_HEADING = 200  # characters; a longer paragraph above "---" is one, with a rule below it
_INLINE = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|(?<!\w)[*_`]+|[*_`]+(?!\w)")


class MarkdownParser(Parser):
    """Markdown's own text, with the heading path marked; YAML front matter becomes metadata."""

    name: ClassVar[str] = "markdown"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/markdown": (".md", ".markdown", ".mdx", ".qmd", ".rmd"),
    }
    library: ClassVar[str] = "markdown-it-py, PyYAML"
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
    except MemoryError:
        raise
    except Exception:  # PyYAML lets anything out; then it is no front matter, and stays
        return None
    return loaded if isinstance(loaded, dict) else None


def heading_marks(text: str) -> tuple[Mark, ...]:
    """Heading path of every stretch of Markdown below a heading, up to the next one."""
    return heading_path_marks(_headings(text), len(text))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Offset, level and text of each heading that is not within a list or quotation."""
    lines = [0, *(end.end() for end in _LINE_END.finditer(text))]
    tokens = _blocks().parse(text)
    for opening, inside in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            title = _plain(" ".join(inside.content[: 2 * _LONGEST_HEADING].split()))
            if 0 < len(title) <= _LONGEST_HEADING:
                yield lines[opening.map[0]], int(opening.tag[1:]), title


@lru_cache(maxsize=1)
def _blocks() -> MarkdownIt:
    """CommonMark and tables, without a look at what is inside of a paragraph."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])


def _plain(heading: str) -> str:
    return _INLINE.sub(lambda match: match.group(1) or "", heading).strip()
