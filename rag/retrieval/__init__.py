"""Questions to the chunks that may answer them."""

from rag.query import Query
from rag.retrieval.base import Retriever
from rag.retrieval.carry_over import CarryOver
from rag.retrieval.dense import DenseRetriever
from rag.retrieval.hybrid import HybridRetriever
from rag.retrieval.late_interaction import LateInteractionRetriever
from rag.retrieval.lexical import LexicalRetriever
from rag.retrieval.self_query import SelfQuery
from rag.retrieval.sparse import SparseRetriever
from rag.retrieval.transforms import (
    Decompose,
    HyDE,
    MultiQuery,
    QueryTransform,
    Rewrite,
    StepBack,
)

__all__ = [
    "CarryOver",
    "Decompose",
    "DenseRetriever",
    "HyDE",
    "HybridRetriever",
    "LateInteractionRetriever",
    "LexicalRetriever",
    "MultiQuery",
    "Query",
    "QueryTransform",
    "Retriever",
    "Rewrite",
    "SelfQuery",
    "SparseRetriever",
    "StepBack",
]
