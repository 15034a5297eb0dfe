"""``rag map``, ``similar``, ``duplicates``, ``outliers``: what is in a pile of documents."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli.options import (
    index_option,
    json_option,
    make_pipeline,
    namespace_option,
    pipeline_option,
    require_folder,
    where_option,
)
from rag.errors import ConfigError


@click.command(name="map")
@click.option(
    "-o",
    "--output",
    "page",
    type=click.Path(path_type=Path),
    default="map.html",
    show_default=True,
    help="The page; a picture of the same name, .png, is written beside it.",
)
@click.option("--topics", type=click.IntRange(1, 60), help="How many.  [default: by their number]")
@index_option
@namespace_option
@pipeline_option
@json_option
def map_command(
    page: Path,
    topics: int | None,
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """Draw a map of the documents: topics, and what is near to what.

    Topics are clusters of the documents' vectors, named by the words that tell them apart.
    """
    from rag.cli import output
    from rag.corpus_analysis import draw

    if page.suffix.lower() == ".png":
        raise ConfigError("the page is HTML: name it map.html, say; the picture comes beside it")
    require_folder(page)
    picture = page.with_suffix(".png")
    with make_pipeline(pipeline, index, namespace) as opened:
        drawn = draw(opened.open(), to_html=page, to_png=picture, count=topics)
    found = [
        {"terms": topic.terms, "documents": [drawn.documents.uris[i] for i in topic.documents]}
        for topic in drawn.topics
    ]
    if as_json:
        output.json_document({"topics": found, "html": str(page), "png": str(picture)})
        return
    for topic in drawn.topics:
        click.echo(f"{len(topic.documents):>6,}  {', '.join(topic.terms)}")
    click.echo(f"written to {page} and {picture}")


@click.command()
@click.argument("uri")
@click.option("-k", type=click.IntRange(1, 1000), default=10, show_default=True)
@where_option
@index_option
@namespace_option
@pipeline_option
@json_option
def similar(
    uri: str,
    k: int,
    where: tuple[str, ...],
    index: Path | None,
    namespace: str,
    pipeline: str | None,
    as_json: bool,
) -> None:
    """List documents that are like the document URI (or path), and the passage of each."""
    from rag.cli import output
    from rag.cli.arguments import as_uri, parse_where

    with make_pipeline(pipeline, index, namespace) as opened:
        hits = opened.more_like(as_uri(uri), k=k, where=parse_where(where))
    if as_json:
        output.json_document({"hits": [hit.model_dump(mode="json") for hit in hits]})
    else:
        output.hits(hits)


@click.command()
@click.option(
    "--shared",
    type=click.FloatRange(0.01, 1),
    default=0.8,
    show_default=True,
    help="Share of the shorter document that the other has too.",
)
@index_option
@namespace_option
@pipeline_option
@json_option
def duplicates(
    shared: float, index: Path | None, namespace: str, pipeline: str | None, as_json: bool
) -> None:
    """List pairs of documents that say the same."""
    from rag.cli import output
    from rag.corpus_analysis import duplicates as find

    with make_pipeline(pipeline, index, namespace) as opened:
        pairs = find(opened.open(), shared=shared)
    if as_json:
        output.json_document(
            {"pairs": [{"one": p.one, "other": p.other, "shared": p.shared} for p in pairs]}
        )
        return
    for pair in pairs:
        click.echo(f"{pair.shared:>6.0%}  {output.where(pair.one)}  {output.where(pair.other)}")
    if not pairs:
        click.echo("no two documents say the same")


@click.command()
@click.option("-k", type=click.IntRange(1, 1000), default=10, show_default=True)
@index_option
@namespace_option
@pipeline_option
@json_option
def outliers(
    k: int, index: Path | None, namespace: str, pipeline: str | None, as_json: bool
) -> None:
    """List the documents that are like no others, by their mean cosine to the nearest five."""
    from rag.cli import output
    from rag.corpus_analysis import outliers as find
    from rag.corpus_analysis import pile

    with make_pipeline(pipeline, index, namespace) as opened:
        found = find(pile(opened.open()), count=k)
    if as_json:
        output.json_document({"documents": [{"uri": uri, "nearness": near} for uri, near in found]})
        return
    for uri, near in found:
        click.echo(f"{near:>6.2f}  {output.where(uri)}")
