"""``rag sources`` and ``rag parse``: what can be read, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from rag.cli import output
from rag.errors import SourceError
from rag.types import Document, LocationIndex, format_location

if TYPE_CHECKING:
    from connectors.base import FailedPart
    from rag.pipeline import Pipeline

_MARGIN = 24  # characters


def list_known(*, as_json: bool) -> None:
    """List the connectors and the formats, and what each of them needs."""
    sources, formats = known_connectors(), known_formats()
    if as_json:
        output.json_document({"sources": sources, "formats": formats})
        return
    click.secho("sources", bold=True)
    for source in sources:
        click.echo(f"  {source['name']:<10}{source['what']}{_needs(source)}")
        for example in source["examples"]:
            click.secho(f"            rag ingest {example}", dim=True)
    click.secho("\nformats", bold=True)
    for found in formats:
        suffixes = output.shortened(" ".join(found["suffixes"]), 70)
        click.echo(f"  {found['name']:<10}{suffixes}  ({found['library']}){_needs(found)}")


def _needs(found: dict[str, Any]) -> str:
    if not found["extra"]:
        return ""
    state = "installed" if found["installed"] else f"pip install 'citewell[{found['extra']}]'"
    return f"  [extra {found['extra']}: {state}]"


def known_connectors() -> list[dict[str, Any]]:
    """Name, how its sources are written, and what it needs, of each connector."""
    from connectors import connectors

    return [
        {
            "name": kind.name,
            "what": (kind.__doc__ or "").partition("\n")[0].replace("`", ""),
            "schemes": list(kind.schemes),
            "examples": list(kind.examples),
            "extra": kind.extra,
            "installed": all(map(find_spec, kind.packages)),
        }
        for kind in connectors()
    ]


def known_formats() -> list[dict[str, Any]]:
    """Name, suffixes, library, what is kept and what it needs, of each format."""
    from connectors.parsers.auto import AutoParser

    return [
        {
            "name": parser.name,
            "suffixes": [suffix for suffixes in parser.formats.values() for suffix in suffixes],
            "library": parser.library,
            "keeps": parser.keeps,
            "drops": parser.drops,
            "extra": parser.extra,
            "installed": all(map(find_spec, parser.packages)),
        }
        for parser in AutoParser().all
    ]


def parse(pipeline: Pipeline, source: str, *, allow_private: bool, as_json: bool) -> bool:
    """Print what the pipeline's parser makes of a source; returns whether nothing failed."""
    documents: list[Document] = []
    failed: list[tuple[str, str]] = []
    for uri, found in _parsed(pipeline, source, allow_private):
        if isinstance(found, Document):
            documents.append(found)
            if not as_json:
                _print(found)
        else:
            failed.append((uri, str(found)))
            if not as_json:
                click.echo(f"failed: {output.where(uri)}: {found}", err=True)
    if as_json:
        output.json_document(
            {
                "documents": [document.model_dump(mode="json") for document in documents],
                "failed": [{"uri": uri, "error": error} for uri, error in failed],
            }
        )
    return not failed


def _parsed(
    pipeline: Pipeline, source: str, allow_private: bool
) -> Iterator[tuple[str, Document | SourceError]]:
    from connectors.parser_pool import ParserPool

    parsing = ParserPool(pipeline.parser, pipeline.processes, pipeline.limits)
    try:
        for found in pipeline.connector(source, allow_private=allow_private).sources():
            try:
                parts: list[Document | FailedPart]
                parts = parsing.parse(found.read(), uri=found.uri, mime=found.mime)
            except SourceError as error:
                yield found.uri, error
                continue
            for part in parts:
                yield part.uri, part if isinstance(part, Document) else part.error
    finally:
        parsing.close()


def _print(document: Document) -> None:
    """The text with its places in the margin, and headings where they begin."""
    click.secho(output.where(document.uri), bold=True)
    about = {"title": document.title, "type": document.mime, **document.metadata}
    for name, value in about.items():
        click.secho(f"  {name}: {output.shortened(str(value), 200)}", dim=True)
    places = LocationIndex(document.marks)
    headings = sorted(
        (mark.start, " > ".join(mark.value))
        for mark in document.marks
        if mark.kind == "heading" and isinstance(mark.value, tuple)
    )
    at, before, ahead = 0, "", iter([*headings, (len(document.text) + 1, "")])
    start, path = next(ahead)
    for line in document.text.splitlines(keepends=True):
        while start < at + len(line):
            click.secho(f"{'':>{_MARGIN}} # {path}", dim=True)
            start, path = next(ahead)
        place = format_location(places.locate(at, at + len(line.rstrip())))
        shown = place if place != before else ""
        label = click.style(f"{output.shortened(shown, _MARGIN):>{_MARGIN}} |", dim=True)
        click.echo(f"{label} {line.rstrip()}")
        at, before = at + len(line), place or before
    click.echo()


def list_embedders(*, as_json: bool) -> None:
    """List the embedders and the models that are known of each."""
    _list_models("embedder", "embedders", _facts, as_json=as_json)


def list_chat_models(*, as_json: bool) -> None:
    """List the parts that chat and the models that are known of each."""
    _list_models("chat_model", "models", _chat_facts, as_json=as_json)


def _list_models(
    kind: str, key: str, facts: Callable[[dict[str, Any]], str], *, as_json: bool
) -> None:
    from rag.component import component_class, registered_names

    found: list[dict[str, Any]] = []
    for name in registered_names(kind):
        part: Any = component_class(kind, name)
        models = [model._asdict() for model in part.known_models()]
        what = " ".join((part.__doc__ or "").partition("\n\n")[0].split()).replace("`", "")
        found.append({"name": name, "what": what, "extra": part.extra, "models": models})
    if as_json:
        output.json_document({key: found})
        return
    for each in found:
        needs = f"  [extra {each['extra']}]" if each["extra"] else ""
        click.secho(each["name"], bold=True, nl=False)
        click.echo(f"  {output.shortened(each['what'], 90)}{needs}")
        for model in each["models"][:_MOST_MODELS]:
            click.echo(f"  {model['model']:<52}{facts(model)}")
        if (more := len(each["models"]) - _MOST_MODELS) > 0:
            click.secho(f"  and {more} more (--json lists all)", dim=True)


_MOST_MODELS = 8


def _chat_facts(model: dict[str, Any]) -> str:
    return (
        f"{model['context']:>9,} tokens   ${model['input_usd']} in, ${model['output_usd']} out / "
        "million tokens"
    )


def _facts(model: dict[str, Any]) -> str:
    length = f"{model['dimension']:>6,}" if model["dimension"] else f"{'?':>6}"
    tokens = f"{model['max_tokens']:>9,} tokens" if model["max_tokens"] else " " * 16
    price = {None: "", 0.0: "runs here"}.get(model["usd"], f"${model['usd']} / million tokens")
    return f"{length} values{tokens}   {price}".rstrip()
