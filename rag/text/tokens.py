"""Token counts without a tokenizer service: a vocabulary on disk, or an estimate."""

from __future__ import annotations

import os
import re
from binascii import a2b_base64
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

# tiktoken caches a vocabulary in a file named by the SHA-1 of its download URL.
_VOCABULARY_FILES = {
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
}


def count_tokens(text: str) -> int:
    """Return the length of `text` in tokens.

    It uses OpenAI's vocabulary ``o200k_base`` if it is on disk (llama-index-core ships it), else an
    estimate. On twelve languages, tables and code, the estimate is 0.93 to 2.2 times that count,
    1.16 times for English (``python -m benchmarks.tokens``).
    """
    encoding = load_vocabulary()
    return len(encoding.encode_ordinary(text)) if encoding is not None else estimate_tokens(text)


# Up to six Latin letters, up to two digits, each character of a script without spaces or of Hangul,
# up to three other letters, and each other character.
_PIECE = re.compile(
    "[A-Za-z]{1,6}|[0-9]{1,2}"
    "|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
    r"|[^\W\d_A-Za-z]{1,3}|[^\sA-Za-z]"
)


def estimate_tokens(text: str) -> int:
    """Return about the number of tokens of `text` in a current vocabulary."""
    return len(_PIECE.findall(text))


@lru_cache(maxsize=len(_VOCABULARY_FILES))
def load_vocabulary(name: str = "o200k_base") -> Any:
    """Return the vocabulary of that name (a `tiktoken.Encoding`); None if it is not on disk."""
    folder = _find_vocabulary_folder(_VOCABULARY_FILES[name])
    if folder is None:
        return None
    import tiktoken
    from tiktoken_ext import openai_public

    ranks = _read_ranks(folder / _VOCABULARY_FILES[name])
    constructor = getattr(openai_public, name)
    # tiktoken's constructor downloads the ranks, or reads a folder that an environment variable
    # names. A copy of it with another reader needs neither.
    namespace = {**vars(openai_public), "load_tiktoken_bpe": lambda *_, **__: ranks}
    return tiktoken.Encoding(**FunctionType(constructor.__code__, namespace)())


def _read_ranks(file: Path) -> dict[bytes, int]:
    """Read a vocabulary of tiktoken: lines of a token in base64 and its rank."""
    words = file.read_bytes().split()
    return dict(zip(map(a2b_base64, words[::2]), map(int, words[1::2]), strict=True))


def _find_vocabulary_folder(file: str) -> Path | None:
    tiktoken_folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    folders = [Path(tiktoken_folder)] if tiktoken_folder else []
    spec = find_spec("llama_index.core") if find_spec("llama_index") else None
    for package_folder in (spec.submodule_search_locations or []) if spec else []:
        folders.append(Path(package_folder) / "_static" / "tiktoken_cache")
    return next((folder for folder in folders if (folder / file).is_file()), None)
