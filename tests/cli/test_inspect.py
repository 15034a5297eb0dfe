"""The rankings and the terminal interface of ``rag inspect``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import DataTable, Input, Static, TabbedContent

from rag import GroundedGenerator, HybridRetriever, Pipeline, ScriptedChat, tracing
from rag.cli.inspect_app import InspectApp
from rag.cli.stage_rankings import collect_chat_calls, collect_rankings
from rag.postprocessing.mmr import MMR

QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."


@pytest.fixture
def filled_pipeline(pipeline: Pipeline, folder: Path) -> Pipeline:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    (folder / "[odd] name.md").write_text("# [bold]Odd[/bold]\n\nMarkup [red] is text. [/x]\n")
    pipeline.ingest(folder)
    update = {
        "generator": GroundedGenerator(model=ScriptedChat(replies=(REPLY,))),
        "postprocessors": (MMR(),),
    }
    return pipeline.model_copy(update=update)


def test_rankings_are_collected_for_every_stage(filled_pipeline: Pipeline) -> None:
    with tracing.record_spans() as spans:
        filled_pipeline.ask(QUESTION)
    rankings = collect_rankings(spans)
    assert [ranking.name for ranking in rankings] == ["dense", "lexical", "hybrid", "mmr"]
    for stage in rankings[:2]:
        ranks = [hit.stage_scores[stage.name].rank for hit, _ in stage.hits]
        assert ranks == sorted(ranks)
    scores = [score for _, score in rankings[2].hits]
    assert scores == sorted(scores, reverse=True)
    (call,) = collect_chat_calls(spans)
    assert QUESTION in call.data["messages"][-1].content
    hybrid_only = filled_pipeline.model_copy(update={"retriever": "dense", "postprocessors": ()})
    with tracing.record_spans() as spans:
        hybrid_only.model_copy(update={"retriever": HybridRetriever(weight=1.0)}).search("battery")
    assert [stage.name for stage in collect_rankings(spans)][-1] == "hybrid"


async def test_app_shows_documents_chunks_failures_and_a_question(
    filled_pipeline: Pipeline,
) -> None:
    app = InspectApp(filled_pipeline)
    async with app.run_test(size=(140, 45)) as pilot:
        await pilot.pause()
        documents = app.query_one("#documents", DataTable)
        assert documents.row_count == 3
        await pilot.press("down")
        await app.workers.wait_for_complete()
        await pilot.pause()
        chunks = app.query_one("#chunks", DataTable)
        uri = app.query_one("#text-box").border_title or ""
        outline = filled_pipeline.open().document_store.outline(uri)
        assert chunks.row_count == len(outline) > 0
        content: Any = app.query_one("#text", Static).content
        assert filled_pipeline.document(uri).text in str(content)
        assert any(
            span.start == outline[0].start and span.end == outline[0].end for span in content.spans
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


async def test_app_shows_the_error_of_a_failed_question(filled_pipeline: Pipeline) -> None:
    app = InspectApp(filled_pipeline)
    async with app.run_test() as pilot:
        await pilot.press("3")
        for question in ("", QUESTION, QUESTION):  # the script has one reply only
            app.query_one("#question", Input).value = question
            await pilot.press("enter")
            await app.workers.wait_for_complete()
            await pilot.pause()
        assert "ModelReplyError" in str(app.query_one("#answer", Static).content)


def test_inspect_without_an_index_fails(rag: Any) -> None:
    result = rag("inspect")
    assert result.code == 1 and "no index" in result.err


async def test_app_escapes_markup_and_control_characters(pipeline: Pipeline) -> None:
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
        content: Any = app.query_one("#text", Static).content
        assert "\x1b" not in str(content) and "\x0c" not in str(content)
        assert len(content.plain) == len(pipeline.document(uri).text)
        assert "a[/b]=1" in str(app.query_one("#text-box").border_title).replace("\\", "")


async def test_hostile_titles_and_texts_cannot_control_the_terminal(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    title = "Hi\\e]52;c;ZXZpbA==\\e\\\\\\e[2J \u202e"
    (folder / "a.md").write_text(
        f'---\ntitle: "{title}"\n---\n# X\x1b[31m\n\nThe battery \x9b31m lasts 34 minutes \u202e.\n'
    )
    (folder / "b\x1b]0;PWN\x07.pdf").write_bytes(b"%PDF-1.4 no")
    pipeline.ingest(folder)
    app = InspectApp(pipeline)
    async with app.run_test(size=(120, 40)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        texts = []
        for table in app.query(DataTable):
            for row in range(table.row_count):
                texts += [str(cell) for cell in table.get_row_at(row)]
        texts += [str(static.render()) for static in app.query(Static)]
        texts += [str(widget.border_title) for widget in app.query("*") if widget.border_title]
        shown = "".join(texts)
        assert "Hi" in shown and "battery" in shown
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
