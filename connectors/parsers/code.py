"""Source code: the text as written, a mark for every function and class (tree-sitter)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from connectors.base import Parser
from connectors.parsers.text import decode, name_of, require_text
from rag.types import Document, Mark, well_formed

_LARGEST = 2_000_000  # characters of a file whose symbols are looked for


class _Language(NamedTuple):
    name: str
    suffixes: tuple[str, ...]
    module: str = ""  # of its grammar; "" where symbols are not known
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

# Nodes of any of the grammars that define something with a name.
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


def _installed() -> bool:
    return find_spec("tree_sitter") is not None


class CodeParser(Parser):
    """Source code with a mark, and a heading, for each function, class and the like.

    That is done where ``symbols``; by default, where the extra ``code`` is installed. Without it
    the text and its language are kept all the same.
    """

    name: ClassVar[str] = "code"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        f"text/x-{language.name}": language.suffixes for language in _LANGUAGES
    }
    library: ClassVar[str] = "tree-sitter"
    keeps: ClassVar[str] = "the text as written, language, functions and classes as marks"
    drops: ClassVar[str] = "nothing"
    extra: ClassVar[str] = "code"
    packages: ClassVar[tuple[str, ...]] = ("tree_sitter",)

    symbols: bool = Field(default_factory=_installed)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        text = decode(data)
        require_text(text)
        suffix = PurePosixPath(name_of(uri)).suffix.lower()
        language = _BY_SUFFIX.get(suffix) or _BY_NAME.get((mime or "").removeprefix("text/x-"))
        return Document(
            uri=uri,
            text=text,
            title=name_of(uri),
            mime=mime or (f"text/x-{language.name}" if language else "text/plain"),
            metadata={"code_language": language.name} if language else {},
            marks=tuple(_marks(text, language)) if language and self.symbols else (),
        )


@lru_cache(maxsize=len(_LANGUAGES))
def _parser(language: _Language) -> Any:
    """Tree-sitter's parser; None where it is not installed."""
    if not language.module:
        return None
    try:
        import tree_sitter

        grammar = getattr(import_module(language.module), language.function)()
        return tree_sitter.Parser(tree_sitter.Language(grammar))
    except ImportError:
        return None


def _marks(text: str, language: _Language) -> Iterator[Mark]:
    parser = _parser(language)
    if parser is None or len(text) > _LARGEST:
        return
    data = text.encode()
    tree = parser.parse(data)
    offsets = _Offsets(data, text.isascii())
    stretches = list(_stretches(tree.root_node))
    for start, end, path in stretches:
        a, b = offsets.at(start), offsets.at(end)
        if path and text[a:b].strip():
            names = tuple(well_formed(name) for name in path)
            yield Mark(start=a, end=b, kind="symbol", value=".".join(names))
            yield Mark(start=a, end=b, kind="heading", value=names)


class _Offsets:
    """Characters before a byte of UTF-8, for bytes asked about in order."""

    def __init__(self, data: bytes, ascii_only: bool) -> None:
        self._data, self._same = data, ascii_only
        self._byte = self._character = 0

    def at(self, byte: int) -> int:
        if self._same:
            return byte
        if byte < self._byte:
            self._byte = self._character = 0
        self._character += len(self._data[self._byte : byte].decode(errors="replace"))
        self._byte = byte
        return self._character


def _stretches(root: Any) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Bytes ``[start, end)`` and the names around them: a class, then each of its methods."""
    path: list[str] = []
    at = 0
    ahead: list[tuple[Any, bool]] = [(root, False)]
    while ahead:
        node, is_left = ahead.pop()
        if is_left:
            if node.end_byte > at:
                yield at, node.end_byte, tuple(path)
                at = node.end_byte
            path.pop()
            continue
        name = _name(node) if node.type in _DEFINITIONS else ""
        if name:
            start = _start(node)
            if start > at:
                yield at, start, tuple(path)
                at = start
            path.append(name)
            ahead.append((node, True))
        ahead += [(child, False) for child in reversed(node.named_children)]
    if root.end_byte > at:
        yield at, root.end_byte, tuple(path)


def _start(node: Any) -> int:
    """Where a definition begins, its decorators and the comment right above it included."""
    first = node
    if node.parent is not None and node.parent.type in ("decorated_definition", "export_statement"):
        first = node.parent
    before = first.prev_named_sibling
    while (
        before is not None
        and "comment" in before.type
        and before.end_point[0] + 1 >= first.start_point[0]
        and not _shares_its_line(before)
    ):
        first, before = before, before.prev_named_sibling
    return int(first.start_byte)


def _shares_its_line(comment: Any) -> bool:
    """Whether it stands behind code, of which it says something."""
    before = comment.prev_sibling
    return before is not None and before.end_point[0] >= comment.start_point[0]


def _name(node: Any) -> str:
    found = node.child_by_field_name("type" if node.type == "impl_item" else "name")
    if found is None:  # C: the name is in the declarator, in pointers and arrays of it
        found = node.child_by_field_name("declarator")
        while found is not None and (inner := found.child_by_field_name("declarator")) is not None:
            found = inner
    text = found.text.decode(errors="replace") if found is not None and found.text else ""
    return " ".join(text.split())[:100]
