"""What people see: answers and reports on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from rag.types import Answer, Citation, Hit, SourceLocation, format_location

if TYPE_CHECKING:
    from rag.generation import Event
    from rag.index.maintenance import Snapshot, Verification
    from rag.ingestion import IngestReport
    from rag.stores import SqliteDocumentStore

_EVERY = 2.0  # seconds between lines of progress where there is no terminal
_FAILURES_SHOWN = 20


def json_document(value: Any) -> None:
    """Print the one JSON document of a command."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def exactly(text: str) -> None:
    """Print text as it is: UTF-8, no line end added, none translated."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


class Progress:
    """Progress of an ingest on stderr: a bar, or plain lines where there is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

            self._bar = Progress(
                SpinnerColumn(),
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("listing ...", total=None)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, report: IngestReport) -> None:
        """Show how far it is."""
        line = progress_line(report)
        if self._bar is not None:
            self._bar.update(
                self._task, description=line, completed=report.seen, total=report.total
            )
        elif time.monotonic() - self._told > _EVERY:
            self._told = time.monotonic()
            click.echo(line, err=True)


def progress_line(report: IngestReport) -> str:
    """Say how far an ingest is: documents, chunks, rate, failures, and the time left."""
    if report.reembedded and not report.seen:
        return f"{report.reembedded:,} documents embedded again with the new embedder"
    of = f" of {report.total:,}" if report.total and report.seen <= report.total else ""
    parts = [f"{report.seen:,}{of} documents", f"{report.chunks:,} chunks"]
    if report.seconds > 0:
        parts.append(f"{report.chunks / report.seconds:,.0f} chunks/s")
    if report.failed:
        parts.append(f"{len(report.failed):,} failed")
    if report.total and 0 < report.seen < report.total:
        left = report.seconds / report.seen * (report.total - report.seen)
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A length of time in the two largest units that say something."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def report(done: IngestReport, index: Path, *, summary: bool = True) -> None:
    """Say what a run did, and what failed and why; all on stderr but the summary."""
    failures = done.failed[:_FAILURES_SHOWN]
    for failure in failures:
        click.echo(f"failed: {where(failure.uri)}: {failure.error}", err=True)
    if rest := done.failed[_FAILURES_SHOWN:]:
        click.echo(f"... and {len(rest):,} more:", err=True)
        for reason, count in Counter(failure.error for failure in rest).most_common(5):
            click.echo(f"  {count:,} x {reason}", err=True)
    if not summary:
        return
    if done.dry_run:
        _would(done)
        return
    counts = {
        "added": done.added,
        "updated": done.updated,
        "unchanged": done.unchanged,
        "deleted": done.deleted,
        "failed": len(done.failed),
    }
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    if done.moved:
        said += f" ({len(done.moved):,} of them moved)"
    if done.kept:
        said += f", {done.kept:,} missing and kept"
    if done.reembedded:
        click.echo(f"{done.reembedded:,} documents embedded again, and switched over")
    click.echo(
        f"{said or 'no documents found'}; {done.chunks:,} chunks written, "
        f"{done.embedded:,} texts embedded, {done.seconds:.1f} s, index {index}"
    )


def _would(done: IngestReport) -> None:
    """Say what a dry run found."""
    counts = {
        "add": done.added,
        "update": done.updated,
        "leave": done.unchanged,
        "delete": done.deleted,
        "fail": len(done.failed),
    }
    said = ", ".join(f"{what} {count:,}" for what, count in counts.items() if count)
    if done.moved:
        said += f" ({len(done.moved):,} of them moved)"
    if done.kept:
        said += f", keep {done.kept:,} that are missing"
    click.echo(f"would {said}" if said else "no documents found")
    if done.reembedded:
        click.echo(f"would embed {done.reembedded:,} documents again with another embedder")
    cost = "" if done.cost_usd is None else f", ${done.cost_usd:,.2f}"
    if done.cost_usd is None and done.embedded:
        cost = ", at a price that is not known"
    click.echo(
        f"would write {done.chunks:,} chunks; {done.embedded:,} texts to embed, "
        f"{done.tokens or 0:,} tokens{cost}"
    )
    click.echo("nothing was touched")


