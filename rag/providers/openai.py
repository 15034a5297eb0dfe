"""The connection to OpenAI's API: of OpenAI, of Azure OpenAI, and of compatible servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

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
from rag.providers.base import (
    HostedModel,
    find_url_fault,
    is_broken_connection,
    request_error_class,
    strip_query,
)
from rag.providers.retries import parse_retry_after
from rag.settings import load_settings

if TYPE_CHECKING:
    from openai import APIError, APIStatusError, OpenAI


class OpenAIProvider(HostedModel):
    """What chat models and embedders that call OpenAI's API share.

    ``base_url`` defaults to ``OPENAI_BASE_URL`` and then to OpenAI; ``api_key`` defaults to
    ``OPENAI_API_KEY``. A local server usually needs no key. For the other settings see
    `HostedModel`.
    """

    _key_variable: ClassVar[str] = "OPENAI_API_KEY"

    @property
    def _url(self) -> str | None:
        if self.base_url:
            return self.base_url
        url = load_settings().openai_base_url
        if url is not None and (fault := find_url_fault(url)):
            raise ConfigError(f"OPENAI_BASE_URL {fault}", setting="OPENAI_BASE_URL")
        return url

    @property
    def _server_name(self) -> str:
        """Name of the server for messages: its URL without the query, which may contain a key."""
        return strip_query(self._url or "OpenAI")

    @property
    def _is_openai(self) -> bool:
        url = self._url
        host = (urlsplit(url).hostname or "") if url else "openai.com"
        return host == "openai.com" or host.endswith(".openai.com")

    def _get_client(self) -> OpenAI:
        if not self._key and self._is_openai:
            raise MissingKey.of(self._key_variable, f"the model {self.model}")
        return _create_client(self._url, self._key or "none", self.timeout, self.retries)

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
            return ModelUnreachable(
                f"{server} did not answer in {self.timeout:g} s", model=self.model
            )
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__
            if isinstance(cause, Exception) and is_broken_connection(cause):
                return ModelUnreachable(f"the connection to {server} broke", model=self.model)
            return ModelUnreachable(
                f"cannot reach {server}: is the server running?", model=self.model
            )
        if isinstance(error, openai.APIStatusError):
            return self._to_status_error(error)
        return ModelReplyError(  # an error in the middle of a stream
            f"{server} interrupted its reply with an error: {self._redact_key(str(error))}",
            model=self.model,
        )

    def _to_status_error(self, error: APIStatusError) -> ModelError:
        import openai

        server, status = self._server_name, error.status_code
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return ModelAuthError(
                f"{server} refused the API key (HTTP {status}): check {self._key_variable}",
                status=status,
                model=self.model,
            )
        retry_after = parse_retry_after(error.response.headers)
        if isinstance(error, openai.RateLimitError):
            return ModelRateLimited(
                f"{server} limits the rate of requests, or the quota is used up (HTTP {status})",
                status=status,
                retry_after=retry_after,
                model=self.model,
            )
        if isinstance(error, openai.InternalServerError):
            return ModelUnreachable(
                f"{server} failed (HTTP {status})",
                status=status,
                retry_after=retry_after,
                model=self.model,
            )
        reason = _read_error_reason(error)
        return request_error_class(status, reason, _read_error_code(error))(
            f"{server} refused the request (HTTP {status}): {self._redact_key(reason)}",
            status=status,
            retry_after=retry_after,
            model=self.model,
        )


class OllamaProvider(OpenAIProvider):
    """The same for Ollama, whose server needs no key (https://ollama.com).

    ``base_url`` defaults to the server on this machine. The environment variables of OpenAI are not
    read, so that the key of OpenAI is not sent to another server.
    """

    base_url: str = "http://localhost:11434/v1"

    @property
    def _key(self) -> str:
        return self.api_key.get_secret_value().strip() if self.api_key else ""


class AzureOpenAIProvider(OpenAIProvider):
    """The same for Azure OpenAI; ``model`` is the name of the deployment.

    ``base_url`` is the endpoint of the resource, ``https://NAME.openai.azure.com`` (default:
    ``AZURE_OPENAI_ENDPOINT``); ``api_key`` defaults to ``AZURE_OPENAI_API_KEY``.
    """

    api_version: str = "2024-10-21"

    _key_variable: ClassVar[str] = "AZURE_OPENAI_API_KEY"

    @property
    def _url(self) -> str | None:
        url = self.base_url or load_settings().azure_openai_endpoint
        if url is None:
            raise ConfigError(
                f"the deployment {self.model} needs the endpoint of its resource: set base_url or "
                "AZURE_OPENAI_ENDPOINT",
                setting="base_url",
            )
        if fault := find_url_fault(url):
            raise ConfigError(f"AZURE_OPENAI_ENDPOINT {fault}", setting="AZURE_OPENAI_ENDPOINT")
        return url

    @property
    def _is_openai(self) -> bool:
        return True

    def _get_client(self) -> OpenAI:
        if not self._key:
            raise MissingKey.of(self._key_variable, f"the deployment {self.model}")
        url = self._url
        assert url is not None
        return _create_azure_client(url, self._key, self.api_version, self.timeout, self.retries)


@lru_cache(maxsize=32)
def _create_client(base_url: str | None, key: str, timeout: float, retries: int) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=retries)


@lru_cache(maxsize=32)
def _create_azure_client(
    url: str, key: str, api_version: str, timeout: float, retries: int
) -> OpenAI:
    from openai import AzureOpenAI

    return AzureOpenAI(
        azure_endpoint=url,
        api_key=key,
        api_version=api_version,
        timeout=timeout,
        max_retries=retries,
    )


def _read_error_reason(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or "no reason given")


def _read_error_code(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return f"{body.get('code') or ''} {body.get('type') or ''}"
