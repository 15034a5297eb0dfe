"""NLI verifiers on onnxruntime and torch, with tiny generated models."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.errors import ModelError
from rag.verification import NliVerifier, OnnxNliVerifier
from rag.verification.nli import (
    _find_entailment_label,
    _load_onnx_model,
    _load_torch_model,
    _NliModel,
)
from tests.embedding import model_fixtures

CLAIM = "The dog is asleep."


@pytest.fixture
def verifier(tmp_path: Path) -> OnnxNliVerifier:
    return OnnxNliVerifier(model=str(model_fixtures.nli(tmp_path / "m")), threads=1, batch=2)


def test_support_is_the_probability_of_entailment(verifier: OnnxNliVerifier) -> None:
    supports = verifier.support(
        [CLAIM, "The dog is not asleep."], ["The dog is in the kitchen.", "The kitchen is long."]
    )
    assert supports.dtype == np.float32
    assert supports[0] == pytest.approx([0.909, 0.909], abs=1e-3)
    assert supports[1] == pytest.approx([0, 0], abs=1e-3)
    assert verifier.scores([]).shape == (0,)


@pytest.mark.parametrize(
    "labels",
    [["contradiction", "neutral", "ENTAILMENT"], ["refuted", "not enough info", "supported"]],
)
def test_label_is_read_from_the_configuration(tmp_path: Path, labels: list[str]) -> None:
    folder = model_fixtures.nli(tmp_path / "m", labels=labels)
    assert OnnxNliVerifier(model=str(folder)).scores([(CLAIM, CLAIM)])[0] > 0.9


def test_labels_without_names_are_an_error(tmp_path: Path) -> None:
    folder = model_fixtures.nli(tmp_path / "m", labels=["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(ModelError, match="LABEL_0, LABEL_1, LABEL_2"):
        OnnxNliVerifier(model=str(folder)).scores([(CLAIM, CLAIM)])


def test_support_by_a_model_with_one_output_is_its_sigmoid() -> None:
    label = _find_entailment_label("m", {0: "LABEL_0"})
    model = _NliModel("m", None, 20, label, lambda pairs, batch: [[0.0], [2.0]])
    supports = model.predict_entailment([("a", "b"), ("c", "d")], batch=2)
    assert supports == pytest.approx([0.5, 0.8808], abs=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_support_that_is_no_finite_number_is_an_error(value: float) -> None:
    model = _NliModel("m", None, 20, 0, lambda pairs, batch: [[0.0, value]])
    with pytest.raises(ModelError, match="finite"):
        model.predict_entailment([("a", "b")], batch=1)


def test_labels_in_the_wrong_order_are_detected(tmp_path: Path) -> None:
    folder = model_fixtures.nli(tmp_path / "m", backwards=True)
    with pytest.raises(ModelError, match="not usable"):
        OnnxNliVerifier(model=str(folder)).scores([(CLAIM, CLAIM)])


def test_a_long_passage_is_read_in_windows_to_its_end(verifier: OnnxNliVerifier) -> None:
    model = verifier._nli_model
    passage = " ".join(["long"] * 40 + ["kitchen"])
    windows = list(model.split_passage(passage, CLAIM))
    room = model.max_tokens - model.count_tokens(CLAIM)
    assert all(model.count_tokens(window) <= room for window in windows)
    assert windows[-1].endswith("kitchen")
    assert sum(map(model.count_tokens, windows)) >= 41
    # One window without a "not" is enough.
    with_not = " ".join(["not"] * 30 + ["long"] * 20)
    assert verifier.scores([(CLAIM, with_not)])[0] > 0.9


def test_longest_pair_fits_with_its_special_tokens(verifier: OnnxNliVerifier) -> None:
    model = verifier._nli_model
    pair = model.tokenizer.encode("long " * (model.max_tokens - 1), "dog")
    assert len(pair) == 24


def test_positions_of_roberta_begin_after_the_padding_index(
    tmp_path: Path, verifier: OnnxNliVerifier
) -> None:
    folder = model_fixtures.nli(tmp_path / "roberta")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "xlm-roberta"}))
    model = OnnxNliVerifier(model=str(folder))._nli_model
    assert model.max_tokens == verifier._nli_model.max_tokens - 2


def test_long_claim_is_split_into_sentences_and_never_cut(
    verifier: OnnxNliVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = "The dog is asleep in the kitchen.", "The dog is not asleep in the kitchen."
    assert verifier.scores([(f"{good} {good}", "dog")])[0] > 0.9
    assert verifier.scores([(f"{good} {bad}", "dog")])[0] < 0.1
    with caplog.at_level(logging.WARNING):
        assert verifier.scores([("long " * 30, "dog")])[0] == 0
    assert "too long" in caplog.text


def test_sentence_over_half_of_the_limit_has_no_support(verifier: OnnxNliVerifier) -> None:
    limit = verifier._nli_model.max_tokens // 2
    pairs = [("long " * limit, "dog"), ("long " * (limit + 1), "dog")]
    assert verifier.scores(pairs) == pytest.approx([0.909, 0], abs=1e-3)


@pytest.mark.parametrize("pair", [("", "x"), (" ", "x"), ("The dog.", "")])
def test_empty_claim_has_no_support(verifier: OnnxNliVerifier, pair: tuple[str, str]) -> None:
    assert 0 <= verifier.scores([pair])[0] <= 1
    assert verifier.scores([("", "x")])[0] == 0


def test_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load"):
        OnnxNliVerifier(model=str(model_fixtures.nli(tmp_path / "m") / "nothing")).scores(
            [("a", "b")]
        )
    (tmp_path / "m" / "model.onnx").unlink()
    _load_onnx_model.cache_clear()
    with pytest.raises(ModelError, match=r"no model\.onnx"):
        OnnxNliVerifier(model=str(tmp_path / "m")).scores([("a", "b")])


@pytest.mark.slow
def test_torch_model_gives_the_same_scores_in_any_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = model_fixtures.nli(tmp_path / "m")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=32,
        num_labels=3,
        id2label={0: "entailment", 1: "neutral", 2: "contradiction"},
        label2id={"entailment": 0, "neutral": 1, "contradiction": 2},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    verifier = NliVerifier(model=str(folder), device="cpu", batch=2)
    with pytest.raises(ModelError, match="not usable"):  # its weights are random
        verifier.scores([(CLAIM, CLAIM)])
    monkeypatch.setattr("rag.verification.nli._NliModel.check_labels", lambda self: self)
    _load_torch_model.cache_clear()
    pairs = [(CLAIM, "The dog is in the kitchen."), (CLAIM, "long " * 40), ("The dog.", "dog")]
    together = verifier.scores(pairs)
    alone = [float(verifier.scores([pair])[0]) for pair in pairs]
    assert together == pytest.approx(alone, abs=1e-5)
    model: Any = verifier._nli_model
    assert model.entailment_label == 0
    _load_torch_model.cache_clear()
