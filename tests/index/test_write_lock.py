"""The write lock of an index."""

import subprocess
import sys
from pathlib import Path

import pytest

from rag.errors import IndexLocked
from rag.index.write_lock import hold_write_lock

HOLD_LOCK = """
import sys, pathlib
from rag.index.write_lock import hold_write_lock
with hold_write_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_in_this_process_is_refused(tmp_path: Path) -> None:
    with hold_write_lock(tmp_path), pytest.raises(IndexLocked), hold_write_lock(tmp_path):
        pass
    with hold_write_lock(tmp_path):
        pass


def test_error_names_the_process_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(IndexLocked, match=rf"process {holder.pid} on \S+ since 20"):
        with hold_write_lock(tmp_path):
            pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert holder.stdin is not None
    holder.stdin.close()
    with hold_write_lock(tmp_path):
        pass
