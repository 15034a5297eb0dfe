"""Output of the commands: answers and reports on stdout, progress on stderr."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.cli import terminal
from rag.types import (
    Answer,
    CacheStep,
    CheckStep,
    Citation,
    ClosestPassage,
    ExtractStep,
    FavouredDocument,
    GenerateStep,
    Hit,
    RepairStep,
    RetrieveStep,
    SourceLocation,
    TraceStep,
    TransformStep,
    format_location,
)

if TYPE_CHECKING:
    from rag.filters import Filter
    from rag.generation import Event
    from rag.index.maintenance import Snapshot, Verification
    from rag.ingestion import IngestReport
    from rag.pipeline import Pipeline
    from rag.stores import DocumentStore, DocumentStoreConfig

_PROGRESS_INTERVAL_SECONDS = 2.0  # between progress lines when stderr is not a terminal
_MAX_DOCUMENTS_LISTED = 20
_VERDICTS = {
    "partly": "only partly supported",
    "unsupported": "not supported",
    "contradicted": "contradicted",
}
_MAX_TERMS_LISTED = 6  # of one document
_MAX_FAILURES_LISTED = 20
_MAX_SKIPPED_LISTED = 5  # files of one reason
_MAX_LOSSES_LISTED = 10


def print_json(value: Any) -> None:
    """Print `value` as the JSON document of a command."""
    terminal.echo_json(value)


class IngestProgress:
    """Progress of an ingestion on stderr: a bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._report: IngestReport | None = None
        self._started = self._last_printed = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._bar = Live(
                get_renderable=self._render, console=Console(stderr=True), transient=True
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, report: IngestReport) -> None:
        """Show the progress that `report` states; on a terminal, also what it states later."""
        self._report = report
        is_due = time.monotonic() - self._last_printed > _PROGRESS_INTERVAL_SECONDS
        if self._bar is None and is_due:
            self._last_printed = time.monotonic()
            terminal.echo(format_progress(report), err=True)

    def _render(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        report, seconds = self._report, time.monotonic() - self._started
        line = "opening the index" if report is None else format_progress(report, seconds)
        total = None if report is None else report.total
        done = 0 if report is None else max(report.read, report.seen)
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=total, completed=done, width=24, pulse=not total)
        grid.add_row(bar, Text(line))
        return grid


