"""citewell's own routes: ask, search, documents, conversations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

import anyio
from anyio import BrokenWorkerProcess, to_process, to_thread
from fastapi import APIRouter, File, Query, Request, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from connectors import Files, path_of
from connectors.parsers.pdf_pages import page_picture
from rag.errors import DocumentNotFound, IndexNotFound, ParseError, QueryError, RagError
from rag.filters import Filter
from rag.generation import AnswerCompleted, CitationAdded, Event, SentenceVerified, TextDelta
from rag.serving.errors import ApiError, told
from rag.serving.openai_api import note
from rag.serving.service import EVENT_STREAM, ClosingResponse, Leased, Served, Service, unless_gone
from rag.serving.tenants import FailedSource, JobInfo, Tenant
from rag.serving.uploads import SCHEME, Staged, checked_file_name, distinct
from rag.stores.sqlite import DocumentInfo
from rag.types import Answer, Hit, Mark, Message

router = APIRouter()

_WHERE = (
    'A filter on documents: {"field": "year", "op": ">=", "value": 2020}, or {"year": 2020}; '
    'combined by {"all": [...]}, {"any": [...]} and {"not": ...}.'
)
_MOST_FILES = 50
_MOST_HISTORY = 200
_WINDOW = 100_000  # characters of a source that are sent at once
_DRAWING_SECONDS = 20
_EVENTS = {
    TextDelta: "text",
    CitationAdded: "citation",
    SentenceVerified: "sentence",
    AnswerCompleted: "done",
}

Uri = Annotated[str, Query(min_length=1, max_length=4_000, description="Uri of a document.")]
Name = Annotated[str, Query(min_length=1, max_length=200, description="Name of a conversation.")]


class Question(BaseModel):
    """A question, by itself or in a conversation.

    A ``conversation`` is kept under its name; ``history`` is for those who keep their own.
    """

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=20_000)
    where: dict[str, Any] | None = Field(None, description=_WHERE)
    history: list[Message] = Field([], max_length=_MOST_HISTORY)
    conversation: str | None = Field(None, min_length=1, max_length=200)
    stream: bool = False


class Search(BaseModel):
    """What to look for."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=20_000)
    k: int | None = Field(None, ge=1, le=100)
    where: dict[str, Any] | None = Field(None, description=_WHERE)


class Hits(BaseModel):
    """What was found, best first."""

    hits: list[Hit]


class DocumentEntry(BaseModel):
    """A document of the list. ``written`` is in seconds since 1970."""

    uri: str
    title: str
    mime: str
    characters: int
    chunks: int
    written: float


class DocumentList(BaseModel):
    """Documents, sorted by uri, and what could not become one."""

    documents: list[DocumentEntry]
    total: int
    failures: list[FailedSource]


