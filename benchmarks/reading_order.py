"""Reading order of PDFs whose text is known, compared with pypdf, pdfplumber and markitdown.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers.txt
    python -m benchmarks.reading_order .venv-peers/bin/python docs ../shared/data/files

Chromium prints every Markdown and HTML file of the folders as PDF, and every Markdown file also in
two and in three columns. The reference is the text as Chromium shows it
(``innerText``: tables row by row, columns one after another), so that no PDF library is its own
judge. The result is the share of the reference's words that a system has in the same order
(difflib's matching blocks), over all words of a layout. Scripts do not run, and nothing is loaded
from a network.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.parsing import citewell_text, peer, share

COLUMNS = (1, 2, 3)
STYLE = """\
<style>body {{ font: 10pt serif; }} pre {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
section {{ column-count: {columns}; column-gap: 2em; break-after: page; }}</style>"""
PAGE_WORDS = 250  # of a page with columns: Chromium loses text where columns go on on the next page
PEERS = {"pypdf": "pypdf", "pdfplumber": "pdfplumber", "markitdown": "markitdown"}
SUFFIXES = (".md", ".html", ".htm")
MIN_WORDS = 50  # smaller pages have no order to speak of
MAX_WORDS = 20_000  # difflib compares each word with each


def main(python: str, folders: Sequence[Path]) -> None:
    os.environ["SAMPLED"] = "1"  # for the peers: every page
    sources = [
        path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES
    ]
    print(
        f"{'columns':<9}{'files':>6}{'words':>9}", *(f"{name:>11}" for name in ["citewell", *PEERS])
    )
    with tempfile.TemporaryDirectory() as work:
        for columns in COLUMNS:
            chosen = [path for path in sources if columns == 1 or path.suffix == ".md"]
            printed = list(print_files(chosen, columns, Path(work)))
            references = [[text] for _, text in printed]
            paths = [path for path, _ in printed]
            shares = [share(references, [[citewell_text(path)] for path in paths])]
            for kind in PEERS.values():
                texts = peer(python, kind, paths)[1]
                shares.append(share(references, [[join_pages(text)] for text in texts]))
            word_count = sum(len(text.split()) for _, text in printed)
            print(f"{columns:<9}{len(paths):>6}{word_count:>9,}", *(f"{x:>11.4f}" for x in shares))


def join_pages(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "\n".join(text)


def print_files(sources: Sequence[Path], columns: int, work: Path) -> Iterator[tuple[Path, str]]:
    """Yield the path of each printed file with the text that it shows."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        style = STYLE.format(columns=columns)
        page = browser.new_page(java_script_enabled=False)
        page.route("**/*", lambda route: route.abort())
        for i, source in enumerate(sources):
            html = read_html(source)
            page.set_content(style + (html if columns == 1 else divide_into_pages(html)))
            page.emulate_media(media="print")
            text = page.inner_text("body")
            if MIN_WORDS <= len(text.split()) <= MAX_WORDS:
                target = work / f"{columns}-{i}.pdf"
                page.pdf(path=target, format="A4")
                yield target, text
        browser.close()


def divide_into_pages(html: str) -> str:
    """Return the elements of a page in sections that fit on a printed page each."""
    from lxml import html as parser

    body = parser.document_fromstring(html).find("body")
    pages: list[list[str]] = [[]]
    word_count = 0
    for element in body:
        count = len(str(element.text_content()).split()) if isinstance(element.tag, str) else 0
        if word_count and word_count + count > PAGE_WORDS:
            pages.append([])
            word_count = 0
        pages[-1].append(parser.tostring(element, encoding="unicode"))
        word_count += count
    return "".join(f"<section>{''.join(page)}</section>" for page in pages)


def read_html(path: Path) -> str:
    from connectors.parsers.text import decode

    text = decode(path.read_bytes())
    if path.suffix != ".md":
        return text
    from markdown_it import MarkdownIt

    return MarkdownIt().enable("table").render(text)


if __name__ == "__main__":
    main(sys.argv[1], [Path(name) for name in sys.argv[2:]])
