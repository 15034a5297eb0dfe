"""Evaluation: how far answers can be trusted."""

from evals.citations import QuoteAccuracy, quote_accuracy

__all__ = ["QuoteAccuracy", "quote_accuracy"]
