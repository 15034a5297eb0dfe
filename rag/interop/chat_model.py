"""The base class of adapters for another framework's chat models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from pydantic import Field

from rag.interop.base import Adapter, translate_error
from rag.llm import ChatModel, Completion, Delta
from rag.llm.base import JsonSchema
from rag.llm.completion import Source
from rag.types import Message


class ChatModelAdapter(Adapter, ChatModel):
    """Another framework's chat model.

    ``context`` is the context window in tokens. Exceptions of the model become `ModelError`.
    """

    context: int | None = Field(None, ge=256)

    @property
    def context_tokens(self) -> int | None:
        """See `ChatModel.context_tokens`."""
        return self.context

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        try:
            return self._request(messages, schema)
        except Exception as error:
            raise translate_error(self.label, error) from error

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        try:
            yield from self._request_stream(messages, schema)
            return
        except NotImplementedError:
            pass  # the reply is requested as a whole below
        except Exception as error:
            raise translate_error(self.label, error) from error
        yield from super()._stream(messages, schema=schema, sources=sources)

    @abstractmethod
    def _request(self, messages: Sequence[Message], schema: JsonSchema | None) -> Completion:
        """Return the reply of the wrapped model."""

    @abstractmethod
    def _request_stream(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> Iterator[Delta]:
        """Yield the reply of the wrapped model; the last delta has the completion.

        Raises `NotImplementedError` if the model cannot stream this reply.
        """
