"""Labels: how another framework's object is named in fingerprints, files and uris."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

MAX_LABEL_CHARACTERS = 500

_NOTABLE_SETTINGS = (
    "model", "model_name", "model_id", "deployment", "azure_deployment", "repo_id", "dimensions",
    "size", "chunk_size", "chunk_overlap",
)  # fmt: skip
_SECRET_NAME = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)


def make_label(wrapped: Any, arguments: Any = None) -> str:
    """Return the label of an object: its class, its notable settings, and a hash of all settings.

    `arguments` are further settings that enter the hash.
    """
    settings = _read_settings(wrapped)
    notable = [
        f"{name}={settings[key]}"
        for name in _NOTABLE_SETTINGS
        for key in (name, f"_{name}")
        if isinstance(settings.get(key), str | int | float)
    ]
    identity = [type(wrapped).__qualname__, settings, _simplify(arguments)]
    canonical = json.dumps(identity, sort_keys=True, default=str)
    digest = hashlib.sha256(canonical.encode(errors="replace")).hexdigest()[:8]
    summary = f"({', '.join(notable)})" if notable else ""
    return f"{type(wrapped).__name__}{summary[: MAX_LABEL_CHARACTERS // 2]}-{digest}"


def _read_settings(wrapped: Any) -> dict[str, Any]:
    """Return the object's attributes as plain data, by name. Secrets are left out."""
    attributes = dict(getattr(wrapped, "__dict__", {}))
    attributes |= getattr(wrapped, "__pydantic_private__", None) or {}
    return {
        str(name): _simplify(value)
        for name, value in attributes.items()
        if not _SECRET_NAME.search(str(name).replace("max_tokens", "").replace("tokenizer", ""))
    }


def _simplify(value: Any) -> Any:
    """Return a value as plain data; an object that is not plain is replaced by its class."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _simplify(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, list | tuple):
        items = [_simplify(item) for item in value]
        has_objects = any(isinstance(item, dict) and "class" in item for item in items)
        return "objects" if has_objects else items
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return {"class": type(value).__qualname__}
