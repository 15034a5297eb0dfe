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
    ConfigError,
    MissingExtra,
    MissingKey,
    ModelAuthError,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
    RagError,
)
from rag.llm.base import ChatModel, Completion, Delta
from rag.settings import load_settings
from rag.types import Message, Usage, well_formed

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
    timeout: Annotated[float, Tuning] = Field(60.0, gt=0, le=86_400)
    retries: Annotated[int, Tuning] = Field(2, ge=0, le=10)

    @field_validator("base_url")
    @classmethod
    def _without_credentials(cls, url: str | None) -> str | None:
        if url is not None and (fault := _fault(url)):
            raise ValueError(fault)
        return url

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

    @property
    def _url(self) -> str | None:
        if self.base_url:
            return self.base_url
        url = load_settings().openai_base_url
        if url is not None and (fault := _fault(url)):
            raise ConfigError(f"OPENAI_BASE_URL {fault}")
        return url

    @property
    def _is_openai(self) -> bool:
        url = self._url
        return url is None or (urlsplit(url).hostname or "").endswith("openai.com")

    def _client(self) -> OpenAI:
        if not self._key and self._is_openai:
            raise MissingKey.of("OPENAI_API_KEY", f"the model {self.model}")
        return _client(self._url, self._key or "none", self.timeout, self.retries)

    @property
    def _key(self) -> str:
        key = self.api_key or load_settings().openai_api_key
        return key.get_secret_value().strip() if key else ""

    def _without_key(self, text: str) -> str:
        """Say on one line, shortened, what a server said; servers quote the key they refuse."""
        text = " ".join(text.replace(self._key, "***").split()) if self._key else text
        return text[:300]

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
        except RagError:
            raise
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
                f"{where} refused the request (HTTP {error.status_code}): "
                f"{self._without_key(_reason(error))}"
            ) from None
        except httpx.HTTPError:
            raise ModelUnreachable(f"the connection to {where} broke") from None
        except openai.APIError as error:  # an error in the middle of a stream
            raise ModelReplyError(
                f"{where} broke off with an error: {self._without_key(str(error))}"
            ) from None
        except Exception as error:
            # The client does not check what it parses: any JSON may come out of it, and what
            # stumbles over it may quote it, so only the kind of the error is told.
            kind = type(error).__name__
            raise ModelReplyError(f"{where} sent a reply that cannot be read ({kind})") from None


def _fault(url: str) -> str | None:
    """What is wrong with a base url, without repeating it: it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = None
        parts = urlsplit("")
    if not usable:
        return "must begin with http:// or https:// and a host"
    if parts.username or parts.password:
        return "must not hold a name or password: use api_key"
    return None


@lru_cache(maxsize=32)
def _client(base_url: str | None, key: str, timeout: float, retries: int) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=retries)


def _finish(choice: Any, otherwise: str = "stop") -> str:
    reason = choice.finish_reason
    return reason if isinstance(reason, str) and reason else otherwise


def _usage(usage: Any) -> Usage:
    if usage is None or min(usage.prompt_tokens or 0, usage.completion_tokens or 0) < 0:
        return Usage()
    return Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.completion_tokens or 0)


def _reason(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or "no reason given")
