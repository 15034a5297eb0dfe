"""Asking a chat model by a prompt template."""

from __future__ import annotations

import re

from rag.llm.base import ChatModel
from rag.settings import load_settings
from rag.types import Message

# Tokens that chat formats set roles apart with (ChatML, Llama, Mistral, Gemma, DeepSeek, Alpaca
# ...): where a server reads them in what it is sent, a document could speak in another's name.
_OPENING = re.compile(
    r"<(?=\s{0,3}/?\s{0,3}(?:[|｜]|passage|<\s{0,3}/?\s{0,3}SYS|think|function|im_|"
    r"(?:s|bos|eos|sop|eop|pad|unk|sep|cls|mask|system|user|assistant|human|model|developer|tool|"
    r"instructions?|unused\d+|ctrl\d+|[a-z]+(?:_[a-z]+){1,4})\s{0,3}>))",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"(?<=[|｜])>|(?<=SYS>)>|(?<=SYS)>(?=>)", re.IGNORECASE)
_BRACKETED = re.compile(r"\[(/?(?:[A-Z][A-Z_]{2,40}|(?i:inst|sys|gmask|sop)))\]")
_ROLE_LINE = re.compile(
    r"((?:^|[\r\v\f\x85\u2028\u2029])[ \t>#*]{0,8}(?:system|developer|user|human|assistant|model|"
    r"tool|instructions?|response|input|question|answer)[ \t*]{0,4}):",
    re.IGNORECASE | re.MULTILINE,
)


def escape_prompt_markup(text: str) -> str:
    """Quoted text that cannot be taken for the prompt around it.

    Tags of ours and role tokens of the known chat formats lose their brackets, and lines that begin
    like a turn of a conversation their colon, to signs that look alike.
    """
    if "<" in text or ">" in text:
        text = _CLOSING.sub("›", _OPENING.sub("‹", text))
    if "[" in text:
        text = _BRACKETED.sub(r"(\1)", text)
    return _ROLE_LINE.sub("\\1\uff1a", text) if ":" in text else text


def filled(prompt: str, **inputs: object) -> tuple[list[Message], dict[str, str]]:
    """The template `prompt`, of the user's folder or ours, filled in; and its identity.

    Raises `prompts.PromptError` where the template is not usable.
    """
    from prompts import load

    template = load(prompt, load_settings().prompts)
    return [Message.model_validate(part) for part in template.render(**inputs)], template.identity


def messages(prompt: str, **inputs: object) -> list[Message]:
    """The template `prompt`, filled in. Raises as `filled` does."""
    return filled(prompt, **inputs)[0]


def ask(chat: ChatModel, prompt: str, **inputs: object) -> str:
    """What `chat` says to the template `prompt`.

    Raises `ModelError`, or `prompts.PromptError` where the template is not usable.
    """
    return chat.complete(messages(prompt, **inputs)).text.strip()
