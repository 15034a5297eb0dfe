"""Postprocessors, rerankers among them: they change hits between retrieval and generation."""

from rag.postprocessing.base import Postprocessor, Reranker
from rag.postprocessing.cohere import CohereReranker
from rag.postprocessing.cross_encoder import CrossEncoderReranker, OnnxReranker
from rag.postprocessing.deduplicate import Deduplicate
from rag.postprocessing.expand_context import ExpandContext
from rag.postprocessing.llm import LlmReranker
from rag.postprocessing.lost_in_the_middle import LostInTheMiddle
from rag.postprocessing.mmr import MMR
from rag.postprocessing.recency import Recency
from rag.postprocessing.score_threshold import ScoreThreshold

__all__ = [
    "MMR",
    "CohereReranker",
    "CrossEncoderReranker",
    "Deduplicate",
    "ExpandContext",
    "LlmReranker",
    "LostInTheMiddle",
    "OnnxReranker",
    "Postprocessor",
    "Recency",
    "Reranker",
    "ScoreThreshold",
]
