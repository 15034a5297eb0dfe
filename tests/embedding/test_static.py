import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import StaticEmbedder
from rag.embedding.static import lower_capitals

EMBEDDER = StaticEmbedder()


def test_shapes_and_norms() -> None:
    vectors = EMBEDDER.embed_documents(["The cat sat.", "Dogs bark loudly at night."])
    assert vectors.shape == (2, EMBEDDER.dimension) == (2, 256)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert EMBEDDER.embed_query("cat").shape == (256,)
    assert EMBEDDER.embed_documents([]).shape == (0, 256)


def test_an_empty_text_is_similar_to_nothing() -> None:
    vectors = EMBEDDER.embed_documents(["", "cat", ""])
    assert not vectors[0].any()
    assert not vectors[2].any()
    assert vectors[1].any()


@given(st.lists(st.text(max_size=200), max_size=5))
def test_never_nan_and_never_longer_than_one(texts: list[str]) -> None:
    vectors = EMBEDDER.embed_documents(texts)
    assert np.isfinite(vectors).all()
    norms = np.linalg.norm(vectors, axis=1)
    assert ((np.abs(norms - 1) < 1e-5) | (norms == 0)).all()


def test_the_batch_changes_nothing() -> None:
    texts = [f"text number {i} " + "word " * i for i in range(600)]
    together = EMBEDDER.embed_documents(texts)
    alone = np.stack([EMBEDDER.embed_query(text) for text in texts])
    assert (together == alone).all()


def test_meaning_is_nearer_than_none() -> None:
    query = EMBEDDER.embed_query("How do I charge the battery?")
    near, far = EMBEDDER.embed_documents(
        ["The battery is recharged with the cable.", "The parliament passed a law on fishing."]
    )
    assert query @ near > query @ far + 0.2


def test_capitals_mean_the_same() -> None:
    plain = EMBEDDER.embed_query("measurement of dielectric constant of liquids")
    capitals = EMBEDDER.embed_query("MEASUREMENT OF DIELECTRIC CONSTANT OF LIQUIDS")
    assert plain @ capitals > 0.99


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NASA and the EU met.", "NASA and the EU met."),
        ("THE WHOLE LINE IS LOUD", "the whole line is loud"),
        ("INTRODUCTION TO RADAR\nThe USA built it.", "introduction to radar\nThe USA built it."),
        ("ÄRZTE ÜBER ALLES", "ärzte über alles"),
        ("", ""),
    ],
)
def test_uncapitalised(text: str, expected: str) -> None:
    assert lower_capitals(text) == expected


def test_it_counts_less_in_scripts_it_does_not_know(embedder: StaticEmbedder) -> None:
    for query in ("How long?", "Wie spät ist es, Łukasz?", "34", ""):
        assert embedder.dense_weight(query) == 0.4
    for query in ("Сколько времени?", "現在の時間 now", "πόσο", "ما هو"):
        assert embedder.dense_weight(query) == 0.001
