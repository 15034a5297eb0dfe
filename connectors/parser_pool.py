"""Parsing in worker processes, in parallel to other work and isolated from it.

If a parser hangs, crashes or runs out of memory, only the document that it parses fails.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from typing import IO

from pydantic import BaseModel, ConfigDict, Field

from connectors.base import PART, FailedPart, Parser, attach_uri
from connectors.parser_replies import Reply, decode_reply, encode_reply
from rag.errors import RagError, SourceError
from rag.types import Document

_LENGTH_FORMAT = struct.Struct(">Q")
_READY = b"ready"
_MIN_CHARACTERS_LIMIT = 1_000_000  # of a source, whatever its size


class ParserLimits(BaseModel):
    """Limits for parsing one source; a source that exceeds one fails with the reason.

    ``seconds`` limits the wall time, ``memory_mb`` the address space of the worker process in MiB
    (enforced on Linux only), and ``characters`` the text of all documents of the source together.
    A source of more than a million characters may have at most ``characters_per_byte`` for each of
    its bytes, so that a small file cannot keep an index busy for long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(120.0, gt=0)
    memory_mb: int = Field(4_096, ge=256)
    characters: int = Field(100_000_000, ge=1)
    characters_per_byte: float = Field(50.0, gt=0)

    def check_characters(self, characters: int, source_bytes: int) -> None:
        """Raise `SourceError` if a source has too many characters of text."""
        if characters > self.characters:
            raise SourceError(
                f"more than {self.characters:,} characters of text (limits.characters)"
            )
        proportion = int(self.characters_per_byte * source_bytes)
        if characters > max(proportion, _MIN_CHARACTERS_LIMIT):
            raise SourceError(
                f"more than {self.characters_per_byte:g} characters of text for each of its "
                f"{source_bytes:,} bytes (limits.characters_per_byte)"
            )


def choose_process_count() -> int:
    """Return the number of cores minus one, but at least 1."""
    return max(1, (os.cpu_count() or 1) - 1)


class ParserPool:
    """Parses with `parser` in up to `processes` worker processes, each source within `limits`.

    `processes` defaults to the number of cores minus one, but at least 1. With 0, or if the
    parser cannot be sent to a process (one defined in a script or a notebook), parsing runs in
    this process, one source at a time, and only the limit on characters applies. Thread-safe.
    """

    def __init__(
        self, parser: Parser, processes: int | None = None, limits: ParserLimits | None = None
    ) -> None:
        self.parser = parser
        self.limits = limits or ParserLimits()
        self.processes = choose_process_count() if processes is None else processes
        if type(parser).__module__ == "__main__" or not sys.executable:
            self.processes = 0
        self._local_lock = threading.Lock()  # some parsers, such as PDFium, are not thread-safe
        self._workers_lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._idle_workers: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._slots = threading.Semaphore(max(1, self.processes))
        self._is_closed = False

    def parse(self, data: bytes, *, uri: str, mime: str | None) -> list[Document | FailedPart]:
        """Parse one source; see `Parser.documents`. Raises `SourceError` if a limit is exceeded."""
        with self._slots, attach_uri(uri):
            worker = self._acquire_worker() if self.processes else None
            if worker is None:
                with self._local_lock:
                    return _parse_source(self.parser, data, uri, mime, self.limits)
            try:
                return worker.parse(data, uri, mime, self.limits)
            finally:
                self._release_worker(worker)

    def _acquire_worker(self) -> _Worker | None:
        with contextlib.suppress(queue.Empty):
            return self._idle_workers.get_nowait()
        worker = _Worker()
        with self._workers_lock:
            self._workers.add(worker)
            is_closed = self._is_closed
        if is_closed:
            self._discard_worker(worker)
            raise SourceError("the parser pool is closed")
        if worker.prepare(self.parser, self.limits):
            return worker
        self._discard_worker(worker)
        self.processes = 0
        return None

    def _release_worker(self, worker: _Worker) -> None:
        if worker.alive:
            self._idle_workers.put(worker)
        else:
            self._discard_worker(worker)

    def _discard_worker(self, worker: _Worker) -> None:
        worker.stop()
        with self._workers_lock:
            self._workers.discard(worker)

    def close(self) -> None:
        """Stop all processes, even those that are parsing."""
        with self._workers_lock:
            self._is_closed = True
            workers = list(self._workers)
            self._workers.clear()
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that parses one source at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "connectors.parser_pool"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A crash report may hold control characters of the file.
            stderr=None if os.environ.get("RAG_DEBUG") else subprocess.DEVNULL,
        )
        self._stop_lock = threading.Lock()
        self.alive = True

    def prepare(self, parser: Parser, limits: ParserLimits) -> bool:
        """Send the parser to the process; return False if the process cannot load it."""
        try:
            pickled_parser = pickle.dumps(parser)
        except Exception:
            return False
        try:
            request = pickle.dumps((sys.path, pickled_parser, limits.memory_mb))
            return self._request(request) == _READY
        except (EOFError, OSError, ValueError):
            return False

    def parse(
        self, data: bytes, uri: str, mime: str | None, limits: ParserLimits
    ) -> list[Document | FailedPart]:
        timed_out = threading.Event()

        def kill_process() -> None:
            timed_out.set()
            self._process.kill()

        timer = threading.Timer(limits.seconds, kill_process)
        timer.daemon = True
        timer.start()
        try:
            reply = decode_reply(self._request(pickle.dumps((data, uri, mime, limits))))
        except (EOFError, OSError, ValueError):
            self.stop()
            if timed_out.is_set():
                raise SourceError(
                    f"parsing takes more than {limits.seconds:g} s (limits.seconds)"
                ) from None
            code = self._process.returncode
            raise SourceError(
                f"the parser process crashed (exit code {code}; RAG_DEBUG=1 shows its output)"
            ) from None
        finally:
            timer.cancel()
        if isinstance(reply, list):
            return reply
        if isinstance(reply, RagError):
            raise reply
        raise SourceError(f"a component failed ({reply})")

    def _request(self, request: bytes) -> bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
        _send_message(self._process.stdin, request)
        return _receive_message(self._process.stdout)

    def stop(self) -> None:
        with self._stop_lock:
            self.alive = False
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _send_message(pipe: IO[bytes], body: bytes) -> None:
    pipe.write(_LENGTH_FORMAT.pack(len(body)))
    pipe.write(body)
    pipe.flush()


