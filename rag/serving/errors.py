"""What goes wrong, as HTTP says it, in the shape of OpenAI's API."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    SourceError,
)

_log = logging.getLogger(__name__)

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Problem(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class ErrorReply(BaseModel):
    """The body of every reply that is an error."""

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

    def response(self, *, closes: bool = False) -> JSONResponse:
        """As a response; one that `closes` leaves what is still being sent unread."""
        response = error_response(
            self.status, self.message, self.code, param=self.param, retry_after=self.retry_after
        )
        if closes:
            response.headers["Connection"] = "close"
        return response

    def problem(self) -> Problem:
        """As the body of a response says it."""
        kind = _TYPES.get(self.status, _kind(self.status))
        return Problem(message=self.message, type=kind, code=self.code, param=self.param)


def error_response(
    status: int,
    message: str,
    code: str,
    *,
    param: str | None = None,
    retry_after: float | None = None,
) -> JSONResponse:
    """A response that says what went wrong."""
    kind = _TYPES.get(status, _kind(status))
    problem = Problem(message=message, type=kind, code=code, param=param)
    headers = {}
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 413:
        headers["Connection"] = "close"  # what is still being sent is not read
    return JSONResponse(ErrorReply(error=problem).model_dump(), status, headers)


def _kind(status: int) -> str:
    return "invalid_request_error" if status < 500 else "server_error"


def told(error: Exception) -> ApiError:
    """What a client is told of an error: enough to act on, and nothing of this machine.

    Paths, addresses and what models and stores said are for the log.
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
        busy = "another process is writing to the index: try again later"
        return ApiError(409, busy, "index_locked", retry_after=5)
    if isinstance(error, ModelRateLimited):
        return ApiError(429, "the chat model asks for fewer requests", "model_busy", retry_after=10)
    _log.error("%s: %s", type(error).__name__, error, exc_info=_unexpected(error))
    if isinstance(error, ModelContextExceeded):
        return ApiError(400, "the question is too long for the chat model", "context_exceeded")
    if isinstance(error, ModelAuthError):
        return ApiError(502, "the chat model's server refuses our key", "model_refuses")
    if isinstance(error, ModelUnreachable):
        return ApiError(503, "the chat model cannot be reached", "model_unreachable", retry_after=5)
    if isinstance(error, ModelError):
        return ApiError(502, "the chat model failed", "model_failed")
    if isinstance(error, RagError):
        return ApiError(500, "the index or the pipeline cannot be used: see the log", "unusable")
    return ApiError(500, "something went wrong: see the log", "internal")


def _unexpected(error: Exception) -> bool:
    return not isinstance(error, RagError)


class Failures:
    """ASGI middleware that answers what nobody expected like every other error.

    Within the others, unlike Starlette's own for the same, so that its answer has their headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if begun or scope["type"] != "http" or isinstance(error, HTTPException):
                raise
            await told(error).response()(scope, receive, send)


def install(app: FastAPI) -> None:
    """Answer every error of `app` in this shape."""
    app.add_middleware(Failures)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(422, "the body is not JSON", "invalid")
        kind = request.headers.get("content-type", "")
        if first["loc"] == ("body",) and not kind.startswith(("application/json", "multipart/")):
            return error_response(422, "send JSON, as Content-Type: application/json", "invalid")
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        said = str(first["msg"]).removeprefix("Value error, ")
        message = f"{where}: {said}" if where else said
        return error_response(422, message[:500], "invalid", param=where[:200] or None)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        code = _CODES.get(error.status_code, "refused")
        response = error_response(error.status_code, str(error.detail), code)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ApiError)
    @app.exception_handler(RagError)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return told(error).response()
