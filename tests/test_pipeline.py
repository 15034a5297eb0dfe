"""The pipeline: its methods for loops and event loops, and its configuration."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from rag import (
    AnswerCompleted,
    ChatModel,
    ConfigError,
    DocumentNotFound,
    F,
    GroundedGenerator,
    Message,
    Pipeline,
    PipelineConfig,
    Query,
    QueryError,
    ScriptedChat,
    StaticEmbedder,
    TextDelta,
)
from rag.llm import Completion, Delta
from rag.retrieval import QueryTransform

REPLY = "A full battery lasts 34 minutes [1]."


def test_the_asynchronous_methods_do_what_the_others_do(pipeline: Pipeline, folder: Path) -> None:
    async def run() -> None:
        report = await pipeline.aingest(folder)
        assert report.added == 2
        hits = await pipeline.asearch("battery", k=1)
        assert [hit.chunk.id for hit in hits] == [
            hit.chunk.id for hit in pipeline.search("battery", k=1)
        ]
        answer = await pipeline.aask("How long does the battery last?")
        assert answer.text == pipeline.ask("How long does the battery last?").text

    anyio.run(run)


def test_many_questions_at_once(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    expected = pipeline.ask("How long does charging take?").text
    seen: list[str] = []

    async def ask_once() -> None:
        seen.append((await pipeline.aask("How long does charging take?")).text)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask_once)

    anyio.run(run)
    assert seen == [expected] * 20


def test_streams_and_can_be_left_early(folder: Path, tmp_path: Path) -> None:
    generator = GroundedGenerator(model=ScriptedChat(replies=(REPLY, REPLY)))
    with Pipeline(index=tmp_path / "index", generator=generator) as pipeline:
        pipeline.ingest(folder)

        async def read_whole_stream() -> None:
            events = [event async for event in pipeline.astream("battery")]
            assert "".join(e.text for e in events if isinstance(e, TextDelta)) == REPLY
            assert isinstance(events[-1], AnswerCompleted)
            assert all(citation.verified for citation in events[-1].answer.citations)

        async def leave_stream() -> None:
            events = pipeline.astream("battery")
            assert isinstance(await anext(events), TextDelta)
            await events.aclose()  # type: ignore[attr-defined]

        anyio.run(read_whole_stream)
        anyio.run(leave_stream)


def test_text_is_streamed_while_the_model_writes(folder: Path, tmp_path: Path) -> None:
    is_first_text_read = threading.Event()
    waits: list[bool] = []

    class WaitingChat(ChatModel):
        name: ClassVar[str] = "waiting"

        def _complete(self, messages: Sequence[Message], **_: Any) -> Completion:
            return Completion(REPLY)

        def _stream(self, messages: Sequence[Message], **_: Any) -> Iterator[Delta]:
            yield Delta(REPLY[:30])
            waits.append(is_first_text_read.wait(10))
            yield Delta(REPLY[30:])
            yield Delta("", Completion(REPLY))

    generator = GroundedGenerator(model=WaitingChat())
    with Pipeline(index=tmp_path / "index", generator=generator) as pipeline:
        pipeline.ingest(folder)

        async def read_stream() -> None:
            async for event in pipeline.astream("battery"):
                if isinstance(event, TextDelta):
                    is_first_text_read.set()

        anyio.run(read_stream)
    assert waits == [True]


# -- search and answers in a loop of your own ------------------------------------------------


def test_hits_of_several_searches_give_one_verified_answer(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    hits = [*pipeline.search("battery", k=2), *pipeline.search("propeller", k=2)]
    answer = pipeline.answer("How long does the battery last?", hits)
    assert answer.citations and all(citation.verified for citation in answer.citations)
    assert answer.hits == tuple(hits)
    assert [step.name for step in answer.trace] == ["extract", "verify"]
    assert pipeline.answer("battery?", []).status == "abstained"


def test_verify_compares_every_quote_with_the_stored_source(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    answer = pipeline.ask("How long does the battery last?")
    citation = answer.citations[0]
    shifted = citation.model_copy(update={"start": citation.start + 1, "end": citation.end + 1})
    missing = citation.model_copy(update={"uri": "file:///nowhere"})
    edited = answer.model_copy(update={"citations": (citation, shifted, missing)})
    assert [c.verified for c in pipeline.verify(edited).citations] == [True, False, False]


def test_every_search_has_the_filter_of_the_pipeline(tmp_path: Path, folder: Path) -> None:
    (folder / "secret.md").write_text("# Secret\n\nThe battery code of the hangar is 4711.\n")
    only_public = {"title": {"$ne": "Secret"}}
    with Pipeline(index=tmp_path / "i", filter=only_public) as pipeline:
        pipeline.ingest(folder)
        uris = {hit.chunk.uri.rpartition("/")[2] for hit in pipeline.search("battery", k=50)}
        assert uris == {"handbook.md", "notes.txt"}
        assert pipeline.search("battery", k=50, where={"title": "Secret"}) == []
        assert "4711" not in pipeline.ask("What is the battery code of the hangar?").text
        copy = Pipeline.from_yaml(pipeline.to_yaml())
        assert copy.filter == pipeline.filter and copy.fingerprint == pipeline.fingerprint
        secret = pipeline.document(folder / "secret.md").uri
        with pipeline.replace(filter=None) as unfiltered:
            evidence = [
                citation
                for citation in unfiltered.ask("What is the battery code of the hangar?").citations
                if citation.uri == secret
            ]
        assert evidence
        answer = pipeline.ask("How long does the battery last?", evidence=evidence)
        assert secret not in {hit.chunk.uri for hit in answer.hits}


def test_a_filter_in_the_query_is_added(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    query = Query("battery", filter=F("uri").contains("notes"))
    assert {hit.chunk.uri.rpartition("/")[2] for hit in pipeline.search(query, k=50)} == {
        "notes.txt"
    }
    assert pipeline.search(query, where=F("uri").contains("handbook")) == []


def test_brackets_of_a_question_are_not_terms_of_an_earlier_one(
    tmp_path: Path,
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "parts.md").write_text(
        "# Spare parts\n\nThe nylon propellers are black and need no balancing.\n\n"
        "The carbon frame is grey.\n"
    )
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(docs)
        plain = pipeline.ask("weight nylon propellers")
        bracketed = pipeline.ask("weight (nylon propellers)")
    relevances = [answer.trace[1].relevance for answer in (plain, bracketed)]
    assert bracketed.status == plain.status == "answered"
    assert relevances[1] > 0.75 * relevances[0]  # halved if the brackets were carried terms


def test_k_is_the_number_of_hits_for_the_generator(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    assert len(pipeline.ask("battery", k=1).hits) == 1
    assert len(pipeline.ask("battery", k=2).hits) == 2
    (*_, completed) = pipeline.stream("battery", k=1)
    assert isinstance(completed, AnswerCompleted) and len(completed.answer.hits) == 1


def test_many_queries_are_embedded_in_one_batch(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.ingest(folder)
    queries = ["battery", "How heavy is it?", "battery", "propeller"]
    expected_hits = [pipeline.search(query, k=3) for query in queries]
    expected_texts = [pipeline.ask(query).text for query in queries]
    batches: list[list[str]] = []
    embed_queries = StaticEmbedder.embed_queries

    def record(self: StaticEmbedder, texts: Sequence[str]) -> Any:
        batches.append(list(texts))
        return embed_queries(self, texts)

    monkeypatch.setattr(StaticEmbedder, "embed_queries", record)
    with pipeline.replace() as fresh:
        assert fresh.search_many(queries, k=3) == expected_hits
        assert [answer.text for answer in fresh.ask_many(queries)] == expected_texts
        assert batches == [["battery", "How heavy is it?", "propeller"]]
        assert fresh.search_many([]) == [] and fresh.ask_many([]) == []
        with pytest.raises(QueryError, match="empty"):
            fresh.search_many(["battery", " "])


def test_a_document_is_found_by_uri_and_by_path(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.ingest(folder)
    path = folder / "handbook.md"
    expected = pipeline.document(path.as_uri())
    monkeypatch.chdir(folder)
    for name in (path, str(path), "handbook.md", Path("handbook.md")):
        assert pipeline.document(name) == expected
    with pytest.raises(DocumentNotFound):
        pipeline.document("no-such-file.md")


# -- configuration ---------------------------------------------------------------------------


def test_settings_are_frozen_and_replaced_by_a_new_pipeline(tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "i", k=3) as pipeline:
        with pytest.raises(AttributeError, match="replace"):
            pipeline.k = 5
        other = pipeline.replace(k=5)
        assert (pipeline.k, other.k, other.index) == (3, 5, pipeline.index)
        assert other != pipeline and other == Pipeline(index=tmp_path / "i", k=5)
        assert pickle.loads(pickle.dumps(other)) == other
        with pytest.raises(ConfigError, match="no such setting"):
            pipeline.replace(depth=5)


def test_pipelines_share_a_configuration(tmp_path: Path) -> None:
    configuration = PipelineConfig(index=tmp_path / "i", k=2)
    assert Pipeline(configuration).configuration is configuration
    assert Pipeline(configuration, k=9).k == 9 and configuration.k == 2


# -- closing and forking -----------------------------------------------------------------------


def test_closing_lets_running_searches_finish(tmp_path: Path, folder: Path) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    class SlowTransform(QueryTransform):
        name: ClassVar[str] = "slow"

        def transform(self, query: str, history: Sequence[Message] = ()) -> list[Query]:
            has_begun.set()
            may_end.wait(30)
            return [Query(query)]

    pipeline = Pipeline(index=tmp_path / "index", transforms=(SlowTransform(),))
    pipeline.ingest(folder)
    hits: list[Any] = []
    search = threading.Thread(target=lambda: hits.extend(pipeline.search("battery")))
    search.start()
    assert has_begun.wait(30)
    closing = threading.Thread(target=pipeline.close)
    closing.start()
    may_end.set()
    search.join(60)
    closing.join(60)
    assert hits and not closing.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX systems fork")
def test_a_fork_of_the_process_gets_an_error_that_says_what_to_do(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    pipeline.ingest(folder)
    script = FORK.format(index=str(pipeline.index))
    pipeline.close()
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "before this process was forked" in ran.stdout and "34 minutes" in ran.stdout


FORK = """
import os
from rag import Pipeline
from rag.errors import RagIndexError

pipeline = Pipeline(index={index!r})
pipeline.search("battery")
if (child := os.fork()) == 0:
    try:
        pipeline.search("battery")
    except RagIndexError as error:
        os.write(1, str(error).encode())
        pipeline.close()
        os._exit(0)
    os._exit(1)
_, status = os.waitpid(child, 0)
assert status == 0, status
os.write(1, pipeline.ask("How long does the battery last?").text.encode())
pipeline.close()
"""
