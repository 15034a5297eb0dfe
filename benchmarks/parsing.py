"""Speed and completeness of parsing, compared with pypdf and markitdown.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers.txt
    python -m benchmarks.parsing ../shared/data/pdf .venv-peers/bin/python ../shared/data/files

For PDF, every side reads whole files one after another, each side in a process of its own: pypdf
extracts the text of every page, citewell also finds page marks, outline and reading order and
cleans the text. The result is pages per second, over every third file (``EVERY=1``: all files), for
markitdown over the first three of these. ``found`` is the share of the words of a page, as
pdfminer.six reads it, that a system has in the same order (difflib's matching blocks), over every
10th page; for pdfplumber and markitdown each of these pages is read as a file of its own. Repeated
lines that citewell drops count as found there; ``found, cleaned`` counts them as lost. For the
other formats, the files of the last folder are parsed: files per second, and how many gave text.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

EVERY = int(os.environ.get("EVERY", "3"))  # use every n-th file: pypdf takes minutes for all
SAMPLED = int(os.environ.get("SAMPLED", "10"))  # compare every n-th page with pdfminer's text
SUFFIXES = (".docx", ".pptx", ".xlsx", ".epub", ".html", ".csv", ".ipynb", ".eml", ".rtf", ".odt")


def main(folder: Path, python: str, files: Path | None) -> None:
    paths = sorted(folder.glob("*.pdf"))[::EVERY]
    sides = {
        "citewell": time_reads(lambda path: citewell_pages(path, clean=True), paths),
        "pypdf": peer(python, "pypdf", paths),
        "markitdown": peer(python, "markitdown", paths[:3]),
    }
    pages = {path.name: len(found) for path, found in zip(paths, sides["citewell"][1], strict=True)}
    reference = peer(python, "pdfminer", paths)[1]
    raw = time_reads(lambda path: citewell_pages(path, clean=False), paths)[1]
    found = {
        "citewell": share(reference, insert_repeated(sides["citewell"][1], raw)),
        "pypdf": share(reference, sides["pypdf"][1]),
        "pdfplumber": share(reference, peer(python, "pdfplumber", paths)[1]),
        "markitdown": share(reference, peer(python, "markitdown pages", paths)[1]),
    }
    cleaned = share(reference, sides["citewell"][1])
    floor = sum(pages.values()) / sides["pypdf"][0]
    print(f"\n{len(paths)} PDFs, {sum(pages.values()):,} pages")
    print(f"{'':<12}{'pages/s':>9}{'times pypdf':>13}{'found':>8}")
    for name, (seconds, texts) in sides.items():
        count = sum(pages[path.name] for path in paths[: len(texts)])
        quality = f"{found[name]:.4f}"
        print(f"{name:<12}{count / seconds:>9.1f}{count / seconds / floor:>13.1f}{quality:>8}")
    print(f"{'pdfplumber':<12}{'-':>9}{'-':>13}{found['pdfplumber']:>8.4f}")
    print(f"found, cleaned: citewell {cleaned:.4f}")
    if files is not None:
        others(files, python)


def citewell_pages(path: Path, *, clean: bool) -> list[str]:
    from connectors.parsers.pdf import PdfParser

    document = PdfParser(clean=clean, ocr=False).parse(
        path.read_bytes(), uri=path.absolute().as_uri()
    )
    marks = [mark for mark in document.marks if mark.kind == "page"]
    return [document.text[mark.start : mark.end] for mark in marks]


def insert_repeated(clean: list[list[str]], raw: list[list[str]]) -> list[list[str]]:
    """Return the pages with the repeated lines at their top and bottom restored."""
    restored = []
    for clean_pages, raw_pages in zip(clean, raw, strict=True):
        pages = []
        for page, before in zip(clean_pages, raw_pages, strict=True):
            lines, there = before.split("\n"), set(page.split("\n"))
            top = [line for line in lines[:2] if " ".join(line.split()) not in there]
            bottom = [line for line in lines[-2:] if " ".join(line.split()) not in there]
            pages.append("\n".join([*top, page, *bottom]))
        restored.append(pages)
    return restored


def time_reads(read: Callable[[Path], Any], paths: Sequence[Path]) -> tuple[float, list[Any]]:
    """Return the seconds and the results; the smallest file is read first, as a warm-up."""
    read(min(paths, key=lambda path: path.stat().st_size))
    started = time.perf_counter()
    results = [read(path) for path in paths]
    return time.perf_counter() - started, results


def peer(python: str, kind: str, paths: Sequence[Path]) -> tuple[float, list[Any]]:
    done = subprocess.run(
        [python, __file__, "--peer", kind, *map(str, paths)], stdout=subprocess.PIPE, check=True
    )
    seconds, texts = json.loads(done.stdout)
    return float(seconds), texts


def as_peer(kind: str, paths: Sequence[Path]) -> None:
    """Read the files with a peer, in the peers' environment, and print the result as JSON."""
    read: dict[str, Callable[[Path], Any]] = {
        "pypdf": pypdf_pages,
        "pdfminer": pdfminer_pages,
        "markitdown": markitdown_text,
        "pdfplumber": pdfplumber_pages,
        "markitdown pages": markitdown_pages,
    }
    print(json.dumps(time_reads(read[kind], paths)))


