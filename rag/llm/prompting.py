"""Asking a chat model by a prompt template."""

from __future__ import annotations

from rag.llm.base import ChatModel
from rag.settings import load_settings
from rag.types import Message


def ask(chat: ChatModel, prompt: str, **inputs: object) -> str:
    """What `chat` says to the template `prompt`, of the user's folder or ours.

    Raises `ModelError`, or `prompts.PromptError` where the template is not usable.
    """
    from prompts import load

    rendered = load(prompt, load_settings().prompts).render(**inputs)
    return chat.complete([Message.model_validate(part) for part in rendered]).text.strip()
