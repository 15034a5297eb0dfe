"""Who has which part of the index, and what is being written to it."""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from anyio import to_thread
from pydantic import BaseModel

from connectors import PART
from rag.errors import IndexNotFound, QueryError, RagError
from rag.index.paths import UPLOADS, namespace_folder
from rag.ingestion import IngestReport
from rag.pipeline import Pipeline
from rag.serving.errors import ApiError, told
from rag.serving.uploads import SCHEME, Staged, Uploads, UploadStore, uri_of

_log = logging.getLogger(__name__)

_MOST_OPEN = 64  # namespaces that are open at once
_MOST_JOBS = 100  # jobs remembered of a namespace
_MOST_WAITING = 50  # jobs of a namespace that have not ended
_MOST_FAILURES = 100  # told of a job
_WRITERS = 4  # namespaces that are ingested into at once
_PATIENCE = 10.0  # seconds that a deletion waits for an ingest

JobState = Literal["waiting", "running", "done", "failed", "stopped"]


class FailedSource(BaseModel):
    """A file that could not be ingested, and why."""

    uri: str
    error: str


class JobInfo(BaseModel):
    """An ingest in the background: ``seen`` of ``total`` files are done.

    ``failures`` is how many of them, and of what is packed in them, could not be read; the first
    hundred are in ``failed``.
    """

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
    failures: int = 0
    failed: list[FailedSource] = []
    error: str | None = None


@dataclass
class Job:
    """A job, and whether it is to end."""

    info: JobInfo
    stop: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.info.state in ("waiting", "running")

    def progress(self, report: IngestReport) -> None:
        """Take over how far an ingest is. Raises `_Stopped` where it is to end."""
        if self.stop:
            raise _Stopped
        self.take(report)

    def take(self, report: IngestReport) -> None:
        """Take over what an ingest has done."""
        first = report.failed[:_MOST_FAILURES]
        self.info = self.info.model_copy(
            update={
                "seen": min(report.seen, self.info.total),
                "added": report.added,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "chunks": report.chunks,
                "failures": len(report.failed),
                "failed": [FailedSource(uri=f.uri, error=f.error) for f in first],
            }
        )


class _Stopped(Exception):
    pass


@dataclass
class Tenant:
    """A namespace: its pipeline, its uploads, and the jobs that write to it.

    Whoever changes which files are kept holds ``storing``, whoever writes to the index
    ``writing``.
    """

    namespace: str
    pipeline: Pipeline
    uploads: UploadStore
    users: int = 0
    is_ready: bool = False
    jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    storing: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_busy(self) -> bool:
        """Whether its index cannot be closed now."""
        return self.users > 0 or any(job.is_open for job in self.jobs.values())