def _receive_message(pipe: IO[bytes]) -> bytes:
    header = pipe.read(_LENGTH_FORMAT.size)
    if len(header) < _LENGTH_FORMAT.size:
        raise EOFError
    (length,) = _LENGTH_FORMAT.unpack(header)
    body = pipe.read(length)
    if len(body) < length:
        raise EOFError
    return bytes(body)


def _run_worker() -> None:
    """Run the worker process: parse each request until the pipe is closed."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of a library must not mix with the replies
    requests = os.fdopen(os.dup(0), "rb")
    os.dup2(
        os.open(os.devnull, os.O_RDONLY), 0
    )  # a program that a parser starts must not read the requests
    with contextlib.suppress(EOFError, BrokenPipeError):
        import_path, pickled_parser, memory_mb = pickle.loads(_receive_message(requests))
        sys.path[:] = import_path
        try:
            parser: Parser = pickle.loads(pickled_parser)
        except Exception as error:
            _send_message(replies, f"{type(error).__name__}: {error}".encode(errors="replace"))
            return
        _limit_memory(memory_mb)
        _send_message(replies, _READY)
        while True:
            data, uri, mime, limits = pickle.loads(_receive_message(requests))
            _send_message(replies, _make_reply(parser, data, uri, mime, limits))
            del data


def _limit_memory(megabytes: int) -> None:
    if sys.platform == "linux":
        import resource

        _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
        limit_bytes = megabytes * 2**20
        if hard_limit == resource.RLIM_INFINITY or limit_bytes < hard_limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, hard_limit))


def _make_reply(
    parser: Parser, data: bytes, uri: str, mime: str | None, limits: ParserLimits
) -> bytes:
    reply: Reply
    try:
        return encode_reply(_parse_source(parser, data, uri, mime, limits))
    except RagError as error:
        reply = error
    except MemoryError:
        memory = f"more than {limits.memory_mb:,} MiB of memory"
        reply = SourceError(f"parsing takes {memory} (limits.memory_mb)")
    except Exception as error:
        reply = " ".join(f"{type(error).__name__}: {error}".split())
    return encode_reply(reply)


def _parse_source(
    parser: Parser, data: bytes, uri: str, mime: str | None, limits: ParserLimits
) -> list[Document | FailedPart]:
    parts: list[Document | FailedPart] = []
    characters = 0
    for part in parser.documents(data, uri=uri, mime=mime):
        parts.append(part)
        characters += len(part.text) if isinstance(part, Document) else 0
        limits.check_characters(characters, len(data))
    _check_uris(parser, uri, parts)
    return parts


def _check_uris(parser: Parser, uri: str, parts: list[Document | FailedPart]) -> None:
    """Check the contract of a parser: two documents with one uri would replace each other."""
    uris = [part.uri for part in parts]
    if len(set(uris)) < len(uris) or not all(
        part_uri == uri or part_uri.startswith(uri + PART) for part_uri in uris
    ):
        raise SourceError(
            f"the parser {parser.name!r} returned parts with duplicate or foreign uris"
        )


if __name__ == "__main__":
    _run_worker()
