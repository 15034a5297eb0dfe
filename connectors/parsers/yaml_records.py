"""Lists of records in YAML files, and the comments around them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.parsers.record_lists import (
    RecordWriter,
    WrittenFloat,
    has_records,
    is_table_like,
    make_unique_mapping,
)
from connectors.parsers.yaml_loader import make_yaml_composer, read_yaml_integer
from rag.errors import ParseError
from rag.types import to_well_formed

MAX_YAML_VALUES = 2_000_000
"""Values of a file in which aliases are replaced by what they mean."""
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#[^\r\n]*", re.MULTILINE)


class PositionedMapping(dict[str, Any]):
    """A mapping of a YAML file, with the offset where it begins."""

    start: int = 0


def load_yaml_data(text: str) -> list[Any] | None:
    """Return the documents of a file that contains lists of records; None for another file.

    Also None for text that is no YAML, and if its aliases mean too many values.
    """
    import yaml

    try:
        nodes = list(yaml.compose_all(text, make_yaml_composer()))
        budget = iter(range(MAX_YAML_VALUES))
        documents = [_convert_node(node, budget) for node in nodes]
    except MemoryError:
        raise
    except Exception:  # PyYAML raises many types
        return None
    return documents if has_records(documents, is_table_like) else None


def _convert_node(node: Any, budget: Iterator[int]) -> Any:
    """Return the value of a node. Raises `ParseError` when the budget is used up."""
    if next(budget, None) is None:
        raise ParseError("too many values")
    if isinstance(node.value, str):
        return _convert_scalar(node.value, node.tag.rpartition(":")[2])
    if node.id == "sequence":
        return [_convert_node(item, budget) for item in node.value]
    pairs: list[tuple[str, Any]] = []
    for key, item in node.value:
        value = _convert_node(item, budget)
        if key.value == "<<" and isinstance(value, dict):
            own_names = {name.value for name, _ in node.value if isinstance(name.value, str)}
            pairs += [(name, merged) for name, merged in value.items() if name not in own_names]
        else:
            name = key.value if isinstance(key.value, str) else str(_convert_node(key, budget))
            pairs.append((name, value))
    mapping = PositionedMapping(make_unique_mapping(pairs))
    mapping.start = node.start_mark.index
    return mapping


def _convert_scalar(text: str, tag: str) -> Any:
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        number = read_yaml_integer(text)
        return number if str(number) == text else text
    if tag == "float":
        try:
            return WrittenFloat(text)
        except ValueError:  # .inf and .nan
            return text
    return None if tag == "null" else text


def find_comments(text: str) -> list[tuple[int, str]]:
    """Return offset and text of the comments of a YAML file."""
    import yaml

    spans: list[tuple[int, int]] = []
    for event in yaml.parse(text, make_yaml_composer()):
        start, end = event.start_mark, event.end_mark
        if isinstance(event, yaml.ScalarEvent) and start and end and end.index > start.index:
            spans.append((start.index, end.index))
    starts = [start for start, _ in spans]
    comments: list[tuple[int, str]] = []
    for match in _COMMENT.finditer(text):
        i = bisect_right(starts, match.start()) - 1
        if (i < 0 or match.start() >= spans[i][1]) and match.group().strip("# \t"):
            comments.append((match.start(), match.group()))
    return comments


class CommentedWriter:
    """Writes YAML with lists of records; comments are paragraphs before the record they precede."""

    def __init__(self, writer: RecordWriter, comments: Sequence[tuple[int, str]]) -> None:
        self._writer = writer
        self._writer.before_record = self._write_comments_before
        self._comments = list(reversed(comments))

    def write(self, documents: Sequence[Any]) -> None:
        """Write the documents of a file. Raises `RecursionError` for very deep data."""
        for document in documents:
            self._writer.write_data(document)
        self._write_comments(None)

    def _write_comments_before(self, record: Mapping[str, Any]) -> None:
        if isinstance(record, PositionedMapping):
            self._write_comments(record.start)

    def _write_comments(self, end: int | None) -> None:
        lines: list[str] = []
        while self._comments and (end is None or self._comments[-1][0] < end):
            lines.append(self._comments.pop()[1])
        self._writer.builder.write_paragraph(to_well_formed("\n".join(lines)))
