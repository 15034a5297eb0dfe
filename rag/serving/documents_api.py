"""citewell's own routes for documents: list, upload, delete, source text, pages and jobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import anyio
from anyio import BrokenWorkerProcess, to_process, to_thread
from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel, Field

from connectors import Files, path_of
from connectors.parsers.pdf_pages import PagePicture, draw_page
from rag.errors import DocumentNotFound, IndexNotFound, ParseError, QueryError, RagError
from rag.serving.api import DeletionCount
from rag.serving.dependencies import ServiceArgument, TenantArgument
from rag.serving.errors import ApiError
from rag.serving.service import Service
from rag.serving.tenants import FailedSource, JobInfo, Tenant
from rag.serving.uploads import (
    SCHEME,
    StagedUpload,
    check_distinct_names,
    normalize_file_name,
)
from rag.stores import DocumentInfo
from rag.types import Document, Mark, Metadata

router = APIRouter(tags=["Documents"])

MAX_URI_CHARACTERS = 4_000
MAX_OFFSET = 10**12  # characters
MAX_LISTED_DOCUMENTS = 1_000
MAX_FILES_PER_REQUEST = 50
MAX_MARKS = 10_000
MAX_LISTED_HEADINGS = 100
MAX_HEADING_CHARACTERS = 200
MAX_PAGES = 100_000
MAX_MARKED_CHARACTERS = 20_000
SOURCE_WINDOW_CHARACTERS = 100_000
DRAWING_TIMEOUT_SECONDS = 20

DocumentUri = Annotated[
    str, Query(min_length=1, max_length=MAX_URI_CHARACTERS, description="Uri of a document.")
]


class DocumentEntry(BaseModel):
    """A document in the list. ``written`` is in seconds since 1970."""

    uri: str
    title: str
    mime: str
    characters: int
    chunks: int
    written: float


class DocumentFacts(BaseModel):
    """What is known about a document, besides its text."""

    uri: str
    title: str
    mime: str
    characters: int
    metadata: Metadata
    headings: list[str]


class DocumentList(BaseModel):
    """Documents, sorted by uri, and the sources that could not be ingested."""

    documents: list[DocumentEntry]
    total: int
    failures: list[FailedSource]


class SourceText(BaseModel):
    """The part ``[offset, offset + len(text))`` of a document of ``characters`` characters.

    ``start`` and ``end`` are the requested span, as offsets in the whole document.
    """

    uri: str
    title: str
    mime: str
    characters: int
    offset: int
    text: str
    start: int | None
    end: int | None
    page: int | None
    marks: list[Mark]
    pictures: bool = Field(description="Whether /documents/page can draw its pages.")


class JobList(BaseModel):
    """Ingests of uploads, the latest first."""

    jobs: list[JobInfo]


@router.get("/documents")
async def documents(
    service: ServiceArgument,
    tenant: TenantArgument,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED_DOCUMENTS)] = 200,
) -> DocumentList:
    """List the documents, and the sources that could not be ingested."""

    def list_documents() -> DocumentList:
        try:
            document_store = tenant.pipeline.open().document_store
        except IndexNotFound:
            return DocumentList(documents=[], total=0, failures=[])
        infos = document_store.documents()
        failures = document_store.failures()[:limit]
        listed = DocumentList(
            documents=[_to_entry(info) for info in infos[offset : offset + limit]],
            total=len(infos),
            failures=[FailedSource(uri=entry.uri, error=entry.error) for entry in failures],
        )
        return tenant.read_public_uris().hide_in(listed)

    return await service.run_in_thread(list_documents)


def _to_entry(info: DocumentInfo) -> DocumentEntry:
    return DocumentEntry(
        uri=info.uri,
        title=info.title,
        mime=info.mime,
        characters=info.characters,
        chunks=info.chunks,
        written=info.written_at,
    )


@router.post("/documents", status_code=202)
async def upload(
    service: ServiceArgument,
    tenant: TenantArgument,
    files: Annotated[list[UploadFile], File(description="Files of any supported format.")],
) -> JobInfo:
    """Upload files. They are ingested in the background: see `/jobs/{id}`.

    A file replaces an earlier one with the same name.
    """
    if len(files) > MAX_FILES_PER_REQUEST:
        message = f"a request may have at most {MAX_FILES_PER_REQUEST} files"
        raise ApiError(400, message, "too_many")
    names = [normalize_file_name(file.filename) for file in files]
    check_distinct_names(names)
    staged_uploads: list[StagedUpload] = []

    def stage_files() -> None:
        for name, file in zip(names, files, strict=True):
            staged_uploads.append(tenant.uploads.stage(name, file.file))

    try:
        await service.run_in_thread(stage_files)
        return await service.tenants.upload(tenant, staged_uploads, service.options)
    finally:
        tenant.uploads.discard(staged_uploads)  # stored files have moved, and are not affected


async def _resolve(tenant: Tenant, uri: str) -> str:
    """Return the uri that a client means."""
    public_uris = await to_thread.run_sync(tenant.read_public_uris)
    return public_uris.resolve(uri)


@router.post("/documents/ingest", status_code=202)
async def ingest(service: ServiceArgument, tenant: TenantArgument) -> JobInfo:
    """Ingest all uploads again, and the sources that the server is configured with.

    Only what has changed is read, and what failed for a reason that may be gone. The ingest runs
    in the background: see `/jobs/{id}`.
    """
    return await service.tenants.ingest_again(tenant)


@router.get("/documents/info")
async def info(uri: DocumentUri, service: ServiceArgument, tenant: TenantArgument) -> DocumentFacts:
    """Return the metadata of a document."""
    resolved = await _resolve(tenant, uri)

    def read() -> DocumentFacts:
        document = _read_document(tenant, resolved, uri)
        facts = DocumentFacts(
            uri=document.uri,
            title=document.title,
            mime=document.mime,
            characters=len(document.text),
            metadata=document.metadata,
            headings=[
                str(mark.value[-1])[:MAX_HEADING_CHARACTERS]
                for mark in document.marks
                if mark.kind == "heading" and isinstance(mark.value, tuple) and mark.value
            ][:MAX_LISTED_HEADINGS],
        )
        return tenant.read_public_uris().hide_in(facts)

    return await service.run_in_thread(read)


@router.delete("/documents")
async def delete(
    uri: DocumentUri, service: ServiceArgument, tenant: TenantArgument
) -> DeletionCount:
    """Delete a document, or all documents below the uri of a folder, and their uploads."""
    scheme, _, name = uri.partition(":")
    if not name.strip("/ ") and scheme != "upload":  # upload:/// are all uploads
        raise QueryError(f"{uri[:200]!r} names no document and no folder: nothing was deleted")
    deleted = await service.tenants.delete(tenant, await _resolve(tenant, uri))
    if not deleted:
        raise DocumentNotFound(f"there is no document {uri[:200]!r}", uri=uri)
    return DeletionCount(deleted=deleted)


@router.get("/documents/source")
async def source(
    uri: DocumentUri,
    service: ServiceArgument,
    tenant: TenantArgument,
    start: Annotated[
        int | None, Query(ge=0, le=MAX_OFFSET, description="Offset of the first character.")
    ] = None,
    end: Annotated[
        int | None, Query(ge=0, le=MAX_OFFSET, description="Offset after the last character.")
    ] = None,
) -> SourceText:
    """Return the stored text of a document around a span. Citations are offsets in this text."""
    is_incomplete = (start is None) != (end is None)
    if is_incomplete or (start is not None and end is not None and start > end):
        raise QueryError("a span needs a start and an end, and the end must not precede the start")
    resolved = await _resolve(tenant, uri)
    return await service.run_in_thread(lambda: _read_source(tenant, resolved, uri, start, end))


def _read_document(tenant: Tenant, uri: str, public_uri: str) -> Document:
    """Return a document. Raises `DocumentNotFound`, which names it as the client did."""
    try:
        return tenant.pipeline.open().document_store.document(uri)
    except DocumentNotFound:
        message = f"there is no document {public_uri[:200]!r}"
        raise DocumentNotFound(message, uri=public_uri) from None


def _read_source(
    tenant: Tenant, uri: str, public_uri: str, start: int | None, end: int | None
) -> SourceText:
    document = _read_document(tenant, uri, public_uri)
    length = len(document.text)
    if end is not None and end > length:
        raise QueryError(f"the document has only {length:,} characters")
    center = start or 0
    window_start = max(
        0, min(center - SOURCE_WINDOW_CHARACTERS // 2, length - SOURCE_WINDOW_CHARACTERS)
    )
    window_end = min(length, window_start + SOURCE_WINDOW_CHARACTERS)
    page = document.location_at(center, end).get("page")
    marks = [mark for mark in document.marks if mark.end > window_start and mark.start < window_end]
    return SourceText(
        uri=tenant.read_public_uris().hide(document.uri),
        title=document.title,
        mime=document.mime,
        characters=length,
        offset=window_start,
        text=document.text[window_start:window_end],
        start=start,
        end=end,
        page=page if isinstance(page, int) else None,
        marks=marks[:MAX_MARKS],
        pictures=document.mime == "application/pdf" and _file_reader(tenant, uri) is not None,
    )


@router.get(
    "/documents/page",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
async def page(
    uri: DocumentUri,
    service: ServiceArgument,
    tenant: TenantArgument,
    number: Annotated[int, Query(ge=1, le=MAX_PAGES, description="Page number, from 1.")],
    start: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    end: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
) -> Response:
    """Draw a page of a PDF, with the words of the span ``[start, end)`` highlighted.

    The header `Citewell-Marked-At` is the vertical position of the first highlighted word, from 0
    (top) to 1 (bottom). It is absent if no word is highlighted.
    """
    resolved = await _resolve(tenant, uri)
    data, quote = await service.run_in_thread(lambda: _read_pdf(tenant, resolved, uri, start, end))
    picture = await _draw_page(service, data, number, quote)
    headers = {}
    if picture.marked_at is not None:
        headers["Citewell-Marked-At"] = f"{picture.marked_at:.4f}"
    return Response(picture.png, media_type="image/png", headers=headers)


def _read_pdf(tenant: Tenant, uri: str, public_uri: str, start: int, end: int) -> tuple[bytes, str]:
    """Return the bytes of a PDF, and the text of a span. Raises `DocumentNotFound`."""
    document_store = tenant.pipeline.open().document_store
    is_pdf = _read_document(tenant, uri, public_uri).mime == "application/pdf"
    quote_end = min(end, start + MAX_MARKED_CHARACTERS)
    quote = document_store.text(uri, start, quote_end) if end > start else ""
    read_file = _file_reader(tenant, uri) if is_pdf else None
    if read_file is None:
        raise DocumentNotFound("only pages of PDF files that have not changed can be drawn")
    return read_file(), quote


async def _draw_page(service: Service, data: bytes, number: int, quote: str) -> PagePicture:
    async with service.page_renderers:
        try:  # in a process that can be killed if a page takes too long or crashes it
            with anyio.fail_after(DRAWING_TIMEOUT_SECONDS):
                return await to_process.run_sync(
                    draw_page,
                    data,
                    number,
                    quote,
                    cancellable=True,
                    limiter=service.renderer_processes,
                )
        except TimeoutError:
            raise ApiError(504, "drawing the page takes too long", "timeout") from None
        except (ParseError, BrokenWorkerProcess):
            raise ApiError(404, "the page cannot be drawn", "not_found") from None


def _file_reader(tenant: Tenant, uri: str) -> Callable[[], bytes] | None:
    """Return a function that reads the file of a document, or None if the file has changed."""
    entry = tenant.pipeline.open().document_store.ledger_by_uri([uri]).get(uri)
    if entry is None or entry.source != uri:
        return None
    if uri.startswith(SCHEME):
        digest = entry.source_version
        return partial(tenant.uploads.read, digest) if tenant.uploads.has_content(digest) else None
    path = path_of(uri)
    if path is None:
        return None
    try:
        (file,) = Files(path=path).sources()
    except (RagError, OSError, ValueError):
        return None
    return file.read if file.version == entry.source_version else None


@router.get("/jobs")
async def jobs(tenant: TenantArgument) -> JobList:
    """List the ingests since the server started, the latest first."""
    public_uris = await to_thread.run_sync(tenant.read_public_uris)
    return JobList(jobs=[public_uris.hide_in(j.info) for j in reversed(tenant.jobs.values())])


@router.get("/jobs/{id}")
async def job(id: str, tenant: TenantArgument) -> JobInfo:
    """Return the progress of an ingest."""
    ingest_job = tenant.jobs.get(id)
    if ingest_job is None:
        raise ApiError(404, "there is no such job", "not_found")
    public_uris = await to_thread.run_sync(tenant.read_public_uris)
    return public_uris.hide_in(ingest_job.info)
