"""The connection to Cohere's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, SecretStr

from rag.component import Component, Tuning
from rag.errors import (
    MissingExtra,
    MissingKey,
    ModelAuthError,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelRequestError,
    ModelUnreachable,
    RagError,
)
from rag.settings import load_settings


class CohereEndpoint(Component):
    """What parts behind Cohere's API share.

    ``api_key`` defaults to ``COHERE_API_KEY``; ``base_url`` is for a deployment of one's own.
    ``timeout`` is in seconds, for each of up to ``retries`` + 1 attempts; 408, 429 and server
    errors are tried again, after as long as the server asks for (``Retry-After``).
    """

    model: str = Field(min_length=1)
    base_url: str | None = None
    api_key: SecretStr | None = None
    timeout: Annotated[float, Tuning] = Field(60.0, gt=0, le=86_400)
    retries: Annotated[int, Tuning] = Field(2, ge=0, le=10)

    @property
    def _key(self) -> str:
        key = self.api_key or load_settings().cohere_api_key
        return key.get_secret_value().strip() if key else ""

    @property
    def _options(self) -> Any:
        return {"max_retries": self.retries, "timeout_in_seconds": max(1, int(self.timeout))}

    def _client(self) -> Any:
        if not self._key:
            raise MissingKey.of("COHERE_API_KEY", f"the model {self.model}")
        return _client(self._key, self.base_url, self.timeout)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what went wrong in our own errors, without the key."""
        try:
            from cohere.core.api_error import ApiError
        except ModuleNotFoundError:
            raise MissingExtra.of("cohere", f"the model {self.model}") from None
        import httpx

        where = self.base_url or "Cohere"
        try:
            yield
        except RagError:
            raise
        except httpx.TimeoutException:
            raise ModelUnreachable(f"{where} did not answer in {self.timeout:g} s") from None
        except httpx.HTTPError:
            raise ModelUnreachable(f"cannot reach {where}") from None
        except ApiError as error:
            raise self._ours(error, where) from None
        except Exception as error:  # the client does not check what it parses
            kind = type(error).__name__
            raise ModelReplyError(f"{where} sent a reply that cannot be read ({kind})") from None

    def _ours(self, error: Any, where: str) -> ModelError:
        status = int(error.status_code or 0)
        if status in (401, 403):
            return ModelAuthError(
                f"{where} refused the API key (HTTP {status}): check COHERE_API_KEY"
            )
        if status == 429:
            return ModelRateLimited(f"{where} asks for fewer requests, or the quota is used up")
        if status >= 500:
            return ModelUnreachable(f"{where} failed (HTTP {status})")
        body = error.body if isinstance(error.body, dict) else {}
        said = " ".join(str(body.get("message") or "no reason given").split())
        said = said.replace(self._key, "***")[:300] if self._key else said[:300]
        kind = ModelRequestError if status in (400, 413, 422) else ModelError
        return kind(f"{where} refused the request (HTTP {status}): {said}")


@lru_cache(maxsize=32)
def _client(key: str, base_url: str | None, timeout: float) -> Any:
    import cohere

    return cohere.ClientV2(api_key=key, base_url=base_url, timeout=timeout)
