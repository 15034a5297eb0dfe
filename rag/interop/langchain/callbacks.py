"""Our stages as runs of LangChain's callbacks."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from rag.interop.langchain.convert import document_of, message_of
from rag.tracing import Span

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManager, CallbackManagerForChainRun


class Runs:
    """An observer of spans that tells them to the callbacks of a run, as runs within it.

    Retrieval is a retriever's run, chat a chat model's with its tokens, other stages are chains.
    """

    def __init__(self, parent: CallbackManagerForChainRun) -> None:
        self._parent = parent
        self._runs: dict[int, Any] = {}
        self._guard = Lock()

    def started(self, span: Span) -> None:
        """Begin a run, within that of the span around it."""
        children = self._children(span)
        named = {"name": span.name, "id": ["citewell", span.name.partition(" ")[0]]}
        if span.operation == "chat":
            messages = [message_of(message) for message in span.data["messages"]]
            run: Any = children.on_chat_model_start(named, [messages], name=span.name)[0]
        elif span.operation == "retrieval":
            run = children.on_retriever_start(named, span.data["query"], name=span.name)
        else:
            run = children.on_chain_start(named, {}, name=span.name)
        with self._guard:
            self._runs[id(span)] = run

    def streamed(self, span: Span, text: str) -> None:
        """Pass on a piece of a reply."""
        run = self._runs.get(id(span))
        if run is not None:
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=text))
            run.on_llm_new_token(text, chunk=chunk)

    def ended(self, span: Span) -> None:
        """End the run, well or not."""
        with self._guard:
            run = self._runs.pop(id(span), None)
        if run is None:
            return
        failed = span.error is not None and not isinstance(span.error, GeneratorExit)
        if span.operation == "chat":
            if failed:
                run.on_llm_error(span.error)
            else:
                run.on_llm_end(_result(span))
        elif span.operation == "retrieval":
            if failed:
                run.on_retriever_error(span.error)
            else:
                run.on_retriever_end([document_of(hit) for hit in span.data.get("hits", ())])
        elif failed:
            run.on_chain_error(span.error)
        else:
            run.on_chain_end(dict(span.attributes))

    def _children(self, span: Span) -> CallbackManager:
        parent = span.parent
        while parent is not None:
            run = self._runs.get(id(parent))
            if run is not None and hasattr(run, "get_child"):
                children: CallbackManager = run.get_child()
                return children
            parent = parent.parent
        return self._parent.get_child()


def _result(span: Span) -> LLMResult:
    completion = span.data.get("completion")
    if completion is None:  # a stream that was left
        return LLMResult(generations=[[]])
    used = completion.usage
    message = AIMessage(
        content=completion.text,
        usage_metadata={
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
        },
        response_metadata={"finish_reason": completion.finish_reason},
    )
    return LLMResult(generations=[[ChatGeneration(message=message)]])
