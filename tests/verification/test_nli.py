"""NLI models: tiny ones, made here, on onnxruntime and on torch."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.errors import ModelError
from rag.verification import NliVerifier, OnnxNliVerifier
from rag.verification.nli import _load, _load_onnx
from tests.embedding import model_fixtures

CLAIM = "The dog is asleep."


@pytest.fixture
def verifier(tmp_path: Path) -> OnnxNliVerifier:
    return OnnxNliVerifier(model=str(model_fixtures.nli(tmp_path / "m")), threads=1, batch=2)


def test_entailment_is_the_support(verifier: OnnxNliVerifier) -> None:
    found = verifier.support(
        [CLAIM, "The dog is not asleep."], ["The dog is in the kitchen.", "The kitchen is long."]
    )
    assert found.dtype == np.float32
    assert found[0] == pytest.approx([0.909, 0.909], abs=1e-3)
    assert found[1] == pytest.approx([0, 0], abs=1e-3)
    assert verifier.scores([]).shape == (0,)


@pytest.mark.parametrize(
    "labels",
    [["contradiction", "neutral", "ENTAILMENT"], ["refuted", "not enough info", "supported"]],
)
def test_the_label_is_read_from_the_configuration(tmp_path: Path, labels: list[str]) -> None:
    folder = model_fixtures.nli(tmp_path / "m", labels=labels)
    assert OnnxNliVerifier(model=str(folder)).scores([(CLAIM, CLAIM)])[0] > 0.9


def test_labels_without_names_are_told(tmp_path: Path) -> None:
    folder = model_fixtures.nli(tmp_path / "m", labels=["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(ModelError, match="LABEL_0, LABEL_1, LABEL_2"):
        OnnxNliVerifier(model=str(folder)).scores([(CLAIM, CLAIM)])


def test_labels_in_the_wrong_order_are_found_on_a_known_pair(tmp_path: Path) -> None:
    folder = model_fixtures.nli(tmp_path / "m", backwards=True)
    with pytest.raises(ModelError, match="not usable"):
        OnnxNliVerifier(model=str(folder)).scores([(CLAIM, CLAIM)])


def test_a_long_passage_is_read_in_windows_to_its_end(verifier: OnnxNliVerifier) -> None:
    loaded = verifier._loaded
    passage = " ".join(["long"] * 40 + ["kitchen"])
    windows = list(loaded.windows(passage, CLAIM))
    room = loaded.limit - loaded.length(CLAIM)
    assert all(loaded.length(window) <= room for window in windows)
    assert windows[-1].endswith("kitchen")
    assert sum(map(loaded.length, windows)) >= 41
    # One window without a "not" is enough.
    with_not = " ".join(["not"] * 30 + ["long"] * 20)
    assert verifier.scores([(CLAIM, with_not)])[0] > 0.9


def test_a_long_claim_is_taken_apart_and_never_cut(
    verifier: OnnxNliVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = "The dog is asleep in the kitchen.", "The dog is not asleep in the kitchen."
    assert verifier.scores([(f"{good} {good}", "dog")])[0] > 0.9
    assert verifier.scores([(f"{good} {bad}", "dog")])[0] < 0.1
    with caplog.at_level(logging.WARNING):
        assert verifier.scores([("long " * 30, "dog")])[0] == 0
    assert "too long" in caplog.text


@pytest.mark.parametrize("pair", [("", "x"), (" ", "x"), ("The dog.", "")])
def test_nothing_supports_nothing(verifier: OnnxNliVerifier, pair: tuple[str, str]) -> None:
    assert 0 <= verifier.scores([pair])[0] <= 1
    assert verifier.scores([("", "x")])[0] == 0


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load"):
        OnnxNliVerifier(model=str(model_fixtures.nli(tmp_path / "m") / "nothing")).scores(
            [("a", "b")]
        )
    (tmp_path / "m" / "model.onnx").unlink()
    _load_onnx.cache_clear()
    with pytest.raises(ModelError, match=r"no model\.onnx"):
        OnnxNliVerifier(model=str(tmp_path / "m")).scores([("a", "b")])


@pytest.mark.slow
def test_on_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr("rag.verification.nli._Loaded.checked", lambda self: self)
    _load.cache_clear()
    pairs = [(CLAIM, "The dog is in the kitchen."), (CLAIM, "long " * 40), ("The dog.", "dog")]
    together = verifier.scores(pairs)
    alone = [float(verifier.scores([pair])[0]) for pair in pairs]
    assert together == pytest.approx(alone, abs=1e-5)
    loaded: Any = verifier._loaded
    assert loaded.entails == 0
    _load.cache_clear()
