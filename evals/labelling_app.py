"""The web app of the labelling page."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from evals.labelling import Labels, Task
from rag.errors import QueryError

PAGE = Path(__file__).parent / "label.html"
MAX_BODY_BYTES = 10_000
LOOPBACK_NAMES = ("127.0.0.1", "localhost")
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'",
}


def create_app(tasks: Sequence[Task], labels: Labels, token: str) -> FastAPI:
    """Return the ASGI app of the page: ``GET /``, ``GET /next`` and ``POST /``."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    tasks_by_id = {task.id: task for task in tasks}

    @app.middleware("http")
    async def check_request(request: Request, call_next: Any) -> Response:
        """Check host and token. A page of another site can reach loopback by a name of its own."""
        given = request.headers.get("X-Token") or request.query_params.get("token", "")
        size = request.headers.get("Content-Length", "0")
        response: Response
        if request.url.hostname not in LOOPBACK_NAMES or not hmac.compare_digest(
            given.encode(), token.encode()
        ):
            response = JSONResponse({"error": "the address is not complete"}, 403)
        elif not size.isdecimal() or int(size) > MAX_BODY_BYTES:
            response = JSONResponse({"error": "too large"}, 413)
        else:
            response = await call_next(request)
        response.headers.update(SECURITY_HEADERS)
        return response

    @app.exception_handler(HTTPException)
    def describe_error(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(PAGE, media_type="text/html; charset=utf-8")

    @app.get("/next")
    def next_task() -> JSONResponse:
        open_tasks = labels.open_tasks(tasks)
        task = open_tasks[0].as_json() if open_tasks else None
        return JSONResponse({"left": len(open_tasks), "of": len(tasks), "task": task})

    @app.post("/")
    async def judge(request: Request) -> JSONResponse:
        try:
            judgement = await request.json()
            task = tasks_by_id[judgement["id"]]
            was_added = labels.add(task, judgement["verdict"])
        except (ValueError, KeyError, TypeError, QueryError):
            raise HTTPException(400, "not a judgement") from None
        except OSError as error:
            raise HTTPException(500, f"cannot write {labels.path}: {error.strerror}") from None
        return JSONResponse({"added": was_added})

    return app
