"""Source code: the text as written, with a mark for each function and class (tree-sitter)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from connectors.base import Parser
from connectors.parsers.embedded_data import log_embedded_data, remove_embedded_data
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.text import decode, extract_file_name, require_text
from rag.types import Document, Mark, to_well_formed

_MAX_CHARACTERS = 2_000_000  # no symbols are searched for in a longer file


class _Language(NamedTuple):
    name: str
    suffixes: tuple[str, ...]
    module: str = ""  # of the grammar; "" if symbols are not supported
    function: str = "language"


_LANGUAGES = (
    _Language("python", (".py", ".pyi"), "tree_sitter_python"),
    _Language("javascript", (".js", ".mjs", ".cjs", ".jsx"), "tree_sitter_javascript"),
    _Language(
        "typescript", (".ts", ".mts", ".cts"), "tree_sitter_typescript", "language_typescript"
    ),
    _Language("tsx", (".tsx",), "tree_sitter_typescript", "language_tsx"),
    _Language("java", (".java",), "tree_sitter_java"),
    _Language("c", (".c", ".h"), "tree_sitter_c"),
    _Language("cpp", (".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx"), "tree_sitter_cpp"),
    _Language("csharp", (".cs",), "tree_sitter_c_sharp"),
    _Language("go", (".go",), "tree_sitter_go"),
    _Language("rust", (".rs",), "tree_sitter_rust"),
    _Language("ruby", (".rb",), "tree_sitter_ruby"),
    _Language("php", (".php",), "tree_sitter_php", "language_php"),
    _Language("bash", (".sh", ".bash"), "tree_sitter_bash"),
    _Language("kotlin", (".kt", ".kts")),
    _Language("swift", (".swift",)),
    _Language("scala", (".scala",)),
    _Language("r", (".r",)),
    _Language("julia", (".jl",)),
    _Language("lua", (".lua",)),
    _Language("perl", (".pl", ".pm")),
    _Language("haskell", (".hs",)),
    _Language("sql", (".sql",)),
    _Language("css", (".css", ".scss", ".less")),
)
_BY_SUFFIX = {suffix: language for language in _LANGUAGES for suffix in language.suffixes}
_BY_NAME = {language.name: language for language in _LANGUAGES}

# Node types, in any of the grammars, that define something with a name.
_DEFINITIONS = frozenset(
    """
    function_definition class_definition function_declaration generator_function_declaration
    class_declaration abstract_class_declaration method_definition interface_declaration
    enum_declaration type_alias_declaration method_declaration constructor_declaration
    record_declaration struct_specifier class_specifier enum_specifier union_specifier
    namespace_definition struct_declaration namespace_declaration property_declaration
    delegate_declaration type_spec function_item struct_item enum_item trait_item impl_item
    mod_item macro_definition union_item method singleton_method class module trait_declaration
    internal_module annotation_type_declaration
    """.split()
)


def _is_installed() -> bool:
    return find_spec("tree_sitter") is not None


class CodeParser(Parser):
    """Source code with a mark and a heading for each function, class and similar definition.

    With ``symbols`` (default: whether the extra ``code`` is installed) definitions are marked.
    Without it, only the text and its language are kept.
    """

    name: ClassVar[str] = "code"
    revision: ClassVar[int] = 3
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        f"text/x-{language.name}": language.suffixes for language in _LANGUAGES
    }
    library: ClassVar[str] = "tree-sitter"
    keeps: ClassVar[str] = "the text as written, language, functions and classes as marks"
    drops: ClassVar[str] = "the data of data URIs"
    extra: ClassVar[str] = "code"
    packages: ClassVar[tuple[str, ...]] = ("tree_sitter",)

    symbols: bool = Field(default_factory=_is_installed)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        text, sizes = remove_embedded_data(decode(data), only_uris=True)
        require_text(text)
        log = OmissionLog()
        log_embedded_data(log, sizes)
        suffix = PurePosixPath(extract_file_name(uri)).suffix.lower()
        language = _BY_SUFFIX.get(suffix) or _BY_NAME.get((mime or "").removeprefix("text/x-"))
        return Document(
            uri=uri,
            text=text,
            title=extract_file_name(uri),
            mime=mime or (f"text/x-{language.name}" if language else "text/plain"),
            metadata={"code_language": language.name} if language else {},
            marks=tuple(_build_marks(text, language)) if language and self.symbols else (),
            coverage=log.count_unchanged(text),
        )


@lru_cache(maxsize=len(_LANGUAGES))
def _load_parser(language: _Language) -> Any:
    """Return the tree-sitter parser; None if it is not installed."""
    if not language.module:
        return None
    try:
        import tree_sitter

        grammar = getattr(import_module(language.module), language.function)()
        return tree_sitter.Parser(tree_sitter.Language(grammar))
    except ImportError:
        return None


def _build_marks(text: str, language: _Language) -> Iterator[Mark]:
    parser = _load_parser(language)
    if parser is None or len(text) > _MAX_CHARACTERS:
        return
    data = text.encode()
    tree = parser.parse(data)
    offsets = _CharacterOffsets(data, text.isascii())
    sections = list(_split_at_definitions(tree.root_node))
    for start_byte, end_byte, path in sections:
        start_offset, end_offset = (
            offsets.count_characters(start_byte),
            offsets.count_characters(end_byte),
        )
        if path and text[start_offset:end_offset].strip():
            names = tuple(to_well_formed(name) for name in path)
            yield Mark(start=start_offset, end=end_offset, kind="symbol", value=".".join(names))
            yield Mark(start=start_offset, end=end_offset, kind="heading", value=names)


class _CharacterOffsets:
    """Counts the characters before a byte of UTF-8; fast for increasing byte offsets."""

    def __init__(self, data: bytes, ascii_only: bool) -> None:
        self._data, self._same = data, ascii_only
        self._byte = self._character = 0

    def count_characters(self, byte: int) -> int:
        if self._same:
            return byte
        if byte < self._byte:
            self._byte = self._character = 0
        self._character += len(self._data[self._byte : byte].decode(errors="replace"))
        self._byte = byte
        return self._character


def _split_at_definitions(root: Any) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Yield byte ranges ``[start, end)`` and the names of the definitions that enclose them.

    A class is yielded in pieces: the text between its methods, and each method.
    """
    path: list[str] = []
    position = 0
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        node, is_finished = stack.pop()
        if is_finished:
            if node.end_byte > position:
                yield position, node.end_byte, tuple(path)
                position = node.end_byte
            path.pop()
            continue
        name = _read_name(node) if node.type in _DEFINITIONS else ""
        if name:
            start = _find_start(node)
            if start > position:
                yield position, start, tuple(path)
                position = start
            path.append(name)
            stack.append((node, True))
        stack += [(child, False) for child in reversed(node.named_children)]
    if root.end_byte > position:
        yield position, root.end_byte, tuple(path)


