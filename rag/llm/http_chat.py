"""The base class of chat models that are called over HTTP without a client package."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from rag.concurrency import aclose_at_end
from rag.errors import ModelReplyError
from rag.llm.base import JsonSchema
from rag.llm.completion import Completion, Delta, NativeCitation, Source
from rag.llm.hosted import HostedChat, StreamParser
from rag.providers.dialects import Feature
from rag.providers.event_streams import (
    EventDecoder,
    iterate_events,
)
from rag.providers.http import HttpProvider, HttpRequest, Json
from rag.types import Message, Usage


class Call(NamedTuple):
    """What a caller asks of a model."""

    messages: Sequence[Message]
    schema: JsonSchema | None
    sources: Sequence[Source]

    @property
    def system(self) -> str:
        """The system messages, joined."""
        return "\n\n".join(m.content for m in self.messages if m.role == "system")

    @property
    def turns(self) -> list[Message]:
        """The other messages; neighbours of one role are joined, for APIs that want turns."""
        turns: list[Message] = []
        for message in self.messages:
            if message.role == "system":
                continue
            if turns and turns[-1].role == message.role:
                joined = f"{turns[-1].content}\n\n{message.content}"
                turns[-1] = Message(role=message.role, content=joined)
            else:
                turns.append(message)
        return turns


class HttpChat(HttpProvider, HostedChat):
    """Base class of chat models that are called over HTTP without a client package.

    A subclass says how a request looks, and makes the parser of the reply.
    """

    _parser: ClassVar[type[HttpReplyParser]]

    temperature: float | None = Field(0.0, ge=0, le=2)

    @abstractmethod
    def _build_path(self, call: Call) -> str:
        """Return the path of the request below the base URL."""

    @abstractmethod
    def _build_body(self, call: Call, refused: frozenset[Feature]) -> Json:
        """Return the request without the features that the server refuses."""

    async def _astream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> AsyncIterator[Delta]:
        call = Call(messages, schema, sources)
        request = HttpRequest(
            self._build_path(call), lambda refused: self._build_body(call, refused)
        )
        async with self._post(request) as response:
            parser = self._parser(self, call)
            events = iterate_events(response, EventDecoder(), lambda: parser.is_complete)
            async with aclose_at_end(parser.parse(events)) as deltas:
                async for delta in deltas:
                    yield delta


class HttpReplyParser(StreamParser):
    """Parses a reply: its events, or the whole of it as one event."""

    def __init__(self, model: HttpChat, call: Call) -> None:
        self._model: HttpChat = model
        self._call = call
        self.text = ""
        self._thoughts: list[str] = []
        self._citations: list[NativeCitation] = []
        self.is_complete = False
        """Whether the API says that nothing follows."""
        self._input_tokens = 0
        self._output_tokens = 0
        self._finish_reason = ""

    @abstractmethod
    def read(self, event: Mapping[str, Any]) -> str:
        """Return the text of an event that is no error."""

    def feed(self, event: Any) -> str:
        """See `StreamParser.feed`."""
        model = self._model
        if not isinstance(event, Mapping):
            raise ModelReplyError(
                f"{model._server_name} sent a reply that cannot be read", model=model.model
            )
        if error := event.get("error"):
            fields = error if isinstance(error, Mapping) else {"message": error}
            codes = [str(fields[name]) for name in ("code", "type", "status") if fields.get(name)]
            raise model._make_embedded_error(str(fields.get("message") or error), " ".join(codes))
        text = model._check_text(self.read(event))
        self.text += text
        return text

    def finish(self) -> Completion:
        """See `StreamParser.finish`."""
        thoughts = "".join(self._thoughts)
        if not self._finish_reason:
            raise self._model._make_incomplete_error()
        usage = Usage(input_tokens=self._input_tokens, output_tokens=self._output_tokens)
        if not usage.output_tokens or not usage.input_tokens:
            estimated = self._model._estimate_usage(self._call.messages, self.text + thoughts)
            usage = estimated.model_copy(
                update={
                    "input_tokens": usage.input_tokens or estimated.input_tokens,
                    "output_tokens": usage.output_tokens or estimated.output_tokens,
                }
            )
        return Completion(
            self.text,
            usage,
            self._finish_reason or "unknown",
            tuple(self._citations),
            self._model._check_text(thoughts),
        )

    def _count_tokens(self, input_tokens: Any, output_tokens: Any) -> None:
        """Keep the usage that an event reports; what is no sensible number is ignored."""
        if isinstance(input_tokens, int) and input_tokens > 0:
            self._input_tokens = input_tokens
        if isinstance(output_tokens, int) and output_tokens > 0:
            self._output_tokens = output_tokens

    def _cite(self, start: int, end: int, numbers: Sequence[int]) -> None:
        """Record a native citation of a span; those of no source are ignored."""
        indices = tuple(dict.fromkeys(n for n in numbers if 0 <= n < len(self._call.sources)))
        if indices and 0 <= start < end:
            self._citations.append(NativeCitation(start, end, indices))
