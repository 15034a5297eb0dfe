"""Postprocessors, rerankers among them: they change hits between retrieval and generation."""

from rag.postprocessing.base import Refiner, Reranker
from rag.postprocessing.cohere import CohereReranker
from rag.postprocessing.cross_encoder import CrossEncoderReranker, OnnxReranker
from rag.postprocessing.deduplicate import Deduplicate
from rag.postprocessing.expand_context import Expand
from rag.postprocessing.llm import LlmReranker
from rag.postprocessing.lost_in_the_middle import EdgesFirst
from rag.postprocessing.mmr import Diversity
from rag.postprocessing.recency import Recency
from rag.postprocessing.score_threshold import Threshold

__all__ = [
    "CohereReranker",
    "CrossEncoderReranker",
    "Deduplicate",
    "Diversity",
    "EdgesFirst",
    "Expand",
    "LlmReranker",
    "OnnxReranker",
    "Recency",
    "Refiner",
    "Reranker",
    "Threshold",
]
