"""Chat models that Ollama runs, through its own API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from rag.errors import RagError
from rag.llm.base import KnownChat
from rag.llm.http_chat import Call, HttpChat, HttpReplyParser
from rag.providers.context_length import choose_ollama_context
from rag.providers.dialects import Feature
from rag.providers.http import Json
from rag.providers.ollama import DEFAULT_URL, list_models


class OllamaParser(HttpReplyParser):
    """Parses replies of Ollama; the lines of a stream have the format of a whole reply."""

    def read(self, event: Mapping[str, Any]) -> str:
        """See `HttpReplyParser.read`."""
        message = event.get("message")
        if not isinstance(message, Mapping):
            message = {"content": message}
        if isinstance(thoughts := message.get("thinking"), str):
            self._thoughts.append(thoughts)
        if event.get("done"):
            self.is_complete = True
            self._count_tokens(event.get("prompt_eval_count"), event.get("eval_count"))
            self._finish_reason = str(event.get("done_reason") or "stop")
        return message.get("content") or ""


class OllamaChat(HttpChat):
    """Chat models that Ollama runs, on this machine by default, through its own API.

    ``model`` is a model that was pulled: ``qwen2.5:3b``. Every request sets the context window, so
    that Ollama does not cut off the beginning of the prompt: ``context``, else that of the
    Modelfile, else what the model can read, at most 16,384 tokens. ``think`` turns the thoughts of
    a reasoning model on or off (``low``, ``medium`` and ``high`` for models with levels);
    ``keep_alive`` is how long the model stays loaded (``10m``). No key is needed; the environment
    variables of OpenAI are not read, so that its key is not sent to another server. For
    ``base_url``, ``timeout`` and ``retries`` see `HostedModel`, for the other settings
    `HostedChat`.

        OllamaChat(model="qwen2.5:3b")
    """

    name: ClassVar[str] = "ollama"

    base_url: str = DEFAULT_URL
    seed: int | None = None
    think: bool | Literal["low", "medium", "high"] | None = None
    keep_alive: str | None = None

    _parser = OllamaParser
    _refusable: ClassVar[frozenset[Feature] | None] = frozenset()  # it ignores unknown options
    _key_variable: ClassVar[str] = "api_key"
    _service: ClassVar[str] = "Ollama"
    _default_url: ClassVar[str] = DEFAULT_URL
    _needs_key: ClassVar[bool] = False

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Return no models: the owner of the server pulls them."""
        return ()

    @property
    def context_tokens(self) -> int | None:
        """The context window that requests ask for; see the class."""
        return self.context or choose_ollama_context(self._url, self.model, self._key)

    @property
    def _known_model(self) -> KnownChat | None:
        return KnownChat(self.model, None, 0.0, 0.0)

    @property
    def _url(self) -> str:
        return super()._url.removesuffix("/v1").removesuffix("/api").rstrip("/")

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _build_path(self, call: Call) -> str:
        return "/api/chat"

    def _build_body(self, call: Call, refused: frozenset[Feature]) -> Json:
        options: Json = {"num_ctx": self.context_tokens, "num_predict": self.max_output_tokens}
        if self.temperature is not None:
            options["temperature"] = self.temperature
        if self.seed is not None:
            options["seed"] = self.seed
        body: Json = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in call.messages],
            "stream": True,
            "options": options,
        }
        if call.schema is not None:
            body["format"] = dict(call.schema)
        if self.think is not None:
            body["think"] = self.think
        if self.keep_alive is not None:
            body["keep_alive"] = self.keep_alive
        return body

    def _to_status_error(self, response: Any) -> RagError:
        error = super()._to_status_error(response)
        if response.status_code != 404 or "not found" not in str(error):
            return error
        models = ", ".join(list_models(self._url)[:8])
        has = f"; it has {models}" if models else ""
        return type(error)(  # type: ignore[call-arg]
            f"{error}: run `ollama pull {self.model}`{has}", status=404, model=self.model
        )
