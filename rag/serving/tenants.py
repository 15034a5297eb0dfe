"""Tenants: the namespaces of a server, and the jobs that ingest their uploads."""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from anyio import to_thread
from pydantic import BaseModel

from connectors import PART, Connector
from rag.call_context import Cancellation, limit_call
from rag.errors import CallCancelled, IndexNotFound, QueryError, RagError
from rag.generation import Event
from rag.index.paths import UPLOADS_FOLDER, namespace_folder
from rag.ingestion import IngestReport
from rag.pipeline import Pipeline
from rag.serving.errors import ApiError, to_api_error
from rag.serving.public_uris import PublicUris
from rag.serving.uploads import SCHEME, StagedUpload, Uploads, UploadStore, upload_uri

_log = logging.getLogger(__name__)

_MAX_OPEN_NAMESPACES = 64
_MAX_REMEMBERED_JOBS = 100  # per namespace
_MAX_OPEN_JOBS = 50  # per namespace: waiting or running
_MAX_REPORTED_FAILURES = 100  # per job
_CONCURRENT_INGESTS = 4  # namespaces that are written to at once
_DELETE_TIMEOUT_SECONDS = 10.0  # for an ingest to end
_BUSY_RETRY_SECONDS = 10

JobState = Literal["waiting", "running", "done", "failed", "stopped"]


class FailedSource(BaseModel):
    """A file that could not be ingested, and why."""

    uri: str
    error: str


class JobInfo(BaseModel):
    """An ingest in the background: ``seen`` of ``total`` files are done.

    ``failures`` is the number of files that could not be read, including files within archives;
    the first hundred are in ``failed``.
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
    """A job; its ``cancellation`` ends it early."""

    info: JobInfo
    cancellation: Cancellation = field(default_factory=Cancellation)
    max_added: int | None = None

    @property
    def is_open(self) -> bool:
        """True while the job waits or runs."""
        return self.info.state in ("waiting", "running")

    def report_progress(self, report: IngestReport) -> None:
        """Copy the progress of the ingest."""
        self.copy_report(report)
        if self.max_added is not None and report.added > self.max_added:
            raise _QuotaExceeded(
                "the files have more documents than the namespace may have: they were removed"
            )

    def copy_report(self, report: IngestReport) -> None:
        """Copy the counts and the first failures of the ingest."""
        first_failures = report.failed[:_MAX_REPORTED_FAILURES]
        self.info = self.info.model_copy(
            update={
                "seen": min(report.seen, self.info.total) if self.info.total else report.seen,
                "added": report.added,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "chunks": report.chunks,
                "failures": len(report.failed),
                "failed": [FailedSource(uri=f.uri, error=f.error) for f in first_failures],
            }
        )


class _QuotaExceeded(Exception):
    """Ends an ingest whose archives have too many documents."""


@dataclass
class Tenant:
    """A namespace: its pipeline, its uploads, and the jobs that write to it.

    ``storing`` is locked while the stored files change, ``writing`` while the index is written to.
    ``starting`` is locked while uploads of an earlier run are looked for. ``users`` counts the
    requests that use the namespace.
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
    _public_uris: tuple[str, PublicUris] | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the pipeline, which belong to the namespace without a name."""
        return () if self.namespace else tuple(self.pipeline.sources)

    def read_public_uris(self) -> PublicUris:
        """Return the spelling of uris for clients, for the documents that are indexed now."""
        try:
            store = self.pipeline.open().document_store
        except IndexNotFound:
            return PublicUris(())
        state = f"{store.id} {store.generation}"
        if self._public_uris is None or self._public_uris[0] != state:
            failed_uris = [failure.uri for failure in store.failures()]
            self._public_uris = (state, PublicUris([*store.uris(), *failed_uris]))
        return self._public_uris[1]

    async def publish_events(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Yield the events of an answer with the uris for clients."""
        try:
            public_uris: PublicUris | None = None
            async for event in events:
                if public_uris is None:
                    public_uris = await to_thread.run_sync(self.read_public_uris)
                yield public_uris.hide_in(event)
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    @property
    def is_busy(self) -> bool:
        """True if requests or jobs use the index, so that it cannot be closed now."""
        return self.users > 0 or any(job.is_open for job in self.jobs.values())


class UploadQuota(Protocol):
    """What the uploads of a namespace may have together."""

    @property
    def namespace_bytes(self) -> int:
        """Bytes of all files."""

    @property
    def namespace_documents(self) -> int:
        """Documents, of which a file may have several."""


def _count_uploaded_documents(tenant: Tenant) -> int:
    try:
        return len(tenant.pipeline.open().document_store.uris(SCHEME))
    except IndexNotFound:
        return 0


