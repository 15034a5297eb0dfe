"""What a measurement was made on: printed with every result."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version


def machine() -> dict[str, object]:
    """Cores, processor kind, Python, and the versions that matter."""
    packages = ("chromadb", "tantivy", "wordllama", "numpy")
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
