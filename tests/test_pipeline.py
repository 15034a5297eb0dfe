"""The pipeline as asynchronous code uses it; the rest of it is tested where its parts are."""

from pathlib import Path

import anyio

from rag import AnswerCompleted, GroundedGenerator, Pipeline, ScriptedChat, TextDelta

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