def pypdf_pages(path: Path) -> list[str]:
    from pypdf import PdfReader

    return [page.extract_text() for page in PdfReader(path).pages]


def pdfminer_pages(path: Path) -> list[str]:
    from pdfminer.high_level import extract_text
    from pdfminer.pdfpage import PDFPage

    with path.open("rb") as file:
        count = sum(1 for _ in PDFPage.get_pages(file))
    return [extract_text(path, page_numbers=[i]) if i % SAMPLED == 0 else "" for i in range(count)]


def markitdown_text(path: Path) -> str:
    from markitdown import MarkItDown

    return str(MarkItDown().convert(path).text_content)


def pdfplumber_pages(path: Path) -> list[str]:
    import pdfplumber

    with pdfplumber.open(path) as pdf:
        return [page.extract_text() if i % SAMPLED == 0 else "" for i, page in enumerate(pdf.pages)]


def markitdown_pages(path: Path) -> list[str]:
    from markitdown import MarkItDown
    from pypdf import PdfReader, PdfWriter

    converter = MarkItDown()
    texts = []
    for i, page in enumerate(PdfReader(path).pages):
        if i % SAMPLED:
            texts.append("")
            continue
        writer, out = PdfWriter(), io.BytesIO()
        writer.add_page(page)
        writer.write(out)
        out.seek(0)
        texts.append(converter.convert_stream(out, file_extension=".pdf").text_content)
    return texts


def share(reference: list[list[str]], found: list[list[str]]) -> float:
    """Return the share of the reference's words, page by page, that are found in the same order."""
    total = same = 0
    for pages, others in zip(reference, found, strict=True):
        for page_text, text in zip(pages, others, strict=False):
            a, b = words(page_text), words(text)
            if a:
                blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
                total, same = total + len(a), same + sum(block.size for block in blocks)
    return same / total


def words(text: str) -> list[str]:
    return text.replace("\xa0", " ").replace("\xad", "").split()


def others(folder: Path, python: str) -> None:
    """Compare citewell and markitdown on the formats other than PDF."""
    by_suffix: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES:
            by_suffix[path.suffix].append(path)
    print(f"\n{'':<8}{'files':>6}   {'files/s':>8} {'text':>5}   {'files/s':>8} {'text':>5}")
    print(f"{'':<14}   {'citewell':^14}   {'markitdown':^14}")
    for suffix, paths in by_suffix.items():
        ours = count_words(citewell_text, paths)
        done = subprocess.run(
            [python, __file__, "--others", *map(str, paths)], stdout=subprocess.PIPE, check=True
        )
        theirs = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{suffix:<8}{len(paths):>6}   {len(paths) / ours[0]:>8.1f} {ours[1]:>5}"
            f"   {len(paths) / theirs[0]:>8.1f} {theirs[1]:>5}"
        )


def count_words(read: Callable[[Path], str], paths: Sequence[Path]) -> tuple[float, int]:
    """Return the seconds, and how many files gave text; the first is read twice, as a warm-up."""
    good = 0
    started = 0.0
    for i, path in enumerate([paths[0], *paths]):
        if i == 1:
            started, good = time.perf_counter(), 0
        try:
            good += bool(read(path).strip())
        except Exception:
            continue
    return time.perf_counter() - started, good


def citewell_text(path: Path) -> str:
    documents: Iterator[Any] = _parser().documents(path.read_bytes(), uri=path.absolute().as_uri())
    return "".join(getattr(part, "text", "") for part in documents)


def _parser() -> Any:
    from connectors.parsers.auto import AutoParser
    from connectors.parsers.picture import PictureParser

    return AutoParser(picture=PictureParser(recognise=False))


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        as_peer(sys.argv[2], [Path(name) for name in sys.argv[3:]])
    elif sys.argv[1] == "--others":
        print(json.dumps(count_words(markitdown_text, [Path(name) for name in sys.argv[2:]])))
    else:
        main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]) if len(sys.argv) > 3 else None)
