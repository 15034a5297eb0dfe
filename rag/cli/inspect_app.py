"""The terminal page behind ``rag inspect``."""

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
from rag.cli.inspect import Stage, sent, stages
from rag.pipeline import Pipeline
from rag.types import Answer, Chunk, Document, Hit, format_location

_SHADES = (Style(bgcolor="#1f2a26"), Style(bgcolor="#2c3b50"))
_CHOSEN = Style(bgcolor="#c9a227", color="#000000")
_LONGEST = 200_000  # characters of a document that are shown
_DOCUMENTS = 20_000  # rows of the list
_CHUNKS = 2_000  # of a document
_ROWS = 50  # of a ranking


class InspectApp(App[None]):
    """Documents and chunks; failures; a question with every stage's ranking."""

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
        """Lay the page out."""
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
                yield Input(placeholder="A question, then Enter; Escape leaves", id="question")
                yield DataTable(id="rankings", cursor_type="cell")
                with Horizontal():
                    with VerticalScroll(id="answer-box"):
                        yield Static(id="answer", markup=False)
                    with VerticalScroll(id="sent-box"):
                        yield Static(id="sent", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Fill in what the index holds."""
        library = self._pipeline.open().document_store
        stats = library.stats()
        self.sub_title = (
            f"{self._pipeline.index}: {stats.documents:,} documents, {stats.chunks:,} chunks, "
            f"{stats.failures:,} failures"
        )
        documents = self.query_one("#documents", DataTable)
        documents.add_columns("Title", "Chunks", "Characters", "Kind")
        found = library.documents()
        if len(found) > _DOCUMENTS:
            self.sub_title += f" (the first {_DOCUMENTS:,} are listed)"
        for info in found[:_DOCUMENTS]:
            documents.add_row(
                Text(info.title or info.uri, no_wrap=True),
                Text(f"{info.chunks:,}", justify="right"),
                Text(f"{info.characters:,}", justify="right"),
                info.mime,
                key=info.uri,
            )
        self.query_one("#chunks", DataTable).add_columns("#", "Span", "Tokens", "Where", "Begins")
        failures = self.query_one("#failures", DataTable)
        failures.add_columns("Source", "Why")
        for failure in library.failures()[:_DOCUMENTS]:
            failures.add_row(Text(failure.uri), Text(failure.error))
        self.query_one("#answer-box").border_title = "Answer"
        self.query_one("#sent-box").border_title = "Sent to the chat model"
        documents.focus()

    def action_leave(self) -> None:
        """Leave the question's field, so that the keys mean what the footer says."""
        if isinstance(self.focused, Input):
            self.query_one("#rankings").focus()

    def action_show(self, tab: str) -> None:
        """Show a tab, unless a text is being typed."""
        self.query_one(TabbedContent).active = tab
        first = {"documents-tab": "#documents", "failures-tab": "#failures"}
        self.query_one(first.get(tab, "#question")).focus()

    # -- documents -------------------------------------------------------------------------

    @on(DataTable.RowHighlighted, "#documents")
    def _document_chosen(self, event: DataTable.RowHighlighted) -> None:
        if event.row_key.value is not None:
            self._read_document(event.row_key.value)

    @work(thread=True, exclusive=True, group="document")
    def _read_document(self, uri: str) -> None:
        worker = get_current_worker()
        try:
            library = self._pipeline.open().document_store
            document = library.document(uri)
            rows = [stretch.row for stretch in library.outline(uri)][:_CHUNKS]
            held = library.chunks(rows)
            chunks = [held[row] for row in rows if row in held]
            if worker.is_cancelled:
                return
            counts = self._pipeline.embedder.count_tokens([c.embedded_text for c in chunks])
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            if not worker.is_cancelled:
                self.call_from_thread(self.query_one("#text", Static).update, told)
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
            where = format_location(chunk.location) or " > ".join(chunk.headings)
            begins = _visible(" ".join(chunk.text.split())[:60])
            span = f"{chunk.start:,}-{chunk.end:,}"
            table.add_row(str(number), span, f"{tokens:,}", Text(where), Text(begins))
        self.query_one("#text-box").border_title = escape(document.uri)
        self._draw(None)

    @on(DataTable.RowHighlighted, "#chunks")
    def _chunk_chosen(self, event: DataTable.RowHighlighted) -> None:
        if 0 <= event.cursor_row < len(self._chunks):
            self._draw(event.cursor_row)

    def _draw(self, chosen: int | None) -> None:
        """Show the text with the bounds of its chunks; what two share is the later one's."""
        document = self._document
        if document is None:
            return
        shown = Text(_visible(document.text[:_LONGEST]))
        for number, chunk in enumerate(self._chunks):
            shown.stylize(_SHADES[number % 2], chunk.start, chunk.end)
        if chosen is not None:
            chunk = self._chunks[chosen]
            shown.stylize(_CHOSEN, chunk.start, chunk.end)
        if len(document.text) > _LONGEST:
            shown.append(f"\n... {len(document.text) - _LONGEST:,} more characters")
        self.query_one("#text", Static).update(shown)
        if chosen is not None:
            self._scroll_to(self._chunks[chosen].start)

    def _scroll_to(self, offset: int) -> None:
        box = self.query_one("#text-box", VerticalScroll)
        width = max(1, box.scrollable_content_region.width - 2)
        text = self._document.text[:offset] if self._document else ""
        line = sum(max(1, -(-len(part) // width)) for part in text.split("\n")[:-1])
        box.scroll_to(y=max(0, line - 2), animate=False)

    # -- a question ------------------------------------------------------------------------

    @on(Input.Submitted, "#question")
    def _asked(self, event: Input.Submitted) -> None:
        self.query_one("#answer", Static).update("...")
        self._ask(event.value)

    @work(thread=True, exclusive=True, group="question")
    def _ask(self, question: str) -> None:
        worker = get_current_worker()
        with tracing.recorded() as spans:
            try:
                answer: Answer | str = self._pipeline.ask(question)
            except Exception as error:  # a bug in a part is to be looked at, too
                answer = f"{type(error).__name__}: {error}"
        if not worker.is_cancelled:  # a later question's answer may be there already
            self.call_from_thread(
                self._show_answer, answer, stages(spans), sent(spans), list(spans)
            )

    def _show_answer(
        self,
        answer: Answer | str,
        rankings: Sequence[Stage],
        calls: Sequence[tracing.Span],
        spans: Sequence[tracing.Span],
    ) -> None:
        self._show_rankings(rankings)
        self.query_one("#answer", Static).update(_visible(_told(answer, spans)))
        if calls:
            told = "\n\n".join(_call(call) for call in calls)
        else:
            told = f"The generator {self._pipeline.generator.name!r} asks no chat model."
        self.query_one("#sent", Static).update(_visible(told))

    def _show_rankings(self, rankings: Sequence[Stage]) -> None:
        table = self.query_one("#rankings", DataTable)
        table.clear(columns=True)
        if not rankings:
            return
        table.add_columns("#", *(f"{stage.name} ({len(stage.hits)})" for stage in rankings))
        for rank in range(min(_ROWS, max(len(stage.hits) for stage in rankings))):
            cells = [
                Text(_label(*stage.hits[rank])) if rank < len(stage.hits) else ""
                for stage in rankings
            ]
            table.add_row(str(rank + 1), *cells)


_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}


def _visible(text: str) -> str:
    """Control characters as pictures of them: a terminal would obey, and offsets would shift."""
    return text.translate(_CONTROLS)


def _label(hit: Hit, score: float) -> str:
    chunk = hit.chunk
    name = chunk.title or chunk.uri.rpartition("/")[2]
    return f"{score:.3f} {name[:24]} {chunk.start:,}-{chunk.end:,}"


def _told(answer: Answer | str, spans: Sequence[tracing.Span]) -> str:
    if isinstance(answer, str):
        return answer
    lines = [answer.text]
    if answer.reason:
        lines.append(f"({answer.reason})")
    for cited in sorted(answer.citations, key=lambda c: (c.marker, c.start)):
        lines.append(f"[{cited.marker}] {cited.uri} {cited.start}-{cited.end}: {cited.quote}")
    for sentence in answer.sentences:
        if sentence.status in ("partly", "unsupported"):
            lines.append(f"{sentence.status}: {answer.text[sentence.start : sentence.end]}")
    return "\n".join([*lines, "", tracing.as_text(spans)])


def _call(call: tracing.Span) -> str:
    parts = [f"=== {call.name} ==="]
    parts += [f"--- {each.role} ---\n{each.content}" for each in call.data["messages"]]
    if (completion := call.data.get("completion")) is not None:
        parts.append(f"--- reply ({completion.finish_reason}) ---\n{completion.text}")
    return "\n".join(parts)
