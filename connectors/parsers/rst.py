"""reStructuredText: the text as written, sections as headings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.text import decode, name_of, require_text
from connectors.parsers.text_builder import heading_path_marks
from rag.types import Document, well_formed

_LARGEST = 5_000_000  # characters of a file whose sections are looked for


class RstParser(Parser):
    """reStructuredText's own text, with the heading path marked.

    Directives are not carried out: nothing is included, and nothing raw is let in.
    """

    name: ClassVar[str] = "rst"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"text/x-rst": (".rst", ".rest")}
    library: ClassVar[str] = "docutils"
    keeps: ClassVar[str] = "the text as written, sections as headings"
    drops: ClassVar[str] = "nothing; directives stay text"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the first section's or the file name."""
        text = decode(data)
        require_text(text)
        marks = heading_path_marks(_sections(text), len(text))
        first = next((mark.value[0] for mark in marks if isinstance(mark.value, tuple)), "")
        return Document(
            uri=uri,
            text=text,
            title=first or name_of(uri),
            mime=mime or "text/x-rst",
            marks=marks,
        )


def _sections(text: str) -> list[tuple[int, int, str]]:
    if len(text) > _LARGEST:
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
    # docutils counts its lines so: form feeds end none.
    lines = text.replace("\f", " ").replace("\v", " ").splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]
    try:
        tree = publish_doctree(text, settings_overrides=options)
        return sorted(_found(tree, starts, lines))
    except MemoryError:
        raise
    except Exception:  # docutils' directives let anything out; then it is text without headings
        return []


def _found(tree: Any, starts: list[int], lines: list[str]) -> Iterator[tuple[int, int, str]]:
    from docutils import nodes

    ahead: list[tuple[Any, int]] = [(tree, 0)]
    while ahead:
        parent, level = ahead.pop()
        for section in parent.children:
            if not isinstance(section, nodes.section):
                continue
            ahead.append((section, level + 1))
            title = next(iter(section.findall(nodes.title)), None)
            said = well_formed(" ".join(title.astext().split()))[:200] if title is not None else ""
            line = _line_of(said, section.line or 0, lines)
            if said and line is not None:
                yield starts[line], level + 1, said


def _line_of(title: str, near: int, lines: list[str]) -> int | None:
    """Line (from 0) at which the section begins: its overline, or its title.

    docutils counts from the line under the title, or the one above, depending on its style.
    """
    words = title.split()[:1]
    for line in (near - 2, near - 1, near - 3, near):
        if 0 <= line < len(lines) and words and words[0] in lines[line]:
            above = lines[line - 1].strip() if line else ""
            return line - 1 if len(above) > 2 and len(set(above)) == 1 else line
    return None
