"""Model services that are called with JSON over HTTP, without a client package of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from rag.errors import (
    MissingKey,
    ModelReplyError,
    ModelRequestError,
    ModelUnreachable,
    RagError,
)
from rag.providers.base import (
    MAX_OPEN_CLIENTS,
    AsyncClients,
    HostedModel,
    is_broken_connection,
    strip_query,
)
from rag.providers.dialects import Feature, list_refused
from rag.providers.network_errors import explain_unreachable
from rag.providers.reply_limits import ReplyLimits, ReplyTooLong, ReplyTooSlow
from rag.providers.retries import acall_with_retries, call_with_retries, parse_retry_after

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]


@lru_cache(maxsize=MAX_OPEN_CLIENTS)
def _create_client(limits: ReplyLimits) -> httpx.Client:
    import httpx

    return httpx.Client(timeout=limits.read, event_hooks=limits.make_hooks())


def _create_async_client(limits: ReplyLimits) -> httpx.AsyncClient:
    import httpx

    return httpx.AsyncClient(timeout=limits.read, event_hooks=limits.make_async_hooks())


_ASYNC_CLIENTS = AsyncClients(_create_async_client)


class HttpProvider(HostedModel):
    """A model service that is called with JSON over HTTP, without a client package of its own."""

    _service: ClassVar[str]
    """Name of the service, for messages."""
    _default_url: ClassVar[str]
    _needs_key: ClassVar[bool] = True

    @property
    def _url(self) -> str:
        return strip_query(self.base_url or self._default_url).rstrip("/")

    @property
    def _server_name(self) -> str:
        return strip_query(self.base_url) if self.base_url else self._service

    @property
    def _headers(self) -> Mapping[str, str]:
        return {}

    @contextmanager
    def _post(
        self, path: str, make_body: Callable[[frozenset[Feature]], Json]
    ) -> Iterator[httpx.Response]:
        """Give the response to a request, whose body is not read yet.

        `make_body` returns the request without the features that the server refuses; what it
        refuses is learned (`rag.providers.dialects`).
        """
        with self._translate_errors(), ExitStack() as stack:
            response = self._send_until_accepted(
                make_body,
                lambda body: call_with_retries(lambda: self._open(path, body), self.retries),
            )
            stack.callback(response.close)
            yield response

    @asynccontextmanager
    async def _apost(
        self, path: str, make_body: Callable[[frozenset[Feature]], Json]
    ) -> AsyncIterator[httpx.Response]:
        """Do as `_post` with an async client."""
        with self._translate_errors():
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(_ASYNC_CLIENTS.use(self._limits))
                while True:
                    refused = list_refused(self._endpoint)
                    body = make_body(refused)
                    try:
                        response = await acall_with_retries(
                            lambda body=body: self._aopen(client, path, body),  # type: ignore[misc]
                            self.retries,
                        )
                        break
                    except ModelRequestError as error:
                        if not self._learn(error, body, refused):
                            raise
                stack.push_async_callback(response.aclose)
                yield response

    def _send_until_accepted(
        self,
        make_body: Callable[[frozenset[Feature]], Json],
        send: Callable[[Json], httpx.Response],
    ) -> httpx.Response:
        while True:
            refused = list_refused(self._endpoint)
            body = make_body(refused)
            try:
                return send(body)
            except ModelRequestError as error:
                if not self._learn(error, body, refused):
                    raise

    def _open(self, path: str, body: Json) -> httpx.Response:
        with self._translate_errors():
            client = _create_client(self._limits)
            response = client.send(self._build(client, path, body), stream=True)
            if not response.is_success:
                try:
                    response.read()
                finally:
                    response.close()
                raise self._to_status_error(response)
            return response

    async def _aopen(self, client: httpx.AsyncClient, path: str, body: Json) -> httpx.Response:
        with self._translate_errors():
            response = await client.send(self._build(client, path, body), stream=True)
            if not response.is_success:
                try:
                    await response.aread()
                finally:
                    await response.aclose()
                raise self._to_status_error(response)
            return response

    def _build(
        self, client: httpx.Client | httpx.AsyncClient, path: str, body: Json
    ) -> httpx.Request:
        if self._needs_key and not self._key:
            raise MissingKey.of(self._key_variable, f"the model {self.model}")
        return client.build_request("POST", f"{self._url}{path}", json=body, headers=self._headers)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of the HTTP client as ours, without the key that they may quote."""
        import httpx

        server = self._server_name
        try:
            yield
        except RagError:
            raise
        except (httpx.TimeoutException, ReplyTooSlow, ReplyTooLong) as error:
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
        reason, code = _read_error(response)
        return self._make_status_error(
            response.status_code,
            reason,
            code=code,
            retry_after=parse_retry_after(response.headers),
        )


def _read_error(response: httpx.Response) -> tuple[str, str]:
    """Return the reason and the codes in the body of an error."""
    try:
        body = response.json()
    except ValueError:
        return "no reason given", ""
    body = body[0] if isinstance(body, list) and body else body
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error or "no reason given"), ""
    codes = (error.get(name) for name in ("code", "type", "status"))
    return str(error.get("message") or "no reason given"), " ".join(str(c) for c in codes if c)
