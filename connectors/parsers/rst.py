"""reStructuredText: the text as written, sections as headings."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.text import decode, require_text
from connectors.parsers.text_builder import build_heading_marks
from connectors.parsers.titles import choose_title
from rag.types import Document, to_well_formed

_MAX_CHARACTERS = 5_000_000  # no sections are searched for in a longer file
_DOCUTILS_LOCK = threading.Lock()  # warning filters, roles and state machines are global


class RstParser(Parser):
    """The reStructuredText as written, with heading paths marked.

    Directives are not executed: no file is included, and no raw content is inserted.
    """

    name: ClassVar[str] = "rst"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"text/x-rst": (".rst", ".rest")}
    library: ClassVar[str] = "docutils"
    extra: ClassVar[str] = "formats"
    packages: ClassVar[tuple[str, ...]] = ("docutils",)
    keeps: ClassVar[str] = "the text as written, sections as headings"
    drops: ClassVar[str] = "nothing; directives are kept as text"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is that of the first section, or the file name."""
        self.require()
        text = decode(data)
        require_text(text)
        marks = build_heading_marks(_find_sections(text), len(text))
        first_heading = next((mark.value[0] for mark in marks if isinstance(mark.value, tuple)), "")
        return Document(
            uri=uri,
            text=text,
            title=choose_title(heading=first_heading, uri=uri),
            mime=mime or "text/x-rst",
            marks=marks,
        )


def _find_sections(text: str) -> list[tuple[int, int, str]]:
    if len(text) > _MAX_CHARACTERS:
        return []
    from docutils.core import publish_doctree

    options = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "report_level": 5,
        "halt_level": 6,
        "doctitle_xform": False,
        "_disable_config": True,
        "line_length_limit": 10_000,
        "warning_stream": False,
    }
    # docutils counts lines like this: a form feed does not end a line.
    lines = text.replace("\f", " ").replace("\v", " ").splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]
    try:
        with _DOCUTILS_LOCK:
            tree = publish_doctree(text, settings_overrides=options)
        return sorted(_walk_sections(tree, starts, lines))
    except MemoryError:
        raise
    except Exception:  # directives raise many types; then the text has no headings
        return []


def _walk_sections(
    tree: Any, starts: list[int], lines: list[str]
) -> Iterator[tuple[int, int, str]]:
    from docutils import nodes

    stack: list[tuple[Any, int]] = [(tree, 0)]
    while stack:
        parent, level = stack.pop()
        for section in parent.children:
            if not isinstance(section, nodes.section):
                continue
            stack.append((section, level + 1))
            title = next(iter(section.findall(nodes.title)), None)
            title_text = (
                to_well_formed(" ".join(title.astext().split()))[:200] if title is not None else ""
            )
            line = _find_line(title_text, section.line or 0, lines)
            if title_text and line is not None:
                yield starts[line], level + 1, title_text


def _find_line(title: str, reported_line: int, lines: list[str]) -> int | None:
    """Return the line (from 0) at which the section starts: its overline or its title.

    docutils reports the line below or above the title, depending on the style of the title.
    Returns None if no line near `reported_line` contains the title.
    """
    words = title.split()[:1]
    for line in (reported_line - 2, reported_line - 1, reported_line - 3, reported_line):
        if 0 <= line < len(lines) and words and words[0] in lines[line]:
            above = lines[line - 1].strip() if line else ""
            return line - 1 if len(above) > 2 and len(set(above)) == 1 else line
    return None
