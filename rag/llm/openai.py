"""Chat models with OpenAI's API: of OpenAI, of Azure OpenAI, and of compatible servers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from rag.concurrency import aclose_at_end
from rag.errors import ModelReplyError
from rag.llm.base import JsonSchema, KnownChat
from rag.llm.chat_completions import (
    ChatCompletionsModel,
    ChatCompletionsParser,
    describe_schema,
    make_usage,
)
from rag.llm.completion import Completion, Delta, Source
from rag.llm.hosted import StreamParser
from rag.providers.context_length import find_context_length
from rag.providers.event_streams import (
    EventDecoder,
    iterate_events,
)
from rag.providers.openai import AzureOpenAIProvider, OpenAIProvider
from rag.types import Message

_MODELS = {  # https://platform.openai.com/docs/pricing, read in 2026
    model.model: model
    for model in (
        KnownChat("gpt-5", 400_000, 1.25, 10.0),
        KnownChat("gpt-5-mini", 400_000, 0.25, 2.0),
        KnownChat("gpt-5-nano", 400_000, 0.05, 0.4),
        KnownChat("gpt-4.1", 1_047_576, 2.0, 8.0),
        KnownChat("gpt-4.1-mini", 1_047_576, 0.4, 1.6),
        KnownChat("gpt-4.1-nano", 1_047_576, 0.1, 0.4),
        KnownChat("gpt-4o", 128_000, 2.5, 10.0),
        KnownChat("gpt-4o-mini", 128_000, 0.15, 0.6),
        KnownChat("o3", 200_000, 2.0, 8.0),
        KnownChat("o4-mini", 200_000, 1.1, 4.4),
    )
}
_REASONING_MODEL = re.compile(r"o\d|gpt-5")  # these models reject `temperature`
_DATE_SUFFIX = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class OpenAIChat(OpenAIProvider, ChatCompletionsModel):
    """Chat models of OpenAI and of compatible servers: Ollama, vLLM, llama.cpp, LM Studio ...

    ``api`` is ``chat`` (Chat Completions, which every server supports) or ``responses`` (OpenAI's
    newer API; it has no ``seed``, and requests are sent with ``store=False``).
    ``reasoning_effort`` (``minimal``, ``low``, ``medium``, ``high``) is for reasoning models;
    ``temperature`` is not sent to reasoning models of OpenAI, which reject it. For ``base_url``,
    ``api_key``, ``timeout`` and ``retries`` see `OpenAIProvider`, for the other settings
    `HostedChat`.
    """

    name: ClassVar[str] = "openai"
    extra: ClassVar[str] = "openai"

    api: Literal["chat", "responses"] = "chat"
    temperature: float | None = Field(0.0, ge=0, le=2)
    seed: int | None = None
    reasoning_effort: str | None = None

    @model_validator(mode="after")
    def _reject_seed_of_responses(self) -> OpenAIChat:
        if self.api == "responses" and self.seed is not None:
            raise ValueError("the Responses API has no seed: omit it, or use api='chat'")
        return self

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Return OpenAI's models."""
        return _MODELS.values()

    @property
    def context_tokens(self) -> int | None:
        """``context``, that of a known model, or what the server says.

        See `rag.providers.context_length`.
        """
        tokens = super().context_tokens
        if tokens is not None or self._is_openai or (url := self._url) is None:
            return tokens
        return find_context_length(url, self.model, self._key)

    @property
    def _known_model(self) -> KnownChat | None:
        return _MODELS.get(_DATE_SUFFIX.sub("", self.model)) if self._is_openai else None

    async def _astream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> AsyncIterator[Delta]:
        with self._translate_errors():
            if self.api == "responses":
                request = self._build_responses_request(messages, schema) | {"stream": True}
                async with self._send(_call_responses, request) as response:
                    decoder = EventDecoder()
                    responses = _ResponsesParser(self, messages)
                    events = iterate_events(response, decoder, lambda: responses.is_complete)
                    async with aclose_at_end(responses.parse(events)) as deltas:
                        async for delta in deltas:
                            yield delta
                return
            request = self._build_stream_request(messages, schema)
            async with self._send(_call_chat_completions, request) as response:
                decoder = EventDecoder()
                parser = ChatCompletionsParser(self, messages, decoder)
                events = iterate_events(response, decoder)
                async with aclose_at_end(parser.parse(events)) as deltas:
                    async for delta in deltas:
                        yield delta

    def _build_stream_request(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> dict[str, Any]:
        stream_options = {"stream": True, "stream_options": {"include_usage": True}}
        return self._build_chat_request(messages, schema) | stream_options

    def _build_chat_request(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": self.max_output_tokens,
        }
        if self._is_openai:  # its newer models reject the older name of the limit
            request["max_completion_tokens"] = request.pop("max_tokens")
        if self._temperature is not None:
            request["temperature"] = self._temperature
        if self.seed is not None:
            request["seed"] = self.seed
        if self.reasoning_effort is not None:
            request["reasoning_effort"] = self.reasoning_effort
        if schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": describe_schema(schema),
            }
        return request

    @property
    def _temperature(self) -> float | None:
        is_rejected = self._is_openai and _REASONING_MODEL.match(self.model)
        return None if is_rejected else self.temperature

    # -- the Responses API -----------------------------------------------------------------

    def _build_responses_request(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "input": [{"role": m.role, "content": m.content} for m in messages],
            "max_output_tokens": self.max_output_tokens,
            "store": False,
        }
        if self._temperature is not None:
            request["temperature"] = self._temperature
        if self.reasoning_effort is not None:
            request["reasoning"] = {"effort": self.reasoning_effort}
        if schema is not None:
            request["text"] = {"format": {"type": "json_schema", **describe_schema(schema)}}
        return request


