"""A third party's stores pass the contract suites, carry a pipeline, and are never replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rag import Pipeline, component, register
from rag.errors import ConfigError, IndexDamaged, UnknownComponent
from rag.stores import (
    DocumentStoreConfig,
    LexicalIndexConfig,
    StoreLocation,
    VectorStoreConfig,
)
from rag.testing import (
    DocumentStoreContract,
    IndexContract,
    LexicalIndexContract,
    VectorStoreContract,
)
from tests.testing.third_party_stores import (
    Journal,
    JournalStore,
    JsonPostings,
    NumpyFiles,
    NumpyFilesStore,
)

NAMES = "document_store: journal\nvector_store: numpy-files\nlexical_index: json-postings\n"


class TestJournal(DocumentStoreContract):
    def make_part(self) -> DocumentStoreConfig:
        return Journal()


class TestNumpyFiles(VectorStoreContract):
    def make_part(self) -> VectorStoreConfig:
        return NumpyFiles()


class TestJsonPostings(LexicalIndexContract):
    def make_part(self) -> LexicalIndexConfig:
        return JsonPostings()


@pytest.mark.slow
class TestIndexOnThirdPartyStores(IndexContract):
    def make_document_store(self) -> DocumentStoreConfig:
        return Journal()

    def make_vector_store(self) -> VectorStoreConfig:
        return NumpyFiles()

    def make_lexical_index(self) -> LexicalIndexConfig:
        return JsonPostings()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our stores are registered during the test."""
    monkeypatch.setattr(component, "_registered_classes", {})
    for cls in (Journal, NumpyFiles, JsonPostings):
        register(cls)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "kettle.txt").write_text("The kettle holds two litres of water.")
    (folder / "heron.txt").write_text("The heron fishes at the lake in the morning.")
    return folder


def make_pipeline(index: Path, **settings: Any) -> Pipeline:
    ours = {
        "document_store": Journal(),
        "vector_store": NumpyFiles(),
        "lexical_index": JsonPostings(),
    }
    return Pipeline(index=index, processes=0, **(ours | settings))


@pytest.fixture
def index(tmp_path: Path, sources: Path) -> Iterator[Path]:
    """An index in our three stores."""
    with make_pipeline(tmp_path / "index") as pipeline:
        assert pipeline.ingest(sources).added == 2
    yield tmp_path / "index"


def find_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def assert_answers(pipeline: Pipeline) -> None:
    answer = pipeline.ask("How many litres does the kettle hold?")
    assert answer.citations and all(citation.verified for citation in answer.citations)
    assert answer.citations[0].uri.endswith("kettle.txt")


def test_instances_carry_a_pipeline(index: Path) -> None:
    with make_pipeline(index) as pipeline:
        assert_answers(pipeline)
    names = find_files(index)
    assert {"documents.journal", "vectors-00000001.npz", "postings.json"} <= names
    assert not [name for name in names if "sqlite" in name or name.endswith(".db")]


def test_names_carry_a_pipeline(registered: None, index: Path) -> None:
    pipeline = Pipeline.from_yaml(NAMES + f"index: {index}\nprocesses: 0\n")
    with pipeline:
        assert (pipeline.document_store, pipeline.vector_store) == (Journal(), NumpyFiles())
        assert pipeline.lexical_index == JsonPostings()
        assert_answers(pipeline)
    assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline
    short = pipeline.to_yaml(defaults=False)
    assert "journal" in short and "numpy-files" in short and "json-postings" in short
    assert Pipeline.from_yaml(short).document_store == Journal()


@pytest.mark.parametrize("setting", ["document_store", "vector_store", "lexical_index"])
def test_unregistered_name_is_refused(setting: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownComponent, match="'their-store'") as caught:
        Pipeline.from_yaml(f"index: {tmp_path / 'index'}\n{setting}: their-store\n")
    assert setting in str(caught.value) and caught.value.component_name == "their-store"
    with pytest.raises(UnknownComponent, match="'their-store'"):
        Pipeline(index=tmp_path / "index", **{setting: "their-store"})
    with pytest.raises(UnknownComponent, match="'their-store'"):
        component.build(setting, "their-store")
    assert not (tmp_path / "index").exists()


