"""Errors as HTTP responses, in the format of OpenAI's API."""

from __future__ import annotations

import errno
import logging
import math
import sqlite3

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.errors import (
    DocumentNotFound,
    IndexLocked,
    IndexNotFound,
    ModelAuthError,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelUnreachable,
    QueryError,
    RagError,
    RagIndexError,
    SourceError,
)
from rag.serving.asgi import ResponseTracker

_log = logging.getLogger(__name__)

_MAX_MESSAGE_CHARACTERS = 500
_MAX_PARAM_CHARACTERS = 200
_RATE_LIMIT_RETRY_SECONDS = 10.0  # if the server of the model states no time
_UNREACHABLE_RETRY_SECONDS = 5.0
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Problem(BaseModel):
    """Description of an error."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class ErrorReply(BaseModel):
    """Body of every error response."""

    error: Problem


class ApiError(Exception):
    """An error with its HTTP status; ``retry_after`` is in seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.param, self.retry_after = param, retry_after

    def problem(self) -> Problem:
        """Return the description for the body of a response."""
        default_type = "invalid_request_error" if self.status < 500 else "server_error"
        error_type = _TYPES.get(self.status, default_type)
        return Problem(message=self.message, type=error_type, code=self.code, param=self.param)

    def response(self, *, closes: bool = False) -> JSONResponse:
        """Return the error as a response.

        With `closes`, the connection is closed and the rest of the request stays unread. Status
        413 always closes it.
        """
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if closes or self.status == 413:
            headers["Connection"] = "close"
        return JSONResponse(ErrorReply(error=self.problem()).model_dump(), self.status, headers)


def to_api_error(error: Exception) -> ApiError:
    """Return the error that a client gets: enough to act on, and no details of this machine.

    Paths, addresses and the messages of models and stores are written to the log only.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueryError | SourceError):
        return ApiError(400, str(error), "bad_request")
    if isinstance(error, IndexNotFound):
        return ApiError(404, "nothing has been ingested yet", "nothing_ingested")
    if isinstance(error, DocumentNotFound):
        return ApiError(404, str(error), "not_found")
    if isinstance(error, IndexLocked):
        message = "another process is writing to the index: try again later"
        return ApiError(409, message, "index_locked", retry_after=5)
    if isinstance(error, ModelRateLimited):
        message = "the chat model is rate-limited: try again later"
        delay = _choose_delay(error, _RATE_LIMIT_RETRY_SECONDS)
        return ApiError(429, message, "model_busy", retry_after=delay)
    if _is_disk_full(error):
        _log.error("%s", error)
        return ApiError(507, "the disk of the server is full", "disk_full")
    is_unexpected = not isinstance(error, RagError)
    _log.error("%s: %s", type(error).__name__, error, exc_info=is_unexpected)
    if isinstance(error, ModelContextExceeded):
        return ApiError(400, "the question is too long for the chat model", "context_exceeded")
    if isinstance(error, ModelAuthError):
        message = "the chat model rejected the server's API key: see the server log"
        return ApiError(502, message, "model_refuses")
    if isinstance(error, ModelUnreachable):
        delay = _choose_delay(error, _UNREACHABLE_RETRY_SECONDS)
        message = "the chat model cannot be reached"
        return ApiError(503, message, "model_unreachable", retry_after=delay)
    if isinstance(error, ModelError):
        return ApiError(502, "the chat model failed: see the server log", "model_failed")
    if is_unexpected:
        return ApiError(500, "internal error: see the server log", "internal")
    message = "the index or the pipeline cannot be used: see the server log"
    return ApiError(500, message, "unusable")


def _choose_delay(error: ModelError, default: float) -> float:
    """Return the seconds that the server of the model asks to wait, or `default`."""
    return default if error.retry_after is None else error.retry_after


class ErrorMiddleware:
    """ASGI middleware that answers unexpected exceptions in the format of all other errors.

    It runs inside the other middleware, unlike Starlette's own, so that its responses get their
    headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        tracker = ResponseTracker(send)
        try:
            await self.app(scope, receive, tracker)
        except Exception as error:
            has_started = tracker.status is not None
            if has_started or scope["type"] != "http" or isinstance(error, HTTPException):
                raise
            await to_api_error(error).response()(scope, receive, send)


def install_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every error in this format."""
    app.add_middleware(ErrorMiddleware)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    for error_class in (ApiError, RagError):
        app.add_exception_handler(error_class, _handle_error)


async def _handle_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(422, "the body is not JSON", "invalid").response()
    content_type = request.headers.get("content-type", "")
    is_known_type = content_type.startswith(("application/json", "multipart/"))
    if first["loc"] == ("body",) and not is_known_type:
        message = "send JSON with the header Content-Type: application/json"
        return ApiError(422, message, "invalid").response()
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    message = str(first["msg"]).removeprefix("Value error, ")
    message = f"{field}: {message}" if field else message
    return ApiError(
        422,
        message[:_MAX_MESSAGE_CHARACTERS],
        "invalid",
        param=field[:_MAX_PARAM_CHARACTERS] or None,
    ).response()


async def _handle_http_exception(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    response = ApiError(error.status_code, str(error.detail), code).response()
    response.headers.update(error.headers or {})
    return response


async def _handle_error(_: Request, error: Exception) -> JSONResponse:
    return to_api_error(error).response()


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that no space is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        is_of_index = isinstance(error, RagIndexError | sqlite3.Error)
        if is_of_index and ("no space left" in str(error) or "disk is full" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
