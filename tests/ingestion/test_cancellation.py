"""An ingest that is cancelled ends within a document, and the next one goes on from there."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from connectors import Files, Parser
from connectors.parsers.auto import AutoParser
from rag import Cancellation, HeadingChunker, Pipeline, StaticEmbedder, limit_call
from rag.chunking import semantic_split
from rag.errors import CallCancelled, DeadlineExceeded
from rag.index import Index, commit_protocol, maintenance
from rag.ingestion import plan, sync
from rag.stores import chroma, lexical_index
from rag.stores.chroma import ChromaCollection
from rag.types import Document


@pytest.fixture
def long_document(tmp_path: Path) -> Path:
    """A folder with one document of about 1,500 chunks."""
    folder = tmp_path / "long"
    folder.mkdir()
    words = [f"word{letter}{other}" for letter in "abcdefghij" for other in "klmnopqrst"]
    sentences = [
        f"Sentence {i} is about {words[i % 100]} and {words[i * 7 % 100]}." for i in range(6_000)
    ]
    (folder / "long.txt").write_text(" ".join(sentences), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (semantic_split, "_count_characters"),
        (StaticEmbedder, "embed_documents"),
        (lexical_index, "list_forms"),
        (chroma, "_to_ids"),
    ],
)
def test_a_cancelled_ingest_ends_within_a_document(
    tmp_path: Path,
    long_document: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
) -> None:
    monkeypatch.setattr(commit_protocol, "_TEXTS_PER_LOCAL_CALL", 100)
    monkeypatch.setattr(
        ChromaCollection,
        "_split_rows",
        lambda store, rows: (slice(i, i + 100) for i in range(0, len(rows), 100)),
    )
    cancellation = Cancellation()
    calls = count_calls(monkeypatch, owner, name, lambda: cancellation.cancel())
    chunker = HeadingChunker(size=32, overlap=0)
    with closing(Index(tmp_path / "index", StaticEmbedder(), create=True)) as index:
        with limit_call(cancellation=cancellation), pytest.raises(CallCancelled):
            sync(index, [Files(path=long_document)], AutoParser(), chunker)
        assert len(calls) < 5  # of hundreds
        assert index.document_store.uris() == []
        monkeypatch.undo()
        report = sync(index, [Files(path=long_document)], AutoParser(), chunker)
        assert report.added == 1
        assert report.chunks > 1_000
        assert maintenance.verify(index).problems == []


def count_calls(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at_first: Callable[[], None]
) -> list[str]:
    """Call `at_first` at the first call of a function, and return a list of its calls."""
    calls: list[str] = []
    original = getattr(owner, name)

    def count_and_call(*args: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            at_first()
        return original(*args, **options)

    monkeypatch.setattr(owner, name, count_and_call)
    return calls


def test_an_ingest_and_its_plan_end_at_the_deadline(tmp_path: Path, folder: Path) -> None:
    with closing(Index(tmp_path / "index", StaticEmbedder(), create=True)) as index:
        with limit_call(seconds=0):
            with pytest.raises(DeadlineExceeded):
                sync(index, [Files(path=folder)], AutoParser(), HeadingChunker())
            with pytest.raises(DeadlineExceeded):
                plan(
                    index.document_store,
                    index.embedder,
                    [Files(path=folder)],
                    AutoParser(),
                    HeadingChunker(),
                )
        assert sync(index, [Files(path=folder)], AutoParser(), HeadingChunker()).added == 2


class WaitingParser(Parser):
    """Waits for the other end of the named pipe that the file names."""

    name = "waiting"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        pipe = Path(data.decode())
        pipe.write_text("parsing")
        pipe.read_text()
        return Document(uri=uri, text="The text.")


def test_a_parser_process_does_not_hold_a_cancelled_ingest(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text(str(pipe), encoding="utf-8")
    cancellation = Cancellation()
    errors: list[BaseException] = []

    def ingest() -> None:
        with (
            Pipeline(index=tmp_path / "index", parser=WaitingParser(), processes=1) as pipeline,
            limit_call(cancellation=cancellation),
        ):
            try:
                pipeline.ingest(docs)
            except BaseException as error:
                errors.append(error)

    thread = Thread(target=ingest)
    thread.start()
    assert pipe.read_text() == "parsing"
    cancellation.cancel()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert isinstance(errors[0], CallCancelled)
