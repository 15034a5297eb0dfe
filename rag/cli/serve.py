"""``rag serve``, ``rag mcp`` and ``rag keys``: the pipeline for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli.options import (
    index_option,
    index_path,
    json_option,
    make_pipeline,
    namespace_option,
    pipeline_option,
)
from rag.errors import ConfigError, MissingExtra


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=8000, show_default=True, help="Port."
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Requests a minute for each key, or address where there are no keys.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1_000),
    help="Requests worked on at once; others wait.  [default: 16 where a chat model is waited for, "
    "else one for each core]",
)
@click.option(
    "--max-upload-mb",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Megabytes of one upload.",
)
@click.option(
    "--cors-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Origin of a page that may ask from a browser. May be repeated.  [default: none]",
)
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address of a proxy whose X-Forwarded-For is believed. May be repeated.  [default: none]",
)
@index_option
@namespace_option
@pipeline_option
def serve(
    host: str,
    port: int,
    rate: float,
    concurrency: int | None,
    max_upload_mb: int,
    origins: tuple[str, ...],
    proxies: tuple[str, ...],
    index: Path | None,
    namespace: str,
    pipeline: str | None,
) -> None:
    """Serve a page to chat with, OpenAI's API, and routes of its own, until Ctrl-C or SIGTERM.

    Where the index has API keys (`rag keys add`), they are asked for, and each opens the namespace
    it was made for; without keys, only programs of this machine can be served.
    """
    from rag.serving import Options
    from rag.serving import serve as run

    options = Options(
        rate=rate,
        burst=max(10, round(rate / 6)),
        concurrency=concurrency,
        upload_bytes=max_upload_mb * 10**6,
        origins=origins,
    )

    def announce(address: str) -> None:
        click.echo(f"{address}/  (the page; /docs lists the API; Ctrl-C ends)", err=True)

    with make_pipeline(pipeline, index, namespace) as opened:
        if not opened.index.is_dir():
            click.echo(f"there is no index at {opened.index} yet: uploads will make it", err=True)
        run(
            opened,
            host=host,
            port=port,
            options=options,
            proxies=proxies,
            log_level="warning",
            announce=announce,
        )


@click.group(name="keys")
def keys_group() -> None:
    """Make, list and revoke the API keys of `rag serve`."""


@keys_group.command(name="add")
@click.argument("name")
@click.option("--namespace", default="", help="The only namespace that the key opens.")
@index_option
def keys_add(name: str, namespace: str, index: Path | None) -> None:
    """Make a key called NAME and print it, once: only its hash is kept."""
    from rag.index.paths import make_folder
    from rag.serving.keys import key_store

    path = index_path(index)
    make_folder(path)
    key = key_store(path).add(name, namespace)
    where = f"the namespace {namespace!r}" if namespace else "the index outside of all namespaces"
    click.echo(f"a key for {where}; it is shown this once:", err=True)
    click.echo(key)


@keys_group.command(name="list")
@index_option
@json_option
def keys_list(index: Path | None, as_json: bool) -> None:
    """List the keys: names, namespaces, and when they were made."""
    from rag.cli import output
    from rag.serving.keys import key_store

    found = key_store(index_path(index)).keys()
    if as_json:
        output.json_document({"keys": [key._asdict() for key in found]})
        return
    if not found:
        click.echo("there are no keys")
    for key in found:
        click.echo(f"{key.name}  {key.namespace or '(no namespace)'}  {key.created}")


@keys_group.command(name="revoke")
@click.argument("name")
@index_option
def keys_revoke(name: str, index: Path | None) -> None:
    """Revoke the key called NAME: it is refused from the next request on."""
    from rag.serving.keys import key_store

    if not key_store(index_path(index)).revoke(name):
        raise ConfigError(f"there is no key named {name!r} (`rag keys list`)")
    click.echo("revoked")


@click.command()
@click.option("--http", is_flag=True, help="Serve at http://HOST:PORT/mcp instead of stdio.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=8001, show_default=True, help="Port."
)
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder below which the ingest tool may read. May be repeated.  [default: no such tool]",
)
@index_option
@namespace_option
@pipeline_option
def mcp(
    http: bool,
    host: str,
    port: int,
    roots: tuple[Path, ...],
    index: Path | None,
    namespace: str,
    pipeline: str | None,
) -> None:
    """Serve search, ask, read_source and ingest to an editor or agent that speaks MCP.

    Over stdin and stdout, as clients start their servers themselves, or over HTTP.
    """
    try:
        from rag.serving.mcp import DocumentServer, run_http, run_stdio
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("rag", "connectors"):
            raise
        raise MissingExtra.of("mcp", "rag mcp") from None

    with make_pipeline(pipeline, index, namespace) as opened:
        server = DocumentServer(opened, roots=roots)
        if http:

            def announce(address: str) -> None:
                click.echo(f"{address}/mcp  (Ctrl-C ends)", err=True)

            run_http(server, host=host, port=port, announce=announce)
        else:
            run_stdio(server)
