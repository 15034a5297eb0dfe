"""Counting tokens without asking anyone."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# tiktoken caches a vocabulary under the SHA-1 of the address it is served at.
_FILES = {
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
}


def count_tokens(text: str) -> int:
    """Length of `text` in tokens.

    In OpenAI's ``o200k_base`` where that vocabulary is on disk (llama-index-core ships it), else
    estimated: on twelve languages, tables and code between .93 and 2.2 times as many as that,
    1.16 for English (``python -m benchmarks.tokens``).
    """
    encoding = vocabulary()
    return len(encoding.encode_ordinary(text)) if encoding is not None else estimate(text)


# Half-long stretches of Latin letters, pairs of digits, each sign of a script with many or without
# spaces between words, threes of other letters, and each other sign.
_PIECE = re.compile(
    "[A-Za-z]{1,6}|[0-9]{1,2}"
    "|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
    r"|[^\W\d_A-Za-z]{1,3}|[^\sA-Za-z]"
)


def estimate(text: str) -> int:
    """About as many tokens as a vocabulary of today would make of `text`."""
    return len(_PIECE.findall(text))


@lru_cache(maxsize=len(_FILES))
def vocabulary(name: str = "o200k_base") -> Any:
    """The vocabulary of that name (a `tiktoken.Encoding`); None where it is not on disk."""
    folder = _folder_of(_FILES[name])
    if folder is None:
        return None
    import tiktoken

    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        return tiktoken.get_encoding(name)
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _folder_of(file: str) -> Path | None:
    folders = [Path(found)] if (found := os.environ.get("TIKTOKEN_CACHE_DIR")) else []
    spec = find_spec("llama_index.core") if find_spec("llama_index") else None
    for place in (spec.submodule_search_locations or []) if spec else []:
        folders.append(Path(place) / "_static" / "tiktoken_cache")
    return next((folder for folder in folders if (folder / file).is_file()), None)
