"""Another model behind the same name: noticed by length and by its vectors, mended by a command."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from rag import Embedder, Pipeline
from rag.cli import cli
from rag.errors import EmbedderMismatch
from rag.index import maintenance

MODEL: dict[str, Any] = {}


class ServedEmbedder(Embedder):
    """Embeds with whichever model the server has loaded: its length and its seed."""

    name: ClassVar[str] = "test-served"
    is_remote: ClassVar[bool] = True
    model: str = "m"

    @property
    def dimension(self) -> int:
        return int(MODEL["length"])

    @property
    def max_tokens(self) -> int:
        return 512

    def count_tokens(self, texts: Any) -> list[int]:
        return [len(text.split()) for text in texts]

    def embed_documents(self, texts: Any) -> NDArray[np.float32]:
        rows = []
        for text in texts:
            total = np.zeros(self.dimension, dtype=np.float32)
            for word in text.lower().split():
                seed = MODEL["seed"] + sum(map(ord, word.strip(".?")))
                total += np.random.default_rng(seed).normal(size=self.dimension)
            rows.append(total / (np.linalg.norm(total) or 1))
        MODEL["texts"] = MODEL.get("texts", 0) + len(rows)
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.dimension)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return self.embed_documents([text])[0]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    MODEL.clear()
    MODEL.update(length=32, seed=1)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "pump.md").write_text("The pump stands in hall 7.")
    (folder / "kite.md").write_text("The kite flies for 34 minutes.")
    with open_pipeline(tmp_path) as pipeline:
        pipeline.ingest(folder)
    return folder


def open_pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(index=tmp_path / "index", embedder=ServedEmbedder())


def test_another_length_is_told_with_both_lengths(docs: Path, tmp_path: Path) -> None:
    MODEL.update(length=16)
    with open_pipeline(tmp_path) as pipeline:
        for call in (lambda: pipeline.search("pump"), lambda: pipeline.ingest(docs)):
            with pytest.raises(EmbedderMismatch, match=r"16 values.* 32 .*rebuild --reembed"):
                call()


def test_another_model_of_the_same_length_is_noticed_by_an_ingest(
    docs: Path, tmp_path: Path
) -> None:
    MODEL.update(seed=9)
    with open_pipeline(tmp_path) as pipeline, pytest.raises(EmbedderMismatch, match="cosine"):
        pipeline.ingest(docs)


@pytest.mark.parametrize("change", [{"length": 16}, {"seed": 9}])
def test_reembedding_mends_the_index(docs: Path, tmp_path: Path, change: dict[str, int]) -> None:
    MODEL.update(change)
    with open_pipeline(tmp_path) as pipeline:
        maintenance.rebuild(pipeline.open(check=False), reembed=True)
        assert pipeline.search("The pump stands in hall 7.")[0].chunk.text.startswith("The pump")
        assert pipeline.ingest(docs).unchanged == 2
        (docs / "new.md").write_text("The boiler hums.")
        assert pipeline.ingest(docs).added == 1
    with open_pipeline(tmp_path) as pipeline:
        (hit, *_) = pipeline.search("The boiler hums.")
        assert hit.chunk.uri.endswith("new.md")


def test_the_same_model_costs_one_text_for_each_ingest(docs: Path, tmp_path: Path) -> None:
    MODEL["texts"] = 0
    with open_pipeline(tmp_path) as pipeline:
        assert pipeline.ingest(docs).unchanged == 2
    assert MODEL["texts"] == 1


def test_a_broken_probe_file_is_written_again(docs: Path, tmp_path: Path) -> None:
    (probe,) = (tmp_path / "index").rglob("embedder_probe.json")
    for broken in ("", "{}", '{"fingerprint": 1}', "[]"):
        probe.write_text(broken)
        with open_pipeline(tmp_path) as pipeline:
            assert pipeline.ingest(docs).unchanged == 2
        assert "vector" in probe.read_text()


def test_the_command_line_has_the_option() -> None:
    assert "--reembed" in CliRunner().invoke(cli, ["index", "rebuild", "--help"]).output
