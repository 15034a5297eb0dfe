"""The connection to OpenAI's API: of OpenAI, of Azure OpenAI, and of compatible servers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from rag.component import NotFingerprinted
from rag.errors import (
    ConfigError,
    MissingExtra,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
    RagError,
)
from rag.providers.base import (
    NO_REASON,
    AsyncClients,
    HostedModel,
    find_url_fault,
    is_broken_connection,
    request_error_class,
    strip_query,
)
from rag.providers.connections import resend_dropped
from rag.providers.dialects import (
    Endpoint,
    Feature,
    apply_dialect,
    find_refused,
    guess_refused,
    list_refused,
    remember_refusal,
)
from rag.providers.key_servers import Origin, find_origin
from rag.providers.network_errors import explain_unreachable, remove_api_path
from rag.providers.reply_limits import ReplyLimits, ReplyTooLong, ReplyTooSlow
from rag.providers.retries import acall_with_retries, parse_retry_after
from rag.settings import load_settings

if TYPE_CHECKING:
    from openai import APIError, APIStatusError, AsyncOpenAI


class OpenAIProvider(HostedModel):
    """What chat models and embedders that call OpenAI's API share.

    ``base_url`` defaults to ``OPENAI_BASE_URL`` and then to OpenAI; ``api_key`` defaults to
    ``OPENAI_API_KEY``. A local server usually needs no key. ``refuses`` names what the server
    does not accept (`rag.providers.dialects.Feature`); the rest is learned from its refusals. For
    the other settings see `HostedModel`.
    """

    refuses: Annotated[tuple[Feature, ...], NotFingerprinted] = ()

    _key_variable: ClassVar[str] = "OPENAI_API_KEY"
    _own_host: ClassVar[str] = "openai.com"

    @property
    def _url(self) -> str | None:
        url, _ = self._find_url()
        return remove_api_path(url) if url else None

    def _find_url(self) -> tuple[str, Origin]:
        if self.base_url:
            return super()._find_url()
        url = load_settings().openai_base_url
        if url is None:
            return "", "default"
        if fault := find_url_fault(url):
            raise ConfigError(f"OPENAI_BASE_URL {fault}", setting="OPENAI_BASE_URL")
        return url, "default" if self._is_own(url) else find_origin("OPENAI_BASE_URL")

    @property
    def _server_name(self) -> str:
        return strip_query(self._url or "OpenAI")

    @property
    def _is_openai(self) -> bool:
        url = self._url
        host = (urlsplit(url).hostname or "") if url else "openai.com"
        return host == "openai.com" or host.endswith(".openai.com")

    @property
    def _endpoint(self) -> Endpoint:
        return (strip_query(self._url or "https://api.openai.com/v1"), self.model)

    @property
    def _refused(self) -> frozenset[Feature]:
        return frozenset(self.refuses) | list_refused(self._endpoint)

    @asynccontextmanager
    async def _send(self, call: _Call, request: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Give the response to a request, without the parameters that the server refuses.

        `call` sends a request with a client, and returns the context manager of its response.
        """
        attempts = _Attempts(self, request)
        async with AsyncExitStack() as stack:
            for adapted in attempts:
                client = await stack.enter_async_context(self._use_client())

                async def send(client: Any = client, adapted: dict[str, Any] = adapted) -> Any:
                    with self._raise_transient_errors():
                        async with asyncio.timeout(self._limits.total):  # also of an endless head
                            return await stack.enter_async_context(call(client, adapted))

                with attempts.learn():
                    response = await acall_with_retries(send, self.retries)
                    break
            yield response

    @contextmanager
    def _raise_transient_errors(self) -> Iterator[None]:
        """Raise errors of OpenAI's client that a retry may help against as ours."""
        import openai

        try:
            yield
        except openai.APIError as error:
            status = getattr(error, "status_code", 0)
            if status == HTTPStatus.NOT_IMPLEMENTED:  # of a parameter; it is left out
                raise
            ours = self._to_model_error(error)
            if isinstance(ours, ModelRateLimited | ModelUnreachable):
                raise ours from None
            raise
        except (TimeoutError, ReplyTooSlow) as error:
            raise self._make_limit_error(error) from None
        except Exception as error:
            if is_broken_connection(error):
                raise ModelUnreachable(
                    f"the connection to {self._server_name} broke", model=self.model
                ) from None
            raise

    def _use_client(self) -> AbstractAsyncContextManager[AsyncOpenAI]:
        return _CLIENTS.use(self._client_settings)

    @property
    def _client_settings(self) -> _ClientSettings:
        if not self._key and self._is_openai:
            raise self._make_missing_key_error(f"the model {self.model}")
        url = self._url
        if url and "unversioned_url" in self._refused:
            url = f"{url.rstrip('/')}/v1"
        return _ClientSettings(url, self._key or "none", self._limits)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of OpenAI's client as ours, without the key that they may quote."""
        try:
            import openai
        except ModuleNotFoundError:
            raise MissingExtra.of("openai", f"the model {self.model}") from None

        server = self._server_name
        try:
            yield
        except RagError:
            raise
        except openai.APIError as error:
            raise self._to_model_error(error) from None
        except ImportError as error:  # of httpx, when it makes a client for a proxy
            reason = explain_unreachable(self._url or "https://api.openai.com", error)
            raise ModelUnreachable(f"cannot reach {server}: {reason}", model=self.model) from None
        except (ReplyTooSlow, ReplyTooLong) as error:
            raise self._make_limit_error(error) from None
        except Exception as error:
            if is_broken_connection(error):
                raise ModelUnreachable(
                    f"the connection to {server} broke", model=self.model
                ) from None
            # The client does not validate replies: parsing any JSON may fail, and the text of
            # that error may quote the key, so the message names only the class of the error.
            class_name = type(error).__name__
            raise ModelReplyError(
                f"{server} sent a reply that cannot be read ({class_name})", model=self.model
            ) from None

    def _to_model_error(self, error: APIError) -> ModelError:
        """Return our error for an `error` of OpenAI's client."""
        import openai

        server = self._server_name
        if isinstance(error, openai.APITimeoutError):
            return self._make_limit_error(error)
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__
            if isinstance(cause, ReplyTooSlow | ReplyTooLong):
                return self._make_limit_error(cause)
            if isinstance(cause, Exception) and is_broken_connection(cause):
                return ModelUnreachable(f"the connection to {server} broke", model=self.model)
            reason = explain_unreachable(self._url or "https://api.openai.com", cause)
            return ModelUnreachable(f"cannot reach {server}: {reason}", model=self.model)
        if isinstance(error, openai.APIStatusError):
            return self._to_status_error(error)
        return self._make_embedded_error(str(error))  # in the middle of a stream

    def _to_status_error(self, error: APIStatusError) -> ModelError:
        status = error.status_code
        reason = _read_error_reason(error)
        if 300 <= status < 400:
            target = strip_query(error.response.headers.get("location", ""))
            reason = f"it moved to {target}; redirects are not followed with a key"
        if status in (404, 405) and reason == NO_REASON:
            reason = (
                f"{reason}; `base_url` is the address before /chat/completions, and mostly ends "
                "in /v1"
            )
        return self._make_status_error(
            status,
            reason,
            code=_read_error_code(error),
            retry_after=parse_retry_after(error.response.headers),
        )


