"""Chat models."""

from rag.llm.base import ChatModel, Completion, Delta
from rag.llm.openai import OpenAIChat
from rag.llm.scripted import ScriptedChat

__all__ = ["ChatModel", "Completion", "Delta", "OpenAIChat", "ScriptedChat"]
