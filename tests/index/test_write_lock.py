import subprocess
import sys
from pathlib import Path

import pytest

from rag.errors import IndexLocked
from rag.index.write_lock import write_lock

HOLD = """
import sys, pathlib
from rag.index.write_lock import write_lock
with write_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_in_this_process_is_refused(tmp_path: Path) -> None:
    with write_lock(tmp_path), pytest.raises(IndexLocked), write_lock(tmp_path):
        pass
    with write_lock(tmp_path):
        pass


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(IndexLocked, match=rf"process {holder.pid} on \S+ since 20"):
        with write_lock(tmp_path):
            pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert holder.stdin is not None
    holder.stdin.close()
    with write_lock(tmp_path):
        pass
