"""The number of sources, counted in the background."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from connectors.base import Connector
from rag.ingestion.report import IngestReport


@contextmanager
def _counting(connectors: Sequence[Connector], report: IngestReport) -> Iterator[None]:
    """Count the sources in a thread of its own, for the time left."""

    def count() -> None:
        try:
            counts = [connector.count() for connector in connectors]
        except Exception:  # it is only a guess at the time left
            return
        if all(found is not None for found in counts):
            report.total = sum(found for found in counts if found is not None)

    thread = threading.Thread(target=count, name="citewell-count", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
