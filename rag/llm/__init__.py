"""Chat models."""

from rag.llm.anthropic import AnthropicChat
from rag.llm.base import ChatModel
from rag.llm.cohere import CohereChat
from rag.llm.completion import Completion, Delta, NativeCitation, Source
from rag.llm.gemini import GeminiChat
from rag.llm.litellm import LiteLlmChat
from rag.llm.llama_cpp import LlamaCppChat
from rag.llm.ollama import OllamaChat
from rag.llm.openai import AzureOpenAIChat, OpenAIChat
from rag.llm.scripted import ScriptedChat
from rag.llm.structured import fill
from rag.llm.usage import track_usage

__all__ = [
    "AnthropicChat",
    "AzureOpenAIChat",
    "ChatModel",
    "CohereChat",
    "Completion",
    "Delta",
    "GeminiChat",
    "LiteLlmChat",
    "LlamaCppChat",
    "NativeCitation",
    "OllamaChat",
    "OpenAIChat",
    "ScriptedChat",
    "Source",
    "fill",
    "track_usage",
]
