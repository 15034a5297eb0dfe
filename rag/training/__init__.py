"""Parts that are learned from one's own data. Needs the extra ``local`` (torch)."""

from rag.training.verifier import LabelledClaim, train_matching_verifier

__all__ = ["LabelledClaim", "train_matching_verifier"]
