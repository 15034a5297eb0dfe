"""A picture of a page of a PDF, with the words of a quote marked."""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple

from connectors.parsers.pdf import PDFIUM, well_formed_text
from rag.errors import DocumentNotFound, ParseError

_MOST_PIXELS = 6_000_000
_MARK = (255, 213, 79)  # what is behind the words stays dark on it
_HYPHENS = "-\u00ad\ufffe"


class PagePicture(NamedTuple):
    """A PNG, and how far down it the first marked word is (0..1); None where none is marked."""

    png: bytes
    marked_at: float | None


def page_picture(data: bytes, number: int, quote: str = "", *, width: int = 1_200) -> PagePicture:
    """Page `number` (from 1) in `width` pixels, the words of `quote` on it marked.

    A quote that goes on to the next page is marked as far as it stands on this one. Raises
    `DocumentNotFound` where there is no such page, `ParseError` where it cannot be drawn.
    """
    import pypdfium2 as pdfium

    with PDFIUM:
        try:
            pdf = pdfium.PdfDocument(data)
        except pdfium.PdfiumError:
            raise ParseError("not a PDF, or a damaged one") from None
        try:
            if not 1 <= number <= len(pdf):
                raise DocumentNotFound(f"there is no page {number}: it has {len(pdf)}")
            page = pdf[number - 1]
            try:
                across, down = page.get_size()
                scale = width / max(across, 1)
                scale = min(scale, (_MOST_PIXELS / max(across * down, 1)) ** 0.5)
                picture = page.render(scale=scale).to_pil().convert("RGB")
                boxes = list(_boxes(page, quote))
                places = [_pixels(page, box, picture.size) for box in boxes]
            finally:
                page.close()
        except pdfium.PdfiumError as error:
            raise ParseError(f"page {number} cannot be drawn: {error}") from None
        finally:
            pdf.close()
    top = min((place[1] / picture.height for place in places), default=None)
    return PagePicture(_drawn(picture, places), None if top is None else min(1.0, max(0.0, top)))


def _boxes(page: Any, quote: str) -> Iterator[tuple[float, float, float, float]]:
    """Where the words of a quote stand, in points: left, bottom, right, top."""
    textpage = page.get_textpage()
    try:
        text = well_formed_text(textpage.get_text_range())
        if len(text) != textpage.count_chars():  # then characters are numbered otherwise
            return
        for start, end in matches(text, quote):
            for i in range(textpage.count_rects(start, end - start)):
                yield textpage.get_rect(i)
    finally:
        textpage.close()


def matches(text: str, quote: str) -> list[tuple[int, int]]:
    """Spans of a page's `text` that the lines of a `quote` stand in, in the quote's order.

    White space may differ, and a word may be divided by a hyphen at the end of a line.
    """
    page = _Bare(text)
    whole = page.find(quote, 0)
    if whole is not None:
        return [whole]
    found = []
    at = 0
    for line in quote.splitlines():
        span = page.find(line, at) or page.find(line, 0)
        if span is not None:
            found.append(span)
            at = span[1]
    return found


class _Bare:
    """A text without white space and hyphens, and where each of its characters stood."""

    def __init__(self, text: str) -> None:
        self._places = [i for i, sign in enumerate(text) if _counts(sign)]
        self._text = "".join(text[i] for i in self._places)

    def find(self, words: str, start: int) -> tuple[int, int] | None:
        wanted = "".join(filter(_counts, words))
        at = self._text.find(wanted, bisect_left(self._places, start)) if wanted else -1
        if at < 0:
            return None
        return self._places[at], self._places[at + len(wanted) - 1] + 1


def _counts(sign: str) -> bool:
    return not sign.isspace() and sign not in _HYPHENS


def _pixels(
    page: Any, box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A box in pixels of the picture, whichever way the page is turned or cut."""
    left, bottom, right, top = box
    a, b, c, d = page.get_cropbox()
    turned = page.get_rotation() % 360
    x0, x1 = (left - a) / (c - a), (right - a) / (c - a)
    y0, y1 = (d - top) / (d - b), (d - bottom) / (d - b)
    if turned == 90:
        x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
    elif turned == 180:
        x0, y0, x1, y1 = 1 - x1, 1 - y1, 1 - x0, 1 - y0
    elif turned == 270:
        x0, y0, x1, y1 = y0, 1 - x1, y1, 1 - x0
    across, down = size
    return x0 * across, y0 * down, x1 * across, y1 * down


def _drawn(picture: Any, places: list[tuple[float, float, float, float]]) -> bytes:
    from PIL import Image, ImageChops, ImageDraw

    if places:
        marked = Image.new("RGB", picture.size, (255, 255, 255))
        draw = ImageDraw.Draw(marked)
        for left, top, right, bottom in places:
            draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=_MARK)
        picture = ImageChops.multiply(picture, marked)
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()