class Tenants:
    """The tenants of a server, by namespace.

    All requests of a namespace share one open index. When too many are open, those that have been
    idle longest are closed.
    """

    def __init__(self, pipeline: Pipeline, *, max_open: int = _MAX_OPEN_NAMESPACES) -> None:
        self._pipeline = pipeline
        self._max_open = max_open
        self._tenants: dict[str, Tenant] = {}
        self._open: OrderedDict[str, Tenant] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers = asyncio.Semaphore(_CONCURRENT_INGESTS)

    @property
    def open_count(self) -> int:
        """Number of open namespaces."""
        return len(self._open)

    @asynccontextmanager
    async def lease(self, namespace: str) -> AsyncIterator[Tenant]:
        """Return the tenant of a namespace. Its index stays open within the ``with`` block."""
        if namespace not in self._tenants:
            pipeline = self._pipeline.with_namespace(namespace) if namespace else self._pipeline
            folder = namespace_folder(pipeline.index, pipeline.namespace)
            store = UploadStore(folder / UPLOADS_FOLDER)
            self._tenants[namespace] = Tenant(namespace, pipeline, store)
        tenant = self._tenants[namespace]
        self._open[namespace] = tenant
        self._open.move_to_end(namespace)
        tenant.users += 1
        try:
            async with tenant.starting:  # no upload may start before leftovers are swept
                if not tenant.is_ready:
                    await self._resume(tenant)
                    tenant.is_ready = True
            await self._close_idle()
            yield tenant
        finally:
            tenant.users -= 1

    async def _resume(self, tenant: Tenant) -> None:
        """Ingest files that were uploaded in an earlier run but not ingested."""
        try:
            names = await to_thread.run_sync(_list_pending_uploads, tenant)
        except RagError as error:  # requests that need the index report the error
            _log.warning("namespace %r: cannot check uploads: %s", tenant.namespace, error)
            return
        if names:
            self._start_job(tenant, names)

    async def _close_idle(self) -> None:
        idle_names = [name for name, tenant in self._open.items() if not tenant.is_busy]
        for name in idle_names[: max(0, len(self._open) - self._max_open)]:
            tenant = self._open.pop(name)
            await to_thread.run_sync(tenant.pipeline.close)  # the next request opens it again

    # -- uploads ---------------------------------------------------------------------------

    async def upload(
        self, tenant: Tenant, staged_uploads: Sequence[StagedUpload], quota: UploadQuota
    ) -> JobInfo:
        """Store files and ingest them in the background: all of them, or none.

        Raises `ApiError` if the uploads of the namespace would exceed the quota, or if too many
        jobs are open.
        """
        async with tenant.storing:
            open_jobs = sum(job.is_open for job in tenant.jobs.values())
            if open_jobs >= _MAX_OPEN_JOBS:
                message = f"{open_jobs} uploads are waiting already: try again later"
                raise ApiError(503, message, "busy", retry_after=_BUSY_RETRY_SECONDS)
            names = [staged.upload.name for staged in staged_uploads]
            uploads = await to_thread.run_sync(tenant.uploads.uploads)
            size = sum(upload.size for upload in uploads if upload.name not in names)
            size += sum(staged.upload.size for staged in staged_uploads)
            if size > quota.namespace_bytes:
                message = f"all uploads together may have at most {quota.namespace_bytes:,} bytes"
                raise ApiError(413, message, "quota_exceeded")
            new_names = {*names} - {upload.name for upload in uploads}
            documents = await to_thread.run_sync(_count_uploaded_documents, tenant)
            if documents + len(new_names) > quota.namespace_documents:
                message = f"uploads may have at most {quota.namespace_documents:,} documents"
                raise ApiError(413, message, "quota_exceeded")
            await to_thread.run_sync(tenant.uploads.keep, staged_uploads)
            max_added = quota.namespace_documents - documents
            return self._start_job(tenant, names, max_added=max_added)

    async def ingest_again(self, tenant: Tenant) -> JobInfo:
        """Ingest all uploads of a namespace again, and the sources of the pipeline.

        Raises `ApiError` if there is nothing to ingest, or an ingest is waiting already.
        """
        async with tenant.storing:
            if any(job.is_open for job in tenant.jobs.values()):
                message = "an ingest is running: try again when it is done"
                raise ApiError(409, message, "busy", retry_after=_BUSY_RETRY_SECONDS)
            uploads = await to_thread.run_sync(tenant.uploads.uploads)
            if not uploads and not tenant.sources:
                raise ApiError(409, "there is nothing to ingest: upload files", "nothing_to_ingest")
            return self._start_job(tenant, [upload.name for upload in uploads], tenant.sources)

    def _start_job(
        self,
        tenant: Tenant,
        names: Sequence[str],
        sources: Sequence[str] = (),
        *,
        max_added: int | None = None,
    ) -> JobInfo:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        info = JobInfo(
            id=secrets.token_hex(8),
            state="waiting",
            files=list(names),
            created=now,
            total=len(names),
        )
        job = tenant.jobs[info.id] = Job(info, max_added=max_added)
        ended_ids = [job_id for job_id, job in tenant.jobs.items() if not job.is_open]
        for job_id in ended_ids[: max(0, len(tenant.jobs) - _MAX_REMEMBERED_JOBS)]:
            del tenant.jobs[job_id]
        task = asyncio.create_task(self._run_job(tenant, job, tuple(names), sources))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return info

    async def _run_job(
        self, tenant: Tenant, job: Job, names: tuple[str, ...], sources: Sequence[str]
    ) -> None:
        try:
            async with tenant.writing, self._writers:
                if job.cancellation.is_cancelled:
                    return
                job.info.state = "running"
                async with tenant.storing:
                    await to_thread.run_sync(tenant.uploads.sweep)
                uploads = Uploads(folder=tenant.uploads.folder, names=names)
                connectors: list[str | Connector] = [*([uploads] if names else ()), *sources]

                def ingest() -> IngestReport:
                    with limit_call(cancellation=job.cancellation):
                        return tenant.pipeline.ingest(*connectors, progress=job.report_progress)

                try:
                    report = await to_thread.run_sync(ingest)
                except _QuotaExceeded:
                    async with tenant.storing:
                        for name in names:
                            await to_thread.run_sync(_delete_documents, tenant, upload_uri(name))
                    raise
                job.copy_report(report)
                job.info.seen, job.info.state = job.info.total, "done"
        except CallCancelled:
            job.info.state = "stopped"
        except _QuotaExceeded as error:
            job.info.state, job.info.error = "failed", str(error)
        except Exception as error:
            job.info.state, job.info.error = "failed", to_api_error(error).message
        finally:
            if job.is_open:
                job.info.state = "stopped"

    async def delete(self, tenant: Tenant, uri: str) -> int:
        """Delete the document at a uri or all below it, and their uploads; return their number.

        Raises `QueryError` for a part of an upload, and `ApiError` if an ingest does not end in
        time.
        """
        if uri.startswith(SCHEME) and PART in uri:
            raise QueryError(f"this is a part of {uri.partition(PART)[0]}: delete that instead")
        try:
            async with asyncio.timeout(_DELETE_TIMEOUT_SECONDS):
                await tenant.writing.acquire()
        except TimeoutError:
            message = "an ingest is running: try again when it is done"
            raise ApiError(409, message, "busy", retry_after=_BUSY_RETRY_SECONDS) from None
        try:
            async with tenant.storing:
                return await to_thread.run_sync(_delete_documents, tenant, uri)
        finally:
            tenant.writing.release()

    # -- closing ---------------------------------------------------------------------------

    async def close(self, grace: float = 2.0) -> None:
        """Stop all jobs, and close all indexes.

        Jobs have `grace` seconds to stop. An index that is still written to after that is left
        open, as after a crash, and the next start of the server resumes the ingest.
        """
        for tenant in self._tenants.values():
            for job in tenant.jobs.values():
                job.cancellation.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for tenant in self._tenants.values():
            if tenant.writing.locked():
                _log.warning(
                    "an ingest did not stop in time; the next start of the server resumes it"
                )
            else:
                await to_thread.run_sync(tenant.pipeline.close)
        self._open.clear()


