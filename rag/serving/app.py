"""The server: an app to run anywhere that runs ASGI, and the way `rag serve` runs it."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
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
from rag.serving import api, errors, openai_api
from rag.serving.errors import ApiError, ErrorReply
from rag.serving.keys import KeyStore, key_store
from rag.serving.limits import BodyLimit, SameOrigin, SecurityHeaders
from rag.serving.service import Caller, Gate, Options, Served, Service, Timing

_TITLE = "citewell"
_ABOUT = """\
Answers from documents, with citations that are exact spans of them. `/v1` speaks OpenAI's API.
Every error has the same shape: `{"error": {"message", "type", "code", "param"}}`.
"""
_STATUSES = {
    400: "What was asked cannot be done.",
    401: "The API key is missing or not known.",
    403: "The request comes from another site.",
    404: "There is no such thing.",
    409: "Another process is writing to the index.",
    413: "Too many bytes.",
    422: "The request is not of the form that is documented here.",
    429: "Too many requests: wait for `Retry-After` seconds.",
    500: "Something is wrong with the server.",
    502: "The chat model failed.",
    503: "Busy, or the chat model cannot be reached: try again.",
    504: "It takes too long.",
}
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/page/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/page/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
_OPEN = frozenset({*_PAGE, "/healthz", "/openapi.json"})
_M_ARENA_MAX = -8  # of malloc.h
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Health(BaseModel):
    """The server answers."""

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
    """An ASGI app that serves `pipeline`, and closes it at the end.

    With `keys`, every route but the page and ``/healthz`` wants one, and each opens its own
    namespace only; without (or, with `open_until_keyed`, as long as there is none), everybody has
    the pipeline's own: then bind to loopback, and say in `hosts` which names of the server are its
    own. Run one process: it owns the index.
    """
    options = options or Options()
    if "*" in options.origins and (keys is None or open_until_keyed):
        raise ConfigError("pages of any origin may ask only where every request needs an API key")
    service = Service(pipeline, keys, options, open_until_keyed=open_until_keyed)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.tenants.close()

    app = FastAPI(
        title=_TITLE,
        description=_ABOUT,
        version=rag.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={
            status: {"model": ErrorReply, "description": said} for status, said in _STATUSES.items()
        },
    )
    app.state.service = service
    errors.install(app)
    app.include_router(api.router)
    app.include_router(openai_api.router)
    _add_own(app)
    for path, (name, mime) in _PAGE.items():
        app.router.routes.append(Route(path, _static(name, mime), methods=["GET"]))

    def limit_of(path: str) -> int:
        return options.upload_bytes if path == "/documents" else options.body_bytes

    app.add_middleware(BodyLimit, limit_of=limit_of)
    app.add_middleware(Gate, service=service, is_open=_OPEN.__contains__)
    if options.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Citewell-Marked-At", "Retry-After"],
        )
    app.add_middleware(SameOrigin, allowed=options.origins, hosts=hosts)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Timing, service=service)
    return app


def _add_own(app: FastAPI) -> None:
    """Add the routes for those who run the server."""

    @app.get("/healthz", tags=["Server"])
    async def health() -> Health:
        """Say that the server answers."""
        return Health(status="ok", version=rag.__version__)

    @app.get(
        "/metrics",
        tags=["Server"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics(service: Served, caller: Caller) -> Response:
        """Give numbers for Prometheus, of the whole server: to keys without a namespace."""
        if caller.namespace:
            raise ApiError(403, "this takes a key without a namespace", "forbidden")
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _static(name: str, mime: str) -> Any:
    content = (files("rag.serving") / "page" / name).read_bytes()

    async def endpoint(_: Any) -> Response:
        return Response(content, media_type=mime, headers={"Cache-Control": "no-cache"})

    return endpoint


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach what is bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _keep_memory_together() -> None:
    """Let threads share two arenas of glibc's allocator, by default eight for each core.

    Each holds on to what its threads once used: memory then grows for minutes under load (from 309
    to 331 MiB in 80 s), where two stay as they are (291 to 292), at the same speed:
    ``python -m benchmarks.serving``. ``MALLOC_ARENA_MAX`` in the environment wins.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    import ctypes

    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


class _Server(uvicorn.Server):
    """Ends well on a signal, so that whoever runs it can close what it has; twice, at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(
    pipeline: Pipeline,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    options: Options | None = None,
    proxies: Sequence[str] = (),
    grace: int = 15,
    log_level: str = "info",
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then streams have `grace` seconds to end.

    Where the index has keys (``rag keys add``) they are asked for, from the moment that there is
    one. `proxies` are addresses whose ``X-Forwarded-For`` is believed. `announce` is called with
    the address when it listens. Raises `ConfigError` where there is no key and `host` is not
    loopback (everybody who reaches it could read the documents), and where it cannot listen.
    """
    keys = key_store(pipeline.index)
    is_open = not keys.keys()
    if is_open and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines, and there is no API key: make one with "
            "`rag keys add NAME`"
        )
    hosts = _LOOPBACK | {host} if is_open else None
    app = create_app(pipeline, keys=keys, options=options, hosts=hosts, open_until_keyed=is_open)
    config = uvicorn.Config(
        app,
        log_level=log_level,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=grace,
        limit_concurrency=2_000,
    )
    _keep_memory_together()
    with listening(host, port) as listener:
        if announce is not None:
            announce(address_of(listener))
        _Server(config).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at that address. Raises `ConfigError` where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1_024)
    except OSError as error:
        said = error.strerror or error
        raise ConfigError(f"cannot listen on {host}, port {port}: {said}") from None


def address_of(listener: socket.socket) -> str:
    """The address of what listens there."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
