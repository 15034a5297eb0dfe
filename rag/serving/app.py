"""The HTTP server: an ASGI app for any ASGI server, and the server of `rag serve`."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

import rag
from rag.errors import ConfigError
from rag.pipeline import Pipeline
from rag.serving import (
    api,
    conversations_api,
    documents_api,
    openai_api,
    openai_responses,
    settings_api,
)
from rag.serving.dependencies import Authentication, PrincipalArgument, ServiceArgument
from rag.serving.errors import ApiError, ErrorReply, install_error_handlers
from rag.serving.http_protocol import make_http_protocol
from rag.serving.keys import KeyStore, open_key_store
from rag.serving.limits import BodyLimit, CancelledRequests, SameOrigin, SecurityHeaders
from rag.serving.metrics import RequestMetrics
from rag.serving.service import Options, Service

_TITLE = "citewell"
_DESCRIPTION = """\
Answers questions from documents, with citations that are exact spans of them.
The routes below `/v1` are compatible with OpenAI's API. Every error has the same format:
`{"error": {"message", "type", "code", "param"}}`.
"""
_STATUSES = {
    400: "The request cannot be fulfilled.",
    401: "The API key is missing or unknown.",
    403: "The request comes from another site.",
    404: "The resource does not exist.",
    409: "Another process is writing to the index.",
    408: "The rest of the request does not arrive.",
    413: "The request is too large.",
    422: "The request does not have the documented format.",
    429: "Too many requests: wait for `Retry-After` seconds.",
    500: "Internal error: see the server log.",
    502: "The chat model failed.",
    503: "The server is busy or cannot reach the chat model: try again later.",
    504: "The request takes too long.",
}
_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_JSON = "application/json"
_SCRIPTS = (
    "answer_view.js",
    "app.js",
    "conversation.js",
    "docs.js",
    "documents.js",
    "dom.js",
    "filters.js",
    "i18n.js",
    "markdown.js",
    "server.js",
    "settings.js",
    "source_panel.js",
)
_LANGUAGES = ("de", "en", "es", "fr", "zh")
_PAGE_FILES = {
    "/": ("index.html", _HTML),
    "/docs": ("docs.html", _HTML),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/page/{name}": (name, _SCRIPT) for name in _SCRIPTS},
    **{f"/page/lang/{code}.json": (f"lang/{code}.json", _JSON) for code in _LANGUAGES},
}
_PUBLIC_PATHS = frozenset({*_PAGE_FILES, "/healthz", "/openapi.json"})
_M_ARENA_MAX = -8  # the parameter of mallopt, from malloc.h
_MAX_CONNECTIONS = 2_000
_LISTEN_BACKLOG = 1_024
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Health(BaseModel):
    """Status and version of the server."""

    status: str
    version: str


def create_app(
    pipeline: Pipeline,
    *,
    keys: KeyStore | None = None,
    options: Options | None = None,
    hosts: frozenset[str] | None = None,
    open_until_keyed: bool = False,
) -> FastAPI:
    """Return an ASGI app that serves `pipeline`, and closes it on shutdown.

    With `keys`, every route except the page, the API description and ``/healthz`` needs a key,
    which gives access to its own namespace only. Without `keys` (or, with `open_until_keyed`, while
    the store has no key), every client has access to the pipeline's namespace: then bind to
    loopback, and give the server's own host names in `hosts`. Run one process only: it owns the
    index. Raises `ConfigError` if pages of any origin could use a server without keys.
    """
    options = options or Options()
    if "*" in options.origins and (keys is None or open_until_keyed):
        raise ConfigError("origins may contain '*' only if every request needs an API key")
    service = Service(pipeline, keys, options, open_until_keyed=open_until_keyed)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.tenants.close()

    app = FastAPI(
        title=_TITLE,
        description=_DESCRIPTION,
        version=rag.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={
            status: {"model": ErrorReply, "description": description}
            for status, description in _STATUSES.items()
        },
    )
    app.state.service = service
    install_error_handlers(app)
    for module in (api, conversations_api, documents_api, openai_api, openai_responses):
        app.include_router(module.router)
    _add_operator_routes(app)
    app.include_router(settings_api.router)
    for path, (name, mime) in _PAGE_FILES.items():
        app.router.routes.append(Route(path, _static_endpoint(name, mime), methods=["GET"]))

    _add_middleware(app, service, hosts)
    return app


def _add_middleware(app: FastAPI, service: Service, hosts: frozenset[str] | None) -> None:
    """Add the middleware, innermost first."""
    options = service.options

    def limit_of(path: str) -> int:
        return options.upload_bytes if path == "/documents" else options.body_bytes

    app.add_middleware(BodyLimit, limit_of=limit_of)
    app.add_middleware(Authentication, service=service, is_public=_PUBLIC_PATHS.__contains__)
    if options.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Citewell-Marked-At", "Retry-After"],
        )
    app.add_middleware(SameOrigin, allowed=options.origins, hosts=hosts)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestMetrics, metrics=service.metrics)
    app.add_middleware(CancelledRequests)


def _add_operator_routes(app: FastAPI) -> None:
    """Add the routes for operators of the server."""

    @app.get("/healthz", tags=["Server"])
    async def health() -> Health:
        """Return the status and version of the server."""
        return Health(status="ok", version=rag.__version__)

    @app.get(
        "/metrics",
        tags=["Server"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics(service: ServiceArgument, principal: PrincipalArgument) -> Response:
        """Return Prometheus metrics of the whole server. Needs a key without a namespace."""
        if principal.namespace:
            raise ApiError(403, "metrics need a key without a namespace", "forbidden")
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _static_endpoint(name: str, mime: str) -> Any:
    content = (files("rag.serving") / "page" / name).read_bytes()

    async def endpoint(_: Any) -> Response:
        return Response(content, media_type=mime, headers={"Cache-Control": "no-cache"})

    return endpoint


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can connect to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _limit_malloc_arenas() -> None:
    """Let threads share two arenas of glibc's allocator, instead of eight for each core.

    An arena keeps the memory that its threads have used. With the default, memory grows for minutes
    under load (from 309 to 331 MiB in 80 s); with two arenas it stays constant (291 to 292 MiB) at
    the same speed (``python -m benchmarks.serving``). ``MALLOC_ARENA_MAX`` in the environment takes
    precedence.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    import ctypes

    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


