"""Counting the sources in the background, for the progress display."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from connectors.base import Connector
from rag.ingestion.report import IngestReport


@contextmanager
def count_sources_in_background(
    connectors: Sequence[Connector], report: IngestReport
) -> Iterator[None]:
    """Count the sources in a background thread and set `IngestReport.total`.

    The total stays None when a connector cannot count its sources. The context waits for the
    thread when it exits.
    """

    def count_sources() -> None:
        try:
            counts = [connector.count() for connector in connectors]
        except Exception:  # the total only serves the estimate of the time left
            return
        if all(count is not None for count in counts):
            report.total = sum(count for count in counts if count is not None)

    thread = threading.Thread(target=count_sources, name="citewell-count", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
