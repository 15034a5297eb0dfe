"""What every part behind an API has: a model, an address, a key, and patience."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from rag.component import Component, NotFingerprinted
from rag.errors import ModelContextExceeded, ModelError, ModelRequestError
from rag.settings import load_settings


class HostedModel(Component):
    """A part behind an API.

    ``base_url`` and ``api_key`` default to what is set in the environment. ``timeout`` is in
    seconds, for each of up to ``retries`` + 1 attempts; time-outs, 429 and server errors are
    tried again, after as long as the server asks for (``Retry-After``).
    """

    model: str = Field(min_length=1)
    base_url: str | None = None
    api_key: SecretStr | None = None
    timeout: Annotated[float, NotFingerprinted] = Field(60.0, gt=0, le=86_400)
    retries: Annotated[int, NotFingerprinted] = Field(2, ge=0, le=10)

    _variable: ClassVar[str]
    """Environment variable of the key, which is a field of the settings as well."""

    @field_validator("base_url")
    @classmethod
    def _without_credentials(cls, url: str | None) -> str | None:
        if url is not None and (fault := url_fault(url)):
            raise ValueError(fault)
        return url

    @property
    def _key(self) -> str:
        key = self.api_key or getattr(load_settings(), self._variable.lower())
        return str(key.get_secret_value()).strip() if key else ""

    def _without_key(self, text: str) -> str:
        """Say on one line, shortened, what a server said; servers quote the key they refuse."""
        text = " ".join(text.replace(self._key, "***").split()) if self._key else text
        return text[:300]


_TOO_LONG = re.compile(
    r"context_length|exceed_context|context (?:length|window|size)|too many tokens|"
    r"maximum (?:context|number of tokens)|prompt is too long|too long",
    re.IGNORECASE,
)


def refusal_of(status: int, reason: str, code: str = "") -> type[ModelError]:
    """The error for a request that was refused: too long for the model, wrong, or another."""
    if status not in (400, 413, 422):
        return ModelError
    return ModelContextExceeded if _TOO_LONG.search(f"{code} {reason}") else ModelRequestError


def is_broken_connection(error: Exception) -> bool:
    """Whether a connection that stood broke off, in the HTTP client under a provider's own.

    By the names of its errors, since which client that is, changes.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    ours = type(error).__module__.startswith(("httpx", "httpcore"))
    return ours and "HTTPError" in names and "ConnectError" not in names


def url_fault(url: str) -> str | None:
    """What is wrong with a base url, without repeating it: it may hold a password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = None
        parts = urlsplit("")
    if not usable:
        return "must begin with http:// or https:// and a host"
    if parts.username or parts.password:
        return "must not hold a name or password: use api_key"
    return None


def without_query(url: str) -> str:
    """The address for messages: what is behind its ``?`` may be a key."""
    return url.partition("?")[0]
