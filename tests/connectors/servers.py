"""Servers on loopback, which end with the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Page:
    body: bytes | str = b""
    mime: str = "text/html"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Site:
    """Pages by path, and what was asked for."""

    url: str = ""
    pages: dict[str, Page | Callable[[], Page]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __setitem__(self, path: str, page: Page | str | bytes | Callable[[], Page]) -> None:
        self.pages[path] = Page(page) if isinstance(page, str | bytes) else page

    def gets(self) -> list[str]:
        return [path for method, path in self.asked if method == "GET"]


@contextmanager
def site() -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            made.asked.append((self.command, self.path))
            found = made.pages.get(self.path) or Page("not here", status=404)
            page = found if isinstance(found, Page) else found()
            body = page.body.encode() if isinstance(page.body, str) else page.body
            self.send_response(page.status)
            self.send_header("Content-Type", page.mime)
            self.send_header("Content-Length", str(len(body)))
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD = answer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