class Tenants:
    """Pipelines by namespace; the indexes of those idle longest are closed.

    One process serves them all, and each is one index that many requests share.
    """

    def __init__(self, pipeline: Pipeline, *, most_open: int = _MOST_OPEN) -> None:
        self._pipeline = pipeline
        self._most = most_open
        self._known: dict[str, Tenant] = {}
        self._open: OrderedDict[str, Tenant] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers = asyncio.Semaphore(_WRITERS)

    @property
    def open_count(self) -> int:
        """How many namespaces are open."""
        return len(self._open)

    @asynccontextmanager
    async def lease(self, namespace: str) -> AsyncIterator[Tenant]:
        """The tenant of a namespace; its index stays open for as long as it is leased."""
        if namespace not in self._known:
            pipeline = self._pipeline.with_namespace(namespace) if namespace else self._pipeline
            folder = namespace_folder(pipeline.index, pipeline.namespace)
            store = UploadStore(folder / UPLOADS)
            self._known[namespace] = Tenant(namespace, pipeline, store)
        tenant = self._known[namespace]
        self._open[namespace] = tenant
        self._open.move_to_end(namespace)
        tenant.users += 1
        try:
            async with tenant.starting:  # nobody uploads before what was left behind is swept
                if not tenant.is_ready:
                    await self._go_on(tenant)
                    tenant.is_ready = True
            await self._close_idle()
            yield tenant
        finally:
            tenant.users -= 1

    async def _go_on(self, tenant: Tenant) -> None:
        """Ingest what was uploaded before the server ended, and is not in the index."""
        try:
            missing = await to_thread.run_sync(_not_ingested, tenant)
        except RagError as error:  # who asks for something will be told
            _log.warning("%s: what was uploaded is not looked through: %s", tenant.namespace, error)
            return
        if missing:
            self._begin(tenant, missing)

    async def _close_idle(self) -> None:
        idle = [name for name, tenant in self._open.items() if not tenant.is_busy]
        for name in idle[: max(0, len(self._open) - self._most)]:
            tenant = self._open.pop(name)
            await to_thread.run_sync(tenant.pipeline.close)  # it opens again when it is asked

    # -- uploads ---------------------------------------------------------------------------

    async def upload(self, tenant: Tenant, staged: Sequence[Staged], most: int) -> JobInfo:
        """Keep files and ingest them in the background; all of them, or none.

        Raises `ApiError` where they would be more than `most` bytes with the others that are
        kept, or too many jobs wait already.
        """
        async with tenant.storing:
            waiting = sum(job.is_open for job in tenant.jobs.values())
            if waiting >= _MOST_WAITING:
                busy = f"{waiting} uploads are waiting already: try again later"
                raise ApiError(503, busy, "busy", retry_after=10)
            names = [each.upload.name for each in staged]
            kept = await to_thread.run_sync(tenant.uploads.uploads)
            size = sum(upload.size for upload in kept if upload.name not in names)
            if size + sum(each.upload.size for each in staged) > most:
                said = f"all uploads together may have {most:,} bytes"
                raise ApiError(413, said, "quota_exceeded")
            await to_thread.run_sync(tenant.uploads.keep, staged)
            return self._begin(tenant, names)

    def _begin(self, tenant: Tenant, names: Sequence[str]) -> JobInfo:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        info = JobInfo(
            id=secrets.token_hex(8),
            state="waiting",
            files=list(names),
            created=now,
            total=len(names),
        )
        job = tenant.jobs[info.id] = Job(info)
        ended = [number for number, job in tenant.jobs.items() if not job.is_open]
        for old in ended[: max(0, len(tenant.jobs) - _MOST_JOBS)]:
            del tenant.jobs[old]
        task = asyncio.create_task(self._run(tenant, job, tuple(names)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return info

    async def _run(self, tenant: Tenant, job: Job, names: tuple[str, ...]) -> None:
        try:
            async with tenant.writing, self._writers:
                if job.stop:
                    return
                job.info.state = "running"
                async with tenant.storing:
                    await to_thread.run_sync(tenant.uploads.sweep)
                source = Uploads(folder=tenant.uploads.folder, names=names)
                report = await to_thread.run_sync(
                    lambda: tenant.pipeline.ingest(source, progress=job.progress)
                )
                job.take(report)
                job.info.seen, job.info.state = job.info.total, "done"
        except _Stopped:
            job.info.state = "stopped"
        except Exception as error:
            job.info.state, job.info.error = "failed", told(error).message
        finally:
            if job.is_open:
                job.info.state = "stopped"

    async def delete(self, tenant: Tenant, uri: str) -> int:
        """Delete what is at a uri or below it, and the uploads it came from; how many there were.

        Raises `QueryError` for a part of an upload, `ApiError` where an ingest does not end.
        """
        if uri.startswith(SCHEME) and PART in uri:
            raise QueryError(f"this is a part of {uri.partition(PART)[0]}: delete all of that")
        try:
            async with asyncio.timeout(_PATIENCE):
                await tenant.writing.acquire()
        except TimeoutError:
            busy = "an ingest is running: try again when it is done"
            raise ApiError(409, busy, "busy", retry_after=10) from None
        try:
            async with tenant.storing:
                return await to_thread.run_sync(_delete, tenant, uri)
        finally:
            tenant.writing.release()

    # -- the end ---------------------------------------------------------------------------

    async def close(self, grace: float = 10.0) -> None:
        """Stop what writes, at its next batch, and close everything. `grace` is in seconds.

        An index that is still written to then is left open: it is as a crash would leave it, and
        the next start goes on.
        """
        for tenant in self._known.values():
            for job in tenant.jobs.values():
                job.stop = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for tenant in self._known.values():
            if tenant.writing.locked():
                _log.warning("an ingest did not end in time; it goes on at the next start")
            else:
                await to_thread.run_sync(tenant.pipeline.close)
        self._open.clear()


def _not_ingested(tenant: Tenant) -> list[str]:
    """Names of uploads whose content was neither ingested nor failed for good."""
    tenant.uploads.sweep(partials=True)
    uploads = tenant.uploads.uploads()
    if not uploads:
        return []
    try:
        library = tenant.pipeline.open().document_store
    except IndexNotFound:
        return [upload.name for upload in uploads]
    uris = [upload.uri for upload in uploads]
    made = library.ledger_of(uris)
    failed = library.failures_of(uris)

    def is_done(uri: str, digest: str) -> bool:
        entries = made.get(uri, {}).values()
        return any(entry.source_version == digest for entry in entries) or any(
            failure.source_version == digest for failure in failed.get(uri, [])
        )

    return [upload.name for upload in uploads if not is_done(upload.uri, upload.digest)]


def _delete(tenant: Tenant, uri: str) -> int:
    below = uri.rstrip("/") + "/"
    names = [
        upload.name
        for upload in tenant.uploads.uploads()
        if upload.uri == uri or upload.uri.startswith(below)
    ]
    try:
        deleted = tenant.pipeline.delete(uri, *map(uri_of, names))
    except IndexNotFound:
        deleted = 0
    removed = tenant.uploads.remove(names)
    tenant.uploads.sweep()
    return max(deleted, removed)
