"""The base class of chat models that are called over HTTP."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rag.errors import ModelReplyError
from rag.llm.base import ChatModel
from rag.providers.base import HostedModel
from rag.types import to_well_formed


class HostedChat(HostedModel, ChatModel):
    """Base class of chat models that are called over HTTP.

    ``max_output_tokens`` limits the length of a reply. ``context`` is the context window in
    tokens; set it for models whose context window is not known. For the other settings see
    `HostedModel` and `ChatModel`.
    """

    max_output_tokens: int = Field(1024, ge=1)
    context: int | None = Field(None, ge=256)

    @property
    def context_tokens(self) -> int | None:
        """See `ChatModel.context_tokens`."""
        return self.context or super().context_tokens

    @property
    def reply_tokens(self) -> int:
        """See `ChatModel.reply_tokens`."""
        return self.max_output_tokens

    def _check_text(self, text: Any) -> str:
        if not isinstance(text, str):
            raise ModelReplyError(f"the reply of {self.model} is not text", model=self.model)
        return to_well_formed(text)
