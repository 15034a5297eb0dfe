"""HTML: the main text without menus, as Markdown, which keeps the headings."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar
from urllib.parse import urldefrag, urljoin

from connectors.base import Parser
from connectors.parsers.embedded_data import (
    log_embedded_data,
    remove_embedded_data_of_markup,
)
from connectors.parsers.html_content import read_all_text, select_content
from connectors.parsers.html_fragments import convert_tree, parse_html
from connectors.parsers.markdown import find_structure_marks
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.titles import choose_title, find_title_heading
from rag.errors import NoText
from rag.types import Document, flatten_metadata, to_well_formed

_METADATA_FIELDS = ("author", "date", "description", "sitename", "categories", "tags")
_MAX_LINKS = 100


class HtmlParser(Parser):
    """The content of a page as Markdown: all text where trafilatura finds the main text.

    Left out are navigation, advertisements and hidden text; ``rag parse --check`` lists them. If
    trafilatura finds no main text (a very short page, a list of links), all other text is kept.
    """

    name: ClassVar[str] = "html"
    revision: ClassVar[int] = 9
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/html": (".html", ".htm", ".xhtml"),
    }
    library: ClassVar[str] = "trafilatura"
    keeps: ClassVar[str] = "main text, headings, tables, title, language, dates, links as metadata"
    drops: ClassVar[str] = "menus, banners, scripts, pictures"

    links: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`, in the encoding that it declares, otherwise in a guessed one."""
        if not data.strip():
            raise NoText("the file is empty")
        data, embedded_sizes = remove_embedded_data_of_markup(data)
        tree = parse_html(data)
        metadata, main_text = _extract_main_text(tree, uri)
        language, links = _read_language(tree), _list_links(tree, uri)
        source_text = read_all_text(next(tree.iter("body"), tree))
        log = OmissionLog()
        log_embedded_data(log, embedded_sizes)
        text = convert_tree(select_content(tree, main_text, log), links=self.links)
        if not text.strip():
            raise NoText("the page contains no text")
        marks = find_structure_marks(text)
        heading = to_well_formed(find_title_heading(text, marks))
        return Document(
            uri=uri,
            text=text,
            title=choose_title(
                to_well_formed(metadata.get("title") or ""), heading=heading, uri=uri
            ),
            mime=mime or "text/html",
            metadata=_select_metadata(metadata)
            | flatten_metadata({"language": language, "links": links})
            | log.metadata,
            marks=marks,
            coverage=log.measure(text, [source_text]),
        )


def _extract_main_text(tree: Any, uri: str) -> tuple[dict[str, Any], str]:
    """Return the metadata of a page and its main text, as trafilatura finds them."""
    import trafilatura
    from lxml.etree import LxmlError

    try:
        metadata = trafilatura.extract_metadata(tree, default_url=uri, extensive=False)
        text = trafilatura.extract(
            deepcopy(tree), output_format="txt", include_comments=False, include_tables=True
        )
    except (LxmlError, ValueError, RecursionError, AttributeError, TypeError):
        return {}, ""  # then all text is kept that is not navigation
    return (metadata.as_dict() if metadata else {}), text or ""


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
