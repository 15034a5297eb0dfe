"""The connection to model services through LiteLLM, which calls more than 100 providers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from rag.errors import (
    MissingExtra,
    MissingKey,
    ModelReplyError,
    ModelUnreachable,
    RagError,
)
from rag.providers.base import HostedModel, is_broken_connection, strip_query
from rag.providers.key_servers import explain_withheld_key
from rag.providers.retries import parse_retry_after


class LiteLlmProvider(HostedModel):
    """What all components that use LiteLLM share.

    ``model`` is LiteLLM's name: the provider and the model, ``anthropic/claude-sonnet-4-5``.
    ``api_key`` defaults to the provider's environment variable (``ANTHROPIC_API_KEY``);
    ``base_url`` is for a private deployment. For the other settings see `HostedModel`.
    """

    _key_variable: ClassVar[str] = "api_key"  # the provider's own, which LiteLLM knows

    def _find_key_for_litellm(self) -> str | None:
        """Return the key to pass; None lets LiteLLM read the provider's variable.

        That key is for the provider: another address gets it only if it is trusted.
        """
        if self.api_key is not None or self.base_url is None:
            return self._key or None
        obstacle = explain_withheld_key(self.base_url, "configuration", "environment")
        return "none" if obstacle and not self._missing_variables() else None

    @property
    def _server_name(self) -> str:
        return strip_query(self.base_url or self.model)

    def _redact_key(self, text: str) -> str:
        for name, key in os.environ.items():
            if name.endswith("_API_KEY") and key:
                text = text.replace(key, "***")
        return super()._redact_key(text)

    def _import_litellm(self) -> Any:
        """Return the module ``litellm``, without its messages on stdout.

        Its price list is the one in the package: by default, LiteLLM downloads it on import.
        """
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        try:
            import litellm
        except ModuleNotFoundError:
            raise MissingExtra.of("litellm", f"the model {self.model}") from None
        litellm.suppress_debug_info = True
        return litellm

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of LiteLLM as ours, without the key that they may quote."""
        try:
            yield
        except RagError:
            raise
        except Exception as error:
            raise self._to_model_error(error) from None

    def _to_model_error(self, error: Exception) -> RagError:
        server = self._server_name
        if _has_class_name(error, "APITimeoutError"):
            return self._make_limit_error(error)
        causes = list(_iterate_causes(error))
        if any(_has_class_name(cause, "ConnectError") for cause in causes):
            return ModelUnreachable(f"cannot reach {server}", model=self.model)
        if any(is_broken_connection(cause) for cause in causes):
            return ModelUnreachable(f"the connection to {server} broke", model=self.model)
        status = getattr(error, "status_code", None)
        headers = next(filter(None, map(_read_headers, causes)), None)
        if isinstance(status, int) and (headers or status < 500):
            return self._to_status_error(error, status, parse_retry_after(headers))
        if missing := self._missing_variables():
            return MissingKey.of(missing, f"the model {self.model}")
        # LiteLLM reports replies that it cannot parse as HTTP 500, with an arbitrary message that
        # may quote the key, so ours names only the class of the error.
        class_name = type(causes[-1]).__name__
        return ModelReplyError(
            f"the reply of {server} is incomplete or cannot be read ({class_name}); try again",
            model=self.model,
        )

    def _to_status_error(
        self, error: Exception, status: int, retry_after: float | None
    ) -> RagError:
        if status in (401, 403) and (missing := self._missing_variables()):
            return MissingKey.of(missing, f"the model {self.model}")
        reason, code = str(error), _read_code(error)
        if _has_class_name(error, "ContextWindowExceededError"):
            code = f"context_length {code}"
        return self._make_status_error(status, reason, code=code, retry_after=retry_after)

    def _missing_variables(self) -> list[str]:
        """Return the provider's environment variables that are not set; none with `api_key`."""
        if self._key:
            return []
        try:
            checked = self._import_litellm().validate_environment(model=self.model)
        except Exception:  # LiteLLM does not know the provider
            return []
        return list(checked.get("missing_keys") or ())


def _iterate_causes(error: BaseException) -> Iterator[Exception]:
    """Yield an error and those that caused it, from the outermost to the innermost."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Exception):
            yield cause
        cause = cause.__cause__ or cause.__context__


def _read_headers(error: BaseException) -> Mapping[str, str] | None:
    """Return the headers of the response that an error is about; None without a response."""
    return getattr(getattr(error, "response", None), "headers", None)


def _has_class_name(error: BaseException, name: str) -> bool:
    return any(error_class.__name__ == name for error_class in type(error).__mro__)


def _read_code(error: Any) -> str:
    body = getattr(error, "body", None)
    return f"{body.get('code') or ''} {body.get('type') or ''}" if isinstance(body, dict) else ""
