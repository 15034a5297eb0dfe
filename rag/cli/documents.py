"""``rag documents`` and ``rag delete``: list the documents of the index, and delete some."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.cli import output, terminal
from rag.cli.arguments import as_uri, parse_where
from rag.errors import DocumentNotFound
from rag.index.document_paths import select_below

if TYPE_CHECKING:
    from rag.pipeline import Pipeline
    from rag.stores import DocumentStore
    from rag.stores.document_store import DocumentInfo, FailureEntry

    _Record = TypeVar("_Record", DocumentInfo, FailureEntry)

_MAX_LISTED = 20  # before a deletion


def list_documents(
    store: DocumentStore, path: str | None, where: Sequence[str], *, failed: bool, as_json: bool
) -> None:
    """Print the documents at and below a path, and what failed there with its reason.

    Raises `DocumentNotFound` if there is nothing at the path.
    """
    prefix = "" if path is None else as_uri(path)
    condition = parse_where(where)
    selected = None if condition is None else store.matching_documents(condition)
    documents = [
        info
        for info in ([] if failed else _choose_below(store.documents(), prefix))
        if selected is None or info.number in selected
    ]
    failures = [] if where else _choose_below(store.failures(), prefix)
    if path is not None and not (documents or failures or where or failed):
        raise DocumentNotFound(f"the index has no documents at {path}", uri=prefix)
    if as_json:
        output.print_json(
            {
                "documents": [
                    {
                        "uri": info.uri,
                        "title": info.title,
                        "mime": info.mime,
                        "characters": info.characters,
                        "chunks": info.chunks,
                        "indexed": _format_time(info.written_at),
                    }
                    for info in documents
                ],
                "failures": [{"uri": f.uri, "error": f.error} for f in failures],
            }
        )
        return
    for info in documents:
        title = f"  {info.title}" if info.title else ""
        size = f"{info.characters:,} characters, {info.chunks:,} chunks"
        terminal.echo(
            terminal.style(output.format_source(info.uri), bold=True),
            title,
            terminal.style(f"  ({size}, {_format_time(info.written_at)})", dim=True),
        )
    for failure in failures:
        terminal.secho(f"{output.format_source(failure.uri)}  failed: {failure.error}", fg="red")
    total = output.format_count(len(documents), "document")
    counts = [] if failed else [total]
    if failures or failed:
        counts.append(f"{len(failures):,} failed")
    terminal.echo(", ".join(counts), err=True)


def _choose_below(records: Iterable[_Record], prefix: str) -> list[_Record]:
    """Return the records of documents at and below a uri; all if it is empty."""
    records = list(records)
    if not prefix:
        return records
    uris = set(select_below([record.uri for record in records], prefix))
    return [record for record in records if record.uri in uris]


def _format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def delete_documents(pipeline: Pipeline, paths: Sequence[str], *, yes: bool) -> None:
    """List the documents at and below paths, ask on a terminal, and delete them.

    Raises `DocumentNotFound` if there are none.
    """
    prefixes = [as_uri(path) for path in paths]
    uris: dict[str, Any] = {}
    for prefix in prefixes:
        uris |= dict.fromkeys(pipeline.find_documents(prefix))
    if not uris:
        uri = paths[0] if len(paths) == 1 else None
        raise DocumentNotFound(f"the index has no documents at {', '.join(paths)}", uri=uri)
    for uri in list(uris)[:_MAX_LISTED]:
        terminal.echo(f"  {output.format_source(uri)}", err=True)
    if len(uris) > _MAX_LISTED:
        terminal.echo(f"  and {len(uris) - _MAX_LISTED:,} more", err=True)
    if not yes and sys.stdin.isatty():
        noun = output.format_count(len(uris), "document")
        click.confirm(f"Delete {noun} from the index (not the files)?", abort=True, err=True)
    terminal.echo(f"{pipeline.delete(*prefixes):,} deleted")
    if any(Path(path).exists() for path in paths):
        terminal.echo(
            "the next ingest of the folder adds what is still there; .ragignore excludes files",
            err=True,
        )
