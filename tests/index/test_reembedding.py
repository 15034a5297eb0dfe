"""Re-embedding: the change of an index to another embedder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.parsers.auto import AutoParser
from rag import DenseRetriever, HeadingChunker, Pipeline
from rag.errors import EmbedderMismatch, EmbeddingError
from rag.index import index as index_module
from rag.index import maintenance
from rag.ingestion import IngestReport, batches
from tests.index.helpers import ReversedEmbedder


class RefusingEmbedder(ReversedEmbedder):
    """Refuses one text."""

    name = "refusing"

    def embed_documents(self, texts: Sequence[str]) -> Any:
        if any("3 May" in text for text in texts):
            raise EmbeddingError("refused")
        return super().embed_documents(texts)


@pytest.mark.parametrize("exact", [64 * 2**20, 0], ids=["compared", "Chroma"])
def test_reembedding_switches_all_documents_at_once(
    tmp_path: Path, folder: Path, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "EXACT_SEARCH_MAX_BYTES", exact)
    monkeypatch.setattr(batches, "_BATCH_CHUNKS", 1)
    old = Pipeline(index=tmp_path / "i", retriever=DenseRetriever())
    old.ingest(folder)
    before = [hit.chunk.text for hit in old.search("propeller of nylon")]
    new = old.model_copy(update={"embedder": ReversedEmbedder()})
    with pytest.raises(EmbedderMismatch, match=r"embedder static, .* has other.*rag ingest"):
        new.search("propeller")
    texts_meanwhile: list[list[str]] = []

    def search_old(report: IngestReport) -> None:
        if report.reembedded and not report.seen:
            hits = old.search("propeller of nylon")
            texts_meanwhile.append([hit.chunk.text for hit in hits])

    planned = new.ingest(folder, dry_run=True)
    report = new.ingest(folder, progress=search_old)
    assert (planned.reembedded, planned.embedded) == (2, report.embedded)
    assert (report.reembedded, report.unchanged) == (2, 2)
    assert texts_meanwhile and all(texts == before for texts in texts_meanwhile)
    assert [hit.chunk.text for hit in new.search("propeller of nylon")] == before
    with pytest.raises(EmbedderMismatch, match=r"embedder other, .* has static"):
        old.search("propeller")
    assert maintenance.verify(new.open()).is_intact
    reverted = old.model_copy()
    second_report = reverted.ingest(folder)
    assert (second_report.reembedded, second_report.embedded) == (2, 0)  # all in the cache
    assert [hit.chunk.text for hit in reverted.search("propeller of nylon")] == before
    for pipeline in (old, new, reverted):
        pipeline.close()


def test_failed_reembedding_leaves_the_old_index(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as old:
        old.ingest(folder)
        with Pipeline(index=tmp_path / "i", embedder=RefusingEmbedder()) as new:
            with pytest.raises(EmbeddingError, match=r"notes.txt: refused"):
                new.ingest(folder)
        assert old.search("kite")
        assert old.ingest(folder).unchanged == 2
        assert maintenance.verify(old.open()).is_intact


def test_changed_chunker_does_not_parse_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        smaller = pipeline.model_copy(update={"chunker": HeadingChunker(size=16, overlap=0)})
        with monkeypatch.context() as patch:  # the text is in the document store
            patch.setattr(AutoParser, "parse", None)
            assert smaller.ingest(folder).updated == 2
        assert maintenance.verify(smaller.open()).is_intact
        smaller.close()
