"""Concurrency: limits, parallel calls, and synchronous iterators for event loops."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import Context, copy_context
from functools import lru_cache
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from rag.call_context import Cancellation, check_limits, current_context, limit_call
from rag.errors import DeadlineExceeded

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Item = TypeVar("_Item")


@contextmanager
def limit_concurrency(key: str, limit: int) -> Iterator[None]:
    """Run the body of the ``with`` at most `limit` times at once in this process, per `key`.

    Further threads wait, at most until their call must stop. Hold it only while you wait for the
    model, not while a stream is consumed: the consumer of a stream may call the same model between
    two tokens and would wait forever.
    """
    limiter = _get_limiter(key, limit)
    permit = limiter.request()
    try:
        _await_permit(permit)
        yield
    finally:
        limiter.give_back(permit)


def _await_permit(permit: Future[None]) -> None:
    """Wait for a permit. Raises `CallCancelled` or `DeadlineExceeded`."""
    context = current_context()
    with ExitStack() as callbacks:
        for cancellation in context.cancellations:
            callbacks.enter_context(cancellation.notify(permit.cancel))
        try:
            permit.result(context.remaining_seconds)
        except (CancelledError, TimeoutError):
            context.check()
            raise


@asynccontextmanager
async def limit_async_concurrency(key: str, limit: int) -> AsyncIterator[None]:
    """Do as `limit_concurrency` in an asyncio task; threads and tasks share one limit."""
    import asyncio

    limiter = _get_limiter(key, limit)
    permit = limiter.request()
    try:
        if not permit.done():
            await asyncio.wrap_future(permit)
        yield
    finally:
        limiter.give_back(permit)


class _Limiter:
    """A number of permits for threads and asyncio tasks, in the order of their requests.

    A permit is a future. It is done when its owner may run.
    """

    def __init__(self, limit: int) -> None:
        self._free_count = limit
        self._waiting: deque[Future[None]] = deque()
        self._lock = Lock()

    def request(self) -> Future[None]:
        """Return a permit; wait until it is done."""
        permit: Future[None] = Future()
        with self._lock:
            if self._free_count:
                self._free_count -= 1
                permit.set_result(None)
            else:
                self._waiting.append(permit)
        return permit

    def give_back(self, permit: Future[None]) -> None:
        """Give back a permit, also one that is not done because its owner stopped waiting."""
        if permit.cancel():
            return
        with self._lock:
            while self._waiting:
                next_permit = self._waiting.popleft()
                if next_permit.set_running_or_notify_cancel():
                    break
            else:
                self._free_count += 1
                return
        next_permit.set_result(None)


def _get_limiter(key: str, limit: int) -> _Limiter:
    return _make_limiter(key, limit, os.getpid())


@lru_cache(maxsize=1_024)
def _make_limiter(key: str, limit: int, process: int) -> _Limiter:
    """Return the limiter of a process; the permits of a forked one's parent are not its own."""
    return _Limiter(limit)


@asynccontextmanager
async def stop_at_limits() -> AsyncIterator[None]:
    """End the block at once when the running call must stop, also while it awaits.

    At the deadline of the call, or when the call is cancelled, what the block awaits is cancelled,
    and the block raises `DeadlineExceeded` or `CallCancelled`. Only for asyncio.
    """
    import asyncio

    context = current_context()
    context.check()
    loop = asyncio.get_running_loop()
    timeout = asyncio.timeout(context.remaining_seconds)

    def expire() -> None:
        with suppress(RuntimeError):  # the block has ended
            timeout.reschedule(loop.time())

    try:
        async with timeout:
            with ExitStack() as callbacks:
                for cancellation in context.cancellations:
                    callbacks.enter_context(
                        cancellation.notify(lambda: loop.call_soon_threadsafe(expire))
                    )
                yield
    except TimeoutError:
        if not timeout.expired():
            raise
    if timeout.expired():
        context.check()
        # The timer of an event loop may end a clock tick early.
        raise DeadlineExceeded("the call took longer than its deadline allows")


def map_concurrently(
    call: Callable[[_In], _Out], inputs: Iterable[_In], concurrency: int
) -> list[_Out]:
    """Return the results of `call` for all `inputs`, in their order.

    Up to `concurrency` calls run at once, in threads. Each runs in a copy of the caller's context,
    so usage trackers of the caller count what the calls use.
    """
    inputs = list(inputs)
    if len(inputs) < 2 or concurrency < 2:
        return [call(item) for item in inputs]

    def call_within_limits(item: _In) -> _Out:
        check_limits()
        return call(item)

    def run(context: Context, item: _In) -> _Out:
        return context.run(call_within_limits, item)

    contexts = [copy_context() for _ in inputs]
    with ThreadPoolExecutor(min(concurrency, len(inputs))) as threads:
        return list(threads.map(run, contexts, inputs))