class SourceText(BaseModel):
    """A stretch ``[offset, offset + len(text))`` of a document of ``characters`` characters.

    ``start`` and ``end`` are the span that was asked for, in the whole document.
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
    pictures: bool = Field(description="Whether its pages can be drawn: /documents/page.")


class Deleted(BaseModel):
    """How many documents are gone."""

    deleted: int


class ConversationEntry(BaseModel):
    """A conversation of the list."""

    name: str
    turns: int
    last: str
    first_question: str


class ConversationList(BaseModel):
    """Conversations, the latest first."""

    conversations: list[ConversationEntry]


class TurnEntry(BaseModel):
    """A question and its answer."""

    number: int
    at: str
    question: str
    answer: Answer


class Turns(BaseModel):
    """What was said, oldest first."""

    name: str
    turns: list[TurnEntry]


class JobList(BaseModel):
    """Ingests of uploads, the latest first."""

    jobs: list[JobInfo]


@router.post("/ask", tags=["Questions"], responses=EVENT_STREAM)
async def ask(body: Question, request: Request, service: Served, tenant: Leased) -> Answer:
    """Answer a question, with citations that are exact spans of the documents.

    With `stream`, as server-sent events: `text` (a piece), `citation`, `sentence` (what became of
    it), and at the end `done` with the whole answer, or `error`.
    """
    where = None if body.where is None else Filter.of(body.where)
    if body.conversation is not None and body.history:
        raise ApiError(400, "a conversation has its own history: give one of both", "bad_request")

    async def begun() -> AsyncIterator[Event]:
        pipeline = tenant.pipeline
        if body.conversation is None:
            return pipeline.astream(body.question, where=where, history=body.history)
        talk = await to_thread.run_sync(pipeline.chat, body.conversation)
        return talk.astream(body.question, where=where)

    events = service.events(await begun())
    if body.stream:
        first = await unless_gone(request, anext(events))
        streamed = _streamed(first, events, service)
        return ClosingResponse(streamed, events)  # type: ignore[return-value]

    async def whole() -> Answer:
        try:
            async for event in events:
                if isinstance(event, AnswerCompleted):
                    return event.answer
        finally:
            await events.aclose()  # type: ignore[attr-defined]
        raise AssertionError("a stream ends with Done")

    answer = await unless_gone(request, whole())
    note(service, answer)
    return answer


async def _streamed(
    first: Event | None, events: AsyncIterator[Event | None], service: Service
) -> AsyncIterator[str]:
    event: Event | None = first
    try:
        while True:
            if event is None:
                yield ": still at it\n\n"
            else:
                yield _sse(_EVENTS[type(event)], event.model_dump(mode="json"))
            if isinstance(event, AnswerCompleted):
                note(service, event.answer)
            event = await anext(events)
    except StopAsyncIteration:
        pass
    except Exception as error:
        yield _sse("error", told(error).problem().model_dump())
    finally:
        await events.aclose()  # type: ignore[attr-defined]


def _sse(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


@router.post("/search", tags=["Questions"])
async def search(body: Search, service: Served, tenant: Leased) -> Hits:
    """Find passages."""
    where = None if body.where is None else Filter.of(body.where)
    hits = await service.work(lambda: tenant.pipeline.search(body.query, k=body.k, where=where))
    return Hits(hits=hits)


# -- documents -----------------------------------------------------------------------------


@router.get("/documents", tags=["Documents"])
async def documents(
    service: Served,
    tenant: Leased,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
) -> DocumentList:
    """List the documents, and what failed to become one."""

    def listed() -> DocumentList:
        try:
            library = tenant.pipeline.open().document_store
        except IndexNotFound:
            return DocumentList(documents=[], total=0, failures=[])
        found = library.documents()
        return DocumentList(
            documents=[_entry(info) for info in found[offset : offset + limit]],
            total=len(found),
            failures=[FailedSource(uri=f.uri, error=f.error) for f in library.failures()[:limit]],
        )

    return await service.work(listed)


def _entry(info: DocumentInfo) -> DocumentEntry:
    return DocumentEntry(
        uri=info.uri,
        title=info.title,
        mime=info.mime,
        characters=info.characters,
        chunks=info.chunks,
        written=info.written,
    )


@router.post("/documents", tags=["Documents"], status_code=202)
async def upload(
    service: Served,
    tenant: Leased,
    files: Annotated[list[UploadFile], File(description="Files of any format that is read.")],
) -> JobInfo:
    """Upload files; they are ingested in the background: see `/jobs/{id}`.

    A file takes the place of an earlier one of its name.
    """
    if len(files) > _MOST_FILES:
        raise ApiError(400, f"at most {_MOST_FILES} files at once", "too_many")
    names = distinct([checked_file_name(file.filename) for file in files])
    staged: list[Staged] = []

    def stage() -> None:
        for name, file in zip(names, files, strict=True):
            staged.append(tenant.uploads.stage(name, file.file))

    try:
        await service.work(stage)
        return await service.tenants.upload(tenant, staged, service.options.namespace_bytes)
    finally:
        tenant.uploads.discard(staged)  # those that were kept are elsewhere


@router.delete("/documents", tags=["Documents"])
async def delete(uri: Uri, service: Served, tenant: Leased) -> Deleted:
    """Delete a document, or all below a uri, and the uploads they came from."""
    deleted = await service.tenants.delete(tenant, uri)
    if not deleted:
        raise DocumentNotFound(f"there is no document {uri[:200]!r}")
    return Deleted(deleted=deleted)


@router.get("/documents/source", tags=["Documents"])
async def source(
    uri: Uri,
    service: Served,
    tenant: Leased,
    start: Annotated[int | None, Query(ge=0, le=10**12, description="First character.")] = None,
    end: Annotated[int | None, Query(ge=0, le=10**12, description="Behind the last.")] = None,
) -> SourceText:
    """Give the stored text of a document around a span: what citations count their offsets in."""
    if (start is None) != (end is None) or (start is not None and end is not None and start > end):
        raise QueryError("a span has a start and, not before it, an end")

    def read() -> SourceText:
        document = tenant.pipeline.document(uri)
        length = len(document.text)
        if end is not None and end > length:
            raise QueryError(f"the document has {length:,} characters")
        middle = 0 if start is None else start
        offset = max(0, min(middle - _WINDOW // 2, length - _WINDOW))
        stop = min(length, offset + _WINDOW)
        place = document.location_at(middle, end)
        page = place.get("page")
        return SourceText(
            uri=document.uri,
            title=document.title,
            mime=document.mime,
            characters=length,
            offset=offset,
            text=document.text[offset:stop],
            start=start,
            end=end,
            page=page if isinstance(page, int) else None,
            marks=[m for m in document.marks if m.end > offset and m.start < stop][:10_000],
            pictures=document.mime == "application/pdf" and _original(tenant, uri) is not None,
        )

    return await service.work(read)


@router.get(
    "/documents/page",
    tags=["Documents"],
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
async def page(
    uri: Uri,
    service: Served,
    tenant: Leased,
    number: Annotated[int, Query(ge=1, le=100_000, description="Page, from 1.")],
    start: Annotated[int, Query(ge=0, le=10**12)] = 0,
    end: Annotated[int, Query(ge=0, le=10**12)] = 0,
) -> Response:
    """Draw a page of a PDF, with the words of the span ``[start, end)`` marked on it.

    `Citewell-Marked-At` says how far down the first of them is (0 to 1), where there are any.
    """

    def read() -> tuple[bytes, str]:
        library = tenant.pipeline.open().document_store
        quote = library.text(uri, start, min(end, start + 20_000)) if end > start else ""
        is_pdf = library.document(uri).mime == "application/pdf"
        data = _original(tenant, uri) if is_pdf else None
        if data is None:
            raise DocumentNotFound("only pages of PDFs that are unchanged can be drawn")
        return data(), quote

    data, quote = await service.work(read)
    async with service.drawers:
        try:  # in a process of its own: one that is stuck is ended, and takes nothing with it
            with anyio.fail_after(_DRAWING_SECONDS):
                drawn = await to_process.run_sync(
                    page_picture, data, number, quote, cancellable=True, limiter=service.processes
                )
        except TimeoutError:
            raise ApiError(504, "the page takes too long to draw", "timeout") from None
        except (ParseError, BrokenWorkerProcess):
            raise ApiError(404, "the page cannot be drawn", "not_found") from None
    headers = {} if drawn.marked_at is None else {"Citewell-Marked-At": f"{drawn.marked_at:.4f}"}
    return Response(drawn.png, media_type="image/png", headers=headers)


def _original(tenant: Tenant, uri: str) -> Callable[[], bytes] | None:
    """How to read the file that a document was made of; None where that file is not there."""
    entry = tenant.pipeline.open().document_store.ledger([uri]).get(uri)
    if entry is None or entry.source != uri:
        return None
    if uri.startswith(SCHEME):
        digest = entry.source_version
        return partial(tenant.uploads.read, digest) if tenant.uploads.has(digest) else None
    path = path_of(uri)
    if path is None:
        return None
    try:
        (found,) = Files(path=path).sources()
    except (RagError, OSError, ValueError):
        return None
    return found.read if found.version == entry.source_version else None


@router.get("/jobs", tags=["Documents"])
async def jobs(tenant: Leased) -> JobList:
    """List the ingests since the server started, the latest first."""
    return JobList(jobs=[job.info for job in reversed(tenant.jobs.values())])


@router.get("/jobs/{id}", tags=["Documents"])
async def job(id: str, tenant: Leased) -> JobInfo:
    """Say how far an ingest is."""
    found = tenant.jobs.get(id)
    if found is None:
        raise ApiError(404, "there is no such job", "not_found")
    return found.info


# -- conversations -------------------------------------------------------------------------


@router.get("/conversations", tags=["Conversations"])
async def conversations(service: Served, tenant: Leased) -> ConversationList:
    """List the conversations."""
    found = await service.work(lambda: tenant.pipeline.conversations.conversations())
    return ConversationList(
        conversations=[
            ConversationEntry(
                name=info.name,
                turns=info.turns,
                last=info.last,
                first_question=info.first_question[:200],
            )
            for info in found[:1_000]
        ]
    )


@router.get("/conversation", tags=["Conversations"])
async def conversation(name: Name, service: Served, tenant: Leased) -> Turns:
    """Give a conversation; one that is not known has no turns."""
    turns = await service.work(lambda: tenant.pipeline.conversations.turns(name))
    return Turns(
        name=name,
        turns=[
            TurnEntry(number=turn.number, at=turn.at, question=turn.question, answer=turn.answer)
            for turn in turns
        ],
    )


@router.delete("/conversation", tags=["Conversations"])
async def forget(name: Name, service: Served, tenant: Leased) -> Deleted:
    """Forget a conversation."""

    def forgotten() -> int:
        store = tenant.pipeline.conversations
        return store.delete(name) if store.path.is_file() else 0

    deleted = await service.work(forgotten)
    if not deleted:
        raise DocumentNotFound(f"there is no conversation {name[:200]!r}")
    return Deleted(deleted=deleted)
