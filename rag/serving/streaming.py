"""Server-sent events, and requests whose client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import anyio
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from rag.serving.errors import ApiError

_T = TypeVar("_T")

KEEP_ALIVE = ": keep-alive\n\n"
"""A comment between server-sent events, so that proxies do not close an idle connection."""

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "description": "A sequence of server-sent events.",
                    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
                }
            }
        }
    }
}
"""OpenAPI description of the streamed response of a route."""


class EventStreamResponse(StreamingResponse):
    """A stream of server-sent events that is closed when the response ends, for any reason.

    Starlette leaves that to the garbage collector, which may run after the tenant's lease has
    ended. `source` is closed too, since a body that was never started does not close what it
    iterates over.
    """

    def __init__(self, body: AsyncIterator[str], source: AsyncIterator[Any]) -> None:
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}  # of nginx and others
        super().__init__(body, media_type="text/event-stream", headers=headers)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                for iterator in (self.body_iterator, self._source):
                    if (close := getattr(iterator, "aclose", None)) is not None:
                        await close()


async def cancel_on_disconnect(request: Request, work: Awaitable[_T]) -> _T:
    """Await `work`, but cancel it if the client disconnects. Raises `ApiError` in that case."""

    async def await_work() -> _T:
        return await work

    async def await_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work_task = asyncio.create_task(await_work())
    disconnect_task = asyncio.create_task(await_disconnect())
    try:
        await asyncio.wait({work_task, disconnect_task}, return_when=asyncio.FIRST_COMPLETED)
        if not work_task.done():
            raise ApiError(499, "the client disconnected", "client_gone")
        return work_task.result()
    finally:
        with anyio.CancelScope(shield=True):
            for task in (work_task, disconnect_task):
                await cancel_task(task)


async def cancel_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task that is not done, and wait until it has ended; its error is of no interest."""
    task.cancel()
    with contextlib.suppress(BaseException):
        await task
