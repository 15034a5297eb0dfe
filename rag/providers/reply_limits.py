"""Limits on the time and the size of replies from model services."""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rag.call_context import check_limits
from rag.concurrency import run_in_background

if TYPE_CHECKING:
    import ssl

    import httpx

MAX_REPLY_BYTES = 300_000_000
"""Most bytes of a reply; the vectors of 2,048 texts have some 130 million as JSON."""

_DEADLINE = "citewell_deadline"
_DRAIN_SECONDS = 1.0
_MAX_PIECE_BYTES = 1_000_000
_COMPRESSIONS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": 0}


class ReplyTooLong(Exception):
    """A reply has more bytes than any sensible one."""


class ReplyTooSlow(Exception):
    """A reply did not end in time."""


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """How long and how large a reply may be.

    ``read`` is how long the server may send nothing, ``total`` how long it may take until the end
    of the reply, both in seconds: a server that sends a comment now and then is never silent.
    ``max_bytes`` is what a reply may have once it is uncompressed.
    """

    read: float
    total: float
    max_bytes: int = MAX_REPLY_BYTES

    def make_client_arguments(self) -> dict[str, Any]:
        """Return the arguments of an async HTTP client that ends replies at the limits.

        The time until the head of the reply is limited by its caller.
        """

        async def start(request: httpx.Request) -> None:
            request.headers["Accept-Encoding"] = "gzip"  # others cannot be bounded below
            request.extensions[_DEADLINE] = time.monotonic() + self.total

        async def limit(response: httpx.Response) -> None:
            _limit_stream(response, self)

        hooks = {"request": [start], "response": [limit]}
        return {
            "timeout": self.read,
            "event_hooks": hooks,
            "verify": _share_ssl_context(),
            "follow_redirects": False,  # what is sent is for this host only
        }


def fetch(limits: ReplyLimits, method: str, url: str, **options: Any) -> httpx.Response:
    """Return the response to a request, read to its end. Raises errors of httpx, and at a limit."""
    import httpx

    async def send() -> httpx.Response:
        try:
            async with (
                asyncio.timeout(limits.total),
                httpx.AsyncClient(**limits.make_client_arguments()) as client,
            ):
                return await client.request(method, url, **options)
        except TimeoutError:
            raise ReplyTooSlow(f"no end of the reply in {limits.total:g} s") from None

    return run_in_background(send())


def _share_ssl_context() -> ssl.SSLContext:
    """Return the TLS settings of all clients: reading the certificates takes 40 ms."""
    return _make_ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=4)
def _make_ssl_context(file: str | None, folder: str | None) -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


def _limit_stream(response: Any, limits: ReplyLimits) -> None:
    """Replace the stream of a response by one with limits, which is uncompressed.

    Raises `ValueError` for an encoding that was not asked for.
    """
    encoding = response.headers.pop("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", *_COMPRESSIONS):
        raise ValueError(f"an encoding that was not asked for: {encoding[:20]}")
    stream = response.stream
    # OpenAI's client has a fork of httpx, with a base class of its own.
    base = next(base for base in type(stream).__mro__ if base.__name__ == "AsyncByteStream")
    limited = _make_stream_class(base)()
    limited.stream = stream
    limited.limit = _Limit(response.request, limits, _COMPRESSIONS.get(encoding))
    response.stream = limited


class _Limit:
    """Uncompresses and counts the bytes of a reply, and raises an error at a limit."""

    def __init__(self, request: httpx.Request, limits: ReplyLimits, window: int | None) -> None:
        self._request = request
        self._limits = limits
        self._bytes = 0
        self._window = window
        self._decompressor: Any = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the uncompressed bytes of a chunk in pieces."""
        pieces = iter([chunk]) if self._window is None else self._decompress(chunk)
        self._check(b"")
        for piece in pieces:
            self._check(piece)
            yield piece

    def _check(self, piece: bytes) -> None:
        check_limits()
        self._bytes += len(piece)
        if self._bytes > self._limits.max_bytes:
            raise ReplyTooLong(f"a reply of more than {self._limits.max_bytes:,} bytes")
        if time.monotonic() > self._request.extensions[_DEADLINE]:
            raise ReplyTooSlow(f"no end of the reply in {self._limits.total:g} s")

    def _decompress(self, chunk: bytes) -> Iterator[bytes]:
        if self._decompressor is None:
            window = (
                self._window
                or (  # "deflate" with or without the header of zlib
                    zlib.MAX_WBITS if chunk[:1] == b"\x78" else -zlib.MAX_WBITS
                )
            )
            self._decompressor = zlib.decompressobj(window)
        rest = chunk
        while rest and not self._decompressor.eof:
            try:
                yield self._decompressor.decompress(rest, _MAX_PIECE_BYTES)
            except zlib.error as error:
                raise ValueError(f"compressed data that is damaged: {error}") from None
            rest = self._decompressor.unconsumed_tail


@lru_cache
def _make_stream_class(base: Any) -> Any:
    class LimitedStream(base):  # type: ignore[misc]
        """A stream of bytes that ends at its limits."""

        stream: Any
        limit: _Limit

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self.stream:
                for piece in self.limit.feed(chunk):
                    yield piece

        async def aclose(self) -> None:
            await self.stream.aclose()

    return LimitedStream


async def drain(response: Any, chunks: AsyncIterator[bytes]) -> None:
    """Read the rest of a complete reply, so that its connection can be used again.

    It may take a second; then the connection is closed, whether the server sends or is silent.
    """
    if not _has_end(response):
        return
    with suppress(Exception):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass


def _has_end(response: Any) -> bool:
    """Whether the protocol marks the end of a response, so that its connection stays open."""
    headers = response.headers
    return "content-length" in headers or "transfer-encoding" in headers
