"""uvicorn's HTTP protocol, with a time limit for the head of a request."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

HEAD_SECONDS = 20.0
"""How long a connection may take to send the request line and the headers."""


@lru_cache
def make_http_protocol(head_seconds: float = HEAD_SECONDS) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol (httptools, or h11), which closes connections without a request.

    uvicorn itself waits for ever for headers that never end, and each connection counts against its
    limit.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class HttpProtocol(base):  # type: ignore[misc]
        """Closes the connection if the head of a request does not end in time."""

        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._start_timer()  # these were not yet all headers
            else:
                self._stop_timer()

        def _start_timer(self) -> None:
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(head_seconds, self.transport.close)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return HttpProtocol
