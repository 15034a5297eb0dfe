"""A learned verifier that aligns the words of a claim with those of a passage."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from rag.component import NotFingerprinted
from rag.embedding import MiniLMEmbedder
from rag.errors import ConfigError
from rag.verification.base import Verifier
from rag.verification.lexical import LexicalVerifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COEFFICIENTS_FILE = Path(__file__).with_name("matching.json")
MAX_CLAIM_TOKENS = 128
MAX_PASSAGE_TOKENS = 256
_BLOCK_TOKENS = 32  # of a long passage, the blocks that are nearest to the claim's tokens are read
_MAX_CACHED_TEXTS = 4_096
_MAX_LOG_ODDS = 4.6  # of a lexical support of .99
_MAX_INTEGER = 127


class MatchingVerifier(Verifier):
    """Blends the lexical verifier with a small network that aligns claim and passage.

    For each token of the claim, the passage's tokens are weighed by their similarity; a convolution
    over three tokens compares the token with what it was aligned to, and the mean and the maximum
    over the claim give one number (after Parikh et al. 2016, on vectors of all-MiniLM-L6-v2 that
    are not trained further). The support is the logistic function of the weighted sum of this
    number and the log odds of the lexical support. Paraphrases are supported that the lexical
    verifier refuses; minimal edits and contradictions remain its rules'.

    ``coefficients`` is a file of ``rag train verifier``; without it, the coefficients are used that
    citewell ships. They were learned on nine sets of human judgements, and are for English. What
    they are worth on sets that they have not seen: ``docs/metrics.md``.

    It takes about 20 ms for each new passage, and needs the model of the embedder (``minilm``).
    """

    name: ClassVar[str] = "matching"
    main_setting: ClassVar[str] = "coefficients"
    shortlist: ClassVar[int] = 8
    by_words: ClassVar[bool] = True

    threshold: float = Field(0.5, ge=0, le=1)
    partial: float = Field(0.4, ge=0, le=1)
    coefficients: Annotated[Path | None, NotFingerprinted] = None
    embedder: MiniLMEmbedder = MiniLMEmbedder()
    lexical: LexicalVerifier = LexicalVerifier()

    @property
    def fingerprint(self) -> str:
        """Fingerprint that includes the coefficients."""
        digest = load_coefficients(self.coefficients).digest
        return hashlib.sha256(f"{super().fingerprint}:{digest}".encode()).hexdigest()[:16]

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """See `Verifier.scores`. Raises `EmbeddingError` if the model is not at hand."""
        import numpy as np

        lexical = self.lexical.scores(pairs)
        head = load_coefficients(self.coefficients)
        tokens = _project_cached(self.embedder, head, [text for pair in pairs for text in pair])
        supports = [
            head.blend(float(support), head.compute_match(tokens[claim], tokens[passage]))
            if support and len(tokens[claim].ids) and len(tokens[passage].ids)
            else float(support)
            for (claim, passage), support in zip(pairs, lexical, strict=True)
        ]
        return np.array(supports, dtype=np.float32)

    def contradicts(self, claim: str, passage: str) -> bool:
        """See `LexicalVerifier.contradicts`."""
        return self.lexical.contradicts(claim, passage)


@dataclass(frozen=True)
class ProjectedTokens:
    """The tokens of a text: ``ids`` int64 ``[n]``, unit ``vectors`` float32 ``[n, d]``."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MatchingHead:
    """The network and the blend.

    ``projection`` is ``[384, d]``, ``convolution`` ``[3, features, h]``, ``output`` ``[2 h]``, all
    float32. ``blend_weights`` are those of the log odds of the lexical support, of the network's
    output, and the intercept. ``digest`` is the SHA-256 of the file.
    """

    projection: NDArray[np.float32]
    temperature: float
    convolution: NDArray[np.float32]
    convolution_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: float
    blend_weights: tuple[float, float, float]
    digest: str = ""

    def project(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> ProjectedTokens:
        """Return tokens with the vectors that are compared."""
        return ProjectedTokens(ids, _normalize(vectors @ self.projection))

    def compute_match(self, claim: ProjectedTokens, passage: ProjectedTokens) -> float:
        """Return how well the claim's tokens match the passage's: a real number, higher is better.

        Both have tokens.
        """
        import numpy as np

        claim_ids, claim_vectors = claim.ids[:MAX_CLAIM_TOKENS], claim.vectors[:MAX_CLAIM_TOKENS]
        rows = select_tokens(claim_vectors, passage.vectors)
        ids, vectors = passage.ids[rows], passage.vectors[rows]
        similarities = claim_vectors @ vectors.T
        best = similarities.max(axis=1, keepdims=True)
        weights = np.exp((similarities - best) * self.temperature)
        aligned = weights / weights.sum(axis=1, keepdims=True) @ vectors
        features = np.concatenate(
            [
                claim_vectors,
                aligned,
                claim_vectors * aligned,
                claim_vectors - aligned,
                flag_equal_tokens(claim_ids, ids),
                best,
            ],
            axis=1,
        )
        padded = np.pad(features, ((1, 1), (0, 0)))
        hidden = self.convolution_bias + sum(
            padded[i : i + len(features)] @ self.convolution[i] for i in range(3)
        )
        hidden = np.maximum(hidden, 0)
        pooled = np.concatenate([hidden.mean(axis=0), hidden.max(axis=0)])
        return float(pooled @ self.output) + self.output_bias

    def blend(self, lexical_support: float, match: float) -> float:
        """Return the support (0..1)."""
        lexical_weight, match_weight, intercept = self.blend_weights
        total = lexical_weight * to_log_odds(lexical_support) + match_weight * match + intercept
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def to_log_odds(support: float) -> float:
    """Return the log odds of a support (0..1), within ±4.6."""
    odds = min(max(support, 1e-9), 1 - 1e-9)
    return max(-_MAX_LOG_ODDS, min(_MAX_LOG_ODDS, math.log(odds / (1 - odds))))


def select_tokens(
    claim_vectors: NDArray[np.float32], passage_vectors: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the indices of the passage's tokens to read: all, or the blocks nearest to the claim.

    Blocks are chosen one after the other, each for the claim's tokens that the others do not match.
    """
    import numpy as np

    n = len(passage_vectors)
    if n <= MAX_PASSAGE_TOKENS:
        return np.arange(n)
    blocks = math.ceil(n / _BLOCK_TOKENS)
    similarities = passage_vectors @ claim_vectors.T
    padding = np.full((blocks * _BLOCK_TOKENS - n, similarities.shape[1]), -1, dtype=np.float32)
    by_block = (
        np.concatenate([similarities, padding]).reshape(blocks, _BLOCK_TOKENS, -1).max(axis=1)
    )
    best = np.full(by_block.shape[1], -1, dtype=np.float32)
    block_numbers: list[int] = []
    for _ in range(MAX_PASSAGE_TOKENS // _BLOCK_TOKENS):
        gains = np.maximum(by_block, best).sum(axis=1) + 1e-3 * by_block.sum(axis=1)
        gains[block_numbers] = -np.inf
        block_numbers.append(int(gains.argmax()))
        best = np.maximum(best, by_block[block_numbers[-1]])
    rows = [
        np.arange(i * _BLOCK_TOKENS, min(n, (i + 1) * _BLOCK_TOKENS)) for i in sorted(block_numbers)
    ]
    return np.concatenate(rows)


def flag_equal_tokens(
    claim_ids: NDArray[np.int64], passage_ids: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return whether the passage has each token, and it with the one before: float32 ``[n, 2]``."""
    import numpy as np

    tokens = set(passage_ids.tolist())
    pairs = set(zip(passage_ids[:-1].tolist(), passage_ids[1:].tolist(), strict=True))
    claim = claim_ids.tolist()
    flags = [
        (token in tokens, i > 0 and (claim[i - 1], token) in pairs) for i, token in enumerate(claim)
    ]
    return np.array(flags, dtype=np.float32).reshape(len(claim), 2)


def _normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(norms, 1e-12)
    return unit


# -- tokens, kept ----------------------------------------------------------------------------

_tokens: OrderedDict[tuple[str, str, str], ProjectedTokens] = OrderedDict()
_tokens_lock = Lock()


def _project_cached(
    embedder: MiniLMEmbedder, head: MatchingHead, texts: Iterable[str]
) -> Mapping[str, ProjectedTokens]:
    """Return the projected tokens of texts; every claim is compared with the same passages."""
    fingerprint = embedder.fingerprint
    keys = {text: (fingerprint, head.digest, text) for text in texts}
    with _tokens_lock:
        tokens_by_text = {text: _tokens[key] for text, key in keys.items() if key in _tokens}
    missing = [text for text in keys if text not in tokens_by_text]
    if missing:
        ids = embedder.list_token_ids(missing)
        vectors = embedder.embed_tokens(missing, "document")
        tokens_by_text |= {
            t: head.project(i, v) for t, i, v in zip(missing, ids, vectors, strict=True)
        }
    with _tokens_lock:
        for text in missing:
            _tokens[keys[text]] = tokens_by_text[text]
        while len(_tokens) > _MAX_CACHED_TEXTS:
            _tokens.popitem(last=False)
    return tokens_by_text


# -- the file --------------------------------------------------------------------------------


def load_coefficients(path: Path | None) -> MatchingHead:
    """Load coefficients; None loads those that are shipped. Raises `ConfigError`."""
    path = (path or COEFFICIENTS_FILE).expanduser()
    try:
        return _load_file(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not a file of coefficients ({error}); `rag train verifier` writes one",
            setting="coefficients",
        ) from None


@lru_cache(maxsize=4)
def _load_file(path: Path, modified: int) -> MatchingHead:
    import numpy as np

    content = path.read_bytes()
    data = json.loads(content)

    def read(name: str) -> NDArray[np.float32]:
        scale, rows = data[name]["scale"], data[name]["integers"]
        return np.array(rows, dtype=np.float32) * np.float32(scale)

    projection, convolution = read("projection"), read("convolution")
    width, hidden = projection.shape[1], convolution.shape[2]
    head = MatchingHead(
        projection=projection,
        temperature=float(data["temperature"]),
        convolution=convolution,
        convolution_bias=np.array(data["convolution_bias"], dtype=np.float32),
        output=np.array(data["output"], dtype=np.float32),
        output_bias=float(data["output_bias"]),
        blend_weights=_read_three(data["blend_weights"]),
        digest=hashlib.sha256(content).hexdigest(),
    )
    shapes = (convolution.shape[:2], head.convolution_bias.shape, head.output.shape)
    if shapes != ((3, 4 * width + 3), (hidden,), (2 * hidden,)):
        raise ValueError(f"its shapes do not agree: {shapes}")
    return head


def _read_three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


def save_coefficients(head: MatchingHead, path: Path, **about: Any) -> None:
    """Write coefficients as JSON, the matrices as 8-bit integers.

    `about` says how they were made.
    """
    import numpy as np

    def to_integers(matrix: NDArray[np.float32]) -> dict[str, Any]:
        scale = float(np.abs(matrix).max()) / _MAX_INTEGER or 1.0
        return {"scale": scale, "integers": np.round(matrix / scale).astype(int).tolist()}

    def to_list(vector: NDArray[np.float32]) -> list[float]:
        return [round(float(value), 5) for value in vector]

    data = {
        **about,
        "blend_weights": [round(weight, 5) for weight in head.blend_weights],
        "temperature": round(head.temperature, 5),
        "output_bias": round(head.output_bias, 5),
        "output": to_list(head.output),
        "convolution_bias": to_list(head.convolution_bias),
        "convolution": to_integers(head.convolution),
        "projection": to_integers(head.projection),
    }
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}"
        for key, value in data.items()
    )
    path.write_text(f"{{\n{lines}\n}}\n".replace("],[", "],\n["), encoding="utf-8")
