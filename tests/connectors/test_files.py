import os
from pathlib import Path

import pytest

from connectors import Files, Source, connect, path_of
from rag import Pipeline
from rag.errors import SourceNotFound, SourceUnreadable


def list_names(connector: Files) -> list[str]:
    return [source.uri.removeprefix(connector.scope + "/") for source in connector.sources()]


def find_source(connector: Files, name: str) -> Source:
    return next(source for source in connector.sources() if source.uri.endswith("/" + name))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.md", "a.txt", "sub/c.md", ".hidden", ".git/config", "node_modules/x.js"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "tree"


def test_files_are_listed_in_order_without_hidden_ones(tree: Path) -> None:
    assert list_names(Files(path=tree)) == ["a.txt", "b.md", "sub/c.md"]
    assert ".hidden" in list_names(Files(path=tree, hidden=True))


def test_include_and_exclude_globs(tree: Path) -> None:
    assert list_names(Files(path=tree, include=("*.md",))) == ["b.md", "sub/c.md"]
    assert list_names(Files(path=tree, exclude=("sub/*",))) == ["a.txt", "b.md"]


def test_owns_exactly_the_files_it_would_list(tree: Path) -> None:
    connector = Files(path=tree, include=("*.md",))
    listed_uris = {source.uri for source in connector.sources()}
    for path in tree.rglob("*"):
        if path.is_file():
            assert connector.owns(path.as_uri()) == (path.as_uri() in listed_uris)
    assert connector.owns((tree / "absent.md").as_uri())
    assert not connector.owns((tree.parent / "absent.md").as_uri())
    assert not connector.owns((tree.parent / "tree2" / "absent.md").as_uri())


def test_a_single_file_owns_itself_only(tree: Path) -> None:
    connector = Files(path=tree / "b.md")
    assert [source.uri for source in connector.sources()] == [(tree / "b.md").as_uri()]
    assert connector.owns((tree / "b.md").as_uri())
    assert not connector.owns((tree / "b.md2").as_uri())


def test_version_changes_with_the_file(tree: Path) -> None:
    connector = Files(path=tree)
    source = find_source(connector, "a.txt")
    assert find_source(connector, "a.txt").version == source.version
    stat = (tree / "a.txt").stat()
    (tree / "a.txt").write_text("A.TXT")  # same length
    os.utime(tree / "a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same time
    assert find_source(connector, "a.txt").version != source.version


def test_links_out_of_the_folder_are_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tree / "out.txt").symlink_to(tmp_path / "secret.txt")
    (tree / "in.txt").symlink_to(tree / "a.txt")
    (tree / "dangling.txt").symlink_to(tree / "nowhere")
    (tree / "loop").symlink_to(tree)
    connector = Files(path=tree)
    assert find_source(connector, "in.txt").read() == b"a.txt"
    with pytest.raises(SourceUnreadable, match="outside of the folder"):
        find_source(connector, "out.txt").read()
    with pytest.raises(SourceUnreadable, match="does not exist"):
        find_source(connector, "dangling.txt").read()
    assert not [name for name in list_names(connector) if name.startswith("loop")]


def test_a_large_file_fails_unread(tree: Path) -> None:
    with pytest.raises(SourceUnreadable, match="5 bytes, over the limit of 4"):
        find_source(Files(path=tree, max_bytes=4), "a.txt").read()


def test_a_file_deleted_after_listing_fails_with_a_reason(tree: Path) -> None:
    source = find_source(Files(path=tree), "a.txt")
    (tree / "a.txt").unlink()
    with pytest.raises(SourceUnreadable, match="cannot be read: No such file"):
        source.read()


def test_a_pipe_is_not_read(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(SourceUnreadable, match="not a regular file"):
        find_source(Files(path=tree), "pipe").read()


def test_non_utf8_file_names_round_trip_through_the_uri(tree: Path) -> None:
    raw = os.fsencode(tree) + b"/caf\xe9 #1?.txt"
    with open(raw, "wb") as file:  # noqa: PTH123 (a path of bytes)
        file.write(b"x")
    (source,) = [source for source in Files(path=tree).sources() if "caf" in source.uri]
    source.uri.encode("ascii")
    assert os.fsencode(path_of(source.uri) or "") == raw
    assert Files(path=tree).owns(source.uri)


def test_ignore_files_exclude_files(tmp_path: Path) -> None:
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
    assert list_names(Files(path=tmp_path)) == ["a.md", "deep/e.log", "deep/build/f.md"]
    assert Files(path=tmp_path).count() == 3
    assert len(list_names(Files(path=tmp_path, ignore_files=()))) == 7
    assert list_names(Files(path=tmp_path / "build")) == ["c.md"]  # given as the path


def test_a_file_that_becomes_ignored_is_deleted_from_the_index(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("One.")
    (docs / "b.txt").write_text("Two.")
    with Pipeline(index=tmp_path / "i", processes=0) as pipeline:
        assert pipeline.ingest(docs).added == 2
        (docs / ".ragignore").write_text("b.txt\n")
        assert pipeline.ingest(docs).deleted == 1


def test_globs_in_the_path(tmp_path: Path) -> None:
    for name in ("a.md", "b.txt", "x/c.md", "x/y/d.md", "z[1].md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    def list_matches(glob: str) -> list[str]:
        return list_names(Files.from_path(tmp_path / glob))

    assert list_matches("*.md") == ["a.md", "z%5B1%5D.md"]
    assert list_matches("**/*.md") == ["a.md", "z%5B1%5D.md", "x/c.md", "x/y/d.md"]
    assert list_matches("x/*.md") == ["c.md"]
    assert list_matches("*/y/*.md") == ["x/y/d.md"]
    assert (
        Files.from_path(tmp_path / "z[1].md").path.name == "z[1].md"
    )  # a file with this exact name exists
    with pytest.raises(SourceNotFound):
        Files.from_path(tmp_path / "nowhere" / "*.md")


def test_connect_accepts_paths_and_uris(tree: Path) -> None:
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
def test_connect_refuses_unknown_sources(source: str, message: str) -> None:
    with pytest.raises(SourceNotFound, match=message):
        connect(source)
