"""The base class of components that call a model service: model, URL, key, timeout, retries."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from threading import Lock
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from rag.component import Component, NotFingerprinted
from rag.errors import (
    ConfigError,
    MissingKey,
    ModelAuthError,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelRequestError,
    ModelUnreachable,
)
from rag.providers.dialects import Endpoint, Feature, find_refused, remember_refusal
from rag.providers.key_servers import Origin, explain_withheld_key, find_origin
from rag.providers.reply_limits import ReplyLimits, ReplyTooLong, ReplyTooSlow
from rag.providers.retries import DEFAULT_RETRIES, RetryCount
from rag.settings import load_settings


class HostedModel(Component):
    """A component that calls a model service over HTTP.

    ``base_url`` and ``api_key`` default to what is set in the environment. ``timeout`` is how long
    the server may send nothing, ``total_timeout`` how long it may take until the end of its reply;
    both are in seconds and apply to each of up to ``retries`` + 1 attempts. HTTP 429, server
    errors and connection failures are retried after the delay that the server asks for
    (``Retry-After``); `rag.providers.retries` has the details.
    """

    main_setting: ClassVar[str] = "model"

    model: str = Field(min_length=1)
    base_url: str | None = None
    api_key: SecretStr | None = None
    timeout: Annotated[float, NotFingerprinted] = Field(60.0, gt=0, le=86_400)
    total_timeout: Annotated[float, NotFingerprinted] = Field(600.0, gt=0, le=86_400)
    retries: RetryCount = DEFAULT_RETRIES

    _key_variable: ClassVar[str]
    """Environment variable of the key; in lower case, the name of its field in the settings."""
    _refusable: ClassVar[frozenset[Feature] | None] = None
    """What a request can do without; None for all that a dialect can leave out."""
    _own_host: ClassVar[str] = ""
    """Host of the provider, or the end of it: a key of the environment may always go there."""

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        if url is not None and (fault := find_url_fault(url)):
            raise ValueError(fault)
        return url

    @property
    def _key(self) -> str:
        """The API key; "" if there is none, or if it must not go to this server."""
        return "" if self._key_obstacle else self._find_key()[0]

    def _find_key(self) -> tuple[str, Origin]:
        """Return the API key and where it comes from, whichever server it is for."""
        if self.api_key is not None:
            return self.api_key.get_secret_value().strip(), "configuration"
        key = getattr(load_settings(), self._key_variable.lower(), None)
        return str(key.get_secret_value()).strip() if key else "", find_origin(self._key_variable)

    def _find_url(self) -> tuple[str, Origin]:
        """Return the base URL and where it comes from; that of the provider is a default."""
        if not self.base_url:
            return "", "default"
        return self.base_url, "default" if self._is_own(self.base_url) else "configuration"

    def _is_own(self, url: str) -> bool:
        """Whether a URL is one of the provider itself, over https."""
        host = urlsplit(url).hostname or ""
        is_own = host == self._own_host or host.endswith(f".{self._own_host}")
        return bool(self._own_host) and url.startswith("https://") and is_own

    @property
    def _key_obstacle(self) -> str:
        """Why the key is not sent; "" if it may be sent, or if there is none."""
        key, key_origin = self._find_key()
        url, url_origin = self._find_url()
        if not key or url_origin == "default":
            return ""
        return explain_withheld_key(url, url_origin, key_origin)

    def _make_missing_key_error(self, part: str) -> ConfigError:
        """Return the error for `part`, whose key is missing or withheld."""
        if obstacle := self._key_obstacle:
            return ConfigError(
                f"{self._key_variable} is not sent to {self._server_name}: {obstacle}",
                setting="base_url",
            )
        return MissingKey.of(self._key_variable, part)

    def _redact_key(self, text: str) -> str:
        """Return `text` of a server on one line, at most 300 characters, without the API key.

        Servers quote the key that they refuse.
        """
        key, _ = self._find_key()
        text = " ".join(text.replace(key, "***").split()) if key else text
        return text[:300]

    @property
    @abstractmethod
    def _server_name(self) -> str:
        """Name of the server for messages, without the query of a URL, which may contain a key."""

    @property
    def _endpoint(self) -> Endpoint:
        return (strip_query(self.base_url or ""), self.model)

    @property
    def _limits(self) -> ReplyLimits:
        return ReplyLimits(self.timeout, self.total_timeout)

    def _learn(
        self, error: ModelRequestError, body: dict[str, Any], refused: frozenset[Feature]
    ) -> Feature | None:
        """Remember what a server refuses; None if the error names nothing that can be left out."""
        if isinstance(error, ModelContextExceeded):
            return None
        flat = dict(body)
        for options in (value for value in body.values() if isinstance(value, dict)):
            flat |= options
        if self._refusable is not None:
            flat = {name: value for name, value in flat.items() if name in self._refusable}
        reason = str(error).replace(self._server_name, "").replace(self.model, "")
        feature = find_refused(reason, flat)
        if feature is None or feature in refused:
            return None
        remember_refusal((self._server_name, self.model), feature, reason, self._endpoint)
        return feature

    def _make_limit_error(self, error: Exception) -> ModelError:
        """Return the error for a reply that is too slow or too long."""
        server = self._server_name
        if isinstance(error, ReplyTooLong):
            return ModelReplyError(f"{server} sent {error}", model=self.model)
        if isinstance(error, ReplyTooSlow):
            return ModelUnreachable(f"{server}: {error}", model=self.model)
        if isinstance(error, TimeoutError):  # of the whole call
            reason = f"no end of the reply in {self.total_timeout:g} s"
            return ModelUnreachable(f"{server}: {reason}", model=self.model)
        return ModelUnreachable(f"{server} did not answer in {self.timeout:g} s", model=self.model)

    def _make_embedded_error(self, reason: str, code: str = "") -> ModelError:
        """Return the error for one that a server sends in a reply with a status of success."""
        server = self._server_name
        if "429" in code.split() or _RATE_LIMITED.search(f"{code} {reason}"):
            return ModelRateLimited(
                f"{server} limits the rate of requests: {self._redact_key(reason)}",
                model=self.model,
            )
        error_class = request_error_class(400, reason, code)
        return (error_class if error_class is ModelContextExceeded else ModelReplyError)(
            f"{server} interrupted its reply with an error: {self._redact_key(reason)}",
            model=self.model,
        )

    def _make_status_error(
        self,
        status: int,
        reason: str = "",
        *,
        code: str = "",
        retry_after: float | None = None,
    ) -> ModelError:
        """Return the error for an HTTP status of 400 and above.

        `reason` and `code` are what the server says; `retry_after` are the seconds that it asks to
        wait.
        """
        server = self._server_name
        detail = "" if reason in ("", NO_REASON) else f": {self._redact_key(reason)}"
        if status in (401, 403):
            advice = f"check {self._key_variable}"
            if obstacle := self._key_obstacle:
                advice = f"{self._key_variable} was not sent, because {obstacle}"
            elif status == 403 and detail:
                advice = f"{advice} and what it is allowed{detail}"
            return ModelAuthError(
                f"{server} refused the API key (HTTP {status}): {advice}",
                status=status,
                model=self.model,
            )
        error_class: type[ModelError]
        if status == 429:
            error_class = ModelRateLimited
            message = (
                f"limits the rate of requests, or the quota is used up (HTTP {status}){detail}"
            )
        elif status == 408 or status >= 500:
            error_class, message = ModelUnreachable, f"failed (HTTP {status}){detail}"
        else:
            error_class = request_error_class(status, reason, code)
            message = (
                f"refused the request (HTTP {status}): {self._redact_key(reason or NO_REASON)}"
            )
        return error_class(
            f"{server} {message}", status=status, retry_after=retry_after, model=self.model
        )


_Settings = TypeVar("_Settings", bound=Hashable)

MAX_OPEN_CLIENTS = 32


class _OpenClient(NamedTuple):
    client: Any
    keeper: AsyncGenerator[Any, None]
    """The generator that closes the client when it is closed."""


class AsyncClients(Generic[_Settings]):
    """Async clients of a model service, one for each event loop and its settings.

    The connections of an async HTTP client belong to the event loop that opened them, so event
    loops do not share a client. A client is closed when its event loop shuts down its async
    generators, as `asyncio.run` does at its end. If more than `MAX_OPEN_CLIENTS` are open, the
    client that was not used for the longest time is closed after its calls. `create` makes a
    client, which is an async context manager, from settings. Only for asyncio.
    """

    def __init__(self, create: Callable[[_Settings], Any]) -> None:
        self._create = create
        self._open_clients: dict[tuple[Any, _Settings], _OpenClient] = {}
        self._lock = Lock()

    @asynccontextmanager
    async def use(self, settings: _Settings) -> AsyncIterator[Any]:
        """Give the client of the running event loop with these settings."""
        import asyncio

        key = (asyncio.get_running_loop(), settings)
        open_client = self._open_clients.get(key)
        if open_client is None:
            keeper = self._keep_open(key)
            open_client = _OpenClient(await anext(keeper), keeper)
        self._remember(key, open_client)
        yield open_client.client  # this frame refers to the keeper, so the client stays open

    async def _keep_open(self, key: tuple[Any, _Settings]) -> AsyncGenerator[Any, None]:
        """Yield the client, and close it when this generator is closed."""
        async with self._create(key[1]) as client:
            try:
                yield client
            finally:
                with self._lock:
                    open_client = self._open_clients.get(key)
                    if open_client is not None and open_client.client is client:
                        del self._open_clients[key]

    def _remember(self, key: tuple[Any, _Settings], open_client: _OpenClient) -> None:
        """Make a client the last used one, and forget those of closed event loops."""
        with self._lock:
            self._open_clients.pop(key, None)
            self._open_clients[key] = open_client
            closed_keys = [key for key in self._open_clients if key[0].is_closed()]
            excess_count = len(self._open_clients) - len(closed_keys) - MAX_OPEN_CLIENTS
            open_keys = [key for key in self._open_clients if not key[0].is_closed()]
            for forgotten_key in [*closed_keys, *open_keys[: max(0, excess_count)]]:
                del self._open_clients[forgotten_key]


NO_REASON = "no reason given"
_RATE_LIMITED = re.compile(r"\b429\b|rate.?limit|too many requests|quota", re.IGNORECASE)
_CONTEXT_EXCEEDED = re.compile(
    r"context_length|exceed_context|context (?:length|window|size)|too many tokens|"
    r"maximum (?:context|number of tokens)|prompt is too long|too long",
    re.IGNORECASE,
)


def request_error_class(status: int, reason: str, code: str = "") -> type[ModelError]:
    """Return the error class for a refused request.

    `ModelContextExceeded` if it was too long for the model, `ModelRequestError` if its content was
    rejected, and `ModelError` for any other `status`.
    """
    if status not in (400, 413, 422):
        return ModelError
    return (
        ModelContextExceeded if _CONTEXT_EXCEEDED.search(f"{code} {reason}") else ModelRequestError
    )


def is_broken_connection(error: Exception) -> bool:
    """Return whether an open connection broke in the HTTP client that the provider's client uses.

    It compares the names of the error's classes, because the provider's client may use httpx or a
    fork of it.
    """
    class_names = {error_class.__name__ for error_class in type(error).__mro__}
    from_http_client = type(error).__module__.startswith(("httpx", "httpcore"))
    is_other_error = bool(class_names & {"ConnectError", "HTTPStatusError"})
    return from_http_client and "HTTPError" in class_names and not is_other_error


def find_url_fault(url: str) -> str | None:
    """Return what is wrong with a base URL; None for a valid one.

    The message does not repeat the URL, which may contain a password.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = None
        parts = urlsplit("")
    if not usable:
        return "must begin with http:// or https:// and a host"
    if parts.username or parts.password:
        return "must not contain a user name or password: use api_key"
    return None


def strip_query(url: str) -> str:
    """Return the URL without its query, which may contain a key, for use in messages."""
    return url.partition("?")[0]
