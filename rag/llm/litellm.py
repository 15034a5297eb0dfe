"""Chat models of more than 100 providers, through LiteLLM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, ClassVar

from pydantic import Field

from rag.errors import MissingExtra, ModelRequestError
from rag.llm.base import JsonSchema, KnownChat
from rag.llm.chat_completions import ChatCompletionsModel, ChatCompletionsParser, describe_schema
from rag.llm.completion import Completion, Delta, Source
from rag.providers.dialects import apply_dialect, list_refused
from rag.providers.litellm import LiteLlmProvider
from rag.providers.retries import call_with_retries
from rag.types import Message, Usage


class LiteLlmChat(LiteLlmProvider, ChatCompletionsModel):
    """Chat models that LiteLLM supports: Anthropic, Gemini, Mistral, Bedrock, Ollama ...

    ``model`` is LiteLLM's name: ``anthropic/claude-sonnet-4-5``. The context window and prices come
    from the price list in LiteLLM's package; ``input_price`` and ``output_price``, if both are set,
    replace its prices. Parameters that a provider does not support (``seed``, ``temperature``,
    JSON schemas) are not sent to it. For ``base_url``, ``api_key``, ``timeout`` and ``retries``
    see `LiteLlmProvider`, for the other settings `HostedChat`.

        LiteLlmChat(model="anthropic/claude-sonnet-4-5")
    """

    name: ClassVar[str] = "litellm"
    extra: ClassVar[str] = "litellm"

    temperature: float | None = Field(0.0, ge=0, le=2)
    seed: int | None = None
    reasoning_effort: str | None = None

    @property
    def _known_model(self) -> KnownChat | None:
        try:
            info = self._import_litellm().get_model_info(self.model)
        except MissingExtra:
            return None
        except Exception:  # LiteLLM does not know the model
            return None
        prices = (info.get("input_cost_per_token"), info.get("output_cost_per_token"))
        input_usd, output_usd = (None if price is None else price * 1e6 for price in prices)
        return KnownChat(self.model, info.get("max_input_tokens"), input_usd, output_usd)

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        with self._translate_errors():
            reply = self._call(self._build_request(messages, schema))
            completion = self._parse_reply(reply, messages)
            return completion._replace(usage=self._add_cost(completion.usage))

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        request = self._build_request(messages, schema)
        request |= {"stream": True, "stream_options": {"include_usage": True}}
        with self._translate_errors(), closing(self._call(request)) as events:
            parser = ChatCompletionsParser(self, messages)
            for event in events:
                if text := parser.feed_within_limit(event):
                    yield Delta(text)
            completion = parser.finish()
            if completion.text:
                usage = self._add_cost(completion.usage)
                yield Delta("", completion._replace(usage=usage))
                return
        # LiteLLM passes over what it cannot read in a stream, also errors, without a word.
        completion = self._complete(messages, schema=schema, sources=sources)
        yield Delta(completion.text)
        yield Delta("", completion)

    def _call(self, request: dict[str, Any]) -> Any:
        """Call ``litellm.completion``, with our retries: LiteLLM's ignore ``Retry-After``.

        What the server refuses is left out (`rag.providers.dialects`).
        """
        litellm = self._import_litellm()

        def call() -> Any:
            with self._translate_errors():
                return litellm.completion(**adapted)

        while True:
            refused = list_refused(self._endpoint)
            adapted = apply_dialect(request, refused)
            try:
                return call_with_retries(call, self.retries)
            except ModelRequestError as error:
                if not self._learn(error, adapted, refused):
                    raise

    def _build_request(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": self.max_output_tokens,
            "timeout": self.timeout,
            "max_retries": 0,
            "num_retries": 0,
            "drop_params": True,
            "base_url": self.base_url,
            "api_key": self._find_key_for_litellm(),
            "temperature": self.temperature,
            "seed": self.seed,
            "reasoning_effort": self.reasoning_effort,
        }
        if schema is not None:
            json_schema = describe_schema(schema)
            request["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        return {name: value for name, value in request.items() if value is not None}

    def _add_cost(self, usage: Usage) -> Usage:
        """Return `usage` with the cost from LiteLLM's price list; unchanged for unknown models."""
        if self.input_price is not None and self.output_price is not None:
            return usage
        litellm = self._import_litellm()
        tokens = litellm.Usage(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
        )
        reply = litellm.ModelResponse(model=self.model, usage=tokens)
        try:
            cost = litellm.completion_cost(completion_response=reply, model=self.model)
        except Exception:  # the model is not in the price list
            return usage
        return usage.model_copy(update={"cost_usd": float(cost)})
