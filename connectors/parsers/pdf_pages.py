"""Drawing a page of a PDF with the words of a quote marked."""

from __future__ import annotations

import io
import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple

from connectors.parsers.pdf_reader import PDFIUM_LOCK, replace_invalid_characters
from rag.errors import DocumentNotFound, ParseError
from rag.types.tables import split_cells

_MAX_PIXELS = 6_000_000
_MARK_RGB = (255, 213, 79)  # dark text stays readable on it
_HYPHENS = "-\u00ad\ufffe"


class PagePicture(NamedTuple):
    """A page as a PNG.

    ``marked_at`` is the vertical position of the first marked word (0 top, 1 bottom); None if no
    word is marked.
    """

    png: bytes
    marked_at: float | None


def draw_page(data: bytes, number: int, quote: str = "", *, width: int = 1_200) -> PagePicture:
    """Draw page `number` (from 1), `width` pixels wide, with the words of `quote` marked.

    Of a quote that continues on the next page, the part on this page is marked. Raises
    `DocumentNotFound` if there is no such page, and `ParseError` if it cannot be drawn.
    """
    import pypdfium2 as pdfium

    with PDFIUM_LOCK:
        try:
            pdf = pdfium.PdfDocument(data)
        except pdfium.PdfiumError:
            raise ParseError("not a PDF, or a damaged one") from None
        try:
            if not 1 <= number <= len(pdf):
                raise DocumentNotFound(f"there is no page {number}: the PDF has {len(pdf)} pages")
            page = pdf[number - 1]
            try:
                page_width, page_height = page.get_size()
                scale = width / max(page_width, 1)
                scale = min(scale, (_MAX_PIXELS / max(page_width * page_height, 1)) ** 0.5)
                picture = page.render(scale=scale).to_pil().convert("RGB")
                boxes = list(_find_boxes(page, quote))
                pixel_boxes = [_convert_to_pixels(page, box, picture.size) for box in boxes]
            finally:
                page.close()
        except pdfium.PdfiumError as error:
            raise ParseError(f"page {number} cannot be drawn: {error}") from None
        finally:
            pdf.close()
    top = min((y_min / picture.height for _, y_min, _, _ in pixel_boxes), default=None)
    return PagePicture(
        _encode_png(picture, pixel_boxes), None if top is None else min(1.0, max(0.0, top))
    )


def _find_boxes(page: Any, quote: str) -> Iterator[tuple[float, float, float, float]]:
    """Yield the boxes of the words of a quote, in points: x_min, y_min, x_max, y_max."""
    textpage = page.get_textpage()
    try:
        text = replace_invalid_characters(textpage.get_text_range())
        if len(text) != textpage.count_chars():  # surrogate pairs: PDFium's indexes differ
            return
        for start, end in find_quote(text, quote):
            for i in range(textpage.count_rects(start, end - start)):
                yield textpage.get_rect(i)
    finally:
        textpage.close()


def find_quote(text: str, quote: str) -> list[tuple[int, int]]:
    """Return the spans of the lines of a `quote` in the `text` of a page, in order of the quote.

    White space and hyphens are ignored, because a word may be divided at the end of a line. The
    cells of table rows, and the label of a section in front of the label of a row, are looked for
    one by one.
    """
    page = _BareText(text)
    quote_span = page.find(quote, 0)
    if quote_span is not None:
        return [quote_span]
    spans = []
    position = 0
    for line in _split_quote(quote):
        span = page.find(line, position) or page.find(line, 0)
        if span is not None:
            spans.append(span)
            position = span[1]
    return spans


def _split_quote(quote: str) -> Iterator[str]:
    """Yield the lines of a quote, and the cells of those that are table rows."""
    for line in quote.splitlines():
        if "|" not in line:
            yield line
            continue
        for start, end in split_cells(line):
            yield from re.split(r"(?<=:) ", line[start:end].replace("\\|", "|"))


class _BareText:
    """A text without white space and hyphens, with the original offset of each character."""

    def __init__(self, text: str) -> None:
        self._offsets = [i for i, character in enumerate(text) if _is_compared(character)]
        self._text = "".join(text[i] for i in self._offsets)

    def find(self, words: str, start: int) -> tuple[int, int] | None:
        bare_words = "".join(filter(_is_compared, words))
        position = (
            self._text.find(bare_words, bisect_left(self._offsets, start)) if bare_words else -1
        )
        if position < 0:
            return None
        return self._offsets[position], self._offsets[position + len(bare_words) - 1] + 1


def _is_compared(character: str) -> bool:
    return not character.isspace() and character not in _HYPHENS


def _convert_to_pixels(
    page: Any, box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Convert a box from points to pixels; the page may be rotated or cropped."""
    x_min, y_min, x_max, y_max = box
    crop_x_min, crop_y_min, crop_x_max, crop_y_max = page.get_cropbox()
    rotation = page.get_rotation() % 360
    x0, x1 = (
        (x_min - crop_x_min) / (crop_x_max - crop_x_min),
        (x_max - crop_x_min) / (crop_x_max - crop_x_min),
    )
    y0, y1 = (
        (crop_y_max - y_max) / (crop_y_max - crop_y_min),
        (crop_y_max - y_min) / (crop_y_max - crop_y_min),
    )
    if rotation == 90:
        x0, y0, x1, y1 = 1 - y1, x0, 1 - y0, x1
    elif rotation == 180:
        x0, y0, x1, y1 = 1 - x1, 1 - y1, 1 - x0, 1 - y0
    elif rotation == 270:
        x0, y0, x1, y1 = y0, 1 - x1, y1, 1 - x0
    width, height = size
    return x0 * width, y0 * height, x1 * width, y1 * height


def _encode_png(picture: Any, boxes: list[tuple[float, float, float, float]]) -> bytes:
    from PIL import Image, ImageChops, ImageDraw

    if boxes:
        overlay = Image.new("RGB", picture.size, (255, 255, 255))
        draw = ImageDraw.Draw(overlay)
        for x_min, y_min, x_max, y_max in boxes:
            draw.rectangle((x_min - 2, y_min - 2, x_max + 2, y_max + 2), fill=_MARK_RGB)
        picture = ImageChops.multiply(picture, overlay)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
