"""A web server on the loopback interface that runs during a test."""

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
    """The pages of a site by path, and the requests (method, path) it received."""

    url: str = ""
    pages: dict[str, Page | Callable[[], Page]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __setitem__(self, path: str, page: Page | str | bytes | Callable[[], Page]) -> None:
        self.pages[path] = Page(page) if isinstance(page, str | bytes) else page

    def list_gets(self) -> list[str]:
        """Return the paths of the GET requests."""
        return [path for method, path in self.requests if method == "GET"]


@contextmanager
def serve_site() -> Iterator[Site]:
    served_site = Site()

    class Handler(BaseHTTPRequestHandler):
        def send_page(self) -> None:
            served_site.requests.append((self.command, self.path))
            entry = served_site.pages.get(self.path) or Page("not found", status=404)
            page = entry if isinstance(entry, Page) else entry()
            body = page.body.encode() if isinstance(page.body, str) else page.body
            self.send_response(page.status)
            self.send_header("Content-Type", page.mime)
            self.send_header("Content-Length", str(len(body)))
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD = send_page

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    served_site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served_site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
