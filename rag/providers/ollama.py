"""Ollama's server: which models it has."""

from __future__ import annotations

DEFAULT_URL = "http://localhost:11434"

_TIMEOUT_SECONDS = 2.0


def list_models(url: str = DEFAULT_URL) -> list[str]:
    """Return the names of the models that an Ollama server has; [] if none answers."""
    import httpx

    try:
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            response = client.get(f"{url.rstrip('/')}/api/tags")
            response.raise_for_status()
            return [str(model["name"]) for model in response.json()["models"]]
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError, KeyError, TypeError):
        return []
