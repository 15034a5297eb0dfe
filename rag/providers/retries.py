"""Retries of hosted models: the retry count, what is retried (HTTP 429 ...), and `Retry-After`.

OpenAI's client retries on its own; it is given the retry count. So is Cohere's client for
embeddings and reranking, but it does not retry streams or timeouts. `call_with_retries` does, for
Cohere's chat and for LiteLLM. The rules:

=====================  ====================  ====================  =====================
rule                   openai                cohere                `call_with_retries`
=====================  ====================  ====================  =====================
HTTP statuses          408, 409, 429, 5xx    408, 409, 429, 5xx    408, 429, 5xx
connection failures    yes                   yes                   yes
timeouts               yes                   no                    yes
``Retry-After``        obeyed; over 120 s:   obeyed, at most 60 s  obeyed; over 120 s:
                       no retry                                    no retry
without it, wait for   0.5 s, then doubled   1 s, then doubled     0.5 s, then doubled
                       (at most 8 s)         (at most 60 s)        (at most 8 s)
=====================  ====================  ====================  =====================

The first two columns are read from openai 3.52 (``_base_client.py``) and cohere 7.3
(``core/http_client.py``). Once a stream has begun, it is not retried.
"""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeVar

from pydantic import Field

from rag.call_context import check_limits, current_context
from rag.component import NotFingerprinted
from rag.errors import ModelRateLimited, ModelUnreachable

DEFAULT_RETRIES = 2
MAX_RETRIES = 10
MAX_RETRY_AFTER_SECONDS = 120.0
INITIAL_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 8.0

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
