"""Retries: transient failures, delays, and the header Retry-After."""

import email.utils
import time
from collections.abc import Callable

import pytest

from rag.errors import ModelAuthError, ModelError, ModelRateLimited, ModelUnreachable
from rag.providers import retries
from rag.providers.retries import backoff_seconds, call_with_retries, parse_retry_after


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays of `call_with_retries`, which does not sleep."""
    recorded: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", recorded.append)
    return recorded


def fail_with(*errors: ModelError) -> Callable[[], str]:
    """Return a function that raises the `errors` one after another, and then returns "done"."""
    remaining = list(errors)

    def call() -> str:
        if remaining:
            raise remaining.pop(0)
        return "done"

    return call


def test_transient_failures_are_retried_after_the_delay_of_the_server(delays: list[float]) -> None:
    call = fail_with(ModelRateLimited("x", retry_after=3.0), ModelUnreachable("x", retry_after=120))
    assert call_with_retries(call, 2) == "done"
    assert delays == [3.0, 120]


def test_delays_without_retry_after_double_up_to_a_limit(delays: list[float]) -> None:
    call = fail_with(*[ModelUnreachable("x")] * 6)
    assert call_with_retries(call, 6) == "done"
    for delay, expected in zip(delays, [0.5, 1, 2, 4, 8, 8], strict=True):
        assert 0.75 * expected <= delay <= expected


def test_last_error_is_raised_when_the_retries_are_used_up(delays: list[float]) -> None:
    call = fail_with(ModelRateLimited("first"), ModelRateLimited("second"), ModelRateLimited("x"))
    with pytest.raises(ModelRateLimited, match="second"):
        call_with_retries(call, 1)
    assert len(delays) == 1


@pytest.mark.parametrize(
    "error", [ModelAuthError("x"), ModelError("x"), ModelRateLimited("x", retry_after=120.5)]
)
def test_permanent_failures_and_long_delays_are_not_retried(
    error: ModelError, delays: list[float]
) -> None:
    with pytest.raises(type(error)):
        call_with_retries(fail_with(error), 5)
    assert delays == []


def test_zero_retries_call_once(delays: list[float]) -> None:
    with pytest.raises(ModelUnreachable):
        call_with_retries(fail_with(ModelUnreachable("x")), 0)
    assert call_with_retries(fail_with(), 0) == "done"
    assert delays == []


def test_backoff_is_at_most_eight_seconds() -> None:
    assert max(backoff_seconds(retry) for retry in range(30)) <= 8


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), (" 0.5 ", 0.5), ("0", 0.0), ("-1", None), ("nan", None), ("inf", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert parse_retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date() -> None:
    future = email.utils.formatdate(time.time() + 30, usegmt=True)
    seconds = parse_retry_after({"retry-after": future})
    assert seconds is not None and 25 < seconds <= 30
    assert parse_retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@pytest.mark.parametrize("headers", [None, {}, {"retry-after": ""}, {"retry-after": "soon"}])
def test_no_delay_without_a_valid_retry_after(headers: dict[str, str] | None) -> None:
    assert parse_retry_after(headers) is None
