"""Tasks of chat clients: titles, tags and suggestions, which are no questions to the documents.

Open WebUI, LibreChat and others send prompts of their own as messages of the user: "Generate a
concise title for the chat". They get a plain completion of the pipeline's chat model; without a
model, a title from the first question, and no tags and suggestions. No source is searched. The
reply is not checked, but it has no links.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Literal

from rag.generation import AnswerCompleted, Event, GroundedGenerator, TextDelta
from rag.generation.links import remove_all_links
from rag.pipeline import Pipeline
from rag.types import Answer, Message

ClientTask = Literal["title", "tags", "follow_ups", "queries", "completion"]

_TASKS: tuple[tuple[ClientTask, re.Pattern[str]], ...] = (
    ("title", re.compile(r"\btitle\b", re.IGNORECASE)),
    ("tags", re.compile(r"\btags?\b", re.IGNORECASE)),
    ("follow_ups", re.compile(r"follow[- ]?ups?\b|suggest", re.IGNORECASE)),
    ("queries", re.compile(r"quer(?:y|ies)", re.IGNORECASE)),
)
_OPEN_WEBUI = re.compile(r"\s*###\s*Task:\s*\n(?P<task>.{1,2000}?)(?=###|<chat_history>|\Z)", re.S)
_HAS_HISTORY = re.compile(r"<chat_history>|^USER: |### (?:Output|Chat History)", re.M)
_TITLE_PROMPT = re.compile(
    r"\s*(?:please\s+)?(?:provide|generate|write|create|give)\b[^\n]{0,60}\b(?:concise|short|brief)\b"
    r"[^\n]{0,80}\btitle\b[^\n]{0,80}\b(?:conversation|chat)\b",
    re.IGNORECASE,
)
_FIRST_QUESTION = re.compile(
    r"^(?:USER|User|Human)\s*:\s*(?P<text>.+?)(?=^\w+\s*:|</chat_history>|\Z)", re.M | re.S
)
_MAX_TITLE_WORDS = 6
_NOT_CHECKED = "a task of the chat client, not checked against the sources"


def find_client_task(text: str) -> ClientTask | None:
    """Return which task of a chat client a message is; None for a question of a user."""
    if task := _OPEN_WEBUI.match(text):
        if not _HAS_HISTORY.search(text):
            return None
        return next((name for name, p in _TASKS if p.search(task["task"])), "completion")
    return "title" if _TITLE_PROMPT.match(text) else None


def complete_client_task(
    task: ClientTask, text: str, history: list[Message], pipeline: Pipeline
) -> Answer:
    """Return the reply to a task. Raises `ModelError` if the chat model fails."""
    generator = pipeline.generator
    if isinstance(generator, GroundedGenerator):
        completion = generator.model.complete([*history, Message(role="user", content=text)])
        reply = remove_all_links(completion.text.strip())
        usage = completion.usage
        if reply:
            return Answer(text=reply, status="answered", reason=_NOT_CHECKED, usage=usage)
    reply = _complete_without_model(task, text, history)
    return Answer(text=reply, status="answered", reason=_NOT_CHECKED)


async def iterate_events(answer: Answer) -> AsyncIterator[Event]:
    """Yield the events of a stream of an answer."""
    yield TextDelta(text=answer.text)
    yield AnswerCompleted(answer=answer)


def _complete_without_model(task: ClientTask, text: str, history: list[Message]) -> str:
    wants_json = "json" in text.lower()
    if task != "title":
        return json.dumps({task: []}) if wants_json and task != "completion" else "-"
    found = _FIRST_QUESTION.search(text)
    question = found["text"] if found else next((m.content for m in history), "")
    title = " ".join(question.split()[:_MAX_TITLE_WORDS]).strip(" ?.!,") or "Conversation"
    return json.dumps({"title": title}, ensure_ascii=False) if wants_json else title