class Broken(NumpyFiles):
    """A vector store that cannot be opened."""

    name: ClassVar[str] = "broken"

    def open(self, location: StoreLocation) -> NumpyFilesStore:
        raise IndexDamaged("the vectors of this test are lost")


def test_damaged_store_is_not_replaced(tmp_path: Path, sources: Path) -> None:
    with make_pipeline(tmp_path / "index", vector_store=Broken()) as pipeline:
        with pytest.raises(IndexDamaged, match="the vectors of this test are lost"):
            pipeline.ingest(sources)
    assert not [name for name in find_files(tmp_path) if "chroma" in name]
    assert not [path for path in tmp_path.rglob("*") if "chroma" in path.name]


class BrokenLater(NumpyFiles):
    """A vector store under the name of another, whose files cannot be read."""

    def open(self, location: StoreLocation) -> NumpyFilesStore:
        raise IndexDamaged("the vectors of this test are lost")


def test_store_damaged_later_is_not_replaced(index: Path, sources: Path) -> None:
    before = {path for path in index.rglob("*") if path.is_dir()}
    with make_pipeline(index, vector_store=BrokenLater()) as pipeline:
        (sources / "owl.txt").write_text("The owl hunts at night.")
        with pytest.raises(IndexDamaged, match="the vectors of this test are lost"):
            pipeline.ingest(sources)
    after = {path for path in index.rglob("*") if path.is_dir()}
    assert not [path for path in after - before if "chroma" in path.name]
    with make_pipeline(index) as pipeline:
        assert not pipeline.ingest(sources).failed
        assert_answers(pipeline)


def test_index_in_our_document_store_needs_it(index: Path, sources: Path) -> None:
    before = find_files(index)
    with pytest.raises(ConfigError) as caught, Pipeline(index=index) as pipeline:
        pipeline.search("kettle")
    assert "journal" in str(caught.value) and "sqlite" in str(caught.value)
    with pytest.raises(ConfigError, match="journal"), Pipeline(index=index) as pipeline:
        pipeline.ingest(sources)
    assert find_files(index) == before


def test_index_in_the_default_store_needs_it(tmp_path: Path, sources: Path) -> None:
    index = tmp_path / "index"
    with Pipeline(index=index, processes=0) as pipeline:
        pipeline.ingest(sources)
    before = find_files(index)
    with pytest.raises(ConfigError) as caught, make_pipeline(index) as pipeline:
        pipeline.search("kettle")
    assert "journal" in str(caught.value) and "sqlite" in str(caught.value)
    with pytest.raises(ConfigError, match="sqlite"), make_pipeline(index) as pipeline:
        pipeline.ingest(sources)
    assert find_files(index) - before <= {"lock"}


def test_vectors_cannot_outlive_documents(tmp_path: Path, sources: Path) -> None:
    yaml = (
        f"index: {tmp_path / 'index'}\nprocesses: 0\ndocument_store: memory\nvector_store: chroma\n"
    )
    with pytest.raises(ConfigError, match="memory"), Pipeline.from_yaml(yaml) as pipeline:
        pipeline.ingest(sources)
    assert not (tmp_path / "index").exists()


def test_torn_record_is_ignored(index: Path) -> None:
    path = index / "documents.journal"
    with path.open("ab") as file:
        file.write(path.read_bytes()[:40])
    with make_pipeline(index) as pipeline:
        assert_answers(pipeline)
        assert pipeline.ingest(index.parent / "sources").unchanged == 2
    assert len(Journal().open(StoreLocation(index, "")).documents()) == 2


def test_damaged_record_is_damage(index: Path) -> None:
    path = index / "documents.journal"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexDamaged, match="damaged at byte"):
        JournalStore(path, read_only=True)
