"""Parsing in processes of their own: beside other work, and apart from it.

A parser that takes the memory of its process, or crashes it, costs one document.
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
import time
from typing import IO, Any

from connectors.base import Parser
from rag.errors import RagError, SourceError
from rag.types import Document

_PATIENCE = 1.0  # seconds of parsing before processes are started: most folders need none
_LONGEST = 600.0  # seconds a process may take for one document
_LENGTH = struct.Struct(">Q")


class Parsing:
    """Parses with `parser`: text at first in this process, the rest in up to `processes` others.

    Without a number there is one process for each core but one, and one at least. May be shared
    by threads. The parser has to be importable: one defined in a script or a notebook is used in
    this process.
    """

    def __init__(self, parser: Parser, processes: int | None = None) -> None:
        self.parser = parser
        self.processes = max(1, (os.cpu_count() or 1) - 1) if processes is None else processes
        if type(parser).__module__ == "__main__" or not sys.executable:
            self.processes = 0
        self._spent = 0.0
        self._here = threading.Lock()  # PDFium, for one, is not made for threads
        self._guard = threading.Lock()
        self._started: set[_Worker] = set()
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._slots = threading.Semaphore(max(1, self.processes))
        self._closed = False

    def parse(self, data: bytes, *, uri: str, mime: str | None) -> Document:
        """See `Parser.parse`. Raises `SourceError` also where the parser crashes or hangs."""
        if self._is_for_here(data):
            with self._here:
                if self._is_for_here(data):
                    return self._parse_here(data, uri, mime)
        with self._slots:
            worker = self._worker()
            if worker is None:
                with self._here:
                    return self._parse_here(data, uri, mime)
            try:
                return worker.parse(data, uri, mime)
            finally:
                self._give_back(worker)

    def _is_for_here(self, data: bytes) -> bool:
        """Whether to parse in this process: text, as long as there is little of it."""
        return not self.processes or (self._spent < _PATIENCE and _is_text(data))

    def _parse_here(self, data: bytes, uri: str, mime: str | None) -> Document:
        started = time.perf_counter()
        try:
            return self.parser.parse(data, uri=uri, mime=mime)
        finally:
            self._spent += time.perf_counter() - started

    def _worker(self) -> _Worker | None:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        worker = _Worker()
        with self._guard:
            self._started.add(worker)
            closed = self._closed
        if closed:
            self._drop(worker)
            raise SourceError("stopped")
        if worker.prepare(self.parser):
            return worker
        self._drop(worker)
        self.processes = 0
        return None

    def _give_back(self, worker: _Worker) -> None:
        if worker.alive:
            self._idle.put(worker)
        else:
            self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        worker.stop()
        with self._guard:
            self._started.discard(worker)

    def close(self) -> None:
        """Stop the processes, whatever they are doing."""
        with self._guard:
            self._closed = True
            workers = list(self._started)
            self._started.clear()
        for worker in workers:
            worker.stop()


class _Worker:
    """One process that parses documents, one after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "connectors.parsing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stopping = threading.Lock()
        self.alive = True

    def prepare(self, parser: Parser) -> bool:
        """Hand the parser over; False where the process cannot make it."""
        try:
            made = pickle.dumps(parser)
        except Exception:
            return False
        try:
            return bool(self._ask((sys.path, made)) == "ready")
        except (EOFError, OSError, ValueError):
            return False

    def parse(self, data: bytes, uri: str, mime: str | None) -> Document:
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            self._process.kill()

        timer = threading.Timer(_LONGEST, give_up)
        timer.daemon = True
        timer.start()
        try:
            reply = self._ask((data, uri, mime))
        except (EOFError, OSError, ValueError):
            self.stop()
            if overdue.is_set():
                raise SourceError(f"the parser took more than {_LONGEST:.0f} s") from None
            code = self._process.returncode
            raise SourceError(f"the parser crashed on it (exit code {code})") from None
        finally:
            timer.cancel()
        if isinstance(reply, Document):
            return reply
        if isinstance(reply, RagError):
            raise reply
        raise SourceError(f"a part failed ({reply})")

    def _ask(self, question: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        _send(self._process.stdin, question)
        return _receive(self._process.stdout)

    def stop(self) -> None:
        with self._stopping:
            self.alive = False
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _is_text(data: bytes) -> bool:
    """No format of pages and pictures, whose parsers are large and written in C."""
    return b"\0" not in data[:4096] and not data.lstrip()[:5].startswith(b"%PDF")


def _send(pipe: IO[bytes], message: Any) -> None:
    body = pickle.dumps(message)
    pipe.write(_LENGTH.pack(len(body)))
    pipe.write(body)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    if len(body) < length:
        raise EOFError
    return pickle.loads(body)


def _serve() -> None:
    """What a process does: parse what it is sent, until nothing comes any more."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the answers
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # nor may a program it starts read the questions
    with contextlib.suppress(EOFError, BrokenPipeError):
        path, made = _receive(questions)
        sys.path[:] = path
        try:
            parser: Parser = pickle.loads(made)
        except Exception as error:
            _send(answers, f"{type(error).__name__}: {error}")
            return
        _send(answers, "ready")
        while True:
            data, uri, mime = _receive(questions)
            _send(answers, _parsed(parser, data, uri, mime))


def _parsed(parser: Parser, data: bytes, uri: str, mime: str | None) -> Any:
    try:
        reply: Any = parser.parse(data, uri=uri, mime=mime)
        pickle.dumps(reply)
    except RagError as error:
        reply = error
    except Exception as error:
        reply = " ".join(f"{type(error).__name__}: {error}".split())
    return reply


if __name__ == "__main__":
    _serve()
