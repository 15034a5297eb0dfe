"""HTML inside other formats, as Markdown: all of it, where `HtmlParser` takes the main text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from rag.errors import ParseError
from rag.types import well_formed

_MANY_BLANK = re.compile(r"\n(?:[ \t]*\n){2,}")
_LIKE_HEADING = re.compile(r"^(\s{0,3})#(?=#{0,5}\s)")
_DROPPED = ("script", "style", "head", "noscript", "template", "svg")


def to_markdown(html: str | bytes, without: Sequence[str] = ()) -> str:
    """Write HTML as Markdown, without pictures, scripts, links' addresses and some elements."""
    from bs4 import BeautifulSoup
    from markdownify import ATX, MarkdownConverter

    class Converter(MarkdownConverter):
        """Text of a link without where it leads, no pictures, and no signs that are text."""

        def convert_a(self, el: Any, text: str, parent_tags: Any) -> str:
            return text

        def convert_td(self, el: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_td(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]

        def convert_th(self, el: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_th(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]

        def convert_p(self, el: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_p(el, _LIKE_HEADING.sub(r"\1\\#", text), parent_tags))  # type: ignore[misc]

        def convert_img(self, el: Any, text: str, parent_tags: Any) -> str:
            return ""

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # XHTML is read as HTML here, and knowingly
            soup = BeautifulSoup(html, "lxml")
        for tag in soup.find_all([*_DROPPED, *without]):
            tag.decompose()
        converter = Converter(
            heading_style=ATX,
            bullets="-",
            table_infer_header=True,
            escape_asterisks=False,
            escape_underscores=False,
            escape_misc=False,
        )
        text = str(converter.convert_soup(soup))
    except (RecursionError, ValueError, AssertionError, AttributeError) as error:
        raise ParseError(f"broken HTML: {error}") from None
    return well_formed(_MANY_BLANK.sub("\n\n", text.replace("\xa0", " ")).strip())


def table(rows: list[list[str]]) -> str:
    """Rows of cells as a Markdown table, the first as its header."""
    rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    rows = [row for row in rows if any(row)]
    if not rows:
        return ""
    width = max(map(len, rows))
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])
