"""Chat models with OpenAI's API: of OpenAI, of Azure OpenAI, and of compatible servers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from rag.errors import ModelError, ModelReplyError
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
from rag.providers.event_streams import EventDecoder, aiterate_events, iterate_events
from rag.providers.openai import AzureOpenAIProvider, OllamaProvider, OpenAIProvider
from rag.types import Message, Usage

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

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        with self._translate_errors():
            if self.api == "responses":
                return self._parse_response(
                    self._get_client().responses.create(
                        **self._build_responses_request(messages, schema)
                    )
                )
            request = self._build_chat_request(messages, schema)
            with self._send(_call_chat_completions, request) as response:
                return self._parse_reply(_read_body(response.read()), messages)

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        with self._translate_errors():
            if self.api == "responses":
                request = self._build_responses_request(messages, schema)
                with self._get_client().responses.create(**request, stream=True) as responses:
                    yield from _ResponsesParser(self).parse(responses)
                return
            request = self._build_stream_request(messages, schema)
            with self._send(_call_chat_completions, request) as response:
                decoder = EventDecoder()
                parser = ChatCompletionsParser(self, messages, decoder)
                yield from parser.parse(iterate_events(response, decoder))

    async def _astream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> AsyncIterator[Delta]:
        with self._translate_errors():
            if self.api == "responses":
                request = self._build_responses_request(messages, schema)
                async with (
                    self._use_async_client() as client,
                    await client.responses.create(**request, stream=True) as responses,
                ):
                    async for delta in _ResponsesParser(self).aparse(responses):
                        yield delta
                return
            request = self._build_stream_request(messages, schema)
            async with self._asend(_call_chat_completions, request) as response:
                decoder = EventDecoder()
                parser = ChatCompletionsParser(self, messages, decoder)
                events = aiterate_events(response, decoder)
                async for delta in parser.aparse(events):
                    yield delta

    def _build_stream_request(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> dict[str, Any]:
        stream_options = {"stream": True, "stream_options": {"include_usage": True}}
        return self._build_chat_request(messages, schema) | stream_options

    def _make_embedded_error(self, reason: str, code: str) -> ModelError:
        return self._to_embedded_error(reason, code)

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

    def _parse_response(self, reply: Any) -> Completion:
        if reply.status not in ("completed", "incomplete"):
            reason = getattr(reply.error, "message", None) or f"status {reply.status}"
            raise ModelReplyError(
                f"{self.model} failed: {self._redact_key(str(reason))}", model=self.model
            )
        parts = [
            part for item in reply.output if item.type == "message" for part in item.content or ()
        ]
        text = "".join(self._check_text(part.text) for part in parts if part.type == "output_text")
        finish = "stop"
        if not text and (refusals := [p.refusal for p in parts if p.type == "refusal"]):
            text, finish = self._check_text("".join(refusals)), "refusal"
        elif reply.status == "incomplete":
            reason = getattr(reply.incomplete_details, "reason", None)
            finish = "length" if reason == "max_output_tokens" else str(reason or "incomplete")
        tokens = reply.usage
        usage = make_usage(
            *(getattr(tokens, f"{side}_tokens", None) for side in ("input", "output"))
        )
        return Completion(text, usage or Usage(), finish)


def _call_chat_completions(client: Any, request: dict[str, Any]) -> Any:
    return client.chat.completions.with_streaming_response.create(**request)


def _read_body(body: bytes) -> Any:
    """Return the value of a JSON body; other text as it is."""
    text = body.decode("utf-8-sig", errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        if not text.lstrip().startswith(("data:", "event:", ":")):
            raise
        return text


class _ResponsesParser(StreamParser):
    """Parses the events of a stream of the Responses API."""

    def __init__(self, model: OpenAIChat) -> None:
        self._model = model
        self._parts: list[str] = []
        self._completion: Completion | None = None

    def feed(self, event: Any) -> str:
        model = self._model
        if event.type in ("response.output_text.delta", "response.refusal.delta"):
            self._parts.append(model._check_text(event.delta))
            return self._parts[-1]
        if event.type in ("response.completed", "response.incomplete"):
            self._completion = model._parse_response(event.response)
        elif event.type == "response.failed":
            model._parse_response(event.response)
        elif event.type == "error":
            raise ModelReplyError(
                f"{model._server_name} interrupted its reply with an error: "
                f"{model._redact_key(event.message)}",
                model=model.model,
            )
        return ""

    def finish(self) -> Completion:
        if self._completion is None:
            raise self._model._make_incomplete_error()
        return self._completion._replace(text="".join(self._parts))


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


class OllamaChat(OllamaProvider, OpenAIChat):
    """Chat models that Ollama runs, on this machine by default.

    ``model`` is a model that was pulled: ``qwen2.5:3b``. ``context`` is the context window that the
    server is configured with (``OLLAMA_CONTEXT_LENGTH``). For ``base_url`` see `OllamaProvider`,
    for the other settings `OpenAIChat`.
    """

    name: ClassVar[str] = "ollama"

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Return no models: the owner of the server pulls them."""
        return ()

    @property
    def _known_model(self) -> KnownChat | None:
        return KnownChat(self.model, None, 0.0, 0.0)
