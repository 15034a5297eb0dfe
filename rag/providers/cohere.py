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
from rag.providers.base import HostedModel, is_broken_connection, request_error_class, strip_query
from rag.providers.retries import parse_retry_after


class CohereProvider(HostedModel):
    """What all components that call Cohere's API share.

    ``api_key`` defaults to ``COHERE_API_KEY``; ``base_url`` is for a private deployment. For
    the other settings see `HostedModel`.
    """

    _key_variable: ClassVar[str] = "COHERE_API_KEY"

    @property
    def _request_options(self) -> Any:
        return {"max_retries": self.retries, "timeout_in_seconds": max(1, int(self.timeout))}

    def _get_client(self) -> Any:
        if not self._key:
            raise MissingKey.of(self._key_variable, f"the model {self.model}")
        return _create_client(self._key, self.base_url, self.timeout)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of Cohere's client as ours, without the key."""
        try:
            from cohere.core.api_error import ApiError
        except ModuleNotFoundError:
            raise MissingExtra.of("cohere", f"the model {self.model}") from None
        import httpx

        server = strip_query(self.base_url or "Cohere")
        try:
            yield
        except RagError:
            raise
        except httpx.TimeoutException:
            raise ModelUnreachable(
                f"{server} did not answer in {self.timeout:g} s", model=self.model
            ) from None
        except httpx.ConnectError:
            raise ModelUnreachable(f"cannot reach {server}", model=self.model) from None
        except ApiError as error:
            raise self._to_model_error(error, server) from None
        except Exception as error:
            if is_broken_connection(error):
                raise ModelUnreachable(
                    f"the connection to {server} broke", model=self.model
                ) from None
            # The client does not validate replies: any error may come out of parsing one.
            class_name = type(error).__name__
            raise ModelReplyError(
                f"{server} sent a reply that cannot be read ({class_name})", model=self.model
            ) from None

    def _to_model_error(self, error: Any, server: str) -> ModelError:
        status = int(error.status_code or 0)
        if 200 <= status < 300:  # Cohere's client raises this for a body that is not JSON
            return ModelReplyError(f"{server} sent a reply that cannot be read", model=self.model)
        if status in (401, 403):
            return ModelAuthError(
                f"{server} refused the API key (HTTP {status}): check {self._key_variable}",
                status=status,
                model=self.model,
            )
        retry_after = parse_retry_after(error.headers)
        if status == 429:
            return ModelRateLimited(
                f"{server} limits the rate of requests, or the quota is used up (HTTP 429)",
                status=status,
                retry_after=retry_after,
                model=self.model,
            )
        if status >= 500:
            return ModelUnreachable(
                f"{server} failed (HTTP {status})",
                status=status,
                retry_after=retry_after,
                model=self.model,
            )
        body = error.body if isinstance(error.body, dict) else {}
        reason = self._redact_key(str(body.get("message") or "no reason given"))
        return request_error_class(status, reason)(
            f"{server} refused the request (HTTP {status}): {reason}",
            status=status,
            retry_after=retry_after,
            model=self.model,
        )


@lru_cache(maxsize=32)
def _create_client(key: str, base_url: str | None, timeout: float) -> Any:
    import cohere

    return cohere.ClientV2(api_key=key, base_url=base_url, timeout=timeout)
