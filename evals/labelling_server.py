"""The labelling page, served on loopback."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence

from evals.labelling import Labels, Task
from rag.errors import ConfigError, MissingExtra


class LabelServer:
    """The labelling page, on loopback only. Every request needs the token in the page's address.

    Raises `MissingExtra` without the extra ``serve``, `ConfigError` if the port is in use.
    """

    def __init__(self, tasks: Sequence[Task], labels: Labels, port: int = 0) -> None:
        try:
            import uvicorn

            from evals.labelling_app import create_app
        except ModuleNotFoundError:
            raise MissingExtra.of("serve", "the labelling page") from None
        self.token = secrets.token_urlsafe(16)
        app = create_app(tasks, labels, self.token)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen()  # from here on a request waits, and is not refused
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise ConfigError(f"cannot listen on port {port}: {error}") from None
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        self._server = uvicorn.Server(config)

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/?token={self.token}"

    def serve(self) -> None:
        """Serve until `close` is called from another thread."""
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
