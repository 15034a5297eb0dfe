"""The connection to Cohere's API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar

from rag.errors import (
    MissingExtra,
    MissingKey,
    ModelAuthError,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
    RagError,
)
from rag.providers.base import HostedModel, is_broken_connection, refusal_of, without_query


class CohereProvider(HostedModel):
    """What parts behind Cohere's API share.

    ``api_key`` defaults to ``COHERE_API_KEY``; ``base_url`` is for a deployment of one's own. For
    the rest see `Hosted`.
    """

    _variable: ClassVar[str] = "COHERE_API_KEY"

    @property
    def _options(self) -> Any:
        return {"max_retries": self.retries, "timeout_in_seconds": max(1, int(self.timeout))}

    def _client(self) -> Any:
        if not self._key:
            raise MissingKey.of(self._variable, f"the model {self.model}")
        return _client(self._key, self.base_url, self.timeout)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Say what went wrong in our own errors, without the key."""
        try:
            from cohere.core.api_error import ApiError
        except ModuleNotFoundError:
            raise MissingExtra.of("cohere", f"the model {self.model}") from None
        import httpx

        where = without_query(self.base_url or "Cohere")
        try:
            yield
        except RagError:
            raise
        except httpx.TimeoutException:
            raise ModelUnreachable(f"{where} did not answer in {self.timeout:g} s") from None
        except httpx.ConnectError:
            raise ModelUnreachable(f"cannot reach {where}") from None
        except ApiError as error:
            raise self._ours(error, where) from None
        except Exception as error:
            if is_broken_connection(error):
                raise ModelUnreachable(f"the connection to {where} broke") from None
            # the client does not check what it parses
            kind = type(error).__name__
            raise ModelReplyError(f"{where} sent a reply that cannot be read ({kind})") from None

    def _ours(self, error: Any, where: str) -> ModelError:
        status = int(error.status_code or 0)
        if 200 <= status < 300:  # what the client makes of a body that is no JSON
            return ModelReplyError(f"{where} sent a reply that cannot be read")
        if status in (401, 403):
            return ModelAuthError(
                f"{where} refused the API key (HTTP {status}): check {self._variable}"
            )
        if status == 429:
            return ModelRateLimited(f"{where} asks for fewer requests, or the quota is used up")
        if status >= 500:
            return ModelUnreachable(f"{where} failed (HTTP {status})")
        body = error.body if isinstance(error.body, dict) else {}
        said = self._without_key(str(body.get("message") or "no reason given"))
        return refusal_of(status, said)(f"{where} refused the request (HTTP {status}): {said}")


@lru_cache(maxsize=32)
def _client(key: str, base_url: str | None, timeout: float) -> Any:
    import cohere

    return cohere.ClientV2(api_key=key, base_url=base_url, timeout=timeout)