def hits(found: Sequence[Hit]) -> None:
    """List hits, best first."""
    if not found:
        click.echo("nothing found")
    for rank, hit in enumerate(found, start=1):
        chunk = hit.chunk
        origins = ", ".join(f"{name} #{o.rank}" for name, o in hit.stage_scores.items())
        heading = f"{rank}. {hit.score:.3f}  {where(chunk.uri, chunk.location)}"
        click.secho(heading + (f"  ({origins})" if origins else ""), bold=True)
        if chunk.headings:
            click.secho("   " + " > ".join(chunk.headings), dim=True)
        click.echo("   " + shortened(chunk.text, 300) + "\n")


def stream(events: Iterator[Event], *, to_stderr: bool = False) -> Answer:
    """Print an answer as it comes; returns it when it is whole and checked.

    An answer that is abstained from after all is printed below the draft that was streamed.
    """
    from rag.generation import AnswerCompleted, TextDelta

    streamed = ""
    for event in events:
        if isinstance(event, AnswerCompleted):
            click.echo(err=to_stderr)
            if event.answer.status == "abstained" and streamed != event.answer.text:
                if streamed:
                    click.secho("(taken back)", dim=True, err=to_stderr)
                click.echo(event.answer.text, err=to_stderr)
            return event.answer
        if isinstance(event, TextDelta):
            streamed += event.text
            click.echo(event.text, nl=False, err=to_stderr)
    raise AssertionError("a stream ends with Done")


def answer(given: Answer, *, text: bool = True) -> None:
    """Print an answer and what it rests on. `text` is off where it was streamed already."""
    if text:
        click.echo(given.text)
    if given.status == "abstained":
        click.secho(f"({given.reason})", dim=True)
        for note in notes(given):
            click.secho(f"({note})", dim=True)
        if given.hits:
            click.secho("nearest passages:", dim=True)
            for hit in given.hits[:3]:
                found = where(hit.chunk.uri, hit.chunk.location)
                click.secho(f"  {found}: {shortened(hit.chunk.text, 120)}", dim=True)
        return
    for sentence in given.sentences:
        if sentence.status in ("partly", "unsupported"):
            said = shortened(given.text[sentence.start : sentence.end], 100)
            how = "only partly supported" if sentence.status == "partly" else "not supported"
            click.secho(f"{how} by the sources: {said}", fg="yellow")
    for note in notes(given):
        click.secho(f"({note})", dim=True)
    if given.citations:
        click.echo()
    shown: set[tuple[int, str, int, int]] = set()
    for citation in sorted(given.citations, key=lambda c: (c.marker, c.start)):
        place = (citation.marker, citation.uri, citation.start, citation.end)
        if place not in shown:  # several sentences may rest on the same words
            shown.add(place)
            _citation(citation)


def counted(number: int, what: str) -> str:
    """``1 turn``, ``2 turns``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def notes(given: Answer) -> list[str]:
    """What a reader of an answer should know of how it was made: nothing is cut in silence."""
    found = []
    for step in given.trace:
        if left_out := step.detail.get("left_out"):
            found.append(f"{left_out} of {len(given.hits)} passages did not fit the budget")
        if step.detail.get("finish_reason") == "length":
            found.append("the model's reply was cut off at its limit of tokens")
        if dropped := step.detail.get("dropped"):
            found.append(f"{counted(len(dropped), 'unsupported sentence')} left out")
        if removed := step.detail.get("removed_links"):
            found.append(f"links or markup taken out of {counted(removed, 'sentence')}")
    used = given.usage
    if used.calls:
        cost = f", ${used.cost_usd:.4f}" if used.cost_usd else ""
        tokens = f"{used.input_tokens:,} tokens in, {used.output_tokens:,} out"
        found.append(f"{counted(used.calls, 'call')} of chat models: {tokens}{cost}")
    if "```" in given.text or "~~~" in given.text:
        found.append("code in an answer is not checked")
    return list(dict.fromkeys(found))


def _citation(citation: Citation) -> None:
    click.secho(
        f"[{citation.marker}] {where(citation.uri, citation.location)}", bold=True, nl=False
    )
    said = [f"characters {citation.start}-{citation.end}"]
    if citation.method == "attribution":
        said.append("attributed")
    if not citation.verified:
        said.append("NOT VERIFIED")
    click.secho(f"  ({', '.join(said)})", dim=True)
    click.echo(f'    "{shortened(citation.quote, 400)}"')


def where(uri: str, place: SourceLocation | None = None) -> str:
    """Where something is, as a person would say it: a path below here where it is a file."""
    from connectors import path_of

    path = path_of(uri)
    if path is not None:
        here = Path.cwd()
        uri = str(path.relative_to(here) if path.is_relative_to(here) else path)
        uri = uri.encode(errors="replace").decode()
    return ", ".join(part for part in (uri, format_location(place or {})) if part)


def shortened(text: str, length: int) -> str:
    """Text on one line, at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 4].rstrip() + " ..."


