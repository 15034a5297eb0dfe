"""The stages of a request as runs of LangChain's callbacks."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from rag.interop.langchain.convert import hit_to_langchain_document, to_langchain_message
from rag.tracing import Span

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManager, CallbackManagerForChainRun


class CallbackProcessor:
    """A span processor that reports spans to LangChain's callbacks, as runs within a parent run.

    Retrieval becomes a retriever run, chat a chat model run with its tokens; other stages become
    chain runs.
    """

    def __init__(self, parent: CallbackManagerForChainRun) -> None:
        self._parent = parent
        self._runs: dict[int, Any] = {}
        self._lock = Lock()

    def on_start(self, span: Span) -> None:
        """Start a run within the run of the parent span."""
        callbacks = self._child_callbacks(span)
        serialized = {"name": span.name, "id": ["citewell", span.name.partition(" ")[0]]}
        if span.operation == "chat":
            messages = [to_langchain_message(message) for message in span.data["messages"]]
            run: Any = callbacks.on_chat_model_start(serialized, [messages], name=span.name)[0]
        elif span.operation == "retrieval":
            run = callbacks.on_retriever_start(serialized, span.data["query"], name=span.name)
        else:
            run = callbacks.on_chain_start(serialized, {}, name=span.name)
        with self._lock:
            self._runs[id(span)] = run

    def on_token(self, span: Span, text: str) -> None:
        """Report a piece of a streamed reply."""
        run = self._runs.get(id(span))
        if run is not None:
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=text))
            run.on_llm_new_token(text, chunk=chunk)

    def on_end(self, span: Span) -> None:
        """End the run, with the error if the stage failed."""
        with self._lock:
            run = self._runs.pop(id(span), None)
        if run is None:
            return
        if span.operation == "chat":
            if span.has_failed:
                run.on_llm_error(span.error)
            else:
                run.on_llm_end(_to_llm_result(span))
        elif span.operation == "retrieval":
            if span.has_failed:
                run.on_retriever_error(span.error)
            else:
                hits = span.data.get("hits", ())
                run.on_retriever_end([hit_to_langchain_document(hit) for hit in hits])
        elif span.has_failed:
            run.on_chain_error(span.error)
        else:
            run.on_chain_end(dict(span.attributes))

    def _child_callbacks(self, span: Span) -> CallbackManager:
        parent = span.parent
        while parent is not None:
            run = self._runs.get(id(parent))
            if run is not None and hasattr(run, "get_child"):
                callbacks: CallbackManager = run.get_child()
                return callbacks
            parent = parent.parent
        return self._parent.get_child()


def _to_llm_result(span: Span) -> LLMResult:
    completion = span.data.get("completion")
    if completion is None:  # the reader closed the stream early
        return LLMResult(generations=[[]])
    usage = completion.usage
    message = AIMessage(
        content=completion.text,
        usage_metadata={
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
        response_metadata={"finish_reason": completion.finish_reason},
    )
    return LLMResult(generations=[[ChatGeneration(message=message)]])
