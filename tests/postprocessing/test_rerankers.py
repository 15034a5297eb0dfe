"""Rerankers: with tiny models in ONNX, a scripted chat model, and Cohere's API over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr, ValidationError

from rag import Pipeline, ScriptedChat
from rag.errors import ModelError, ModelReplyError
from rag.postprocessing import (
    CohereReranker,
    CrossEncoderReranker,
    LlmReranker,
    OnnxReranker,
    Reranker,
)
from rag.retrieval import LexicalRetriever
from tests.conftest import Script
from tests.embedding import model_fixtures

TEXTS = ["a b", "a a a c", "d a a", "a", "b a d"]


class Longest(Reranker):
    """The longest first."""

    name: ClassVar[str] = "longest"

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        return [len(text) for text in texts]


@pytest.fixture
def filled_pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    folder = tmp_path / "docs"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i:02}.txt").write_text("pump " + "word " * i)
    with Pipeline(index=tmp_path / "i", retriever=LexicalRetriever(), k=5) as pipeline:
        pipeline.ingest(folder)
        yield pipeline


def names(pipeline: Pipeline, **options: Any) -> list[int]:
    return [int(Path(hit.chunk.uri).stem) for hit in pipeline.search("pump", **options)]


def test_a_reranker_sees_its_depth_and_the_rest_keeps_its_order(filled_pipeline: Pipeline) -> None:
    plain = names(filled_pipeline, k=30)
    reranked = filled_pipeline.model_copy(update={"postprocessors": (Longest(depth=10),)})
    with reranked:
        ranked_names = names(reranked, k=30)
        assert ranked_names[:10] == sorted(plain[:10], reverse=True)
        assert ranked_names[10:] == plain[10:]
        assert names(reranked) == sorted(plain[:10], reverse=True)[:5]  # of ten, five are left
        scores = [hit.score for hit in reranked.search("pump", k=30)]
        assert scores == sorted(scores, reverse=True)
        hit = reranked.search("pump")[0]
        assert hit.score == len(hit.chunk.embedded_text)
        assert hit.stage_scores["longest"].rank == 1 and "lexical" in hit.stage_scores
        assert reranked.search("nothing like it") == []


@pytest.mark.parametrize("scores", [[1.0, float("nan"), 2.0], [1.0]])
def test_scores_that_are_none_are_told(filled_pipeline: Pipeline, scores: list[float]) -> None:
    class Odd(Longest):
        name: ClassVar[str] = "odd"

        def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
            return scores

    with (
        filled_pipeline.model_copy(update={"postprocessors": (Odd(depth=3),)}) as changed,
        pytest.raises(ModelReplyError, match="odd gave"),
    ):
        changed.search("pump")


def test_an_onnx_cross_encoder(tmp_path: Path) -> None:
    reranker = OnnxReranker(model=str(model_fixtures.cross_encoder(tmp_path / "m")), batch=2)
    assert reranker.score("a x", TEXTS) == [2, 4, 3, 2, 2]  # once more, for the question's own
    assert reranker.score("d", TEXTS) == [1, 1, 2, 1, 2]
    with pytest.raises(ModelError, match=r"no model\.onnx"):
        (tmp_path / "m" / "model.onnx").unlink()
        OnnxReranker(model=str(tmp_path / "m"), threads=1).score("a", TEXTS)


@pytest.mark.slow
def test_a_cross_encoder_on_torch(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    model_fixtures.tokenizer(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(model_fixtures.WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=32,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    PreTrainedTokenizerFast.from_pretrained(tmp_path).save_pretrained(tmp_path)
    reranker = CrossEncoderReranker(model=str(tmp_path), device="cpu", batch=2)
    together = reranker.score("a", TEXTS)
    alone = [reranker.score("a", [text])[0] for text in TEXTS]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) > 1


def test_a_cross_encoder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load"):
        CrossEncoderReranker(model=str(tmp_path / "nothing")).score("a", TEXTS)


# -- chat models ---------------------------------------------------------------------------


def test_listwise_lets_the_best_rise() -> None:
    # Windows of four, from the end, two further each time: t6 comes from the last place to the first.
    model = ScriptedChat(replies=("4 > 1 > 2 > 3", "3 > 1 > 2 > 4", "2 > 1 > 3"))
    reranker = LlmReranker(model=model, window=4)
    texts = [f"t{i}" for i in range(7)]
    scores = reranker.score("q", texts)
    order = sorted(range(7), key=lambda i: -scores[i])
    assert order[0] == 6
    assert sorted(order) == list(range(7))
    first_prompt = model.requests[0][1].content
    assert all(f"\nt{i}\n" in first_prompt for i in (3, 4, 5, 6)) and "t2" not in first_prompt


def test_listwise_keeps_what_the_model_leaves_out_or_makes_up() -> None:
    model = ScriptedChat(replies=("Best: [3], then 3, 99 and 0, 1.",))
    assert LlmReranker(model=model).score("q", ["a", "b", "c"]) == [0.5, 1 / 3, 1.0]
    model = ScriptedChat(replies=("Here are the 3 passages ranked: 2, 1, 3",))
    assert LlmReranker(model=model).score("q", ["a", "b", "c"]) == [0.5, 1.0, 1 / 3]


def test_pointwise() -> None:
    replies = (
        "7",
        "Score: 10",
        "12 of 10",
        "On a scale of 0 to 10: 6",
        "Score (0-10): 5",
        "0.9",
        "-3",
    )
    model = ScriptedChat(replies=replies)
    reranker = LlmReranker(model=model, mode="pointwise", concurrency=1)
    assert reranker.score("q", ["x"] * len(replies)) == [7, 10, 10, 6, 5, 0.9, 0]
    assert reranker.score("q", []) == []


@pytest.mark.parametrize("mode", ["listwise", "pointwise"])
def test_a_reply_without_a_number_is_told(mode: Any) -> None:
    model = ScriptedChat(replies=("I cannot say.",) * 2)
    with pytest.raises(ModelReplyError, match="I cannot say"):
        LlmReranker(model=model, mode=mode, concurrency=1).score("q", ["a", "b"])


def test_one_text_needs_no_order() -> None:
    assert LlmReranker(model=ScriptedChat(replies=("x",))).score("q", ["a"]) == [1.0]


# -- Cohere --------------------------------------------------------------------------------


def test_cohere(scripted_server: Script) -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]
    body = json.dumps({"id": "1", "results": results}).encode()
    scripted_server.replies += [(200, {"Content-Type": "application/json"}, body)] * 2
    reranker = CohereReranker(
        base_url=scripted_server.url.removesuffix("/v1"), api_key=SecretStr("k"), retries=0
    )
    assert reranker.score("q", ["a", "b"]) == [0.2, 0.9]
    assert scripted_server.requests[0]["documents"] == ["a", "b"]
    with pytest.raises(ModelReplyError, match="scored 2 of 3"):
        reranker.score("q", ["a", "b", "c"])


def test_the_address_of_a_deployment_holds_no_secret(scripted_server: Script) -> None:
    with pytest.raises(ValidationError, match="api_key") as refused:
        CohereReranker(base_url="https://me:s3cret@host")
    assert "s3cret" not in str(refused.value)
    url = scripted_server.url.removesuffix("/v1") + "?token=s3cret"
    reranker = CohereReranker(base_url=url, api_key=SecretStr("k"), retries=0)
    with pytest.raises(ModelError) as failed:
        reranker.score("q", ["a", "b"])
    assert "s3cret" not in str(failed.value)
