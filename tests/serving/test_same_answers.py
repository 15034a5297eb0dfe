"""The same question gives the same answer and citations, by whichever way it is asked.

With a real model: ``CITEWELL_GGUF=model.gguf pytest tests/serving/test_same_answers.py``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import openai
import pytest

from rag import Answer, AnswerCompleted, GroundedGenerator, OpenAIChat, Pipeline
from rag.testing import ModelServer, Shape
from tests.serving.conftest import Server, serve_pipeline

KITE = """# Kite 4

The battery lasts 34 minutes. It charges in 50 minutes.

# Care

Clean the propellers with a soft cloth every week.
"""
DESK = "# Front desk\n\nThe desk opens at 8:30 and closes at 17:00. Lene Falk runs it.\n"
QUESTIONS = (
    "How long does the battery last?",
    "Who runs the front desk?",
    "When does the desk close?",
)
REPLY = "The battery lasts 34 minutes [1]. Lene Falk runs the front desk [2]. Pigs can fly."


class Result(NamedTuple):
    text: str
    quotes: list[str]


class Ways(NamedTuple):
    """A pipeline, and a server of it."""

    pipeline: Pipeline
    server: Server

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.server.url}/v1", api_key="none", timeout=600)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder = tmp_path_factory.mktemp("same")
    (folder / "docs").mkdir()
    (folder / "docs" / "kite.md").write_text(KITE)
    (folder / "docs" / "desk.md").write_text(DESK)
    gguf = os.environ.get("CITEWELL_GGUF")
    if gguf:
        from benchmarks.local_model import serving

        with serving(model=Path(gguf)) as (url, key):
            yield from open_ways(folder, url, key)
    else:
        with ModelServer(Shape(text=REPLY)) as model_server:
            yield from open_ways(folder, model_server.url, "none")


def open_ways(folder: Path, url: str, key: str) -> Iterator[Ways]:
    chat = OpenAIChat.model_validate(
        {"model": "m", "base_url": url, "api_key": key, "seed": 1, "timeout": 600, "context": 4096}
    )
    generator = GroundedGenerator(model=chat)
    with Pipeline(index=folder / "index", generator=generator) as pipeline:
        pipeline.ingest(folder / "docs")
        with serve_pipeline(pipeline) as server:
            server.client.timeout = 600
            yield Ways(pipeline, server)


def to_result(answer: Answer) -> Result:
    return Result(answer.text, [citation.quote for citation in answer.citations])


def stream(ways: Ways, question: str) -> Result:
    *_, last = ways.pipeline.stream(question)
    assert isinstance(last, AnswerCompleted)
    return to_result(last.answer)


def ask_async(ways: Ways, question: str) -> Result:
    return to_result(asyncio.run(ways.pipeline.aask(question)))


def ask_server(ways: Ways, question: str) -> Result:
    reply = ways.server.client.post("/ask", json={"question": question}).json()
    return Result(reply["text"], [citation["quote"] for citation in reply["citations"]])


def ask_chat_client(ways: Ways, question: str) -> Result:
    completion = ways.client.chat.completions.create(
        model="citewell", messages=[{"role": "user", "content": question}]
    )
    message = completion.choices[0].message
    citations = message.citewell["citations"]  # type: ignore[attr-defined]
    return Result(message.content or "", [citation["quote"] for citation in citations])


def ask_responses_client(ways: Ways, question: str) -> Result:
    response = ways.client.responses.create(model="citewell", input=question)
    citations = response.citewell["citations"]  # type: ignore[attr-defined]
    return Result(response.output_text, [citation["quote"] for citation in citations])


def ask_langchain(ways: Ways, question: str) -> Result:
    from rag.interop.langchain import CitewellRunnable

    reply = CitewellRunnable(pipeline=ways.pipeline).invoke(question)
    return Result(reply["answer"], [citation["quote"] for citation in reply["citations"]])


def ask_llama_index(ways: Ways, question: str) -> Result:
    from rag.interop.llama_index import CitewellQueryEngine

    response = CitewellQueryEngine(pipeline=ways.pipeline).query(question)
    return Result(str(response), [node.node.get_content() for node in response.source_nodes])


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "ask",
    [
        stream,
        ask_async,
        ask_server,
        ask_chat_client,
        ask_responses_client,
        ask_langchain,
        ask_llama_index,
    ],
)
def test_every_way_gives_the_same_answer(
    ways: Ways, ask: Callable[[Ways, str], Result], question: str
) -> None:
    expected = to_result(ways.pipeline.ask(question))
    assert expected.quotes
    result = ask(ways, question)
    assert result.text == expected.text
    assert sorted(result.quotes) == sorted(expected.quotes)
