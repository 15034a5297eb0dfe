"""OpenAI's Responses API and its old Completions API, for clients that call one of these.

In the Responses API, the last input of the user is the question, and the items before it are the
conversation. Citations are annotations of the text (``file_citation``), and in ``citewell``.
Nothing is stored: ``previous_response_id`` is refused. In the Completions API, the prompt is the
question.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.serving.api import parse_filter
from rag.serving.dependencies import ServiceArgument, TenantArgument
from rag.serving.errors import ApiError, to_api_error
from rag.serving.openai_api import (
    MAX_MESSAGES,
    ChatMessage,
    ResponseFormat,
    TextPart,
    split_conversation,
)
from rag.serving.openai_replies import (
    Exchange,
    Extension,
    OpenStream,
    check_model,
    is_cut_off,
    to_sse,
)
from rag.serving.streaming import EVENT_STREAM, KEEP_ALIVE, EventStreamResponse
from rag.types import Answer

router = APIRouter(prefix="/v1", tags=["OpenAI"])

_Json = dict[str, Any]
_TEXT_TYPES = ("text", "input_text", "output_text")


class InputItem(BaseModel):
    """A message, or another item, which is ignored: calls of tools, their results, thoughts."""

    model_config = ConfigDict(extra="allow")

    type: str = "message"
    role: Any = None
    content: Any = None

    def to_message(self) -> ChatMessage | None:
        """Return the item as a message of a chat; None if it is none. Raises `ApiError`."""
        if self.type != "message" or self.role is None:
            return None
        try:
            message = ChatMessage(role=self.role, content=self.content)
        except ValidationError:
            problem = "a message has a role and content that no message has"
            raise ApiError(400, problem, "bad_request", param="input") from None
        if isinstance(message.content, list):
            message.content = [
                TextPart(type="text" if part.type in _TEXT_TYPES else part.type, text=part.text)
                for part in message.content
            ]
        return message


class TextOptions(BaseModel):
    """Options of the reply: its format, of which only text is supported."""

    model_config = ConfigDict(extra="allow")

    format: ResponseFormat | None = None


class ResponsesRequest(BaseModel):
    """Request of a client of the Responses API; other fields have no effect."""

    model_config = ConfigDict(extra="allow")

    model: str
    input: str | list[InputItem]
    stream: bool | None = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None
    text: TextOptions | None = None
    where: _Json | None = Field(
        None, description="An extension of OpenAI's API: a filter on documents, as in /ask."
    )


class CompletionsRequest(BaseModel):
    """Request of a client of the Completions API; other fields have no effect."""

    model_config = ConfigDict(extra="allow")

    model: str
    prompt: str | list[str]
    stream: bool | None = None
    n: int | None = None
    where: _Json | None = Field(
        None, description="An extension of OpenAI's API: a filter on documents, as in /ask."
    )


@router.post("/responses", responses=EVENT_STREAM)
async def responses(
    body: ResponsesRequest, request: Request, service: ServiceArgument, tenant: TenantArgument
) -> Response:
    """Answer the last message of the user, in the format of the Responses API."""
    check_model(body.model, service)
    for name in ("previous_response_id", "conversation", "prompt", "background"):
        if getattr(body, name):
            message = "nothing is stored: send the conversation as input"
            raise ApiError(400, message, "unsupported", param=name)
    form = body.text.format if body.text is not None else None
    if form is not None and form.type != "text":
        message = "replies are text with citations, not JSON"
        raise ApiError(400, message, "unsupported", param="text")
    question, history = split_conversation(_read_input(body.input))
    exchange = Exchange(question, history, await parse_filter(body.where, tenant), tenant, service)
    draft = _ResponseDraft(body.model)
    if body.stream:
        stream = await exchange.open_stream(request)
        return EventStreamResponse(draft.stream(stream), stream.events)
    answer = await exchange.find_answer(request)
    return JSONResponse(draft.complete(answer, answer.text))


def _read_input(items: str | list[InputItem]) -> list[ChatMessage]:
    if isinstance(items, str):
        return [ChatMessage(role="user", content=items)]
    if len(items) > MAX_MESSAGES:
        raise ApiError(400, f"more than {MAX_MESSAGES:,} items", "bad_request", param="input")
    return [message for item in items if (message := item.to_message()) is not None]


class _ResponseDraft:
    """A response that is written, whole or event by event."""

    def __init__(self, model: str) -> None:
        self._id = f"resp_{secrets.token_hex(12)}"
        self._item_id = f"msg_{secrets.token_hex(12)}"
        self._model = model
        self._created = int(time.time())
        self._event_count = 0

    def complete(self, answer: Answer, text: str) -> _Json:
        """Return the response with an answer, of which the client got `text`."""
        usage = answer.usage
        response = self._make("incomplete" if is_cut_off(answer) else "completed")
        if response["status"] == "incomplete":
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        return response | {
            "output": [
                self._make_item(text, _make_annotations(answer, text))
                | {"status": response["status"]}
            ],
            "usage": {
                "input_tokens": usage.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.input_tokens + usage.output_tokens,
            },
            "citewell": Extension.of(answer).model_dump(mode="json"),
        }

    async def stream(self, stream: OpenStream) -> AsyncIterator[str]:
        """Yield the events of a response."""
        item = {"output_index": 0, "item_id": self._item_id}
        part = item | {"content_index": 0}
        started = self._make("in_progress")
        yield self._event("response.created", {"response": started})
        yield self._event("response.in_progress", {"response": started})
        empty = self._make_item("", []) | {"status": "in_progress", "content": []}
        yield self._event("response.output_item.added", {"output_index": 0, "item": empty})
        yield self._event("response.content_part.added", part | {"part": _make_part("", [])})
        text = ""
        answer: Answer | None = None
        try:
            async for piece in stream.iterate():
                if piece is None:
                    yield KEEP_ALIVE
                elif isinstance(piece, str):
                    text += piece
                    delta = part | {"delta": piece, "logprobs": []}
                    yield self._event("response.output_text.delta", delta)
                else:
                    answer = piece
        except Exception as error:
            problem = to_api_error(error).problem()
            fields = {"code": problem.code, "message": problem.message, "param": None}
            yield self._event("error", fields)
            return
        assert answer is not None
        response = self.complete(answer, text)
        annotations = _make_annotations(answer, text)
        for i, annotation in enumerate(annotations):
            added = part | {"annotation_index": i, "annotation": annotation}
            yield self._event("response.output_text.annotation.added", added)
        yield self._event("response.output_text.done", part | {"text": text, "logprobs": []})
        whole_part = _make_part(text, annotations)
        yield self._event("response.content_part.done", part | {"part": whole_part})
        done = {"output_index": 0, "item": response["output"][0]}
        yield self._event("response.output_item.done", done)
        yield self._event(f"response.{response['status']}", {"response": response})

    def _event(self, kind: str, fields: _Json) -> str:
        event = {"type": kind, "sequence_number": self._event_count} | fields
        self._event_count += 1
        return to_sse(event, kind)

    def _make(self, status: str) -> _Json:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": self._model,
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": None,
            "usage": None,
        }

    def _make_item(self, text: str, annotations: list[_Json]) -> _Json:
        return {
            "id": self._item_id,
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [_make_part(text, annotations)],
        }


def _make_part(text: str, annotations: list[_Json]) -> _Json:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _make_annotations(answer: Answer, text: str) -> list[_Json]:
    """Return a citation of a file for each citation of each sentence, at the end of the sentence.

    `text` is what the client got: the answer, perhaps after a text that is withdrawn.
    """
    offset = len(text) - len(answer.text)
    return [
        {
            "type": "file_citation",
            "file_id": citation.uri,
            "filename": citation.title or citation.uri,
            "index": offset + sentence.end,
        }
        for sentence in answer.sentences
        for citation in (answer.citations[number] for number in sentence.citations)
    ]


@router.post("/completions", responses=EVENT_STREAM)
async def completions(
    body: CompletionsRequest, request: Request, service: ServiceArgument, tenant: TenantArgument
) -> Response:
    """Answer the prompt from the documents, in the format of the Completions API."""
    check_model(body.model, service)
    if body.n not in (None, 1):
        raise ApiError(400, "only one choice is supported: n must be 1", "unsupported", param="n")
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if len(prompts) != 1:
        raise ApiError(400, "only one prompt is supported", "unsupported", param="prompt")
    exchange = Exchange(prompts[0], (), await parse_filter(body.where, tenant), tenant, service)
    common = {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": body.model,
    }
    if body.stream:
        stream = await exchange.open_stream(request)
        return EventStreamResponse(_stream_completion(common, stream), stream.events)
    answer = await exchange.find_answer(request)
    return JSONResponse(common | _make_completion(answer.text, answer))


def _make_completion(text: str, answer: Answer | None = None) -> _Json:
    """Return the fields of a piece of text; with the answer, those of the last or only piece."""
    finish = None if answer is None else "length" if is_cut_off(answer) else "stop"
    fields: _Json = {
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}]
    }
    if answer is not None:
        usage = answer.usage
        fields["usage"] = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
        fields["citewell"] = Extension.of(answer).model_dump(mode="json")
    return fields


async def _stream_completion(common: _Json, stream: OpenStream) -> AsyncIterator[str]:
    try:
        async for piece in stream.iterate():
            if piece is None:
                yield KEEP_ALIVE
            elif isinstance(piece, str):
                yield to_sse(common | _make_completion(piece))
            else:
                yield to_sse(common | _make_completion("", piece))
    except Exception as error:
        yield to_sse({"error": to_api_error(error).problem().model_dump()})
        return
    yield "data: [DONE]\n\n"
