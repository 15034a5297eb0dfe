"""A process that runs ``rag`` commands in forks of itself, which have imported everything.

An import of Chroma, NumPy and the rest takes longer than most commands. `CommandServer.run` passes
the arguments, the environment and three files to the server, and returns the exit code. Documents
are parsed in the process of the command.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

_TIMEOUT_SECONDS = 120
_MESSAGE_BYTES = 1 << 20


class CommandServer:
    """Starts the process, and closes it with `close`."""

    def __init__(self, folder: Path) -> None:
        self._address = str(folder / "commands")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._address)
        listener.listen()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            cwd=Path(__file__).parent.parent,
        )
        listener.close()

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: bytes
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``rag ARGUMENTS`` in `folder`. Raises `TimeoutError` after two minutes."""
        with (
            socket.socket(socket.AF_UNIX) as connection,
            os.fdopen(os.memfd_create("stdin"), "w+b") as standard_input,
            os.fdopen(os.memfd_create("stdout"), "w+b") as output,
            os.fdopen(os.memfd_create("stderr"), "w+b") as errors,
        ):
            standard_input.write(stdin)
            standard_input.seek(0)
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(self._address)
            message = json.dumps([list(arguments), str(folder), dict(environment)]).encode()
            files = [standard_input.fileno(), output.fileno(), errors.fileno()]
            socket.send_fds(connection, [message], files)
            code = int(connection.recv(16))
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def _serve(listener: socket.socket) -> NoReturn:
    import chromadb  # noqa: F401
    import tantivy  # noqa: F401

    import connectors.parser_pool
    import rag.cli.main  # noqa: F401
    from rag import StaticEmbedder

    StaticEmbedder().embed_query("Loads the vectors; starts no thread.")
    connectors.parser_pool.choose_process_count = lambda: 0
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _handle(connection)
        connection.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _handle(connection: socket.socket) -> NoReturn:
    """Run one command in a fork of this process, and reply with its exit code."""
    message, files, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 3)
    child = os.fork()
    if child == 0:
        connection.close()
        _run_command(json.loads(message), files)
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run_command(message: tuple[list[str], str, dict[str, str]], files: Sequence[int]) -> NoReturn:
    from rag.__main__ import main

    arguments, folder, environment = message
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [str(Path(sys.executable).with_name("rag")), *arguments]
    code: Any = 0
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
