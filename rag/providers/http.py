"""Model services that are called with JSON over HTTP, without a client package of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rag.errors import (
    ModelAuthError,
    ModelReplyError,
    ModelRequestError,
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
from rag.providers.dialects import Feature, list_refused
from rag.providers.network_errors import explain_unreachable, remove_api_path
from rag.providers.reply_limits import ReplyLimits, ReplyTooLong, ReplyTooSlow
from rag.providers.retries import acall_with_retries, parse_retry_after

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]


def _create_client(limits: ReplyLimits) -> httpx.AsyncClient:
    import httpx

    client: httpx.AsyncClient = resend_dropped(httpx.AsyncClient)(**limits.make_client_arguments())
    return client


_CLIENTS = AsyncClients(_create_client)


class HttpRequest(NamedTuple):
    """A request: `make_body` returns its body without what the server refuses."""

    path: str
    make_body: Callable[[frozenset[Feature]], Json]


class HttpProvider(HostedModel):
    """A model service that is called with JSON over HTTP, without a client package of its own."""

    _service: ClassVar[str]
    """Name of the service, for messages."""
    _default_url: ClassVar[str]
    _needs_key: ClassVar[bool] = True

    @property
    def _url(self) -> str:
        return remove_api_path(strip_query(self.base_url or self._default_url)).rstrip("/")

    @property
    def _server_name(self) -> str:
        return strip_query(self.base_url) if self.base_url else self._service

    @property
    def _headers(self) -> Mapping[str, str]:
        return {}

    @asynccontextmanager
    async def _post(self, request: HttpRequest) -> AsyncIterator[httpx.Response]:
        """Give the streamed response to a request.

        What the server refuses is learned and left out (`rag.providers.dialects`).
        """
        with self._translate_errors():
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(_CLIENTS.use(self._limits))
                while True:
                    refused = list_refused(self._endpoint)
                    body = await asyncio.to_thread(request.make_body, refused)

                    async def send(body: Json = body) -> httpx.Response:
                        return await self._open(client, request, body)

                    try:
                        response = await acall_with_retries(send, self.retries)
                        break
                    except ModelRequestError as error:
                        if not self._learn(error, body, refused):
                            raise
                stack.push_async_callback(response.aclose)
                yield response

    async def _open(
        self, client: httpx.AsyncClient, request: HttpRequest, body: Json
    ) -> httpx.Response:
        with self._translate_errors():
            async with asyncio.timeout(self._limits.total):  # also of a head that never ends
                response = await client.send(self._build(client, request.path, body), stream=True)
                if response.is_success:
                    return response
                try:
                    await response.aread()
                finally:
                    await response.aclose()
            raise await asyncio.to_thread(self._to_status_error, response)

    def _build(self, client: httpx.AsyncClient, path: str, body: Json) -> httpx.Request:
        if self._needs_key and not self._key:
            raise self._make_missing_key_error(f"the model {self.model}")
        if not all(33 <= ord(character) < 127 for character in self._key):
            raise ModelAuthError("the API key has characters that no key has", model=self.model)
        return client.build_request(
            "POST",
            f"{self._url}{path}",
            json=body,
            headers=self._headers,
        )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of the HTTP client as ours, without the key that they may quote."""
        import httpx

        server = self._server_name
        try:
            yield
        except RagError:
            raise
        except (httpx.TimeoutException, TimeoutError, ReplyTooSlow, ReplyTooLong) as error:
            raise self._make_limit_error(error) from None
        except (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol) as error:
            reason = explain_unreachable(self._url, error)
            raise ModelUnreachable(f"cannot reach {server}: {reason}", model=self.model) from None
        except ImportError as error:  # of httpx, when it makes a client for a proxy
            reason = explain_unreachable(self._url, error)
            raise ModelUnreachable(f"cannot reach {server}: {reason}", model=self.model) from None
        except Exception as error:
            if is_broken_connection(error):
                raise ModelUnreachable(
                    f"the connection to {server} broke", model=self.model
                ) from None
            class_name = type(error).__name__
            raise ModelReplyError(
                f"{server} sent a reply that cannot be read ({class_name})", model=self.model
            ) from None

    def _to_status_error(self, response: httpx.Response) -> RagError:
        status, (reason, code, delay) = response.status_code, _read_error(response)
        if response.is_redirect:
            target = strip_query(response.headers.get("location", ""))
            reason = f"it moved to {target}; redirects are not followed with a key"
        elif status in (404, 405) and not reason:
            reason = "nothing is there; is base_url right?"
        return self._make_status_error(
            status, reason, code=code, retry_after=parse_retry_after(response.headers) or delay
        )


def _read_error(response: httpx.Response) -> tuple[str, str, float | None]:
    """Return the reason and the codes in the body of an error, and the delay that it asks for."""
    try:
        body = response.json()
    except ValueError:
        text = response.text.strip()
        return ("" if text.startswith("<") else text[:300]), "", None
    body = body[0] if isinstance(body, list) and body else body
    error = body
    if isinstance(body, dict):
        error = body.get("error") or body.get("detail") or body
    if not isinstance(error, dict):
        return str(error or ""), "", None
    codes = (error.get(name) for name in ("code", "type", "status"))
    reason = str(error.get("message") or "")
    return reason, " ".join(str(c) for c in codes if c), _read_delay(error.get("details"))


def _read_delay(details: Any) -> float | None:
    """Return the seconds of ``retryDelay`` ("34s"), which Google sends in place of a header."""
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return parse_retry_after({"retry-after": delay[:-1]})
    return None
