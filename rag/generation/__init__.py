"""Answers, and the citations that tie them to their sources."""

from rag.generation.base import NO_ANSWER, Done, Event, Generator, TextDelta
from rag.generation.context import Passage, pack
from rag.generation.extractive import ExtractiveGenerator
from rag.generation.grounded import GroundedGenerator

__all__ = [
    "NO_ANSWER",
    "Done",
    "Event",
    "ExtractiveGenerator",
    "Generator",
    "GroundedGenerator",
    "Passage",
    "TextDelta",
    "pack",
]
