"""Servers for a pipeline: HTTP with a chat page, its own API and OpenAI's API, and MCP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag.errors import MissingExtra

if TYPE_CHECKING:
    from rag.serving.app import create_app, serve
    from rag.serving.keys import KeyStore
    from rag.serving.service import Options

__all__ = ["KeyStore", "Options", "create_app", "serve"]

_MODULES_BY_NAME = {
    "KeyStore": "rag.serving.keys",
    "Options": "rag.serving.service",
    "create_app": "rag.serving.app",
    "serve": "rag.serving.app",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES_BY_NAME:
        raise AttributeError(f"module 'rag.serving' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_MODULES_BY_NAME[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("rag", "connectors"):
            raise
        raise MissingExtra.of("serve", "the server") from None
