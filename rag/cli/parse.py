"""``rag formats``, ``parse``, ``embedders`` and ``models``: supported inputs and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rag.cli import output, terminal
from rag.errors import SourceError, SourceSkipped
from rag.types import Coverage, Document, LocationIndex, format_location

if TYPE_CHECKING:
    from connectors.base import FailedPart
    from rag.pipeline import Pipeline

_MARGIN_CHARACTERS = 32
_MAX_MODELS_LISTED = 8  # of one component


def list_sources(*, as_json: bool) -> None:
    """List the connectors and file formats, with the extra that each requires."""
    sources, formats = describe_connectors(), describe_formats()
    if as_json:
        output.print_json({"sources": sources, "formats": formats})
        return
    terminal.secho("sources", bold=True)
    for source in sources:
        terminal.echo(f"  {source['name']:<10}{source['what']}{_format_extra(source)}")
        for example in source["examples"]:
            terminal.secho(f"            rag ingest {example}", dim=True)
    terminal.secho("\nformats", bold=True)
    width = max(len(file_format["name"]) for file_format in formats) + 2
    for file_format in formats:
        suffixes = output.shorten(" ".join(file_format["suffixes"]), 70)
        library = f"({file_format['library']})"
        terminal.echo(
            f"  {file_format['name']:<{width}}{suffixes}  {library}{_format_extra(file_format)}"
        )


def _format_extra(component: dict[str, Any]) -> str:
    extra = component["extra"]
    if not extra:
        return ""
    state = "installed" if component["installed"] else f"pip install 'citewell[{extra}]'"
    return f"  [extra {extra}: {state}]"


def describe_connectors() -> list[dict[str, Any]]:
    """Return the name, address schemes, examples and required extra of each connector."""
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


def describe_formats() -> list[dict[str, Any]]:
    """Return the name, suffixes, library, preserved content and required extra of each format."""
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


def print_parsed(
    parsed: Iterable[tuple[str, Document | SourceError]], *, check: bool, as_json: bool
) -> bool:
    """Print the parsed documents of a source; return whether all succeeded.

    With `check`, print what is left out of their texts instead of the texts.
    """
    documents: list[Document] = []
    failures: list[tuple[str, str]] = []
    skipped: list[tuple[str, str]] = []
    for uri, result in parsed:
        if isinstance(result, Document):
            documents.append(result)
            if not as_json:
                (_print_coverage if check else _print_document)(result)
            continue
        is_skipped = isinstance(result, SourceSkipped)
        (skipped if is_skipped else failures).append((uri, str(result)))
        if not as_json:
            outcome = "skipped" if is_skipped else "failed"
            terminal.echo(f"{outcome}: {output.format_source(uri)}: {result}", err=True)
    if as_json:
        excluded_fields = {"text", "marks"} if check else set()
        output.print_json(
            {
                "documents": [
                    document.model_dump(mode="json", exclude=excluded_fields)
                    for document in documents
                ],
                "failed": [{"uri": uri, "error": error} for uri, error in failures],
                "skipped": [{"uri": uri, "reason": reason} for uri, reason in skipped],
            }
        )
    return not failures


def parse_source(
    pipeline: Pipeline, source: str, *, allow_private: bool
) -> Iterator[tuple[str, Document | SourceError]]:
    """Yield the documents of a source, with titles, metadata and identity as in an index."""
    from connectors.base import apply_source_metadata
    from connectors.parser_pool import ParserPool
    from rag.ingestion.identity import add_identity

    parser_pool = ParserPool(pipeline.parser, pipeline.processes, pipeline.limits)
    connector = pipeline.connector(source, allow_private=allow_private)
    try:
        for item in connector.sources():
            try:
                described_item = item.apply_side_file()
                parts: list[Document | FailedPart]
                parts = parser_pool.parse(item.read(), uri=item.uri, mime=item.mime)
            except SourceError as error:
                yield item.uri, error
                continue
            for part in parts:
                if isinstance(part, Document):
                    document = apply_source_metadata(part, described_item)
                    yield part.uri, add_identity(document, connector.scope)
                else:
                    yield part.uri, part.error
    finally:
        parser_pool.close()


def _print_coverage(document: Document) -> None:
    """Print how many words of a file are not in the text, which, and what is left out and why."""
    terminal.secho(output.format_source(document.uri), bold=True)
    coverage = document.coverage
    if coverage is None:
        terminal.echo(f"  not measured for {document.mime}")
        return
    terminal.echo(
        f"  {coverage.words:,} words in the file; {coverage.missing:,} "
        f"({coverage.missing_share:.1%}) are missing from the text without a reason"
    )
    if coverage.missing_words:
        suffix = " ..." if coverage.missing > len(coverage.missing_words) else ""
        terminal.echo(f"  missing: {' '.join(coverage.missing_words)}{suffix}")
    for (reason, name), words in _sum_omissions(coverage).items():
        terminal.echo(f"  left out ({reason}): {name}, {words:,} words")


def _sum_omissions(coverage: Coverage) -> dict[tuple[str, str], int]:
    """Return the words of the omissions by reason and name."""
    words: dict[tuple[str, str], int] = {}
    for omission in coverage.omissions:
        key = (omission.reason, omission.name)
        words[key] = words.get(key, 0) + omission.words
    return words


def _print_document(document: Document) -> None:
    """Print a document with its locations in the margin and a line for each heading."""
    terminal.secho(output.format_source(document.uri), bold=True)
    properties = {"title": document.title, "type": document.mime, **document.metadata}
    for name, value in properties.items():
        terminal.secho(f"  {name}: {output.shorten(str(value), 200)}", dim=True)
    for origin, terms in document.identity.items():
        terminal.secho(f"  identity ({origin}): {output.shorten(' | '.join(terms), 400)}", dim=True)
    locations = LocationIndex(document.marks)
    headings = sorted(
        (mark.start, " > ".join(mark.value))
        for mark in document.marks
        if mark.kind == "heading" and isinstance(mark.value, tuple)
    )
    upcoming_headings = iter([*headings, (len(document.text) + 1, "")])
    heading_start, heading_path = next(upcoming_headings)
    offset, last_label = 0, ""
    for line in document.text.splitlines(keepends=True):
        while heading_start < offset + len(line):
            terminal.secho(f"{'':>{_MARGIN_CHARACTERS}} # {heading_path}", dim=True)
            heading_start, heading_path = next(upcoming_headings)
        label = format_location(locations.locate(offset, offset + len(line.rstrip())))
        margin = output.shorten(label if label != last_label else "", _MARGIN_CHARACTERS)
        margin = terminal.style(f"{margin:>{_MARGIN_CHARACTERS}} |", dim=True)
        terminal.echo(margin, f" {line.rstrip()}")
        offset, last_label = offset + len(line), label or last_label
    terminal.echo()


def list_embedders(*, as_json: bool) -> None:
    """List the embedders, the known models of each, and the presets."""
    from rag.embedding.presets import PRESETS

    presets = [{"name": name} | preset._asdict() for name, preset in PRESETS.items()]
    _list_models("embedder", "embedders", _format_embedder, as_json=as_json, presets=presets)
    if as_json:
        return
    terminal.secho("presets", bold=True, nl=False)
    terminal.echo("  a model with its prompts, by a short name")
    for preset in presets:
        length = f"{preset['dimension']:>6,} values{preset['max_tokens']:>9,} tokens"
        terminal.echo(f"  {preset['name']:<52}{length}   {preset['embedder']}")


def list_chat_models(*, as_json: bool, **other_lists: list[dict[str, Any]]) -> None:
    """List the chat model components and the known models of each.

    With `as_json`, `other_lists` are printed with them.
    """
    _list_models("chat_model", "models", _format_chat_model, as_json=as_json, **other_lists)


def _list_models(
    kind: str,
    key: str,
    format_model: Callable[[dict[str, Any]], str],
    *,
    as_json: bool,
    **other_lists: list[dict[str, Any]],
) -> None:
    from rag.component import component_class, registered_names

    components: list[dict[str, Any]] = []
    for name in registered_names(kind):
        component: Any = component_class(kind, name)
        models = [model._asdict() for model in component.known_models()]
        summary = " ".join((component.__doc__ or "").partition("\n\n")[0].split()).replace("`", "")
        components.append(
            {"name": name, "what": summary, "extra": component.extra, "models": models}
        )
    if as_json:
        output.print_json({key: components, **other_lists})
        return
    for component in components:
        extra = f"  [extra {component['extra']}]" if component["extra"] else ""
        terminal.secho(component["name"], bold=True, nl=False)
        terminal.echo(f"  {output.shorten(component['what'], 90)}{extra}")
        for model in component["models"][:_MAX_MODELS_LISTED]:
            terminal.echo(f"  {model['model']:<52}{format_model(model)}")
        if (unlisted_count := len(component["models"]) - _MAX_MODELS_LISTED) > 0:
            terminal.secho(f"  and {unlisted_count} more (--json lists all)", dim=True)


def _format_chat_model(model: dict[str, Any]) -> str:
    return (
        f"{model['context']:>9,} tokens   ${model['input_usd']} in, ${model['output_usd']} out / "
        "million tokens"
    )


def _format_embedder(model: dict[str, Any]) -> str:
    length = f"{model['dimension']:>6,}" if model["dimension"] else f"{'?':>6}"
    tokens = f"{model['max_tokens']:>9,} tokens" if model["max_tokens"] else " " * 16
    price = {None: "", 0.0: "local"}.get(model["usd"], f"${model['usd']} / million tokens")
    return f"{length} values{tokens}   {price}".rstrip()
