"""Cohere's chat models, with their own citations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field

from rag.errors import ModelReplyError
from rag.llm.base import (
    Completion,
    Delta,
    JsonSchema,
    KnownChat,
    NativeCitation,
    Source,
)
from rag.llm.hosted import HostedChat
from rag.providers.cohere import CohereProvider
from rag.types import Message, Usage, well_formed

_MODELS = {  # https://cohere.com/pricing, read in 2026
    known.model: known
    for known in (
        KnownChat("command-a-03-2025", 256_000, 2.5, 10.0),
        KnownChat("command-r-plus-08-2024", 128_000, 2.5, 10.0),
        KnownChat("command-r-08-2024", 128_000, 0.15, 0.6),
        KnownChat("command-r7b-12-2024", 128_000, 0.0375, 0.15),
    )
}
_FINISH = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length"}


class CohereChat(CohereProvider, HostedChat):
    """Cohere's chat models, which take passages as documents and cite them by themselves.

    What they cite is a stretch of the answer and the documents it rests on; the exact span of
    the source is found by the verifier, as it is for every model. For ``base_url``, ``api_key``,
    ``timeout`` and ``retries`` see `CohereProvider`, for the rest `HostedChat`.
    """

    name: ClassVar[str] = "cohere"
    extra: ClassVar[str] = "cohere"
    cites: ClassVar[bool] = True

    model: str = Field("command-a-03-2025", min_length=1)
    temperature: float = Field(0.0, ge=0, le=1)
    seed: int | None = Field(None, ge=0)

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Cohere's own."""
        return _MODELS.values()

    @property
    def _known(self) -> KnownChat | None:
        return _MODELS.get(self.model) if self.base_url is None else None

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        with self._translate_errors():
            reply = self._client().chat(**self._request(messages, schema, sources))
            parts = [part for part in reply.message.content or () if part.type == "text"]
            offsets, text = [], ""
            for part in parts:
                offsets.append(len(text))
                text += self._text(part.text)
            cited = [
                self._citation(found, offsets, len(sources), text)
                for found in reply.message.citations or ()
            ]
            return Completion(
                text,
                _usage(reply.usage),
                _finish(reply.finish_reason),
                tuple(found for found in cited if found is not None),
            )

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        text, offsets = "", []
        cited: list[Any] = []
        usage, finish = Usage(), ""
        with self._translate_errors():
            for event in self._client().chat_stream(**self._request(messages, schema, sources)):
                if event.type == "content-start":
                    offsets.append(len(text))
                elif event.type == "content-delta":
                    piece = event.delta.message.content.text
                    if piece:
                        text += self._text(piece)
                        yield Delta(well_formed(piece))
                elif event.type == "citation-start":
                    cited.append(event.delta.message.citations)
                elif event.type == "message-end":
                    if event.delta.error:
                        said = self._without_key(str(event.delta.error))
                        raise ModelReplyError(f"Cohere broke off with an error: {said}")
                    usage = _usage(event.delta.usage)
                    finish = _finish(event.delta.finish_reason)
        if not finish:
            raise ModelReplyError(f"the reply of {self.model} broke off in the middle")
        found = [self._citation(each, offsets, len(sources), text) for each in cited]
        citations = tuple(each for each in found if each is not None)
        yield Delta("", Completion(text, usage, finish, citations))

    def _request(
        self, messages: Sequence[Message], schema: JsonSchema | None, sources: Sequence[Source]
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "request_options": self._options,
        }
        if self.seed is not None:
            request["seed"] = self.seed
        if schema is not None:
            request["response_format"] = {"type": "json_object", "json_schema": dict(schema)}
        elif sources:  # the API takes no documents where it is asked for JSON
            request["documents"] = [
                {"id": str(i), "data": {"title": source.title, "text": source.text}}
                for i, source in enumerate(sources)
            ]
        return request

    def _citation(
        self, found: Any, offsets: Sequence[int], sources: int, text: str
    ) -> NativeCitation | None:
        """Ours for Cohere's; None for one of something else, or whose place is not in the text."""
        part = found.content_index or 0
        offset = offsets[part] if 0 <= part < len(offsets) else 0
        if not isinstance(found.start, int) or not isinstance(found.end, int):
            return None
        start, end = found.start + offset, found.end + offset
        numbers = [
            _number(source.id) for source in found.sources or () if source.type == "document"
        ]
        known = tuple(dict.fromkeys(n for n in numbers if n is not None and n < sources))
        if not known or not 0 <= start < end <= len(text):
            return None
        return NativeCitation(start, end, known)


def _number(identity: Any) -> int | None:
    """Place of a document among those sent; Cohere may put ``doc:`` in front of its id."""
    last = str(identity or "").rpartition(":")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 7 else None


def _finish(reason: Any) -> str:
    if reason == "ERROR":
        raise ModelReplyError("Cohere's model failed in the middle of its reply")
    return _FINISH.get(str(reason), str(reason or "stop").lower())


def _usage(usage: Any) -> Usage:
    counted = usage and (usage.billed_units or usage.tokens)
    if not counted:
        return Usage()
    return Usage(
        input_tokens=max(0, int(counted.input_tokens or 0)),
        output_tokens=max(0, int(counted.output_tokens or 0)),
    )
