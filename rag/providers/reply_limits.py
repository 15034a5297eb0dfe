"""Limits of the replies of model services: they end, in time and in size, whatever servers do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rag.call_context import check_limits

if TYPE_CHECKING:
    import httpx

MAX_REPLY_BYTES = 300_000_000
"""Most bytes of a reply; the vectors of 2,048 texts have some 130 million as JSON."""


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """How long and how large a reply may be.

    ``read`` is how long the server may send nothing, ``total`` how long it may take until the end
    of the reply, both in seconds: a server that sends a comment now and then is never silent.
    """

    read: float
    total: float
    max_bytes: int = MAX_REPLY_BYTES

    def make_hooks(self) -> dict[str, list[Callable[..., None]]]:
        """Return event hooks of an HTTP client that end replies at the limits."""
        return {"request": [self._start], "response": [self._limit]}

    def make_async_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Do as `make_hooks` for an async client."""

        async def start(request: httpx.Request) -> None:
            self._start(request)

        async def limit(response: httpx.Response) -> None:
            response.stream = _limit_stream("AsyncByteStream", response, self)

        return {"request": [start], "response": [limit]}

    def _start(self, request: httpx.Request) -> None:
        request.extensions["citewell_deadline"] = time.monotonic() + self.total

    def _limit(self, response: httpx.Response) -> None:
        response.stream = _limit_stream("SyncByteStream", response, self)


class _Limit:
    """Counts the bytes of a reply, and raises an error at a limit."""

    def __init__(self, request: httpx.Request, limits: ReplyLimits) -> None:
        self._request = request
        self._limits = limits
        self._bytes = 0

    def add(self, chunk: bytes) -> None:
        check_limits()
        self._bytes += len(chunk)
        if self._bytes > self._limits.max_bytes:
            raise ReplyTooLong(f"a reply of more than {self._limits.max_bytes:,} bytes")
        if time.monotonic() > self._request.extensions["citewell_deadline"]:
            raise ReplyTooSlow(f"no end of the reply in {self._limits.total:g} s")


class ReplyTooLong(Exception):
    """A reply has more bytes than any sensible one."""


class ReplyTooSlow(Exception):
    """A reply did not end in time."""


def _limit_stream(kind: str, response: Any, limits: ReplyLimits) -> Any:
    """Return the stream of a response with limits; `kind` is the name of its base class.

    OpenAI's client has a fork of httpx, so the base class is found among those of the stream.
    """
    stream = response.stream
    base = next(base for base in type(stream).__mro__ if base.__name__ == kind)
    limited = _make_stream_class(base)()
    limited.stream, limited.limit = stream, _Limit(response.request, limits)
    return limited


@lru_cache
def _make_stream_class(base: Any) -> Any:
    class LimitedStream(base):  # type: ignore[misc]
        """A stream of bytes that ends at its limits."""

        stream: Any
        limit: _Limit

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self.stream:
                self.limit.add(chunk)
                yield chunk

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self.stream:
                self.limit.add(chunk)
                yield chunk

        def close(self) -> None:
            self.stream.close()

        async def aclose(self) -> None:
            await self.stream.aclose()

    return LimitedStream
