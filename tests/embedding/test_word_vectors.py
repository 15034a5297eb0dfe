"""Word vectors as their tools write them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from rag.embedding import WordVectorEmbedder
from rag.errors import EmbeddingError

TABLE = {
    "the": [0.1, 0.0, 0.0],
    "battery": [1.0, 0.0, 0.0],
    "akku": [0.9, 0.1, 0.0],
    "Paris": [0.0, 1.0, 0.0],
    "été": [0.0, 0.0, 1.0],
}


def lines(separator: str = " ") -> str:
    return "".join(
        f"{word}{separator}{' '.join(map(str, values))}\n" for word, values in TABLE.items()
    )


def binary() -> bytes:
    out = f"{len(TABLE)} 3\n".encode()
    for word, values in TABLE.items():
        out += word.encode() + b" " + np.array(values, dtype="<f4").tobytes() + b"\n"
    return out


@pytest.fixture(params=["glove", "vec", "binary", "gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    vector_file = tmp_path / f"vectors.{'txt.gz' if request.param == 'gz' else 'txt'}"
    vector_file.write_bytes(
        {
            "glove": lines().encode(),
            "vec": f"{len(TABLE)} 3\n{lines()}".encode(),
            "binary": binary(),
            "gz": gzip.compress(lines().encode()),
        }[request.param]
    )
    return vector_file


def test_each_form_gives_the_same(path: Path) -> None:
    embedder = WordVectorEmbedder(path=path)
    assert embedder.dimension == 3
    vectors = embedder.embed_documents(["the battery", "Akku", "paris", "ÉTÉ", "nothing", ""])
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 0, 0], atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.98
    assert vectors[2].tolist() == [0, 1, 0]
    assert vectors[3].tolist() == [0, 0, 1]
    assert WordVectorEmbedder(path=path, limit=1).embed_query("battery").tolist() == [0, 0, 0]


def test_rare_words_count_more(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("common 1 0\nrare 0 1\n")
    vector = WordVectorEmbedder(path=path).embed_query("common rare")
    assert vector[1] > vector[0] > 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no word vectors"),
        (b"a 1 2\nb 1\n", "not a word and 2 numbers"),
        (b"a 1 x\n", "could not convert"),
        (b"2 3\na " + b"\0" * 12, "ends before its 2 words"),
        (b"a 1 nan\n", "NaN"),
        (b"the .1 .2\ncat .1 .2 .3\n", "more than 2 numbers"),
        (b"3 2\na 1 2\nb 1 2\n", "says 3 words, and has 2"),
        (b"1 0\nfoo \n", "no value"),
        (b"\xba\x16\x4f\x2f" + b"\0" * 50, r"its \.vec file"),
        (b"\xff\xfe\x00 1 2\n", "utf-8"),
    ],
)
def test_what_is_no_file_of_vectors(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(data)
    with pytest.raises(EmbeddingError, match=message):
        WordVectorEmbedder(path=path).embed_query("a")


def test_a_byte_order_mark_and_a_broken_archive(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(b"\xef\xbb\xbf2 2\ncat 1 0\ndog 0 1\n")
    assert WordVectorEmbedder(path=path).embed_query("dog").tolist() == [0, 1]
    packed = bytearray(gzip.compress(lines().encode()))
    packed[len(packed) // 2] ^= 0xFF
    broken = tmp_path / "v.txt.gz"
    broken.write_bytes(packed)
    with pytest.raises(EmbeddingError, match="cannot read"):
        WordVectorEmbedder(path=broken).embed_query("a")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="cannot read"):
        WordVectorEmbedder(path=tmp_path / "v.txt").embed_query("a")


def test_another_file_of_the_same_name_is_another_embedder(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text(lines())
    fingerprint = WordVectorEmbedder(path=path).fingerprint
    assert WordVectorEmbedder(path=path).fingerprint == fingerprint
    path.write_text(lines().replace("0.9", "0.8"))
    assert WordVectorEmbedder(path=path).fingerprint != fingerprint
    path.unlink()
    assert WordVectorEmbedder(path=path).fingerprint
