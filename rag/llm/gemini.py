"""Google's Gemini models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field

from rag.errors import ModelReplyError, RagError
from rag.llm.base import KnownChat
from rag.llm.completion import Completion, Source
from rag.llm.http_chat import Call, HttpChat, HttpReplyParser
from rag.providers.dialects import Feature
from rag.providers.http import Json

_MODELS = {  # https://ai.google.dev/gemini-api/docs/pricing, read in 2026; prompts up to 200,000
    model.model: model
    for model in (
        KnownChat("gemini-2.5-pro", 1_048_576, 1.25, 10.0),
        KnownChat("gemini-2.5-flash", 1_048_576, 0.3, 2.5),
        KnownChat("gemini-2.5-flash-lite", 1_048_576, 0.1, 0.4),
    )
}
_FINISH_REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "LANGUAGE": "content_filter",
}


class GeminiParser(HttpReplyParser):
    """Parses replies of Gemini; the events of a stream have the format of a whole reply."""

    def __init__(self, model: HttpChat, call: Call) -> None:
        super().__init__(model, call)
        self._grounding: Mapping[str, Any] = {}

    def read(self, event: Mapping[str, Any]) -> str:
        """See `HttpReplyParser.read`."""
        if blocked := _get(event.get("promptFeedback"), "blockReason"):
            raise ModelReplyError(
                f"Gemini refused to read the prompt ({blocked})", model=self._model.model
            )
        usage = event.get("usageMetadata")
        counts = [_get(usage, name) for name in ("candidatesTokenCount", "thoughtsTokenCount")]
        output_tokens = sum(count for count in counts if isinstance(count, int))
        self._count_tokens(_get(usage, "promptTokenCount"), output_tokens)
        candidates = event.get("candidates")
        if not isinstance(candidates, Sequence) or not candidates:
            return ""
        candidate = candidates[0]
        if isinstance(grounding := _get(candidate, "groundingMetadata"), Mapping):
            self._grounding = {**self._grounding, **grounding}
        if reason := _get(candidate, "finishReason"):
            self._finish_reason = _FINISH_REASONS.get(str(reason), str(reason).lower())
        parts = _get(_get(candidate, "content"), "parts")
        texts: list[str] = []
        for part in parts if isinstance(parts, list) else [parts]:
            text = _get(part, "text")
            if isinstance(text, str):
                (self._thoughts if _get(part, "thought") else texts).append(text)
        return "".join(texts)

    def finish(self) -> Completion:
        """See `StreamParser.finish`."""
        if self._finish_reason == "content_filter" and not self.text:
            raise ModelReplyError(
                "Gemini's filter stopped the reply before its first word", model=self._model.model
            )
        numbers = [
            _find_sources(chunk, self._call.sources)
            for chunk in _list(self._grounding, "groundingChunks")
        ]
        encoded = self.text.encode()
        for support in _list(self._grounding, "groundingSupports"):
            segment = _get(support, "segment")
            start, end = _get(segment, "startIndex") or 0, _get(segment, "endIndex") or 0
            indices = _list(support, "groundingChunkIndices")
            if not all(isinstance(value, int) for value in (start, end, *indices)):
                continue
            cited = [n for i in indices if 0 <= i < len(numbers) for n in numbers[i]]
            first, last = (
                len(encoded[: max(0, offset)].decode(errors="ignore")) for offset in (start, end)
            )
            self._cite(first, last, cited)
        return super().finish()


class GeminiChat(HttpChat):
    """Google's Gemini models through the Gemini API (``generateContent``).

    The model writes markers, as most do. Where a reply has grounding metadata whose chunks are
    passages that the model was given, the sentences cite these, too; pages of the web that the
    model read are no sources of the pipeline, and support nothing. ``tools`` are those of the API
    (``[{"google_search": {}}]``). ``thinking_budget`` is how many tokens the model may think; 0
    turns thinking off where the model allows it. ``api_key`` defaults to ``GEMINI_API_KEY``. For
    the other settings see `HostedChat`.

        GeminiChat(model="gemini-2.5-flash")
    """

    name: ClassVar[str] = "gemini"

    model: str = Field("gemini-2.5-flash", min_length=1)
    seed: int | None = None
    tools: tuple[dict[str, Any], ...] = ()
    thinking_budget: int | None = Field(None, ge=0)

    _parser = GeminiParser
    _refusable: ClassVar[frozenset[Feature] | None] = frozenset({"temperature", "seed"})
    _key_variable: ClassVar[str] = "GEMINI_API_KEY"
    _own_host: ClassVar[str] = "generativelanguage.googleapis.com"
    _service: ClassVar[str] = "Gemini"
    _default_url: ClassVar[str] = "https://generativelanguage.googleapis.com/v1beta"

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Return Google's models."""
        return _MODELS.values()

    @property
    def _known_model(self) -> KnownChat | None:
        return _MODELS.get(self.model) if self.base_url is None else None

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"x-goog-api-key": self._key}

    def _to_status_error(self, response: Any) -> RagError:
        is_key_refused = response.status_code == 400 and "API key not valid" in response.text
        return (
            self._make_status_error(401) if is_key_refused else super()._to_status_error(response)
        )

    def _build_path(self, call: Call) -> str:
        model = quote(self.model.removeprefix("models/"), safe="")
        version = "" if re.search(r"/v1(?:beta|alpha)?\d*\Z", self._url) else "/v1beta"
        return f"{version}/models/{model}:streamGenerateContent?alt=sse"

    def _build_body(self, call: Call, refused: frozenset[Feature]) -> Json:
        config: Json = {"maxOutputTokens": self.max_output_tokens}
        if self.temperature is not None and "temperature" not in refused:
            config["temperature"] = self.temperature
        if self.seed is not None and "seed" not in refused:
            config["seed"] = self.seed
        if self.thinking_budget is not None:
            config["thinkingConfig"] = {"thinkingBudget": self.thinking_budget}
        if call.schema is not None:
            config["responseMimeType"] = "application/json"
            config["responseJsonSchema"] = dict(call.schema)
        body: Json = {
            "contents": [
                {
                    "role": "model" if turn.role == "assistant" else "user",
                    "parts": [{"text": turn.content}],
                }
                for turn in call.turns
            ],
            "generationConfig": config,
        }
        if call.system:
            body["systemInstruction"] = {"parts": [{"text": call.system}]}
        if self.tools and call.schema is None:
            body["tools"] = list(self.tools)
        return body


def _find_sources(chunk: Any, sources: Sequence[Source]) -> list[int]:
    """Return the sources that a grounding chunk is: those with its text, else with its title."""
    context = _get(chunk, "retrievedContext")
    text = " ".join(str(_get(context, "text") or "").split())
    if text:
        with_text = [i for i, s in enumerate(sources) if text in " ".join(s.text.split())]
        if with_text:
            return with_text
    names = [name for name in (_get(context, "title"), _get(context, "uri")) if name]
    return [i for i, source in enumerate(sources) if source.title in names]


def _list(value: Any, name: str) -> list[Any]:
    items = _get(value, name)
    return items if isinstance(items, list) else []


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None
