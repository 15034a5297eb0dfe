"""Converting HTML in other formats to Markdown: all text, not only the main text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from rag.errors import ParseError
from rag.types import to_well_formed

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_HEADING_SIGN = re.compile(r"^(\s{0,3})#(?=#{0,5}\s)")
_DROPPED_TAGS = ("script", "style", "head", "noscript", "template", "svg")


def to_markdown(html: str | bytes, without: Sequence[str] = ()) -> str:
    """Convert HTML to Markdown, without pictures, scripts and the addresses of links.

    `without` are the names of elements to skip. Raises `ParseError` for HTML that cannot be read.
    """
    from bs4 import BeautifulSoup
    from markdownify import ATX, MarkdownConverter

    class Converter(MarkdownConverter):
        """Drops link addresses and pictures, and escapes characters that Markdown would read."""

        def convert_a(self, el: Any, text: str, parent_tags: Any) -> str:
            return text

        def convert_td(self, el: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_td(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]

        def convert_th(self, el: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_th(el, text.replace("|", "\\|"), parent_tags))  # type: ignore[misc]

        def convert_p(self, el: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_p(el, _HEADING_SIGN.sub(r"\1\\#", text), parent_tags))  # type: ignore[misc]

        def convert_img(self, el: Any, text: str, parent_tags: Any) -> str:
            return ""

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # reading XHTML as HTML is intended
            soup = BeautifulSoup(html, "lxml")
        for tag in soup.find_all([*_DROPPED_TAGS, *without]):
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
    return to_well_formed(_BLANK_LINES.sub("\n\n", text.replace("\xa0", " ")).strip())


def format_table(rows: list[list[str]]) -> str:
    """Format rows of cells as a Markdown table, with the first row as the header."""
    rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    rows = [row for row in rows if any(row)]
    if not rows:
        return ""
    width = max(map(len, rows))
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])
