"""HTML: the main text without menus, as Markdown, which keeps the headings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urldefrag, urljoin

from connectors.base import Parser
from connectors.parsers.embedded_data import remove_embedded_data_of_markup
from connectors.parsers.html_fragments import insert_tables, replace_tables, to_markdown
from connectors.parsers.markdown import find_structure_marks, get_first_heading
from connectors.parsers.titles import choose_title, find_title_heading
from rag.errors import NoText, ParseError
from rag.types import Document, flatten_metadata, to_well_formed

_METADATA_FIELDS = ("author", "date", "description", "sitename", "categories", "tags")
_MAX_LINKS = 100
_SHORT_PAGE_CHARACTERS = 300  # trafilatura loses the structure of shorter pages
_BOILERPLATE_TAGS = ("nav", "header", "footer", "aside", "form")


class HtmlParser(Parser):
    """The main text of a page, extracted by trafilatura, as Markdown.

    If trafilatura finds no main text (a very short page, a list of links), all visible text is
    kept.
    """

    name: ClassVar[str] = "html"
    revision: ClassVar[int] = 5
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/html": (".html", ".htm", ".xhtml"),
    }
    library: ClassVar[str] = "trafilatura"
    keeps: ClassVar[str] = "main text, headings, tables, title, language, dates, links as metadata"
    drops: ClassVar[str] = "menus, banners, scripts, pictures"

    tables: bool = True
    links: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`, in the encoding that it declares, otherwise in a guessed one."""
        import trafilatura
        from lxml.etree import LxmlError

        if not data.strip():
            raise NoText("the file is empty")
        data, _ = remove_embedded_data_of_markup(data)
        try:
            tree = trafilatura.load_html(data)
            if tree is None:  # a fragment without <html>, or not HTML at all
                tree = trafilatura.load_html(b"<html><body>" + data + b"</body></html>")
            if tree is None:
                raise NoText("not HTML, or the page contains no text")
            metadata = trafilatura.extract_metadata(tree, default_url=uri, extensive=False)
            language, links = _read_language(tree), _list_links(tree, uri)
            tables = replace_tables(tree, for_extraction=True) if self.tables else {}
            text = trafilatura.extract(
                tree,
                output_format="markdown",
                include_comments=False,
                include_tables=self.tables,
                include_links=self.links,
                include_formatting=True,
            )
            text = insert_tables(text or "", tables)
            if not text or len(text) < _SHORT_PAGE_CHARACTERS:  # a short page has no menus
                text = to_markdown(data, without=_BOILERPLATE_TAGS) or text or to_markdown(data)
            text = to_well_formed(text)
        except (LxmlError, ValueError, RecursionError, AttributeError) as error:
            raise ParseError(f"broken HTML: {error}") from None
        if not text.strip():
            raise NoText("the page contains no text")
        marks = find_structure_marks(text)
        if not get_first_heading(marks) and (restored := _restore_headings(text, tree)) != text:
            text, marks = restored, find_structure_marks(restored)
        page_metadata = metadata.as_dict() if metadata else {}
        heading = to_well_formed(find_title_heading(text, marks))
        return Document(
            uri=uri,
            text=text,
            title=choose_title(
                to_well_formed(page_metadata.get("title") or ""), heading=heading, uri=uri
            ),
            mime=mime or "text/html",
            metadata=_select_metadata(page_metadata)
            | flatten_metadata({"language": language, "links": links}),
            marks=marks,
        )


def _restore_headings(text: str, tree: Any) -> str:
    """Write ``#`` before headings: trafilatura extracts those of a short page without it."""
    levels = {
        " ".join(heading.text_content().split()): int(heading.tag[1])
        for heading in tree.iter("h1", "h2", "h3", "h4", "h5", "h6")
    }
    lines = text.split("\n")
    return "\n".join(
        f"\n{'#' * levels[bare]} {bare}\n" if (bare := line.strip()) in levels and bare else line
        for line in lines
    ).lstrip("\n")


def _read_language(tree: Any) -> str | None:
    """Return the language that the page declares, such as ``de-AT``."""
    language = next((tag.get("lang") or tag.get("xml:lang") for tag in tree.iter("html")), None)
    return to_well_formed(language.strip())[:35] or None if language else None


def _list_links(tree: Any, uri: str) -> tuple[str, ...]:
    """Return the addresses that the page links to, each once and without its fragment."""
    base = next((tag.get("href") for tag in tree.iter("base")), None) or ""
    links: dict[str, None] = {}
    for tag in tree.iter("a"):
        try:
            target = urldefrag(urljoin(urljoin(uri, base), (tag.get("href") or "").strip())).url
        except ValueError:
            continue
        if target.startswith(("http://", "https://")) and len(target) <= 2_000:
            links[to_well_formed(target)] = None
        if len(links) == _MAX_LINKS:
            break
    return tuple(links)


def _select_metadata(page_metadata: dict[str, Any]) -> dict[str, Any]:
    return flatten_metadata(
        {name: page_metadata[name] for name in _METADATA_FIELDS if page_metadata.get(name)}
    )
