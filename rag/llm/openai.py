"""Chat models behind OpenAI's API: OpenAI's own, and every server that speaks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from rag.component import Tuning
from rag.errors import (
    MissingExtra,
    MissingKey,
    ModelAuthError,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
)
from rag.llm.base import ChatModel, Completion, Delta
from rag.settings import load_settings
from rag.types import Message, Usage

if TYPE_CHECKING:
    from openai import OpenAI


class OpenAIChat(ChatModel):
    """Chat completions of OpenAI, Ollama, vLLM, llama.cpp, LM Studio and the like.

    ``base_url`` defaults to ``OPENAI_BASE_URL`` and then to OpenAI; ``api_key`` to
    ``OPENAI_API_KEY``. A server of one's own usually needs no key. ``timeout`` is in seconds,
    for each of up to ``retries`` + 1 attempts; time-outs, 429 and server errors are tried again,
    after as long as the server asks for.
    """

    name: ClassVar[str] = "openai"

    model: str = Field(min_length=1)
    base_url: str | None = None
    api_key: SecretStr | None = None
    temperature: float | None = Field(0.0, ge=0, le=2)
    max_output_tokens: int = Field(1024, ge=1)
    seed: int | None = None
    timeout: Annotated[float, Tuning] = Field(60.0, gt=0)
    retries: Annotated[int, Tuning] = Field(2, ge=0, le=10)

    @field_validator("base_url")
    @classmethod
    def _without_credentials(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("must begin with http:// or https://")
            if parts.username or parts.password:
                raise ValueError("must not hold a name or password: use api_key")
        return url

    def complete(self, messages: Sequence[Message]) -> Completion:
        """See `ChatModel.complete`."""
        with self._told():
            reply = self._client().chat.completions.create(**self._request(messages))
            if not reply.choices:
                raise ModelReplyError(f"{self.model} sent a reply without a choice")
            choice = reply.choices[0]
            return Completion(
                choice.message.content or "", _usage(reply.usage), choice.finish_reason or "stop"
            )

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
                    finish = choice.finish_reason or finish
                    if choice.delta.content:
                        parts.append(choice.delta.content)
                        yield Delta(choice.delta.content)
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

    @property
    def _url(self) -> str | None:
        return self.base_url or load_settings().openai_base_url

    @property
    def _is_openai(self) -> bool:
        url = self._url
        return url is None or (urlsplit(url).hostname or "").endswith("openai.com")

    def _client(self) -> OpenAI:
        key = self.api_key or load_settings().openai_api_key
        if key is None and self._is_openai:
            raise MissingKey.of("OPENAI_API_KEY", f"the model {self.model}")
        secret = key.get_secret_value() if key else "none"
        return _client(self._url, secret, self.timeout, self.retries)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what went wrong in our own errors, without the key the client's may quote."""
        try:
            import openai
        except ModuleNotFoundError:
            raise MissingExtra.of("openai", f"the model {self.model}") from None
        import httpx

        where = self._url or "OpenAI"
        try:
            yield
        except openai.APITimeoutError:
            raise ModelUnreachable(f"{where} did not answer in {self.timeout:g} s") from None
        except openai.APIConnectionError:
            raise ModelUnreachable(f"cannot reach {where}: is the server running?") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ModelAuthError(
                f"{where} refused the API key (HTTP {error.status_code}): check OPENAI_API_KEY"
            ) from None
        except openai.RateLimitError:
            raise ModelRateLimited(
                f"{where} asks for fewer requests, or the quota is used up"
            ) from None
        except openai.InternalServerError as error:
            raise ModelUnreachable(f"{where} failed (HTTP {error.status_code})") from None
        except openai.APIStatusError as error:
            raise ModelError(
                f"{where} refused the request (HTTP {error.status_code}): {_reason(error)}"
            ) from None
        except httpx.HTTPError as error:
            raise ModelUnreachable(f"the connection to {where} broke: {error}") from None
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
            # The client does not check what it parses: any JSON may come out of it.
            raise ModelReplyError(f"{where} sent a reply that cannot be read: {error}") from None


@lru_cache(maxsize=32)
def _client(base_url: str | None, key: str, timeout: float, retries: int) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=retries)


def _usage(usage: Any) -> Usage:
    if usage is None:
        return Usage()
    return Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.completion_tokens or 0)


def _reason(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or "no reason given")[:300]
