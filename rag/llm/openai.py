"""Chat models behind OpenAI's API: OpenAI's own, and every server that speaks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field

from rag.errors import ModelReplyError
from rag.llm.base import ChatModel, Completion, Delta
from rag.llm.endpoint import OpenAIEndpoint
from rag.types import Message, Usage, well_formed


class OpenAIChat(OpenAIEndpoint, ChatModel):
    """Chat completions of OpenAI, Ollama, vLLM, llama.cpp, LM Studio and the like.

    For ``base_url``, ``api_key``, ``timeout`` and ``retries`` see `OpenAIEndpoint`.
    """

    name: ClassVar[str] = "openai"

    temperature: float | None = Field(0.0, ge=0, le=2)
    max_output_tokens: int = Field(1024, ge=1)
    seed: int | None = None

    def complete(self, messages: Sequence[Message]) -> Completion:
        """See `ChatModel.complete`."""
        with self._told():
            reply = self._client().chat.completions.create(**self._request(messages))
            if not reply.choices:
                raise ModelReplyError(f"{self.model} sent a reply without a choice")
            choice = reply.choices[0]
            text = choice.message.content or ""
            if not isinstance(text, str):
                raise ModelReplyError(f"{self.model} sent something other than text")
            return Completion(well_formed(text), _usage(reply.usage), _finish(choice))

    def stream(self, messages: Sequence[Message]) -> Iterator[Delta]:
        """See `ChatModel.stream`."""
        parts: list[str] = []
        usage, finish = Usage(), ""
        with (
            self._told(),
            self._client().chat.completions.create(
                **self._request(messages), stream=True, stream_options={"include_usage": True}
            ) as events,
        ):
            for event in events:
                if event.usage is not None:
                    usage = _usage(event.usage)
                for choice in event.choices[:1]:
                    finish = _finish(choice, finish)
                    if text := choice.delta.content:
                        if not isinstance(text, str):
                            raise ModelReplyError(f"{self.model} sent something other than text")
                        parts.append(well_formed(text))
                        yield Delta(parts[-1])
            if not finish:
                raise ModelReplyError(f"the reply of {self.model} broke off in the middle")
        yield Delta("", Completion("".join(parts), usage, finish))

    def _request(self, messages: Sequence[Message]) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": self.max_output_tokens,
        }
        if self._is_openai:  # its newer models refuse the older name of the limit
            request["max_completion_tokens"] = request.pop("max_tokens")
        if self.temperature is not None:
            request["temperature"] = self.temperature
        if self.seed is not None:
            request["seed"] = self.seed
        return request


def _finish(choice: Any, otherwise: str = "stop") -> str:
    reason = choice.finish_reason
    return reason if isinstance(reason, str) and reason else otherwise


def _usage(usage: Any) -> Usage:
    if usage is None or min(usage.prompt_tokens or 0, usage.completion_tokens or 0) < 0:
        return Usage()
    return Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.completion_tokens or 0)
