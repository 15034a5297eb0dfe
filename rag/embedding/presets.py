"""Known embedding models by a short name, with the prompts and limits they were trained with.

`nDCG@10` is the mean over the retrieval sets of BEIR (MTEB v1, English), as published by the
authors of the model or in the tables of its model card. None: not published for these sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ModelPreset(NamedTuple):
    """A model and how it is used.

    ``prompts`` are those of questions and documents, ``max_tokens`` the input limit with special
    tokens, ``parameters`` the number in millions, and ``ndcg`` the published nDCG@10 in percent.
    """

    embedder: str
    model: str
    prompts: tuple[str, str] = ("", "")
    dimension: int = 0
    max_tokens: int = 512
    parameters: float | None = None
    ndcg: float | None = None
    languages: str = "English"


_LOCAL = "sentence-transformers"
_BGE = ("Represent this sentence for searching relevant passages: ", "")
_E5 = ("query: ", "passage: ")
_NOMIC = ("search_query: ", "search_document: ")
_ARCTIC_2 = ("query: ", "")
_QWEN = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
    "",
)
_MANY = "100"


def _local(
    model: str,
    prompts: tuple[str, str],
    dimension: int,
    max_tokens: int,
    parameters: float,
    ndcg: float | None,
    languages: str = "English",
) -> ModelPreset:
    return ModelPreset(_LOCAL, model, prompts, dimension, max_tokens, parameters, ndcg, languages)


PRESETS: Mapping[str, ModelPreset] = {
    "bge-small-en-v1.5": _local("BAAI/bge-small-en-v1.5", _BGE, 384, 512, 33, 51.68),
    "bge-base-en-v1.5": _local("BAAI/bge-base-en-v1.5", _BGE, 768, 512, 109, 53.25),
    "bge-large-en-v1.5": _local("BAAI/bge-large-en-v1.5", _BGE, 1024, 512, 335, 54.29),
    "bge-m3": _local("BAAI/bge-m3", ("", ""), 1024, 8192, 568, None, _MANY),
    "e5-small-v2": _local("intfloat/e5-small-v2", _E5, 384, 512, 33, 49.04),
    "e5-base-v2": _local("intfloat/e5-base-v2", _E5, 768, 512, 109, 50.29),
    "e5-large-v2": _local("intfloat/e5-large-v2", _E5, 1024, 512, 335, 50.56),
    "multilingual-e5-small": _local(
        "intfloat/multilingual-e5-small", _E5, 384, 512, 118, None, _MANY
    ),
    "multilingual-e5-base": _local(
        "intfloat/multilingual-e5-base", _E5, 768, 512, 278, None, _MANY
    ),
    "multilingual-e5-large": _local(
        "intfloat/multilingual-e5-large", _E5, 1024, 512, 560, None, _MANY
    ),
    "gte-small": _local("thenlper/gte-small", ("", ""), 384, 512, 33, 49.46),
    "gte-base": _local("thenlper/gte-base", ("", ""), 768, 512, 109, 51.14),
    "gte-large": _local("thenlper/gte-large", ("", ""), 1024, 512, 335, 52.22),
    "gte-modernbert-base": _local(
        "Alibaba-NLP/gte-modernbert-base", ("", ""), 768, 8192, 149, 55.33
    ),
    "nomic-embed-text": ModelPreset(
        "ollama", "nomic-embed-text", _NOMIC, 768, 2048, 137, 53.01
    ),
    "arctic-embed-xs": _local("Snowflake/snowflake-arctic-embed-xs", _BGE, 384, 512, 22, 50.15),
    "arctic-embed-s": _local("Snowflake/snowflake-arctic-embed-s", _BGE, 384, 512, 33, 51.98),
    "arctic-embed-m": _local("Snowflake/snowflake-arctic-embed-m", _BGE, 768, 512, 110, 54.90),
    "arctic-embed-l": _local("Snowflake/snowflake-arctic-embed-l", _BGE, 1024, 512, 335, 55.98),
    "arctic-embed-l-v2.0": _local(
        "Snowflake/snowflake-arctic-embed-l-v2.0", _ARCTIC_2, 1024, 8192, 568, 55.6, "74"
    ),
    "granite-embedding-small-english-r2": _local(
        "ibm-granite/granite-embedding-small-english-r2", ("", ""), 384, 8192, 47, 50.9
    ),
    "granite-embedding-english-r2": _local(
        "ibm-granite/granite-embedding-english-r2", ("", ""), 768, 8192, 149, 53.1
    ),
    "mdbr-leaf-ir": _local("MongoDB/mdbr-leaf-ir", _BGE, 768, 512, 23, 53.55),
    "mxbai-embed-large-v1": _local(
        "mixedbread-ai/mxbai-embed-large-v1", _BGE, 1024, 512, 335, 54.39
    ),
    "qwen3-embedding-0.6b": _local(
        "Qwen/Qwen3-Embedding-0.6B", _QWEN, 1024, 32_768, 596, None, _MANY
    ),
    "text-embedding-3-small": ModelPreset(
        "openai", "text-embedding-3-small", dimension=1536, max_tokens=8191, ndcg=51.08,
        languages=_MANY,
    ),
    "text-embedding-3-large": ModelPreset(
        "openai", "text-embedding-3-large", dimension=3072, max_tokens=8191, ndcg=55.44,
        languages=_MANY,
    ),
    "embed-english-v3.0": ModelPreset(
        "cohere", "embed-english-v3.0", dimension=1024, max_tokens=512, ndcg=55.0
    ),
    "embed-multilingual-v3.0": ModelPreset(
        "cohere", "embed-multilingual-v3.0", dimension=1024, max_tokens=512, languages=_MANY
    ),
}  # fmt: skip
"""Presets by name; ``embedder: NAME`` in a pipeline makes the embedder."""


def expand_preset(name: str) -> dict[str, Any] | None:
    """Return the configuration of the embedder for a preset; None if there is no such preset."""
    if (preset := PRESETS.get(name.lower())) is None:
        return None
    config: dict[str, Any] = {"type": preset.embedder, "model": preset.model}
    if preset.embedder in (_LOCAL, "ollama"):
        config |= {"query_prompt": preset.prompts[0], "document_prompt": preset.prompts[1]}
    if preset.embedder == "ollama":
        config["limit"] = preset.max_tokens
    return config
