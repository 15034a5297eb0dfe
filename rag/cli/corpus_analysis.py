"""``rag map``, ``similar``, ``duplicates`` and ``outliers``: analysis of a document collection."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli import terminal
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
    help="HTML page to write. A PNG image with the same name is written next to it.",
)
@click.option(
    "--topics",
    type=click.IntRange(1, 60),
    help="Number of topics.  [default: depends on the number of documents]",
)
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
    """Draw a map of the documents and their topics.

    Nearby documents have similar meaning. Topics are clusters of the documents' vectors, named by
    their most distinctive words.
    """
    from rag.cli import output
    from rag.corpus_map import draw_map

    if page.suffix.lower() == ".png":
        raise ConfigError(
            "--output names the HTML page, such as map.html; the PNG is written next to it"
        )
    require_folder(page)
    picture = page.with_suffix(".png")
    with make_pipeline(pipeline, index, namespace) as opened:
        corpus_map = draw_map(opened.open(), to_html=page, to_png=picture, count=topics)
    uris = corpus_map.documents.uris
    if as_json:
        topic_rows = [
            {"terms": topic.terms, "documents": [uris[i] for i in topic.documents]}
            for topic in corpus_map.topics
        ]
        output.print_json({"topics": topic_rows, "html": str(page), "png": str(picture)})
        return
    for topic in corpus_map.topics:
        terminal.echo(f"{len(topic.documents):>6,}  {', '.join(topic.terms)}")
    terminal.echo(f"Written to {page} and {picture}")


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
    """List the documents most similar to URI.

    URI may be a path. Each document is listed with its best passage.
    """
    from rag.cli import output
    from rag.cli.arguments import as_uri, parse_where

    with make_pipeline(pipeline, index, namespace) as opened:
        hits = opened.more_like(as_uri(uri), k=k, where=parse_where(where))
    if as_json:
        output.print_json({"hits": [hit.model_dump(mode="json") for hit in hits]})
    else:
        output.print_hits(hits)


@click.command()
@click.option(
    "--shared",
    type=click.FloatRange(0.01, 1),
    default=0.8,
    show_default=True,
    help="Minimum share of the shorter document that the other one contains.",
)
@index_option
@namespace_option
@pipeline_option
@json_option
def duplicates(
    shared: float, index: Path | None, namespace: str, pipeline: str | None, as_json: bool
) -> None:
    """List pairs of documents that share most of their text."""
    from rag.cli import output
    from rag.corpus_analysis import find_duplicates

    with make_pipeline(pipeline, index, namespace) as opened:
        pairs = find_duplicates(opened.open(), shared=shared)
    if as_json:
        rows = [
            {"one": pair.first_uri, "other": pair.second_uri, "shared": pair.shared}
            for pair in pairs
        ]
        output.print_json({"pairs": rows})
        return
    for pair in pairs:
        first, second = output.format_source(pair.first_uri), output.format_source(pair.second_uri)
        terminal.echo(f"{pair.shared:>6.0%}  {first}  {second}")
    if not pairs:
        terminal.echo("No duplicates found.")


@click.command()
@click.option("-k", type=click.IntRange(1, 1000), default=10, show_default=True)
@index_option
@namespace_option
@pipeline_option
@json_option
def outliers(
    k: int, index: Path | None, namespace: str, pipeline: str | None, as_json: bool
) -> None:
    """List the documents least similar to all others.

    Documents are ranked by their mean cosine similarity to their five nearest neighbours.
    """
    from rag.cli import output
    from rag.corpus_analysis import find_outliers, load_document_vectors

    with make_pipeline(pipeline, index, namespace) as opened:
        ranking = find_outliers(load_document_vectors(opened.open()), count=k)
    if as_json:
        rows = [{"uri": uri, "nearness": nearness} for uri, nearness in ranking]
        output.print_json({"documents": rows})
        return
    for uri, nearness in ranking:
        terminal.echo(f"{nearness:>6.2f}  {output.format_source(uri)}")
