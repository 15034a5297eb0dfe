"""The connection to OpenAI's API: OpenAI's own, Azure's, and every server that speaks it."""

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
    ModelRateLimited,
    ModelReplyError,
    ModelUnreachable,
    RagError,
)
from rag.providers.base import (
    HostedModel,
    is_broken_connection,
    refusal_of,
    url_fault,
    without_query,
)
from rag.settings import load_settings

if TYPE_CHECKING:
    from openai import OpenAI


class OpenAIProvider(HostedModel):
    """What chat models and embedders behind OpenAI's API share.

    ``base_url`` defaults to ``OPENAI_BASE_URL`` and then to OpenAI; ``api_key`` to
    ``OPENAI_API_KEY``. A server of one's own usually needs no key. For the rest see `Hosted`.
    """

    _variable: ClassVar[str] = "OPENAI_API_KEY"

    @property
    def _url(self) -> str | None:
        if self.base_url:
            return self.base_url
        url = load_settings().openai_base_url
        if url is not None and (fault := url_fault(url)):
            raise ConfigError(f"OPENAI_BASE_URL {fault}")
        return url

    @property
    def _where(self) -> str:
        """The server, for messages, without what may be a key in its query."""
        return without_query(self._url or "OpenAI")

    @property
    def _is_openai(self) -> bool:
        url = self._url
        host = (urlsplit(url).hostname or "") if url else "openai.com"
        return host == "openai.com" or host.endswith(".openai.com")

    def _client(self) -> OpenAI:
        if not self._key and self._is_openai:
            raise MissingKey.of(self._variable, f"the model {self.model}")
        return _client(self._url, self._key or "none", self.timeout, self.retries)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Say what went wrong in our own errors, without the key the client's may quote."""
        try:
            import openai
        except ModuleNotFoundError:
            raise MissingExtra.of("openai", f"the model {self.model}") from None

        where = self._where
        try:
            yield
        except RagError:
            raise
        except openai.APITimeoutError:
            raise ModelUnreachable(f"{where} did not answer in {self.timeout:g} s") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            if isinstance(cause, Exception) and is_broken_connection(cause):
                raise ModelUnreachable(f"the connection to {where} broke") from None
            raise ModelUnreachable(f"cannot reach {where}: is the server running?") from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ModelAuthError(
                f"{where} refused the API key (HTTP {error.status_code}): check {self._variable}"
            ) from None
        except openai.RateLimitError:
            raise ModelRateLimited(
                f"{where} asks for fewer requests, or the quota is used up"
            ) from None
        except openai.InternalServerError as error:
            raise ModelUnreachable(f"{where} failed (HTTP {error.status_code})") from None
        except openai.APIStatusError as error:
            reason = _reason(error)
            raise refusal_of(error.status_code, reason, _code(error))(
                f"{where} refused the request (HTTP {error.status_code}): "
                f"{self._without_key(reason)}"
            ) from None
        except openai.APIError as error:  # an error in the middle of a stream
            raise ModelReplyError(
                f"{where} broke off with an error: {self._without_key(str(error))}"
            ) from None
        except Exception as error:
            if is_broken_connection(error):
                raise ModelUnreachable(f"the connection to {where} broke") from None
            # The client does not check what it parses: any JSON may come out of it, and what
            # stumbles over it may quote it, so only the kind of the error is told.
            said = type(error).__name__
            raise ModelReplyError(f"{where} sent a reply that cannot be read ({said})") from None


class AzureOpenAIProvider(OpenAIProvider):
    """The same behind Azure OpenAI: ``model`` is the name of the deployment.

    ``base_url`` is the resource's, ``https://NAME.openai.azure.com`` (default:
    ``AZURE_OPENAI_ENDPOINT``); ``api_key`` defaults to ``AZURE_OPENAI_API_KEY``.
    """

    api_version: str = "2024-10-21"

    _variable: ClassVar[str] = "AZURE_OPENAI_API_KEY"

    @property
    def _url(self) -> str | None:
        url = self.base_url or load_settings().azure_openai_endpoint
        if url is None:
            raise ConfigError(
                f"the deployment {self.model} needs the address of its resource: base_url or "
                "AZURE_OPENAI_ENDPOINT"
            )
        if fault := url_fault(url):
            raise ConfigError(f"AZURE_OPENAI_ENDPOINT {fault}")
        return url

    @property
    def _is_openai(self) -> bool:
        return True

    def _client(self) -> OpenAI:
        if not self._key:
            raise MissingKey.of(self._variable, f"the deployment {self.model}")
        url = self._url
        assert url is not None
        return _azure_client(url, self._key, self.api_version, self.timeout, self.retries)


@lru_cache(maxsize=32)
def _client(base_url: str | None, key: str, timeout: float, retries: int) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=retries)


@lru_cache(maxsize=32)
def _azure_client(url: str, key: str, api_version: str, timeout: float, retries: int) -> OpenAI:
    from openai import AzureOpenAI

    return AzureOpenAI(
        azure_endpoint=url,
        api_key=key,
        api_version=api_version,
        timeout=timeout,
        max_retries=retries,
    )


def _reason(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or "no reason given")


def _code(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return f"{body.get('code') or ''} {body.get('type') or ''}"
