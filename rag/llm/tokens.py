"""Counting tokens without asking anyone."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# tiktoken caches a vocabulary under the SHA-1 of the address it is served at.
_O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"


def count_tokens(text: str) -> int:
    """Length of `text` in tokens.

    In OpenAI's ``o200k_base`` where that vocabulary is on disk (llama-index-core ships it), else
    in the Llama 2 vocabulary of the static embedder, which is smaller and so counts more.
    """
    encoding = _tiktoken()
    if encoding is not None:
        return len(encoding.encode_ordinary(text))
    from rag.embedding import StaticEmbedder

    return StaticEmbedder().count_tokens([text])[0]


@lru_cache(maxsize=1)
def _tiktoken() -> Any:
    folder = _vocabulary_folder()
    if folder is None:
        return None
    import tiktoken

    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        return tiktoken.get_encoding("o200k_base")
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _vocabulary_folder() -> Path | None:
    folders = [Path(found)] if (found := os.environ.get("TIKTOKEN_CACHE_DIR")) else []
    spec = find_spec("llama_index.core") if find_spec("llama_index") else None
    for place in (spec.submodule_search_locations or []) if spec else []:
        folders.append(Path(place) / "_static" / "tiktoken_cache")
    return next((folder for folder in folders if (folder / _O200K).is_file()), None)
