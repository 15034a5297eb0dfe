"""Synchronous iterators over async generators: they are closed, whoever forgets or interrupts them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from threading import Event

import pytest

from rag.concurrency import iterate_in_background, run_in_background


class Numbers:
    """An async generator of numbers that waits after the first one, and says when it is closed."""

    def __init__(self) -> None:
        self.closed = Event()

    async def iterate(self) -> AsyncIterator[int]:
        try:
            yield 1
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            self.closed.set()


@pytest.fixture
def sigint() -> Iterator[None]:
    """Handle SIGINT as Python does: a process that was started in the background ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("sigint")
def test_an_interrupted_wait_closes_the_generator() -> None:
    numbers = Numbers()
    items = iterate_in_background(numbers.iterate())
    assert next(items) == 1
    with pytest.raises(KeyboardInterrupt):
        next(items)
    assert numbers.closed.is_set()
    assert list(items) == []


def test_an_iterator_that_is_collected_in_the_thread_of_the_loop_does_not_stop_it() -> None:
    numbers = Numbers()
    left: list[Iterator[int]] = [iterate_in_background(numbers.iterate())]
    assert next(left[0]) == 1

    async def collect() -> None:
        left.clear()

    run_in_background(collect())
    assert numbers.closed.wait(60)


def test_an_iterator_that_nobody_closed_does_not_keep_the_process() -> None:
    code = """
from rag.concurrency import iterate_in_background
async def count():
    yield 1
    yield 2
items = iterate_in_background(count())
print(next(items))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
