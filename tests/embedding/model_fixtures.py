"""Tiny models, made in the test: nothing is loaded from a hub."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"a b c d e f g h i j k l m n o p".split()]
HIDDEN = 8
LONGEST = 12


def tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    word_tokenizer = Tokenizer(
        WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    word_tokenizer.pre_tokenizer = Whitespace()
    word_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    word_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": LONGEST,
                "max_length": LONGEST,
                "pad_token": "[PAD]",
                "unk_token": "[UNK]",
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
            }
        )
    )
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    (folder / "config.json").write_text(
        json.dumps({"hidden_size": HIDDEN, "pad_token_id": 0, "model_type": "bert"})
    )


def vectors(size: int = HIDDEN) -> np.ndarray:
    """The vector that the model has for each word; a and b are near each other."""
    random_vectors = np.random.default_rng(0).normal(size=(len(WORDS), size)).astype(np.float32)
    random_vectors[WORDS.index("b")] = random_vectors[WORDS.index("a")] + 0.01
    return random_vectors


def bi_encoder(folder: Path, size: int = HIDDEN) -> Path:
    """An ONNX model whose token vectors are a table's rows, and nothing else."""
    from onnx import TensorProto, helper, numpy_helper

    tokenizer(folder)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "t"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["n", "t"])
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["n", "t", size])
    table = numpy_helper.from_array(vectors(size), "table")
    node = helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])
    _save(folder, helper.make_graph([node], "m", [ids, mask], [out], [table]))
    return folder


def cross_encoder(folder: Path) -> Path:
    """An ONNX model that counts how often the first word of the question is in the pair."""
    from onnx import TensorProto, helper, numpy_helper

    tokenizer(folder)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "t"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["n", "t"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 1])
    constants = [
        numpy_helper.from_array(np.array([1]), "one"),
        numpy_helper.from_array(np.array([1]), "axis"),
    ]
    nodes = [
        helper.make_node("Gather", ["input_ids", "one"], ["first"], axis=1),
        helper.make_node("Equal", ["input_ids", "first"], ["same"]),
        helper.make_node("Cast", ["same"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ones", "axis"], ["logits"], keepdims=1),
    ]
    _save(folder, helper.make_graph(nodes, "m", [ids, mask], [out], constants))
    return folder


def _save(folder: Path, graph: object) -> None:
    import onnx
    from onnx import helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))


NLI_WORDS = "the dog is asleep in kitchen not . never long word".split()


def nli(folder: Path, *, labels: list[str] | None = None, backwards: bool = False) -> Path:
    """An ONNX model with three labels: entailment, unless the pair has a "not" in it.

    With `backwards` it says contradiction where it means entailment.
    """
    from onnx import TensorProto, helper, numpy_helper

    tokenizer(folder)
    tokenizer_json = json.loads((folder / "tokenizer.json").read_text())
    for word in NLI_WORDS:
        tokenizer_json["model"]["vocab"].setdefault(word, len(tokenizer_json["model"]["vocab"]))
    tokenizer_json["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json))
    labels = labels or ["contradiction", "neutral", "entailment"]
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "max_position_embeddings": 24,
    }
    (folder / "config.json").write_text(json.dumps(config))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "t"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["n", "t"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    entails = [0.0, 0.0, 3.0]
    slope = [9.0, 0.0, -9.0]
    if backwards:
        entails, slope = entails[::-1], slope[::-1]
    constants = [
        numpy_helper.from_array(np.array([tokenizer_json["model"]["vocab"]["not"]]), "not"),
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(np.array([slope], dtype=np.float32), "slope"),
        numpy_helper.from_array(np.array([entails], dtype=np.float32), "base"),
    ]
    nodes = [
        helper.make_node("Equal", ["input_ids", "not"], ["same"]),
        helper.make_node("Cast", ["same"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ones", "axis"], ["count"], keepdims=1),
        helper.make_node("Mul", ["count", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "base"], ["logits"]),
    ]
    _save(folder, helper.make_graph(nodes, "m", [ids, mask], [out], constants))
    return folder
