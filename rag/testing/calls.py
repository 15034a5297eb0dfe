"""Calls from several threads at once, and calls in another process."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar
from unittest import SkipTest

from rag.component import Component

_T = TypeVar("_T")

CALL_TIMEOUT_SECONDS = 300
_IMPORT_FAILED = 3  # exit code of a process that cannot import the part
_SCRIPT = f"""\
import pickle, sys
from pathlib import Path
try:
    function, arguments = pickle.load(sys.stdin.buffer)
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit({_IMPORT_FAILED})
Path(sys.argv[1]).write_bytes(pickle.dumps(function(*arguments)))
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

    The process has another ``PYTHONHASHSEED``, so the order of sets and the values of ``hash()``
    differ there. Raises `unittest.SkipTest`, which pytest reports as skipped, if a component among
    the arguments has a class that another process cannot import. Raises `AssertionError` if the
    call fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        result_file = Path(folder) / "result"
        process = _run_in_new_process(result_file, function, arguments)
        errors = process.stderr.decode(errors="replace")
        assert process.returncode == 0, f"the call failed in another process:\n{errors[-3000:]}"
        result: _T = pickle.loads(result_file.read_bytes())
        return result


def is_killed_in_new_process(function: Callable[..., object], *arguments: Any) -> bool:
    """Call a function of a module in a new process; return whether the process was killed.

    Raises `unittest.SkipTest` and `AssertionError` as `call_in_other_process` does.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = _run_in_new_process(Path(folder) / "result", function, arguments)
    if process.returncode == -signal.SIGKILL:
        return True
    errors = process.stderr.decode(errors="replace")
    assert process.returncode == 0, f"the call failed in another process:\n{errors[-3000:]}"
    return False


def _run_in_new_process(
    result_file: Path, function: Callable[..., object], arguments: Sequence[Any]
) -> subprocess.CompletedProcess[bytes]:
    for argument in arguments:
        if isinstance(argument, Component) and not is_importable(argument):
            raise SkipTest(f"another process cannot import {type(argument).__qualname__}")
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join(path for path in (str(Path.cwd()), *sys.path) if path),
    }
    process = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(result_file)],
        input=pickle.dumps((function, arguments)),
        capture_output=True,
        env=environment,
        timeout=CALL_TIMEOUT_SECONDS,
    )
    if process.returncode == _IMPORT_FAILED:
        errors = process.stderr.decode(errors="replace").strip()
        raise SkipTest(f"another process cannot import the part: {errors}")
    return process


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
