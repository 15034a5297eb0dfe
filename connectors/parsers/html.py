"""HTML: the main text without menus, as Markdown, so that headings survive."""

from __future__ import annotations

from typing import Any, ClassVar

from connectors.base import Parser
from connectors.parsers.markdown import heading_marks
from connectors.parsers.text import name_of
from rag.errors import NoText, ParseError
from rag.types import Document, flat_metadata, well_formed

_KEPT = ("author", "date", "description", "sitename", "language", "categories", "tags")


class HtmlParser(Parser):
    """The main text of a page by trafilatura, in Markdown.

    Where a page has no main text that trafilatura finds (a very short page, a list of links),
    all of its visible text is taken.
    """

    name: ClassVar[str] = "html"

    tables: bool = True
    links: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`, in the encoding that it declares or that is guessed."""
        import trafilatura
        from lxml.etree import LxmlError

        if not data.strip():
            raise NoText("the file is empty")
        try:
            tree = trafilatura.load_html(data)
            if tree is None:  # a fragment without <html>, or no HTML at all
                tree = trafilatura.load_html(b"<html><body>" + data + b"</body></html>")
            if tree is None:
                raise NoText("not HTML, or a page without any text")
            metadata = trafilatura.extract_metadata(tree, default_url=uri, extensive=False)
            text = trafilatura.extract(
                tree,
                output_format="markdown",
                include_comments=False,
                include_tables=self.tables,
                include_links=self.links,
                include_formatting=True,
            )
            text = well_formed(text or trafilatura.html2txt(data) or "")
        except (LxmlError, ValueError, RecursionError, AttributeError) as error:
            raise ParseError(f"broken HTML: {error}") from None
        if not text.strip():
            raise NoText("a page without any text")
        if not heading_marks(text):
            text = _with_headings(text, tree)
        found = metadata.as_dict() if metadata else {}
        return Document(
            uri=uri,
            text=text,
            title=well_formed(found.get("title") or name_of(uri))[:200],
            mime=mime or "text/html",
            metadata=_metadata(found),
            marks=heading_marks(text),
        )


def _with_headings(text: str, tree: Any) -> str:
    """Mark the lines that are headings of the page: from a short page they come out bare."""
    levels = {
        " ".join(heading.text_content().split()): int(heading.tag[1])
        for heading in tree.iter("h1", "h2", "h3", "h4", "h5", "h6")
    }
    lines = text.split("\n")
    return "\n".join(
        f"\n{'#' * levels[bare]} {bare}\n" if (bare := line.strip()) in levels and bare else line
        for line in lines
    ).lstrip("\n")


def _metadata(found: dict[str, Any]) -> dict[str, Any]:
    return flat_metadata({name: found[name] for name in _KEPT if found.get(name)})
