"""One writer at a time: a lock file that says who holds it."""

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
def write_lock(folder: Path) -> Iterator[None]:
    """Hold the writer's lock of the index in `folder`, or raise `IndexLocked` at once.

    The operating system releases the lock when its holder dies, however it dies. It also keeps
    apart two writers in one process.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "write.lock", timeout=0, thread_local=False)
    holder = folder / "writer.json"
    try:
        lock.acquire()
    except Timeout:
        raise IndexLocked(_held_by(folder, holder)) from None
    except OSError as error:
        raise RagIndexError(f"cannot write to {folder}: {error.strerror or error}") from None
    try:
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the note
            holder.write_text(json.dumps(note), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink()
        lock.release()


def _held_by(folder: Path, holder: Path) -> str:
    try:
        note = json.loads(holder.read_text(encoding="utf-8"))
        who = f"process {note['pid']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError):
        who = "another process"
    return f"{who} is writing to {folder}: wait for it, or stop it"


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
