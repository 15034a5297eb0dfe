"""The default embedder: mean of static token vectors, no download, no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from rag.embedding.base import Embedder, KnownModel, Side
from rag.errors import EmbeddingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

_BATCH = 256  # texts a tokenizer call: enough to keep its threads busy, small in memory
_SHORT = 4_000  # characters of a batch that one thread goes through


class StaticEmbedder(Embedder):
    """WordLlama's 256-dimensional static vectors (L2-supercat), from the wheel they ship in.

    A vector is the mean of the vectors of the text's tokens, so that there is no limit of
    length. The tokenizer knows few words in capitals: such runs are lower-cased first (see
    `uncapitalised`). ``dimensions`` keeps the leading values only, normalised anew: the vectors
    were trained for 64 and 128 as well (Matryoshka representation learning).

    Source: https://github.com/dleemiller/WordLlama; measured in ``docs/decisions.md``.
    """

    name: ClassVar[str] = "static"

    dimensions: int | None = Field(None, ge=16, le=256)

    @classmethod
    def known_models(cls) -> Iterable[KnownModel]:
        """The one."""
        return (KnownModel("wordllama l2_supercat", 256, None, 0.0),)

    @property
    def dimension(self) -> int:
        """256, or ``dimensions``."""
        return self.dimensions or int(_model().vectors.shape[1])

    def dense_weight(self, query: str) -> float:
        """.4: a mean of words sees less than BM25 does.

        .001 where the question is in a script that the vectors were not trained on: then they
        decide between equals, and where no word is found.
        """
        letters = sum(character.isalpha() for character in query)
        return 0.4 if len(_LATIN.findall(query)) >= letters / 2 else 0.001

    @property
    def max_tokens(self) -> int:
        """No text is too long for a mean; a bound all the same, against absurd input."""
        return 1_000_000

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text in tokens of the Llama 2 vocabulary."""
        tokenizer = _model().tokenizer
        return [
            len(encoding)
            for i in range(0, len(texts), _BATCH)
            for encoding in tokenizer.encode_batch_fast(
                [uncapitalised(text) for text in texts[i : i + _BATCH]], add_special_tokens=False
            )
        ]

    @property
    def usd_per_million_tokens(self) -> float:
        """Nothing: it runs here."""
        return 0.0

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages: float32 ``[len(texts), dimension]``."""
        import numpy as np

        out = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for i in range(0, len(texts), _BATCH):
            out[i : i + _BATCH] = _embed(texts[i : i + _BATCH], self.dimension)
        return out

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embed a question: float32 ``[dimension]``."""
        vector: NDArray[np.float32] = self.embed_documents([text])[0]
        return vector

    def embed_tokens(self, texts: Sequence[str], side: Side) -> list[NDArray[np.float32]]:
        """See `Embedder.embed_tokens`."""
        import numpy as np

        model = _model()
        found = model.tokenizer.encode_batch_fast(
            [uncapitalised(text) for text in texts], add_special_tokens=False
        )
        vectors = [
            model.vectors[np.array(encoding.ids, dtype=np.int32)][:, : self.dimension]
            for encoding in found
        ]
        norms = [np.linalg.norm(each, axis=1, keepdims=True) for each in vectors]
        return [each / np.maximum(n, 1e-12) for each, n in zip(vectors, norms, strict=True)]


_LATIN = re.compile("[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]")

# Possessive, and begun at the start of words only: linear on any text.
_CAPITALS = re.compile(r"(?<![^\W_])[^\W\d_a-z]{2,}+(?:[\W\d_]++[^\W\d_a-z]{2,}+){2,}+")


def uncapitalised(text: str) -> str:
    """Lower-case runs of three and more words in capitals; acronyms in running text stay.

    On the Vaswani queries, which are all in capitals, nDCG@10 of the static embedder is .059 as
    they stand and .360 so (``docs/decisions.md``).
    """
    return text if text.islower() else _CAPITALS.sub(_lower_if_upper, text)


def _lower_if_upper(run: re.Match[str]) -> str:
    words = run.group()
    return words.lower() if words.isupper() else words


def _embed(texts: Sequence[str], dimension: int) -> NDArray[np.float32]:
    import numpy as np

    model = _model()
    prepared = [uncapitalised(text) for text in texts]
    if sum(map(len, prepared)) < _SHORT:  # not worth waking the threads a batch is spread over
        encodings = [model.tokenizer.encode(text, add_special_tokens=False) for text in prepared]
    else:
        encodings = model.tokenizer.encode_batch_fast(prepared, add_special_tokens=False)
    sums = np.zeros((len(texts), model.vectors.shape[1]), dtype=np.float32)
    for row, encoding in zip(sums, encodings, strict=True):
        # Text by text: five times as fast as padding a batch, and the same whatever the batch.
        model.vectors[np.array(encoding.ids, dtype=np.int32)].sum(axis=0, out=row)
    sums = sums[:, :dimension]
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    normalised: NDArray[np.float32] = np.divide(sums, norms, out=sums, where=norms > 0)
    return normalised


class _Model(NamedTuple):
    tokenizer: Tokenizer
    vectors: NDArray[np.float32]


@lru_cache(maxsize=1)
def _model() -> _Model:
    """Read vocabulary and vectors from the wheel's own files; nothing is looked up online.

    Read directly and not through `wordllama`, whose import alone costs 0.17 s (it brings an
    HTTP client along) and which pads each batch to its longest text.
    """
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddingError("the package wordllama, which carries the vectors, is not installed")
    folder = Path(spec.submodule_search_locations[0])
    try:
        tokenizer = Tokenizer.from_file(
            str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")
        )
        (vectors,) = load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
    except Exception as error:  # tokenizers raises bare Exception
        raise EmbeddingError(f"cannot read the static vectors in {folder}: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _Model(tokenizer, vectors.astype("float32"))
