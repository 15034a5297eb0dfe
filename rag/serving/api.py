"""citewell's own routes for questions and searches."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from rag.filters import Filter
from rag.generation import (
    AnswerCompleted,
    CitationAdded,
    Event,
    SentenceVerified,
    TextDelta,
    with_chat_model,
)
from rag.pipeline import Pipeline
from rag.serving.dependencies import ServiceArgument, TenantArgument
from rag.serving.errors import ApiError, to_api_error
from rag.serving.service import Options, Service
from rag.serving.streaming import (
    EVENT_STREAM,
    KEEP_ALIVE,
    EventStreamResponse,
    cancel_on_disconnect,
)
from rag.serving.tenants import Tenant
from rag.types import Answer, Hit, Message

router = APIRouter()

MAX_QUESTION_CHARACTERS = 20_000
MAX_HISTORY_MESSAGES = 200
MAX_HITS = 100
MAX_CONVERSATION_NAME_CHARACTERS = 200

FILTER_EXAMPLE: dict[str, Any] = {
    "and": [
        {"or": [{"lang": ["en", "de"]}, {"field": "year", "op": ">=", "value": 2020}]},
        {"not": {"field": "draft", "op": "exists"}},
    ]
}
_FILTER_DESCRIPTION = (
    'A filter on documents: {"field": "year", "op": ">=", "value": 2020}, or {"year": 2020}; '
    'combined by {"and": [...]}, {"or": [...]} and {"not": ...}. The operators of Chroma and '
    'LangChain work as well: {"year": {"$gte": 2020}}.'
)
DocumentFilter = Annotated[
    dict[str, Any] | None, Field(description=_FILTER_DESCRIPTION, examples=[FILTER_EXAMPLE])
]

_EVENT_NAMES = {
    TextDelta: "text",
    CitationAdded: "citation",
    SentenceVerified: "sentence",
    AnswerCompleted: "done",
}


class Question(BaseModel):
    """A question, with or without a conversation.

    The server stores a ``conversation`` under its name. Clients that store conversations
    themselves send the earlier messages in ``history`` instead.
    """

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARACTERS)
    where: DocumentFilter = None
    history: list[Message] = Field([], max_length=MAX_HISTORY_MESSAGES)
    model: str | None = Field(
        None, max_length=200, description="One of the models that /settings lists."
    )
    k: int | None = Field(None, ge=1, le=MAX_HITS, description="Number of hits for the answer.")
    conversation: str | None = Field(
        None, min_length=1, max_length=MAX_CONVERSATION_NAME_CHARACTERS
    )
    replaces: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="Number of the turn of the conversation that the question replaces, with all "
        "turns after it, when its answer is complete.",
    )
    stream: bool = False


class Search(BaseModel):
    """A search: the query, the number of hits, and a filter."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=MAX_QUESTION_CHARACTERS)
    k: int | None = Field(None, ge=1, le=MAX_HITS)
    where: DocumentFilter = None


class Hits(BaseModel):
    """The hits of a search, best first."""

    hits: list[Hit]


class DeletionCount(BaseModel):
    """Number of deleted documents or turns."""

    deleted: int


async def parse_filter(where: dict[str, Any] | None, tenant: Tenant) -> Filter | None:
    """Return the filter of a request body. Raises `QueryError`."""
    if where is None:
        return None

    def parse() -> Filter:
        return tenant.read_public_uris().translate(Filter.of(where, paths=False))

    return await to_thread.run_sync(parse)  # a filter can have many values


@router.post("/ask", tags=["Questions"], responses=EVENT_STREAM)
async def ask(
    body: Question, request: Request, service: ServiceArgument, tenant: TenantArgument
) -> Answer:
    """Answer a question, with citations that are exact spans of the documents.

    With `stream`, the response is a stream of server-sent events: `text` (a piece of the answer),
    `citation`, `sentence` (its verification), and at the end `done` with the complete answer, or
    `error`.
    """
    where = await parse_filter(body.where, tenant)
    if body.conversation is not None and body.history:
        message = "a conversation has its own history: send either conversation or history"
        raise ApiError(400, message, "bad_request")
    if body.conversation is None and body.replaces is not None:
        raise ApiError(400, "replaces needs a conversation", "bad_request", param="replaces")
    pipeline = _choose_pipeline(tenant.pipeline, body, service.options)
    if body.conversation is None:
        pipeline_events = pipeline.astream(body.question, where=where, history=body.history)
    else:
        await to_thread.run_sync(_check_quota, pipeline, body.conversation, service.options)
        conversation = await to_thread.run_sync(pipeline.chat, body.conversation)
        pipeline_events = conversation.astream(body.question, where=where, replaces=body.replaces)
    events = service.iterate_in_slots(tenant.publish_events(pipeline_events))
    if body.stream:
        first_event = await cancel_on_disconnect(request, anext(events))
        stream = _stream_events(first_event, events, service)
        return EventStreamResponse(stream, events)  # type: ignore[return-value]
    answer = await cancel_on_disconnect(request, _complete_answer(events))
    service.metrics.count_answer(answer)
    return answer


def _choose_pipeline(pipeline: Pipeline, body: Question, options: Options) -> Pipeline:
    """Return the pipeline with the model and the number of hits that a request asks for."""
    changes: dict[str, Any] = {} if body.k is None else {"k": body.k}
    if body.model is not None:
        if body.model not in options.models:
            message = f"the model {body.model[:100]!r} is not offered: see /settings"
            raise ApiError(400, message, "unknown_model", param="model")
        changes["generator"] = with_chat_model(pipeline.generator, body.model)
    return pipeline.share(**changes) if changes else pipeline


def _check_quota(pipeline: Pipeline, name: str, options: Options) -> None:
    """Raise `ApiError` if a new conversation would be one too many."""
    limit, store = options.namespace_conversations, pipeline.conversations
    if store.count() >= limit and not store.turns(name):
        message = f"there may be at most {limit:,} conversations: delete some first"
        raise ApiError(413, message, "quota_exceeded")


async def _complete_answer(events: AsyncIterator[Event | None]) -> Answer:
    try:
        async for event in events:
            if isinstance(event, AnswerCompleted):
                return event.answer
    finally:
        await events.aclose()  # type: ignore[attr-defined]
    raise AssertionError("a stream ends with AnswerCompleted")


async def _stream_events(
    first_event: Event | None, events: AsyncIterator[Event | None], service: Service
) -> AsyncIterator[str]:
    event: Event | None = first_event
    try:
        while True:
            if event is None:
                yield KEEP_ALIVE
            else:
                yield _to_sse(_EVENT_NAMES[type(event)], event.model_dump(mode="json"))
            if isinstance(event, AnswerCompleted):
                service.metrics.count_answer(event.answer)
            event = await anext(events)
    except StopAsyncIteration:
        pass
    except Exception as error:
        yield _to_sse("error", to_api_error(error).problem().model_dump())
    finally:
        await events.aclose()  # type: ignore[attr-defined]


def _to_sse(name: str, value: Any) -> str:
    """Return a server-sent event."""
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


@router.post("/search", tags=["Questions"])
async def search(body: Search, service: ServiceArgument, tenant: TenantArgument) -> Hits:
    """Find passages."""
    where = await parse_filter(body.where, tenant)

    def find_hits() -> Hits:
        hits = tenant.pipeline.search(body.query, k=body.k, where=where)
        return tenant.read_public_uris().hide_in(Hits(hits=hits))

    return await service.run_in_thread(find_hits)
