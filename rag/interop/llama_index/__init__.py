"""LlamaIndex: adapters of its objects, and exports of our parts.

Adapters: a reader, node parser, embedding, LLM, retriever or node postprocessor can be given
wherever a part is expected. Exports: `CitewellQueryEngine`, `CitewellRetriever`,
`CitewellEmbedding`, `CitewellNodeParser` and `citewell_tool`.
"""

from __future__ import annotations

from rag.errors import MissingExtra

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtra.of("llama-index", "rag.interop.llama_index") from None

from rag.interop.llama_index.adapters import (
    LlamaIndexChat,
    LlamaIndexEmbedder,
    LlamaIndexNodeParser,
    LlamaIndexPostprocessor,
    LlamaIndexReader,
    LlamaIndexRetriever,
    adapt,
)
from rag.interop.llama_index.exports import (
    CitewellEmbedding,
    CitewellNodeParser,
    CitewellQueryEngine,
    CitewellRetriever,
    citewell_tool,
)

__all__ = [
    "CitewellEmbedding",
    "CitewellNodeParser",
    "CitewellQueryEngine",
    "CitewellRetriever",
    "LlamaIndexChat",
    "LlamaIndexEmbedder",
    "LlamaIndexNodeParser",
    "LlamaIndexPostprocessor",
    "LlamaIndexReader",
    "LlamaIndexRetriever",
    "adapt",
    "citewell_tool",
]
