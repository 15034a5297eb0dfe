"""``rag index``: look after an index."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli.options import (
    FAILED,
    SOME_FAILED,
    index_option,
    index_path,
    json_option,
    make_pipeline,
    namespace_option,
    pipeline_option,
)
from rag.errors import IndexDamaged, IndexNotFound


@click.group()
def index_group() -> None:
    """Look after the index: check it, mend it, keep snapshots of it."""


@index_group.command()
@index_option
@namespace_option
@pipeline_option
@json_option
@click.pass_context
def verify(
    context: click.Context, index: Path | None, namespace: str, pipeline: str | None, as_json: bool
) -> None:
    """Compare all texts, spans, vectors and words with each other; changes nothing."""
    from rag.cli import output
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        found = maintenance.verify(opened.open(check=False))
    output.verification(found, as_json=as_json)
    if not found.fine:
        context.exit(FAILED)


@index_group.command()
@index_option
@namespace_option
@pipeline_option
@click.pass_context
def repair(
    context: click.Context, index: Path | None, namespace: str, pipeline: str | None
) -> None:
    """Put right what verify finds; documents that are lost are named, to be ingested again."""
    from rag.cli import output
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        done = maintenance.repair(opened.open(check=False))
    for problem in done.problems:
        click.echo(f"mended: {problem}")
    for uri in done.lost:
        click.echo(f"lost: {output.where(uri)}: ingest its source again", err=True)
    if not done.problems:
        click.echo("nothing to mend")
    if done.lost:
        context.exit(SOME_FAILED)


@index_group.command()
@index_option
@namespace_option
@pipeline_option
def rebuild(index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Make the vector and lexical stores anew from the library; nothing is embedded."""
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        maintenance.rebuild(opened.open(check=False))
        click.echo(f"{opened.stats().chunks:,} chunks in new stores")


@index_group.command()
@index_option
@namespace_option
@pipeline_option
def compact(index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Give back the space of what is gone, and forget embeddings that nothing uses."""
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        before, after = maintenance.compact(opened.open(check=False))
    click.echo(f"{before / 2**20:,.1f} MiB before, {after / 2**20:,.1f} MiB now")


@index_group.command()
@click.argument("name")
@index_option
@namespace_option
@pipeline_option
def snapshot(name: str, index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Keep a copy of the library under NAME, to go back to; others may read and write on."""
    from rag.cli import output
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        output.snapshots([maintenance.snapshot(opened.open(check=False), name)], as_json=False)


@index_group.command(name="list")
@index_option
@namespace_option
@json_option
def list_snapshots(index: Path | None, namespace: str, as_json: bool) -> None:
    """List the snapshots."""
    from rag.cli import output
    from rag.index import maintenance

    output.snapshots(maintenance.snapshots(index_path(index), namespace), as_json=as_json)


@index_group.command()
@click.argument("name")
@index_option
@namespace_option
@pipeline_option
def restore(name: str, index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Go back to the snapshot NAME; nothing is embedded, and searches go on meanwhile."""
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        try:
            broken = opened.open(check=False).document_store.integrity_errors()
        except (IndexDamaged, IndexNotFound) as error:
            broken = [str(error)]
        if not broken:
            maintenance.restore(opened.open(check=False), name)
        else:
            opened.close()
            kept = maintenance.restore_damaged(opened.index, name, namespace)
            if kept.exists():
                click.echo(f"the damaged library is kept as {kept}", err=True)
            maintenance.rebuild(opened.open(check=False))
        numbers = opened.stats()
    click.echo(f"restored {name}: {numbers.documents:,} documents, {numbers.chunks:,} chunks")


@index_group.command()
@click.argument("namespace")
@click.confirmation_option("--yes", prompt="Delete all of it?", help="Do not ask.")
@index_option
def drop(namespace: str, index: Path | None) -> None:
    """Delete NAMESPACE with all that is in it."""
    from rag.index import maintenance

    maintenance.drop(index_path(index), namespace)
    click.echo(f"namespace {namespace} deleted")
