"""``rag serve``, ``rag mcp`` and ``rag keys``: servers for other programs."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from rag.cli import terminal
from rag.cli.options import (
    index_option,
    json_option,
    make_pipeline,
    namespace_option,
    parts_options,
    pipeline_option,
    resolve_index,
)
from rag.component import build
from rag.errors import ConfigError, MissingExtra

_END_SECONDS = 2.0  # after the server has ended


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
    help="Requests per minute for each key, or for each address if there are no keys.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1_000),
    help="Requests processed at the same time; others wait.  [default: 16 with a chat "
    "model, else one per core]",
)
@click.option(
    "--max-upload-mb",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Maximum size of an upload in megabytes.",
)
@click.option(
    "--allow-model",
    "models",
    multiple=True,
    metavar="NAME:MODEL",
    help="Chat model that a question may ask for; 'none' quotes the sources. Repeatable.",
)
@click.option(
    "--cors-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Origin of a web page that may send requests. Repeatable.  [default: none]",
)
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address of a proxy whose X-Forwarded-For header is trusted. Repeatable.  [default: none]",
)
@index_option
@namespace_option
@pipeline_option
@parts_options
def serve(
    host: str,
    port: int,
    rate: float,
    concurrency: int | None,
    max_upload_mb: int,
    models: tuple[str, ...],
    origins: tuple[str, ...],
    proxies: tuple[str, ...],
    index: Path | None,
    namespace: str,
    pipeline: str | None,
) -> None:
    """Serve a chat page and an HTTP API.

    The API has OpenAI-compatible and native routes. Ctrl-C or SIGTERM stops the server.

    If the index has API keys (`rag keys add`), every request needs one, and the key selects the
    namespace. Without keys, only programs on this machine can connect.
    """
    from rag.serving import Options
    from rag.serving import serve as run
    from rag.serving.app import end_process_unless

    options = Options(
        rate=rate,
        burst=max(10, round(rate / 6)),
        concurrency=concurrency,
        upload_bytes=max_upload_mb * 10**6,
        models=models,
        origins=origins,
    )

    for model in models:
        if model != "none":
            build("chat_model", model)  # a wrong name is an error now, not at the first question

    def announce(address: str) -> None:
        terminal.echo(f"{address}/  (chat page; API reference at /docs; Ctrl-C stops)", err=True)

    with make_pipeline(pipeline, index, namespace) as opened:
        if not opened.index.is_dir():
            terminal.echo(f"No index at {opened.index} yet; the first upload creates it.", err=True)
        run(
            opened,
            host=host,
            port=port,
            options=options,
            proxies=proxies,
            log_level="warning",
            announce=announce,
        )
    end_process_unless(threading.Event(), _END_SECONDS, code=0)  # threads may wait for a model


@click.group(name="keys")
def keys_group() -> None:
    """Create, list and revoke the API keys of `rag serve`."""


@keys_group.command(name="add")
@click.argument("name")
@click.option("--namespace", default="", help="Namespace that the key gives access to.")
@index_option
def keys_add(name: str, namespace: str, index: Path | None) -> None:
    """Create the key NAME and print it. Only its hash is stored: it is not shown again."""
    from rag.index.paths import make_folder
    from rag.serving.keys import open_key_store

    path = resolve_index(index)
    make_folder(path)
    key = open_key_store(path).add(name, namespace)
    scope = f"the namespace {namespace!r}" if namespace else "the default namespace"
    terminal.echo(f"Key for {scope}. Copy it now: it is not shown again.", err=True)
    terminal.echo(key)


@keys_group.command(name="list")
@index_option
@json_option
def keys_list(index: Path | None, as_json: bool) -> None:
    """List the keys with their namespaces and creation dates."""
    from rag.cli import output
    from rag.serving.keys import open_key_store

    keys = open_key_store(resolve_index(index)).keys()
    if as_json:
        output.print_json({"keys": [key._asdict() for key in keys]})
        return
    if not keys:
        terminal.echo("No keys.")
    for key in keys:
        terminal.echo(f"{key.name}  {key.namespace or '(default namespace)'}  {key.created}")


@keys_group.command(name="revoke")
@click.argument("name")
@index_option
def keys_revoke(name: str, index: Path | None) -> None:
    """Revoke the key NAME, starting with the next request."""
    from rag.serving.keys import open_key_store

    if not open_key_store(resolve_index(index)).revoke(name):
        raise ConfigError(f"there is no key named {name!r}; list them with: rag keys list")
    terminal.echo(f"revoked {name}")


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
    help="Folder that the ingest tool may read. Repeatable.  [default: no ingest tool]",
)
@index_option
@namespace_option
@pipeline_option
@parts_options
def mcp(
    http: bool,
    host: str,
    port: int,
    roots: tuple[Path, ...],
    index: Path | None,
    namespace: str,
    pipeline: str | None,
) -> None:
    """Serve the index to an MCP client, such as an editor or agent.

    The tools are search, ask, read_source and ingest. The default transport is stdin and stdout,
    which MCP clients use to start servers; --http serves HTTP instead.
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
                terminal.echo(f"{address}/mcp  (Ctrl-C stops)", err=True)

            run_http(server, host=host, port=port, announce=announce)
        else:
            run_stdio(server)
