"""The ``rag`` command."""

from rag.cli.main import cli, main

__all__ = ["cli", "main"]
