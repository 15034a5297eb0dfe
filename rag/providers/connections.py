"""Reused connections: a request that meets the end of one is sent again, on a new connection.

A server may close a connection that it has promised to keep, as llama.cpp does after a stream. The
next request can be on its way then; the server has not read it. Browsers send it again, too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_DROPPED = "disconnected without sending a response"


@lru_cache(maxsize=4)
def resend_dropped(client_class: type) -> type:
    """Return a subclass of a client of httpx that sends such a request a second time.

    A request that opened a connection of its own is not sent again.
    """

    class ResendingClient(client_class):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            events: list[str] = []

            async def note(event: str, _: Any) -> None:
                events.append(event)

            request.extensions = {**request.extensions, "trace": note}
            try:
                return await super().send(request, **options)
            except Exception as error:  # OpenAI's client has a fork of httpx, with its own classes
                is_new = any(event.startswith("connection.connect") for event in events)
                if is_new or _DROPPED not in str(error):
                    raise
            return await super().send(request, **options)

    return ResendingClient
