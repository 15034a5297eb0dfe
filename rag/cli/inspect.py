"""``rag inspect``: the content of an index and the stages of a search, in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli.options import (
    index_option,
    make_pipeline,
    namespace_option,
    parts_options,
    pipeline_option,
)
from rag.errors import MissingExtra


@click.command(name="inspect")
@index_option
@namespace_option
@pipeline_option
@parts_options
def inspect_command(index: Path | None, namespace: str, pipeline: str | None) -> None:
    """Browse the index: documents, chunks, failures, and the stages of a question.

    A question shows the rankings of all stages side by side, the answer, and the exact messages
    that the chat model received.
    """
    try:
        from rag.cli.inspect_app import InspectApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise MissingExtra.of("inspect", "rag inspect") from None

    with make_pipeline(pipeline, index, namespace) as opened:
        opened.open()
        InspectApp(opened).run()
