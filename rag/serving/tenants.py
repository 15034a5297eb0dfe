"""Who has which part of the index, and what is being written to it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
from anyio import to_thread
from pydantic import BaseModel

from rag.errors import RagError
from rag.index import IngestReport
from rag.index.places import UPLOADS, namespace_folder
from rag.pipeline import Pipeline
from rag.serving.errors import ApiError, told
from rag.serving.uploads import Uploads, UploadStore

_log = logging.getLogger(__name__)

_MOST_OPEN = 64  # namespaces that are open at once
_MOST_JOBS = 100  # jobs remembered of a namespace
_MOST_WAITING = 50  # jobs of a namespace that have not ended
_WRITERS = 2  # namespaces that are written to at once

JobState = Literal["waiting", "running", "done", "failed", "stopped"]


class FailedSource(BaseModel):
    """A file that could not be ingested, and why."""

    uri: str
    error: str


class JobInfo(BaseModel):
    """An ingest in the background: ``seen`` of ``total`` files are done."""

    id: str
    state: JobState
    files: list[str]
    created: str
    seen: int = 0
    total: int
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    chunks: int = 0
    failed: list[FailedSource] = []
    error: str | None = None


@dataclass
class Job:
    """A job and whoever waits for its end."""

    info: JobInfo
    stop: bool = False

    def report(self, report: IngestReport) -> None:
        """Take over how far an ingest is. Raises `_Stopped` where it is to end."""
        if self.stop:
            raise _Stopped
        self.info = self.info.model_copy(
            update={
                "seen": min(report.seen, self.info.total),
                "added": report.added,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "chunks": report.chunks,
                "failed": [FailedSource(uri=f.uri, error=f.error) for f in report.failed],
            }
        )


class _Stopped(Exception):
    pass


@dataclass
class Tenant:
    """A namespace that is open: its pipeline, its uploads, and the jobs that write to it."""

    pipeline: Pipeline
    uploads: UploadStore
    users: int = 0
    jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def busy(self) -> bool:
        """Whether it cannot be closed now."""
        return self.users > 0 or any(
            job.info.state in ("waiting", "running") for job in self.jobs.values()
        )


class Tenants:
    """Pipelines by namespace, opened when first asked for; those idle longest are closed.

    One process serves them all, and each is one index that many requests share.
    """

    def __init__(self, pipeline: Pipeline, *, most_open: int = _MOST_OPEN) -> None:
        self._pipeline = pipeline
        self._most = most_open
        self._open: OrderedDict[str, Tenant] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers = asyncio.Semaphore(_WRITERS)

    @property
    def open_count(self) -> int:
        """How many namespaces are open."""
        return len(self._open)

    @asynccontextmanager
    async def lease(self, namespace: str) -> AsyncIterator[Tenant]:
        """The tenant of a namespace; it stays open for as long as it is leased."""
        tenant = self._open.get(namespace)
        if tenant is None:
            pipeline = self._pipeline.within(namespace) if namespace else self._pipeline
            folder = namespace_folder(pipeline.index, pipeline.namespace)
            tenant = self._open[namespace] = Tenant(pipeline, UploadStore(folder / UPLOADS))
        self._open.move_to_end(namespace)
        tenant.users += 1
        try:
            await self._close_idle()
            yield tenant
        finally:
            tenant.users -= 1

    async def _close_idle(self) -> None:
        idle = [name for name, tenant in self._open.items() if not tenant.busy]
        for name in idle[: max(0, len(self._open) - self._most)]:
            tenant = self._open.pop(name)
            await to_thread.run_sync(tenant.pipeline.close)

    async def ingest(self, namespace: str, tenant: Tenant, names: Sequence[str]) -> JobInfo:
        """Ingest uploads in the background. Raises `ApiError` where too many wait already."""
        waiting = sum(job.info.state in ("waiting", "running") for job in tenant.jobs.values())
        if waiting >= _MOST_WAITING:
            busy = f"{waiting} uploads are waiting already: try again later"
            raise ApiError(503, busy, "busy", retry_after=10)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        info = JobInfo(
            id=secrets.token_hex(8),
            state="waiting",
            files=list(names),
            created=now,
            total=len(names),
        )
        job = tenant.jobs[info.id] = Job(info)
        ended = [i for i, j in tenant.jobs.items() if j.info.state not in ("waiting", "running")]
        for old in ended[: max(0, len(tenant.jobs) - _MOST_JOBS)]:
            del tenant.jobs[old]
        task = asyncio.create_task(self._run(namespace, job, names))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return info

    async def _run(self, namespace: str, job: Job, names: Sequence[str]) -> None:
        async with self.lease(namespace) as tenant, tenant.writing, self._writers:
            if job.stop:
                job.info.state = "stopped"
                return
            job.info.state = "running"
            source = Uploads(folder=tenant.uploads.folder, names=tuple(names))
            try:
                report = await to_thread.run_sync(
                    lambda: tenant.pipeline.ingest(source, progress=job.report)
                )
                job.report(report)
                job.info.seen, job.info.state = job.info.total, "done"
            except _Stopped:
                job.info.state = "stopped"
            except Exception as error:
                job.info.state, job.info.error = "failed", told(error).message
                if not isinstance(error, RagError):
                    _log.exception("an ingest failed")

    async def delete(self, tenant: Tenant, uri: str) -> int:
        """Delete a document, and the upload it came from; how many documents it was."""
        async with tenant.writing, self._writers:
            return await to_thread.run_sync(_delete, tenant, uri)

    async def close(self, grace: float = 10.0) -> None:
        """Stop what writes, at its next batch, and close everything. `grace` is in seconds."""
        for tenant in self._open.values():
            for job in tenant.jobs.values():
                job.stop = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await asyncio.gather(*self._tasks, return_exceptions=True)
        with anyio.CancelScope(shield=True):
            for tenant in self._open.values():
                await to_thread.run_sync(tenant.pipeline.close)
        self._open.clear()


def _delete(tenant: Tenant, uri: str) -> int:
    name = tenant.uploads.name_of(uri.partition("!/")[0])
    removed = tenant.uploads.remove(name) if name is not None else False
    try:
        deleted = tenant.pipeline.delete(uri)
    except RagError:
        if not removed:
            raise
        deleted = 0
    return max(deleted, int(removed))


def uploads_folder(pipeline: Pipeline) -> Path:
    """Where the uploads of a pipeline's namespace are."""
    return namespace_folder(pipeline.index, pipeline.namespace) / UPLOADS
