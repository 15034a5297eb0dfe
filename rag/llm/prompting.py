"""Rendering prompt templates for chat models, and escaping prompt markup in quoted text."""

from __future__ import annotations

import hashlib
import re

from rag.llm.base import ChatModel
from rag.settings import load_settings
from rag.types import Message

# Tokens that chat formats use to separate roles (ChatML, Llama, Mistral, Gemma, DeepSeek, Alpaca
# ...): some servers interpret them in the content of a message, so that a document could add
# messages of another role.
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
    """Return quoted text in a form that a model cannot mistake for the prompt around it.

    The brackets of our tags and of role tokens of known chat formats, and the colon of lines that
    begin like a turn of a conversation, are replaced by similar characters.
    """
    if "<" in text or ">" in text:
        text = _CLOSING.sub("›", _OPENING.sub("‹", text))
    if "[" in text:
        text = _BRACKETED.sub(r"(\1)", text)
    return _ROLE_LINE.sub("\\1\uff1a", text) if ":" in text else text


def render_prompt(prompt: str, **inputs: object) -> tuple[list[Message], dict[str, str]]:
    """Return the messages of the template `prompt` with its `inputs`, and the template's identity.

    A template in the user's prompt folder replaces the built-in one. Raises `prompts.PromptError`
    if the template is not usable.
    """
    from prompts import load

    template = load(prompt, load_settings().prompts)
    rendered = [Message.model_validate(message) for message in template.render(**inputs)]
    return rendered, template.identity


def hash_templates() -> str:
    """Return a hash of all templates, which changes when one is edited."""
    from prompts import PromptError, load, names

    folder = load_settings().prompts
    digest = hashlib.sha256()
    for name in names(folder):
        try:
            digest.update(f"{name} {load(name, folder).identity['hash']}\n".encode())
        except PromptError as error:
            digest.update(f"{name} {error}\n".encode())
    return digest.hexdigest()


def render_messages(prompt: str, **inputs: object) -> list[Message]:
    """Return the messages of the template `prompt`; see `render_prompt`."""
    return render_prompt(prompt, **inputs)[0]


def ask(chat: ChatModel, prompt: str, **inputs: object) -> str:
    """Return the reply of `chat` to the template `prompt`, without surrounding white space.

    Raises `ModelError`, or `prompts.PromptError` if the template is not usable.
    """
    return chat.complete(render_messages(prompt, **inputs)).text.strip()
