"""Making sure that the packages beside `rag` are ours."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from rag.errors import ShadowedPackage

_HOME = Path(__file__).resolve().parent.parent


def require_own_packages(*packages: str) -> None:
    """Raise `ShadowedPackage` where Python would import something else under one of these names.

    Our packages have everyday names. A script that lies beside a folder or file of such a name
    would get that one, and an error that says nothing.
    """
    for package in packages:
        spec = find_spec(package)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != _HOME:
            raise ShadowedPackage.of(package, str(origin or f"a folder {package!r}"))
