from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import DataTable, Input, Static, TabbedContent

from rag import GroundedGenerator, HybridRetriever, Pipeline, ScriptedChat, tracing
from rag.cli.inspect import sent, stages
from rag.cli.inspect_app import InspectApp
from rag.postprocessing.mmr import MMR

QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."


@pytest.fixture
def filled(pipeline: Pipeline, folder: Path) -> Pipeline:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    (folder / "[odd] name.md").write_text("# [bold]Odd[/bold]\n\nMarkup [red] is text. [/x]\n")
    pipeline.ingest(folder)
    update = {
        "generator": GroundedGenerator(model=ScriptedChat(replies=(REPLY,))),
        "postprocessors": (MMR(),),
    }
    return pipeline.model_copy(update=update)


def test_rankings_of_every_stage_are_told_apart(filled: Pipeline) -> None:
    with tracing.recorded() as spans:
        filled.ask(QUESTION)
    found = stages(spans)
    assert [stage.name for stage in found] == ["dense", "lexical", "hybrid", "mmr"]
    for stage in found[:2]:
        ranks = [hit.stage_scores[stage.name].rank for hit, _ in stage.hits]
        assert ranks == sorted(ranks)
    scores = [score for _, score in found[2].hits]
    assert scores == sorted(scores, reverse=True)
    (call,) = sent(spans)
    assert QUESTION in call.data["messages"][-1].content
    alone = filled.model_copy(update={"retriever": "dense", "postprocessors": ()})
    with tracing.recorded() as spans:
        alone.model_copy(update={"retriever": HybridRetriever(weight=1.0)}).search("battery")
    assert [stage.name for stage in stages(spans)][-1] == "hybrid"


async def test_the_page_shows_documents_chunks_failures_and_a_question(filled: Pipeline) -> None:
    app = InspectApp(filled)
    async with app.run_test(size=(140, 45)) as pilot:
        await pilot.pause()
        documents = app.query_one("#documents", DataTable)
        assert documents.row_count == 3
        await pilot.press("down")
        await app.workers.wait_for_complete()
        await pilot.pause()
        chunks = app.query_one("#chunks", DataTable)
        uri = app.query_one("#text-box").border_title or ""
        outline = filled.open().document_store.outline(uri)
        assert chunks.row_count == len(outline) > 0
        shown: Any = app.query_one("#text", Static).content
        assert filled.document(uri).text in str(shown)
        assert any(
            span.start == outline[0].start and span.end == outline[0].end for span in shown.spans
        )
        await pilot.press("2")
        failures = app.query_one("#failures", DataTable)
        assert "PDF" in str(failures.get_row_at(0)[1])
        await pilot.press("3")
        app.query_one("#question", Input).value = QUESTION
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        rankings = app.query_one("#rankings", DataTable)
        assert [str(column.label) for column in rankings.columns.values()][1].startswith("dense")
        assert "handbook" in str(rankings.get_row_at(0)[1]).lower()
        assert REPLY in str(app.query_one("#sent", Static).content)
        assert QUESTION in str(app.query_one("#sent", Static).content)
        assert "34 minutes" in str(app.query_one("#answer", Static).content)
        assert "retrieval hybrid" in str(app.query_one("#answer", Static).content)
        assert app.query_one(TabbedContent).active == "question-tab"
        app.query_one("#question", Input).focus()
        await pilot.press("escape", "2")
        assert app.query_one(TabbedContent).active == "failures-tab"


async def test_a_question_that_fails_is_told(filled: Pipeline) -> None:
    app = InspectApp(filled)
    async with app.run_test() as pilot:
        await pilot.press("3")
        for question in ("", QUESTION, QUESTION):  # the script has one reply only
            app.query_one("#question", Input).value = question
            await pilot.press("enter")
            await app.workers.wait_for_complete()
            await pilot.pause()
        assert "ModelReplyError" in str(app.query_one("#answer", Static).content)


def test_without_an_index_it_says_so(rag: Any) -> None:
    ran = rag("inspect")
    assert ran.code == 1 and "no index" in ran.err


async def test_odd_names_and_control_characters_are_shown_as_they_are(pipeline: Pipeline) -> None:
    from collections.abc import Iterator
    from typing import ClassVar

    from connectors import Connector, Source

    class Odd(Connector):
        name: ClassVar[str] = "odd"
        scope: ClassVar[str] = "odd:"  # type: ignore[assignment]

        def sources(self) -> Iterator[Source]:
            text = "Page\x0cbreak\x07 and \x1b[31mred.\n\nThe end of it."
            yield Source(
                uri="odd://x/?a[/b]=1[bold]", version="1", read=text.encode, mime="text/plain"
            )

    pipeline.ingest(Odd())
    app = InspectApp(pipeline)
    async with app.run_test() as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        uri = "odd://x/?a[/b]=1[bold]"
        shown: Any = app.query_one("#text", Static).content
        assert "\x1b" not in str(shown) and "\x0c" not in str(shown)
        assert len(shown.plain) == len(pipeline.document(uri).text)
        assert "a[/b]=1" in str(app.query_one("#text-box").border_title).replace("\\", "")
