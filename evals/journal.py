"""Append-only files of JSON lines that survive a killed process or a power failure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def append_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append one line per record in a single write; the lines are on disk on return."""
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in records]
    if lines:
        with path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))
            file.flush()
            os.fsync(file.fileno())


def read_records(path: Path, *, repair: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of the complete lines; yield nothing if the file does not exist.

    A killed process can leave an incomplete last line. That line is skipped; with `repair` it is
    also removed from the file, which a writer must do before it appends. Lines that are not JSON
    objects are skipped.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    complete_length = content.rfind(b"\n") + 1
    if repair and complete_length < len(content):
        with path.open("r+b") as file:
            file.truncate(complete_length)
    for line in content[:complete_length].split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
