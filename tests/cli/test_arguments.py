"""Pipelines and filters that are given on the command line."""

from pathlib import Path

import pytest

from rag.cli.arguments import parse_where
from rag.errors import QueryError
from tests.cli.conftest import Rag, error_line


def test_pipeline_is_loaded_from_yaml(ingested_rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "lexical.yaml").write_text("retriever: {type: lexical}\nk: 1\n")
    (hit,) = ingested_rag("search", "battery", "-p", "lexical.yaml", "--json").json["hits"]
    assert hit["stage_scores"].keys() == {"lexical"}


def test_pipeline_is_loaded_from_a_file_or_module(ingested_rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rag import LexicalRetriever, Pipeline\n"
        "pipeline = Pipeline(retriever=LexicalRetriever(), k=1)\n"
        "def make():\n    return pipeline\n"
    )
    for target in ("mine.py:pipeline", "mine.py:make", "mine:pipeline"):
        (hit,) = ingested_rag("search", "battery", "-p", target, "--json").json["hits"]
        assert hit["stage_scores"].keys() == {"lexical"}


def test_index_option_overrides_an_open_pipeline(ingested_rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rag import Pipeline\npipeline = Pipeline(index='own')\npipeline.ingest('docs')\n"
    )
    result = ingested_rag("ingest", "docs/notes.txt", "-p", "mine.py:pipeline", "--index", "other")
    assert result.code == 0
    assert ingested_rag("stats", "--index", "other", "--json").json["documents"] == 1
    assert ingested_rag("stats", "--index", "own", "--json").json["documents"] == 2


def test_working_directory_does_not_shadow_packages(ingested_rag: Rag, tmp_path: Path) -> None:
    for package in ("prompts", "connectors", "evals"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "mine.py").write_text("from rag import Pipeline\npipeline = Pipeline()\n")
    assert ingested_rag("ask", "How long does charging take?").code == 0
    assert ingested_rag("search", "battery", "-p", "mine:pipeline").code == 0


@pytest.mark.parametrize(
    ("target", "files", "message"),
    [
        ("nothing.yaml", {}, "cannot be read"),
        ("bad.yaml", {"bad.yaml": "k: [1"}, "not YAML"),
        (
            "bad.yaml",
            {"bad.yaml": 'k: 1\napi_key: "sk-SECRET\nx: 1'},
            "not YAML: found unexpected end of stream, line 3",
        ),
        ("bad.yaml", {"bad.yaml": "- 1"}, "a pipeline must be a mapping"),
        ("bad.yaml", {"bad.yaml": "retreiver: hybrid"}, "retreiver: no such setting"),
        (
            "bad.yaml",
            {"bad.yaml": "retriever: {type: hybird}"},
            "no retriever is registered as 'hybird'",
        ),
        (
            "bad.yaml",
            {"bad.yaml": "retriever: {type: hybrid, weight: 2}"},
            "weight: input should be less",
        ),
        (
            "bad.yaml",
            {"bad.yaml": "k: !!python/object/apply:os.system ['touch pwned']"},
            "not YAML",
        ),
        ("nothing.py:x", {}, "no such file"),
        ("mine.py:x", {"mine.py": "y = 1"}, "has no attribute 'x'"),
        ("mine.py:y", {"mine.py": "y = 1"}, "has type int, not rag.Pipeline"),
        ("mine.py:y", {"mine.py": "1/0"}, "ZeroDivisionError"),
        ("mine.py:y", {"mine.py": "def y(): 1/0"}, "ZeroDivisionError"),
        ("mine.py:y", {"mine.py": "def y(needed): pass"}, "TypeError"),
        ("no.such.module:x", {}, "ModuleNotFoundError"),
        ("nonsense", {}, "give module:attribute"),
    ],
)
def test_invalid_pipelines_are_one_error_line(
    rag: Rag, tmp_path: Path, target: str, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    result = rag("search", "x", "-p", target)
    assert result.code == 2
    assert message in error_line(result)
    assert not (tmp_path / "pwned").exists()


def test_parse_where_converts_values() -> None:
    where = parse_where(["a=b", "n=3", "t!=true", "e=x=y", "y >= 2020", "d<2024-05", "{}"])
    assert where is not None
    assert where.to_json() == {
        "and": [
            {"field": "a", "op": "==", "value": "b"},
            {"field": "n", "op": "in", "value": ["3", 3]},
            {"not": {"field": "t", "op": "in", "value": ["true", True]}},
            {"field": "e", "op": "==", "value": "x=y"},
            {"field": "y", "op": ">=", "value": 2020},
            {"field": "d", "op": "<", "value": "2024-05"},
            {"and": []},
        ]
    }
    assert parse_where([]) is None
    with pytest.raises(QueryError):
        parse_where(["=x"])


def test_renamed_settings_are_one_warning_line_each(ingested_rag: Rag, tmp_path: Path) -> None:
    (tmp_path / "renamed.yaml").write_text("refiners: [{type: edges-first}]\n")
    result = ingested_rag("search", "battery", "-p", "renamed.yaml", "--json")
    assert result.code == 0 and result.json["hits"]
    lines = result.err.splitlines()
    assert len(lines) == 2 and all(line.startswith("warning: ") for line in lines)
    assert any("'refiners'" in line and "'postprocessors'" in line for line in lines)
    assert any("'edges-first'" in line and "'lost-in-the-middle'" in line for line in lines)


@pytest.mark.parametrize(
    "condition", ["year>>2020", "year=>2020", "a===b", "a!=!b", "a< <b", "y>=<1"]
)
def test_two_comparisons_are_none(condition: str) -> None:
    with pytest.raises(QueryError, match="is no comparison"):
        parse_where([condition])
