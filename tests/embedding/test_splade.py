import json
import math
from pathlib import Path

import numpy as np
import pytest

from rag.component import build
from rag.embedding import OnnxSparseEncoder, SentenceTransformerSparseEncoder, SparseEncoder
from rag.errors import EmbeddingError
from tests.embedding import model_fixtures

IDS = {word: i for i, word in enumerate(model_fixtures.WORDS)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose logits for a token are a row of a table."""
    return model_fixtures.bi_encoder(tmp_path / "model", size=len(IDS))


def max_logits(text: str) -> dict[str, float]:
    table = model_fixtures.vectors(len(IDS))
    words = ["[CLS]", *text.split(), "[SEP]"]
    maxima = np.max([table[IDS[word]] for word in words], axis=0)
    return {word: float(maxima[i]) for word, i in IDS.items() if maxima[i] > 0}


def test_weights_are_the_maximum_of_the_saturated_logits(folder: Path) -> None:
    encoder = OnnxSparseEncoder(folder=folder)
    (vector,) = encoder.encode_documents(["a c d"])
    expected = {word: math.log1p(value) for word, value in max_logits("a c d").items()}
    assert vector == pytest.approx(expected, rel=1e-5)
    assert encoder.encode_query("a c d") == pytest.approx(vector)


def test_a_model_trained_with_two_logarithms_is_recognized(folder: Path) -> None:
    (folder / "1_SpladePooling").mkdir()
    (folder / "1_SpladePooling" / "config.json").write_text('{"activation_function": "log1p_relu"}')
    (vector,) = OnnxSparseEncoder(folder=folder).encode_documents(["a c d"])
    logits = max_logits("a c d")
    expected = {word: math.log1p(math.log1p(value)) for word, value in logits.items()}
    assert vector == pytest.approx(expected, rel=1e-5)


def test_a_query_has_the_weights_of_its_tokens_if_the_model_ships_them(folder: Path) -> None:
    (folder / "idf.json").write_text(json.dumps({"a": 1.5, "b": 0.25, "c": 0, "[CLS]": 9}))
    encoder = OnnxSparseEncoder(folder=folder)
    assert encoder.encode_query("a a b c d") == {"a": 1.5, "b": 0.25}
    (vector,) = encoder.encode_documents(["a"])
    assert len(vector) > 2, "documents are encoded by the model"


def test_long_texts_are_truncated(folder: Path) -> None:
    encoder = OnnxSparseEncoder(folder=folder, max_tokens=8)
    short, long = encoder.encode_documents(["a b c d e f", "a b c d e f g h i j k l m n o p"])
    assert short == pytest.approx(long)


def test_empty_texts_have_empty_vectors(folder: Path) -> None:
    encoder = OnnxSparseEncoder(folder=folder)
    assert encoder.encode_documents(["", " \n", "a"])[:2] == [{}, {}]
    assert encoder.encode_documents([]) == []
    assert encoder.encode_query(" ") == {}


def test_all_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match=r"no tokenizer\.json and no model\.onnx"):
        OnnxSparseEncoder(folder=tmp_path).encode_query("a")


def test_another_model_has_another_fingerprint(folder: Path) -> None:
    encoder = OnnxSparseEncoder(folder=folder)
    for name in ("model.onnx", "tokenizer.json", "model.onnx_data", "idf.json"):
        before = encoder.fingerprint
        with (folder / name).open("ab") as file:
            file.write(b" ")
        assert encoder.fingerprint != before, name


def test_changed_files_are_loaded_again(folder: Path) -> None:
    encoder = OnnxSparseEncoder(folder=folder)
    assert len(encoder.encode_query("a b")) > 2
    (folder / "idf.json").write_text('{"a": 1.5}')
    assert encoder.encode_query("a b") == {"a": 1.5}


def test_errors_of_the_model_are_errors_of_the_encoder(folder: Path) -> None:
    """A tokenizer of another model has tokens that the model does not know."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zebra"] = 10_000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(EmbeddingError, match="cannot encode"):
        OnnxSparseEncoder(folder=folder).encode_documents(["a zebra"])


def test_encoders_are_built_by_name(tmp_path: Path) -> None:
    assert build("sparse_encoder", f"onnx:{tmp_path}") == OnnxSparseEncoder(folder=tmp_path)
    assert isinstance(build("sparse_encoder", "sentence-transformers:m"), SparseEncoder)


@pytest.mark.slow
def test_a_model_of_sentence_transformers(tmp_path: Path) -> None:
    """Its weights are those of the masked language model, pooled."""
    torch = pytest.importorskip("torch")
    from sentence_transformers import SparseEncoder as Model
    from sentence_transformers.sparse_encoder import modules
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(1)
    source, folder = tmp_path / "bert", tmp_path / "splade"
    model_fixtures.tokenizer(source)
    config = BertConfig(
        vocab_size=len(IDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        initializer_range=2.0,
    )
    bert = BertForMaskedLM(config)
    bert.train(False)
    bert.save_pretrained(source)
    transformer = modules.Transformer(str(source), transformer_task="fill-mask")
    Model(modules=[transformer, modules.SpladePooling()]).save(str(folder))

    encoder = SentenceTransformerSparseEncoder(model=str(folder), device="cpu")
    blank, vector = encoder.encode_documents(["", "a b c"])
    ids = torch.tensor([[IDS[word] for word in ("[CLS]", "a", "b", "c", "[SEP]")]])
    with torch.no_grad():
        logits = bert(input_ids=ids).logits[0].amax(dim=0).clamp(min=0).log1p()
    expected = {word: float(logits[i]) for word, i in IDS.items() if logits[i] > 0}
    assert blank == {}
    assert vector == pytest.approx(expected, rel=1e-3)
    assert encoder.encode_query("a b c") == pytest.approx(vector, rel=1e-3)


@pytest.mark.slow
def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(EmbeddingError, match="cannot load"):
        SentenceTransformerSparseEncoder(model=str(tmp_path)).encode_query("a")
    with pytest.raises(EmbeddingError, match="no such folder"):
        SentenceTransformerSparseEncoder(model=str(tmp_path / "x")).encode_query("a")