def format_progress(report: IngestReport, seconds: float | None = None) -> str:
    """Return one line with documents, chunks, rate, failures and the remaining time.

    `seconds` is how long the ingest runs, if the report is older than that.
    """
    seconds = report.seconds if seconds is None else seconds
    done = max(report.read, report.seen)
    if report.reembedded and not done:
        return f"{report.reembedded:,} documents re-embedded with the new embedder"
    total = f" of {report.total:,}" if report.total and done <= report.total else ""
    parts = [f"{done:,}{total} documents", f"{report.chunks:,} chunks"]
    if seconds > 0 and done:
        parts.append(f"{done / seconds:,.1f} documents/s")
    if report.failed:
        parts.append(f"{len(report.failed):,} failed")
    if report.total and 0 < done < report.total:
        parts.append(f"{format_duration(seconds / done * (report.total - done))} left")
    return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units, as ``9 min 54 s``."""
    minutes, full_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {full_seconds} s" if minutes else f"{full_seconds} s"


def warn_if_empty(pipeline: Pipeline, where: Filter | None = None) -> bool:
    """Say on stderr that there is nothing to search; return whether the index is empty.

    With the filter `where`, also say that no document matches it. Raises `IndexNotFound`.
    """
    is_empty = not pipeline.stats().documents
    if is_empty:
        terminal.echo(f"the index {pipeline.index} is empty: rag ingest FOLDER", err=True)
    elif where is not None and not count_matching(pipeline, where):
        terminal.echo("no document matches the filter", err=True)
    return is_empty


def count_matching(pipeline: Pipeline, where: Filter) -> int:
    """Return how many documents match a filter."""
    return len(pipeline.open().document_store.matching_documents(where))


def print_report(report: IngestReport, index: Path, *, summary: bool = True) -> None:
    """Print failures, skipped files and losses with their reasons to stderr, a summary to stdout.

    Without `summary`, only the former are printed.
    """
    for failure in report.failed[:_MAX_FAILURES_LISTED]:
        terminal.echo(f"failed: {format_source(failure.uri)}: {failure.error}", err=True)
    if unlisted := report.failed[_MAX_FAILURES_LISTED:]:
        terminal.echo(f"... and {len(unlisted):,} more:", err=True)
        for reason, count in Counter(failure.error for failure in unlisted).most_common(5):
            terminal.echo(f"  {count:,} x {reason}", err=True)
    _print_skipped(report)
    _print_losses(report)
    if not summary:
        return
    if report.dry_run:
        _print_dry_run(report)
        return
    counts = {
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "deleted": report.deleted,
        "failed": len(report.failed),
        "skipped": len(report.skipped),
    }
    summary_line = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items() if count)
    if report.moved:
        summary_line += f" ({len(report.moved):,} of them moved)"
    if report.kept:
        summary_line += f", {report.kept:,} missing but kept"
    if report.reembedded:
        terminal.echo(
            f"{report.reembedded:,} documents re-embedded; the index now uses the new embedder"
        )
    terminal.echo(
        f"{summary_line or 'no documents found'}; {report.chunks:,} chunks written, "
        f"{report.embedded:,} texts embedded, {report.seconds:.1f} s, index {index}"
    )


def _print_skipped(report: IngestReport) -> None:
    """Print the files that are no documents, by reason."""
    names: dict[str, list[str]] = {}
    for skip in report.skipped:
        names.setdefault(skip.reason, []).append(format_source(skip.uri))
    for reason, sources in names.items():
        unlisted_count = len(sources) - _MAX_SKIPPED_LISTED
        suffix = f" and {unlisted_count:,} more" if unlisted_count > 0 else ""
        listed = ", ".join(sources[:_MAX_SKIPPED_LISTED])
        terminal.echo(f"skipped: {listed}{suffix} ({reason})", err=True)


def _print_losses(report: IngestReport) -> None:
    """Warn of documents whose text does not have a large share of the words of their file."""
    large_losses = [loss for loss in report.losses if loss.is_large]
    for loss in large_losses[:_MAX_LOSSES_LISTED]:
        share = f"{loss.coverage.missing_share:.0%}"
        name = format_source(loss.uri)
        terminal.echo(
            f"warning: {share} of the words of {name} are not in its text; "
            f"see: rag parse {shlex.quote(name)} --check",
            err=True,
        )
    if (unlisted_count := len(large_losses) - _MAX_LOSSES_LISTED) > 0:
        terminal.echo(f"warning: the same holds for {unlisted_count:,} more documents", err=True)


def _print_dry_run(report: IngestReport) -> None:
    """Print what an ingestion would do, and its cost."""
    counts = {
        "add": report.added,
        "update": report.updated,
        "skip unchanged": report.unchanged,
        "delete": report.deleted,
        "fail": len(report.failed),
    }
    plan = ", ".join(f"{action} {count:,}" for action, count in counts.items() if count)
    if report.moved:
        plan += f" ({len(report.moved):,} of them moved)"
    if report.kept:
        plan += f", keep {report.kept:,} that are missing"
    terminal.echo(f"would {plan}" if plan else "no documents found")
    if report.reembedded:
        terminal.echo(f"would re-embed {report.reembedded:,} documents with the new embedder")
    cost = "" if report.cost_usd is None else f", ${report.cost_usd:,.2f}"
    if report.cost_usd is None and report.embedded:
        cost = ", price unknown"
    terminal.echo(
        f"would write {report.chunks:,} chunks; {report.embedded:,} texts to embed, "
        f"{report.tokens or 0:,} tokens{cost}"
    )
    terminal.echo("Dry run: nothing was changed.")


def search_notes(steps: Iterable[TraceStep]) -> list[str]:
    """Return what a reader should know about a search."""
    notes = [
        note
        for step in steps
        if isinstance(step, TransformStep | RetrieveStep)
        for note in step.notes
    ]
    return list(dict.fromkeys(notes))


def find_favoured_documents(steps: Iterable[TraceStep]) -> tuple[FavouredDocument, ...]:
    """Return the documents that the question of a search names."""
    return next((step.favoured for step in steps if isinstance(step, RetrieveStep)), ())


def print_note(note: str) -> None:
    """Print a note to the reader."""
    terminal.secho(f"({note})", dim=True)


def print_favoured(documents: Sequence[FavouredDocument]) -> None:
    """List the documents that a question names, with the words that name them."""
    for document in documents:
        names = ", ".join(document.names)
        terminal.echo(f"favoured {document.score:.3f}  {format_source(document.uri)}  ({names})")
    if documents:
        terminal.echo()


def print_hits(hits: Sequence[Hit], *, explain: bool = False) -> None:
    """List hits, best first; with `explain`, also the score of each stage."""
    if not hits:
        terminal.echo("No results.")
    for rank, hit in enumerate(hits, start=1):
        chunk = hit.chunk
        stages = ", ".join(f"{name} #{stage.rank}" for name, stage in hit.stage_scores.items())
        heading = f"{rank}. {hit.score:.3f}  {format_source(chunk.uri, chunk.location)}"
        terminal.secho(heading + (f"  ({stages})" if stages else ""), bold=True)
        if explain:
            for name, stage in hit.stage_scores.items():
                terminal.echo(f"   {name:<12}{stage.score:>8.3f}  #{stage.rank}")
        if chunk.headings:
            terminal.secho("   " + " > ".join(chunk.headings), dim=True)
        terminal.echo("   " + shorten(chunk.text, 300) + "\n")


def print_stream(
    events: Iterator[Event], *, to_stderr: bool = False, is_markdown: bool = False
) -> Answer:
    """Print an answer while it arrives, and return it when it is complete and verified.

    A streamed draft can be withdrawn; the final answer is then printed below it. With
    `is_markdown`, as models write it, tables, lists and code are drawn on a terminal.
    """
    from rag.cli.markdown_stream import MarkdownStream

    if is_markdown and not to_stderr and sys.stdout.isatty():
        with MarkdownStream() as markdown:  # which stops drawing after Ctrl-C, too
            answer, streamed = _write_deltas(events, markdown.write)
    else:
        answer, streamed = _write_deltas(
            events, lambda text: terminal.echo(text, nl=False, err=to_stderr)
        )
    terminal.echo(err=to_stderr)
    if answer.reason and streamed != answer.text:
        if streamed:
            terminal.secho("(withdrawn)", dim=True, err=to_stderr)
        terminal.echo(answer.text, err=to_stderr)
    return answer


def _write_deltas(events: Iterator[Event], write: Callable[[str], None]) -> tuple[Answer, str]:
    """Write the text of a stream as it arrives; return the answer, and what was written."""
    from rag.generation import AnswerCompleted, TextDelta

    streamed = ""
    for event in events:
        if isinstance(event, AnswerCompleted):
            return event.answer, streamed
        if isinstance(event, TextDelta):
            streamed += event.text
            write(event.text)
    raise AssertionError("a stream ends with AnswerCompleted")


def print_answer(answer: Answer, *, text: bool = True) -> None:
    """Print an answer with its notes and citations.

    Without `text` (it has been streamed already), only the notes and citations are printed.
    """
    if text:
        terminal.echo(answer.text)
    if answer.status == "abstained":
        _print_abstention(answer)
        return
    for sentence in answer.sentences:
        if sentence.status == "partly" or sentence.is_rejected:
            claim = shorten(answer.text[sentence.start : sentence.end], 100)
            terminal.secho(f"{_VERDICTS[sentence.status]} by the sources: {claim}", fg="yellow")
    for note in answer_notes(answer):
        terminal.secho(f"({note})", dim=True)
    if answer.citations:
        terminal.echo()
    printed: set[tuple[int, str, int, int]] = set()
    for citation in sorted(answer.citations, key=lambda c: (c.marker, c.start)):
        key = (citation.marker, citation.uri, citation.start, citation.end)
        if key not in printed:  # several sentences may cite the same quote
            printed.add(key)
            _print_citation(citation)


def print_draft(answer: Answer, *, err: bool = False) -> None:
    """Print what the model wrote, if none of it is in the answer; with `err` on stderr."""
    drafts = [step.draft for step in answer.trace if isinstance(step, CheckStep)]
    if draft := next(filter(None, drafts), ""):
        terminal.secho(f"the model's draft was: {shorten(draft, 400)}", dim=True, err=err)


def _print_abstention(answer: Answer) -> None:
    terminal.secho(f"({answer.reason})", dim=True)
    for note in answer_notes(answer):
        terminal.secho(f"({note})", dim=True)
    if answer.closest:
        terminal.echo("\nThe closest passages:")
    for number, passage in enumerate(answer.closest, start=1):
        terminal.secho(
            f"{number}. {format_source(passage.uri, passage.location)}", bold=True, nl=False
        )
        terminal.secho(f"  ({passage.reason})", dim=True)
        _print_quote(passage)


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 turn``, ``2 turns``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def answer_notes(answer: Answer) -> list[str]:
    """Return what a reader should know about an answer: what was removed or cut, and its cost."""
    notes = search_notes(answer.trace)
    if answer.reason and answer.status == "answered":
        notes.append(answer.reason)
    for step in answer.trace:
        if isinstance(step, GenerateStep | RepairStep | ExtractStep) and step.left_out:
            notes.append(
                f"{step.left_out} of {len(answer.hits)} passages did not fit into the token budget"
            )
        if isinstance(step, GenerateStep | RepairStep) and step.finish_reason == "length":
            notes.append("the model's reply was cut off at its token limit")
        if isinstance(step, GenerateStep | RepairStep) and step.finish_reason == "content_filter":
            notes.append("the model's reply was cut off by its provider's content filter")
        if isinstance(step, GenerateStep | RepairStep) and step.finish_reason == "unknown":
            notes.append("the model's server did not say whether its reply is complete")
        if isinstance(step, CacheStep):
            notes.append(f"the answer of {step.answered_at} to: {shorten(step.question, 100)}")
        if isinstance(step, CheckStep) and step.dropped:
            notes.append(f"{format_count(len(step.dropped), 'unsupported sentence')} removed")
        if isinstance(step, CheckStep) and step.removed_links:
            sentences = format_count(step.removed_links, "sentence")
            notes.append(f"links or markup removed from {sentences}")
    usage = answer.usage
    if usage.calls:
        cost = f", ${usage.cost_usd:.4f}" if usage.cost_usd else ""
        about = "about " if usage.is_estimated else ""
        tokens = f"{about}{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
        notes.append(f"{format_count(usage.calls, 'chat model call')}: {tokens}{cost}")
    if "```" in answer.text or "~~~" in answer.text:
        notes.append("code in the answer is not verified")
    return list(dict.fromkeys(notes))


def _print_citation(citation: Citation) -> None:
    terminal.secho(
        f"[{citation.marker}] {format_source(citation.uri, citation.location)}", bold=True, nl=False
    )
    details = [f"characters {citation.start}-{citation.end}"]
    if citation.method == "attribution":
        details.append("attributed")
    if not citation.verified:
        details.append("NOT VERIFIED")
    terminal.secho(f"  ({', '.join(details)})", dim=True)
    _print_quote(citation)


def _print_quote(quote: Citation | ClosestPassage) -> None:
    """Print a quote below what a reader sees beside it: title and headings, the row of a table."""
    if quote.heading_context and quote.heading_context != quote.title:
        terminal.secho(f"    {shorten(quote.heading_context, 200)}", dim=True)
    terminal.echo(f'    "{shorten(quote.quote, 400)}"')


def format_source(uri: str, location: SourceLocation | None = None) -> str:
    """Return a uri and a location for people to read.

    A file is its path, relative to the working directory where possible.
    """
    from connectors import path_of

    path = path_of(uri)
    if path is not None:
        working_directory = Path.cwd()
        is_below = path.is_relative_to(working_directory)
        uri = str(path.relative_to(working_directory) if is_below else path)
        uri = uri.encode(errors="replace").decode()
    return ", ".join(part for part in (uri, format_location(location or {})) if part)


def shorten(text: str, length: int) -> str:
    """Return `text` on one line, cut to at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 4].rstrip() + " ..."


