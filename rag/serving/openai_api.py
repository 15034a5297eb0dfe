"""OpenAI's API, as far as it fits: any chat client can talk with the documents.

The last message of the user is the question, the ones before are the conversation. What a model
is told is the pipeline's to say: ``temperature``, ``tools`` and the like change nothing, and system
messages are left out. What cannot be done (several choices, JSON replies, pictures) is refused.
The citations stand in ``citewell``, a field of the message that the official clients pass on.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from rag.filters import Filter
from rag.generation import AnswerCompleted, TextDelta
from rag.pipeline import Pipeline
from rag.serving.errors import ApiError, told
from rag.serving.service import EVENT_STREAM, ClosingResponse, Leased, Served, Service, unless_gone
from rag.types import Answer, Citation, Message, Sentence

router = APIRouter(prefix="/v1", tags=["OpenAI"])

_MOST_MESSAGES = 1_000
_MOST_TEXTS = 2_048
_TAKEN_BACK = "\n\n(This is taken back: the sources do not support it.)\n\n"


class TextPart(BaseModel):
    """A piece of a message."""

    type: str
    text: str | None = None


class ChatMessage(BaseModel):
    """A message of a conversation; what else it has is not looked at."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None

    def words(self) -> str:
        """What it says, pictures and the like left out."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content if part.type == "text" and part.text)

    @property
    def other(self) -> str:
        """What it holds besides text: the type of the first such part."""
        parts = self.content if isinstance(self.content, list) else []
        return next((part.type for part in parts if part.type != "text"), "")


class ResponseFormat(BaseModel):
    """What a reply is to be: text is all there is."""

    model_config = ConfigDict(extra="allow")

    type: str


class StreamOptions(BaseModel):
    """Whether the last piece of a stream says what was used."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """What a chat client sends; fields that are not named here change nothing."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=_MOST_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    response_format: ResponseFormat | None = None
    where: dict[str, Any] | None = Field(
        None, description="An extension: only documents whose metadata fits this filter."
    )


class Extension(BaseModel):
    """What can be checked of an answer."""

    status: Literal["answered", "abstained"]
    reason: str
    citations: tuple[Citation, ...]
    sentences: tuple[Sentence, ...]

    @classmethod
    def of(cls, answer: Answer) -> Extension:
        """From an answer."""
        return cls(
            status=answer.status,
            reason=answer.reason,
            citations=answer.citations,
            sentences=answer.sentences,
        )


class Usage(BaseModel):
    """Tokens of the chat models."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ReplyMessage(BaseModel):
    """The answer, and what it rests on."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    citewell: Extension


class Choice(BaseModel):
    """The one there is."""

    index: int = 0
    message: ReplyMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"] = "stop"