_Call = Callable[[Any, dict[str, Any]], Any]
_MAX_ATTEMPTS = 12


class _Attempts:
    """The attempts to send a request: each leaves out what the server refused before."""

    def __init__(self, provider: OpenAIProvider, request: Mapping[str, Any]) -> None:
        self._provider = provider
        self._request = request
        self._sent: dict[str, Any] = {}
        self._refused: frozenset[Feature] = frozenset()
        self._found: dict[Feature, str] = {}
        self._guesses: list[Feature] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _ in range(_MAX_ATTEMPTS):
            self._refused = self._provider._refused | self._found.keys()
            self._sent = apply_dialect(self._request, self._refused)
            yield self._sent

    @contextmanager
    def learn(self) -> Iterator[None]:
        """Learn from a refusal that says what to leave out; raise any other error.

        What was found is remembered once a request succeeds; of guesses only the last one, since
        the ones before did not help.
        """
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            feature = self._find_refused(error)
            if feature is None or feature in self._refused:
                raise
            self._found[feature] = _read_error_reason(error)
        else:
            for feature, reason in self._found.items():
                if feature not in self._guesses[:-1]:
                    remember_refusal(self._provider._endpoint, feature, reason)

    def _find_refused(self, error: APIStatusError) -> Feature | None:
        reason, status = _read_error_reason(error), error.status_code
        if status in (404, 405):
            url = self._provider._url or ""
            has_version = bool(urlsplit(url).path.strip("/"))
            is_unknown = not url or self._provider._is_openai or has_version
            return "unversioned_url" if not is_unknown and _NO_PAGE.search(reason) else None
        if status not in (400, 422, 501):
            return None
        code = _read_error_code(error)
        if request_error_class(400, reason, code) is ModelContextExceeded:
            return None
        feature = find_refused(reason, self._sent, _read_error_parameter(error))
        if feature is None and (guess := guess_refused(reason, self._sent)):
            self._guesses.append(guess)
            return guess
        return feature


