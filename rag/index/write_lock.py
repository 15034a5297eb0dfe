"""The write lock of an index: a lock file, and a note about the process that holds it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import IndexLocked, RagIndexError


@contextmanager
def hold_write_lock(folder: Path) -> Iterator[None]:
    """Hold the write lock of the index in `folder`; raise `IndexLocked` at once if it is taken.

    The operating system releases the lock when the holding process ends, however it ends. The lock
    also excludes a second writer in the same process.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "write.lock", timeout=0, thread_local=False)
    holder_file = folder / "writer.json"
    try:
        lock.acquire()
    except Timeout:
        raise IndexLocked(_describe_holder(folder, holder_file), path=folder) from None
    except OSError as error:
        raise RagIndexError(
            f"cannot write to {folder}: {error.strerror or error}", path=folder
        ) from None
    try:
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": _current_time()}
        with contextlib.suppress(OSError):  # a full disk: the lock works without the note
            holder_file.write_text(json.dumps(note), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            holder_file.unlink()
        lock.release()


def _describe_holder(folder: Path, holder_file: Path) -> str:
    try:
        note = json.loads(holder_file.read_text(encoding="utf-8"))
        process = f"process {note['pid']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError):
        process = "another process"
    return f"{process} is writing to {folder}: wait for it, or stop it"


def _current_time() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
