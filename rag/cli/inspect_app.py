"""Terminal user interface of ``rag inspect``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.markup import escape
from rich.style import Style
from rich.text import Text
from textual import on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import DataTable, Footer, Header, Input, Static, TabbedContent, TabPane
from textual.worker import get_current_worker

from rag import tracing
from rag.cli.stage_rankings import StageRanking, collect_chat_calls, collect_rankings
from rag.cli.terminal import clean, clean_in_place
from rag.pipeline import Pipeline
from rag.types import Answer, Chunk, Document, Hit, format_location

_CHUNK_STYLES = (Style(bgcolor="#1f2a26"), Style(bgcolor="#2c3b50"))
_SELECTED_STYLE = Style(bgcolor="#c9a227", color="#000000")
_MAX_TEXT_CHARACTERS = 200_000
_MAX_DOCUMENT_ROWS = 20_000
_MAX_CHUNK_ROWS = 2_000
_MAX_RANKING_ROWS = 50


class InspectApp(App[None]):
    """Application with three tabs: documents and chunks, failures, and a question."""

    TITLE = "rag inspect"
    CSS = """
    #documents { width: 40%; }
    #chunks { height: 40%; }
    #text-box, #answer-box, #sent-box { border: round $surface-lighten-2; padding: 0 1; }
    #text-box { height: 1fr; }
    #rankings { height: 50%; }
    #answer-box, #sent-box { width: 1fr; height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "show('documents-tab')", "Documents"),
        Binding("2", "show('failures-tab')", "Failures"),
        Binding("3", "show('question-tab')", "Question"),
        Binding("escape", "leave", "Leave the question", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._document: Document | None = None
        self._chunks: list[Chunk] = []

    def compose(self) -> ComposeResult:
        """Yield the widgets of the application."""
        yield Header(show_clock=False)
        with TabbedContent(initial="documents-tab"):
            with TabPane("Documents", id="documents-tab"), Horizontal():
                yield DataTable(id="documents", cursor_type="row", zebra_stripes=True)
                with Vertical():
                    yield DataTable(id="chunks", cursor_type="row", zebra_stripes=True)
                    with VerticalScroll(id="text-box"):
                        yield Static(id="text", markup=False)
            with TabPane("Failures", id="failures-tab"):
                yield DataTable(id="failures", cursor_type="row", zebra_stripes=True)
            with TabPane("Question", id="question-tab"), Vertical():
                yield Input(
                    placeholder="Type a question and press Enter; Escape leaves the field",
                    id="question",
                )
                yield DataTable(id="rankings", cursor_type="cell")
                with Horizontal():
                    with VerticalScroll(id="answer-box"):
                        yield Static(id="answer", markup=False)
                    with VerticalScroll(id="sent-box"):
                        yield Static(id="sent", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Fill the tables with the documents and failures of the index."""
        document_store = self._pipeline.open().document_store
        stats = document_store.stats()
        self.sub_title = (
            f"{self._pipeline.index}: {stats.documents:,} documents, {stats.chunks:,} chunks, "
            f"{stats.failures:,} failures"
        )
        documents = self.query_one("#documents", DataTable)
        documents.add_columns("Title", "Chunks", "Characters", "Kind")
        document_infos = document_store.documents()
        if len(document_infos) > _MAX_DOCUMENT_ROWS:
            self.sub_title += f" (the first {_MAX_DOCUMENT_ROWS:,} are listed)"
        for info in document_infos[:_MAX_DOCUMENT_ROWS]:
            documents.add_row(
                Text(clean(info.title or info.uri), no_wrap=True),
                Text(f"{info.chunks:,}", justify="right"),
                Text(f"{info.characters:,}", justify="right"),
                clean(info.mime),
                key=info.uri,
            )
        self.query_one("#chunks", DataTable).add_columns("#", "Span", "Tokens", "Location", "Text")
        failures = self.query_one("#failures", DataTable)
        failures.add_columns("Source", "Error")
        for failure in document_store.failures()[:_MAX_DOCUMENT_ROWS]:
            failures.add_row(Text(clean(failure.uri)), Text(clean(failure.error)))
        self.query_one("#answer-box").border_title = "Answer"
        self.query_one("#sent-box").border_title = "Messages to the chat model"
        documents.focus()

    def action_leave(self) -> None:
        """Leave the question field, so that the keys of the footer work again."""
        if isinstance(self.focused, Input):
            self.query_one("#rankings").focus()

    def action_show(self, tab: str) -> None:
        """Show a tab and focus its first widget."""
        self.query_one(TabbedContent).active = tab
        focus_targets = {"documents-tab": "#documents", "failures-tab": "#failures"}
        self.query_one(focus_targets.get(tab, "#question")).focus()

    # -- documents -------------------------------------------------------------------------

    @on(DataTable.RowHighlighted, "#documents")
    def _load_selected_document(self, event: DataTable.RowHighlighted) -> None:
        if event.row_key.value is not None:
            self._read_document(event.row_key.value)

    @work(thread=True, exclusive=True, group="document")
    def _read_document(self, uri: str) -> None:
        worker = get_current_worker()
        try:
            document_store = self._pipeline.open().document_store
            document = document_store.document(uri)
            rows = [stretch.row for stretch in document_store.outline(uri)][:_MAX_CHUNK_ROWS]
            chunk_of_row = document_store.chunks(rows)
            chunks = [chunk_of_row[row] for row in rows if row in chunk_of_row]
            if worker.is_cancelled:
                return
            counts = self._pipeline.embedder.count_tokens([c.embedded_text for c in chunks])
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            if not worker.is_cancelled:
                self.call_from_thread(self.query_one("#text", Static).update, message)
            return
        if not worker.is_cancelled:
            self.call_from_thread(self._show_document, document, chunks, counts)

    def _show_document(
        self, document: Document, chunks: list[Chunk], counts: Sequence[int]
    ) -> None:
        self._document, self._chunks = document, chunks
        table = self.query_one("#chunks", DataTable)
        table.clear()
        for number, (chunk, tokens) in enumerate(zip(chunks, counts, strict=True), start=1):
            location = format_location(chunk.location) or " > ".join(chunk.headings)
            excerpt = clean_in_place(" ".join(chunk.text.split())[:60])
            span = f"{chunk.start:,}-{chunk.end:,}"
            table.add_row(
                str(number), span, f"{tokens:,}", Text(clean(location)), Text(clean(excerpt))
            )
        self.query_one("#text-box").border_title = escape(clean(document.uri))
        self._render_text(None)

    @on(DataTable.RowHighlighted, "#chunks")
    def _highlight_selected_chunk(self, event: DataTable.RowHighlighted) -> None:
        if 0 <= event.cursor_row < len(self._chunks):
            self._render_text(event.cursor_row)

    def _render_text(self, selected: int | None) -> None:
        """Show the document with its chunks in alternating colours.

        Text that two chunks share gets the colour of the later chunk.
        """
        document = self._document
        if document is None:
            return
        styled_text = Text(clean_in_place(document.text[:_MAX_TEXT_CHARACTERS]))
        for number, chunk in enumerate(self._chunks):
            styled_text.stylize(_CHUNK_STYLES[number % 2], chunk.start, chunk.end)
        if selected is not None:
            chunk = self._chunks[selected]
            styled_text.stylize(_SELECTED_STYLE, chunk.start, chunk.end)
        if len(document.text) > _MAX_TEXT_CHARACTERS:
            styled_text.append(
                f"\n... {len(document.text) - _MAX_TEXT_CHARACTERS:,} more characters"
            )
        self.query_one("#text", Static).update(styled_text)
        if selected is not None:
            self._scroll_to(self._chunks[selected].start)

    def _scroll_to(self, offset: int) -> None:
        box = self.query_one("#text-box", VerticalScroll)
        width = max(1, box.scrollable_content_region.width - 2)
        text = self._document.text[:offset] if self._document else ""
        line = sum(max(1, -(-len(part) // width)) for part in text.split("\n")[:-1])
        box.scroll_to(y=max(0, line - 2), animate=False)

    # -- a question ------------------------------------------------------------------------

    @on(Input.Submitted, "#question")
    def _submit_question(self, event: Input.Submitted) -> None:
        self.query_one("#answer", Static).update("...")
        self._ask_pipeline(event.value)

    @work(thread=True, exclusive=True, group="question")
    def _ask_pipeline(self, question: str) -> None:
        worker = get_current_worker()
        with tracing.record_spans() as spans:
            try:
                answer: Answer | str = self._pipeline.ask(question)
            except Exception as error:  # a bug in a component is shown, too
                answer = f"{type(error).__name__}: {error}"
        if not worker.is_cancelled:  # a later question may have been answered already
            self.call_from_thread(
                self._show_answer,
                answer,
                collect_rankings(spans),
                collect_chat_calls(spans),
                list(spans),
            )

    def _show_answer(
        self,
        answer: Answer | str,
        rankings: Sequence[StageRanking],
        calls: Sequence[tracing.Span],
        spans: Sequence[tracing.Span],
    ) -> None:
        self._show_rankings(rankings)
        self.query_one("#answer", Static).update(clean(_format_answer(answer, spans)))
        if calls:
            messages = "\n\n".join(_format_call(call) for call in calls)
        else:
            messages = f"The generator {self._pipeline.generator.name!r} calls no chat model."
        self.query_one("#sent", Static).update(clean(messages))

    def _show_rankings(self, rankings: Sequence[StageRanking]) -> None:
        table = self.query_one("#rankings", DataTable)
        table.clear(columns=True)
        if not rankings:
            return
        table.add_columns("#", *(f"{stage.name} ({len(stage.hits)})" for stage in rankings))
        for rank in range(min(_MAX_RANKING_ROWS, max(len(stage.hits) for stage in rankings))):
            cells = [
                Text(clean(_format_hit(*stage.hits[rank]))) if rank < len(stage.hits) else ""
                for stage in rankings
            ]
            table.add_row(str(rank + 1), *cells)


def _format_hit(hit: Hit, score: float) -> str:
    chunk = hit.chunk
    name = chunk.title or chunk.uri.rpartition("/")[2]
    return f"{score:.3f} {name[:24]} {chunk.start:,}-{chunk.end:,}"


def _format_answer(answer: Answer | str, spans: Sequence[tracing.Span]) -> str:
    if isinstance(answer, str):
        return answer
    lines = [answer.text]
    if answer.reason:
        lines.append(f"({answer.reason})")
    for citation in sorted(answer.citations, key=lambda c: (c.marker, c.start)):
        span = f"{citation.start}-{citation.end}"
        lines.append(f"[{citation.marker}] {citation.uri} {span}: {citation.quote}")
    for sentence in answer.sentences:
        if sentence.status == "partly" or sentence.is_rejected:
            lines.append(f"{sentence.status}: {answer.text[sentence.start : sentence.end]}")
    return "\n".join([*lines, "", tracing.format_tree(spans)])


def _format_call(call: tracing.Span) -> str:
    parts = [f"=== {call.name} ==="]
    parts += [f"--- {message.role} ---\n{message.content}" for message in call.data["messages"]]
    if (completion := call.data.get("completion")) is not None:
        parts.append(f"--- reply ({completion.finish_reason}) ---\n{completion.text}")
    return "\n".join(parts)
