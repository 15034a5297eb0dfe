"""OpenAI's API for chat and embeddings: any chat client can ask questions about the documents.

The user's last message is the question; the messages before it are the conversation. The pipeline
sets the prompt: ``temperature``, ``tools`` and similar fields have no effect, and system messages
are ignored. Requests that cannot be fulfilled (several choices, JSON replies, pictures) are
refusal. The citations are in ``citewell``, a field of the message that the official clients keep.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rag.pipeline import Pipeline
from rag.serving.api import parse_filter
from rag.serving.dependencies import ServiceArgument, TenantArgument
from rag.serving.errors import ApiError, to_api_error
from rag.serving.openai_replies import (
    Exchange,
    Extension,
    OpenStream,
    check_model,
    is_cut_off,
    to_sse,
    unknown_model_error,
)
from rag.serving.service import Service
from rag.serving.streaming import (
    EVENT_STREAM,
    KEEP_ALIVE,
    EventStreamResponse,
)
from rag.types import Answer, Message

router = APIRouter(prefix="/v1", tags=["OpenAI"])

MAX_MESSAGES = 1_000
MAX_TEXTS = 2_048
MAX_TOKENS_PER_TEXT = 100_000


class TextPart(BaseModel):
    """A part of a message."""

    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """A message of a conversation; other fields are ignored."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """Text of the message; other parts, such as pictures, are left out."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content if part.type == "text" and part.text)

    @property
    def first_unsupported_type(self) -> str:
        """Type of the first part that is not text; "" if there is none."""
        parts = self.content if isinstance(self.content, list) else []
        return next((part.type for part in parts if part.type != "text"), "")


class ResponseFormat(BaseModel):
    """Format of the reply; only text is supported."""

    model_config = ConfigDict(extra="allow")

    type: str


class StreamOptions(BaseModel):
    """Options of a stream: whether its last piece has the token usage."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """Request of a chat client; other fields have no effect."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    response_format: ResponseFormat | None = None
    where: dict[str, Any] | None = Field(
        None, description="An extension of OpenAI's API: a filter on documents, as in /ask."
    )


class Usage(BaseModel):
    """Tokens of the chat models."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ReplyMessage(BaseModel):
    """The answer and its citations."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    citewell: Extension


class Choice(BaseModel):
    """The only choice."""

    index: int = 0
    message: ReplyMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"] = "stop"


class ChatReply(BaseModel):
    """A complete reply."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelInfo(BaseModel):
    """A model of the server."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "citewell"