def _call_responses(client: Any, request: dict[str, Any]) -> Any:
    return client.responses.with_streaming_response.create(**request)


def _call_chat_completions(client: Any, request: dict[str, Any]) -> Any:
    return client.chat.completions.with_streaming_response.create(**request)


class _ResponsesParser(StreamParser):
    """Parses a reply of the Responses API, or the events of its stream."""

    def __init__(self, model: OpenAIChat, messages: Sequence[Message]) -> None:
        self._model: OpenAIChat = model
        self._messages = messages
        self._parts: list[str] = []
        self._thoughts: list[str] = []
        self._response: Mapping[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the last event was there."""
        return self._response is not None

    def feed(self, event: Any) -> str:
        model = self._model
        if not isinstance(event, Mapping):
            raise ModelReplyError(f"the reply of {model.model} is not readable", model=model.model)
        kind = event.get("type") or event.get("object")
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            return self._add(event.get("delta"))
        if kind == "response.output_text.done" and not self._parts:
            return self._add(event.get("text"))
        if kind in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
            self._thoughts.append(model._check_text(event.get("delta")))
        elif kind == "response" or kind in _LAST_RESPONSES:
            response = event if kind == "response" else event.get("response")
            self._response = response if isinstance(response, Mapping) else {}
            self._check_status(self._response)
            if not self._parts:  # no piece came before
                texts, refusals = self._read_output()
                return self._add(texts or refusals)
        elif kind == "error" or event.get("error"):
            error = event.get("error")
            fields = error if isinstance(error, Mapping) else event
            reason = fields.get("message") or error
            raise model._make_embedded_error(str(reason), str(fields.get("code") or ""))
        return ""

    def _add(self, text: Any) -> str:
        self._parts.append(self._model._check_text(text))
        return self._parts[-1]

    def _read_output(self) -> tuple[str, str]:
        """Return the text and the refusal in a whole response."""
        texts, refusals = [], []
        for item in (self._response or {}).get("output") or ():
            for part in (item.get("content") or ()) if item.get("type") == "message" else ():
                if part.get("type") in ("output_text", "text"):
                    texts.append(self._model._check_text(part.get("text")))
                elif part.get("type") == "refusal":
                    refusals.append(str(part.get("refusal") or "no reason given"))
        return "".join(texts), "".join(refusals)

    def _check_status(self, response: Mapping[str, Any]) -> None:
        """Raise the error of a response that failed."""
        status = response.get("status") or "completed"
        if status not in ("completed", "incomplete"):
            error = response.get("error")
            reason = error.get("message") if isinstance(error, Mapping) else ""
            code = error.get("code") if isinstance(error, Mapping) else ""
            raise self._model._make_embedded_error(reason or f"status {status}", str(code or ""))

    def finish(self) -> Completion:
        model, response = self._model, self._response
        if response is None:
            raise model._make_incomplete_error()
        output, refusals = self._read_output()
        text = "".join(self._parts)
        model._check_length(len(text))
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        finish = "stop"
        if refusals and not output:
            finish = "refusal"
        elif response.get("status") == "incomplete":
            finish = "length" if reason == "max_output_tokens" else str(reason or "incomplete")
        tokens = response.get("usage")
        tokens = tokens if isinstance(tokens, Mapping) else {}
        usage = make_usage(tokens.get("input_tokens"), tokens.get("output_tokens"))
        thoughts = "".join(self._thoughts) or _read_reasoning(response)
        if usage is None:
            usage = model._estimate_usage(self._messages, text + thoughts)
        return Completion(text, usage, finish, thoughts=thoughts)


_LAST_RESPONSES = ("response.completed", "response.incomplete", "response.failed")


def _read_reasoning(response: Mapping[str, Any]) -> str:
    """Return the summaries of what a model thought."""
    parts = [
        part
        for item in response.get("output") or ()
        if item.get("type") == "reasoning"
        for name in ("summary", "content")
        for part in item.get(name) or ()
    ]
    return "\n".join(str(part.get("text") or "") for part in parts)


class AzureOpenAIChat(AzureOpenAIProvider, OpenAIChat):
    """OpenAI's chat models on Azure OpenAI; ``model`` is the name of the deployment.

    Set ``context``, ``input_price`` and ``output_price`` if the deployment has another name than
    its model, and set ``temperature`` to None if the model is a reasoning model.
    """

    name: ClassVar[str] = "azure-openai"

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Return no models: the owner chooses the names of deployments."""
        return ()
