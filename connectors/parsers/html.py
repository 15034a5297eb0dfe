"""HTML: the main text without menus, as Markdown, so that headings survive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urldefrag, urljoin

from connectors.base import Parser
from connectors.parsers.html_fragments import to_markdown
from connectors.parsers.markdown import heading_marks
from connectors.parsers.text import name_of
from rag.errors import NoText, ParseError
from rag.types import Document, flat_metadata, well_formed

_KEPT = ("author", "date", "description", "sitename", "categories", "tags")
_MOST_LINKS = 100
_SHORT = 300  # characters; of less trafilatura keeps the words, and not what they are
_AROUND = ("nav", "header", "footer", "aside", "form")


class HtmlParser(Parser):
    """The main text of a page by trafilatura, in Markdown.

    Where a page has no main text that trafilatura finds (a very short page, a list of links),
    all of its visible text is taken.
    """

    name: ClassVar[str] = "html"
    revision: ClassVar[int] = 2
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/html": (".html", ".htm", ".xhtml"),
    }
    library: ClassVar[str] = "trafilatura"
    keeps: ClassVar[str] = "main text, headings, tables, title, language, dates, links as metadata"
    drops: ClassVar[str] = "menus, banners, scripts, pictures"

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
            language, links = _language(tree), _links(tree, uri)
            if not text or len(text) < _SHORT:  # so short a page has no menus worth telling apart
                text = to_markdown(data, without=_AROUND) or text or to_markdown(data)
            text = well_formed(text)
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
            metadata=_metadata(found) | flat_metadata({"language": language, "links": links}),
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


def _language(tree: Any) -> str | None:
    """What the page says of itself, as in ``de-AT``."""
    said = next((tag.get("lang") or tag.get("xml:lang") for tag in tree.iter("html")), None)
    return well_formed(said.strip())[:35] or None if said else None


def _links(tree: Any, uri: str) -> tuple[str, ...]:
    """Where the page leads, each address once, without what is behind a ``#``."""
    base = next((tag.get("href") for tag in tree.iter("base")), None) or ""
    found: dict[str, None] = {}
    for tag in tree.iter("a"):
        try:
            target = urldefrag(urljoin(urljoin(uri, base), (tag.get("href") or "").strip())).url
        except ValueError:
            continue
        if target.startswith(("http://", "https://")) and len(target) <= 2_000:
            found[well_formed(target)] = None
        if len(found) == _MOST_LINKS:
            break
    return tuple(found)


def _metadata(found: dict[str, Any]) -> dict[str, Any]:
    return flat_metadata({name: found[name] for name in _KEPT if found.get(name)})