def print_stats(
    index: Path,
    namespace: str,
    document_store: DocumentStore,
    config: DocumentStoreConfig | None,
    *,
    as_json: bool,
) -> None:
    """Print what an index, or a namespace of it, holds. `config` is that of the document store."""
    from rag.cli.document_names import describe_documents
    from rag.index.paths import list_namespaces, measure_size, namespace_folder

    numbers = document_store.stats()
    embedder = json.loads(document_store.state.embedder or "{}").get("name")
    size_bytes = measure_size(namespace_folder(index, namespace))
    namespace_names = [] if namespace else list_namespaces(index, config)
    failures = document_store.failures()
    if as_json:
        print_json(
            {
                "index": str(index),
                "embedder": embedder,
                **{
                    **asdict(numbers),
                    "failures": [{"uri": f.uri, "error": f.error} for f in failures],
                },
                "bytes": size_bytes,
                "namespaces": namespace_names,
                "names": describe_documents(document_store),
            }
        )
        return
    terminal.echo(
        f"index {index}: {numbers.documents:,} documents, {numbers.chunks:,} chunks, "
        f"{numbers.characters:,} characters, {size_bytes / 2**20:.1f} MiB\n"
        f"embedder: {embedder or 'none yet'}, {numbers.cached_embeddings:,} texts embedded"
    )
    if numbers.unfinished:
        terminal.echo(f"{numbers.unfinished:,} documents are incomplete; the next ingest cleans up")
    if namespace_names:
        terminal.echo(
            f"{len(namespace_names):,} namespaces: {shorten(', '.join(namespace_names), 300)}"
        )
    _print_document_names(describe_documents(document_store))
    for failure in failures:
        terminal.echo(f"failed: {format_source(failure.uri)}: {failure.error}")


