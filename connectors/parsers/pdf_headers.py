"""Removing the headers and footers that repeat from page to page of a PDF."""

from __future__ import annotations

import re
from collections import Counter

from connectors.parsers.pdf_layout import Line

_MAX_NUMBERS_PER_LINE = 4  # numbers of a line that are compared with the page number
_MAX_PAGE_NUMBER_OFFSET = 100  # difference between a printed page number and the page count
_PAGE_NUMBER = re.compile(
    r"[^\w]*(?:page|p\.|seite|página|pagina|стр\.?|第)?[^\w]*[0-9]{1,6}"
    r"(?:[^\w]*(?:of|von|de|di|van|из|/)?[^\w]*[0-9]{1,6})?[^\w]*(?:页|頁)?"
)
_MIN_PAGES_WITH_REPEATS = 4  # in a shorter document no line is treated as repeated
_MIN_REPEATS = 3  # pages that a header or footer is on
_MIN_REPEAT_SHARE = 0.3  # share of the pages that a header or footer is on


def drop_repeated_lines(pages: list[list[Line]]) -> list[list[Line]]:
    """Drop headers and footers except their first occurrence, so that no text is lost.

    Two lines at the edge of a page are equal if they differ only in a number that grows with the
    page number. Lines that differ in other numbers are content.
    """
    if len(pages) < _MIN_PAGES_WITH_REPEATS:
        return pages
    edge_forms = [
        {id(line): _list_forms(line, number) for line in page if line.edge}
        for number, page in enumerate(pages)
    ]
    counts = Counter(
        form for page in edge_forms for form in {f for forms in page.values() for f in forms}
    )
    min_count = max(_MIN_REPEATS, _MIN_REPEAT_SHARE * len(pages))
    repeated = {form for form, count in counts.items() if count >= min_count}
    previous_forms: set[str] = set()
    cleaned_pages: list[list[Line]] = []
    for page, forms in zip(pages, edge_forms, strict=True):
        dropped_forms = repeated & previous_forms
        cleaned_pages.append(
            [line for line in page if not (forms.get(id(line), set()) & dropped_forms)]
        )
        previous_forms.update(*forms.values())
    return cleaned_pages


def _list_forms(line: Line, page: int) -> set[str]:
    """Return the line's text, and its text with each possible page number made relative.

    At the bottom of a page, any number close to the page number may be one. At the top, only a
    number that is alone or follows a word for "page" may be one.
    """
    text = " ".join(line.text.split()).casefold()[:200]
    if line.edge == "top" and not _PAGE_NUMBER.fullmatch(text):
        return {text}
    forms = {text}
    for match in list(re.finditer(r"[0-9]{1,6}", text))[:_MAX_NUMBERS_PER_LINE]:
        offset = int(match.group()) - page
        if abs(offset) <= _MAX_PAGE_NUMBER_OFFSET:
            forms.add(f"{text[: match.start()]}\0{offset}\0{text[match.end() :]}")
    return forms
