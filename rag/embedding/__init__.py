"""Text to vectors."""

from rag.embedding.base import Embedder, KnownModel
from rag.embedding.batched import BatchedEmbedder
from rag.embedding.cohere import CohereEmbedder
from rag.embedding.minilm import MiniLMEmbedder
from rag.embedding.onnx import OnnxEmbedder
from rag.embedding.openai import AzureOpenAIEmbedder, OllamaEmbedder, OpenAIEmbedder
from rag.embedding.sentence_transformers import SentenceTransformerEmbedder
from rag.embedding.sparse import SparseEncoder, SparseVector
from rag.embedding.splade import OnnxSparseEncoder, SentenceTransformerSparseEncoder
from rag.embedding.static import StaticEmbedder
from rag.embedding.word_vectors import WordVectorEmbedder

__all__ = [
    "AzureOpenAIEmbedder",
    "BatchedEmbedder",
    "CohereEmbedder",
    "Embedder",
    "KnownModel",
    "MiniLMEmbedder",
    "OllamaEmbedder",
    "OnnxEmbedder",
    "OnnxSparseEncoder",
    "OpenAIEmbedder",
    "SentenceTransformerEmbedder",
    "SentenceTransformerSparseEncoder",
    "SparseEncoder",
    "SparseVector",
    "StaticEmbedder",
    "WordVectorEmbedder",
]
