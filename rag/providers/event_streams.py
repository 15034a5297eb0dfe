"""Server-sent events, read as tolerantly as servers write them."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from rag.concurrency import aclose_at_end
from rag.providers.reply_limits import ReplyTooLong, drain

_FIELDS = ("event:", "id:", "retry:", ":")
_MAX_STRAY_CHARACTERS = 8_000_000


class EventDecoder:
    """Decodes the bytes of a stream of server-sent events whose data is JSON.

    Lines may end in LF, CRLF or CR; a byte order mark, comments (``: keep-alive``) and events
    without data are skipped. Events that no empty line divides, JSON without ``data:``, and one
    JSON text in place of a stream are understood, too. `is_done` is True after ``data: [DONE]``;
    what follows it is not read. Raises `ValueError` for data that is no JSON.
    """

    def __init__(self) -> None:
        self.is_done = False
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode
        self._line: list[str] = []
        self._data: list[str] = []
        self._stray_length = 0
        self._stray: list[str] = []  # lines of a text that is no stream, perhaps JSON
        self._after_cr = False

    def feed(self, chunk: bytes, *, is_last: bool = False) -> Iterator[Any]:
        """Yield the values of the events that the next bytes complete."""
        text = self._decode(chunk, is_last)
        if self._after_cr and text.startswith("\n"):
            text = text[1:]
        self._after_cr = text.endswith("\r") if text else self._after_cr
        first, *lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._line.append(first)
        for line in lines:
            yield from self._read_line("".join(self._line))
            self._line = [line]
            if self.is_done:
                return
        if is_last:
            yield from self._read_line("".join(self._line))
            yield from self._read_line("")
            if self._stray:
                value = json.loads("\n".join(self._stray))
                yield from value if isinstance(value, list) else [value]

    def _read_line(self, line: str) -> Iterator[Any]:
        """Yield the values of the event that ends with this line."""
        if line.startswith("data:"):
            self._data.append(line.removeprefix("data:").strip())
        elif not line.strip():
            yield from self._take_event()
        elif line.startswith("error:"):
            reason = line.removeprefix("error:").strip()
            yield {"error": json.loads(reason) if reason.startswith("{") else reason}
        elif not line.startswith(_FIELDS):
            yield from self._read_stray(line)

    def _take_event(self) -> Iterator[Any]:
        data, self._data = [part for part in self._data if part], []
        if not data:
            return
        if data[-1] == "[DONE]":
            self.is_done = True
            del data[-1]
        try:
            values = [json.loads("\n".join(data))] if data else []
        except ValueError:  # events without an empty line between them
            if len(data) == 1:
                raise
            values = [json.loads(part) for part in data]
        yield from values

    def _read_stray(self, line: str) -> Iterator[Any]:
        """Yield the value of a line that is JSON; else keep it as a part of a JSON text."""
        if line.startswith("{") and not self._stray:
            try:
                yield json.loads(line)
                return
            except ValueError:
                pass
        self._stray_length += len(line)
        if self._stray_length > _MAX_STRAY_CHARACTERS:
            raise ReplyTooLong("a long text that is neither a stream nor JSON")
        self._stray.append(line)


async def iterate_events(
    response: Any, decoder: EventDecoder, is_complete: Callable[[], bool] = lambda: False
) -> AsyncIterator[Any]:
    """Yield the values of the events in a response.

    Reading ends after ``[DONE]``, and when `is_complete` says that the reply has ended.
    """
    chunks = (getattr(response, "aiter_bytes", None) or response.iter_bytes)()
    async with aclose_at_end(chunks):
        async for chunk in chunks:
            for value in decoder.feed(chunk):
                yield value
                if is_complete():
                    break
            if decoder.is_done or is_complete():
                await drain(response, chunks)
                return
    for value in decoder.feed(b"", is_last=True):
        yield value
