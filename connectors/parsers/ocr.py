"""Text recognition in pictures by RapidOCR (extra ``ocr``); its wheel includes the models."""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from rag.errors import UnsupportedFormat


def is_installed() -> bool:
    """Return whether the extra ``ocr`` is installed."""
    return find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None


@lru_cache(maxsize=1)
def _load_engine() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError:
        raise UnsupportedFormat(
            "a picture: pip install 'citewell[ocr]' to recognise its text"
        ) from None
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return RapidOCR(
        params={"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": 1}
    )


def recognise_text(picture: Any) -> str:
    """Return the text in a picture (uint8 ``[height, width, 3]``, RGB), line by line."""
    result = _load_engine()(picture)
    if result.txts is None:
        return ""
    lines: list[tuple[float, float, float, str]] = []  # middle, height, left edge, text
    for box, text in zip(result.boxes, result.txts, strict=True):
        top, bottom = float(min(box[:, 1])), float(max(box[:, 1]))
        lines.append(((top + bottom) / 2, bottom - top, float(min(box[:, 0])), text))
    lines.sort()
    rows: list[list[tuple[float, float, float, str]]] = []
    for line in lines:
        if rows and line[0] - rows[-1][0][0] < 0.5 * rows[-1][0][1]:
            rows[-1].append(line)
        else:
            rows.append([line])
    return "\n".join(
        " ".join(text for *_, text in sorted(row, key=lambda line: line[2])) for row in rows
    )
