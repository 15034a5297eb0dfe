"""``rag index``: maintenance of an index."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli import terminal
from rag.cli.options import (
    FAILED,
    SOME_FAILED,
    index_option,
    json_option,
    make_pipeline,
    namespace_option,
    pipeline_option,
    resolve_document_store,
    resolve_index,
)
from rag.errors import IndexDamaged, IndexNotFound


@click.group()
def index_group() -> None:
    """Verify, repair, back up and restore the index."""


@index_group.command()
@index_option
@namespace_option
@pipeline_option
@json_option
@click.pass_context
def verify(
    context: click.Context, index: Path | None, namespace: str, pipeline: str | None, as_json: bool
) -> None:
    """Check that texts, spans, vectors and words are consistent; change nothing."""
    from rag.cli import output
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        verification = maintenance.verify(opened.open(check=False))
    output.print_verification(verification, as_json=as_json)
    if not verification.is_intact:
        context.exit(FAILED)


@index_group.command()
@index_option
@namespace_option
@pipeline_option
@click.pass_context
def repair(
    context: click.Context, index: Path | None, namespace: str, pipeline: str | None
) -> None:
    """Fix the problems that verify finds; list lost documents, which must be ingested again."""
    from rag.cli import output
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        repair_result = maintenance.repair(opened.open(check=False))
    for problem in repair_result.problems:
        terminal.echo(f"fixed: {problem}")
    for uri in repair_result.lost_uris:
        terminal.echo(f"lost: {output.format_source(uri)}: ingest its source again", err=True)
    if not repair_result.problems:
        terminal.echo("No problems found.")
    if repair_result.lost_uris:
        context.exit(SOME_FAILED)


@index_group.command()
@index_option
@namespace_option
@pipeline_option
@click.option("--reembed", is_flag=True, help="Embed all texts again first.")
def rebuild(index: Path | None, namespace: str, pipeline: str | None, reembed: bool) -> None:
    """Rebuild the vector and lexical stores; nothing is embedded without --reembed."""
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        maintenance.rebuild(opened.open(check=False), reembed=reembed)
        terminal.echo(f"{opened.stats().chunks:,} chunks in the new stores")


@index_group.command()
@index_option
@namespace_option
@pipeline_option
def compact(index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Free unused disk space, and delete unused embeddings."""
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        before, after = maintenance.compact(opened.open(check=False))
    terminal.echo(f"{before / 2**20:,.1f} MiB before, {after / 2**20:,.1f} MiB now")


@index_group.command()
@click.argument("name")
@index_option
@namespace_option
@pipeline_option
def snapshot(name: str, index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Save a snapshot of the document store as NAME; reads and writes continue meanwhile."""
    from rag.cli import output
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        output.print_snapshots(
            [maintenance.snapshot(opened.open(check=False), name)], as_json=False
        )


@index_group.command(name="list")
@index_option
@namespace_option
@json_option
def list_snapshots(index: Path | None, namespace: str, as_json: bool) -> None:
    """List the snapshots."""
    from rag.cli import output
    from rag.index import maintenance

    output.print_snapshots(maintenance.snapshots(resolve_index(index), namespace), as_json=as_json)


@index_group.command()
@click.argument("name")
@index_option
@namespace_option
@pipeline_option
def restore(name: str, index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Restore the snapshot NAME; nothing is embedded, and searches continue meanwhile."""
    from rag.index import maintenance

    with make_pipeline(pipeline, index, namespace) as opened:
        try:
            errors = opened.open(check=False).document_store.integrity_errors()
        except (IndexDamaged, IndexNotFound) as error:
            errors = [str(error)]
        if not errors:
            maintenance.restore(opened.open(check=False), name)
        else:
            opened.close()
            damaged_path = maintenance.restore_damaged(
                opened.index, name, namespace, opened.document_store
            )
            if damaged_path.exists():
                terminal.echo(f"the damaged document store was moved to {damaged_path}", err=True)
            maintenance.rebuild(opened.open(check=False))
        stats = opened.stats()
    terminal.echo(f"restored {name}: {stats.documents:,} documents, {stats.chunks:,} chunks")


@index_group.command()
@click.argument("namespace")
@click.confirmation_option(
    "--yes",
    prompt="Delete the namespace and all its documents?",
    help="Do not ask for confirmation.",
)
@index_option
@pipeline_option
def drop(namespace: str, index: Path | None, pipeline: str | None) -> None:
    """Delete NAMESPACE and all its documents."""
    from rag.index import maintenance

    path, config = resolve_document_store(pipeline, index)
    maintenance.drop(path, namespace, config)
    terminal.echo(f"namespace {namespace} deleted")