def _print_document_names(documents: Sequence[dict[str, Any]]) -> None:
    """Print the first documents with the identity terms that few documents have."""
    if documents:
        terminal.echo("documents, with the names and years that few of them have:")
    for document in documents[:_MAX_DOCUMENTS_LISTED]:
        terms = [term["term"] for term in document["terms"][:_MAX_TERMS_LISTED]]
        terminal.echo(f"  {format_source(document['uri'])}: {shorten(' | '.join(terms), 160)}")
    if (unlisted_count := len(documents) - _MAX_DOCUMENTS_LISTED) > 0:
        terminal.echo(f"  ... and {unlisted_count:,} more (--json lists all)")


def print_verification(verification: Verification, *, as_json: bool) -> None:
    """Print the problems of an index, or that it has none."""
    if as_json:
        print_json({"fine": verification.is_intact, **asdict(verification)})
        return
    problems = verification.problems
    for problem in problems[:_MAX_FAILURES_LISTED]:
        terminal.echo(f"{problem}")
    if (unlisted_count := len(problems) - _MAX_FAILURES_LISTED) > 0:
        terminal.echo(f"... and {unlisted_count:,} more")
    checked = f"{verification.documents:,} documents and {verification.chunks:,} chunks checked."
    if verification.is_intact:
        terminal.echo(f"{checked} No problems found.")
    else:
        terminal.echo(
            f"{checked} {len(problems):,} problems found. Fix them with: rag index repair"
        )
        if any("interrupted" in problem.what for problem in problems):
            terminal.echo("(What an interrupted ingest left is also removed by the next one.)")


