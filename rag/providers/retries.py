"""Retries of hosted models: the retry count, what is retried, and ``Retry-After``.

Retried are HTTP 408, 429 and 5xx, connection failures and timeouts. A delay that the server asks
for (``Retry-After``) is obeyed; over 120 seconds, there is no retry. Without it, the first wait is
half a second, and each later one twice as long, at most 8 seconds. Longer waits are logged with
their end. Once a stream has begun, it is not retried.
"""

from __future__ import annotations

import email.utils
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

from pydantic import Field

from rag.call_context import check_limits, current_context
from rag.component import NotFingerprinted
from rag.errors import ModelRateLimited, ModelUnreachable

_log = logging.getLogger(__name__)

DEFAULT_RETRIES = 2
MAX_RETRIES = 10
MAX_RETRY_AFTER_SECONDS = 120.0
INITIAL_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 8.0
LOGGED_WAIT_SECONDS = 2.0

RetryCount = Annotated[int, NotFingerprinted, Field(ge=0, le=MAX_RETRIES)]
"""Type of a setting that holds the number of retries; 0 turns retries off."""

_Result = TypeVar("_Result")


def call_with_retries(call: Callable[[], _Result], retries: int) -> _Result:
    """Return the result of `call`; after a transient failure, wait and call again.

    Transient are `ModelRateLimited` and `ModelUnreachable`. After `retries` retries, or if the
    server asks to wait longer than `MAX_RETRY_AFTER_SECONDS`, the error is raised, and also if the
    wait would end after the deadline of the call (`rag.call_context`).
    """
    for retry in range(retries):
        try:
            return call()
        except (ModelRateLimited, ModelUnreachable) as error:
            delay = _delay_before_retry(error, retry)
            if delay is None:
                raise
            _log_wait(error, delay)
        time.sleep(delay)
        check_limits()
    return call()


async def acall_with_retries(call: Callable[[], Awaitable[_Result]], retries: int) -> _Result:
    """Do as `call_with_retries` with an async `call`, on asyncio."""
    import asyncio

    for retry in range(retries):
        try:
            return await call()
        except (ModelRateLimited, ModelUnreachable) as error:
            delay = _delay_before_retry(error, retry)
            if delay is None:
                raise
            _log_wait(error, delay)
        await asyncio.sleep(delay)
        check_limits()
    return await call()


def _delay_before_retry(error: ModelRateLimited | ModelUnreachable, retry: int) -> float | None:
    """Return how long to wait before the retry number `retry`, in seconds; None for no retry."""
    if error.retry_after is not None and error.retry_after > MAX_RETRY_AFTER_SECONDS:
        return None
    delay = error.retry_after or backoff_seconds(retry)
    remaining_seconds = current_context().remaining_seconds
    if remaining_seconds is not None and delay >= remaining_seconds:
        return None
    return delay


def _log_wait(error: Exception, seconds: float) -> None:
    """Say why a call waits, and until when."""
    if seconds >= LOGGED_WAIT_SECONDS:
        end = datetime.now() + timedelta(seconds=seconds)
        _log.warning("%s: waiting %d s, until %s", error, math.ceil(seconds), f"{end:%H:%M:%S}")


def backoff_seconds(retry: int) -> float:
    """Return how long to wait before the retry number `retry` (from 0), in seconds.

    Exponential, with up to 25 % less at random, so that many clients do not retry at once. The
    same formula as in OpenAI's client.
    """
    delay = min(INITIAL_BACKOFF_SECONDS * 2.0**retry, MAX_BACKOFF_SECONDS)
    return delay * (1 - 0.25 * random.random())


def parse_retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Return the seconds that the header ``Retry-After`` asks to wait; None without the header.

    The header is a number of seconds or an HTTP date (RFC 9110, section 10.2.3). `headers` must
    look up names in lower case, as httpx's do.
    """
    value = str((headers or {}).get("retry-after") or "").strip()
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return seconds if 0 <= seconds < float("inf") else None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