def stats(index: Path, library: SqliteDocumentStore, *, as_json: bool) -> None:
    """Print what a library holds."""
    from rag.index.paths import namespaces, size

    numbers = library.stats()
    embedder = json.loads(library.meta("embedder") or "{}").get("name")
    bytes_ = size(library.path.parent)
    others = namespaces(index) if library.path.parent == index else []
    failures = library.failures()
    if as_json:
        json_document(
            {
                "index": str(index),
                "embedder": embedder,
                **{
                    **asdict(numbers),
                    "failures": [{"uri": f.uri, "error": f.error} for f in failures],
                },
                "bytes": bytes_,
                "namespaces": others,
            }
        )
        return
    click.echo(
        f"index {index}: {numbers.documents:,} documents, {numbers.chunks:,} chunks, "
        f"{numbers.characters:,} characters, {bytes_ / 2**20:.1f} MiB\n"
        f"embedder: {embedder or 'none yet'}, {numbers.cached_embeddings:,} texts embedded"
    )
    if numbers.unfinished:
        click.echo(f"{numbers.unfinished:,} documents half-written: the next ingest tidies up")
    if others:
        click.echo(f"{len(others):,} namespaces: {shortened(', '.join(others), 300)}")
    for failure in failures:
        click.echo(f"failed: {where(failure.uri)}: {failure.error}")


def verification(found: Verification, *, as_json: bool) -> None:
    """Print what a look at the whole index found."""
    if as_json:
        json_document({"fine": found.fine, **asdict(found)})
        return
    for problem in found.problems[:_FAILURES_SHOWN]:
        click.echo(f"{problem}")
    if (more := len(found.problems) - _FAILURES_SHOWN) > 0:
        click.echo(f"... and {more:,} more")
    checked = f"{found.documents:,} documents and {found.chunks:,} chunks checked"
    if found.fine:
        click.echo(f"{checked}: every text, vector and word list is as it should be")
    else:
        click.echo(f"{checked}, {len(found.problems):,} problems: `rag index repair`")


def snapshots(found: Sequence[Snapshot], *, as_json: bool) -> None:
    """List snapshots."""
    if as_json:
        json_document({"snapshots": [asdict(snapshot) for snapshot in found]})
        return
    if not found:
        click.echo("no snapshots")
    for snapshot in found:
        taken = time.strftime("%Y-%m-%d %H:%M", time.localtime(snapshot.taken))
        held = f"{snapshot.documents:,} documents, {snapshot.chunks:,} chunks"
        held = "DAMAGED" if snapshot.damaged else held
        click.echo(f"{snapshot.name}  {taken}  {held}, {snapshot.bytes / 2**20:.1f} MiB")


def prompts(*, as_json: bool) -> None:
    """List the prompt templates."""
    import prompts as templates
    from rag.settings import load_settings

    folder = load_settings().prompts
    loaded = [templates.load(name, folder) for name in templates.names(folder)]
    if as_json:
        json_document(
            {
                "prompts": [
                    {
                        **prompt.identity,
                        "description": prompt.description,
                        "inputs": list(prompt.inputs),
                        "path": str(prompt.path),
                    }
                    for prompt in loaded
                ]
            }
        )
        return
    for prompt in loaded:
        own = "" if prompt.path.parent == templates.SHIPPED else f"  (from {prompt.path})"
        click.echo(f"{prompt.name}  v{prompt.version}  {prompt.digest}{own}")
        click.echo(f"    {prompt.description}")


def prompt(name: str) -> None:
    """Print one template."""
    import prompts as templates
    from rag.settings import load_settings

    exactly(templates.load(name, load_settings().prompts).path.read_text(encoding="utf-8"))