def print_snapshots(snapshots: Sequence[Snapshot], *, as_json: bool) -> None:
    """List snapshots."""
    if as_json:
        print_json({"snapshots": [snapshot.as_json() for snapshot in snapshots]})
        return
    if not snapshots:
        terminal.echo("No snapshots.")
    for snapshot in snapshots:
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(snapshot.taken_at))
        content = f"{snapshot.documents:,} documents, {snapshot.chunks:,} chunks"
        content = "DAMAGED" if snapshot.damaged else content
        terminal.echo(f"{snapshot.name}  {date}  {content}, {snapshot.bytes / 2**20:.1f} MiB")


def print_prompts(*, as_json: bool) -> None:
    """List the prompt templates."""
    import prompts as templates
    from rag.settings import load_settings

    folder = load_settings().prompts
    prompts = [templates.load(name, folder) for name in templates.names(folder)]
    if as_json:
        print_json(
            {
                "prompts": [
                    {
                        **prompt.identity,
                        "description": prompt.description,
                        "inputs": list(prompt.inputs),
                        "path": str(prompt.path),
                    }
                    for prompt in prompts
                ]
            }
        )
        return
    for prompt in prompts:
        origin = "" if prompt.path.parent == templates.SHIPPED else f"  (from {prompt.path})"
        terminal.echo(f"{prompt.name}  v{prompt.version}  {prompt.digest}{origin}")
        terminal.echo(f"    {prompt.description}")


def print_prompt(name: str) -> None:
    """Print the text of the prompt template `name`."""
    import prompts as templates
    from rag.settings import load_settings

    terminal.write_exact(
        templates.load(name, load_settings().prompts).path.read_text(encoding="utf-8")
    )
