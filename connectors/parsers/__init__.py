"""Parsers: bytes to `rag.Document`, one file per family of formats."""
