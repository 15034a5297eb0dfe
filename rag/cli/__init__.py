"""The ``rag`` command line."""

from rag.cli.main import cli, main

__all__ = ["cli", "main"]
