"""The connection to Cohere's API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from rag.errors import (
    MissingExtra,
    ModelError,
    ModelReplyError,
    ModelUnreachable,
    RagError,
)
from rag.providers.base import (
    AsyncClients,
    HostedModel,
    is_broken_connection,
    strip_query,
)
from rag.providers.connections import resend_dropped
from rag.providers.reply_limits import ReplyLimits, ReplyTooLong, ReplyTooSlow
from rag.providers.retries import acall_with_retries, parse_retry_after

_Result = TypeVar("_Result")

REQUEST_OPTIONS: Any = {"max_retries": 0}  # `CohereProvider._call` retries


class CohereProvider(HostedModel):
    """What all components that call Cohere's API share.

    ``api_key`` defaults to ``COHERE_API_KEY``; ``base_url`` is for a private deployment. For
    the other settings see `HostedModel`.
    """

    _key_variable: ClassVar[str] = "COHERE_API_KEY"
    _own_host: ClassVar[str] = "cohere.com"

    @property
    def _server_name(self) -> str:
        return strip_query(self.base_url or "Cohere")

    def _use_client(self) -> AbstractAsyncContextManager[Any]:
        return _CLIENTS.use(self._client_settings)

    @property
    def _client_settings(self) -> _ClientSettings:
        if not self._key:
            raise self._make_missing_key_error(f"the model {self.model}")
        return _ClientSettings(self.base_url, self._key, self._limits)

    async def _call(self, call: Callable[[Any], Awaitable[_Result]]) -> _Result:
        """Return the result of `call` with a client, with our retries.

        Cohere's client retries neither timeouts nor streams.
        """

        async def call_within_limits() -> _Result:
            with self._translate_errors():
                async with asyncio.timeout(self._limits.total):  # also of a head that never ends
                    return await call(client)

        async with self._use_client() as client:
            return await acall_with_retries(call_within_limits, self.retries)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of Cohere's client as ours, without the key."""
        try:
            from cohere.core.api_error import ApiError
        except ModuleNotFoundError:
            raise MissingExtra.of("cohere", f"the model {self.model}") from None
        import httpx

        server = self._server_name
        try:
            yield
        except RagError:
            raise
        except (httpx.TimeoutException, TimeoutError, ReplyTooSlow, ReplyTooLong) as error:
            raise self._make_limit_error(error) from None
        except httpx.ConnectError:
            raise ModelUnreachable(f"cannot reach {server}", model=self.model) from None
        except ApiError as error:
            raise self._to_model_error(error) from None
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

    def _to_model_error(self, error: Any) -> ModelError:
        server = self._server_name
        status = int(error.status_code or 0)
        if 200 <= status < 300:  # Cohere's client raises this for a body that is not JSON
            return ModelReplyError(f"{server} sent a reply that cannot be read", model=self.model)
        body = error.body if isinstance(error.body, dict) else {}
        reason = str(body.get("message") or "no reason given")
        retry_after = parse_retry_after(error.headers)
        return self._make_status_error(status, reason, retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class _ClientSettings:
    base_url: str | None
    api_key: str = field(repr=False)
    limits: ReplyLimits

    def make_arguments(self) -> dict[str, Any]:
        """Return the arguments of the client."""
        return {
            "base_url": self.base_url,
            "api_key": self.api_key,
            "timeout": self.limits.read,
        }


def _create_client(settings: _ClientSettings) -> Any:
    import cohere
    import httpx

    limits = settings.limits
    http_client = resend_dropped(httpx.AsyncClient)(**limits.make_client_arguments())
    return cohere.AsyncClientV2(**settings.make_arguments(), httpx_client=http_client)


_CLIENTS = AsyncClients(_create_client)
