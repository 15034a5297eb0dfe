"""Ollama's server: which models it has."""

from __future__ import annotations

from rag.providers.reply_limits import ReplyLimits, ReplyTooLong, ReplyTooSlow, fetch

DEFAULT_URL = "http://localhost:11434"

_LIMITS = ReplyLimits(read=2.0, total=4.0, max_bytes=10_000_000)


def list_models(url: str = DEFAULT_URL) -> list[str]:
    """Return the names of the models that an Ollama server has; [] if none answers."""
    import httpx

    try:
        response = fetch(_LIMITS, "GET", f"{url.rstrip('/')}/api/tags")
        response.raise_for_status()
        return [str(model["name"]) for model in response.json()["models"]]
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ReplyTooSlow, ReplyTooLong):
        return []
    except (ValueError, KeyError, TypeError):  # another server than Ollama
        return []
