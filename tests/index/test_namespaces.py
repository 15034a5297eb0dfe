"""Namespaces: isolation, names and deletion."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import Pipeline
from rag.errors import ConfigError, IndexNotFound
from rag.index import maintenance
from rag.index.paths import escape_name, list_namespaces


def test_filters_cannot_reach_other_namespaces(tmp_path: Path, folder: Path) -> None:
    (folder / "secret.md").write_text("---\nnamespace: alice\ngroup: a\n---\nThe kite is secret.\n")
    with Pipeline(index=tmp_path / "i") as root:
        root.ingest(folder / "handbook.md")
        alice, bob = root.with_namespace("alice"), root.with_namespace("bob")
        alice.ingest(folder / "secret.md")
        bob.ingest(folder / "notes.txt")
        for where in (
            None,
            {"namespace": "alice"},
            {"namespace": ["alice", "bob", ""]},
            {"uri": (folder / "secret.md").as_uri()},
            {"group": "a"},
            {"mime": "text/markdown"},
            {"'; DROP TABLE documents; --": "x' OR 1=1"},
        ):
            for pipeline, own_file in ((bob, "notes.txt"), (root, "handbook.md")):
                hits = pipeline.search("the kite is secret", where=where)
                assert {hit.chunk.uri.rpartition("/")[2] for hit in hits} <= {own_file}
        assert bob.delete((folder / "secret.md").as_uri()) == 0
        assert alice.stats().documents == 1
        assert list_namespaces(tmp_path / "i") == ["alice", "bob"]
        with pytest.raises(IndexNotFound, match="no namespace 'carol'"):
            root.with_namespace("carol").search("kite")
        for pipeline in (alice, bob):
            pipeline.close()
        maintenance.drop(tmp_path / "i", "alice")
        assert list_namespaces(tmp_path / "i") == ["bob"]
        assert bob.search("kite")
        assert root.search("kite")
        bob.close()


@pytest.mark.parametrize("name", ["", "..", "../bob", "a/b", "a\0b", "/etc", "x" * 65, "\ud800"])
def test_hostile_names_stay_inside_the_index(tmp_path: Path, folder: Path, name: str) -> None:
    pipeline = Pipeline(index=tmp_path / "deep" / "i")
    try:
        hostile = pipeline.with_namespace(name)
    except ConfigError:
        return
    hostile.ingest(folder)
    assert [path.parent.parent for path in tmp_path.rglob("library.sqlite")] == [
        tmp_path / "deep" / "i" / "namespaces"
    ]
    assert list_namespaces(tmp_path / "deep" / "i") == [name]
    hostile.close()


@given(st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=2, unique=True))
@settings(max_examples=300)
def test_escaped_names_differ_on_every_file_system(names: list[str]) -> None:
    try:
        first, second = (escape_name(name) for name in names)
    except UnicodeEncodeError:
        return
    assert first != second
    assert first.lower() == first and second.lower() == second
    assert not set(first) & set("/\\.:*? ")
