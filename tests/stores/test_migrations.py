"""An index of version 0.1 opens: its format is converted, and only new texts are embedded.

The fixture ``index-0.1.tar.xz`` was made by version 0.1 from the texts below. The document about
the radio was deleted, and the process killed before its chunks were removed from the stores.
"""

import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import pytest

from connectors import Connector, Source
from rag import Pipeline
from rag.errors import RagIndexError
from rag.index import maintenance, open_document_store
from rag.stores import SqliteDocumentStore
from rag.stores.sqlite import SCHEMA_VERSION

FIXTURE = Path(__file__).parent.parent / "fixtures" / "index-0.1.tar.xz"
TEXTS = {
    "kettle": "# Kettle\n\n## Size\n\nThe kettle holds two litres.\n\n## Use\n\nFill it with cold "
    "water. It boils in four minutes.\n",
    "lamp": "# Lamp\n\nThe lamp has a bulb of nine watts. Its cable is 1.8 metres long.\n",
    "fan": "# Fan\n\nThe fan has five speeds. It weighs 2.4 kg.\n",
}
RADIO = "# Radio\n\nThe radio receives FM and DAB. It was sold until 2019.\n"


class Notes(Connector):
    name: ClassVar[str] = "notes"

    texts: dict[str, str]

    @property
    def scope(self) -> str:
        return "notes:"

    def sources(self) -> Iterator[Source]:
        for key, text in self.texts.items():
            version = sha256(text.encode()).hexdigest()
            yield Source(
                uri=f"notes:{key}", version=version, read=text.encode, mime="text/markdown"
            )


@pytest.fixture
def old_index(tmp_path: Path) -> Path:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "index"


def read_schema(path: Path) -> tuple[str, set[str]]:
    with closing(sqlite3.connect(path)) as connection:
        ((version,),) = connection.execute("SELECT value FROM meta WHERE key = 'schema'")
        states = {state for (state,) in connection.execute("SELECT state FROM documents")}
    return version, states


def test_an_old_index_answers_and_is_brought_up_to_date(old_index: Path) -> None:
    with Pipeline(index=old_index, processes=0) as pipeline:
        answer = pipeline.ask("How many litres does the kettle hold?")
        assert "two litres" in answer.text
        assert all(citation.verified for citation in answer.citations) and answer.citations
        assert not {hit.chunk.uri for hit in pipeline.search("radio FM")} & {"notes:radio"}
        assert pipeline.open().lexical.is_outdated  # it has no field for other spellings
        report = pipeline.ingest(Notes(texts=TEXTS))
        # Only the kettle has sections, which are chunks of their own now.
        assert (report.updated, report.embedded, report.chunks) == (3, 2, 4)
        report = pipeline.ingest(Notes(texts=TEXTS))
        assert (report.unchanged, report.embedded, report.chunks) == (3, 0, 0)
        assert not pipeline.open().lexical.is_outdated
        assert pipeline.search("1,8 m", k=1)[0].chunk.uri == "notes:lamp"
        assert maintenance.verify(pipeline.open()).problems == []
        assert pipeline.stats().unfinished == 0
    assert read_schema(old_index / "library.sqlite") == (SCHEMA_VERSION, {"live"})


def test_documents_of_an_old_index_get_identity_terms(old_index: Path) -> None:
    with Pipeline(index=old_index, processes=0) as pipeline:
        document_store = pipeline.open().document_store
        assert document_store.identities() == {f"notes:{key}": {} for key in sorted(TEXTS)}
        pipeline.ingest(Notes(texts=TEXTS))
        assert document_store.identities()["notes:fan"]["title"] == ("Fan",)
        assert document_store.document("notes:lamp").identity["file"] == ("lamp",)


def test_a_snapshot_of_an_old_index_is_listed_and_restored(old_index: Path) -> None:
    (snapshot,) = maintenance.snapshots(old_index)
    assert (snapshot.name, snapshot.documents, snapshot.damaged) == ("with-radio", 4, False)
    with Pipeline(index=old_index, processes=0) as pipeline:
        maintenance.restore(pipeline.open(), "with-radio")
        assert pipeline.search("radio FM")[0].chunk.uri == "notes:radio"
        texts = {**TEXTS, "fan": TEXTS["fan"].replace("five", "three"), "radio": RADIO}
        report = pipeline.ingest(Notes(texts=texts))
        assert (report.updated, report.embedded) == (4, 2)
        assert pipeline.stats().cached_embeddings == 7  # the sections of the kettle are new
        assert maintenance.verify(pipeline.open()).problems == []
    assert read_schema(old_index / "snapshots" / "with-radio.sqlite")[0] == "4"  # not touched


def test_an_old_document_store_is_converted_for_a_reader(old_index: Path) -> None:
    with closing(open_document_store(old_index)) as document_store:
        assert document_store.uris() == ["notes:fan", "notes:kettle", "notes:lamp"]
        assert "five speeds" in document_store.document("notes:fan").text


def test_numbers_are_not_used_again_after_a_migration(old_index: Path) -> None:
    file = old_index / "library.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = 500 WHERE name = 'documents'")
        connection.commit()
    with Pipeline(index=old_index, processes=0) as pipeline:
        pipeline.ingest(Notes(texts={**TEXTS, "new": "# New\n\nA new note.\n"}))
        numbers = {i.uri: i.number for i in pipeline.open().document_store.documents()}
    assert sorted(numbers.values()) == [501, 502, 503, 504]


def test_an_interrupted_migration_changes_nothing(old_index: Path) -> None:
    file = old_index / "library.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE documents SET state = 'unknown' WHERE 0")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE documents SET state = 'unknown' WHERE uri = 'notes:lamp'")
        connection.commit()
    before = file.read_bytes()
    with pytest.raises(RagIndexError):
        SqliteDocumentStore(file)
    assert read_schema(file) == ("4", {"live", "doomed", "unknown"})
    assert len(file.read_bytes()) == len(before)


def test_a_folder_that_cannot_be_written_says_what_to_do(
    old_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(RagIndexError, match="open it once where its folder can be written"):
        SqliteDocumentStore(old_index / "library.sqlite")
