"""Side files: ``report.pdf.meta.yaml`` has the title and the metadata of ``report.pdf``."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

from connectors.base import SideFile
from rag.errors import ParseError, SourceError
from rag.types import flatten_metadata

SUFFIX = ".meta.yaml"
MAX_SIDE_FILE_BYTES = 65_536
_MAX_DEPTH = 20
_MAX_FIELDS = 1_000


class SideFileNames(NamedTuple):
    """The side files among some file names."""

    by_document: dict[str, str]
    """The side file of each document that has one, by name."""
    without_document: list[str]
    """Side files whose document is missing."""

    def is_side_file(self, name: str) -> bool:
        """Whether `name` is a side file, so that it is no document itself."""
        return name in self.without_document or (
            name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in self.by_document
        )


def pair_side_files(names: Collection[str]) -> SideFileNames:
    """Find the side files among the names or paths of files.

    A YAML file such as ``chart.meta.yaml`` is a document of its own, unless there is a file
    ``chart``: the name of a side file has the suffix of its document.
    """
    by_document: dict[str, str] = {}
    without_document: list[str] = []
    for name in names:
        document = name.removesuffix(SUFFIX)
        if document == name or not posixpath.basename(document):
            continue
        if document in names:
            by_document[document] = name
        elif posixpath.splitext(posixpath.basename(document))[1]:
            without_document.append(name)
    return SideFileNames(by_document, without_document)


def make_missing_document_error(name: str) -> SourceError:
    """Return the error of a side file whose document is missing."""
    file_name = posixpath.basename(unquote(name))
    document = file_name.removesuffix(SUFFIX)
    return SourceError(
        f"the side file of {document}, which does not exist: delete or rename the side file"
    )


def read_side_file(read: Callable[[], bytes], name: str) -> SideFile:
    """Read a side file and parse it. The message of every error has the `name` of the file."""
    try:
        data = read()
    except SourceError as error:
        raise type(error)(f"the side file {name}: {error}") from None
    return parse_side_file(data, name)


def parse_side_file(data: bytes, name: str) -> SideFile:
    """Parse the bytes of a side file; values have the types of YAML 1.2. Raises `ParseError`."""
    import yaml

    from connectors.parsers.yaml_loader import make_yaml_loader

    if len(data) > MAX_SIDE_FILE_BYTES:
        raise ParseError(f"the side file {name} has more than {MAX_SIDE_FILE_BYTES:,} bytes")
    try:
        content = yaml.load(data.decode("utf-8-sig"), make_yaml_loader())
        _check_depth(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or error
        raise ParseError(
            f"the side file {name} is not valid YAML{line}: {' '.join(str(problem).split())[:200]}"
        ) from None
    except Exception as error:  # PyYAML raises many types
        raise ParseError(
            f"the side file {name} is not valid YAML: {type(error).__name__}"
        ) from None
    if content is None:
        return SideFile(None, {})
    if not isinstance(content, dict):
        raise ParseError(f"the side file {name} has no keys: write lines such as `title: A title`")
    title = content.pop("title", None)
    if isinstance(title, bool | dict | list):
        raise ParseError(f"the side file {name}: the title must be a text")
    metadata = flatten_metadata(content)
    if len(metadata) > _MAX_FIELDS:
        raise ParseError(f"the side file {name} has more than {_MAX_FIELDS:,} values")
    return SideFile(None if title is None else " ".join(str(title).split()), metadata)


def _check_depth(content: Any, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
    values: Iterable[Any] = ()
    if isinstance(content, dict):
        values = content.values()
    elif isinstance(content, list):
        values = content
    for value in values:
        _check_depth(value, depth + 1)
