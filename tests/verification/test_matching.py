"""The learned verifier, with coefficients made here and with those that are shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import LexicalVerifier, MatchingVerifier
from rag.component import build
from rag.embedding import MiniLMEmbedder
from rag.errors import ConfigError
from rag.training import LabelledClaim, train_matching_verifier
from rag.training.verifier import divide_rows
from rag.verification.matching import (
    COEFFICIENTS_FILE,
    MAX_PASSAGE_TOKENS,
    MatchingHead,
    flag_equal_tokens,
    load_coefficients,
    save_coefficients,
    select_tokens,
    to_log_odds,
)
from tests.embedding import model_fixtures

pytest.importorskip("onnx")

CLAIM, PASSAGE = "a b c", "a b c d. e f g."


def make_head(width: int = 4, hidden: int = 3, *, match_weight: float = 1.0) -> MatchingHead:
    random = np.random.default_rng(1)

    def matrix(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    return MatchingHead(
        projection=matrix(384, width),
        temperature=8.0,
        convolution=matrix(3, 4 * width + 3, hidden),
        convolution_bias=matrix(hidden),
        output=matrix(2 * hidden),
        output_bias=0.25,
        blend_weights=(1.0, match_weight, 0.0),
    )


@pytest.fixture
def embedder(tmp_path: Path) -> MiniLMEmbedder:
    return MiniLMEmbedder(folder=model_fixtures.bi_encoder(tmp_path / "minilm", 384))


def make_verifier(embedder: MiniLMEmbedder, folder: Path, head: MatchingHead) -> MatchingVerifier:
    save_coefficients(head, folder / "head.json")
    return MatchingVerifier(embedder=embedder, coefficients=folder / "head.json")


def test_without_a_weight_the_support_is_the_lexical_one(
    embedder: MiniLMEmbedder, tmp_path: Path
) -> None:
    verifier = make_verifier(embedder, tmp_path, make_head(match_weight=0.0))
    pairs = [(CLAIM, PASSAGE), ("a z", PASSAGE), ("h i j", "k l. a b.")]
    lexical = LexicalVerifier().scores(pairs)
    bounded = [1 / (1 + np.exp(-to_log_odds(float(s)))) if s else 0.0 for s in lexical]
    assert np.allclose(verifier.scores(pairs), bounded, atol=1e-5)


def test_the_network_counts(embedder: MiniLMEmbedder, tmp_path: Path) -> None:
    pairs = [(CLAIM, PASSAGE), ("a c", PASSAGE)]
    (tmp_path / "x").mkdir()
    with_network = make_verifier(embedder, tmp_path, make_head()).scores(pairs)
    without = make_verifier(embedder, tmp_path / "x", make_head(match_weight=0.0)).scores(pairs)
    assert not np.allclose(with_network, without, atol=1e-3)


def test_a_pair_has_the_same_support_in_any_company(
    embedder: MiniLMEmbedder, tmp_path: Path
) -> None:
    verifier = make_verifier(embedder, tmp_path, make_head())
    pairs = [(CLAIM, PASSAGE), ("e", "d e f " * 300), ("", PASSAGE), (CLAIM, ""), ("", "")]
    scores = verifier.scores(pairs)
    assert scores.dtype == np.float32
    alone = [verifier.scores([pair])[0] for pair in pairs]
    assert np.allclose(scores, alone, atol=1e-6)
    assert scores[2] == scores[3] == scores[4] == 0
    assert verifier.scores([]).shape == (0,)


def test_the_numpy_network_is_the_trained_one(embedder: MiniLMEmbedder) -> None:
    """What is trained with torch and what runs without it give the same number."""
    pytest.importorskip("torch")
    from rag.training.verifier import make_examples, predict, to_head, train_network

    rows = [
        LabelledClaim(claim, passage, is_supported)
        for claim, passage, is_supported in (
            [("a b", "a b c d", True), ("g h", "a b c d", False), ("c d e", "c d e. f g", True)] * 8
        )
    ]
    examples = make_examples(rows, embedder, LexicalVerifier())
    network = train_network(examples, seed=0)
    head = to_head(network, (1.0, 1.0, 0.0))
    ids = dict(zip(*[(t := ["a b", "a b c d", "g h"]), embedder.list_token_ids(t)], strict=True))
    tokens = {
        text: head.project(ids[text], embedder.embed_tokens([text], "document")[0]) for text in ids
    }
    expected = predict(network, examples[:2])
    found = [head.compute_match(tokens[c], tokens["a b c d"]) for c in ("a b", "g h")]
    assert np.allclose(found, expected, atol=0.02)  # the examples are kept as float16
    assert found[0] > found[1]


def test_training_learns_what_words_alone_do_not_say(
    embedder: MiniLMEmbedder, tmp_path: Path
) -> None:
    """In these labels "b" stands for "a", which shares no letter with it but has its vector."""
    pytest.importorskip("torch")
    random = np.random.default_rng(0)
    others = "c d e f g h i j k l".split()
    rows = []
    for i in range(80):
        words = list(random.permutation(others)[:3])
        is_supported = i % 2 == 0
        claim = " ".join(["b" if is_supported else "p", *words])
        rows.append(LabelledClaim(claim, " ".join(["a", *words, "o"]), is_supported))
    progress: list[tuple[int, int]] = []
    head = train_matching_verifier(
        rows,
        embedder=embedder,
        folds=2,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert progress == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    verifier = make_verifier(embedder, tmp_path, head)
    pairs = [("b c d e", "a c d e o"), ("p c d e", "a c d e o")]
    paraphrase, other = verifier.scores(pairs)
    lexical = LexicalVerifier(similarity=0.0).scores(pairs)
    assert lexical[0] == pytest.approx(lexical[1])
    assert paraphrase > 0.7 > 0.3 > other


def test_rows_with_a_common_claim_or_passage_are_not_divided() -> None:
    rows = [LabelledClaim(f"claim {i // 2}", f"passage {i // 3}", True) for i in range(40)]
    rows += [LabelledClaim(f"c{i}", f"p{i}", True) for i in range(60)]
    divisions = divide_rows(rows, 5)
    assert set(divisions) == set(range(5))
    for key in ("claim", "passage"):
        by_text: dict[str, set[int]] = {}
        for row, division in zip(rows, divisions, strict=True):
            by_text.setdefault(getattr(row, key), set()).add(int(division))
        assert all(len(found) == 1 for found in by_text.values())


def test_claims_about_one_passage_are_divided_one_by_one() -> None:
    rows = [LabelledClaim(f"claim {i}", "the passage", True) for i in range(40)]
    assert np.bincount(divide_rows(rows, 4)).tolist() == [10] * 4


def test_too_few_labels_are_refused(embedder: MiniLMEmbedder) -> None:
    rows = [LabelledClaim("a", "a", True)] * 30 + [LabelledClaim("b", "a", False)] * 19
    with pytest.raises(ConfigError, match="30 supported claims and 19 others: at least 20"):
        train_matching_verifier(rows, embedder=embedder)


def test_saved_coefficients_are_those_that_are_loaded(tmp_path: Path) -> None:
    head = make_head()
    save_coefficients(head, tmp_path / "head.json", learned_from="nothing")
    loaded = load_coefficients(tmp_path / "head.json")
    for name in ("projection", "convolution", "convolution_bias", "output"):
        largest = np.abs(getattr(head, name)).max()
        assert np.allclose(getattr(loaded, name), getattr(head, name), atol=largest / 250)
    assert loaded.blend_weights == head.blend_weights
    assert json.loads((tmp_path / "head.json").read_text())["learned_from"] == "nothing"


def test_the_fingerprint_follows_the_file(embedder: MiniLMEmbedder, tmp_path: Path) -> None:
    first = make_verifier(embedder, tmp_path, make_head())
    (tmp_path / "copy").mkdir()
    copy = make_verifier(embedder, tmp_path / "copy", make_head())
    assert first.fingerprint == copy.fingerprint
    save_coefficients(make_head(match_weight=0.5), tmp_path / "head.json")
    assert first.fingerprint != copy.fingerprint


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"projection": 1}', "not json", '{"projection": {"scale": "x"}}']
)
def test_a_file_that_holds_no_coefficients_is_an_error(
    embedder: MiniLMEmbedder, tmp_path: Path, content: str
) -> None:
    (tmp_path / "head.json").write_text(content)
    verifier = MatchingVerifier(embedder=embedder, coefficients=tmp_path / "head.json")
    with pytest.raises(ConfigError, match="rag train verifier"):
        verifier.scores([(CLAIM, PASSAGE)])
    with pytest.raises(ConfigError, match="rag train verifier"):
        _ = MatchingVerifier(coefficients=tmp_path / "none.json").fingerprint


def test_coefficients_of_two_widths_are_an_error(tmp_path: Path) -> None:
    save_coefficients(make_head(), tmp_path / "head.json")
    data = json.loads((tmp_path / "head.json").read_text())
    data["output"] = data["output"][:-1]
    (tmp_path / "head.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="shapes do not agree"):
        load_coefficients(tmp_path / "head.json")


def test_the_shipped_coefficients_are_readable_and_small() -> None:
    head = load_coefficients(None)
    assert COEFFICIENTS_FILE.stat().st_size < 200_000
    assert max(map(len, COEFFICIENTS_FILE.read_text().splitlines())) < 2_000
    assert head.projection.shape == (384, 48)
    assert min(head.blend_weights[:2]) > 0
    verifier = build("verifier", "matching")
    assert isinstance(verifier, MatchingVerifier)


@settings(max_examples=50)
@given(st.integers(0, 1_200), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_selected_tokens_are_bounded_and_in_order(n: int, claim: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    passage = random.normal(size=(n, 8)).astype(np.float32)
    rows = select_tokens(random.normal(size=(claim, 8)).astype(np.float32), passage)
    assert len(rows) <= MAX_PASSAGE_TOKENS
    assert list(rows) == sorted(set(rows.tolist()))
    assert len(rows) == n or len(rows) > MAX_PASSAGE_TOKENS - 32


def test_the_block_with_the_claim_is_selected() -> None:
    random = np.random.default_rng(0)
    passage = random.normal(size=(1_000, 16)).astype(np.float32)
    claim = passage[700:706]
    assert set(range(700, 706)) <= set(select_tokens(claim, passage).tolist())


def test_flags_of_equal_tokens() -> None:
    flags = flag_equal_tokens(np.array([1, 2, 9, 1]), np.array([1, 2, 3, 9]))
    assert flags.tolist() == [[1, 0], [1, 1], [1, 0], [1, 0]]
