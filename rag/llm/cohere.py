"""Cohere's chat models, with native citations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, ClassVar

from pydantic import Field

from rag.concurrency import aclose_at_end
from rag.errors import ModelReplyError
from rag.llm.base import JsonSchema, KnownChat
from rag.llm.completion import Completion, Delta, NativeCitation, Source
from rag.llm.hosted import HostedChat, StreamParser
from rag.providers.cohere import REQUEST_OPTIONS, CohereProvider
from rag.types import Message, Usage

_MODELS = {  # https://cohere.com/pricing, read in 2026
    model.model: model
    for model in (
        KnownChat("command-a-03-2025", 256_000, 2.5, 10.0),
        KnownChat("command-r-plus-08-2024", 128_000, 2.5, 10.0),
        KnownChat("command-r-08-2024", 128_000, 0.15, 0.6),
        KnownChat("command-r7b-12-2024", 128_000, 0.0375, 0.15),
    )
}
_FINISH_REASONS = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length"}


class CohereChat(CohereProvider, HostedChat):
    """Cohere's chat models, which take passages as documents and return native citations.

    A native citation names a span of the answer and the documents that support it. The verifier
    finds the exact span in the source, as for every model. For ``base_url``, ``api_key``,
    ``timeout`` and ``retries`` see `CohereProvider`, for the other settings `HostedChat`.
    """

    name: ClassVar[str] = "cohere"
    extra: ClassVar[str] = "cohere"

    model: str = Field("command-a-03-2025", min_length=1)
    temperature: float = Field(0.0, ge=0, le=1)
    seed: int | None = Field(None, ge=0)

    @property
    def cites(self) -> bool:
        """Whether passages are sent as documents: always."""
        return True

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Return Cohere's models."""
        return _MODELS.values()

    @property
    def _known_model(self) -> KnownChat | None:
        return _MODELS.get(self.model) if self.base_url is None else None

    async def _astream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> AsyncIterator[Delta]:
        request = self._build_request(messages, schema, sources)

        async def start(client: Any) -> tuple[list[Any], AsyncIterator[Any]]:
            events = client.chat_stream(**request)
            async for event in events:
                return [event], events
            return [], events

        with self._translate_errors():
            async with self._use_client():  # it stays open until the end of the stream
                first_events, events = await self._call(start)
                async with aclose_at_end(events):
                    parser = _CohereParser(self, len(sources))
                    async with aclose_at_end(parser.parse(_chain(first_events, events))) as deltas:
                        async for delta in deltas:
                            yield delta

    def _build_request(
        self, messages: Sequence[Message], schema: JsonSchema | None, sources: Sequence[Source]
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "request_options": REQUEST_OPTIONS,
        }
        if self.seed is not None:
            request["seed"] = self.seed
        if schema is not None:
            request["response_format"] = {"type": "json_object", "json_schema": dict(schema)}
        elif sources:  # the API does not take documents together with a JSON schema
            request["documents"] = [
                {"id": str(i), "data": {"title": source.title, "text": source.text}}
                for i, source in enumerate(sources)
            ]
        return request


class _CohereParser(StreamParser):
    """Parses the events of a stream of Cohere's chat."""

    def __init__(self, model: CohereChat, source_count: int) -> None:
        self._model = model
        self._source_count = source_count
        self._text = ""
        self._offsets: list[int] = []
        self._citations: list[Any] = []
        self._usage = Usage()
        self._finish_reason = ""

    def feed(self, event: Any) -> str:
        if event.type == "content-start":
            self._offsets.append(len(self._text))
        elif event.type == "content-delta":
            text = self._model._check_text(event.delta.message.content.text or "")
            self._text += text
            return text
        elif event.type == "citation-start":
            self._citations.append(event.delta.message.citations)
        elif event.type == "message-end":
            if event.delta.error:
                reason = self._model._redact_key(str(event.delta.error))
                raise ModelReplyError(
                    f"Cohere interrupted its reply: {reason}", model=self._model.model
                )
            self._usage = _convert_usage(event.delta.usage)
            self._finish_reason = _convert_finish_reason(event.delta.finish_reason)
        return ""

    def finish(self) -> Completion:
        if not self._finish_reason:
            raise self._model._make_incomplete_error()
        citations = _convert_citations(
            self._citations, self._offsets, self._source_count, self._text
        )
        return Completion(self._text, self._usage, self._finish_reason, citations)


async def _chain(first_events: Sequence[Any], events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for event in first_events:
        yield event
    async for event in events:
        yield event


def _convert_citations(
    citations: Iterable[Any], offsets: Sequence[int], source_count: int, text: str
) -> tuple[NativeCitation, ...]:
    """Convert Cohere's citations, and skip those without a valid span or a document of ours.

    `offsets` are the positions in `text` at which the content parts of the reply begin; Cohere
    counts from the beginning of a part.
    """
    converted = (_convert_citation(item, offsets, source_count, text) for item in citations)
    return tuple(citation for citation in converted if citation is not None)


def _convert_citation(
    citation: Any, offsets: Sequence[int], source_count: int, text: str
) -> NativeCitation | None:
    part = citation.content_index or 0
    offset = offsets[part] if 0 <= part < len(offsets) else 0
    if not isinstance(citation.start, int) or not isinstance(citation.end, int):
        return None
    start, end = citation.start + offset, citation.end + offset
    numbers = [
        _parse_document_number(source.id)
        for source in citation.sources or ()
        if source.type == "document"
    ]
    sources = tuple(dict.fromkeys(n for n in numbers if n is not None and n < source_count))
    if not sources or not 0 <= start < end <= len(text):
        return None
    return NativeCitation(start, end, sources)


def _parse_document_number(identity: Any) -> int | None:
    """Return the index of a document among the sent ones; Cohere may prefix its id by ``doc:``."""
    number = str(identity or "").rpartition(":")[2]
    is_valid = number.isascii() and number.isdigit() and len(number) < 7
    return int(number) if is_valid else None


def _convert_finish_reason(reason: Any) -> str:
    if reason == "ERROR":
        raise ModelReplyError("Cohere's model failed in the middle of its reply; try again")
    return _FINISH_REASONS.get(str(reason), str(reason or "stop").lower())


def _convert_usage(usage: Any) -> Usage:
    tokens = usage and (usage.billed_units or usage.tokens)
    if not tokens:
        return Usage()
    return Usage(
        input_tokens=max(0, int(tokens.input_tokens or 0)),
        output_tokens=max(0, int(tokens.output_tokens or 0)),
    )
