"""The ``rag`` command, also as ``python -m rag``: Ctrl-C ends it at once, also while it loads."""

from __future__ import annotations

import os
import signal
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Load and run the command line (`rag.cli.main`)."""
    handler = signal.signal(signal.SIGINT, _end)
    from rag.cli.main import main as run

    signal.signal(signal.SIGINT, handler)
    run()


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
