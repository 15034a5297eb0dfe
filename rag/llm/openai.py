"""Chat models behind OpenAI's API: OpenAI's own, Azure's, and every server that speaks it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from rag.errors import ModelReplyError
from rag.llm.base import Completion, Delta, JsonSchema, KnownChat, Source
from rag.llm.hosted import HostedChat
from rag.llm.structured import strict_schema
from rag.providers.openai import AzureOpenAIProvider, OpenAIProvider
from rag.types import Message, Usage

_MODELS = {  # https://platform.openai.com/docs/pricing, read in 2026
    known.model: known
    for known in (
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
_REASONING = re.compile(r"o\d|gpt-5")  # these refuse a temperature
_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class OpenAIChat(OpenAIProvider, HostedChat):
    """Chat models of OpenAI, and of Ollama, vLLM, llama.cpp, LM Studio and the like.

    ``api`` is the one to speak: Chat Completions (``chat``), which every server knows, or
    ``responses``, which is OpenAI's newer one, has no ``seed``, and is asked not to store
    anything. ``reasoning_effort`` (``minimal``, ``low``, ``medium``, ``high``) is for models that
    reason; to OpenAI's own of these no ``temperature`` is sent, since they refuse one. For
    ``base_url``, ``api_key``, ``timeout`` and ``retries`` see `OpenAIProvider`, for the rest
    `HostedChat`.
    """

    name: ClassVar[str] = "openai"
    extra: ClassVar[str] = "openai"

    api: Literal["chat", "responses"] = "chat"
    temperature: float | None = Field(0.0, ge=0, le=2)
    seed: int | None = None
    reasoning_effort: str | None = None

    @model_validator(mode="after")
    def _has_no_seed(self) -> OpenAIChat:
        if self.api == "responses" and self.seed is not None:
            raise ValueError("the Responses API has no seed: leave it out, or use api='chat'")
        return self

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """OpenAI's own."""
        return _MODELS.values()

    @property
    def _known(self) -> KnownChat | None:
        return _MODELS.get(_DATED.sub("", self.model)) if self._is_openai else None

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        with self._translate_errors():
            if self.api == "responses":
                return self._response(
                    self._client().responses.create(**self._asked(messages, schema))
                )
            reply = self._client().chat.completions.create(**self._request(messages, schema))
            if not reply.choices:
                raise ModelReplyError(f"{self.model} sent a reply without a choice")
            choice = reply.choices[0]
            refused = getattr(choice.message, "refusal", None)
            text = self._text(choice.message.content or refused or "")
            finish = "refusal" if refused and not choice.message.content else _finish(choice)
            return Completion(text, _usage(reply.usage), finish)

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        if self.api == "responses":
            yield from self._streamed_response(messages, schema)
            return
        parts: list[str] = []
        usage, finish = Usage(), ""
        request = self._request(messages, schema)
        with (
            self._translate_errors(),
            self._client().chat.completions.create(
                **request, stream=True, stream_options={"include_usage": True}
            ) as events,
        ):
            for event in events:
                if event.usage is not None:
                    usage = _usage(event.usage)
                for choice in event.choices[:1]:
                    refused = getattr(choice.delta, "refusal", None)
                    finish = _finish(choice, finish)
                    if text := self._text(choice.delta.content or refused or ""):
                        parts.append(text)
                        yield Delta(text)
                    finish = "refusal" if refused else finish
            if not finish:
                raise ModelReplyError(f"the reply of {self.model} broke off in the middle")
        yield Delta("", Completion("".join(parts), usage, finish))

    def _request(self, messages: Sequence[Message], schema: JsonSchema | None) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": self.max_output_tokens,
        }
        if self._is_openai:  # its newer models refuse the older name of the limit
            request["max_completion_tokens"] = request.pop("max_tokens")
        if self._temperature is not None:
            request["temperature"] = self._temperature
        if self.seed is not None:
            request["seed"] = self.seed
        if self.reasoning_effort is not None:
            request["reasoning_effort"] = self.reasoning_effort
        if schema is not None:
            request["response_format"] = {"type": "json_schema", "json_schema": _named(schema)}
        return request

    @property
    def _temperature(self) -> float | None:
        refused = self._is_openai and _REASONING.match(self.model)
        return None if refused else self.temperature

    # -- the Responses API -----------------------------------------------------------------

    def _asked(self, messages: Sequence[Message], schema: JsonSchema | None) -> dict[str, Any]:
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
            request["text"] = {"format": {"type": "json_schema", **_named(schema)}}
        return request

    def _response(self, reply: Any) -> Completion:
        if reply.status not in ("completed", "incomplete"):
            said = getattr(reply.error, "message", None) or f"status {reply.status}"
            raise ModelReplyError(f"{self.model} failed: {self._without_key(str(said))}")
        parts = [
            part for item in reply.output if item.type == "message" for part in item.content or ()
        ]
        text = "".join(self._text(part.text) for part in parts if part.type == "output_text")
        finish = "stop"
        if not text and (said := [p.refusal for p in parts if p.type == "refusal"]):
            text, finish = self._text("".join(said)), "refusal"
        elif reply.status == "incomplete":
            reason = getattr(reply.incomplete_details, "reason", None)
            finish = "length" if reason == "max_output_tokens" else str(reason or "incomplete")
        used = reply.usage
        usage = Usage() if used is None else _counted(used.input_tokens, used.output_tokens)
        return Completion(text, usage, finish)

    def _streamed_response(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> Iterator[Delta]:
        whole: Completion | None = None
        parts: list[str] = []
        request = self._asked(messages, schema)
        with (
            self._translate_errors(),
            closing(self._client().responses.create(**request, stream=True)) as events,
        ):
            for event in events:
                if event.type in ("response.output_text.delta", "response.refusal.delta"):
                    parts.append(self._text(event.delta))
                    yield Delta(parts[-1])
                elif event.type in ("response.completed", "response.incomplete"):
                    whole = self._response(event.response)
                elif event.type == "response.failed":
                    self._response(event.response)
                elif event.type == "error":
                    raise ModelReplyError(
                        f"{self._where} broke off with an error: {self._without_key(event.message)}"
                    )
        if whole is None:
            raise ModelReplyError(f"the reply of {self.model} broke off in the middle")
        yield Delta("", whole._replace(text="".join(parts)))


class AzureOpenAIChat(AzureOpenAIProvider, OpenAIChat):
    """OpenAI's chat models behind Azure OpenAI; ``model`` is the deployment's name.

    Name ``context``, ``input_price`` and ``output_price`` where the deployment is not called as
    its model is, and set ``temperature`` to None where its model reasons.
    """

    name: ClassVar[str] = "azure-openai"

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """None: deployments are called as their owner likes."""
        return ()


def _named(schema: JsonSchema) -> dict[str, Any]:
    strict = strict_schema(schema)
    return {
        "name": re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "reply"))[:64],
        "schema": strict if strict is not None else dict(schema),
        "strict": strict is not None,
    }


def _finish(choice: Any, otherwise: str = "stop") -> str:
    reason = choice.finish_reason
    return reason if isinstance(reason, str) and reason else otherwise


def _usage(usage: Any) -> Usage:
    return Usage() if usage is None else _counted(usage.prompt_tokens, usage.completion_tokens)


def _counted(came_in: int | None, came_out: int | None) -> Usage:
    if min(came_in or 0, came_out or 0) < 0:
        return Usage()
    return Usage(input_tokens=came_in or 0, output_tokens=came_out or 0)
