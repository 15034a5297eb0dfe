"""Parsing in processes of their own: beside other work, and apart from it.

A parser that hangs on a document, crashes on it, or takes the memory of its process costs that
document, and nothing else.
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
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field

from connectors.base import PART, FailedPart, Parser
from rag.errors import RagError, SourceError
from rag.types import Document

_LENGTH = struct.Struct(">Q")


class ParserLimits(BaseModel):
    """What parsing one source may take; one that takes more fails, with the reason.

    ``seconds`` of wall time, ``memory_mb`` (MiB) of the process that parses it (as address space;
    kept on Linux), and ``characters`` of text that come out, of all its documents together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(120.0, gt=0)
    memory_mb: int = Field(4_096, ge=256)
    characters: int = Field(100_000_000, ge=1)


def usual_processes() -> int:
    """One for each core but one, and one at least."""
    return max(1, (os.cpu_count() or 1) - 1)


class ParserPool:
    """Parses with `parser` in up to `processes` other processes, each source within `limits`.

    Without a number there is one process for each core but one, and one at least. With 0, or
    where the parser cannot be handed over (one defined in a script or a notebook), parsing is
    done in this process, one source at a time, and only the limit on characters holds. May be
    shared by threads.
    """

    def __init__(
        self, parser: Parser, processes: int | None = None, limits: ParserLimits | None = None
    ) -> None:
        self.parser = parser
        self.limits = limits or ParserLimits()
        self.processes = usual_processes() if processes is None else processes
        if type(parser).__module__ == "__main__" or not sys.executable:
            self.processes = 0
        self._here = threading.Lock()  # PDFium, for one, is not made for threads
        self._guard = threading.Lock()
        self._started: set[_Worker] = set()
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._slots = threading.Semaphore(max(1, self.processes))
        self._closed = False

    def parse(self, data: bytes, *, uri: str, mime: str | None) -> list[Document | FailedPart]:
        """See `Parser.documents`. Raises `SourceError` also where a limit is met."""
        with self._slots:
            worker = self._worker() if self.processes else None
            if worker is None:
                with self._here:
                    return _parsed(self.parser, data, uri, mime, self.limits)
            try:
                return worker.parse(data, uri, mime, self.limits)
            finally:
                self._give_back(worker)

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
        if worker.prepare(self.parser, self.limits):
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
            [sys.executable, "-P", "-m", "connectors.parser_pool"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stopping = threading.Lock()
        self.alive = True

    def prepare(self, parser: Parser, limits: ParserLimits) -> bool:
        """Hand the parser over; False where the process cannot make it."""
        try:
            made = pickle.dumps(parser)
        except Exception:
            return False
        try:
            return bool(self._ask((sys.path, made, limits.memory_mb)) == "ready")
        except (EOFError, OSError, ValueError):
            return False

    def parse(
        self, data: bytes, uri: str, mime: str | None, limits: ParserLimits
    ) -> list[Document | FailedPart]:
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            self._process.kill()

        timer = threading.Timer(limits.seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            reply = self._ask((data, uri, mime, limits))
        except (EOFError, OSError, ValueError):
            self.stop()
            if overdue.is_set():
                raise SourceError(
                    f"parsing it takes more than {limits.seconds:g} s (limits.seconds)"
                ) from None
            code = self._process.returncode
            raise SourceError(f"the parser crashed on it (exit code {code})") from None
        finally:
            timer.cancel()
        if isinstance(reply, list):
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
        path, made, memory_mb = _receive(questions)
        sys.path[:] = path
        try:
            parser: Parser = pickle.loads(made)
        except Exception as error:
            _send(answers, f"{type(error).__name__}: {error}")
            return
        _bound_memory(memory_mb)
        _send(answers, "ready")
        while True:
            data, uri, mime, limits = _receive(questions)
            _send(answers, _answer(parser, data, uri, mime, limits))
            del data


def _bound_memory(megabytes: int) -> None:
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = megabytes * 2**20
        if hard == resource.RLIM_INFINITY or wanted < hard:
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _answer(parser: Parser, data: bytes, uri: str, mime: str | None, limits: ParserLimits) -> Any:
    try:
        reply: Any = _parsed(parser, data, uri, mime, limits)
        pickle.dumps(reply)
    except RagError as error:
        reply = error
    except MemoryError:
        much = f"more than {limits.memory_mb:,} MiB of memory"
        reply = SourceError(f"parsing it takes {much} (limits.memory_mb)")
    except Exception as error:
        reply = " ".join(f"{type(error).__name__}: {error}".split())
    return reply


def _parsed(
    parser: Parser, data: bytes, uri: str, mime: str | None, limits: ParserLimits
) -> list[Document | FailedPart]:
    found: list[Document | FailedPart] = []
    characters = 0
    for part in parser.documents(data, uri=uri, mime=mime):
        found.append(part)
        characters += len(part.text) if isinstance(part, Document) else 0
        if characters > limits.characters:
            raise SourceError(
                f"it holds more than {limits.characters:,} characters of text (limits.characters)"
            )
    _check_uris(parser, uri, found)
    return found


def _check_uris(parser: Parser, uri: str, found: list[Document | FailedPart]) -> None:
    """Hold a parser to its contract: two documents of one uri would replace each other."""
    uris = [part.uri for part in found]
    if len(set(uris)) < len(uris) or not all(
        name == uri or name.startswith(uri + PART) for name in uris
    ):
        raise SourceError(f"the parser {parser.name!r} gave parts with uris that are not theirs")


if __name__ == "__main__":
    _serve()
