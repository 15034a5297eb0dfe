"""LangChain: adapters of its objects, and exports of our parts.

Adapters: an ``Embeddings``, ``BaseChatModel``, ``BaseLoader``, ``BaseRetriever``, ``VectorStore``,
``TextSplitter`` or document compressor can be given wherever a part is expected. Exports:
`CitewellRunnable`, `CitewellRetriever`, `CitewellLoader`, `CitewellEmbeddings` and `CitewellTool`.
"""

from __future__ import annotations

from rag.errors import MissingExtra

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtra.of("langchain", "rag.interop.langchain") from None

from rag.interop.langchain.adapters import (
    LangChainChat,
    LangChainCompressor,
    LangChainEmbedder,
    LangChainLoader,
    LangChainRetriever,
    LangChainSplitter,
    LangChainVectorStore,
    adapt,
)
from rag.interop.langchain.exports import (
    CitewellEmbeddings,
    CitewellLoader,
    CitewellRetriever,
    CitewellRunnable,
    CitewellTool,
)

__all__ = [
    "CitewellEmbeddings",
    "CitewellLoader",
    "CitewellRetriever",
    "CitewellRunnable",
    "CitewellTool",
    "LangChainChat",
    "LangChainCompressor",
    "LangChainEmbedder",
    "LangChainLoader",
    "LangChainRetriever",
    "LangChainSplitter",
    "LangChainVectorStore",
    "adapt",
]
