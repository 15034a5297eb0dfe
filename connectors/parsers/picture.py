"""Pictures: their text, by optical character recognition (extra ``ocr``)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from connectors.base import Parser
from connectors.parsers import ocr
from connectors.parsers.text import extract_file_name
from rag.errors import NoText, ParseError, UnsupportedFormat
from rag.types import Document, to_well_formed

_MAX_SIDE_PIXELS = 4_000  # a larger picture is scaled down


class PictureParser(Parser):
    """Text in photographs, scans and screenshots, by optical character recognition.

    ``recognise`` turns recognition on (default: whether the extra ``ocr`` is installed).
    """

    name: ClassVar[str] = "picture"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "image/png": (".png",),
        "image/jpeg": (".jpg", ".jpeg"),
        "image/tiff": (".tif", ".tiff"),
        "image/bmp": (".bmp",),
        "image/webp": (".webp",),
        "image/gif": (".gif",),
    }
    library: ClassVar[str] = "RapidOCR, Pillow"
    keeps: ClassVar[str] = "recognised text; all pages of a TIFF"
    drops: ClassVar[str] = "everything else"
    extra: ClassVar[str] = "ocr"
    packages: ClassVar[tuple[str, ...]] = ("rapidocr", "onnxruntime")

    recognise: bool = Field(default_factory=ocr.is_installed)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        if not self.recognise:
            raise UnsupportedFormat("a picture: pip install 'citewell[ocr]' to recognise its text")
        import numpy as np
        from PIL import Image, ImageSequence

        pages: list[str] = []
        try:
            with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as picture:
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                for frame in ImageSequence.Iterator(picture):
                    page = frame.convert("RGB")
                    page.thumbnail((_MAX_SIDE_PIXELS, _MAX_SIDE_PIXELS))
                    pages.append(ocr.recognise_text(np.asarray(page)))
        except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
            raise ParseError(f"the picture cannot be read: {error}") from None
        text = "\n\n".join(page for page in pages if page.strip())
        if not text:
            raise NoText("no text was recognised in the picture")
        return Document(
            uri=uri, text=to_well_formed(text), title=extract_file_name(uri), mime=mime or "image/*"
        )
