"""Does this passage support this claim? Used by generation and by evaluation."""

from rag.verification.base import Verifier
from rag.verification.lexical import LexicalVerifier, shared_words
from rag.verification.llm import LlmVerifier
from rag.verification.nli import NliVerifier, OnnxNliVerifier

__all__ = [
    "LexicalVerifier",
    "LlmVerifier",
    "NliVerifier",
    "OnnxNliVerifier",
    "Verifier",
    "shared_words",
]
