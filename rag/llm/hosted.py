"""What chat models behind an API have in common."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rag.errors import ModelReplyError
from rag.llm.base import ChatModel
from rag.providers.base import HostedModel
from rag.types import well_formed


class HostedChat(HostedModel, ChatModel):
    """What chat models behind an API have in common.

    ``max_output_tokens`` bounds a reply; ``context`` is what the model reads, in tokens, where
    that is not known. For the rest see `Hosted` and `ChatModel`.
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

    def _text(self, text: Any) -> str:
        if not isinstance(text, str):
            raise ModelReplyError(f"{self.model} sent something other than text")
        return well_formed(text)
