"""Answers to the clients of OpenAI's APIs, whichever of the APIs they call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, NamedTuple

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel

from rag.filters import Filter
from rag.generation import AnswerCompleted, TextDelta
from rag.serving.client_tasks import complete_client_task, find_client_task, iterate_events
from rag.serving.errors import ApiError
from rag.serving.service import Service
from rag.serving.streaming import cancel_on_disconnect
from rag.serving.tenants import Tenant
from rag.types import Answer, Citation, GenerateStep, Message, RepairStep, Sentence

_WITHDRAWAL = "\n\n(The text above is withdrawn.)\n\n"


class Extension(BaseModel):
    """Status, citations and verified sentences of an answer."""

    status: Literal["answered", "abstained"]
    reason: str
    citations: tuple[Citation, ...]
    sentences: tuple[Sentence, ...]

    @classmethod
    def of(cls, answer: Answer) -> Extension:
        """Return the extension for an answer."""
        return cls(
            status=answer.status,
            reason=answer.reason,
            citations=answer.citations,
            sentences=answer.sentences,
        )


class Exchange(NamedTuple):
    """A question of a client, with the messages before it."""

    question: str
    history: Sequence[Message]
    where: Filter | None
    tenant: Tenant
    service: Service

    async def find_answer(self, request: Request) -> Answer:
        """Return the answer; stop if the client disconnects."""
        answer = await cancel_on_disconnect(request, self._find_answer())
        self.service.metrics.count_answer(answer)
        return answer

    async def _find_answer(self) -> Answer:
        pipeline, question = self.tenant.pipeline, self.question
        task = find_client_task(question)
        if task is not None:
            return await self.service.run_in_thread(
                lambda: complete_client_task(task, question, list(self.history), pipeline)
            )
        async with self.service.slot():
            answer = await pipeline.aask(question, where=self.where, history=self.history)
            public_uris = await to_thread.run_sync(self.tenant.read_public_uris)
            return public_uris.hide_in(answer)

    async def open_stream(self, request: Request) -> OpenStream:
        """Return the answer piece by piece, after its first event."""
        if find_client_task(self.question) is None:
            events = self.tenant.publish_events(
                self.tenant.pipeline.astream(self.question, where=self.where, history=self.history)
            )
        else:
            events = iterate_events(await cancel_on_disconnect(request, self._find_answer()))
        stream = self.service.iterate_in_slots(events)
        first_event = await cancel_on_disconnect(request, anext(stream))
        return OpenStream(first_event, stream, self.service)


class OpenStream(NamedTuple):
    """The events of an answer that has begun."""

    first_event: Any
    events: AsyncIterator[Any]
    service: Service

    async def iterate(self) -> AsyncIterator[str | Answer | None]:
        """Yield the text piece by piece, None where nothing is new for a while, and the answer.

        The text ends with a note if the answer is another than the text before.
        """
        streamed_text = ""
        answer: Answer | None = None
        event = self.first_event
        try:
            while True:
                if event is None:
                    yield None
                elif isinstance(event, TextDelta):
                    streamed_text += event.text
                    yield event.text
                elif isinstance(event, AnswerCompleted):
                    answer = event.answer
                event = await anext(self.events)
        except StopAsyncIteration:
            pass
        finally:
            await self.events.aclose()  # type: ignore[attr-defined]
        assert answer is not None
        self.service.metrics.count_answer(answer)
        if answer.reason and streamed_text != answer.text:
            yield f"{_WITHDRAWAL if streamed_text else ''}{answer.text}"
        yield answer


def is_cut_off(answer: Answer) -> bool:
    """Whether the model reached its token limit."""
    calls = [step for step in answer.trace if isinstance(step, GenerateStep | RepairStep)]
    return "length" in {step.finish_reason for step in calls}


def check_model(name: str, service: Service) -> None:
    """Raise `ApiError` unless this is the name of the pipeline."""
    if name != service.options.model:
        raise unknown_model_error(name, service.options.model)


def unknown_model_error(name: str, known_name: str) -> ApiError:
    """Return the error for a model that the server does not have; it has `known_name`."""
    message = f"there is no model {name[:100]!r}; this server has {known_name!r}"
    return ApiError(404, message, "model_not_found", param="model")


def to_sse(value: Any, name: str = "") -> str:
    """Return a server-sent event, with a name if it has one."""
    return f"{f'event: {name}' + chr(10) if name else ''}data: {json.dumps(value)}\n\n"