def _list_pending_uploads(tenant: Tenant) -> list[str]:
    """Return the names of uploads whose current content was neither ingested nor failed."""
    tenant.uploads.sweep(partials=True)
    uploads = tenant.uploads.uploads()
    if not uploads:
        return []
    try:
        document_store = tenant.pipeline.open().document_store
    except IndexNotFound:
        return [upload.name for upload in uploads]
    uris = [upload.uri for upload in uploads]
    entries_by_uri = document_store.ledger_by_source(uris)
    failures_by_uri = document_store.failures_by_source(uris)

    def is_done(uri: str, digest: str) -> bool:
        versions = [entry.source_version for entry in entries_by_uri.get(uri, {}).values()]
        versions += [failure.source_version for failure in failures_by_uri.get(uri, [])]
        return digest in versions

    return [upload.name for upload in uploads if not is_done(upload.uri, upload.digest)]


def _delete_documents(tenant: Tenant, uri: str) -> int:
    prefix = uri.rstrip("/") + "/"
    names = [
        upload.name
        for upload in tenant.uploads.uploads()
        if upload.uri == uri or upload.uri.startswith(prefix)
    ]
    try:
        deleted = tenant.pipeline.delete(uri, *map(upload_uri, names))
    except IndexNotFound:
        deleted = 0
    removed_uploads = tenant.uploads.remove(names)
    tenant.uploads.sweep()
    return max(deleted, removed_uploads)
