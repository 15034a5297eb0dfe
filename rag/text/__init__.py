"""Tokenization, sentences and token counts: the same everywhere."""
