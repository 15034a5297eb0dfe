"""A check that the sibling packages of `rag` are not shadowed by others of the same name."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from rag.errors import ShadowedPackage

_ROOT = Path(__file__).resolve().parent.parent


def require_own_packages(*packages: str) -> None:
    """Raise `ShadowedPackage` if Python would import another package under one of these names.

    The packages have common names. A folder or file of the same name next to a user's script would
    be imported instead, and the resulting error would not show why.
    """
    for package in packages:
        spec = find_spec(package)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != _ROOT:
            raise ShadowedPackage.of(package, str(origin) if origin else None)