def _find_start(node: Any) -> int:
    """Return the start byte of a definition, with its decorators and the comment above it."""
    first_node = node
    if node.parent is not None and node.parent.type in ("decorated_definition", "export_statement"):
        first_node = node.parent
    previous = first_node.prev_named_sibling
    while (
        previous is not None
        and "comment" in previous.type
        and previous.end_point[0] + 1 >= first_node.start_point[0]
        and not _shares_its_line(previous)
    ):
        first_node, previous = previous, previous.prev_named_sibling
    return int(first_node.start_byte)


def _shares_its_line(comment: Any) -> bool:
    """Return whether the comment follows code on the same line, which it describes."""
    previous = comment.prev_sibling
    return previous is not None and previous.end_point[0] >= comment.start_point[0]


def _read_name(node: Any) -> str:
    name_node = node.child_by_field_name("type" if node.type == "impl_item" else "name")
    if name_node is None:  # C: the name is in the innermost declarator (pointers, arrays)
        name_node = node.child_by_field_name("declarator")
        while (
            name_node is not None
            and (inner := name_node.child_by_field_name("declarator")) is not None
        ):
            name_node = inner
    text = (
        name_node.text.decode(errors="replace") if name_node is not None and name_node.text else ""
    )
    return " ".join(text.split())[:100]