@contextmanager
def close_at_end(items: Iterator[_Item]) -> Iterator[Iterator[_Item]]:
    """Close the generator `items` when the ``with`` ends; other iterators are left alone."""
    try:
        yield items
    finally:
        if (close := getattr(items, "close", None)) is not None:
            close()


@asynccontextmanager
async def aclose_at_end(items: AsyncIterator[_Item]) -> AsyncIterator[AsyncIterator[_Item]]:
    """Do as `close_at_end` for an async generator."""
    try:
        yield items
    finally:
        if (aclose := getattr(items, "aclose", None)) is not None:
            await aclose()


def iterate_in_own_context(
    items: Iterator[_Item], cancellation: Cancellation | None = None
) -> Iterator[_Item]:
    """Yield the items of a generator, and run all its steps in one copy of the current context.

    Context variables that the generator sets (a usage tracker, a span) keep their values from step
    to step, in whichever thread each step runs, and do not change the consumer's context.
    """
    with limit_call(cancellation=cancellation):
        context = copy_context()
    end = object()

    def close() -> None:
        with close_at_end(items):
            pass

    try:
        while (item := context.run(next, items, end)) is not end:
            yield item  # type: ignore[misc]
    finally:
        context.run(close)


def run_in_background(coroutine: Coroutine[Any, Any, _Out]) -> _Out:
    """Return the result of a coroutine, which runs on an event loop in a thread.

    What it awaits ends at once when the running call must stop (`stop_at_limits`): a synchronous
    read of a socket would go on until the server sends something.
    """

    async def run() -> _Out:
        async with stop_at_limits():
            return await coroutine

    future = _start_in_background(run())
    try:
        return future.result()
    finally:
        future.cancel()  # of an interrupted wait


def iterate_in_background(items: AsyncIterator[_Item]) -> Iterator[_Item]:
    """Yield the items of an async generator, whose steps run as in `run_in_background`.

    It is closed at the end. This is not waited for where nothing could end it: when an iterator
    that nobody closed is collected in the thread of the event loop, or at the end of the process.
    """
    import asyncio

    end = object()
    step_lock = asyncio.Lock()  # an interrupted step ends a little later than its wait
    last_step: asyncio.Task[Any] | None = None

    async def step() -> _Item | object:
        nonlocal last_step
        last_step = asyncio.current_task()
        async with step_lock:
            return await anext(items, end)

    async def close() -> None:
        if last_step is not None:  # it goes on if its wait was interrupted before it had begun
            last_step.cancel()
        async with step_lock, aclose_at_end(items):
            pass

    try:
        while (item := run_in_background(step())) is not end:
            yield item  # type: ignore[misc]
    finally:
        if not sys.is_finalizing():
            closing = _start_in_background(close())
            if not _is_running(_get_background_loop(os.getpid())):
                closing.result()


def _is_running(loop: AbstractEventLoop) -> bool:
    """Whether an event loop runs in this thread."""
    import asyncio

    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _start_in_background(coroutine: Coroutine[Any, Any, _Out]) -> Future[_Out]:
    import asyncio

    return asyncio.run_coroutine_threadsafe(coroutine, _get_background_loop(os.getpid()))


_background_lock = Lock()


def _get_background_loop(process: int) -> AbstractEventLoop:
    """Return the event loop of a thread; a forked process has its own."""
    with _background_lock:  # two threads would start two
        return _start_background_loop(process)


@lru_cache(maxsize=1)
def _start_background_loop(process: int) -> AbstractEventLoop:
    import asyncio

    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, name="citewell-background", daemon=True).start()
    return loop


async def iterate_in_threads(
    items: Iterator[_Item], *, at_once: bool = False
) -> AsyncIterator[_Item]:
    """Yield the items of a generator without blocking the event loop.

    Each step runs in a worker thread; `at_once` runs all steps in one go, which is faster if the
    generator does not wait between items. When this iterator is closed or cancelled, what the
    generator calls is cancelled (`Cancellation`), and the generator is closed as well.
    """
    from anyio import CancelScope, to_thread

    cancellation = Cancellation()
    steps = iterate_in_own_context(items, cancellation)
    end = object()
    step_lock = Lock()

    def step() -> _Item | object:
        with step_lock:
            return next(steps, end)

    def all_steps() -> list[_Item]:
        with step_lock:
            return list(steps)

    def close() -> None:
        with step_lock, close_at_end(steps):  # waits until a cancelled step has ended
            pass

    try:
        if at_once:
            for item in await to_thread.run_sync(all_steps):
                yield item
            return
        while (result := await to_thread.run_sync(step)) is not end:
            yield result  # type: ignore[misc]
    finally:
        cancellation.cancel()
        with CancelScope(shield=True):
            await to_thread.run_sync(close)
