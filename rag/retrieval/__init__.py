"""Questions to the chunks that may answer them."""

from rag.retrieval.base import Refiner, Retriever
from rag.retrieval.dense import DenseRetriever
from rag.retrieval.hybrid import HybridRetriever
from rag.retrieval.lexical import LexicalRetriever

__all__ = ["DenseRetriever", "HybridRetriever", "LexicalRetriever", "Refiner", "Retriever"]
