"""People judge answers, quickly: a page in the browser, or the terminal; a line for each judgement.

Labels are appended to a file of JSON lines that `rag eval calibrate` reads. What was judged already
is not shown again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from evals import journal
from evals.runs import RunResult
from evals.scores import Unit
from rag.errors import ConfigError, QueryError

PAGE = Path(__file__).parent / "label.html"
_LONGEST_BODY = 10_000  # bytes
LABELS = {"yes": 1, "no": 0, "skip": None}


@dataclass(frozen=True, slots=True)
class Task:
    """A claim to judge, by the passages it was given from."""

    id: str
    question: str
    claim: str
    answer: str
    contexts: tuple[str, ...]
    titles: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What the page shows."""
        return asdict(self)


def tasks_of(run: RunResult) -> list[Task]:
    """The claims of a run's answers, in the order of the questions.

    Raises `QueryError` where no claim was judged: the run needs the metric faithfulness.
    """
    found: list[Task] = []
    for question, score in zip(run.questions, run.scores.get("faithfulness", ()), strict=False):
        item = run.items.get(question.id)
        if item is None or item.sample is None:
            continue
        units: Sequence[Unit] = score.units
        for unit in units:
            found.append(
                Task(
                    id=f"{question.id}:{unit.start}:{_short_hash(unit.claim)}",
                    question=question.question,
                    claim=unit.claim,
                    answer=item.sample.answer,
                    contexts=tuple(passage.text for passage in item.sample.contexts),
                    titles=tuple(p.title or p.uri for p in item.sample.contexts),
                )
            )
    if not found:
        raise QueryError("there is no claim to judge: the run needs the metric faithfulness")
    return found


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


class Labels:
    """The file of labels; threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self.done: dict[str, int | None] = {}
        try:
            for record in journal.records(path, mend=True):
                if "id" in record:
                    self.done[str(record["id"])] = record.get("label")
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None

    def add(self, task: Task, verdict: str) -> bool:
        """Write a judgement down: ``yes``, ``no`` or ``skip``. False where it was there already."""
        if verdict not in LABELS:
            raise QueryError(f"not a judgement: {verdict!r}; yes, no or skip")
        label = LABELS[verdict]
        with self._guard:
            if task.id in self.done:
                return False
            record = {
                "id": task.id,
                "question": task.question,
                "claim": task.claim,
                "contexts": list(task.contexts),
                "label": label,
            }
            if label is None:
                record = {"id": task.id, "label": None}
            journal.append(self.path, [record])
            self.done[task.id] = label
        return True

    def left(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks that nobody has judged."""
        with self._guard:
            return [task for task in tasks if task.id not in self.done]


class LabelServer:
    """The page, on loopback only; its address holds a token without which nothing is answered."""

    def __init__(self, tasks: Sequence[Task], labels: Labels, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(16)
        by_id = {task.id: task for task in tasks}
        token = self.token

        class Handler(BaseHTTPRequestHandler):
            server_version = "citewell"
            sys_version = ""

            def do_GET(self) -> None:
                place = urlsplit(self.path)
                if not self._allowed(parse_qs(place.query).get("token", [""])[0]):
                    return
                if place.path == "/":
                    self._send(200, "text/html; charset=utf-8", PAGE.read_bytes())
                elif place.path == "/next":
                    left = labels.left(tasks)
                    self._json(
                        {
                            "left": len(left),
                            "of": len(tasks),
                            "task": left[0].as_json() if left else None,
                        }
                    )
                else:
                    self._json({"error": "there is nothing here"}, 404)

            def do_POST(self) -> None:
                if not self._allowed(self.headers.get("X-Token", "")):
                    return
                size = self.headers.get("Content-Length", "")
                if not size.isdecimal() or int(size) > _LONGEST_BODY:
                    self._json({"error": "too large"}, 413)
                    return
                try:
                    said = json.loads(self.rfile.read(int(size)))
                    task = by_id[said["id"]]
                    added = labels.add(task, said["verdict"])
                except (ValueError, KeyError, TypeError, QueryError):
                    self._json({"error": "not a judgement"}, 400)
                    return
                except OSError as error:
                    self._json({"error": f"{labels.path}: {error.strerror}"}, 500)
                    return
                self._json({"added": added})

            def _allowed(self, given: str) -> bool:
                # by the name as well, against pages that have another name point here
                host = self.headers.get("Host", "").rsplit(":", 1)[0]
                if host in ("127.0.0.1", "localhost") and hmac.compare_digest(
                    given.encode(), token.encode()
                ):
                    return True
                self._json({"error": "the address is not complete"}, 403)
                return False

            def _json(self, value: Any, status: int = 200) -> None:
                body = json.dumps(value).encode("utf-8", "surrogatepass")
                self._send(status, "application/json", body)

            def _send(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header(
                    "Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                    "connect-src 'self'; frame-ancestors 'none'",
                )
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {port} cannot be listened on: {error}") from None
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The address of the page, token included."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/?token={self.token}"

    def serve(self) -> None:
        """Serve until `close` is called from another thread."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
