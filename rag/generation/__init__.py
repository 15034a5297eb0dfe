"""Generators: answers from retrieved passages, with citations of their sources."""

from rag.generation.base import (
    AnswerCompleted,
    CitationAdded,
    Event,
    Generator,
    SentenceVerified,
    TextDelta,
    last_answer,
    replay_events,
)
from rag.generation.context_packing import pack
from rag.generation.extraction import Extraction, FieldEvidence
from rag.generation.extractive import ExtractiveGenerator
from rag.generation.grounded import GroundedGenerator, with_chat_model
from rag.generation.passages import Passage
from rag.types import NO_ANSWER

__all__ = [
    "NO_ANSWER",
    "AnswerCompleted",
    "CitationAdded",
    "Event",
    "Extraction",
    "ExtractiveGenerator",
    "FieldEvidence",
    "Generator",
    "GroundedGenerator",
    "Passage",
    "SentenceVerified",
    "TextDelta",
    "last_answer",
    "pack",
    "replay_events",
    "with_chat_model",
]
