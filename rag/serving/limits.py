"""What a client may take: bytes, requests a minute, and the headers that keep a browser in."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.serving.errors import error_response

_MOST_CLIENTS = 10_000

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
    """Says with every response that nothing of it may run, frame or reach anything else.

    Answers to people's questions are not to be kept by anybody on the way: ``no-store``, unless
    the response says otherwise.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, told)


class BodyLimit:
    """Refuses a body of more bytes than `limit_of` allows its path, told or not told its length."""

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self.app = app
        self.limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(route_path(scope))
        refusal = error_response(413, f"the request has more than {limit:,} bytes", "too_large")
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await refusal(scope, receive, send)
            return
        seen, begun = 0, False
        too_large = HTTPException(413, f"the request has more than {limit:,} bytes")

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise too_large
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except HTTPException as error:
            if begun or error is not too_large:
                raise
            await refusal(scope, receive, send)


class SameOrigin:
    """Refuses what a page of another site sends, and names of this server that are not its own.

    A browser says where a request comes from (``Origin``); what does not come from here, or from
    one of the `allowed` origins, is refused, since a form of any page could upload otherwise. With
    `hosts`, so is every other ``Host``: a name that an attacker points at the loopback address
    (DNS rebinding) is none of them.
    """

    def __init__(
        self, app: ASGIApp, allowed: tuple[str, ...], hosts: frozenset[str] | None
    ) -> None:
        self.app = app
        self.allowed = allowed
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        if scope["type"] == "http" and (fault := self._fault(Headers(scope=scope))):
            await error_response(403, fault, "forbidden")(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _fault(self, headers: Headers) -> str:
        host = headers.get("host", "")
        if self.hosts is not None and _name(f"//{host}") not in self.hosts:
            return "this server answers under its own names only"
        origin = headers.get("origin")
        if (
            origin is None
            or "*" in self.allowed
            or origin in self.allowed
            or origin.partition("//")[2] == host
        ):
            return ""
        return "requests from other sites are not answered"


def route_path(scope: Scope) -> str:
    """The path of a request as the app's own routes have it, wherever the app is mounted."""
    root, path = scope.get("root_path", ""), str(scope["path"])
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class RateLimit:
    """A token bucket for each client: `per_minute` requests, up to `burst` at once."""

    def __init__(
        self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = per_minute / 60
        self.burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take a token; 0, or the seconds to wait before the next is there."""
        now = self._clock()
        tokens, since = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self.rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self.rate
