"""A progress bar for ingests and evaluation runs in Jupyter notebooks."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.ingestion import IngestReport

_INTERVAL_SECONDS = 0.2


class NotebookProgress:
    """A progress bar below a cell of a notebook, for `Pipeline.ingest` and `evals.run`.

        pipeline.ingest("docs/", progress=NotebookProgress())

    It shows the documents of an ingest, or the questions of an evaluation, that are done. Outside
    of a notebook it prints nothing. Use one for each call.
    """

    def __init__(self) -> None:
        self._display: Any = None
        self._last_shown = 0.0

    def __call__(self, done: IngestReport | int, total: int | None = None) -> None:
        """Show the progress that a report states, or `done` of `total`."""
        if isinstance(done, int):
            text, count = f"{done:,} of {total or 0:,} done", done
            is_end = done == total
        else:
            count, total = max(done.read, done.seen), done.total
            of_total = f" of {total:,}" if total else ""
            text = f"{count:,}{of_total} documents, {done.chunks:,} chunks"
            if done.failed:
                text += f", {len(done.failed):,} failed"
            is_end = total is not None and count >= total
        now = time.monotonic()
        if is_end or now - self._last_shown >= _INTERVAL_SECONDS:
            self._last_shown = now
            self._show(render_progress(text, count, total))

    def _show(self, html: str) -> None:
        try:
            from IPython import get_ipython
            from IPython.display import HTML, display
        except ImportError:
            return
        if get_ipython() is None:
            return
        if self._display is None:
            self._display = display(HTML(html), display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._display.update(HTML(html))  # type: ignore[no-untyped-call]


def render_progress(text: str, count: int, total: int | None) -> str:
    """Return a progress bar as HTML; without a `total`, one that does not say how far it is.

    >>> render_progress("1 of 2 done", 1, 2)
    '<progress value="1" max="2"></progress> 1 of 2 done'
    """
    value = f' value="{count}" max="{total}"' if total else ""
    return f"<progress{value}></progress> {escape(text)}"
