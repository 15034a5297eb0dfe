"""Questions to the chunks that may answer them."""

from rag.reranking.base import Refiner
from rag.retrieval.base import Retriever
from rag.retrieval.dense import DenseRetriever
from rag.retrieval.hybrid import HybridRetriever
from rag.retrieval.late import LateInteractionRetriever
from rag.retrieval.lexical import LexicalRetriever
from rag.retrieval.refiners import (
    Deduplicate,
    Diversity,
    EdgesFirst,
    Expand,
    Recency,
    Threshold,
)
from rag.retrieval.transforms import (
    CarryOver,
    Decompose,
    HyDE,
    MultiQuery,
    Query,
    QueryTransform,
    Rewrite,
    StepBack,
)

__all__ = [
    "CarryOver",
    "Decompose",
    "Deduplicate",
    "DenseRetriever",
    "Diversity",
    "EdgesFirst",
    "Expand",
    "HyDE",
    "HybridRetriever",
    "LateInteractionRetriever",
    "LexicalRetriever",
    "MultiQuery",
    "Query",
    "QueryTransform",
    "Recency",
    "Refiner",
    "Retriever",
    "Rewrite",
    "StepBack",
    "Threshold",
]