class _Server(uvicorn.Server):
    """Shuts down on a signal without ending the process; a second SIGINT stops it at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_ended = threading.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            end_process_unless(self.has_ended, (self.config.timeout_graceful_shutdown or 0) + 4)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def end_process_unless(has_ended: threading.Event, seconds: float, code: int = 1) -> None:
    """End this process in `seconds` with an exit code, unless `has_ended` is set before."""

    def watch() -> None:
        if not has_ended.wait(seconds):
            os._exit(code)

    threading.Thread(target=watch, name="end of the process", daemon=True).start()


def serve(
    pipeline: Pipeline,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    options: Options | None = None,
    proxies: Sequence[str] = (),
    grace: int = 5,
    log_level: str = "info",
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then requests have `grace` seconds to end.

    Requests that have not ended by then get the error ``shutting_down``. If something cannot be
    stopped, the process ends a few seconds later all the same: an index is right after that too.

    Every request needs a key once the index has keys (``rag keys add``). The ``X-Forwarded-For``
    header is trusted from the addresses in `proxies`. `announce` is called with the address when
    the server listens. Raises `ConfigError` if there is no key and `host` is not loopback (anyone
    who can connect could read the documents), and if the server cannot listen.
    """
    keys = open_key_store(pipeline.index)
    is_open = require_key_or_loopback(keys, host)
    hosts = _LOOPBACK_NAMES | {host} if is_open else None
    app = create_app(pipeline, keys=keys, options=options, hosts=hosts, open_until_keyed=is_open)
    config = uvicorn.Config(
        app,
        http=make_http_protocol(),
        log_level=log_level,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=grace,
        limit_concurrency=_MAX_CONNECTIONS,
    )
    _limit_malloc_arenas()
    with open_listener(host, port) as listener:
        if announce is not None:
            announce(format_address(listener))
        server = _Server(config)
        try:
            server.run(sockets=[listener])
        finally:
            server.has_ended.set()


def require_key_or_loopback(keys: KeyStore, host: str) -> bool:
    """Return whether a server at `host` needs no keys because there are none.

    Raises `ConfigError` if there is no key and `host` is not loopback.
    """
    has_keys = bool(keys.keys())
    if not has_keys and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines, and there is no API key: create one with "
            "`rag keys add NAME`"
        )
    return not has_keys


def open_listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address. Raises `ConfigError` if that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_LISTEN_BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host}, port {port}: {reason}") from None


def format_address(listener: socket.socket) -> str:
    """Return the http address of a listening socket."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
