"""Estimated token counts, compared with OpenAI's vocabulary if it is on disk.

    pip install llama-index-core    # which ships the vocabulary
    python -m benchmarks.tokens ../shared/data

Prints the ratio of estimated to real tokens for each kind of text.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rag.text.tokens import estimate_tokens, load_vocabulary

EACH = 200


def main(data: Path) -> None:
    encoding = load_vocabulary()
    if encoding is None:
        raise SystemExit("the vocabulary is not here: pip install llama-index-core")
    for name, texts in kinds(data):
        real = sum(len(encoding.encode_ordinary(text)) for text in texts)
        started = time.perf_counter()
        estimated = sum(map(estimate_tokens, texts))
        seconds = time.perf_counter() - started
        print(f"{name:12}{estimated / real:6.2f}   {seconds / len(texts) * 1e6:6.0f} us a text")


def kinds(data: Path) -> Iterator[tuple[str, list[str]]]:
    folder = data / "retrieval"
    for name in ("squad2", "doc2dial", "cranfield"):
        yield name, texts_of(folder / name / "corpus.jsonl")
    for path in sorted((folder / "xquad").glob("corpus.*.jsonl")):
        yield path.suffixes[0].lstrip("."), texts_of(path)
    pages = (data / "qa" / "tatqa.jsonl").read_text(encoding="utf-8").splitlines()[:EACH]
    tables = [json.loads(page)["table"] for page in pages]
    yield "tables", ["\n".join(" | ".join(row) for row in table) for table in tables]
    code = sorted(Path("rag").glob("*/*.py"))[:EACH]
    yield "code", [path.read_text(encoding="utf-8") for path in code]


def texts_of(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()[:EACH]
    return [json.loads(line)["text"] for line in lines]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
