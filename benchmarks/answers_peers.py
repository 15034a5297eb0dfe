"""The side of the other frameworks in `benchmarks/answers.py` and `benchmarks/overhead.py`.

It runs in their environment. It reads one question with its passages per line, as JSON, and writes
the answer of the framework.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

Passages = list[tuple[str, str]]
Answer = Callable[[str, Passages], dict[str, Any]]


def llama_index(llm: Any) -> Answer:
    from llama_index.core import Settings
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.query_engine import CitationQueryEngine
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    Settings.embed_model = MockEmbedding(embed_dim=8)
    Settings.llm = llm

    class Given(BaseRetriever):
        passages: Passages = []

        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [
                NodeWithScore(node=TextNode(text=text, metadata={"uri": uri}), score=1.0)
                for uri, text in self.passages
            ]

    retriever = Given()
    engine = CitationQueryEngine(retriever=retriever, llm=llm)

    def answer(question: str, passages: Passages) -> dict[str, Any]:
        retriever.passages = passages
        response = engine.query(question)
        sources = [
            (node.metadata["uri"], node.get_content().partition("\n")[2].strip())
            for node in response.source_nodes
        ]
        return {"text": str(response), "sources": sources}

    return answer


def langchain(llm: Any) -> Answer:
    from langchain_core.documents import Document
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    prompt = ChatPromptTemplate.from_messages(
        [
            (
                "system",
                "Use the following pieces of retrieved context to answer the question. If you "
                "don't know the answer, say that you don't know.\n\n{context}",
            ),
            ("human", "{question}"),
        ]
    )
    chain = prompt | llm | StrOutputParser()

    def answer(question: str, passages: Passages) -> dict[str, Any]:
        documents = [Document(text, metadata={"uri": uri}) for uri, text in passages]
        context = "\n\n".join(document.page_content for document in documents)
        return {"text": chain.invoke({"question": question, "context": context}), "sources": []}

    return answer


def haystack(llm: Any) -> Answer:
    from haystack import Document, Pipeline
    from haystack.components.builders import AnswerBuilder, ChatPromptBuilder
    from haystack.dataclasses import ChatMessage

    template = (
        "Answer from the documents, and cite them as [1].\n"
        "{% for document in documents %}[{{ loop.index }}] {{ document.content }}\n{% endfor %}"
        "Question: {{ question }}"
    )
    pipeline = Pipeline()
    pipeline.add_component(
        "prompt",
        ChatPromptBuilder([ChatMessage.from_user(template)], required_variables="*"),
    )
    pipeline.add_component("llm", llm)
    pipeline.add_component("answer", AnswerBuilder(reference_pattern=r"\[(\d+)\]"))
    pipeline.connect("prompt", "llm.messages")
    pipeline.connect("llm.replies", "answer.replies")

    def answer(question: str, passages: Passages) -> dict[str, Any]:
        documents = [Document(content=text, meta={"uri": uri}) for uri, text in passages]
        out = pipeline.run(
            {
                "prompt": {"question": question, "documents": documents},
                "answer": {"query": question, "documents": documents},
            }
        )
        return {"text": out["answer"]["answers"][0].data, "sources": []}

    return answer


def make_served(name: str, url: str, key: str, tokens: int) -> Answer:
    """Return the peer with a chat model on a server."""
    if name == "llama-index":
        from llama_index.llms.openai_like import OpenAILike

        return llama_index(
            OpenAILike(
                model="smollm2",
                api_base=url,
                api_key=key,
                temperature=0,
                max_tokens=tokens,
                is_chat_model=True,
                context_window=4096,
                timeout=300,
            )
        )
    from langchain_openai import ChatOpenAI

    return langchain(
        ChatOpenAI(
            model="smollm2",
            base_url=url,
            api_key=key,
            temperature=0,
            max_tokens=tokens,
            timeout=300,
        )
    )


def instant(name: str, reply: Callable[[], str]) -> Answer:
    """Return the peer with a chat model that replies at once."""
    if name == "llama-index":
        from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata

        class Instant(CustomLLM):
            @property
            def metadata(self) -> LLMMetadata:
                return LLMMetadata(context_window=8192)

            def complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
                return CompletionResponse(text=reply())

            def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
                raise NotImplementedError

        return llama_index(Instant())
    if name == "haystack":
        from haystack import component
        from haystack.dataclasses import ChatMessage

        @component
        class Instant_:
            @component.output_types(replies=list[ChatMessage])
            def run(self, messages: list[ChatMessage]) -> dict[str, Any]:
                return {"replies": [ChatMessage.from_assistant(reply())]}

        return haystack(Instant_())
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    def forever() -> Any:
        while True:
            yield AIMessage(reply())

    return langchain(GenericFakeChatModel(messages=forever()))


def main() -> None:
    name, url, key, tokens = sys.argv[1:5]
    if url == "instant":
        script = {"reply": ""}
        answer = instant(name, lambda: script["reply"])
        times = []
        for line in sys.stdin:
            request = json.loads(line)
            script["reply"] = request["reply"]
            passages = [(uri, text) for uri, text in request["passages"]]
            started = time.perf_counter()
            answer(request["question"], passages)
            times.append(time.perf_counter() - started)
        sys.stdout.write(json.dumps({"p50": statistics.median(times[len(times) // 10 :])}) + "\n")
        return
    answer = make_served(name, url, key, int(tokens))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            said_ = answer(request["question"], [(uri, text) for uri, text in request["passages"]])
        except Exception as error:  # for example a prompt that is too long: scored as no answer
            sys.stderr.write(f"{name}: {error}\n")
            said_ = {"text": "", "sources": []}
        sys.stdout.write(json.dumps(said_) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
