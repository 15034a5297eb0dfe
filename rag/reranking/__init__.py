"""Hits to better hits: what a refiner is, and those that read question and chunk together."""

from rag.reranking.base import Refiner, Reranker
from rag.reranking.cohere import CohereReranker
from rag.reranking.cross_encoder import CrossEncoderReranker, OnnxReranker
from rag.reranking.llm import LlmReranker

__all__ = [
    "CohereReranker",
    "CrossEncoderReranker",
    "LlmReranker",
    "OnnxReranker",
    "Refiner",
    "Reranker",
]
