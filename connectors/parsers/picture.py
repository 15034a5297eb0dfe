"""Pictures: the text that can be recognised in them, with the extra ``ocr``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from connectors.base import Parser
from connectors.parsers import ocr
from connectors.parsers.text import name_of
from rag.errors import NoText, ParseError, UnsupportedFormat
from rag.types import Document, well_formed

_LARGEST = 4_000  # pixels of the longer side that are looked at


class PictureParser(Parser):
    """Text in photographs, scans and screenshots, by optical character recognition.

    Done where ``recognise``; by default, where the extra ``ocr`` is installed.
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
    keeps: ClassVar[str] = "text that is recognised; pages of a TIFF"
    drops: ClassVar[str] = "everything else"
    extra: ClassVar[str] = "ocr"
    packages: ClassVar[tuple[str, ...]] = ("rapidocr", "onnxruntime")

    recognise: bool = Field(default_factory=ocr.installed)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        if not self.recognise:
            raise UnsupportedFormat("a picture: pip install 'citewell[ocr]' to have it read")
        import numpy as np
        from PIL import Image, ImageSequence

        pages: list[str] = []
        try:
            with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as picture:
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                for frame in ImageSequence.Iterator(picture):
                    page = frame.convert("RGB")
                    page.thumbnail((_LARGEST, _LARGEST))
                    pages.append(ocr.text_of(np.asarray(page)))
        except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
            raise ParseError(f"a picture that cannot be read: {error}") from None
        text = "\n\n".join(page for page in pages if page.strip())
        if not text:
            raise NoText("a picture without text that is recognised")
        return Document(uri=uri, text=well_formed(text), title=name_of(uri), mime=mime or "image/*")