class ChatReply(BaseModel):
    """A whole reply."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelInfo(BaseModel):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "citewell"


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]


class EmbeddingRequest(BaseModel):
    """Texts, or their tokens in OpenAI's cl100k vocabulary, as some clients send them."""

    model_config = ConfigDict(extra="allow")

    model: str
    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=_MOST_TEXTS)]
        | Annotated[list[int], Field(min_length=1, max_length=100_000)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=_MOST_TEXTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class EmbeddingItem(BaseModel):
    """A vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens by the embedder's own count."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(BaseModel):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


@router.get("/models")
async def models(service: Served, tenant: Leased) -> ModelList:
    """List the pipeline; its embedder is no model to chat with, and is asked for by its name."""
    return ModelList(data=[ModelInfo(id=service.options.model)])


@router.get("/models/{model:path}")
async def model(model: str, service: Served, tenant: Leased) -> ModelInfo:
    """Say whether there is such a model."""
    if model not in (service.options.model, embedding_model(service.pipeline)):
        raise _no_model(model)
    return ModelInfo(id=model)


@router.post("/chat/completions", response_model=ChatReply, responses=EVENT_STREAM)
async def chat(body: ChatRequest, request: Request, service: Served, tenant: Leased) -> Response:
    """Answer the last message of the user from the documents."""
    question, history = _asked(body, service)
    where = None if body.where is None else Filter.of(body.where)
    if body.stream:
        events = tenant.pipeline.astream(question, where=where, history=history)
        stream = service.events(events)
        first = await unless_gone(request, anext(stream))
        return ClosingResponse(_chunks(body, first, stream, service), stream)

    async def ask() -> Answer:
        async with service.slot():
            return await tenant.pipeline.aask(question, where=where, history=history)

    answer = await unless_gone(request, ask())
    note(service, answer)
    message = ReplyMessage(content=answer.text, citewell=Extension.of(answer))
    reply = ChatReply(
        id=_made_up(),
        created=int(time.time()),
        model=body.model,
        choices=[Choice(message=message, finish_reason=_finish(answer))],
        usage=_usage(answer),
    )
    return JSONResponse(reply.model_dump(mode="json"))


def _asked(body: ChatRequest, service: Service) -> tuple[str, list[Message]]:
    """The question and the conversation before it. Raises `ApiError` for what cannot be done."""
    if body.model != service.options.model:
        raise _no_model(body.model)
    if body.n not in (None, 1):
        raise ApiError(400, "there is one choice only: n must be 1", "unsupported", param="n")
    if body.response_format is not None and body.response_format.type != "text":
        raise ApiError(
            400,
            "replies are text with citations, not JSON",
            "unsupported",
            param="response_format",
        )
    told_to_model = [each for each in body.messages if each.role not in ("system", "developer")]
    if not told_to_model or told_to_model[-1].role != "user":
        raise ApiError(400, "the last message must be the user's question", "bad_request")
    *before, last = told_to_model
    if last.other:
        raise ApiError(400, f"only text can be asked, not {last.other[:50]!r}", "unsupported")
    history = [
        Message(role="user" if each.role == "user" else "assistant", content=each.words())
        for each in before
        if each.role in ("user", "assistant") and each.words().strip()
    ]
    return last.words(), history


async def _chunks(
    body: ChatRequest, first: Any, events: AsyncIterator[Any], service: Service
) -> AsyncIterator[str]:
    """The pieces of a reply as OpenAI's server sends them."""
    common = {
        "id": _made_up(),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.model,
    }

    def piece(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data(common | {"choices": [choice]})

    said = ""
    answer: Answer | None = None
    try:
        yield piece({"role": "assistant", "content": ""})
        event = first
        while True:
            if event is None:
                yield ": still at it\n\n"
            elif isinstance(event, TextDelta):
                said += event.text
                yield piece({"content": event.text})
            elif isinstance(event, AnswerCompleted):
                answer = event.answer
            event = await anext(events)
    except StopAsyncIteration:
        pass
    except Exception as error:
        yield data({"error": told(error).problem().model_dump()})
        return
    finally:
        await events.aclose()  # type: ignore[attr-defined]
    assert answer is not None
    note(service, answer)
    if answer.status == "abstained" and said != answer.text:
        yield piece({"content": f"{_TAKEN_BACK if said else ''}{answer.text}"})
    extension = Extension.of(answer).model_dump(mode="json")
    yield piece({"citewell": extension}, finish=_finish(answer))
    if body.stream_options is not None and body.stream_options.include_usage:
        yield data(common | {"choices": [], "usage": _usage(answer).model_dump()})
    yield "data: [DONE]\n\n"


@router.post("/embeddings")
async def embeddings(body: EmbeddingRequest, service: Served, tenant: Leased) -> EmbeddingReply:
    """Embed texts with the pipeline's embedder, as passages."""
    embedder = tenant.pipeline.embedder
    if body.model != embedding_model(service.pipeline):
        raise _no_model(body.model)
    if body.dimensions not in (None, embedder.dimension):
        raise ApiError(
            400,
            f"the vectors have {embedder.dimension} values",
            "unsupported",
            param="dimensions",
        )
    texts = _texts(body.input)
    vectors = await service.work(lambda: embedder.embed_documents(texts))
    tokens = sum(await service.work(lambda: embedder.count_tokens(texts)))
    encoded: list[list[float] | str]
    if body.encoding_format == "base64":
        encoded = [base64.b64encode(v.astype("<f4").tobytes()).decode() for v in vectors]
    else:
        encoded = vectors.tolist()
    return EmbeddingReply(
        data=[EmbeddingItem(index=i, embedding=each) for i, each in enumerate(encoded)],
        model=body.model,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _texts(given: str | list[str] | list[int] | list[list[int]]) -> list[str]:
    if isinstance(given, str):
        return [given]
    if not isinstance(given[0], str):
        numbers = [given] if isinstance(given[0], int) else given
        return [_decoded(tokens) for tokens in numbers]
    return given


def _decoded(tokens: list[int]) -> str:
    from rag.text.tokens import vocabulary

    try:
        words = vocabulary("cl100k_base")
        if words is None:
            raise ApiError(400, "send texts, not tokens", "unsupported", param="input")
        return str(words.decode(tokens))
    except (KeyError, OverflowError, ValueError):
        raise ApiError(400, "these are no tokens of cl100k", "bad_request", param="input") from None


def embedding_model(pipeline: Pipeline) -> str:
    """The name under which the embedder is asked for."""
    return str(getattr(pipeline.embedder, "model", pipeline.embedder.name))


def note(service: Service, answer: Answer) -> None:
    """Count an answer."""
    service.metrics.answers.labels(answer.status).inc()
    service.metrics.tokens.labels("in").inc(answer.usage.input_tokens)
    service.metrics.tokens.labels("out").inc(answer.usage.output_tokens)


def _finish(answer: Answer) -> Literal["stop", "length"]:
    """Why the model stopped."""
    reasons = [step.detail.get("finish_reason") for step in answer.trace]
    return "length" if "length" in reasons else "stop"


def _usage(answer: Answer) -> Usage:
    used = answer.usage
    return Usage(
        prompt_tokens=used.input_tokens,
        completion_tokens=used.output_tokens,
        total_tokens=used.input_tokens + used.output_tokens,
    )


def _no_model(name: str) -> ApiError:
    return ApiError(404, f"there is no model {name[:100]!r} here", "model_not_found", param="model")


def _made_up() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


def data(value: Any) -> str:
    """A server-sent event."""
    import json

    return f"data: {json.dumps(value)}\n\n"
