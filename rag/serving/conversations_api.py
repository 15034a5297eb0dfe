"""citewell's own routes for conversations: list, search, rename, export, delete, feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from rag.conversation import Conversation
from rag.conversation.conversation import validate_conversation_name
from rag.conversation.store import ConversationStore, Feedback, Turn
from rag.errors import DocumentNotFound
from rag.serving.api import MAX_CONVERSATION_NAME_CHARACTERS, DeletionCount
from rag.serving.dependencies import ServiceArgument, TenantArgument
from rag.serving.tenants import Tenant
from rag.types import Answer

router = APIRouter(tags=["Conversations"])

MAX_LISTED_CONVERSATIONS = 1_000
MAX_LISTED_QUESTION_CHARACTERS = 200
MAX_COMMENT_CHARACTERS = 2_000
MAX_TURN_NUMBER = 10**9

ConversationName = Annotated[
    str,
    Query(
        min_length=1,
        max_length=MAX_CONVERSATION_NAME_CHARACTERS,
        description="Name of a conversation.",
    ),
]


class ConversationEntry(BaseModel):
    """A conversation in the list."""

    name: str
    turns: int
    last: str
    first_question: str


class ConversationList(BaseModel):
    """Conversations, the latest first."""

    conversations: list[ConversationEntry]


class TurnEntry(BaseModel):
    """A question and its answer, with the feedback on it."""

    number: int
    at: str
    question: str
    answer: Answer
    rating: Literal["up", "down"] | None
    comment: str


class Turns(BaseModel):
    """The turns of a conversation, oldest first."""

    name: str
    turns: list[TurnEntry]


class FeedbackEntry(Feedback):
    """Feedback with the question and the answer that it is about."""

    question: str
    answer: str


class FeedbackList(BaseModel):
    """All feedback of a namespace, the oldest first."""

    feedback: list[FeedbackEntry]


class NewName(BaseModel):
    """The new name of a conversation."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=MAX_CONVERSATION_NAME_CHARACTERS)


class Opinion(BaseModel):
    """What a person thinks of the answer of turn ``number``; None takes it back."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(ge=1, le=MAX_TURN_NUMBER)
    rating: Literal["up", "down"] | None
    comment: str = Field("", max_length=MAX_COMMENT_CHARACTERS)


@router.get("/conversations")
async def conversations(
    service: ServiceArgument,
    tenant: TenantArgument,
    search: Annotated[
        str, Query(max_length=200, description="Only conversations that contain this text.")
    ] = "",
) -> ConversationList:
    """List the conversations."""
    store = tenant.pipeline.conversations
    infos = await service.run_in_thread(lambda: store.conversations(search))
    return ConversationList(
        conversations=[
            ConversationEntry(
                name=info.name,
                turns=info.turns,
                last=info.last,
                first_question=info.first_question[:MAX_LISTED_QUESTION_CHARACTERS],
            )
            for info in infos[:MAX_LISTED_CONVERSATIONS]
        ]
    )


@router.get("/conversation")
async def conversation(
    name: ConversationName, service: ServiceArgument, tenant: TenantArgument
) -> Turns:
    """Return a conversation; an unknown name has no turns."""
    return await service.run_in_thread(lambda: _read_turns(tenant, name))


def _read_turns(tenant: Tenant, name: str) -> Turns:
    store = tenant.pipeline.conversations
    feedback = {item.number: item for item in store.feedback(name)}

    def make_entry(turn: Turn) -> TurnEntry:
        opinion = feedback.get(turn.number)
        return TurnEntry(
            number=turn.number,
            at=turn.at,
            question=turn.question,
            answer=turn.answer,
            rating=opinion.rating if opinion else None,
            comment=opinion.comment if opinion else "",
        )

    turns = Turns(name=name, turns=[make_entry(turn) for turn in store.turns(name)])
    return tenant.read_public_uris().hide_in(turns)


@router.get(
    "/conversation/export",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {}, "application/json": {}}}},
)
async def export(
    name: ConversationName,
    service: ServiceArgument,
    tenant: TenantArgument,
    format: Literal["markdown", "json"] = "markdown",
) -> Response:
    """Return a conversation as a file: Markdown with the citations, or JSON."""

    def write() -> Response:
        turns = _read_turns(tenant, name)
        if not turns.turns:
            raise DocumentNotFound(f"there is no conversation {name!r}")
        if format == "json":
            return Response(turns.model_dump_json(indent=2), media_type="application/json")
        conversation = Conversation(tenant.pipeline, tenant.pipeline.conversations, name)
        text = conversation.transcript(tenant.read_public_uris().hide)
        return Response(text, media_type="text/markdown; charset=utf-8")

    return await service.run_in_thread(write)


@router.patch("/conversation")
async def rename(
    name: ConversationName, body: NewName, service: ServiceArgument, tenant: TenantArgument
) -> NewName:
    """Give a conversation another name."""
    store, new_name = tenant.pipeline.conversations, validate_conversation_name(body.name)
    renamed = await service.run_in_thread(
        lambda: store.path.is_file() and store.rename(name, new_name)
    )
    if not renamed:
        raise DocumentNotFound(f"there is no conversation {name!r}")
    return NewName(name=new_name)


@router.delete("/conversation")
async def forget(
    name: ConversationName,
    service: ServiceArgument,
    tenant: TenantArgument,
    first: Annotated[
        int, Query(ge=1, le=MAX_TURN_NUMBER, description="Number of the first turn to delete.")
    ] = 1,
) -> DeletionCount:
    """Delete a conversation, or its last turns."""

    def delete_turns() -> int:
        store = tenant.pipeline.conversations
        return store.delete(name, first) if store.path.is_file() else 0

    deleted = await service.run_in_thread(delete_turns)
    if not deleted:
        raise DocumentNotFound(f"there is no conversation {name!r}")
    return DeletionCount(deleted=deleted)


@router.post("/feedback")
async def give_feedback(
    name: ConversationName, body: Opinion, service: ServiceArgument, tenant: TenantArgument
) -> Opinion:
    """Rate an answer, with a comment. It replaces earlier feedback on the answer."""

    def store_opinion() -> bool:
        store = tenant.pipeline.conversations
        return store.path.is_file() and store.give_feedback(
            name, body.number, body.rating, body.comment
        )

    if not await service.run_in_thread(store_opinion):
        raise DocumentNotFound(f"there is no turn {body.number} in a conversation {name!r}")
    return body


@router.get("/feedback")
async def list_feedback(service: ServiceArgument, tenant: TenantArgument) -> FeedbackList:
    """List all feedback, with the questions and answers."""
    store = tenant.pipeline.conversations
    return await service.run_in_thread(lambda: _read_feedback(store))


def _read_feedback(store: ConversationStore) -> FeedbackList:
    entries: list[FeedbackEntry] = []
    turns: dict[str, dict[int, Turn]] = {}
    for item in store.feedback():
        if item.conversation not in turns:
            turns[item.conversation] = {t.number: t for t in store.turns(item.conversation)}
        turn = turns[item.conversation].get(item.number)
        if turn is not None:
            texts = {"question": turn.question, "answer": turn.answer.text}
            entries.append(FeedbackEntry(**item.model_dump(), **texts))
    return FeedbackList(feedback=entries)
