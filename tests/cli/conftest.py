"""The ``rag`` command with ingested documents, and its error line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CommandResult

Rag = Callable[..., CommandResult]


def error_line(result: CommandResult) -> str:
    """Return the last line of stderr, the only one that starts with `rag:`."""
    lines = result.err.strip().splitlines()
    assert len([line for line in lines if line.startswith("rag:")]) == 1, result.err
    return lines[-1]


@pytest.fixture
def ingested_rag(rag: Rag, folder: Path) -> Rag:
    assert rag("ingest", "docs").code == 0
    return rag
