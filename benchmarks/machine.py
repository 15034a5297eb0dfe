"""The machine of a measurement; it is printed with every result."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version


def machine() -> dict[str, object]:
    """Return the number of cores, the processor type, and the versions that affect timings."""
    packages = ("chromadb", "tantivy", "wordllama", "numpy")
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