class ModelList(BaseModel):
    """All chat models of the server."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]


class EmbeddingRequest(BaseModel):
    """Texts, or their tokens in OpenAI's cl100k vocabulary, which some clients send."""

    model_config = ConfigDict(extra="allow")

    model: str
    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)]
        | Annotated[list[int], Field(min_length=1, max_length=MAX_TOKENS_PER_TEXT)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=MAX_TEXTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class EmbeddingItem(BaseModel):
    """A vector: numbers, or base64-encoded little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens, as the embedder counts them."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(BaseModel):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


@router.get("/models")
async def models(service: ServiceArgument, tenant: TenantArgument) -> ModelList:
    """List the pipeline as a chat model. The embedder is not listed; see `/v1/models/{model}`."""
    return ModelList(data=[ModelInfo(id=service.options.model)])


@router.get("/models/{model:path}")
async def model(model: str, service: ServiceArgument, tenant: TenantArgument) -> ModelInfo:
    """Return a model: the pipeline, or the embedder for `/v1/embeddings`."""
    if model not in (service.options.model, embedding_model_name(service.pipeline)):
        raise unknown_model_error(model, service.options.model)
    return ModelInfo(id=model)


@router.post("/chat/completions", response_model=ChatReply, responses=EVENT_STREAM)
async def chat(
    body: ChatRequest, request: Request, service: ServiceArgument, tenant: TenantArgument
) -> Response:
    """Answer the last message of the user from the documents."""
    question, history = _read_conversation(body, service)
    exchange = Exchange(question, history, await parse_filter(body.where, tenant), tenant, service)
    if body.stream:
        stream = await exchange.open_stream(request)
        return EventStreamResponse(_stream_chunks(body, stream), stream.events)
    answer = await exchange.find_answer(request)
    message = ReplyMessage(content=answer.text, citewell=Extension.of(answer))
    reply = ChatReply(
        id=_new_completion_id(),
        created=int(time.time()),
        model=body.model,
        choices=[Choice(message=message, finish_reason=_finish_reason(answer))],
        usage=_to_usage(answer),
    )
    return JSONResponse(reply.model_dump(mode="json"))


def _read_conversation(body: ChatRequest, service: Service) -> tuple[str, list[Message]]:
    """Return the question and the messages before it. Raises `ApiError`."""
    check_model(body.model, service)
    if body.n not in (None, 1):
        raise ApiError(400, "only one choice is supported: n must be 1", "unsupported", param="n")
    if body.response_format is not None and body.response_format.type != "text":
        raise ApiError(
            400,
            "replies are text with citations, not JSON",
            "unsupported",
            param="response_format",
        )
    return split_conversation(body.messages)


def split_conversation(all_messages: Sequence[ChatMessage]) -> tuple[str, list[Message]]:
    """Return the question, which is the last message of the user, and the messages before it.

    Raises `ApiError` if there is none, or if it has other parts than text.
    """
    messages = [message for message in all_messages if message.role not in ("system", "developer")]
    while messages and messages[-1].role != "user":  # a reply to go on with, results of tools
        messages.pop()
    if not messages:
        raise ApiError(400, "there is no message of the user", "bad_request")
    *earlier_messages, question = messages
    if unsupported_type := question.first_unsupported_type:
        message = f"questions are only text, not {unsupported_type[:50]!r}"
        raise ApiError(400, message, "unsupported")
    history = [
        Message(role="user" if earlier.role == "user" else "assistant", content=earlier.text)
        for earlier in earlier_messages
        if earlier.role in ("user", "assistant") and earlier.text.strip()
    ]
    return question.text, history


async def _stream_chunks(body: ChatRequest, stream: OpenStream) -> AsyncIterator[str]:
    """Yield the pieces of a reply in the format of OpenAI's server."""
    common = {
        "id": _new_completion_id(),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.model,
    }

    def make_chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return to_sse(common | {"choices": [choice]})

    yield make_chunk({"role": "assistant", "content": ""})
    try:
        async for piece in stream.iterate():
            if piece is None:
                yield KEEP_ALIVE
            elif isinstance(piece, str):
                yield make_chunk({"content": piece})
            else:
                extension = Extension.of(piece).model_dump(mode="json")
                yield make_chunk({"citewell": extension}, finish_reason=_finish_reason(piece))
                if body.stream_options is not None and body.stream_options.include_usage:
                    usage = _to_usage(piece).model_dump()
                    yield to_sse(common | {"choices": [], "usage": usage})
    except Exception as error:
        yield to_sse({"error": to_api_error(error).problem().model_dump()})
        return
    yield "data: [DONE]\n\n"


@router.post("/embeddings")
async def embeddings(
    body: EmbeddingRequest, service: ServiceArgument, tenant: TenantArgument
) -> EmbeddingReply:
    """Embed texts with the pipeline's embedder, as passages."""
    embedder = tenant.pipeline.embedder
    if body.model != embedding_model_name(service.pipeline):
        raise unknown_model_error(body.model, embedding_model_name(service.pipeline))
    if body.dimensions not in (None, embedder.dimension):
        raise ApiError(
            400,
            f"the vectors have {embedder.dimension} values",
            "unsupported",
            param="dimensions",
        )
    texts = _read_texts(body.input)
    vectors = await service.run_in_thread(lambda: embedder.embed_documents(texts))
    token_count = sum(await service.run_in_thread(lambda: embedder.count_tokens(texts)))
    encoded_vectors: list[list[float] | str]
    if body.encoding_format == "base64":
        encoded_vectors = [
            base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors
        ]
    else:
        encoded_vectors = vectors.tolist()
    return EmbeddingReply(
        data=[EmbeddingItem(index=i, embedding=vector) for i, vector in enumerate(encoded_vectors)],
        model=body.model,
        usage=EmbeddingUsage(prompt_tokens=token_count, total_tokens=token_count),
    )


def _read_texts(texts_or_tokens: str | list[str] | list[int] | list[list[int]]) -> list[str]:
    if isinstance(texts_or_tokens, str):
        return [texts_or_tokens]
    if not isinstance(texts_or_tokens[0], str):
        is_one_text = isinstance(texts_or_tokens[0], int)
        token_lists = [texts_or_tokens] if is_one_text else texts_or_tokens
        return [_decode_tokens(tokens) for tokens in token_lists]  # type: ignore[arg-type]
    return texts_or_tokens


def _decode_tokens(tokens: list[int]) -> str:
    from rag.text.tokens import load_vocabulary

    try:
        vocabulary = load_vocabulary("cl100k_base")
        if vocabulary is None:
            message = "the server cannot decode tokens: send texts"
            raise ApiError(400, message, "unsupported", param="input")
        return str(vocabulary.decode(tokens))
    except (KeyError, OverflowError, ValueError):
        message = "the numbers are not tokens of cl100k"
        raise ApiError(400, message, "bad_request", param="input") from None


def embedding_model_name(pipeline: Pipeline) -> str:
    """Return the model name of the embedder."""
    return str(getattr(pipeline.embedder, "model", pipeline.embedder.name))


def _finish_reason(answer: Answer) -> Literal["stop", "length"]:
    """Return "length" if the model reached its token limit, else "stop"."""
    return "length" if is_cut_off(answer) else "stop"


def _to_usage(answer: Answer) -> Usage:
    usage = answer.usage
    return Usage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
    )


def _new_completion_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"
