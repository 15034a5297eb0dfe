"""A bot over a wiki: it reads messages, and replies with links to the pages that it quotes.

    python -m pipelines.gallery.wiki_bot https://wiki.example.org/ < messages.txt

`reply` is what a bot of Slack, Matrix or Teams would call for each message.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from connectors.web import Web
from rag import Pipeline


def reply(pipeline: Pipeline, message: str) -> str:
    """Return the reply to a message in Markdown, with a link for each citation."""
    answer = pipeline.ask(message)
    if answer.status == "abstained":
        return "The wiki does not say. Please ask in #help."
    links = {
        citation.marker: f"[{citation.marker}] [{citation.title or citation.uri}]({citation.uri})"
        for citation in answer.citations
        if citation.verified
    }
    return "\n".join([answer.text, "", *(links[marker] for marker in sorted(links))])


def main(wiki: str, messages: Iterable[str], index: Path, *, allow_private: bool = False) -> None:
    """Read the pages of the wiki that have changed, and reply to each message."""
    pages = Web(crawl=wiki, max_pages=500, allow_private=allow_private)
    with Pipeline(index=index) as pipeline:
        report = pipeline.ingest(pages)
        print(f"{report.added} new pages, {report.updated} changed", file=sys.stderr)
        for message in messages:
            if message.strip():
                print(reply(pipeline, message.strip()), end="\n\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin, Path(".rag-wiki"))
