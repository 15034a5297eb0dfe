"""Protection of the server: body size, request rate, origins, and security headers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.serving.asgi import ResponseTracker, route_path
from rag.serving.errors import ApiError, ErrorReply

_MAX_TRACKED_CLIENTS = 10_000

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SecurityHeaders:
    """ASGI middleware that adds headers which forbid foreign scripts, frames and connections.

    Responses are also marked ``no-store``, so that no proxy keeps answers to people's questions,
    unless a response sets another ``Cache-Control``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)


class CancelledRequests:
    """ASGI middleware that ends requests with an error when the end of the server cancels them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        tracker = ResponseTracker(send)
        try:
            await self.app(scope, receive, tracker)
        except asyncio.CancelledError:
            error = ApiError(503, "the server is shutting down", "shutting_down", retry_after=5)
            if tracker.status is None:
                await error.response()(scope, receive, send)
                return
            is_openai = route_path(scope).startswith("/v1/")
            reply = ErrorReply(error=error.problem()) if is_openai else error.problem()
            event = f"event: error\ndata: {reply.model_dump_json()}\n\n".encode()
            with contextlib.suppress(RuntimeError):  # of a body whose length was announced
                await send({"type": "http.response.body", "body": event, "more_body": False})


class BodyLimit:
    """ASGI middleware that refuses bodies of more bytes than `limit_of` returns for the path.

    The limit also holds for bodies without a ``Content-Length``. A body of which nothing arrives
    for `idle_seconds` is refused as well.
    """

    def __init__(
        self, app: ASGIApp, limit_of: Callable[[str], int], idle_seconds: float = 30.0
    ) -> None:
        self.app = app
        self.limit_of = limit_of
        self.idle_seconds = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(route_path(scope))
        message = f"the request has more than {limit:,} bytes"
        refusal = ApiError(413, message, "too_large").response()
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await refusal(scope, receive, send)
            return
        received_bytes = 0
        is_complete = False
        too_large = HTTPException(413, message)
        too_slow = HTTPException(408, f"nothing arrived for {self.idle_seconds:g} s")

        async def receive_limited() -> Message:
            nonlocal received_bytes, is_complete
            try:
                async with asyncio.timeout(None if is_complete else self.idle_seconds):
                    part = await receive()
            except TimeoutError:
                raise too_slow from None
            is_complete = not part.get("more_body", False)
            received_bytes += len(part.get("body", b""))
            if received_bytes > limit:
                raise too_large
            return part

        tracker = ResponseTracker(send)
        try:
            await self.app(scope, receive_limited, tracker)
        except HTTPException as error:
            if tracker.status is not None or error not in (too_large, too_slow):
                raise
            if error is too_slow:
                refusal = ApiError(408, too_slow.detail, "timeout").response()
            await refusal(scope, receive, send)


class SameOrigin:
    """ASGI middleware that refuses requests from pages of other sites and foreign host names.

    Browsers send the origin of a request in ``Origin``. Any page could otherwise upload files with
    a form; so a request of another origin is refused, unless `allowed` has that origin. If `hosts`
    is given, a request for any other ``Host`` is refused too, which prevents DNS rebinding: a name
    that an attacker points at the loopback address is not in `hosts`.
    """

    def __init__(
        self, app: ASGIApp, allowed: tuple[str, ...], hosts: frozenset[str] | None
    ) -> None:
        self.app = app
        self.allowed = allowed
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and (reason := self._refusal_reason(Headers(scope=scope))):
            await ApiError(403, reason, "forbidden").response()(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal_reason(self, headers: Headers) -> str:
        """Return why a request is refused, or "" if it is allowed."""
        host = headers.get("host", "")
        if self.hosts is not None and _host_name(f"//{host}") not in self.hosts:
            return "this server only answers requests for its own host names"
        origin = headers.get("origin")
        if origin is None and not self.allowed and _is_embedded_elsewhere(headers):
            return "requests from other sites are not allowed"
        if (
            origin is None
            or "*" in self.allowed
            or origin in self.allowed
            or origin.partition("//")[2] == host
        ):
            return ""
        return "requests from other sites are not allowed"


def _is_embedded_elsewhere(headers: Headers) -> bool:
    """Whether a page of another site loads this as an image, a script or the like.

    Browsers send no ``Origin`` for these. A link on another site may lead here.
    """
    return (
        headers.get("sec-fetch-site") in ("cross-site", "same-site")
        and headers.get("sec-fetch-mode") != "navigate"
    )


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class RateLimit:
    """A token bucket per client: `per_minute` requests, up to `burst` at once."""

    def __init__(
        self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.requests_per_second = per_minute / 60
        self.burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token, and return 0; if none is left, return the seconds until the next one."""
        now = self._clock()
        tokens, last_request = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - last_request) * self.requests_per_second)
        is_allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if is_allowed else tokens, now)
        while len(self._buckets) > _MAX_TRACKED_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - tokens) / self.requests_per_second