class OllamaProvider(OpenAIProvider):
    """The same for Ollama, whose server needs no key (https://ollama.com).

    ``base_url`` defaults to the server on this machine. The environment variables of OpenAI are not
    read, so that the key of OpenAI is not sent to another server.
    """

    base_url: str = "http://localhost:11434/v1"

    _key_variable: ClassVar[str] = "api_key"


class AzureOpenAIProvider(OpenAIProvider):
    """The same for Azure OpenAI; ``model`` is the name of the deployment.

    ``base_url`` is the endpoint of the resource, ``https://NAME.openai.azure.com`` (default:
    ``AZURE_OPENAI_ENDPOINT``); ``api_key`` defaults to ``AZURE_OPENAI_API_KEY``.
    """

    api_version: str = "2024-10-21"

    _key_variable: ClassVar[str] = "AZURE_OPENAI_API_KEY"

    @property
    def _url(self) -> str | None:
        return self._find_url()[0]

    def _find_url(self) -> tuple[str, Origin]:
        if self.base_url:
            return self.base_url, "configuration"
        url = load_settings().azure_openai_endpoint
        if url is None:
            raise ConfigError(
                f"the deployment {self.model} needs the endpoint of its resource: set base_url or "
                "AZURE_OPENAI_ENDPOINT",
                setting="base_url",
            )
        if fault := find_url_fault(url):
            raise ConfigError(f"AZURE_OPENAI_ENDPOINT {fault}", setting="AZURE_OPENAI_ENDPOINT")
        return url, find_origin("AZURE_OPENAI_ENDPOINT")

    @property
    def _is_openai(self) -> bool:
        return True

    @property
    def _client_settings(self) -> _ClientSettings:
        if not self._key:
            raise self._make_missing_key_error(f"the deployment {self.model}")
        return _ClientSettings(
            self._url, self._key, self._limits, azure_api_version=self.api_version
        )


_NO_PAGE = re.compile(rf"{NO_REASON}|page not found|\A\W*not found\W*\Z|no route", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _ClientSettings:
    """The settings of a client of OpenAI's API, or of Azure if ``azure_api_version`` is set."""

    url: str | None
    key: str = field(repr=False)
    limits: ReplyLimits
    azure_api_version: str | None = None

    def make_arguments(self) -> dict[str, Any]:
        """Return the arguments of the client."""
        arguments = {
            "api_key": self.key,
            "timeout": self.limits.read,
            "max_retries": 0,  # `acall_with_retries` retries
        }
        if self.azure_api_version is None:
            return arguments | {"base_url": self.url}
        return arguments | {"azure_endpoint": self.url, "api_version": self.azure_api_version}


def _create_client(settings: _ClientSettings) -> AsyncOpenAI:
    from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAsyncHttpxClient

    create = AsyncOpenAI if settings.azure_api_version is None else AsyncAzureOpenAI
    # The default HTTP client closes itself when it is collected, in whichever event loop runs then.
    limits = settings.limits
    http_client = resend_dropped(DefaultAsyncHttpxClient)(**limits.make_client_arguments())
    return create(**settings.make_arguments(), http_client=http_client)


_CLIENTS = AsyncClients(_create_client)


def _read_error_reason(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    detail = body.get("detail")
    if isinstance(detail, list):  # of FastAPI; it repeats the whole request
        entries = [entry for entry in detail if isinstance(entry, dict)]
        detail = "; ".join(str(entry.get("msg", "")) for entry in entries)
    return str(body.get("message") or detail or body.get("error") or NO_REASON)


def _read_error_parameter(error: Any) -> str:
    """Return the parameter that an error names; "" if it names none."""
    body = error.body if isinstance(error.body, dict) else {}
    if isinstance(parameter := body.get("param"), str):
        return parameter
    detail = body.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        location = detail[0].get("loc") or ()
        return ".".join(str(part) for part in location if part != "body")
    return ""


def _read_error_code(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return f"{body.get('code') or ''} {body.get('type') or ''}"
