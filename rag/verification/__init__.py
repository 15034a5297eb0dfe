"""Does this passage support this sentence? Used by generation and by evaluation."""

from rag.verification.base import Verifier
from rag.verification.lexical import LexicalVerifier

__all__ = ["LexicalVerifier", "Verifier"]
