"""Files of JSON lines that are only ever added to, and that a lost power cord cannot spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def append(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add a line for each record, all at once; they are on disk when this returns."""
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in records]
    if lines:
        with path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))
            file.flush()
            os.fsync(file.fileno())


def records(path: Path, *, mend: bool = False) -> Iterator[dict[str, Any]]:
    """Objects of the whole lines; none where there is no file.

    The last line of a process that was killed may be torn: it is left out, and cut off with
    `mend`, which is for who writes next. What is no object is left out as well.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    whole = raw.rfind(b"\n") + 1
    if mend and whole < len(raw):
        with path.open("r+b") as file:
            file.truncate(whole)
    for line in raw[:whole].split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
