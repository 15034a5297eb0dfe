"""Side files (`name.ext.meta.yaml`) and metadata of an ingest: titles, metadata and precedence."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors import Files
from connectors.object_store import ObjectStore
from connectors.side_files import MAX_SIDE_FILE_BYTES, pair_side_files, parse_side_file
from connectors.with_metadata import WithMetadata
from rag import Document, F, IngestReport, Pipeline
from rag.errors import ConfigError, ParseError, SourceNotFound
from tests.connectors import file_fixtures
from tests.connectors.parsing import parse_parts

SIDE_FILE = (
    b"title: The lamp\nyear: 2024\nowner: {name: Ada, team: 7}\ndraft: no\nday: 2024-05-01\n"
)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "lamp.md").write_text("---\nyear: 1999\ncolour: red\n---\n# A lamp\n\nNine watts.\n")
    (docs / "fan.txt").write_text("The fan has five speeds.\n")
    return docs


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(index=tmp_path / "index", processes=0) as pipeline:
        yield pipeline


def read_document(pipeline: Pipeline, path: Path) -> Document:
    return pipeline.open().document_store.document(path.as_uri())


def count(report: IngestReport) -> tuple[int, int, int, int, int]:
    failed = len(report.failed)
    return (report.added, report.updated, report.unchanged, report.deleted, failed)


def test_names_of_side_files() -> None:
    names = ["a.pdf", "a.pdf.meta.yaml", "b.pdf.meta.yaml", "chart.meta.yaml", "meta.yaml"]
    side_files = pair_side_files([*names, "README", "README.meta.yaml", ".meta.yaml", "x/c.md"])
    assert side_files.by_document == {"a.pdf": "a.pdf.meta.yaml", "README": "README.meta.yaml"}
    assert side_files.without_document == ["b.pdf.meta.yaml"]
    assert side_files.is_side_file("a.pdf.meta.yaml")
    assert side_files.is_side_file("b.pdf.meta.yaml")
    for name in ("a.pdf", "chart.meta.yaml", "meta.yaml", ".meta.yaml"):
        assert not side_files.is_side_file(name)


def test_values_have_the_types_of_yaml_1_2() -> None:
    title, metadata = parse_side_file(SIDE_FILE, "lamp.md.meta.yaml")
    assert title == "The lamp"
    assert metadata == {
        "year": 2024,
        "owner.name": "Ada",
        "owner.team": 7,
        "draft": "no",
        "day": "2024-05-01",
    }
    assert parse_side_file(b"", "x") == (None, {})
    assert parse_side_file("\ufefftitle: 2024\n".encode(), "x") == ("2024", {})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"title: [unclosed", "not valid YAML, line 1"),
        (b"a: 1\nb: *c\n", "not valid YAML"),
        (b"- a\n- b\n", "has no keys"),
        (b"title: [a, b]\n", "the title must be a text"),
        (b"title: true\n", "the title must be a text"),
        (b"a: \xff\xfe\n", "not valid YAML"),
        (b"a: !!python/object:os.system x\n", "not valid YAML"),
        (b"a: " + b"[" * 40 + b"]" * 40, "levels deep"),
        (b"a: " + b"[" * 20_000, "not valid YAML"),
        (b"#" * (MAX_SIDE_FILE_BYTES + 1), "more than 65,536 bytes"),
        (b"".join(b"k%d: 1\n" % i for i in range(1_001)), "more than 1,000 values"),
    ],
)
def test_invalid_side_files_name_the_problem(data: bytes, problem: str) -> None:
    with pytest.raises(ParseError) as error:
        parse_side_file(data, "lamp.md.meta.yaml")
    assert "the side file lamp.md.meta.yaml" in str(error.value)
    assert problem in str(error.value)


def test_side_file_overrides_title_and_metadata(docs: Path, opened: Pipeline) -> None:
    (docs / "lamp.md.meta.yaml").write_bytes(SIDE_FILE)
    assert count(opened.ingest(docs)) == (2, 0, 0, 0, 0)
    document = read_document(opened, docs / "lamp.md")
    assert document.title == "The lamp"
    assert (document.metadata["year"], document.metadata["colour"]) == (2024, "red")
    assert document.metadata["owner.name"] == "Ada"
    assert document.identity["title"] == ("The lamp",)
    hits = opened.search("watts", where=F("owner.team") == 7)
    assert {hit.chunk.title for hit in hits} == {"The lamp"}


def test_changes_of_a_side_file_update_its_document(docs: Path, opened: Pipeline) -> None:
    side_file = docs / "lamp.md.meta.yaml"
    opened.ingest(docs)
    side_file.write_text("title: One\n")
    assert count(opened.ingest(docs)) == (0, 1, 1, 0, 0)
    assert count(opened.ingest(docs)) == (0, 0, 2, 0, 0)
    side_file.write_text("title: Two\nyear: 5\n")
    assert count(opened.ingest(docs)) == (0, 1, 1, 0, 0)
    assert read_document(opened, docs / "lamp.md").title == "Two"
    side_file.unlink()
    assert count(opened.ingest(docs)) == (0, 1, 1, 0, 0)
    document = read_document(opened, docs / "lamp.md")
    assert (document.title, document.metadata["year"]) == ("A lamp", 1999)


def test_invalid_side_file_fails_its_document_only(docs: Path, opened: Pipeline) -> None:
    opened.ingest(docs)
    (docs / "lamp.md.meta.yaml").write_text("title: [\n")
    for _ in range(2):
        report = opened.ingest(docs)
        assert count(report) == (0, 0, 1, 0, 1)
        (failure,) = report.failed
        assert failure.uri == (docs / "lamp.md").as_uri()
        assert "the side file lamp.md.meta.yaml is not valid YAML" in failure.error
    assert read_document(opened, docs / "lamp.md").title == "A lamp"
    (docs / "lamp.md.meta.yaml").write_text("title: Lamp\n")
    assert count(opened.ingest(docs)) == (0, 1, 1, 0, 0)


def test_side_file_without_its_document_is_reported_once(docs: Path, opened: Pipeline) -> None:
    (docs / "lamp.md.meta.yaml").write_bytes(SIDE_FILE)
    opened.ingest(docs)
    (docs / "lamp.md").unlink()
    report = opened.ingest(docs)
    assert count(report) == (0, 0, 1, 1, 1)
    assert "the side file of lamp.md, which does not exist" in report.failed[0].error
    assert report.failed[0].uri == (docs / "lamp.md.meta.yaml").as_uri()
    assert Files(path=docs).count() == 2


def test_selection_of_side_files(docs: Path, tmp_path: Path, opened: Pipeline) -> None:
    (docs / "lamp.md.meta.yaml").write_bytes(SIDE_FILE)
    (docs / "chart.meta.yaml").write_text("apples: 3\n")
    (docs / "old.pdf.meta.yaml").write_text("title: Old\n")
    (docs / ".ragignore").write_text("old.*\n")
    listed = [source.uri.rpartition("/")[2] for source in Files(path=docs).sources()]
    assert listed == ["chart.meta.yaml", "fan.txt", "lamp.md"]
    (source,) = Files(path=docs, include=("*.md",)).sources()
    assert source.apply_side_file().title == "The lamp"
    assert not list(Files(path=docs, include=("lamp.md.meta.yaml",)).sources())


def test_single_file_has_its_side_file(docs: Path, opened: Pipeline) -> None:
    (docs / "lamp.md.meta.yaml").write_bytes(SIDE_FILE)
    opened.ingest(docs / "lamp.md")
    assert read_document(opened, docs / "lamp.md").title == "The lamp"
    with pytest.raises(SourceNotFound, match=r"a side file: ingest lamp\.md"):
        opened.ingest(docs / "lamp.md.meta.yaml")


def test_side_file_that_leads_out_of_the_folder_is_refused(
    docs: Path, tmp_path: Path, opened: Pipeline
) -> None:
    (tmp_path / "secret.yaml").write_text("title: Secret\n")
    (docs / "lamp.md.meta.yaml").symlink_to(tmp_path / "secret.yaml")
    (docs / "fan.txt.meta.yaml").symlink_to(docs / "shared.yaml")
    (docs / "shared.yaml").write_text("title: Shared\n")
    report = opened.ingest(docs)
    assert ["outside of the folder" in failure.error for failure in report.failed] == [True]
    assert read_document(opened, docs / "fan.txt").title == "Shared"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_side_file_without_permission_fails_its_document(docs: Path, opened: Pipeline) -> None:
    (docs / "lamp.md.meta.yaml").write_bytes(SIDE_FILE)
    (docs / "lamp.md.meta.yaml").chmod(0)
    assert "lamp.md.meta.yaml: cannot be read" in opened.ingest(docs).failed[0].error


def test_side_files_in_a_zip() -> None:
    data = file_fixtures.make_zip(
        {
            "in/lamp.md": "# A lamp\n\nNine watts.\n",
            "in/lamp.md.meta.yaml": SIDE_FILE,
            "fan.txt": "Five speeds.",
            "fan.txt.meta.yaml": "title: [",
            "gone.pdf.meta.yaml": "title: Gone\n",
        }
    )
    parts = parse_parts(data, "a.zip")
    assert set(parts) == {"!/in/lamp.md", "!/fan.txt", "!/gone.pdf.meta.yaml"}
    lamp = parts["!/in/lamp.md"]
    assert isinstance(lamp, Document)
    assert (lamp.title, lamp.metadata["year"]) == ("The lamp", 2024)
    assert "fan.txt.meta.yaml is not valid YAML" in str(parts["!/fan.txt"].error)
    assert "gone.pdf, which does not exist" in str(parts["!/gone.pdf.meta.yaml"].error)


def test_side_files_in_an_object_store() -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    names = {"lamp.md": b"# A", "lamp.md.meta.yaml": SIDE_FILE, "x.md.meta.yaml": b"a: 1"}
    for name, data in names.items():
        store.pipe_file(f"/side-files/{name}", data)
    connector = ObjectStore(url="memory://side-files")
    lamp, gone = connector.sources()
    assert lamp.apply_side_file().metadata["year"] == 2024
    with pytest.raises(Exception, match="which does not exist"):
        gone.read()
    store.pipe_file("/side-files/lamp.md.meta.yaml", b"title: A longer title\n")
    assert next(connector.sources()).version != lamp.version


# -- metadata of an ingest -------------------------------------------------------------------------


def test_metadata_of_an_ingest(docs: Path, opened: Pipeline) -> None:
    assert count(opened.ingest(docs, metadata={"client": "Acme", "year": 7})) == (2, 0, 0, 0, 0)
    assert read_document(opened, docs / "fan.txt").metadata == {"client": "Acme", "year": 7}
    assert read_document(opened, docs / "lamp.md").metadata["year"] == 7
    assert count(opened.ingest(docs, metadata={"year": 7, "client": "Acme"})) == (0, 0, 2, 0, 0)
    assert count(opened.ingest(docs, metadata={"client": "Globex"})) == (0, 2, 0, 0, 0)
    assert read_document(opened, docs / "lamp.md").metadata["year"] == 1999
    assert count(opened.ingest(docs)) == (0, 2, 0, 0, 0)
    assert read_document(opened, docs / "fan.txt").metadata == {}


def test_side_file_beats_the_metadata_of_an_ingest(docs: Path, opened: Pipeline) -> None:
    (docs / "lamp.md.meta.yaml").write_text("year: 1\ntitle: Side\n")
    opened.ingest(docs / "lamp.md", metadata={"year": 2, "colour": "blue", "title": "Given"})
    document = read_document(opened, docs / "lamp.md")
    assert (document.title, document.metadata) == ("Side", {"year": 1, "colour": "blue"})


def test_title_is_for_a_single_file(docs: Path, opened: Pipeline) -> None:
    opened.ingest(docs / "fan.txt", metadata={"title": "The fan"})
    assert read_document(opened, docs / "fan.txt").title == "The fan"
    for sources in ((docs,), (docs / "fan.txt", docs / "lamp.md")):
        with pytest.raises(ConfigError, match="only a single file"):
            opened.ingest(*sources, metadata={"title": "x"})
    with pytest.raises(ConfigError, match="uri"):
        opened.ingest(docs, metadata={"uri": "x"})


def test_connector_with_metadata_is_like_its_connector(docs: Path) -> None:
    files = Files(path=docs)
    connector = WithMetadata(connector=files, metadata={"a": 1})
    assert connector.scope == files.scope and connector.count() == files.count() == 2
    assert connector.owns((docs / "new.md").as_uri()) and not connector.owns("a:b")
    assert [source.uri for source in connector.sources()] == [s.uri for s in files.sources()]
    assert connector == WithMetadata.from_config(connector.config())
