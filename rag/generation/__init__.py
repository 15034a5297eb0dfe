"""Answers, and the citations that tie them to their sources."""

from rag.generation.base import (
    NO_ANSWER,
    CitationEvent,
    Done,
    Event,
    Generator,
    SentenceVerified,
    TextDelta,
)
from rag.generation.context import Passage, pack
from rag.generation.extraction import Extraction, FieldEvidence
from rag.generation.extractive import ExtractiveGenerator
from rag.generation.grounded import GroundedGenerator

__all__ = [
    "NO_ANSWER",
    "CitationEvent",
    "Done",
    "Event",
    "Extraction",
    "ExtractiveGenerator",
    "FieldEvidence",
    "Generator",
    "GroundedGenerator",
    "Passage",
    "SentenceVerified",
    "TextDelta",
    "pack",
]
