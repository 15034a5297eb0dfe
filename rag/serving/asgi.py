"""Helpers for ASGI middleware."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send


class ResponseTracker:
    """An ASGI ``send`` that records the status of the response, None until it has started."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def route_path(scope: Scope) -> str:
    """Return the path of a request without the prefix under which the app is mounted."""
    root, path = scope.get("root_path", ""), str(scope["path"])
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def read_bearer_key(scope: Scope) -> str | None:
    """Return the API key of the ``Authorization`` header or of ``x-api-key``; None without one."""
    headers = Headers(scope=scope)
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return headers.get("x-api-key", "").strip() or None
