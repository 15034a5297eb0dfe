"""Calls in another process: a helper process that calls share, and that is replaced when needed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from unittest import SkipTest

import pytest

from rag.testing import call_in_other_process, calls

HASHED_WORDS = ("drone", "battery", "propeller")


def hash_words(words: tuple[str, ...]) -> list[int]:
    return [hash(word) for word in words]


def print_and_add(first: int, second: int) -> int:
    sys.stdout.write("This line must not become a part of the reply.\n")
    return first + second


def fail(reason: str) -> None:
    raise ValueError(reason)


def test_calls_share_one_process_that_is_not_this_one() -> None:
    helper_id = call_in_other_process(os.getpid)
    assert helper_id != os.getpid()
    assert call_in_other_process(os.getpid) == helper_id


def test_hashes_differ_in_the_other_process() -> None:
    assert call_in_other_process(hash_words, HASHED_WORDS) != hash_words(HASHED_WORDS)


def test_printed_text_does_not_damage_the_reply() -> None:
    assert call_in_other_process(print_and_add, 1, 2) == 3


def test_error_is_reported_and_the_process_is_kept() -> None:
    helper_id = call_in_other_process(os.getpid)
    with pytest.raises(AssertionError, match="ValueError: the reason"):
        call_in_other_process(fail, "the reason")
    assert call_in_other_process(os.getpid) == helper_id


@pytest.mark.parametrize("exit_process", [sys.exit, os._exit], ids=["sys.exit", "os._exit"])
def test_ended_process_is_an_error_and_is_replaced(exit_process: object) -> None:
    helper_id = call_in_other_process(os.getpid)
    with pytest.raises(AssertionError, match="the exit code is 7"):
        call_in_other_process(exit_process, 7)  # type: ignore[arg-type]
    assert call_in_other_process(os.getpid) != helper_id


def test_call_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    call_in_other_process(os.getpid)
    monkeypatch.setattr(calls, "CALL_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(AssertionError, match="the exit code is -9"):
        call_in_other_process(time.sleep, 60)


def test_changed_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("1", "2"):
        monkeypatch.setenv("CITEWELL_TEST_VALUE", value)
        assert call_in_other_process(os.getenv, "CITEWELL_TEST_VALUE") == value


def test_changed_working_directory_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call_in_other_process(os.getcwd) == str(tmp_path)


def test_module_that_only_this_process_has_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def double(number):\n    return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here  # type: ignore[import-not-found]

    assert call_in_other_process(only_here.double, 2) == 4
    sys.path.remove(str(tmp_path))
    with pytest.raises(SkipTest, match="only_here"):
        call_in_other_process(only_here.double, 2)
