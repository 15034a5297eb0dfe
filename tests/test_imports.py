"""Imports: their cost, optional packages, public names, and the layers of the packages."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rag

ROOT = Path(rag.__file__).parent.parent
HEAVY = (
    "chromadb",
    "openai",
    "litellm",
    "torch",
    "langchain",
    "langchain_core",
    "llama_index",
    "tantivy",
)
HEAVY_NAMES = (
    *HEAVY, "numpy", "tokenizers", "trafilatura", "pypdfium2", "rich", "opentelemetry",
    "fastapi", "starlette", "uvicorn", "prometheus_client", "mcp", "textual",
)  # fmt: skip


def run(code: str, *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=cwd
    )


@pytest.mark.parametrize("code", ["import rag", "import rag.cli.main", "import rag.pipeline"])
def test_import_does_not_load_heavy_packages(code: str) -> None:
    process = run(f"import sys\n{code}\nprint([m for m in {HEAVY_NAMES!r} if m in sys.modules])")
    assert process.stdout.strip() == "[]", process.stdout + process.stderr


def test_help_does_not_load_heavy_packages() -> None:
    process = run(
        f"""
        import sys
        from rag.cli import main
        try:
            main(["--help"])
        except SystemExit as stop:
            assert stop.code == 0
        print("loaded:", [m for m in {HEAVY_NAMES!r} if m in sys.modules])
        """
    )
    assert process.stdout.strip().endswith("loaded: []"), process.stdout + process.stderr


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("fastapi", ["serve"], "serve"),
        ("uvicorn", ["serve"], "serve"),
        ("mcp", ["mcp"], "mcp"),
        ("textual", ["inspect"], "inspect"),
    ],
)
def test_command_without_its_extra_names_the_extra(
    missing: str, command: list[str], extra: str, tmp_path: Path
) -> None:
    process = run(
        f"""
        import sys
        from rag import Pipeline
        with Pipeline(index=".rag") as pipeline:
            pipeline.open(create=True)
        sys.modules[{missing!r}] = None
        from rag.cli import main
        main({command!r})
        """,
        cwd=tmp_path,
    )
    assert process.returncode == 2 and f"citewell[{extra}]" in process.stderr, process.stderr


def test_rag_keys_works_without_the_serve_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['fastapi'] = None; from rag.cli import main; main(['keys', 'add', 'a'])"
    process = run(code, cwd=tmp_path)
    assert process.returncode == 0 and process.stdout.startswith("cw-"), process.stderr


@pytest.mark.parametrize(
    "missing",
    [
        "openai",
        "cohere",
        "litellm",
        "sentence_transformers",
        "xllamacpp",
        "langchain_core",
        "llama_index",
        "fastapi",
    ],
)
def test_core_works_without_extras(missing: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The bridge is 40 metres long.")
    process = run(
        f"""
        import sys
        sys.modules[{missing!r}] = None
        from rag import Pipeline
        with Pipeline(index="index") as pipeline:
            pipeline.ingest("a.txt")
            print(pipeline.ask("How long is the bridge?").text)
        """,
        cwd=tmp_path,
    )
    assert process.stdout.startswith("The bridge is 40 metres long."), process.stderr


def test_missing_extra_error_names_the_extra(tmp_path: Path) -> None:
    process = run(
        """
        import sys
        sys.modules["openai"] = None
        from rag import Message, OpenAIChat
        OpenAIChat(model="m", base_url="http://127.0.0.1:9").complete(
            [Message(role="user", content="x")])
        """
    )
    assert "MissingExtra" in process.stderr
    assert "pip install 'citewell[openai]'" in process.stderr


def test_every_public_name_can_be_imported() -> None:
    assert sorted(rag.__all__) == rag.__all__
    for name in rag.__all__:
        assert getattr(rag, name).__name__ == name
    assert set(rag.__all__) <= set(dir(rag))


@pytest.mark.parametrize("package", ["prompts", "connectors"])
def test_shadowed_package_raises_an_error(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    process = run("from rag import Pipeline", cwd=tmp_path)
    last = process.stderr.strip().splitlines()[-1]
    assert "ShadowedPackage" in last
    assert f"hides citewell's own package '{package}'" in last


def test_imports_follow_the_layers() -> None:
    process = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout


def test_no_two_modules_import_each_other() -> None:
    """Neither when they are imported, nor inside functions, over any number of modules."""
    graph = {name: list_imports(path) - {name} for name, path in MODULES.items()}
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(f"an import circle: {' -> '.join(error.args[1])}")


MODULES = {
    ".".join(
        part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"
    ): path
    for package in ("rag", "connectors", "prompts", "evals", "pipelines")
    for path in (ROOT / package).rglob("*.py")
}


def list_imports(path: Path) -> set[str]:
    """Return our modules that a file imports, except for type checkers only."""

    def iterate_names(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                for alias in child.names:
                    submodule = f"{child.module}.{alias.name}"
                    yield submodule if submodule in MODULES else child.module
            yield from iterate_names(child)

    return set(iterate_names(ast.parse(path.read_text(encoding="utf-8")))) & MODULES.keys()
