import os
from pathlib import Path

import pytest

from connectors import Files, Source, connect, path_of
from rag import Pipeline
from rag.errors import SourceNotFound, SourceUnreadable


def names(connector: Files) -> list[str]:
    return [source.uri.removeprefix(connector.scope + "/") for source in connector.sources()]


def find(connector: Files, name: str) -> Source:
    return next(s for s in connector.sources() if s.uri.endswith("/" + name))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.md", "a.txt", "sub/c.md", ".hidden", ".git/config", "node_modules/x.js"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "tree"


def test_lists_in_order_and_leaves_hidden_things_out(tree: Path) -> None:
    assert names(Files(path=tree)) == ["a.txt", "b.md", "sub/c.md"]
    assert ".hidden" in names(Files(path=tree, hidden=True))


def test_globs(tree: Path) -> None:
    assert names(Files(path=tree, include=("*.md",))) == ["b.md", "sub/c.md"]
    assert names(Files(path=tree, exclude=("sub/*",))) == ["a.txt", "b.md"]


def test_owns_what_it_would_list(tree: Path) -> None:
    connector = Files(path=tree, include=("*.md",))
    listed = {source.uri for source in connector.sources()}
    for path in tree.rglob("*"):
        if path.is_file():
            assert connector.owns(path.as_uri()) == (path.as_uri() in listed)
    assert connector.owns((tree / "gone.md").as_uri())
    assert not connector.owns((tree.parent / "gone.md").as_uri())
    assert not connector.owns((tree.parent / "tree2" / "gone.md").as_uri())


def test_a_single_file_owns_itself_only(tree: Path) -> None:
    connector = Files(path=tree / "b.md")
    assert [s.uri for s in connector.sources()] == [(tree / "b.md").as_uri()]
    assert connector.owns((tree / "b.md").as_uri())
    assert not connector.owns((tree / "b.md2").as_uri())


def test_version_changes_with_the_file(tree: Path) -> None:
    connector = Files(path=tree)
    before = find(connector, "a.txt")
    assert find(connector, "a.txt").version == before.version
    stat = (tree / "a.txt").stat()
    (tree / "a.txt").write_text("A.TXT")  # same length
    os.utime(tree / "a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same time
    assert find(connector, "a.txt").version != before.version


def test_links_out_of_the_folder_are_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tree / "out.txt").symlink_to(tmp_path / "secret.txt")
    (tree / "in.txt").symlink_to(tree / "a.txt")
    (tree / "dangling.txt").symlink_to(tree / "nowhere")
    (tree / "loop").symlink_to(tree)
    connector = Files(path=tree)
    assert find(connector, "in.txt").read() == b"a.txt"
    with pytest.raises(SourceUnreadable, match="out of the folder"):
        find(connector, "out.txt").read()
    with pytest.raises(SourceUnreadable, match="leads nowhere"):
        find(connector, "dangling.txt").read()
    assert not [name for name in names(connector) if name.startswith("loop")]


def test_a_large_file_fails_unread(tree: Path) -> None:
    with pytest.raises(SourceUnreadable, match="5 bytes, over the limit of 4"):
        find(Files(path=tree, max_bytes=4), "a.txt").read()


def test_a_file_that_vanishes_fails_with_a_reason(tree: Path) -> None:
    source = find(Files(path=tree), "a.txt")
    (tree / "a.txt").unlink()
    with pytest.raises(SourceUnreadable, match="cannot be read: No such file"):
        source.read()


def test_a_pipe_is_not_read(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(SourceUnreadable, match="not a regular file"):
        find(Files(path=tree), "pipe").read()


def test_names_that_are_not_utf8_have_a_uri_and_a_way_back(tree: Path) -> None:
    raw = os.fsencode(tree) + b"/caf\xe9 #1?.txt"
    with open(raw, "wb") as file:  # noqa: PTH123 (a path of bytes)
        file.write(b"x")
    (source,) = [s for s in Files(path=tree).sources() if "caf" in s.uri]
    source.uri.encode("ascii")
    assert os.fsencode(path_of(source.uri) or "") == raw
    assert Files(path=tree).owns(source.uri)


def test_ignore_files(tmp_path: Path) -> None:
    for name in (
        "a.md",
        "b.log",
        "build/c.md",
        "deep/d.log",
        "deep/e.log",
        "deep/build/f.md",
        "g/h.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".gitignore").write_text("*.log\n/build/\n# a comment\n[\n")
    (tmp_path / "deep" / ".ragignore").write_text("!e.log\n")
    (tmp_path / "g" / ".gitignore").write_bytes(b"\xff\n*\n")
    assert names(Files(path=tmp_path)) == ["a.md", "deep/e.log", "deep/build/f.md"]
    assert Files(path=tmp_path).count() == 3
    assert len(names(Files(path=tmp_path, ignore_files=()))) == 7
    assert names(Files(path=tmp_path / "build")) == ["c.md"]  # named itself


def test_what_becomes_ignored_leaves_the_index(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("One.")
    (docs / "b.txt").write_text("Two.")
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(docs).added == 2
        (docs / ".ragignore").write_text("b.txt\n")
        assert pipeline.ingest(docs).deleted == 1


def test_globs_that_a_person_types(tmp_path: Path) -> None:
    for name in ("a.md", "b.txt", "x/c.md", "x/y/d.md", "z[1].md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    def found(glob: str) -> list[str]:
        return names(Files.from_path(tmp_path / glob))

    assert found("*.md") == ["a.md", "z%5B1%5D.md"]
    assert found("**/*.md") == ["a.md", "z%5B1%5D.md", "x/c.md", "x/y/d.md"]
    assert found("x/*.md") == ["c.md"]
    assert found("*/y/*.md") == ["x/y/d.md"]
    assert Files.from_path(tmp_path / "z[1].md").path.name == "z[1].md"  # it is there
    with pytest.raises(SourceNotFound):
        Files.from_path(tmp_path / "nowhere" / "*.md")


def test_connect(tree: Path) -> None:
    assert connect(str(tree)) == connect(tree) == connect(tree.as_uri()) == Files(path=tree)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "no such file or folder"),
        ("gopher://bucket/x", "no connector reads gopher:// sources"),
        ("", "a source is empty"),
        (" ", "a source is empty"),
    ],
)
def test_connect_refuses(source: str, message: str) -> None:
    with pytest.raises(SourceNotFound, match=message):
        connect(source)
