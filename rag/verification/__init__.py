"""Verifiers: whether a passage supports a claim, for generation and evaluation."""

from rag.verification.base import Verifier
from rag.verification.lexical import LexicalVerifier
from rag.verification.llm import LlmVerifier
from rag.verification.matching import MatchingVerifier
from rag.verification.nli import NliVerifier, OnnxNliVerifier
from rag.verification.text_facts import is_repetition, shared_words

__all__ = [
    "LexicalVerifier",
    "LlmVerifier",
    "MatchingVerifier",
    "NliVerifier",
    "OnnxNliVerifier",
    "Verifier",
    "is_repetition",
    "shared_words",
]
