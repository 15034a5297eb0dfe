"""Calls from several threads at once, and calls in another process."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from threading import Barrier, Lock, Timer
from typing import IO, Any, Literal, NamedTuple, TypeVar
from unittest import SkipTest

from rag.component import Component

_T = TypeVar("_T")

CALL_TIMEOUT_SECONDS = 300
_EXIT_TIMEOUT_SECONDS = 10
_MAX_ERROR_CHARACTERS = 3_000
_HELPER_SCRIPT = "from rag.testing.calls import serve_calls; serve_calls()"
_IMPORT_FAILED = 3  # exit code of a process that cannot import the part
_SCRIPT = f"""\
import pickle, sys
try:
    function, arguments = pickle.load(sys.stdin.buffer)
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit({_IMPORT_FAILED})
function(*arguments)
"""


def call_from_threads(function: Callable[[], _T], count: int = 2) -> list[_T]:
    """Call `function` from `count` threads at the same time, and return the results."""
    barrier = Barrier(count)

    def call() -> _T:
        barrier.wait(timeout=60)
        return function()

    with ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(call) for _ in range(count)]
        return [future.result() for future in futures]


def call_in_other_process(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function of a module in another process, and return its result.

    The calls of this process share the other process, so that it imports each module only once. It
    has another ``PYTHONHASHSEED``, so the order of sets and the values of ``hash()`` differ there.
    Raises `unittest.SkipTest`, which pytest reports as skipped, if a component among the arguments
    has a class that another process cannot import. Raises `AssertionError` if the call fails.
    """
    _check_importable(arguments)
    result: _T = _shared_process.call(function, arguments)
    return result


def is_killed_in_new_process(function: Callable[..., object], *arguments: Any) -> bool:
    """Call a function of a module in a new process; return whether the process was killed.

    Raises `unittest.SkipTest` and `AssertionError` as `call_in_other_process` does.
    """
    _check_importable(arguments)
    process = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=pickle.dumps((function, arguments)),
        capture_output=True,
        env=_make_environment(),
        timeout=CALL_TIMEOUT_SECONDS,
    )
    errors = process.stderr.decode(errors="replace").strip()
    if process.returncode == -signal.SIGKILL:
        return True
    if process.returncode == _IMPORT_FAILED:
        raise SkipTest(f"another process cannot import the part: {errors}")
    assert process.returncode == 0, (
        f"the call failed in another process:\n{errors[-_MAX_ERROR_CHARACTERS:]}"
    )
    return False


def _check_importable(arguments: Sequence[Any]) -> None:
    for argument in arguments:
        if isinstance(argument, Component) and not is_importable(argument):
            raise SkipTest(f"another process cannot import {type(argument).__qualname__}")


def is_importable(part: Component) -> bool:
    """Return whether the classes of a component and of its nested components can be imported.

    Classes that are defined in a function or in ``__main__`` cannot.
    """
    return all(_is_importable_class(type(item)) for item in (part, *list_nested_parts(part)))


def list_nested_parts(part: Component) -> Iterator[Component]:
    """Yield the components in the settings of a component, and those in them."""
    for value in part.__dict__.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, Component):
                yield item
                yield from list_nested_parts(item)


def _is_importable_class(part_class: type) -> bool:
    module = sys.modules.get(part_class.__module__)
    if module is None or part_class.__module__ == "__main__":
        return False
    try:
        return attrgetter(part_class.__qualname__)(module) is part_class
    except AttributeError:
        return False


class _Reply(NamedTuple):
    """The reply to a call: its pickled result, or the text of an error."""

    status: Literal["returned", "not importable", "failed"]
    result: bytes = b""
    error: str = ""


class _HelperProcess:
    """Another Python process, which runs calls of functions until `close`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="citewell-helper-")
        self._error_file = Path(self._folder.name) / "stderr"
        with self._error_file.open("ab") as error_file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _HELPER_SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=error_file,
                env=environment,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._calls: IO[bytes] = self._process.stdin
        self._replies: IO[bytes] = self._process.stdout

    @property
    def is_running(self) -> bool:
        """Whether the process can run another call."""
        return self._process.poll() is None

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """Call a function of a module in the process, and return its result.

        Raises `unittest.SkipTest` if the process cannot import the function or a class of an
        argument, and `AssertionError` if the call fails or ends the process.
        """
        reply = self._send(pickle.dumps((function, arguments)))
        if reply.status == "not importable":
            raise SkipTest(f"another process cannot import the part: {reply.error}")
        error = reply.error[-_MAX_ERROR_CHARACTERS:]
        assert reply.status == "returned", f"the call failed in another process:\n{error}"
        return pickle.loads(reply.result)

    def _send(self, call: bytes) -> _Reply:
        errors_start = self._error_file.stat().st_size
        timer = Timer(CALL_TIMEOUT_SECONDS, self._process.kill)
        timer.start()
        try:
            pickle.dump(call, self._calls)
            self._calls.flush()
            return _Reply(*pickle.load(self._replies))
        except (EOFError, OSError, pickle.UnpicklingError):
            with suppress(subprocess.TimeoutExpired):  # it has closed its replies, so it is exiting
                self._process.wait(timeout=_EXIT_TIMEOUT_SECONDS)
            self._process.kill()
            exit_code = self._process.wait()
            errors = self._error_file.read_bytes()[errors_start:].decode(errors="replace")
            return _Reply("failed", error=f"{errors}\nthe exit code is {exit_code}")
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):  # the process ended before it had read everything
            self._calls.close()
        self._process.kill()
        self._process.wait()
        self._replies.close()
        self._folder.cleanup()


class _SharedProcess:
    """The helper process that all calls of this process share, started at the first call.

    It is replaced when it has ended, and when the environment or the import path has changed.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._helper: _HelperProcess | None = None
        self._key: object = None
        self._owner_id = 0

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        with self._lock:
            return self._start().call(function, arguments)

    def _start(self) -> _HelperProcess:
        environment = _make_environment()
        test_independent = {k: v for k, v in environment.items() if k != "PYTEST_CURRENT_TEST"}
        key = (test_independent, Path.cwd())
        if self._owner_id != os.getpid():
            self._helper = None  # a fork of this process must not use the helper of its parent
        if self._helper is None or not self._helper.is_running or key != self._key:
            self.close()
            self._helper = _HelperProcess(environment)
            self._key, self._owner_id = key, os.getpid()
        return self._helper

    def close(self) -> None:
        if self._helper is not None and self._owner_id == os.getpid():
            self._helper.close()
            self._helper = None


_shared_process = _SharedProcess()
atexit.register(_shared_process.close)


def _make_environment() -> dict[str, str]:
    """Return the environment of another process: our import path, and another hash seed."""
    return {
        **os.environ,
        "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",
        "PYTHONPATH": os.pathsep.join(path for path in (str(Path.cwd()), *sys.path) if path),
    }


def serve_calls() -> None:
    """Run the calls from stdin, and write their replies to stdout, until stdin is closed.

    What the calls print goes to stderr, so that it cannot damage a reply.
    """
    calls, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    while True:
        try:
            call = pickle.load(calls)
        except EOFError:
            return
        pickle.dump(tuple(_run_call(call)), replies)
        replies.flush()


def _run_call(call: bytes) -> _Reply:
    try:
        function, arguments = pickle.loads(call)
    except ImportError as error:
        return _Reply("not importable", error=str(error))
    except Exception:
        return _Reply("failed", error=traceback.format_exc())
    try:
        return _Reply("returned", result=pickle.dumps(function(*arguments)))
    except Exception:
        return _Reply("failed", error=traceback.format_exc())
